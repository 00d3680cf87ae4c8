//! Which released objects' bytes may go.

use aquifer_format::ids::{ObjectId, UploadEpoch};

use super::PlannerSettings;
use crate::state::State;

/// Up to `limit` objects that were released long enough ago and before the last backup, and that `taken` does not
/// name.
pub(super) fn deletable(
    state: &State,
    settings: &PlannerSettings,
    backed_up: Option<UploadEpoch>,
    taken: impl Fn(&ObjectId) -> bool,
    limit: usize,
) -> Vec<ObjectId> {
    let _ = (state, settings, backed_up, taken, limit);
    todo!("builder C")
}
