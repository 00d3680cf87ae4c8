//! Kafka calls in their envelope.

use bytes::Bytes;

use super::{super::proto, Malformed};
use crate::kafka::{Envelope, KafkaCall, LeaderApi, pinned_version};

/// A call.
#[must_use]
pub fn kafka_to(call: &KafkaCall) -> proto::KafkaRequest {
    let envelope = &call.envelope;
    proto::KafkaRequest {
        api_key: i32::from(call.api.api_key()),
        version: i32::from(pinned_version(call.api)),
        body: call.body.clone(),
        envelope: Some(proto::Envelope {
            client_api_key: i32::from(envelope.client_api_key),
            client_api_version: i32::from(envelope.client_api_version),
            principal: envelope.principal.clone(),
            client_id: envelope.client_id.clone(),
            host: envelope.host.clone(),
            zone: envelope.zone.clone(),
            listener: envelope.listener.clone(),
            deadline_ms: envelope.deadline_ms,
            call_id: match envelope.call_id {
                0 => Bytes::new(),
                id => Bytes::copy_from_slice(&id.to_be_bytes()),
            },
        }),
    }
}

/// Reads what [`kafka_to`] wrote.
///
/// # Errors
/// Messages that it does not write; calls and versions that this release does not know.
pub fn kafka_from(request: proto::KafkaRequest) -> Result<KafkaCall, Malformed> {
    let api = LeaderApi::ALL
        .into_iter()
        .find(|api| i32::from(api.api_key()) == request.api_key);
    let api = api.ok_or(Malformed("the leader answers no calls of this api key"))?;
    if request.version != i32::from(pinned_version(api)) {
        return Err(Malformed("the body is not of this release's version"));
    }
    let from = request
        .envelope
        .ok_or(Malformed("a call has no envelope"))?;
    let small =
        |number: i32| i16::try_from(number).map_err(|_| Malformed("a version is out of range"));
    Ok(KafkaCall {
        api,
        envelope: Envelope {
            client_api_key: small(from.client_api_key)?,
            client_api_version: small(from.client_api_version)?,
            principal: from.principal,
            client_id: from.client_id,
            host: from.host,
            zone: from.zone,
            listener: from.listener,
            deadline_ms: from.deadline_ms,
            call_id: call_id_from(&from.call_id)?,
        },
        body: request.body,
    })
}

fn call_id_from(bytes: &[u8]) -> Result<u128, Malformed> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let bytes: [u8; 16] = bytes
        .try_into()
        .map_err(|_| Malformed("a call's id is not 16 bytes long"))?;
    Ok(u128::from_be_bytes(bytes))
}
