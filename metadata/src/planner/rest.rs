//! What is left alone for a while, since it was tried in vain.

use std::collections::BTreeMap;

use aquifer_format::ids::UploadEpoch;

use super::PlannerSettings;

/// Things that rest, each longer every time.
#[derive(Debug)]
pub(super) struct Resting<K>(BTreeMap<K, Rest>);

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: UploadEpoch,
    epochs: u32,
}

impl<K> Default for Resting<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Resting<K> {
    pub(super) fn add(&mut self, settings: &PlannerSettings, key: K, now: UploadEpoch) {
        let last = self.0.get(&key).map_or(0, |rest| rest.epochs);
        let epochs = settings.rest_after(last);
        let until = UploadEpoch(now.0.saturating_add(epochs));
        self.0.insert(key, Rest { until, epochs });
    }

    pub(super) fn has(&self, key: &K, now: UploadEpoch) -> bool {
        self.0.get(key).is_some_and(|rest| now < rest.until)
    }

    /// Forgets what was not tried again for as long as it had rested.
    pub(super) fn forget(&mut self, now: UploadEpoch) {
        self.0
            .retain(|_, rest| now.0 <= rest.until.0.saturating_add(rest.epochs.max(2)));
    }

    pub(super) fn count(&self, now: UploadEpoch) -> usize {
        self.0.values().filter(|rest| now < rest.until).count()
    }
}
