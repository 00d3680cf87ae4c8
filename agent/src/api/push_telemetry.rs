//! PushTelemetry (72), version 0: metrics of a client (KIP-714), see [`crate::telemetry`].

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::{PushTelemetryRequest, PushTelemetryResponse};

use super::{Close, Reply, RequestContext, errors};
use crate::{broker::Broker, telemetry::Push};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: PushTelemetryRequest = context.decode(body)?;
    let push = Push {
        instance: request.client_instance_id,
        subscription: request.subscription_id,
        terminating: request.terminating,
        codec: request.compression_type,
        metrics: request.metrics,
    };
    let bytes_max = broker.view.broker_configs().effective().telemetry_max_bytes;
    let mut response = PushTelemetryResponse::default();
    if let Err(error) = broker.telemetry.push(&push, bytes_max) {
        tracing::debug!(instance = %push.instance, %error, "a client's metrics are not taken");
        response.error_code = errors::telemetry_code(error).code();
    }
    context.reply(&response)
}
