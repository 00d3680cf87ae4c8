//! How many objects and extents there are of each level.

use aquifer_format::ids::{ObjectId, ObjectLevel};

use crate::state::State;

/// Live objects that one step looks at.
pub(super) const STEP_OBJECTS: usize = 8_192;

/// What there is of one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Live objects.
    pub objects: u64,
    /// Extents (and batches that are held) in them.
    pub extents: u64,
    /// Bytes of the objects.
    pub bytes: u64,
}

/// Counts them, some at a time.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// Where the look goes on; None = with the first object.
    from: Option<ObjectId>,
    counting: [Level; 3],
    counted: [Level; 3],
}

impl Levels {
    /// Looks at the next objects. True = these were the last. Counts them in `looked`.
    pub(super) fn look(&mut self, state: &State, looked: &mut usize) -> bool {
        for (id, bytes, references) in state.objects_from(self.from) {
            if *looked >= STEP_OBJECTS {
                self.from = Some(id);
                return false;
            }
            *looked = looked.saturating_add(1);
            let [l0, l1, l2] = &mut self.counting;
            let level = match id.level {
                ObjectLevel::L0 => l0,
                ObjectLevel::L1 => l1,
                ObjectLevel::L2 => l2,
            };
            level.objects = level.objects.saturating_add(1);
            level.extents = level.extents.saturating_add(u64::from(references));
            level.bytes = level.bytes.saturating_add(bytes);
        }
        self.from = None;
        self.counted = std::mem::take(&mut self.counting);
        true
    }

    /// What the last whole look found, by level.
    pub(super) fn counted(&self) -> [Level; 3] {
        self.counted
    }
}
