//! Rebalances of classic groups: when they begin, who is waited for, how they end.

use std::sync::Arc;

use crate::{
    coordinator::{At, Coordinator, Ledger},
    event::group::{GroupNumber, MemberId},
};

impl<W> Coordinator<W> {
    /// The time to join is over, or a step of the initial delay.
    pub(in crate::coordinator) fn join_over(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _group: GroupNumber,
    ) {
        todo!("builder A")
    }

    /// The time to sync is over.
    pub(in crate::coordinator) fn sync_over(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _group: GroupNumber,
    ) {
        todo!("builder A")
    }

    /// A member id that was given out was not used in time.
    pub(in crate::coordinator) fn pending_over(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _name: &Arc<str>,
        _member: &MemberId,
    ) {
        todo!("builder A")
    }

    /// A member was silent for its session timeout.
    pub(in crate::coordinator) fn classic_session_over(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _group: GroupNumber,
        _member: &MemberId,
    ) {
        todo!("builder A")
    }

    /// Begins a rebalance if the group is not in one (`prepareRebalance`). For conversions too.
    pub(in crate::coordinator) fn prepare_rebalance(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _group: GroupNumber,
        _why: &str,
    ) {
        todo!("builder A")
    }

    /// Timers of a group that was recovered.
    pub(in crate::coordinator) fn resume_classic(
        &mut self,
        _state: &crate::state::State,
        _at: At,
        _group: GroupNumber,
    ) {
        todo!("builder A")
    }
}
