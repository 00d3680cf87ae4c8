//! Backups of the metadata in the bucket: pages and the rows since.
//!
//! The leader's process writes one every [`BackupSettings::interval`]. A backup is a *manifest* and the parts that
//! it names: those of a *base* (all pages), of *increments* (pages that changed, keys that went), and of rows. Parts
//! are zstd frames with a checksum, written before the manifest that names them; the manifest is written last, by
//! a create. So a manifest that is there is whole.

mod chain;
mod manifest;
mod part;
mod writer;

use std::time::Duration;

pub use self::{
    manifest::{Manifest, PartRef},
    writer::while_leading,
};

/// How backups are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupSettings {
    /// Time between two. Default 5 minutes: what is lost with the database at most.
    pub interval: Duration,
    /// A base is written anew after so many increments, or once they are larger than it. Default 288: daily.
    pub increments_max: u32,
}

impl Default for BackupSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(300),
            increments_max: 288,
        }
    }
}
