//! Objects: `[magic and version][blocks][footer][trailer]`.
//!
//! A *run* is the section that holds one partition's batches, in one or more [blocks](crate::block).
//! Runs are sorted by topic, then partition. The footer indexes runs and blocks; the trailer, 24 bytes
//! at the very end, says where the footer begins and carries its checksum.

mod builder;
mod footer;
#[cfg(test)]
mod tests;
mod verify;

pub use self::builder::{BatchPieces, BuildError, BuiltObject, BuiltRun, ObjectBuilder};
pub use self::footer::{BlockEntry, Footer, FooterError, FooterRead, RunEntry, read_footer};
pub use self::verify::{VerifyError, check_sums, verify};

/// First bytes of every object: a name and the version of the format.
pub const OBJECT_MAGIC: [u8; 8] = *b"AQUIFER\x01";
/// Last bytes of every object of this version.
pub const TRAILER_MAGIC: [u8; 8] = *b"REFIUQA\x01";
/// Length of the trailer in bytes.
pub const TRAILER_BYTES: usize = 24;
