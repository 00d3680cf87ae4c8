//! The classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup. Rules and their order are those of Kafka's
//! `GroupMetadataManager.classicGroup*` and `ClassicGroup`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aquifer_store::Monotonic;
use kafka_protocol::ResponseError;

use super::{At, Coordinator};
use crate::{
    event::group::{GroupNumber, MemberId},
    state::group::{ClassicGroup, Group},
};

mod convert;
mod heartbeat;
mod in_consumer;
mod join;
mod leave;
mod rebalance;
mod sync;

/// What the leader knows of classic groups beside the state.
#[derive(Debug, Default)]
pub(super) struct ClassicSoft {
    /// Member ids that were given out (MEMBER_ID_REQUIRED) and not used yet, by group name.
    pending: BTreeMap<Arc<str>, BTreeSet<MemberId>>,
    /// Members that must sync before [`super::timers::Timer::Sync`].
    syncing: BTreeMap<GroupNumber, BTreeSet<MemberId>>,
    /// Groups in the delay before their first generation.
    initial: BTreeMap<GroupNumber, InitialDelay>,
    /// Members that joined while the group prepared a rebalance and never waited before (Kafka's `isNew`).
    new: BTreeMap<GroupNumber, BTreeSet<MemberId>>,
}

/// The delay before a group's first generation (`group.initial.rebalance.delay.ms`).
#[derive(Clone, Copy, Debug)]
struct InitialDelay {
    /// When it ends at the latest.
    until: Monotonic,
    /// Whether a member joined in this step of it.
    joined: bool,
}

impl ClassicSoft {
    /// Forgets a group that is gone.
    pub(super) fn forget(&mut self, group: GroupNumber) {
        self.syncing.remove(&group);
        self.initial.remove(&group);
        self.new.remove(&group);
    }
}

impl<W> Coordinator<W> {
    /// Notes a sign of life of a classic member: its session begins anew (Kafka's
    /// `rescheduleClassicGroupMemberHeartbeat`). Also for members of the classic protocol in consumer groups.
    pub(super) fn classic_heard(
        &mut self,
        _at: At,
        _number: GroupNumber,
        _group: &Group,
        _id: &MemberId,
    ) {
        todo!("builder A")
    }
}

/// Whether these offsets may be committed (`ClassicGroup.validateOffsetCommit`).
pub(super) fn check_commit(
    _group: &ClassicGroup,
    _member: &str,
    _instance: Option<&str>,
    _generation: i32,
) -> Result<(), ResponseError> {
    todo!("builder A")
}

/// Topics that a classic group of protocol type "consumer" is subscribed to; None = nobody can tell
/// (`ClassicGroup.computeSubscribedTopics`).
pub(super) fn subscribed_topics(_group: &ClassicGroup) -> Option<BTreeSet<String>> {
    todo!("builder A")
}
