//! GetTelemetrySubscriptions (71), version 0: which metrics a client shall push, and how often (KIP-714).

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::{
    messages::{GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse},
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext, errors};
use crate::{broker::Broker, telemetry::CODECS};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: GetTelemetrySubscriptionsRequest = context.decode(body)?;
    let response = GetTelemetrySubscriptionsResponse::default();
    let subscription = match broker.telemetry.subscribe(request.client_instance_id) {
        Ok(subscription) => subscription,
        Err(error) => {
            let code = errors::telemetry_code(error).code();
            return context.reply(&response.with_error_code(code));
        }
    };
    let codecs = CODECS.map(|codec| i8::try_from(codec.code()).unwrap_or(0));
    let interval = subscription.push_interval.as_millis();
    let bytes_max = broker.view.broker_configs().effective().telemetry_max_bytes;
    let metrics = subscription.metrics.into_iter();
    context.reply(
        &response
            .with_client_instance_id(subscription.instance)
            .with_subscription_id(subscription.id)
            .with_accepted_compression_types(codecs.to_vec())
            .with_push_interval_ms(i32::try_from(interval).unwrap_or(i32::MAX))
            .with_telemetry_max_bytes(i32::try_from(bytes_max).unwrap_or(i32::MAX))
            .with_delta_temporality(true)
            .with_requested_metrics(metrics.map(StrBytes::from_static_str).collect()),
    )
}
