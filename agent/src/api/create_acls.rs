//! CreateAcls (30), versions 1 to 3: there is no authorizer.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{CreateAclsRequest, CreateAclsResponse, create_acls_response::AclCreationResult},
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext, describe_acls::check_types};
use crate::broker::Broker;

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: CreateAclsRequest = context.decode(body)?;
    for creation in &request.creations {
        check_types([
            creation.resource_type,
            creation.resource_pattern_type,
            creation.operation,
            creation.permission_type,
        ])?;
    }
    let refused = AclCreationResult::default()
        .with_error_code(ResponseError::SecurityDisabled.code())
        .with_error_message(Some(StrBytes::from_static_str(
            "No Authorizer is configured.",
        )));
    let results = vec![refused; request.creations.len()];
    context.reply(&CreateAclsResponse::default().with_results(results))
}
