//! Objects: `[magic and version][blocks][footer][trailer]`.
//!
//! A *run* is the section that holds one partition's batches, in one or more [blocks](crate::block).
//! Runs are sorted by topic, then partition. The footer indexes runs and blocks; the trailer, 24 bytes
//! at the very end, says where the footer begins and carries its checksum.
//!
//! Level 0 is version 1. Level 1 and up, written by compactors, are version 2: batches have their absolute
//! offsets, each run ends with an [index](RunIndex) of its blocks, so that who knows where a run lies reads
//! any offset of it without the footer, and the footer repeats what the indexes say.

mod builder;
mod footer;
mod input;
mod run_index;
mod stream;
#[cfg(test)]
mod tests;
mod verify;

pub use self::builder::{BatchPieces, BuildError, BuiltObject, BuiltRun, ObjectBuilder};
pub use self::footer::{BlockEntry, Footer, FooterError, FooterRead, RunEntry, read_footer};
pub use self::run_index::{AbortedTransaction, IndexEntry, IndexError, RunIndex};
pub use self::stream::{StreamBuilder, StreamedRun};
pub use self::verify::{VerifyError, check_sums, verify};

/// First bytes of every object: a name and the version of the format.
pub const OBJECT_MAGIC: [u8; 8] = *b"AQUIFER\x01";
/// Last bytes of every object of this version.
pub const TRAILER_MAGIC: [u8; 8] = *b"REFIUQA\x01";
/// First bytes of objects of level 1 and up: their runs end with an index.
pub const MERGED_OBJECT_MAGIC: [u8; 8] = *b"AQUIFER\x02";
/// Last bytes of objects of level 1 and up.
pub const MERGED_TRAILER_MAGIC: [u8; 8] = *b"REFIUQA\x02";
/// Length of the trailer in bytes.
pub const TRAILER_BYTES: usize = 24;
