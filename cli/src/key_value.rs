//! `KEY=VALUE`, as flags take them.

use std::str::FromStr;

/// A key, which is not empty, and a value, which may be and may have more `=` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyValue {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for KeyValue {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("write KEY=VALUE"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_at_the_first_equals_sign() {
        for (text, key, value) in [("a=b", "a", "b"), ("a=", "a", ""), ("a=b=c", "a", "b=c")] {
            let read: KeyValue = text.parse().unwrap();
            assert_eq!(
                (read.key.as_str(), read.value.as_str()),
                (key, value),
                "{text}"
            );
        }
        for wrong in ["", "a", "=b"] {
            assert!(wrong.parse::<KeyValue>().is_err(), "{wrong:?}");
        }
    }
}
