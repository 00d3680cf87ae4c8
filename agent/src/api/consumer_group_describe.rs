//! ConsumerGroupDescribe (69), versions 0 and 1: passed to the metadata leader at its pinned version. Any agent
//! answers for any group.

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::{MetadataError, kafka::LeaderApi};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
        consumer_group_describe_response::DescribedGroup,
    },
    protocol::StrBytes,
};

use super::{
    Close, Reply, RequestContext, errors,
    nodes::{GROUP_OPERATIONS, OPERATIONS_NOT_ASKED},
};
use crate::{broker::Broker, group_calls};

/// How long this agent tries: clients give up after 30 s.
const PATIENCE: Duration = Duration::from_secs(25);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let mut request: ConsumerGroupDescribeRequest = context.decode(body)?;
    request.unknown_tagged_fields.clear();
    let api = LeaderApi::ConsumerGroupDescribe;
    let answered: Result<ConsumerGroupDescribeResponse, _> =
        group_calls::call(broker, context, api, &request, PATIENCE).await;
    let mut response = answered.unwrap_or_else(|error| failed(&request, &error));
    for group in &mut response.groups {
        let told = request.include_authorized_operations && group.error_code == 0;
        group.authorized_operations = if told {
            GROUP_OPERATIONS
        } else {
            OPERATIONS_NOT_ASKED
        };
    }
    context.reply(&response)
}

fn failed(
    request: &ConsumerGroupDescribeRequest,
    error: &MetadataError,
) -> ConsumerGroupDescribeResponse {
    let code = errors::group_code(LeaderApi::ConsumerGroupDescribe, error);
    let groups = request.group_ids.iter().map(|group| {
        DescribedGroup::default()
            .with_group_id(group.clone())
            .with_error_code(code)
            .with_error_message(Some(StrBytes::from_string(error.to_string())))
    });
    ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
}
