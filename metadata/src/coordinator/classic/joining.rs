//! What a JoinGroup says, copied out of the request, and whether the group takes it.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use kafka_protocol::{ResponseError, messages::JoinGroupRequest};
use uuid::Uuid;

use super::{fits, is_group_id, vote};
use crate::{
    coordinator::{
        Caller,
        consumer_protocol::PROTOCOL_TYPE,
        limits::{GROUP_BYTES_MAX, NAME_BYTES_MAX, has_memory},
    },
    event::group::{ClassicMember, ClassicState, MemberId, Protocol},
    state::{
        State,
        group::{ClassicEntry, ClassicGroup},
    },
};

/// What a member says that joins.
#[derive(Debug)]
pub(super) struct Joining {
    /// Name of the group.
    pub(super) group: Arc<str>,
    /// Who asks.
    pub(super) caller: Caller,
    /// The member's id as it was sent; empty = it has none yet.
    pub(super) sent: MemberId,
    /// The member's id; of one that has none yet, the one that is made of the call: the same for each
    /// repetition.
    pub(super) id: MemberId,
    pub(super) instance: Option<Arc<str>>,
    pub(super) protocol_type: String,
    /// Each once, best first.
    pub(super) protocols: Vec<Protocol>,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
}

impl Joining {
    /// In a consumer group, ids that are given to members begin with no name.
    pub(super) fn name_for_consumer_group(&mut self) {
        if self.sent.is_empty() {
            self.id = Arc::from(Uuid::from_u128(self.caller.call_id).to_string());
        }
    }

    /// Takes it out of the request; nothing of the request's bytes is kept.
    pub(super) fn of(caller: &Caller, request: &JoinGroupRequest) -> Self {
        let mut names = BTreeSet::new();
        let mut protocols = Vec::new();
        for said in &request.protocols {
            if names.insert(said.name.as_str()) {
                protocols.push(Protocol {
                    name: said.name.to_string(),
                    metadata: Bytes::copy_from_slice(&said.metadata),
                });
            }
        }
        let sent: MemberId = Arc::from(request.member_id.as_str());
        let instance: Option<Arc<str>> = request.group_instance_id.as_deref().map(Arc::from);
        let id = if sent.is_empty() {
            let name = instance.as_ref().unwrap_or(&caller.client_id);
            Arc::from(format!("{name}-{}", Uuid::from_u128(caller.call_id)))
        } else {
            Arc::clone(&sent)
        };
        Self {
            group: Arc::from(request.group_id.as_str()),
            caller: caller.clone(),
            sent,
            id,
            instance,
            protocol_type: request.protocol_type.to_string(),
            protocols,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: if caller.version == 0 {
                // it has no rebalance timeout
                request.session_timeout_ms
            } else {
                request.rebalance_timeout_ms
            },
        }
    }

    /// Whether the member is to be told its id and to come again with it (KIP-394).
    pub(super) fn must_come_again(&self) -> bool {
        let is_first = self.sent.is_empty() && self.instance.is_none();
        is_first && self.caller.version >= TELLS_MEMBER_ID
    }

    /// What is to be refused whatever the group is (`GroupCoordinatorService.joinGroup`).
    pub(super) fn check(&self, state: &State) -> Result<(), ResponseError> {
        if !is_group_id(&self.group) {
            return Err(ResponseError::InvalidGroupId);
        }
        let settings = state.group_settings();
        let bounds = settings.session_timeout_min_ms..=settings.session_timeout_max_ms;
        if !bounds.contains(&self.session_timeout_ms) {
            return Err(ResponseError::InvalidSessionTimeout);
        }
        let names = self.protocols.iter().map(|said| Some(said.name.as_str()));
        let others = [self.instance.as_deref(), Some(self.protocol_type.as_str())];
        if self.sent.len() > MEMBER_ID_BYTES_MAX || !names.chain(others).all(fits) {
            return Err(ResponseError::InvalidRequest);
        }
        Ok(())
    }

