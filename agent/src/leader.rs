//! Kafka calls that the metadata leader answers: the client's request goes on at one pinned version, in
//! an envelope that says who asks.

use std::time::Duration;

use aquifer_metadata_api::{
    MetadataError,
    kafka::{Envelope, KafkaCall, LeaderApi, pinned_version},
};
use bytes::BytesMut;
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::{api::RequestContext, broker::Broker};

/// Longest time that a call waits for a leader, whatever time-out the client names: shorter than the
/// 30 s after which clients give a request up, so that they hear why.
const CALL_MAX: Duration = Duration::from_secs(25);
/// Pause before a call that surely did not happen is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Passes `request` to the leader and waits for at most `timeout_ms` (as the client named it). While the
/// service is unavailable and the call surely did not happen, it is made again.
///
/// # Errors
/// There is no answer; `may_have_happened` says whether the call can have had an effect.
pub(crate) async fn call<Q: Encodable, A: Decodable>(
    broker: &Broker,
    context: &RequestContext,
    api: LeaderApi,
    request: &Q,
    timeout_ms: i32,
) -> Result<A, MetadataError> {
    let version = pinned_version(api);
    let mut body = BytesMut::new();
    request.encode(&mut body, version).map_err(refused)?;
    let wait_max = wait_max(timeout_ms);
    let call = KafkaCall {
        api,
        envelope: envelope(broker, context, wait_max),
        body: body.freeze(),
    };
    let answered = broker.ports.timeout(wait_max, answer(broker, call)).await;
    let mut body = answered.unwrap_or_else(|| {
        Err(MetadataError::Unavailable {
            reason: format!("no answer within {wait_max:?}"),
            may_have_happened: true,
        })
    })?;
    A::decode(&mut body, version).map_err(refused)
}

async fn answer(broker: &Broker, call: KafkaCall) -> Result<bytes::Bytes, MetadataError> {
    loop {
        match broker.metadata.kafka(call.clone()).await {
            Err(MetadataError::Unavailable {
                may_have_happened: false,
                reason,
            }) => {
                tracing::debug!(api = ?call.api, reason, "the metadata leader is unavailable");
                broker.ports.sleep(RETRY_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

fn wait_max(timeout_ms: i32) -> Duration {
    u64::try_from(timeout_ms)
        .ok()
        .filter(|ms| *ms > 0)
        .map_or(CALL_MAX, Duration::from_millis)
        .min(CALL_MAX)
}

/// Who asks, and for how long; without a call id.
pub(crate) fn envelope(broker: &Broker, context: &RequestContext, wait_max: Duration) -> Envelope {
    Envelope {
        client_api_key: context.api_key,
        client_api_version: context.api_version,
        principal: "User:ANONYMOUS".to_owned(),
        client_id: context.client_id.clone(),
        host: context.connection.peer().ip().to_string(),
        zone: context.zone.name.clone(),
        listener: broker.settings.listener_name.clone(),
        deadline_ms: u32::try_from(wait_max.as_millis()).unwrap_or(u32::MAX),
        call_id: 0,
    }
}

/// What cannot be encoded or decoded is not sent again.
pub(crate) fn refused(error: impl std::fmt::Display) -> MetadataError {
    MetadataError::Refused {
        reason: error.to_string(),
    }
}
