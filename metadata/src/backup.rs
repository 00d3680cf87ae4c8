//! Backups of the metadata in the bucket: pages and the rows since.
//!
//! The leader's process writes one every [`BackupSettings::interval`]. A backup is a *manifest* and the parts that
//! it names: those of a *base* (all pages), of *increments* (pages that changed, keys that went), and of rows. Parts
//! are zstd frames with a checksum, written before the manifest that names them; the manifest is written last, by
//! a create. So a manifest that is there is whole.
//!
//! Invariant: what a manifest names folds to exactly the pages that the database's snapshot had. A page differs from
//! the snapshot before only if a write of it took effect between the two; the page writer names every page before it
//! begins to write it (`noted.rs`), and a name is kept until a snapshot was taken that was begun after the write had
//! ended. The names are taken when the snapshot stands, so whatever it shows was named by then. Writes without an answer stay
//! named as long as the leader leads; those of earlier leaders take no effect under its fence, and its first backup has
//! all pages. Pages that a later leader wrote are named by nobody here: so who makes a backup asks, after the snapshot,
//! whether it still leads.
//!
//! Invariant: an object that was released in some upload epoch is deleted only when a backup that was begun in a later
//! one is complete ([`crate::planner`] waits for it). So nothing that the newest backup refers to is gone, for it was
//! begun after the release was durable.

pub(crate) mod chain;
mod manifest;
mod noted;
mod part;
mod parts;
#[cfg(test)]
mod tests;
mod writer;

use std::time::Duration;

pub(crate) use self::noted::NotedPages;
#[cfg(test)]
pub(crate) use self::writer::Writer;
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
