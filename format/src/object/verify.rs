//! Checks of whole objects: by those that take one from another place than the bucket, and by tests and
//! tools. Readers verify the blocks that they read.

use bytes::Bytes;
use thiserror::Error;

use super::TRAILER_BYTES;
use super::footer::{Footer, FooterError, FooterRead, RunEntry, Version, count, read_versioned};
use super::run_index::{IndexError, RunIndex};
use crate::block::{BlockError, BlockHeader, Blocks};
use crate::ids::PartitionId;

/// Why a whole object is not sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// Its first bytes are not those of an object of the version that its last bytes name.
    #[error("no object of a version that this release reads: it begins otherwise")]
    NoObject,
    /// Its footer cannot be read.
    #[error(transparent)]
    Footer(#[from] FooterError),
    /// A block cannot be.
    #[error("run of {partition}: {error}")]
    Block {
        /// The run's partition.
        partition: PartitionId,
        /// What is wrong.
        error: BlockError,
    },
    /// The index of a run cannot be read.
    #[error("run of {partition}: {error}")]
    Index {
        /// The run's partition.
        partition: PartitionId,
        /// What is wrong.
        error: IndexError,
    },
    /// Blocks, indexes and footer do not say the same, or bytes lie between runs.
    #[error("blocks and footer do not agree at byte {position}")]
    Disagreement {
        /// Where in the object.
        position: u64,
    },
}

/// Checks a whole object: every byte of it is covered by a checksum or by a constant.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(object: &Bytes) -> Result<Footer, VerifyError> {
    walk(object, |blocks| {
        let block = blocks.next()?;
        Some(block.map(|block| (block.position, block.header)))
    })
}

/// Checks a whole object as [`verify`] does, and expands nothing: its bytes are those that were written,
/// whatever they expand to. Takes as long as a CRC32C of it.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_sums(object: &Bytes) -> Result<Footer, VerifyError> {
    walk(object, |blocks| {
        let block = blocks.next_stored()?;
        Some(block.map(|(position, header, _)| (position, header)))
    })
}

/// Takes the next block of a run: its position and header.
type Step = fn(&mut Blocks) -> Option<Result<(usize, BlockHeader), BlockError>>;

fn walk(object: &Bytes, step: Step) -> Result<Footer, VerifyError> {
    let object_bytes = count(object.len());
    let (version, footer) = match read_versioned(object, object_bytes)? {
        (version, FooterRead::Footer(footer)) => (version, footer),
        (_, FooterRead::NeedMore { .. }) => {
            return Err(FooterError::Malformed {
                what: "it is longer than the object",
            }
            .into());
        }
    };
    if !object.starts_with(version.magic()) {
        return Err(VerifyError::NoObject);
    }
    let mut position = count(version.magic().len());
    for run in &footer.runs {
        if run.position != position {
            return Err(VerifyError::Disagreement { position });
        }
        let range = run.range();
        verify_run(
            version,
            run,
            &object.slice(within(range.start)..within(range.end)),
            step,
        )?;
        position = range.end;
    }
    let trailer_and_footer = count(footer.encode(version).len() + TRAILER_BYTES);
    if position + trailer_and_footer == object_bytes {
        Ok(footer)
    } else {
        Err(VerifyError::Disagreement { position })
    }
}

fn verify_run(
    version: Version,
    run: &RunEntry,
    stored: &Bytes,
    step: Step,
) -> Result<(), VerifyError> {
    let mut entries = run.blocks.iter();
    let index_at = run.stored_bytes.saturating_sub(run.index_bytes);
    let mut blocks = Blocks::new(stored.slice(..within(u64::from(index_at))));
    while let Some(block) = step(&mut blocks) {
        let (position, header) = block.map_err(|error| VerifyError::Block {
            partition: run.partition,
            error,
        })?;
        if entries.next().map(|entry| entry.header) != Some(header) {
            return Err(VerifyError::Disagreement {
                position: run.position + count(position),
            });
        }
    }
    if entries.next().is_some() {
        return Err(VerifyError::Disagreement {
            position: run.position,
        });
    }
    if version == Version::V2 {
        let index =
            RunIndex::read(stored, run.stored_bytes).map_err(|error| VerifyError::Index {
                partition: run.partition,
                error,
            })?;
        if index != run.index() {
            return Err(VerifyError::Disagreement {
                position: run.position + u64::from(index_at),
            });
        }
    }
    Ok(())
}

/// A position that was checked to lie within bytes in memory.
fn within(position: u64) -> usize {
    usize::try_from(position).expect("positions within a slice fit")
}
