//! Calls of groups to the metadata leader. Where a call can be repeated it is, with the same body and call
//! id, until it is answered or the client would not wait any longer: so a leader that dies costs a client
//! of a group time and no error.
//!
//! JoinGroup and SyncGroup wait at the leader for other members, in slices: a leader that fell silent is not
//! waited for longer than one.

#[cfg(test)]
mod tests;

use std::time::Duration;

use aquifer_metadata_api::{
    MetadataError,
    kafka::{KafkaCall, LeaderApi, pinned_version},
};
use aquifer_store::Ports;
use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::sync::SemaphorePermit;

use crate::{api::RequestContext, broker::Broker, leader};

/// Most calls of one agent that wait at the leader at a time. Each is a stream of one HTTP/2 connection, of
/// which the leader takes twice as many.
pub(crate) const WAITING_MAX: usize = 8_192;
/// How long one sending of a call may wait at the leader.
const SLICE: Duration = Duration::from_secs(30);
/// First pause before a call that failed is sent again, doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest one: members that all come back after a take-over find their places within it.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Passes `request` to the leader and waits for at most `patience`.
///
/// # Errors
/// There is no answer; `may_have_happened` says whether any sending of the call can have had an effect.
pub(crate) async fn call<Q: Encodable, A: Decodable>(
    broker: &Broker,
    context: &RequestContext,
    api: LeaderApi,
    request: &Q,
    patience: Duration,
) -> Result<A, MetadataError> {
    let version = pinned_version(api);
    let mut body = BytesMut::new();
    let encoded = request.encode(&mut body, version);
    encoded.map_err(leader::refused)?;
    let _room = if api.waits() {
        Some(room(broker)?)
    } else {
        None
    };
    let mut envelope = leader::envelope(broker, context, patience);
    if api.repeats() {
        envelope.call_id = call_id(&broker.ports);
    }
    let call = KafkaCall {
        api,
        envelope,
        body: body.freeze(),
    };
    let mut body = answer(broker, call, patience).await?;
    A::decode(&mut body, version).map_err(leader::refused)
}

/// A place among the calls that wait.
fn room(broker: &Broker) -> Result<SemaphorePermit<'_>, MetadataError> {
    broker.waiting_calls().try_acquire().map_err(|_| {
        metrics::counter!("aquifer_group_calls_over_limit_total").increment(1);
        MetadataError::Unavailable {
            reason: format!("{WAITING_MAX} members wait for their groups through this agent"),
            may_have_happened: false,
        }
    })
}

/// 128 random bits; never 0, which stands for none.
fn call_id(ports: &Ports) -> u128 {
    let high = u128::from(ports.rand.next_u64());
    let low = u128::from(ports.rand.next_u64());
    ((high << 64) | low).max(1)
}

async fn answer(
    broker: &Broker,
    mut call: KafkaCall,
    patience: Duration,
) -> Result<Bytes, MetadataError> {
    let ports = &broker.ports;
    let until = ports.clock.now().plus(patience);
    let mut pause = PAUSE_MIN;
    let mut had_effect = false;
    loop {
        let sent = ports.clock.now();
        let left = until.since(sent);
        let slice = if call.api.waits() {
            left.min(SLICE)
        } else {
            left
        };
        call.envelope.deadline_ms = u32::try_from(slice.as_millis()).unwrap_or(u32::MAX);
        let made = ports.timeout(slice, broker.metadata.kafka(call.clone()));
        let error = match made.await {
            Some(Ok(body)) => return Ok(body),
            Some(Err(error)) => error,
            None => MetadataError::Unavailable {
                reason: format!("no answer within {slice:?}"),
                may_have_happened: true,
            },
        };
        had_effect |= may_have_happened(&error);
        let now = ports.clock.now();
        // A member that merely waits goes on waiting without a gap.
        let rest = if now.since(sent) < slice {
            pause
        } else {
            Duration::ZERO
        };
        if !is_sent_again(call.api, &error) || until.since(now) <= rest.max(PAUSE_MIN) {
            return Err(with_effect(error, had_effect));
        }
        tracing::debug!(api = ?call.api, %error, "a call of a group is sent again");
        if rest.is_zero() {
            pause = PAUSE_MIN;
        } else {
            ports.sleep(rest).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

fn may_have_happened(error: &MetadataError) -> bool {
    match error {
        MetadataError::Unavailable {
            may_have_happened, ..
        } => *may_have_happened,
        MetadataError::LostRows { .. } => true,
        MetadataError::UnknownSession { .. } | MetadataError::Refused { .. } => false,
    }
}

fn is_sent_again(api: LeaderApi, error: &MetadataError) -> bool {
    match error {
        MetadataError::Unavailable {
            may_have_happened, ..
        } => !may_have_happened || api.repeats(),
        MetadataError::LostRows { .. } => api.repeats(),
        MetadataError::UnknownSession { .. } | MetadataError::Refused { .. } => false,
    }
}

/// The last error, with what is known of the sendings before it.
fn with_effect(error: MetadataError, had_effect: bool) -> MetadataError {
    match error {
        MetadataError::Unavailable { reason, .. } => MetadataError::Unavailable {
            reason,
            may_have_happened: had_effect,
        },
        other => other,
    }
}
