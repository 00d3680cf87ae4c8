//! Groups that move between the protocols while they have members
//! (`group.consumer.migration.policy`; KIP-848 "Migration").

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aquifer_format::ids::PartitionId;
use kafka_protocol::ResponseError;

use super::{
    answers::join_refused,
    in_consumer::{best, partitions},
    vote,
};
use crate::{
    coordinator::{
        At, Coordinator, Ledger,
        consumer_protocol::{self, PROTOCOL_TYPE},
        limits::SUBSCRIBED_TOPICS_MAX,
        refusal::Refusal,
    },
    event::group::{
        ClassicMember, ClassicPhase, ClassicState, ClassicSubscription, ConsumerMember,
        CurrentAssignment, GroupChange, GroupKind, GroupNumber, MemberId, MemberState,
        TopicPartitions,
    },
    state::{
        State,
        group::{ClassicEntry, ClassicGroup, ConsumerEntry},
    },
};

impl<W> Coordinator<W> {
    /// Makes a classic group with members a consumer group, because a member asks for the consumer protocol
    /// (`validateOnlineUpgrade`, `convertToConsumerGroup`). An empty one needs no such thing:
    /// [`crate::event::group::GroupChange::Kind`] is enough.
    pub(in crate::coordinator) fn upgrade(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
    ) -> Result<(), Refusal> {
        let state = ledger.state();
        let Some(found) = state.group(group) else {
            return Err(ResponseError::GroupIdNotFound.into());
        };
        let Some(classic) = found.classic() else {
            return Ok(());
        };
        let refused = |why: &str| {
            let text = format!(
                "Cannot upgrade classic group {} to consumer group because {why}.",
                found.name
            );
            Refusal::new(ResponseError::GroupIdNotFound, text)
        };
        check_upgrade(state, classic).map_err(refused)?;
        let members = upgraded(state, classic).map_err(refused)?;
        let epoch = classic.phase.generation;
        let sessions: Vec<_> = members
            .iter()
            .filter_map(|(member, _)| {
                let timeout = member.classic.as_ref()?.session_timeout_ms;
                Some((Arc::clone(&member.id), timeout))
            })
            .collect();
        self.change(ledger, group, consumer_changes(epoch, members));
        self.end_rebalance(group);
        self.timers.cancel_group(group);
        self.classic.forget(group);
        self.subscriptions.forget(group);
        for (id, timeout) in sessions {
            self.begin_session(at, group, &id, timeout);
        }
        Ok(())
    }

    /// Tells whoever waits that there is another rebalance.
    fn end_rebalance(&mut self, group: GroupNumber) {
        for id in self.parked.joiners(group) {
            if let Some(call) = self.parked.take_join(group, &id) {
                let response = join_refused(&id, ResponseError::RebalanceInProgress);
                self.answer_join(call, response);
            }
        }
        for id in self.parked.syncers(group) {
            if let Some(call) = self.parked.take_sync(group, &id) {
                self.refuse_sync(call, ResponseError::RebalanceInProgress);
            }
        }
    }

    /// Whether the consumer group becomes classic when `leaving` are gone: the others all speak the classic
    /// protocol (`validateOnlineDowngradeWithFencedMembers`).
    pub(in crate::coordinator) fn downgrades(
        &self,
        ledger: &dyn Ledger,
        group: GroupNumber,
        leaving: &[MemberId],
    ) -> bool {
        let state = ledger.state();
        let Some(found) = state.group(group).and_then(|group| group.consumer()) else {
            return false;
        };
        let staying = found.members.iter().filter(|(id, _)| !leaving.contains(id));
        let classic = staying
            .clone()
            .all(|(_, entry)| entry.member.classic.is_some());
        let (staying, settings) = (staying.count(), state.group_settings());
        classic
            && staying > 0
            && staying <= settings.members_max
            && settings.consumer.migration.downgrades()
    }

    /// Makes the consumer group a classic one without `leaving`, and begins a rebalance
    /// (`convertToClassicGroup`).
    pub(in crate::coordinator) fn downgrade(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
        leaving: &[MemberId],
    ) {
        self.make_group_classic(ledger, at, group, leaving, None);
        let why = "the last member of the consumer protocol is gone";
        self.prepare_rebalance(ledger, at, group, why);
    }

    /// Makes the consumer group a stable classic one without `leaving`; everybody has its target assignment.
    /// `joins`: the static member that takes the place of another one, with that one's id.
    pub(super) fn make_group_classic(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: GroupNumber,
        leaving: &[MemberId],
        joins: Option<(&MemberId, ClassicMember)>,
    ) {
        let state = ledger.state();
        let Some(group) = state.group(number).and_then(|group| group.consumer()) else {
            return;
        };
        let epoch = group.epoch;
        let (replaced, joins) = joins.unzip();
        let mut classic = ClassicGroup::default();
        let mut targets: BTreeMap<MemberId, TopicPartitions> = BTreeMap::new();
        for (id, entry) in &group.members {
            let member = if Some(id) == replaced {
                joins.clone()
            } else if leaving.contains(id) {
                None
            } else {
                classic_member(entry)
            };
            if let Some(member) = member {
                targets.insert(Arc::clone(&member.id), entry.target.clone());
                let assignment = bytes::Bytes::new();
                let id = Arc::clone(&member.id);
                classic
                    .members
                    .insert(id, ClassicEntry { member, assignment });
            }
        }
        classic.phase = ClassicPhase {
            state: ClassicState::Stable,
            generation: epoch,
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol: vote::chosen(&classic),
            leader: classic.members.keys().next().cloned(),
            since_ms: at.unix_millis,
        };
        assign(state, &mut classic, &targets);
        let changes = classic_changes(&classic);
        self.change(ledger, number, changes);
        self.timers.cancel_group(number);
        self.subscriptions.forget(number);
        for (id, entry) in &classic.members {
            self.begin_session(at, number, id, entry.member.session_timeout_ms);
        }
    }
}

