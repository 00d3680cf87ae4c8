//! Calls of compactors and operators, and the planner's time.

use aquifer_store::Monotonic;

use super::{Sequencer, request::UpkeepCall};

impl Sequencer {
    pub(super) fn upkeep(&mut self, call: UpkeepCall) {
        let _ = (call, &mut self.planner);
        todo!("builder C")
    }

    /// Does a step of planning, and purges topics, when that is due.
    pub(super) fn upkeep_tick(&mut self, now: Monotonic) {
        if self.planner.due() > now || !self.takes() {
            return;
        }
        todo!("builder C")
    }
}
