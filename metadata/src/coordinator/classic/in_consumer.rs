//! Members of the classic protocol in consumer groups: their JoinGroup, SyncGroup, Heartbeat and LeaveGroup
//! (`classicGroupJoinToConsumerGroup` and its siblings).

use crate::{
    coordinator::{At, Coordinator, Ledger},
    event::group::{GroupNumber, MemberId},
};

impl<W> Coordinator<W> {
    /// The member did not join again, or did not sync, in time.
    pub(in crate::coordinator) fn classic_in_consumer_over(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
        member: &MemberId,
    ) {
        self.consumer_fence(ledger, at, group, std::slice::from_ref(member));
    }
}
