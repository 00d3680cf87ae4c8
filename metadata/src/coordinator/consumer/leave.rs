//! Members of consumer groups that leave, or are fenced.

use crate::{
    coordinator::{At, Coordinator, Ledger},
    event::group::{GroupNumber, MemberId},
    state::State,
};

impl<W> Coordinator<W> {
    /// Takes members out of a consumer group, whatever protocol they speak: bumps its epoch, answers
    /// whoever of them waits, takes their timers away, and makes it a classic group where only such members
    /// are left ([`Coordinator::downgrades`]).
    pub(in crate::coordinator) fn consumer_fence(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _group: GroupNumber,
        _members: &[MemberId],
    ) {
        todo!("builder B")
    }

    /// A member did not give partitions up within its rebalance timeout.
    pub(in crate::coordinator) fn revocation_over(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _group: GroupNumber,
        _member: &MemberId,
    ) {
        todo!("builder B")
    }

    /// Timers of a group that was recovered.
    pub(in crate::coordinator) fn resume_consumer(
        &mut self,
        _state: &State,
        _at: At,
        _group: GroupNumber,
    ) {
        todo!("builder B")
    }
}
