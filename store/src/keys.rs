//! What a key may look like, the same for every store, so that what works in a folder works in a bucket.

use crate::port::Payload;

/// Longest key in bytes (S3's limit).
pub(crate) const KEY_BYTES_MAX: usize = 1024;

/// Says what is wrong with `key`: it has 1 to 1,024 bytes, no control character, and no segment between
/// slashes that is empty, `.` or `..`.
pub(crate) fn check(key: &str) -> Result<(), String> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(format!(
            "a key has 1 to {KEY_BYTES_MAX} bytes, this one has {}",
            key.len()
        ));
    }
    if key.chars().any(char::is_control) {
        return Err("a key has no control characters".to_owned());
    }
    if key
        .split('/')
        .any(|s| s.is_empty() || s == "." || s == "..")
    {
        return Err("no segment of a key is empty, '.' or '..'".to_owned());
    }
    Ok(())
}

/// Length of all pieces together.
pub(crate) fn payload_bytes(payload: &Payload) -> u64 {
    payload
        .iter()
        .map(|piece| u64::try_from(piece.len()).unwrap_or(u64::MAX))
        .fold(0, u64::saturating_add)
}

/// `range` cut to an object of `bytes` bytes; empty where it begins at or after its end, or ends before
/// it begins.
pub(crate) fn cut(range: &std::ops::Range<u64>, bytes: u64) -> std::ops::Range<u64> {
    let end = range.end.min(bytes);
    let start = range.start.min(end);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_some_store_could_not_hold_are_refused() {
        for good in ["a", "ab12/c/1/2/0-1-x", "a..b/c.d", "ü/ß"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "", "/a", "a/", "a//b", ".", "a/../b", "a/./b", "a\0", "a\nb",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check(&"x".repeat(1025)).is_err());
    }

    #[test]
    fn ranges_are_cut_to_the_object() {
        assert_eq!(cut(&(2..5), 10), 2..5);
        assert_eq!(cut(&(2..50), 10), 2..10);
        assert_eq!(cut(&(10..50), 10), 10..10);
        assert_eq!(cut(&(60..80), 10), 10..10);
        #[allow(clippy::reversed_empty_ranges, reason = "hostile input")]
        let backwards = 7..3;
        assert!(cut(&backwards, 10).is_empty());
    }
}
