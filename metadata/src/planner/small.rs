//! Objects of level 0 that wait to be merged.

use std::collections::BTreeSet;

use aquifer_format::{ids::ObjectId, limits::JOB_OBJECTS_MAX};

use super::PlannerSettings;
use crate::state::State;

/// Objects that are looked at for one job: most that other jobs have, or that rest, are passed.
const LOOKED_MAX: usize = 16_384;

/// How many of them are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Small {
    objects: usize,
    bytes: u64,
    looked: usize,
}

/// The first ones that no job has and that do not rest.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    /// With their sizes, about in order of their commits.
    pub(super) objects: Vec<(ObjectId, u64)>,
    pub(super) bytes: u64,
    /// Upload epochs since the first of them was begun.
    pub(super) age_epochs: u32,
}

impl Small {
    /// To see how long the first of them waits.
    pub(super) const SHORT: Self = Self {
        objects: 64,
        bytes: u64::MAX,
        looked: 1_024,
    };

    pub(super) fn of_job(settings: &PlannerSettings) -> Self {
        Self {
            objects: settings.small_objects.clamp(1, JOB_OBJECTS_MAX),
            bytes: settings.small_bytes,
            looked: LOOKED_MAX,
        }
    }

    pub(super) fn gather(self, state: &State, passed: impl Fn(&ObjectId) -> bool) -> Waiting {
        let mut waiting = Waiting::default();
        for (id, bytes, _) in state.small_objects().take(self.looked) {
            if passed(&id) {
                continue;
            }
            if waiting.objects.is_empty() {
                let epoch = state.upload_epoch();
                waiting.age_epochs = epoch.0.saturating_sub(id.upload_epoch.0);
            }
            waiting.objects.push((id, bytes));
            waiting.bytes = waiting.bytes.saturating_add(bytes);
            if waiting.objects.len() >= self.objects || waiting.bytes >= self.bytes {
                break;
            }
        }
        waiting
    }
}

/// Which of these are still live.
pub(super) fn left(state: &State, ids: &[ObjectId]) -> Vec<ObjectId> {
    let wanted: BTreeSet<ObjectId> = ids.iter().copied().collect();
    let place = |id: &ObjectId| (id.incarnation, id.upload_epoch);
    let Some(last) = ids.iter().map(place).max() else {
        return Vec::new();
    };
    // they are at the beginning, for older ones were merged before
    let first = state.small_objects().map(|(id, ..)| id);
    first
        .take_while(|id| place(id) <= last)
        .take(LOOKED_MAX)
        .filter(|id| wanted.contains(id))
        .collect()
}
