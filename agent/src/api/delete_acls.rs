//! DeleteAcls (31), versions 1 to 3: there is no authorizer.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        DeleteAclsRequest, DeleteAclsResponse, delete_acls_response::DeleteAclsFilterResult,
    },
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext, describe_acls::check_types};
use crate::broker::Broker;

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: DeleteAclsRequest = context.decode(body)?;
    for filter in &request.filters {
        check_types([
            filter.resource_type_filter,
            filter.pattern_type_filter,
            filter.operation,
            filter.permission_type,
        ])?;
    }
    let refused = DeleteAclsFilterResult::default()
        .with_error_code(ResponseError::SecurityDisabled.code())
        .with_error_message(Some(StrBytes::from_static_str(
            "No Authorizer is configured.",
        )));
    let results = vec![refused; request.filters.len()];
    context.reply(&DeleteAclsResponse::default().with_filter_results(results))
}
