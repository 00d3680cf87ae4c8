//! SyncGroup (version 5 in and out).

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use kafka_protocol::{ResponseError, messages::SyncGroupRequest};

use super::{
    answers::synced,
    check_member, classic_group, is_group_id,
    joining::{bytes, protocols_bytes},
};
use crate::{
    coordinator::{
        At, Caller, Coordinator, Ledger,
        limits::{GROUP_BYTES_MAX, has_memory},
        parked::ParkedCall,
        timers::Timer,
    },
    event::group::{ClassicPhase, ClassicState, GroupChange, GroupNumber, MemberId},
    state::{State, group::ClassicGroup},
};

/// The first version of SyncGroup that must name the protocol (KIP-559).
const NAMES_PROTOCOL: i16 = 5;

impl<W> Coordinator<W> {
    /// A member asks for its assignment; the leader brings them. The answer comes among
    /// [`Coordinator::take_answers`], at once or later.
    pub(crate) fn sync(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        caller: &Caller,
        request: SyncGroupRequest,
        waiter: W,
    ) {
        let call = ParkedCall {
            waiter,
            call_id: caller.call_id,
            version: caller.version,
        };
        let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
        if caller.version >= NAMES_PROTOCOL && !names_protocol {
            self.refuse_sync(call, ResponseError::InconsistentGroupProtocol);
            return;
        }
        if !is_group_id(&request.group_id) {
            self.refuse_sync(call, ResponseError::InvalidGroupId);
            return;
        }
        let found = ledger.state().group_by_name(&request.group_id);
        let Some((number, group)) = found else {
            self.refuse_sync(call, ResponseError::UnknownMemberId);
            return;
        };
        if group.consumer().is_some() {
            match self.sync_in_consumer_group(ledger.state(), at, number, &request) {
                Ok(response) => self.answer_sync(call, response),
                Err(error) => self.refuse_sync(call, error),
            }
        } else {
            self.sync_classic_group(ledger, at, number, &request, call);
        }
    }

    fn sync_classic_group(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: GroupNumber,
        request: &SyncGroupRequest,
        call: ParkedCall<W>,
    ) {
        let Some(group) = classic_group(ledger.state(), number) else {
            self.refuse_sync(call, ResponseError::UnknownMemberId);
            return;
        };
        let id = match checked(group, request) {
            Ok(id) => id,
            Err(error) => {
                self.refuse_sync(call, error);
                return;
            }
        };
        match group.phase.state {
            ClassicState::Empty => self.refuse_sync(call, ResponseError::UnknownMemberId),
            ClassicState::PreparingRebalance => {
                self.refuse_sync(call, ResponseError::RebalanceInProgress);
            }
            ClassicState::Stable => {
                let response = synced(group, &id);
                self.has_synced(number, &id);
                self.answer_sync(call, response);
            }
            ClassicState::CompletingRebalance => {
                let is_leader = group.phase.leader.as_ref() == Some(&id);
                self.has_synced(number, &id);
                self.park_sync(number, &id, call);
                if is_leader {
                    self.assign(ledger, at, number, request);
                }
            }
        }
    }

    /// One member less to wait for.
    fn has_synced(&mut self, number: GroupNumber, id: &MemberId) {
        let Some(syncing) = self.classic.syncing.get_mut(&number) else {
            return;
        };
        syncing.remove(id);
        if syncing.is_empty() {
            self.classic.syncing.remove(&number);
            self.timers.cancel(&Timer::Sync(number));
        }
    }

    /// The leader's assignments hold; whoever waits for one gets it.
    fn assign(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        number: GroupNumber,
        request: &SyncGroupRequest,
    ) {
        let Some(group) = classic_group(ledger.state(), number) else {
            return;
        };
        let assigned = assignments(ledger.state(), group, request);
        let Some(assigned) = assigned else {
            self.cannot_assign(ledger, at, number);
            return;
        };
        let phase = ClassicPhase {
            state: ClassicState::Stable,
            since_ms: at.unix_millis,
            ..group.phase.clone()
        };
        let changes = vec![GroupChange::Assigned(assigned), GroupChange::Phase(phase)];
        self.change(ledger, number, changes);
        *self.rebalances.entry("classic").or_default() += 1;
        let Some(group) = classic_group(ledger.state(), number) else {
            return;
        };
        for (id, entry) in &group.members {
            if let Some(call) = self.parked.take_sync(number, id) {
                self.answer_sync(call, synced(group, id));
                self.begin_session(at, number, id, entry.member.session_timeout_ms);
            }
        }
    }

    /// The assignments are too large (`RecordTooLargeException` of Kafka).
    fn cannot_assign(&mut self, ledger: &mut dyn Ledger, at: At, number: GroupNumber) {
        tracing::warn!(
            group = number.0,
            "the members and assignments of a group are larger than {GROUP_BYTES_MAX} bytes in all, or the \
             memory for groups is used up; use fewer members, topics, or an assignor that says less"
        );
        self.end_syncs(
            ledger.state(),
            at,
            number,
            ResponseError::UnknownServerError,
        );
        self.prepare_rebalance(ledger, at, number, "the assignments are too large");
    }
}

/// The member that syncs, if it may (`validateSyncGroup`).
fn checked(group: &ClassicGroup, request: &SyncGroupRequest) -> Result<MemberId, ResponseError> {
    let (id, instance) = (&request.member_id, request.group_instance_id.as_deref());
    check_member(group, id, instance)?;
    if request.generation_id != group.phase.generation {
        return Err(ResponseError::IllegalGeneration);
    }
    let differs = |said: Option<&str>, ours: Option<&str>| {
        said.zip(ours).is_some_and(|(said, ours)| said != ours)
    };
    let phase = &group.phase;
    let (kind, name) = (&request.protocol_type, &request.protocol_name);
    if differs(kind.as_deref(), phase.protocol_type.as_deref())
        || differs(name.as_deref(), phase.protocol.as_deref())
    {
        return Err(ResponseError::InconsistentGroupProtocol);
    }
    let found = group.members.get_key_value(id.as_str());
    let (id, _) = found.ok_or(ResponseError::UnknownMemberId)?;
    Ok(Arc::clone(id))
}

/// What each member is assigned, copied out of the request; None = it is too much.
fn assignments(
    state: &State,
    group: &ClassicGroup,
    request: &SyncGroupRequest,
) -> Option<Vec<(MemberId, Bytes)>> {
    let mut assigned: BTreeMap<&MemberId, &Bytes> = BTreeMap::new();
    for said in &request.assignments {
        // others are no members
        if let Some((id, _)) = group.members.get_key_value(said.member_id.as_str()) {
            assigned.insert(id, &said.assignment);
        }
    }
    let members = group.members.values();
    let said = sum(members.map(|entry| protocols_bytes(&entry.member.protocols)));
    let members = group.members.values();
    let before = sum(members.map(|entry| bytes(entry.assignment.len())));
    let now = sum(assigned.values().map(|assignment| bytes(assignment.len())));
    let fits = said.saturating_add(now) <= GROUP_BYTES_MAX;
    if !fits || !has_memory(state, Some(before), now) {
        return None;
    }
    let some = assigned
        .into_iter()
        .filter(|(_, assignment)| !assignment.is_empty());
    let copied = some.map(|(id, assignment)| (Arc::clone(id), Bytes::copy_from_slice(assignment)));
    Some(copied.collect())
}

fn sum(all: impl Iterator<Item = u64>) -> u64 {
    all.fold(0, u64::saturating_add)
}
