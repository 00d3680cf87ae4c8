//! Reading fields of footers and indexes.

use bytes::{Buf, Bytes};
use uuid::Uuid;

use crate::varint;

/// The bytes that were not decoded yet.
pub(super) struct Input(pub(super) Bytes);

impl Input {
    pub(super) fn u64(&mut self) -> Result<u64, &'static str> {
        let (value, taken) = varint::read_u64(&self.0).map_err(|_| "a number is cut short")?;
        self.0.advance(taken);
        Ok(value)
    }

    pub(super) fn i64(&mut self) -> Result<i64, &'static str> {
        let (value, taken) = varint::read_i64(&self.0).map_err(|_| "a number is cut short")?;
        self.0.advance(taken);
        Ok(value)
    }

    pub(super) fn u32(&mut self) -> Result<u32, &'static str> {
        u32::try_from(self.u64()?).map_err(|_| "a number is too large")
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let array = *self.0.first_chunk::<N>().ok_or("a field is cut short")?;
        self.0.advance(N);
        Ok(array)
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, &'static str> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    pub(super) fn has_remaining(&self) -> bool {
        self.0.has_remaining()
    }
}
