//! Sizes and durations as people write them: `8MiB`, `250ms`.

use std::{fmt, str::FromStr, time::Duration};

/// A number of bytes: `1024`, `64KiB`, `8MiB`, `1.5GiB` (powers of 1,024), `500KB`, `10MB`, `2GB`
/// (powers of 1,000).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

/// A time span: `250ms`, `2s`, `1.5s`, `10m`, `1h`, `7d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// Units of bytes, largest first; powers of 1,000 only where they were asked for.
const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Units of time in milliseconds, largest first.
const SPAN_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A number and its unit, in the unit's base; None where either cannot be read or it is too large.
fn scaled(text: &str, units: &[(&str, u64)], bare: Option<u64>) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let factor = if unit.is_empty() {
        bare?
    } else {
        units
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))?
            .1
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    // Nine digits are more than anybody means.
    let fraction = fraction.get(..9).unwrap_or(fraction);
    let places = u32::try_from(fraction.len()).ok()?;
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor) / 10_u128.pow(places);
    whole.checked_add(u64::try_from(part).ok()?)
}

/// The largest unit in which the number is whole.
fn written(
    f: &mut fmt::Formatter<'_>,
    number: u64,
    units: &[(&str, u64)],
    zero: &str,
) -> fmt::Result {
    if number == 0 {
        return f.write_str(zero);
    }
    for (name, factor) in units {
        if number.is_multiple_of(*factor) {
            return write!(f, "{}{name}", number / factor);
        }
    }
    write!(f, "{number}")
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, &BYTE_UNITS, Some(1))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no size; write 8MiB, 64KiB or a number of bytes"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        written(f, self.0, &BYTE_UNITS, "0B")
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, &SPAN_UNITS, None)
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| format!("{text:?} is no time span; write 250ms, 2s, 10m, 1h or 7d"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        written(f, millis, &SPAN_UNITS, "0ms")
    }
}

/// Reads a size or a time span where none at all would mean never to rest or to take nothing.
pub(crate) fn above_zero<T>(text: &str) -> Result<T, String>
where
    T: FromStr<Err = String> + Default + PartialEq,
{
    let value: T = text.parse()?;
    if value == T::default() {
        return Err("it must be more than 0".to_owned());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, shown) in [
            ("0", 0, "0B"),
            ("1024", 1024, "1KiB"),
            ("8MiB", 8 << 20, "8MiB"),
            ("8 mib", 8 << 20, "8MiB"),
            ("1.5GiB", 3 << 29, "1536MiB"),
            ("500KB", 500_000, "500KB"),
            ("1001", 1001, "1001B"),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
            assert_eq!(Bytes(bytes).to_string(), shown);
            assert_eq!(shown.parse(), Ok(Bytes(bytes)), "{shown}");
        }
        for text in ["", "MiB", "-1", "8XB", "1.2.3", "99999999999TiB", "8 M iB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn time_spans_are_read_and_written() {
        for (text, millis, shown) in [
            ("250ms", 250, "250ms"),
            ("2s", 2_000, "2s"),
            ("1.5s", 1_500, "1500ms"),
            ("10m", 600_000, "10m"),
            ("24h", 86_400_000, "1d"),
            ("0s", 0, "0ms"),
        ] {
            let span = Span(Duration::from_millis(millis));
            assert_eq!(text.parse(), Ok(span), "{text}");
            assert_eq!(span.to_string(), shown);
        }
        for text in ["", "5", "s", "5x", "1e3s", "-1s"] {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_may_not_be_zero_is_told() {
        assert_eq!(above_zero("1ms"), Ok(Span(Duration::from_millis(1))));
        assert_eq!(above_zero("8MiB"), Ok(Bytes(8 << 20)));
        assert!(above_zero::<Span>("0s").is_err());
        assert!(above_zero::<Bytes>("0").is_err());
        assert!(above_zero::<Bytes>("x").is_err());
    }
}
