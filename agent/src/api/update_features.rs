//! UpdateFeatures (57), versions 0 to 2: checked; the levels of features belong to the release, so that
//! nothing is changed.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        UpdateFeaturesRequest, UpdateFeaturesResponse,
        update_features_response::UpdatableFeatureResult,
    },
    protocol::StrBytes,
};

use super::{
    Close, Reply, RequestContext,
    features::{FEATURES, judge},
    nodes::Nodes,
};
use crate::broker::Broker;

/// Last version with a result of each feature.
const RESULTS_UNTIL: i16 = 1;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: UpdateFeaturesRequest = context.decode(body)?;
    let updates = &request.feature_updates;
    let nodes = Nodes::of(broker, context);
    let cluster = broker.session.registration().cluster;
    let controller = nodes.candidates().controller(cluster);
    let controller = controller.map_or(-1, |node| node.id());
    let judged = updates
        .iter()
        .try_for_each(|update| judge(FEATURES, update, context.api_version, controller));
    let response = match judged {
        Ok(()) => {
            let with_results = context.api_version <= RESULTS_UNTIL;
            let updates = updates.iter().filter(|_| with_results);
            let results = updates.map(|update| {
                UpdatableFeatureResult::default()
                    .with_feature(update.feature.clone())
                    .with_error_message(None)
            });
            UpdateFeaturesResponse::default()
                .with_error_message(None)
                .with_results(results.collect())
        }
        Err(why) => {
            let message = format!(
                "The update failed for all features since the following feature had an error: {why}"
            );
            UpdateFeaturesResponse::default()
                .with_error_code(ResponseError::InvalidUpdateVersion.code())
                .with_error_message(Some(StrBytes::from_string(message)))
        }
    };
    context.reply(&response)
}
