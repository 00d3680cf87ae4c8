//! Small texts in the bucket that end with their checksum: what was damaged on its way is not taken for what
//! was written. A text, a line feed, `crc32c:` with eight hex digits, a line feed.

use thiserror::Error;

use crate::crc::crc32c;

const LABEL: &[u8] = b"\ncrc32c:";
/// Eight digits and a line feed.
const DIGITS: usize = 9;

/// The bytes are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("its checksum is not that of its text")]
pub struct Damaged;

/// The text with its checksum.
#[must_use]
pub fn seal(mut text: Vec<u8>) -> Vec<u8> {
    let sum = crc32c(&text);
    text.extend_from_slice(LABEL);
    text.extend_from_slice(format!("{sum:08x}\n").as_bytes());
    text
}

/// The text in what [`seal`] wrote.
///
/// # Errors
/// Other bytes.
pub fn open(bytes: &[u8]) -> Result<&[u8], Damaged> {
    let end = bytes.len().checked_sub(LABEL.len() + DIGITS);
    let (text, rest) = bytes.split_at_checked(end.ok_or(Damaged)?).ok_or(Damaged)?;
    let digits = rest.strip_prefix(LABEL).ok_or(Damaged)?;
    if digits == format!("{:08x}\n", crc32c(text)).as_bytes() {
        Ok(text)
    } else {
        Err(Damaged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_stay_as_they_were_shipped() {
        let sealed = seal(b"123456789".to_vec());
        assert_eq!(sealed, b"123456789\ncrc32c:e3069283\n");
    }

    proptest! {
        #[test]
        fn a_text_comes_back_and_a_damaged_one_does_not(
            text in prop::collection::vec(any::<u8>(), 0..200),
            at: prop::sample::Index,
            bit in 0..8_u8,
        ) {
            let mut bytes = seal(text.clone());
            prop_assert_eq!(open(&bytes), Ok(&text[..]));
            let at = at.index(bytes.len());
            prop_assert_eq!(open(&bytes[..at]), Err(Damaged));
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(open(&bytes), Err(Damaged));
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = open(&bytes);
        }
    }
}
