//! Reading flexible request versions that the protocol crate has no structures for. Only for bodies that the
//! guard has passed; text is checked here.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::Close;

/// A position in a body.
#[derive(Debug)]
pub(crate) struct Compact(Bytes);

impl Compact {
    /// At the beginning of a body.
    pub(crate) fn new(body: Bytes) -> Self {
        Self(body)
    }

    /// Bytes that were not read yet.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bool(&mut self) -> Result<bool, Close> {
        let [byte] = self.chunk()?;
        Ok(byte != 0)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Close> {
        self.chunk().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Close> {
        self.chunk().map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, Close> {
        self.chunk().map(Uuid::from_bytes)
    }

    pub(super) fn string(&mut self) -> Result<StrBytes, Close> {
        let text = self.nullable_string()?;
        text.ok_or_else(|| undecodable("text that must be there is null"))
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<StrBytes>, Close> {
        let Some(bytes) = self.length()? else {
            return Ok(None);
        };
        let text = StrBytes::from_utf8(self.take(bytes)?);
        text.map(Some)
            .map_err(|error| undecodable(&error.to_string()))
    }

    pub(super) fn array<T>(
        &mut self,
        element: impl FnMut(&mut Self) -> Result<T, Close>,
    ) -> Result<Vec<T>, Close> {
        let elements = self.nullable_array(element)?;
        elements.ok_or_else(|| undecodable("an array that must be there is null"))
    }

    pub(super) fn nullable_array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, Close>,
    ) -> Result<Option<Vec<T>>, Close> {
        let Some(count) = self.length()? else {
            return Ok(None);
        };
        // Each element takes a byte or more.
        let mut elements = Vec::with_capacity(count.min(self.0.len()));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// Steps over the tagged fields of a structure.
    pub(super) fn skip_tags(&mut self) -> Result<(), Close> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let bytes = self.varint()?;
            self.take(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }

    fn take(&mut self, bytes: usize) -> Result<Bytes, Close> {
        if bytes > self.0.len() {
            return Err(undecodable("the body ends inside a field"));
        }
        Ok(self.0.split_to(bytes))
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Close> {
        let bytes = self.take(N)?;
        let chunk = bytes.first_chunk::<N>().copied();
        chunk.ok_or_else(|| undecodable("the body ends inside a field"))
    }

    /// A length or count, which is sent plus one; None = null.
    fn length(&mut self) -> Result<Option<usize>, Close> {
        let length = self.varint()?.checked_sub(1);
        Ok(length.map(|length| usize::try_from(length).unwrap_or(usize::MAX)))
    }

    fn varint(&mut self) -> Result<u32, Close> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.chunk()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(undecodable(
            "a variable-length integer has more than 32 bits",
        ))
    }
}

fn undecodable(reason: &str) -> Close {
    Close::Undecodable {
        reason: reason.to_owned(),
    }
}
