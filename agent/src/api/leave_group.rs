//! LeaveGroup (13), versions 0 to 5: passed to the metadata leader at its pinned version. Up to version 2 one
//! member leaves, and the answer has its error alone.

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::kafka::LeaderApi;
use bytes::Bytes;
use kafka_protocol::messages::{
    LeaveGroupRequest, LeaveGroupResponse, leave_group_request::MemberIdentity,
};

use super::{Close, Reply, RequestContext, errors};
use crate::{broker::Broker, group_calls};

/// First version with a list of members.
const OF_MEMBERS: i16 = 3;
/// How long this agent tries: consumers that close wait for little, and what is not heard here the session
/// timeout does.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let of_members = context.api_version >= OF_MEMBERS;
    let mut request: LeaveGroupRequest = context.decode(body)?;
    if !of_members {
        let member_id = std::mem::take(&mut request.member_id);
        request.members = vec![MemberIdentity::default().with_member_id(member_id)];
    }
    request.unknown_tagged_fields.clear();
    for member in &mut request.members {
        member.unknown_tagged_fields.clear();
    }
    let api = LeaderApi::LeaveGroup;
    let answered: Result<LeaveGroupResponse, _> =
        group_calls::call(broker, context, api, &request, PATIENCE).await;
    let mut response = answered.unwrap_or_else(|error| {
        LeaveGroupResponse::default().with_error_code(errors::group_code(api, &error))
    });
    if !of_members {
        let members = std::mem::take(&mut response.members);
        if let (0, Some(member)) = (response.error_code, members.first()) {
            response.error_code = member.error_code;
        }
    }
    context.reply(&response)
}
