//! DescribeGroups (15), versions 0 to 6: passed to the metadata leader at its pinned version. Any agent answers
//! for any group. Up to version 5 a group that is not there is in the state Dead, and that is no error.

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::{MetadataError, kafka::LeaderApi};
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeGroupsRequest, DescribeGroupsResponse, describe_groups_response::DescribedGroup,
    },
    protocol::StrBytes,
};

use super::{
    Close, Reply, RequestContext, errors,
    nodes::{GROUP_OPERATIONS, OPERATIONS_NOT_ASKED},
};
use crate::{broker::Broker, group_calls};

/// First version with authorized operations.
const OPERATIONS: i16 = 3;
/// First version with texts of errors, and with an error for a group that is not there.
const ERROR_TEXT: i16 = 6;
/// How long this agent tries: clients give up after 30 s.
const PATIENCE: Duration = Duration::from_secs(25);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let version = context.api_version;
    let mut request: DescribeGroupsRequest = context.decode(body)?;
    request.unknown_tagged_fields.clear();
    let api = LeaderApi::DescribeGroups;
    let answered: Result<DescribeGroupsResponse, _> =
        group_calls::call(broker, context, api, &request, PATIENCE).await;
    let mut response = answered.unwrap_or_else(|error| failed(&request, &error));
    let operations = version >= OPERATIONS && request.include_authorized_operations;
    let absent = ResponseError::GroupIdNotFound.code();
    for group in &mut response.groups {
        if version < ERROR_TEXT {
            group.error_message = None;
            if group.error_code == absent {
                group.error_code = 0;
            }
        }
        group.authorized_operations = if operations && group.error_code == 0 {
            GROUP_OPERATIONS
        } else {
            OPERATIONS_NOT_ASKED
        };
    }
    context.reply(&response)
}

fn failed(request: &DescribeGroupsRequest, error: &MetadataError) -> DescribeGroupsResponse {
    let code = errors::group_code(LeaderApi::DescribeGroups, error);
    let groups = request.groups.iter().map(|group| {
        DescribedGroup::default()
            .with_group_id(group.clone())
            .with_error_code(code)
            .with_error_message(Some(StrBytes::from_string(error.to_string())))
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}
