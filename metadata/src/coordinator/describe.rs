//! DescribeGroups (version 6) and ListGroups (version 5), in and out.

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeGroupsRequest, DescribeGroupsResponse, GroupId, ListGroupsRequest,
        ListGroupsResponse,
        describe_groups_response::{DescribedGroup, DescribedGroupMember},
        list_groups_response::ListedGroup,
    },
    protocol::StrBytes,
};

use super::{Coordinator, answer_room::AnswerRoom, consumer_protocol::PROTOCOL_TYPE};
use crate::{
    event::group::ClassicState,
    state::{
        State,
        group::{Body, ClassicEntry, ClassicGroup, Group},
    },
};

/// The state of a group that is not there.
const DEAD: &str = "Dead";

impl<W> Coordinator<W> {
    /// Describes classic groups. One that is absent is answered as of version 6: GROUP_ID_NOT_FOUND.
    pub(crate) fn describe(
        &self,
        state: &State,
        request: &DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        let mut room = AnswerRoom::new();
        let groups = request.groups.iter();
        let groups = groups.map(|name| match classic(state, name) {
            Ok((bytes, group)) => {
                let answer = if room.take(bytes) {
                    described(group)
                } else {
                    let refusal = AnswerRoom::refusal();
                    DescribedGroup::default()
                        .with_error_code(refusal.code())
                        .with_error_message(refusal.text())
                };
                answer.with_group_id(name.clone())
            }
            Err(why) => DescribedGroup::default()
                .with_group_id(name.clone())
                .with_group_state(StrBytes::from_static_str(DEAD))
                .with_error_code(ResponseError::GroupIdNotFound.code())
                .with_error_message(Some(StrBytes::from_string(why))),
        });
        DescribeGroupsResponse::default().with_groups(groups.collect())
    }

    /// Lists groups of the asked states and types. States and types are compared without regard to case; one
    /// that is not known has no groups.
    pub(crate) fn list(&self, state: &State, request: &ListGroupsRequest) -> ListGroupsResponse {
        let states = request.states_filter.iter();
        let states: BTreeSet<_> = states
            .map(|name| name.to_lowercase().trim().to_owned())
            .collect();
        let types = request.types_filter.iter();
        let types: BTreeSet<_> = types.map(|name| name.to_lowercase()).collect();
        let asked = |names: &BTreeSet<String>, name: &str| {
            names.is_empty() || names.contains(&name.to_ascii_lowercase())
        };
        let groups = state.groups().map(|(_, group)| listed(group));
        let groups = groups.filter(|group| {
            asked(&states, group.group_state.as_str()) && asked(&types, group.group_type.as_str())
        });
        ListGroupsResponse::default().with_groups(groups.collect())
    }
}

/// The group, and how many bytes it takes to describe it.
fn classic<'a>(state: &'a State, name: &str) -> Result<(usize, &'a ClassicGroup), String> {
    let found = state.group_by_name(name);
    let (_, group) = found.ok_or_else(|| format!("Group {name} not found."))?;
    let classic = group.classic();
    let classic = classic.ok_or_else(|| format!("Group {name} is not a classic group."))?;
    Ok((group.cost(), classic))
}

fn described(group: &ClassicGroup) -> DescribedGroup {
    let phase = &group.phase;
    // what members said holds, and is shown, from when everybody has its assignment
    let protocol = phase.protocol.as_deref();
    let protocol = protocol.filter(|_| phase.state == ClassicState::Stable);
    let members = group.members.values();
    let members = members.map(|entry| described_member(entry, protocol));
    DescribedGroup::default()
        .with_group_state(StrBytes::from_static_str(phase.state.name()))
        .with_protocol_type(text(phase.protocol_type.as_deref().unwrap_or_default()))
        .with_protocol_data(text(protocol.unwrap_or_default()))
        .with_members(members.collect())
}

fn described_member(entry: &ClassicEntry, protocol: Option<&str>) -> DescribedGroupMember {
    let member = &entry.member;
    let said = member.protocols.iter();
    let said = said.filter(|said| Some(said.name.as_str()) == protocol);
    let metadata = said.map(|said| said.metadata.clone()).next();
    DescribedGroupMember::default()
        .with_member_id(text(&member.id))
        .with_group_instance_id(member.instance.as_deref().map(text))
        .with_client_id(text(&member.client_id))
        .with_client_host(text(&member.client_host))
        .with_member_metadata(metadata.unwrap_or_else(Bytes::new))
        .with_member_assignment(entry.assignment.clone())
}

fn listed(group: &Group) -> ListedGroup {
    let (kind, state, protocol_type) = match &group.body {
        Body::Classic(classic) => {
            let protocol_type = classic.phase.protocol_type.as_deref().unwrap_or_default();
            ("classic", classic.phase.state.name(), protocol_type)
        }
        Body::Consumer(consumer) => ("consumer", consumer.state().name(), PROTOCOL_TYPE),
    };
    ListedGroup::default()
        .with_group_id(GroupId(text(&group.name)))
        .with_protocol_type(text(protocol_type))
        .with_group_state(StrBytes::from_static_str(state))
        .with_group_type(StrBytes::from_static_str(kind))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
