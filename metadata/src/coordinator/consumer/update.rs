//! What a member's word changes in its group, whatever protocol it came by.

use crate::{
    coordinator::{At, Coordinator, Ledger, refusal::Refusal},
    event::group::{ConsumerMember, CurrentAssignment, GroupNumber, MemberId, TopicPartitions},
};

/// What a member brings.
#[derive(Clone, Debug)]
pub(in crate::coordinator) struct Update {
    /// The member as it describes itself now, whole.
    pub(in crate::coordinator) member: ConsumerMember,
    /// The static member of another id whose place it takes; its current and target assignment are taken over
    /// (`replaceMember`).
    pub(in crate::coordinator) replaces: Option<MemberId>,
    /// What it says that it has; None = as before.
    pub(in crate::coordinator) owned: Option<TopicPartitions>,
    /// It begins from epoch 0: what it had is forgotten.
    pub(in crate::coordinator) joins: bool,
}

impl<W> Coordinator<W> {
    /// Takes in what a member says: its subscription, a new group epoch where that or the topics changed, a new
    /// target assignment where it is behind, and its own step towards it (`maybeReconcile`); sets the revocation
    /// timer. Events only where something changed. Answers where the member stands.
    pub(in crate::coordinator) fn consumer_update(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _group: GroupNumber,
        _update: Update,
    ) -> Result<CurrentAssignment, Refusal> {
        todo!("builder B")
    }
}
