//! Checks of whole objects: by those that take one from another place than the bucket, and by tests and
//! tools. Readers verify the blocks that they read.

use bytes::Bytes;
use thiserror::Error;

use super::footer::{Footer, FooterError, FooterRead, RunEntry, count, read_footer};
use super::{OBJECT_MAGIC, TRAILER_BYTES};
use crate::block::{BlockError, BlockHeader, Blocks};
use crate::ids::PartitionId;

/// Why a whole object is not sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// Its first bytes are not those of an object of this version.
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
    /// Blocks and footer do not say the same, or bytes lie between runs.
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
    if !object.starts_with(&OBJECT_MAGIC) {
        return Err(VerifyError::NoObject);
    }
    let object_bytes = count(object.len());
    let footer = match read_footer(object, object_bytes)? {
        FooterRead::Footer(footer) => footer,
        FooterRead::NeedMore { .. } => {
            return Err(FooterError::Malformed {
                what: "it is longer than the object",
            }
            .into());
        }
    };
    let mut position = count(OBJECT_MAGIC.len());
    for run in &footer.runs {
        if run.position != position {
            return Err(VerifyError::Disagreement { position });
        }
        let range = run.range();
        verify_run(
            run,
            &object.slice(within(range.start)..within(range.end)),
            step,
        )?;
        position = range.end;
    }
    let trailer_and_footer = count(footer.encode().len() + TRAILER_BYTES);
    if position + trailer_and_footer == object_bytes {
        Ok(footer)
    } else {
        Err(VerifyError::Disagreement { position })
    }
}

fn verify_run(run: &RunEntry, stored: &Bytes, step: Step) -> Result<(), VerifyError> {
    let mut entries = run.blocks.iter();
    let mut blocks = Blocks::new(stored.clone());
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
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(VerifyError::Disagreement {
            position: run.position,
        }),
    }
}

/// A position that was checked to lie within bytes in memory.
fn within(position: u64) -> usize {
    usize::try_from(position).expect("positions within a slice fit")
}
