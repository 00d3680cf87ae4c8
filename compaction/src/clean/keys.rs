//! Which records are superseded: by the newest offset of each key.

mod newest;
mod spilled;
#[cfg(test)]
mod tests;

use std::{io, mem};

use aquifer_format::ids::Offset;

use self::{
    newest::{KeyHash, NewestOffsets},
    spilled::{Notes, Settling, Superseded},
};
use super::Spill;
use crate::worker::JobError;

/// Finds superseded records in two passes over a log. In the first one records are noted: those of the dirty
/// part, or all of them where keys spill. In the second each is asked for. Keys are known by 128 bits of their
/// SHA-256.
///
/// In memory it is a table of keys. Where that is too small, [`Self::begin_spill`] begins anew: every record is
/// written to one of some hundred files by its key; [`Self::settle`] then finds the superseded ones file by
/// file, with a table of a part of the keys, and writes their offsets to files by offset, which the second pass
/// reads in order. So a log may have any number of keys: memory bounds how often a file is read, the spill's
/// room how many records are noted.
#[derive(Debug)]
pub struct KeyIndex {
    memory_bytes: usize,
    spill: Box<dyn Spill>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Table(NewestOffsets),
    Noting(Notes),
    Settling(Settling),
    Settled(Superseded),
}

impl KeyIndex {
    /// Takes up to `memory_bytes`, then spills.
    #[must_use]
    pub fn new(memory_bytes: usize, spill: Box<dyn Spill>) -> Self {
        Self {
            memory_bytes,
            spill,
            stage: Stage::Table(NewestOffsets::new(memory_bytes)),
        }
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// [`JobError::Spill`].
    pub fn clear(&mut self) -> Result<(), JobError> {
        self.stage = Stage::Table(NewestOffsets::new(self.memory_bytes));
        self.spill.clear().map_err(cannot_spill)
    }

    /// Forgets everything, and spills from now on: every record of the log is to be noted.
    ///
    /// # Errors
    /// [`JobError::Spill`].
    pub fn begin_spill(&mut self) -> Result<(), JobError> {
        self.clear()?;
        self.stage = Stage::Noting(Notes::new(self.memory_bytes, self.spill.room()));
        Ok(())
    }

    /// Notes a record with a key; offsets rise. False = there is no room: neither for this one nor for any
    /// behind it.
    ///
    /// # Errors
    /// [`JobError::Spill`].
    pub fn note(&mut self, key: &[u8], offset: Offset) -> Result<bool, JobError> {
        let hash = KeyHash::of(key);
        match &mut self.stage {
            Stage::Table(newest) => Ok(newest.note(hash, offset.0)),
            Stage::Noting(notes) => notes
                .note(&mut *self.spill, hash, offset.0)
                .map_err(cannot_spill),
            Stage::Settling(_) | Stage::Settled(_) => Ok(false),
        }
    }

    /// Does a piece of the work between the passes, some milliseconds long; true = it is done.
    ///
    /// # Errors
    /// [`JobError::Spill`].
    pub fn settle(&mut self) -> Result<bool, JobError> {
        let none = Stage::Settled(Superseded::default());
        let (stage, done) = match mem::replace(&mut self.stage, none) {
            Stage::Noting(notes) => {
                let settling = notes.settle(&mut *self.spill).map_err(cannot_spill)?;
                (Stage::Settling(settling), false)
            }
            Stage::Settling(mut settling) => {
                match settling.step(&mut *self.spill).map_err(cannot_spill)? {
                    None => (Stage::Settling(settling), false),
                    Some(superseded) => (Stage::Settled(superseded), true),
                }
            }
            stage @ (Stage::Table(_) | Stage::Settled(_)) => (stage, true),
        };
        self.stage = stage;
        Ok(done)
    }

    /// Whether a later record of this key was noted. Asked in order of offsets, once it is settled.
    ///
    /// # Errors
    /// [`JobError::Spill`].
    pub fn is_superseded(&mut self, key: &[u8], offset: Offset) -> Result<bool, JobError> {
        match &mut self.stage {
            Stage::Table(newest) => Ok(newest
                .newest(KeyHash::of(key))
                .is_some_and(|newest| offset.0 < newest)),
            Stage::Settled(superseded) => superseded
                .has(&mut *self.spill, offset.0)
                .map_err(cannot_spill),
            Stage::Noting(_) | Stage::Settling(_) => Err(JobError::Spill {
                reason: "the spilled keys were not sorted yet".to_owned(),
            }),
        }
    }
}

fn cannot_spill(error: io::Error) -> JobError {
    JobError::Spill {
        reason: format!(
            "{error}; make room in the folder for spilled keys, or name another one by --compaction-spill"
        ),
    }
}
