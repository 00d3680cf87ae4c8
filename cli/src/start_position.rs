//! `--from`: where a consumer begins.

use std::{str::FromStr, time::Duration};

use crate::{instant, units::Span};

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The first record that is there.
    Beginning,
    /// What comes from now on.
    End,
    /// This offset.
    Offset(i64),
    /// So many records before the end of each partition.
    Last(i64),
    /// The first record at or after this time, in milliseconds since 1970.
    Time(i64),
    /// The first record that is not older than this.
    Ago(Duration),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<i64>().ok();
        Ok(match text {
            "beginning" | "earliest" | "start" => Self::Beginning,
            "end" | "latest" => Self::End,
            _ => {
                let count = text.strip_prefix('-').and_then(number);
                if let Some(count) = count.filter(|count| *count >= 0) {
                    Self::Last(count)
                } else if let Some(offset) = number(text) {
                    Self::Offset(offset)
                } else if let Some(millis) = text.strip_prefix('@').and_then(number) {
                    Self::Time(millis)
                } else if let Ok(Span(span)) = text.parse() {
                    Self::Ago(span)
                } else if let Some(millis) = instant::parse(text) {
                    Self::Time(millis)
                } else {
                    return Err("write beginning, end, an offset, -N, a time such as \
                         2026-11-22T17:00:00Z or @1795366800000, or how long ago, such as 15m"
                        .to_owned());
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read() {
        for (text, from) in [
            ("beginning", From::Beginning),
            ("end", From::End),
            ("0", From::Offset(0)),
            ("12345", From::Offset(12_345)),
            ("-10", From::Last(10)),
            ("@1795366800000", From::Time(1_795_366_800_000)),
            ("2026-11-22T17:00:00Z", From::Time(1_795_366_800_000)),
            ("15m", From::Ago(Duration::from_secs(900))),
        ] {
            assert_eq!(text.parse(), Ok(from), "{text}");
        }
        for text in ["", "x", "--1", "--x", "@", "1.5"] {
            assert!(text.parse::<From>().is_err(), "{text:?}");
        }
    }
}
