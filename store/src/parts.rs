//! What an upload in parts has so far: the same rules for every store.

use std::collections::BTreeMap;

use aquifer_format::limits::UPLOAD_PART_BYTES;

use crate::{
    keys,
    port::{Payload, PutError},
};

/// Most parts of an upload (S3's limit).
const PARTS_MAX: u32 = 10_000;

/// Parts that were written, with what the store has to know of each.
#[derive(Debug)]
pub(crate) struct Parts<T> {
    written: BTreeMap<u32, (u64, T)>,
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self {
            written: BTreeMap::new(),
        }
    }
}

/// Bytes of a part that is not the last one.
pub(crate) fn part_bytes() -> u64 {
    u64::try_from(UPLOAD_PART_BYTES).unwrap_or(u64::MAX)
}

/// An upload of `key` that cannot go on.
pub(crate) fn refused(key: &str, reason: impl Into<String>) -> PutError {
    PutError::Refused {
        key: key.to_owned(),
        reason: reason.into(),
    }
}

/// An upload that is used behind its end.
pub(crate) fn ended(key: &str) -> PutError {
    refused(
        key,
        "the upload is not there any more: it was finished or aborted",
    )
}

/// Checks the part before it is sent; gives back its length.
///
/// # Errors
/// A number or a length that no part can have.
pub(crate) fn check(key: &str, number: u32, payload: &Payload) -> Result<u64, PutError> {
    let bytes = keys::payload_bytes(payload);
    if number >= PARTS_MAX {
        return Err(refused(
            key,
            format!("an upload has at most {PARTS_MAX} parts"),
        ));
    }
    if bytes == 0 || bytes > part_bytes() {
        return Err(refused(
            key,
            format!("a part has 1 to {UPLOAD_PART_BYTES} bytes, this one has {bytes}"),
        ));
    }
    Ok(bytes)
}

impl<T: Clone> Parts<T> {
    /// Part `number` is there; it replaces what was there under its number.
    pub(crate) fn add(&mut self, number: u32, bytes: u64, part: T) {
        self.written.insert(number, (bytes, part));
    }

    /// The first `parts` parts, which make an object of `bytes` bytes.
    ///
    /// # Errors
    /// One is missing, or has another length than it must have.
    pub(crate) fn all(&self, key: &str, parts: u32, bytes: u64) -> Result<Vec<T>, PutError> {
        let mut all = Vec::new();
        let mut sum = 0u64;
        for number in 0..parts {
            let (length, part) = self
                .written
                .get(&number)
                .ok_or_else(|| refused(key, format!("part {number} was not written")))?;
            if number + 1 < parts && *length != part_bytes() {
                return Err(refused(
                    key,
                    format!("part {number} has {length} bytes and is not the last one"),
                ));
            }
            sum = sum.saturating_add(*length);
            all.push(part.clone());
        }
        if all.is_empty() || sum != bytes {
            return Err(refused(
                key,
                format!("its {parts} parts have {sum} bytes, not {bytes}"),
            ));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn parts_make_an_object_if_all_but_the_last_are_whole() {
        let whole = part_bytes();
        for (what, lengths, parts, bytes, good) in [
            ("one", vec![5], 1, 5, true),
            ("one whole", vec![whole], 1, whole, true),
            ("two", vec![whole, 1], 2, whole + 1, true),
            ("the first of two", vec![whole, 1], 1, whole, true),
            ("another size", vec![whole, 1], 2, whole, false),
            ("a short one", vec![5, 5], 2, 10, false),
            ("too few", vec![whole], 2, whole, false),
            ("none", vec![], 0, 0, false),
        ] {
            let mut written = Parts::default();
            for (number, bytes) in (0..).zip(lengths) {
                written.add(number, 7, u32::MAX);
                written.add(number, bytes, number);
            }
            let all = written.all("k", parts, bytes);
            let expected: Vec<u32> = (0..parts).collect();
            assert_eq!(
                all.as_ref().ok(),
                good.then_some(&expected),
                "{what}: {all:?}"
            );
        }
    }

    #[test]
    fn parts_are_neither_empty_nor_too_large() {
        let payload = |bytes| vec![Bytes::from(vec![0; bytes])];
        assert_eq!(check("k", 0, &payload(1)).ok(), Some(1));
        assert_eq!(
            check("k", PARTS_MAX - 1, &payload(UPLOAD_PART_BYTES)).ok(),
            Some(part_bytes())
        );
        assert!(check("k", 0, &payload(0)).is_err());
        assert!(check("k", 0, &payload(UPLOAD_PART_BYTES + 1)).is_err());
        assert!(check("k", PARTS_MAX, &payload(1)).is_err());
    }
}
