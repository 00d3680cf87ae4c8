//! Groups that move between the protocols while they have members
//! (`group.consumer.migration.policy`; KIP-848 "Migration").

use crate::{
    coordinator::{At, Coordinator, Ledger, refusal::Refusal},
    event::group::{GroupNumber, MemberId},
};

impl<W> Coordinator<W> {
    /// Makes a classic group with members a consumer group, because a member asks for the consumer protocol
    /// (`validateOnlineUpgrade`, `convertToConsumerGroup`). An empty one needs no such thing:
    /// [`crate::event::group::GroupChange::Kind`] is enough.
    pub(in crate::coordinator) fn upgrade(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _group: GroupNumber,
    ) -> Result<(), Refusal> {
        todo!("builder A")
    }

    /// Whether the consumer group becomes classic when `leaving` are gone: the others all speak the classic
    /// protocol (`validateOnlineDowngradeWithFencedMembers`).
    pub(in crate::coordinator) fn downgrades(
        &self,
        _ledger: &dyn Ledger,
        _group: GroupNumber,
        _leaving: &[MemberId],
    ) -> bool {
        todo!("builder A")
    }

    /// Makes the consumer group a classic one without `leaving`, and begins a rebalance
    /// (`convertToClassicGroup`). `joining`: the static member that takes a leaving one's place and is
    /// answered by the rebalance.
    pub(in crate::coordinator) fn downgrade(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _group: GroupNumber,
        _leaving: &[MemberId],
    ) {
        todo!("builder A")
    }
}
