//! DescribeConfigs (version 4) and ListConfigResources (version 1) of groups: what agents do not know.

use std::collections::BTreeSet;

use aquifer_metadata_api::config::{
    Configs,
    alter::resource_type::GROUP,
    describe::{Described, describe_group},
};
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeConfigsRequest, DescribeConfigsResponse, ListConfigResourcesRequest,
        ListConfigResourcesResponse,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::{
            DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
        },
        list_config_resources_response::ConfigResource,
    },
    protocol::StrBytes,
};

use super::refusal::Refusal;
use crate::state::entity::State;

/// Most configs of one answer, so that it fits a message: that of 10,000 groups is some 40 MB.
const CONFIGS_MAX: usize = 110_000;

/// Describes the groups among the resources of a request; there are no others in it.
pub(crate) fn describe_group_configs(
    state: &State,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let mut described = 0;
    let results = request.resources.iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match describe(state, resource, described) {
            Ok(configs) => {
                let configs: Vec<_> = configs.into_iter().map(|c| shown(c, request)).collect();
                described += configs.len();
                result.with_error_message(None).with_configs(configs)
            }
            Err(refusal) => result
                .with_error_code(refusal.code())
                .with_error_message(refusal.text()),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe(
    state: &State,
    resource: &DescribeConfigsResource,
    before: usize,
) -> Result<Vec<Described>, Refusal> {
    let invalid = |text: &str| Refusal::new(ResponseError::InvalidRequest, text);
    if resource.resource_type != GROUP {
        return Err(invalid("Only configs of groups are known here"));
    }
    if resource.resource_name.is_empty() {
        return Err(invalid("Group name must not be empty"));
    }
    if before >= CONFIGS_MAX {
        return Err(invalid(
            "the answer would be too large: ask for fewer resources at a time",
        ));
    }
    let none = Configs::new();
    let own = state.group_configs(&resource.resource_name);
    let mut described = describe_group(own.unwrap_or(&none), state.broker_configs.effective());
    let keys = resource.configuration_keys.iter().flatten();
    let keys: BTreeSet<&str> = keys.map(StrBytes::as_str).collect();
    // no names at all ask for everything, as null does
    if !keys.is_empty() {
        described.retain(|config| keys.contains(config.name.as_str()));
    }
    Ok(described)
}

fn shown(config: Described, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let text = StrBytes::from_string;
    let synonyms = if request.include_synonyms {
        config.synonyms
    } else {
        Vec::new()
    };
    let synonyms = synonyms.into_iter().map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(synonym.name))
            .with_value(synonym.value.map(text))
            .with_source(synonym.source.wire_code())
    });
    let documented = request.include_documentation;
    DescribeConfigsResourceResult::default()
        .with_name(text(config.name))
        .with_value(config.value.map(text))
        .with_read_only(config.read_only)
        .with_config_source(config.source.wire_code())
        .with_is_sensitive(config.sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(config.kind.wire_code())
        .with_documentation(documented.then(|| text(config.documentation.into_owned())))
}

/// Lists groups that have configs.
pub(crate) fn list_group_configs(
    state: &State,
    _request: &ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let groups = state.configured_groups().map(|group| {
        ConfigResource::default()
            .with_resource_type(GROUP)
            .with_resource_name(StrBytes::from_string(group.to_owned()))
    });
    ListConfigResourcesResponse::default().with_config_resources(groups.collect())
}
