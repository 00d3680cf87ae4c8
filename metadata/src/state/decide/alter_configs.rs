//! AlterConfigs (version 2 in and out): the configs of a resource are replaced by those of the request.
//! Resources are topics, and the brokers all together; [`super::alteration`] has the rules.

use aquifer_metadata_api::config::alter::{Change, Resource, Unnamed};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, alter_configs_response::AlterConfigsResourceResponse,
};

use super::{Decided, alteration::alter};
use crate::state::entity::State;

/// Kafka's number of the operation that sets a config.
const SET: i8 = 0;

/// Decides an AlterConfigs request. Answers come in the order of the request.
#[must_use]
pub fn alter_configs(
    state: &State,
    request: &AlterConfigsRequest,
) -> Decided<AlterConfigsResponse> {
    let resources = request.resources.iter().map(|resource| Resource {
        kind: resource.resource_type,
        name: resource.resource_name.as_str(),
        changes: resource
            .configs
            .iter()
            .map(|config| Change {
                name: config.name.as_str(),
                operation: SET,
                value: config.value.as_deref(),
            })
            .collect(),
    });
    let resources: Vec<_> = resources.collect();
    let mut decided = Decided::only(AlterConfigsResponse::default());
    let results = alter(state, &resources, Unnamed::Removed);
    for (resource, result) in request.resources.iter().zip(results) {
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let response = match result {
            Ok(event) => {
                decided.events.extend(event);
                response.with_error_message(None)
            }
            Err(refusal) => response
                .with_error_code(refusal.code())
                .with_error_message(refusal.text()),
        };
        decided.reply.responses.push(response);
    }
    if request.validate_only {
        decided.events.clear();
    }
    decided
}
