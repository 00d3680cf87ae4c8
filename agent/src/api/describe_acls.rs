//! DescribeAcls (29), versions 1 to 3: there is no authorizer.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{DescribeAclsRequest, DescribeAclsResponse},
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext};
use crate::broker::Broker;

/// Kafka's number for "not known to this client" in each of the four types of an access rule. It closes the
/// connection upon a request that carries it.
const UNKNOWN: i8 = 0;

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: DescribeAclsRequest = context.decode(body)?;
    check_types([
        request.resource_type_filter,
        request.pattern_type_filter,
        request.operation,
        request.permission_type,
    ])?;
    context.reply(
        &DescribeAclsResponse::default()
            .with_error_code(ResponseError::SecurityDisabled.code())
            .with_error_message(Some(StrBytes::from_static_str(
                "No Authorizer is configured on the broker",
            ))),
    )
}

/// Checks the types that an access rule names: of resource, of pattern, of operation, of permission.
pub(super) fn check_types(types: [i8; 4]) -> Result<(), Close> {
    if types.contains(&UNKNOWN) {
        return Err(Close::Undecodable {
            reason: "an access rule has a type that is unknown to its own client".to_owned(),
        });
    }
    Ok(())
}
