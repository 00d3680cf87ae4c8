//! ApiVersions (18), versions 0 to 4: what is served.
//!
//! A request of an unknown version is answered with a version 0 body, error 35 and the versions of
//! ApiVersions itself, so that the client can ask again (KIP-511).

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, ApiVersionsRequest, ApiVersionsResponse, api_versions_response::ApiVersion,
    },
};

use super::{Close, Reply, RequestContext, encode_at, versions};
use crate::broker::Broker;

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let served =
        versions::find(versions::wire_key(ApiKey::ApiVersions)).expect("the table has ApiVersions");
    if !served.answers(context.api_version) {
        let own = ApiVersion::default()
            .with_api_key(served.key())
            .with_min_version(served.min)
            .with_max_version(served.max);
        let response = ApiVersionsResponse::default()
            .with_error_code(ResponseError::UnsupportedVersion.code())
            .with_api_keys(vec![own]);
        return encode_at(&response, 0);
    }
    let request: ApiVersionsRequest = context.decode(body)?;
    let named = context.api_version < 3
        || (is_software_name(&request.client_software_name)
            && is_software_name(&request.client_software_version));
    if !named {
        let response =
            ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code());
        return context.reply(&response);
    }
    context.reply(&versions::advertised(context.api_version))
}

/// Letters, digits, `-` and `.`, beginning and ending with a letter or digit (Kafka's
/// `ApiVersionsRequest.isValid`).
fn is_software_name(name: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.';
    let ends = [name.bytes().next(), name.bytes().last()];
    name.bytes().all(inner)
        && ends
            .iter()
            .all(|end| end.is_some_and(|c| c.is_ascii_alphanumeric()))
}
