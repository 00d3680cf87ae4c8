//! What a person approves of after a sweep stopped and asked.

use std::sync::Arc;

use parking_lot::Mutex;

/// An approval of so many orphans; the default approves of none. It is for the sweep that asked: each orphan that
/// is deleted uses it up, and it ends with the first sweep that has nothing to ask. Clones share it, so that a
/// sweeper that is made later, with the same settings, does not have it again.
#[derive(Clone, Debug, Default)]
pub struct Approval(Arc<Mutex<u64>>);

impl Approval {
    /// An approval of `objects` orphans.
    #[must_use]
    pub fn of(objects: u64) -> Self {
        Self(Arc::new(Mutex::new(objects)))
    }

    /// Whether so many orphans may be deleted.
    pub(super) fn covers(&self, objects: u64) -> bool {
        *self.0.lock() >= objects
    }

    /// So many orphans were deleted.
    pub(super) fn use_up(&self, objects: u64) {
        let mut left = self.0.lock();
        *left = left.saturating_sub(objects);
    }

    /// Nothing stands that it could be for.
    pub(super) fn end(&self) {
        *self.0.lock() = 0;
    }
}
