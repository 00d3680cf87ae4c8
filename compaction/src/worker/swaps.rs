//! Swapping what is durable, in pieces that the leader decides quickly.

use aquifer_format::ids::{ObjectId, Offset, PartitionId};

use super::{JobError, output::WrittenRun};

/// Ranges that wait for their objects to be durable, or for a full piece.
#[derive(Debug)]
pub struct Swaps {
    /// Ranges that were swapped.
    pub done: u64,
    /// Ranges whose output is dead.
    pub dead: u64,
}

impl Swaps {
    /// Adds a range; its runs may lie in several objects. `inputs`: objects that its extents lie in.
    pub fn add(
        &mut self,
        partition: PartitionId,
        (from, to): (Offset, Offset),
        runs: Vec<WrittenRun>,
        inputs: impl IntoIterator<Item = ObjectId>,
        cleaned_through: Option<Offset>,
    ) {
        let _ = (partition, from, to, runs, cleaned_through);
        drop(inputs.into_iter());
        todo!("builder D")
    }

    /// Sends those whose objects are durable; all of them if `last`.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn send(&mut self, durable: usize, last: bool) -> Result<(), JobError> {
        let _ = (durable, last);
        todo!("builder D")
    }
}
