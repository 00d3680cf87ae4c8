//! Answers to JoinGroup and SyncGroup.

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        JoinGroupResponse, SyncGroupResponse, join_group_response::JoinGroupResponseMember,
    },
    protocol::StrBytes,
};

use super::metadata;
use crate::{
    coordinator::{Answer, Coordinator, parked::ParkedCall},
    event::group::{GroupNumber, MemberId},
    state::group::ClassicGroup,
};

impl<W> Coordinator<W> {
    pub(super) fn answer_join(&mut self, call: ParkedCall<W>, response: JoinGroupResponse) {
        self.answers.push((call.waiter, Answer::Join(response)));
    }

    pub(super) fn answer_sync(&mut self, call: ParkedCall<W>, response: SyncGroupResponse) {
        self.answers.push((call.waiter, Answer::Sync(response)));
    }

    /// Refuses a JoinGroup; `id`: the member id that is answered.
    pub(super) fn refuse_join(&mut self, call: ParkedCall<W>, id: &str, error: ResponseError) {
        self.answer_join(call, join_refused(id, error));
    }

    pub(super) fn refuse_sync(&mut self, call: ParkedCall<W>, error: ResponseError) {
        self.answer_sync(call, sync_refused(error));
    }

    /// Lets a JoinGroup wait. Another one that waits is over: a client waits for one at a time.
    pub(super) fn park_join(&mut self, group: GroupNumber, id: &MemberId, call: ParkedCall<W>) {
        if let Some(earlier) = self.parked.join(group, id, call) {
            self.refuse_join(earlier, id, ResponseError::RebalanceInProgress);
        }
    }

    /// As [`Self::park_join`] for a SyncGroup.
    pub(super) fn park_sync(&mut self, group: GroupNumber, id: &MemberId, call: ParkedCall<W>) {
        if let Some(earlier) = self.parked.sync(group, id, call) {
            self.refuse_sync(earlier, ResponseError::RebalanceInProgress);
        }
    }

    /// Answers whatever waits of a member that is gone: it is to join anew.
    pub(super) fn refuse_waiting(&mut self, group: GroupNumber, id: &MemberId) {
        if let Some(call) = self.parked.take_join(group, id) {
            self.refuse_join(call, "", ResponseError::UnknownMemberId);
        }
        if let Some(call) = self.parked.take_sync(group, id) {
            self.refuse_sync(call, ResponseError::UnknownMemberId);
        }
    }
}

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn join_refused(id: &str, error: ResponseError) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_member_id(text(id))
        .with_error_code(error.code())
        .with_protocol_name(None)
}

pub(super) fn sync_refused(error: ResponseError) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(error.code())
}

/// What a member is told of the current generation; its leader gets the members.
pub(super) fn joined(group: &ClassicGroup, id: &MemberId) -> JoinGroupResponse {
    let phase = &group.phase;
    let members = if phase.leader.as_ref() == Some(id) {
        members(group)
    } else {
        Vec::new()
    };
    JoinGroupResponse::default()
        .with_generation_id(phase.generation)
        .with_protocol_type(phase.protocol_type.as_deref().map(text))
        .with_protocol_name(phase.protocol.as_deref().map(text))
        .with_leader(text(phase.leader.as_deref().unwrap_or_default()))
        .with_member_id(text(id))
        .with_members(members)
}

/// What the generation's leader assigned to a member.
pub(super) fn synced(group: &ClassicGroup, id: &str) -> SyncGroupResponse {
    let entry = group.members.get(id);
    let assignment = entry.map_or_else(Bytes::new, |entry| entry.assignment.clone());
    SyncGroupResponse::default()
        .with_protocol_type(group.phase.protocol_type.as_deref().map(text))
        .with_protocol_name(group.phase.protocol.as_deref().map(text))
        .with_assignment(assignment)
}

fn members(group: &ClassicGroup) -> Vec<JoinGroupResponseMember> {
    let protocol = group.phase.protocol.as_deref().unwrap_or_default();
    let one = |(id, entry): (&MemberId, &crate::state::group::ClassicEntry)| {
        let said = metadata(&entry.member, protocol);
        JoinGroupResponseMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(entry.member.instance.as_deref().map(text))
            .with_metadata(said.map_or_else(Bytes::new, |said| said.metadata.clone()))
    };
    group.members.iter().map(one).collect()
}
