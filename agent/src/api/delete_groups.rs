//! DeleteGroups (42), versions 0 to 2: passed to the metadata leader at its pinned version.

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::{MetadataError, kafka::LeaderApi};
use bytes::Bytes;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, delete_groups_response::DeletableGroupResult,
};

use super::{Close, Reply, RequestContext, errors};
use crate::{broker::Broker, group_calls};

/// How long this agent tries: clients give up after 30 s.
const PATIENCE: Duration = Duration::from_secs(25);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let mut request: DeleteGroupsRequest = context.decode(body)?;
    request.unknown_tagged_fields.clear();
    let api = LeaderApi::DeleteGroups;
    let answered: Result<DeleteGroupsResponse, _> =
        group_calls::call(broker, context, api, &request, PATIENCE).await;
    let response = answered.unwrap_or_else(|error| failed(&request, &error));
    context.reply(&response)
}

fn failed(request: &DeleteGroupsRequest, error: &MetadataError) -> DeleteGroupsResponse {
    let code = errors::group_code(LeaderApi::DeleteGroups, error);
    let results = request.groups_names.iter().map(|group| {
        DeletableGroupResult::default()
            .with_group_id(group.clone())
            .with_error_code(code)
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}