fn check_upgrade(state: &State, group: &ClassicGroup) -> Result<(), &'static str> {
    let settings = &state.group_settings().consumer;
    if !settings.migration.upgrades() {
        Err("online upgrade is disabled")
    } else if group.phase.protocol_type.as_deref() != Some(PROTOCOL_TYPE) {
        Err("the group does not use the consumer embedded protocol")
    } else if group.members.len() > settings.members_max {
        Err("the group size exceeds the consumer group maximum size")
    } else {
        Ok(())
    }
}

/// The members with what they were assigned (`ConsumerGroup.fromClassicGroup`).
fn upgraded(
    state: &State,
    group: &ClassicGroup,
) -> Result<Vec<(ConsumerMember, TopicPartitions)>, &'static str> {
    const MALFORMED: &str = "the embedded consumer protocol is malformed";
    let mut taken: BTreeSet<PartitionId> = BTreeSet::new();
    let mut members = Vec::new();
    for entry in group.members.values() {
        let assigned = if entry.assignment.is_empty() {
            TopicPartitions::new()
        } else {
            let read = consumer_protocol::assignment_with_user_data(&entry.assignment);
            let (named, has_user_data) = read.ok_or(MALFORMED)?;
            if has_user_data {
                return Err(
                    "an unsupported custom assignor is in use. Please refer to the documentation or \
                     switch to a default assignor before re-attempting the upgrade",
                );
            }
            // an assignor of clients may assign a partition twice; here it has one owner
            partitions(state, &named).kept(|id| taken.insert(id))
        };
        let member = consumer_member(&entry.member, group.phase.protocol.as_deref());
        members.push((member.ok_or(MALFORMED)?, assigned));
    }
    Ok(members)
}

/// The member as its subscription describes it; None = that is malformed.
fn consumer_member(member: &ClassicMember, protocol: Option<&str>) -> Option<ConsumerMember> {
    let said = best(&member.protocols, protocol)?;
    let subscription = consumer_protocol::subscription(&said.metadata)?;
    if subscription.topics.len() > SUBSCRIBED_TOPICS_MAX {
        return None;
    }
    let rack = subscription.rack.filter(|rack| !rack.is_empty());
    Some(ConsumerMember {
        id: Arc::clone(&member.id),
        instance: member.instance.clone(),
        rack: rack.map(Arc::from),
        client_id: Arc::clone(&member.client_id),
        client_host: Arc::clone(&member.client_host),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        topics: subscription.topics.into_iter().map(Arc::from).collect(),
        regex: None,
        assignor: None,
        classic: Some(ClassicSubscription {
            session_timeout_ms: member.session_timeout_ms,
            protocols: member.protocols.clone(),
        }),
    })
}

/// The changes that make a group of these: everybody has its target. The hash of the topics is none: whoever
/// asked for the upgrade is about to join, and that brings the next epoch.
fn consumer_changes(
    epoch: i32,
    members: Vec<(ConsumerMember, TopicPartitions)>,
) -> Vec<GroupChange> {
    let mut changes = vec![GroupChange::Kind(GroupKind::Consumer)];
    let mut targets = Vec::new();
    let mut currents = Vec::new();
    for (member, assigned) in members {
        targets.push((Arc::clone(&member.id), assigned.clone()));
        currents.push(GroupChange::Current {
            member: Arc::clone(&member.id),
            assignment: CurrentAssignment {
                epoch,
                previous_epoch: epoch,
                state: MemberState::Stable,
                assigned,
                revoking: TopicPartitions::new(),
            },
        });
        changes.push(GroupChange::ConsumerMember(Box::new(member)));
    }
    changes.push(GroupChange::Epoch {
        epoch,
        metadata_hash: 0,
    });
    changes.push(GroupChange::Target {
        epoch,
        members: targets,
    });
    changes.extend(currents);
    changes
}

fn classic_member(entry: &ConsumerEntry) -> Option<ClassicMember> {
    let member = &entry.member;
    let classic = member.classic.as_ref()?;
    Some(ClassicMember {
        id: Arc::clone(&member.id),
        instance: member.instance.clone(),
        client_id: Arc::clone(&member.client_id),
        client_host: Arc::clone(&member.client_host),
        session_timeout_ms: classic.session_timeout_ms,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        protocols: classic.protocols.clone(),
    })
}

/// Writes each member's target as its clients read it.
fn assign(state: &State, group: &mut ClassicGroup, targets: &BTreeMap<MemberId, TopicPartitions>) {
    let protocol = group.phase.protocol.clone();
    for (id, entry) in &mut group.members {
        let said = best(&entry.member.protocols, protocol.as_deref());
        let version = said.and_then(|said| consumer_protocol::version(&said.metadata));
        if let Some(target) = targets.get(id) {
            entry.assignment =
                consumer_protocol::encode_assignment(version.unwrap_or(0), target, |topic| {
                    state.topic(topic).map(|topic| topic.name())
                });
        }
    }
}

/// The changes that make such a group.
fn classic_changes(group: &ClassicGroup) -> Vec<GroupChange> {
    let mut changes = vec![GroupChange::Kind(GroupKind::Classic)];
    let members = group.members.values();
    changes.extend(members.map(|entry| GroupChange::Member(entry.member.clone())));
    let assigned = group.members.iter();
    let assigned = assigned.map(|(id, entry)| (Arc::clone(id), entry.assignment.clone()));
    changes.push(GroupChange::Assigned(assigned.collect()));
    changes.push(GroupChange::Phase(group.phase.clone()));
    changes
}
