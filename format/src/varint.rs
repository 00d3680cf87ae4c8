//! Variable-length integers: the zigzag ones of Kafka records, and the unsigned ones of our footer.
//! Both are base-128, least significant group first, as in Protocol Buffers.

/// Why bytes are not a variable-length integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VarintError {
    /// The bytes end inside the number.
    Short,
    /// The number does not fit its type.
    Overlong,
}

/// Reads an unsigned number of at most ten bytes and says how many it took.
#[inline]
pub(crate) fn read_u64(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        let group = u64::from(byte & 0x7f);
        if i == 9 && group > 1 {
            return Err(VarintError::Overlong);
        }
        value |= group << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((value, i + 1));
        }
    }
    Err(if bytes.len() < 10 {
        VarintError::Short
    } else {
        VarintError::Overlong
    })
}

/// Reads an unsigned number of at most five bytes and says how many it took.
#[inline]
pub(crate) fn read_u32(bytes: &[u8]) -> Result<(u32, usize), VarintError> {
    // Lengths and deltas of most records take one byte.
    if let Some(byte) = bytes.first().filter(|byte| **byte < 0x80) {
        return Ok((u32::from(*byte), 1));
    }
    let mut value = 0u32;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        let group = u32::from(byte & 0x7f);
        if i == 4 && group > 0xf {
            return Err(VarintError::Overlong);
        }
        value |= group << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((value, i + 1));
        }
    }
    Err(if bytes.len() < 5 {
        VarintError::Short
    } else {
        VarintError::Overlong
    })
}

/// Reads a zigzag number of at most five bytes (Kafka's `ByteUtils.readVarint`).
#[inline]
pub(crate) fn read_i32(bytes: &[u8]) -> Result<(i32, usize), VarintError> {
    let (value, taken) = read_u32(bytes)?;
    Ok((
        (value >> 1).cast_signed() ^ -(value & 1).cast_signed(),
        taken,
    ))
}

/// Reads a zigzag number of at most ten bytes (Kafka's `ByteUtils.readVarlong`).
#[inline]
pub(crate) fn read_i64(bytes: &[u8]) -> Result<(i64, usize), VarintError> {
    let (value, taken) = read_u64(bytes)?;
    Ok((
        (value >> 1).cast_signed() ^ -(value & 1).cast_signed(),
        taken,
    ))
}

/// Appends an unsigned number.
pub(crate) fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits fit") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits fit"));
}

/// Appends a zigzag number; 32-bit ones come out as `ByteUtils.writeVarint` writes them.
pub(crate) fn write_i64(out: &mut Vec<u8>, value: i64) {
    write_u64(out, zigzag(value));
}

/// Length of what [`write_i64`] appends.
pub(crate) fn len_i64(value: i64) -> usize {
    let bits = 64 - zigzag(value).leading_zeros();
    usize::try_from(bits.div_ceil(7).max(1)).expect("at most ten")
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zigzag_numbers_are_written_as_kafka_writes_them() {
        for (value, bytes) in [
            (0, vec![0x00]),
            (-1, vec![0x01]),
            (1, vec![0x02]),
            (63, vec![0x7e]),
            (-64, vec![0x7f]),
            (64, vec![0x80, 0x01]),
            (8191, vec![0xfe, 0x7f]),
            (i64::from(i32::MAX), vec![0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), vec![0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(len_i64(value), bytes.len(), "{value}");
            assert_eq!(read_i64(&bytes), Ok((value, bytes.len())));
            let narrow = i32::try_from(value).expect("in the table");
            assert_eq!(read_i32(&bytes), Ok((narrow, bytes.len())));
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(read_u32(&[]), Err(VarintError::Short));
        assert_eq!(read_u32(&[0x80; 4]), Err(VarintError::Short));
        assert_eq!(read_u32(&[0x80; 5]), Err(VarintError::Overlong));
        assert_eq!(
            read_u32(&[0xff, 0xff, 0xff, 0xff, 0x10]),
            Err(VarintError::Overlong)
        );
        assert_eq!(read_u64(&[0xff; 9]), Err(VarintError::Short));
        assert_eq!(read_u64(&[0xff; 12]), Err(VarintError::Overlong));
        let mut longest = [0xff; 10];
        longest[9] = 1;
        assert_eq!(read_u64(&longest), Ok((u64::MAX, 10)));
        longest[9] = 2;
        assert_eq!(read_u64(&longest), Err(VarintError::Overlong));
    }

    proptest! {
        #[test]
        fn numbers_round_trip(value: i64, narrow: i32) {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            prop_assert_eq!(read_i64(&out), Ok((value, out.len())));
            prop_assert_eq!(len_i64(value), out.len());
            out.clear();
            write_i64(&mut out, i64::from(narrow));
            prop_assert_eq!(read_i32(&out), Ok((narrow, out.len())));
        }
    }
}