    /// A new member.
    pub(super) fn member(&self) -> ClassicMember {
        ClassicMember {
            id: Arc::clone(&self.id),
            instance: self.instance.clone(),
            client_id: Arc::clone(&self.caller.client_id),
            client_host: Arc::clone(&self.caller.host),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            protocols: self.protocols.clone(),
        }
    }

    /// A member that is there, with what it says now.
    pub(super) fn updated(&self, member: &ClassicMember) -> ClassicMember {
        ClassicMember {
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            protocols: self.protocols.clone(),
            ..member.clone()
        }
    }

    /// Whether a consumer group whose members of the classic protocol are these takes it
    /// (`ConsumerGroup.supportsClassicProtocols`).
    pub(super) fn suits<'a>(&self, others: impl Iterator<Item = &'a [Protocol]> + Clone) -> bool {
        let all_know = |name: &str| {
            let mut others = others.clone();
            others.all(|protocols| protocols.iter().any(|said| said.name == name))
        };
        self.protocol_type == PROTOCOL_TYPE
            && self.protocols.iter().any(|said| all_know(&said.name))
    }

    /// Whether the group has room for the member and knows its protocols.
    pub(super) fn fits_in(&self, state: &State, group: &ClassicGroup) -> Result<(), ResponseError> {
        if !vote::supports(group, &self.protocol_type, &self.protocols) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let before = self.before(group).unwrap_or(&self.id);
        let before = group.members.get(before);
        let before = before.map(|entry| protocols_bytes(&entry.member.protocols));
        let has_memory = has_memory(state, before, protocols_bytes(&self.protocols));
        if !has_memory || self.said_with(group) > GROUP_BYTES_MAX {
            return Err(ResponseError::GroupMaxSizeReached);
        }
        Ok(())
    }

    /// The id that the static member had until now.
    fn before<'a>(&self, group: &'a ClassicGroup) -> Option<&'a MemberId> {
        group.instances.get(self.instance.as_ref()?)
    }

    /// What the group's members say and have, with this one in place of what it said before.
    fn said_with(&self, group: &ClassicGroup) -> u64 {
        let before = self.before(group);
        let others = group.members.iter();
        let others = others.filter(|(id, _)| **id != self.id && Some(*id) != before);
        let others = others.map(|(_, entry)| said(entry));
        others.fold(protocols_bytes(&self.protocols), u64::saturating_add)
    }
}

/// The first version of JoinGroup by which a member is told its id before it is in the group.
const TELLS_MEMBER_ID: i16 = 4;
/// Longest id that is given out: an instance or client id, and a UUID.
const MEMBER_ID_BYTES_MAX: usize = NAME_BYTES_MAX + 37;

/// Bytes of what a member says and has.
pub(super) fn said(entry: &ClassicEntry) -> u64 {
    protocols_bytes(&entry.member.protocols).saturating_add(bytes(entry.assignment.len()))
}

pub(super) fn protocols_bytes(protocols: &[Protocol]) -> u64 {
    let one = |said: &Protocol| bytes(said.name.len()).saturating_add(bytes(said.metadata.len()));
    protocols.iter().map(one).fold(0, u64::saturating_add)
}

pub(super) fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Whether the group has room (`acceptJoiningMember`). While a rebalance is prepared those count that wait:
/// the last ones to come are left out where the limit went down. `waits`: whether this one does.
pub(super) fn has_room(
    group: &ClassicGroup,
    id: &str,
    waits: bool,
    joining: usize,
    members_max: usize,
) -> bool {
    match group.phase.state {
        ClassicState::Empty => true,
        ClassicState::PreparingRebalance => waits || joining < members_max,
        ClassicState::CompletingRebalance | ClassicState::Stable => {
            group.members.contains_key(id) || group.members.len() < members_max
        }
    }
}
