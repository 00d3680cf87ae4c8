//! The classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup. Rules and their order are those of Kafka's
//! `GroupMetadataManager.classicGroup*` and `ClassicGroup`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use aquifer_store::Monotonic;
use kafka_protocol::ResponseError;

use super::{
    At, Coordinator, consumer_protocol,
    limits::{GROUP_ID_BYTES_MAX, NAME_BYTES_MAX},
    timers::Timer,
};
use crate::{
    event::group::{ClassicMember, ClassicState, GroupNumber, MemberId, Protocol},
    state::{
        State,
        group::{ClassicGroup, Group},
    },
};

mod answers;
mod convert;
mod heartbeat;
mod in_consumer;
mod join;
mod joining;
mod leave;
mod pending;
mod rebalance;
mod resume;
mod static_member;
mod sync;
mod vote;

use self::pending::Pending;

/// What the leader knows of classic groups beside the state.
#[derive(Debug, Default)]
pub(super) struct ClassicSoft {
    /// Member ids that were given out (MEMBER_ID_REQUIRED) and not used yet.
    pending: Pending,
    /// Members that must sync before [`super::timers::Timer::Sync`].
    syncing: BTreeMap<GroupNumber, BTreeSet<MemberId>>,
    /// Groups that prepare their first generation after they were empty.
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

    /// Forgets a member that is gone.
    fn forget_member(&mut self, group: GroupNumber, id: &MemberId) {
        for sets in [&mut self.syncing, &mut self.new] {
            if let Some(set) = sets.get_mut(&group) {
                set.remove(id);
                if set.is_empty() {
                    sets.remove(&group);
                }
            }
        }
    }

    /// Whether the member waits for its first generation.
    fn is_new(&self, group: GroupNumber, id: &MemberId) -> bool {
        self.new.get(&group).is_some_and(|new| new.contains(id))
    }
}

impl<W> Coordinator<W> {
    /// Notes a sign of life of a classic member: its session begins anew (Kafka's
    /// `rescheduleClassicGroupMemberHeartbeat`). Also for members of the classic protocol in consumer groups.
    pub(super) fn classic_heard(
        &mut self,
        at: At,
        number: GroupNumber,
        group: &Group,
        id: &MemberId,
    ) {
        let in_classic = group.classic().and_then(|group| group.members.get(id));
        let in_consumer = group.consumer().and_then(|group| group.members.get(id));
        let in_consumer = in_consumer.and_then(|entry| entry.member.classic.as_ref());
        let timeout = in_classic
            .map(|entry| entry.member.session_timeout_ms)
            .or_else(|| in_consumer.map(|classic| classic.session_timeout_ms));
        if let Some(timeout) = timeout {
            self.begin_session(at, number, id, timeout);
        }
    }

    fn begin_session(&mut self, at: At, group: GroupNumber, id: &MemberId, timeout_ms: i32) {
        let timer = Timer::Session(group, Arc::clone(id));
        self.timers.set(timer, at.now.plus(millis(timeout_ms)));
    }
}

/// A time that a client or a config says; negative is none.
fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// Whether it may be the id of a group.
fn is_group_id(name: &str) -> bool {
    !name.is_empty() && name.len() <= GROUP_ID_BYTES_MAX
}

/// Whether it is not too long for a name.
fn fits(name: Option<&str>) -> bool {
    name.is_none_or(|name| name.len() <= NAME_BYTES_MAX)
}

fn classic_group(state: &State, number: GroupNumber) -> Option<&ClassicGroup> {
    state.group(number)?.classic()
}

/// The longest rebalance timeout of its members (Kafka's `rebalanceTimeoutMs`).
fn rebalance_timeout(group: &ClassicGroup) -> Duration {
    let timeouts = group.members.values();
    let longest = timeouts.map(|entry| entry.member.rebalance_timeout_ms);
    millis(longest.max().unwrap_or(0))
}

/// What a member says in a protocol.
fn metadata<'a>(member: &'a ClassicMember, protocol: &str) -> Option<&'a Protocol> {
    member.protocols.iter().find(|said| said.name == protocol)
}

/// Whether a member is who it says (`ClassicGroup.validateMember`).
fn check_member(
    group: &ClassicGroup,
    member: &str,
    instance: Option<&str>,
) -> Result<(), ResponseError> {
    if let Some(instance) = instance {
        match group.instances.get(instance) {
            None => return Err(ResponseError::UnknownMemberId),
            Some(now) if **now != *member => return Err(ResponseError::FencedInstanceId),
            Some(_) => {}
        }
    }
    if group.members.contains_key(member) {
        Ok(())
    } else {
        Err(ResponseError::UnknownMemberId)
    }
}

/// Whether these offsets may be committed (`ClassicGroup.validateOffsetCommit`).
pub(super) fn check_commit(
    group: &ClassicGroup,
    member: &str,
    instance: Option<&str>,
    generation: i32,
) -> Result<(), ResponseError> {
    let empty = group.phase.state == ClassicState::Empty;
    if generation < 0 && empty {
        // an administrator, or a consumer that assigns itself
        return Ok(());
    }
    if generation >= 0 || !member.is_empty() || instance.is_some() {
        check_member(group, member, instance)?;
        if generation != group.phase.generation {
            return Err(ResponseError::IllegalGeneration);
        }
    } else if !empty {
        return Err(ResponseError::UnknownMemberId);
    }
    if group.phase.state == ClassicState::CompletingRebalance {
        return Err(ResponseError::RebalanceInProgress);
    }
    Ok(())
}

/// Topics that a classic group of protocol type "consumer" is subscribed to; None = nobody can tell
/// (`ClassicGroup.computeSubscribedTopics`).
pub(super) fn subscribed_topics(group: &ClassicGroup) -> Option<BTreeSet<String>> {
    if group.phase.protocol_type.as_deref() != Some(consumer_protocol::PROTOCOL_TYPE) {
        return None;
    }
    let mut topics = BTreeSet::new();
    for entry in group.members.values() {
        // members that join while a rebalance is prepared need not know the last generation's protocol
        let said = metadata(&entry.member, group.phase.protocol.as_deref()?)?;
        topics.extend(consumer_protocol::subscribed_topics(&said.metadata)?);
    }
    Some(topics)
}
