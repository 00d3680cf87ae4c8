//! Numbers in as many bytes as they need, for tables that are too hot for a protobuf message or column:
//! written in one pass over what they tell, without a length counted before.
//!
//! The bytes are protobuf's: seven bits each, the lowest first; signed numbers are zigzag-encoded, so that
//! small ones of either sign are short. Reading is total: it copies nothing and reserves nothing.

use crate::event::Malformed;

const SHORT: Malformed = "it ends early";
const RANGE: Malformed = "a number is out of range";
/// Bytes of the longest number.
const BYTES_MAX: usize = 10;

/// Appends a number.
#[inline]
pub(crate) fn put(to: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        let [low, ..] = number.to_le_bytes();
        to.push(low | 0x80);
        number >>= 7;
    }
    let [low, ..] = number.to_le_bytes();
    to.push(low);
}

/// Appends a number that may be negative.
#[inline]
pub(crate) fn put_signed(to: &mut Vec<u8>, number: i64) {
    put(to, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Reads what [`put`] and [`put_signed`] wrote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    /// A number.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let bytes = self.0;
        match bytes {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long(),
        }
    }

    fn long(&mut self) -> Result<u64, Malformed> {
        let bytes = self.0;
        let mut number = 0u64;
        for (at, byte) in bytes.iter().enumerate().take(BYTES_MAX) {
            let bits = u64::from(*byte & 0x7f);
            if at + 1 == BYTES_MAX && *byte > 1 {
                return Err(RANGE);
            }
            number |= bits << (7 * at);
            if *byte < 0x80 {
                self.0 = &bytes[at + 1..];
                return Ok(number);
            }
        }
        Err(SHORT)
    }

    /// A number of 32 bits.
    pub(crate) fn small(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| RANGE)
    }

    /// How many of something there are.
    pub(crate) fn count(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.number()?).map_err(|_| RANGE)
    }

    /// A number that may be negative.
    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A number of 32 bits that was written as the difference to `before`.
    pub(crate) fn small_after(&mut self, before: u32) -> Result<u32, Malformed> {
        let number = i64::from(before).checked_add(self.signed()?);
        number
            .and_then(|number| u32::try_from(number).ok())
            .ok_or(RANGE)
    }

    /// The next `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// Everything was read.
    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err("there is something behind its end")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_take_the_bytes_that_they_need() {
        let cases: [(u64, &[u8]); 6] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::from(u32::MAX), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (
                u64::MAX,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            ),
        ];
        for (number, bytes) in cases {
            let mut to = Vec::new();
            put(&mut to, number);
            assert_eq!(to, bytes, "{number}");
        }
    }

    #[test]
    fn what_no_number_is_written_as_is_refused() {
        let cases: [(&[u8], Malformed); 4] = [
            (&[], SHORT),
            (&[0x80], SHORT),
            (&[0x80, 0x80], SHORT),
            (&[0xff; 11], RANGE),
        ];
        for (bytes, reason) in cases {
            assert_eq!(Reader::new(bytes).number(), Err(reason), "{bytes:?}");
        }
        let mut past = Vec::new();
        put(&mut past, 1 << 32);
        assert_eq!(Reader::new(&past).small(), Err(RANGE));
        let mut before_zero = Vec::new();
        put_signed(&mut before_zero, -8);
        assert_eq!(Reader::new(&before_zero).small_after(7), Err(RANGE));
        assert_eq!(Reader::new(&before_zero).small_after(8), Ok(0));
        assert_eq!(Reader::new(&[1, 2]).bytes(3), Err(SHORT));
        assert_eq!(Reader::new(&[1, 2]).array::<3>(), Err(SHORT));
        assert!(Reader::new(&[1]).finish().is_err());
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_written(
            all in prop::collection::vec((any::<u64>(), 0u32..64, any::<i64>()), 0..20),
        ) {
            let mut bytes = Vec::new();
            for (number, shift, signed) in &all {
                put(&mut bytes, number >> shift);
                put_signed(&mut bytes, signed >> shift);
            }
            let mut reader = Reader::new(&bytes);
            for (number, shift, signed) in &all {
                prop_assert_eq!(reader.number(), Ok(number >> shift));
                prop_assert_eq!(reader.signed(), Ok(signed >> shift));
            }
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}
