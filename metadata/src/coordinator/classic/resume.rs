//! Classic groups of a leader that begins.

use super::{classic_group, rebalance_timeout};
use crate::{
    coordinator::{At, Coordinator, timers::Timer},
    event::group::{ClassicState, GroupNumber},
    state::State,
};

impl<W> Coordinator<W> {
    /// Timers of a group that was recovered: every member has a whole session timeout, a rebalance all its
    /// time. Calls that waited come again.
    pub(in crate::coordinator) fn resume_classic(
        &mut self,
        state: &State,
        at: At,
        group: GroupNumber,
    ) {
        let Some(found) = classic_group(state, group) else {
            return;
        };
        for (id, entry) in &found.members {
            self.begin_session(at, group, id, entry.member.session_timeout_ms);
        }
        match found.phase.state {
            ClassicState::Empty | ClassicState::Stable => {}
            ClassicState::PreparingRebalance => {
                let until = at.now.plus(rebalance_timeout(found));
                self.timers.set(Timer::Join(group), until);
            }
            ClassicState::CompletingRebalance => self.await_syncs(at, group, found),
        }
    }
}
