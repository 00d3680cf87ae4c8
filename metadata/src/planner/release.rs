//! Which released objects' bytes may go.

use std::collections::BTreeMap;

use aquifer_format::{
    ids::{ObjectId, UploadEpoch},
    limits::DELETE_OBJECTS_MAX,
};

use super::PlannerSettings;
use crate::state::State;

/// Released objects that one step looks at.
pub(super) const STEP_OBJECTS: usize = 4_096;
/// Most deletable objects that are remembered: what deletes takes some seconds for a thousand.
const REMEMBERED_MAX: usize = 65_536;

/// What may go.
#[derive(Debug, Default)]
pub(super) struct Deletable {
    /// Where the look goes on; None = with the first one.
    from: Option<ObjectId>,
    /// With the upload epochs of their releases.
    found: BTreeMap<ObjectId, UploadEpoch>,
}

impl Deletable {
    /// Looks at the next released objects: which were released long enough ago and before the last backup, and
    /// are not `taken`. True = these were the last. Counts them in `looked`.
    pub(super) fn look(
        &mut self,
        state: &State,
        (settings, backed_up): (&PlannerSettings, Option<UploadEpoch>),
        taken: impl Fn(&ObjectId) -> bool,
        looked: &mut usize,
    ) -> bool {
        let mut look = |id: ObjectId, since: UploadEpoch| {
            if *looked >= STEP_OBJECTS {
                return Some(id);
            }
            *looked = looked.saturating_add(1);
            let room = self.found.len() < REMEMBERED_MAX;
            if room && is_due(settings, backed_up, since, state.upload_epoch()) && !taken(&id) {
                self.found.insert(id, since);
            }
            None
        };
        self.from = match self.from {
            Some(from) => state
                .released_from(from)
                .find_map(|(id, since)| look(id, since)),
            None => state
                .released_objects()
                .find_map(|(id, since)| look(id, since)),
        };
        self.from.is_none()
    }

    /// The objects of a job, if there are enough for one, or some wait for long.
    pub(super) fn take(
        &mut self,
        settings: &PlannerSettings,
        epoch: UploadEpoch,
        taken: impl Fn(&ObjectId) -> bool,
    ) -> Vec<ObjectId> {
        // given out by an earlier look of the same round
        let first = self.found.iter().take(DELETE_OBJECTS_MAX);
        let gone: Vec<ObjectId> = first.map(|(id, _)| *id).filter(&taken).collect();
        for id in &gone {
            self.found.remove(id);
        }
        let first = || self.found.iter().take(DELETE_OBJECTS_MAX);
        let oldest = first().map(|(_, since)| since.0).min().unwrap_or(epoch.0);
        let due = oldest.saturating_add(settings.grace_epochs);
        if !PlannerSettings::deletes(first().count(), epoch.0.saturating_sub(due)) {
            return Vec::new();
        }
        let objects: Vec<ObjectId> = first().map(|(id, _)| *id).filter(|id| !taken(id)).collect();
        for id in &objects {
            self.found.remove(id);
        }
        objects
    }

    pub(super) fn count(&self) -> usize {
        self.found.len()
    }
}

/// Whether the bytes of an object that was released in `since` may go.
fn is_due(
    settings: &PlannerSettings,
    backed_up: Option<UploadEpoch>,
    since: UploadEpoch,
    epoch: UploadEpoch,
) -> bool {
    let waited = since.0.saturating_add(settings.grace_epochs) <= epoch.0;
    let is_backed_up = !settings.waits_for_backup || backed_up.is_some_and(|backup| since < backup);
    waited && is_backed_up
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_waits_for_the_grace_and_for_a_later_backup() {
        for (waits, backed_up, since, epoch, due) in [
            (false, None, 5, 14, false),
            (false, None, 5, 15, true),
            (true, None, 5, 100, false),
            (true, Some(4), 5, 100, false),
            (true, Some(5), 5, 100, false),
            (true, Some(6), 5, 100, true),
            (true, Some(6), 5, 14, false),
            (false, None, u32::MAX, u32::MAX, true),
        ] {
            let settings = PlannerSettings {
                waits_for_backup: waits,
                ..PlannerSettings::default()
            };
            let backed_up = backed_up.map(UploadEpoch);
            let decided = is_due(&settings, backed_up, UploadEpoch(since), UploadEpoch(epoch));
            assert_eq!(decided, due, "{since} at {epoch}, backup {backed_up:?}");
        }
    }
}
