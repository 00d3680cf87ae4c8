//! Which records are superseded: by the newest offset of each key.

use aquifer_format::ids::Offset;

use super::Spill;
use crate::worker::JobError;

/// Finds superseded records in two passes over a log: in the first every record of the dirty part (all of them,
/// once it spills) is noted, in the second each is asked for. Keys are known by 128 bits of their SHA-256.
#[derive(Debug)]
pub struct KeyIndex {
    memory_bytes: usize,
    spill: Box<dyn Spill>,
}

impl KeyIndex {
    /// Takes up to `memory_bytes`, then spills.
    #[must_use]
    pub fn new(memory_bytes: usize, spill: Box<dyn Spill>) -> Self {
        Self {
            memory_bytes,
            spill,
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        let _ = (self.memory_bytes, &self.spill);
        todo!("builder E")
    }

    /// Notes a record with a key; offsets rise. False = there is no room, neither here nor where it spills: the
    /// round ends before this offset.
    ///
    /// # Errors
    /// [`JobError::Spill`].
    pub fn note(&mut self, key: &[u8], offset: Offset) -> Result<bool, JobError> {
        let _ = (key, offset);
        todo!("builder E")
    }

    /// Whether a later record of this key was noted. Asked in order of offsets.
    ///
    /// # Errors
    /// [`JobError::Spill`].
    pub fn is_superseded(&mut self, key: &[u8], offset: Offset) -> Result<bool, JobError> {
        let _ = (key, offset);
        todo!("builder E")
    }
}
