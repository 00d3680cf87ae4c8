//! DescribeUserScramCredentials (50), version 0: there are no credentials.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
        describe_user_scram_credentials_response::DescribeUserScramCredentialsResult,
    },
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext, shown};
use crate::broker::Broker;

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: DescribeUserScramCredentialsRequest = context.decode(body)?;
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for user in request.users.unwrap_or_default() {
        *times.entry(user.name.to_string()).or_default() += 1;
    }
    let results = times.into_iter().map(|(user, times)| {
        let name = shown(&user);
        let (error, message) = if times > 1 {
            (
                ResponseError::DuplicateResource,
                format!(
                    "Cannot describe SCRAM credentials for the same user twice in a single request: {name}"
                ),
            )
        } else {
            (
                ResponseError::ResourceNotFound,
                format!("Attempt to describe a user credential that does not exist: {name}"),
            )
        };
        DescribeUserScramCredentialsResult::default()
            .with_user(StrBytes::from_string(user))
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_string(message)))
    });
    let results = results.collect();
    context.reply(&DescribeUserScramCredentialsResponse::default().with_results(results))
}
