//! Configs of the fake, altered by the rules that the real service has too.

use kafka_protocol::{
    messages::{
        AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
        IncrementalAlterConfigsResponse, alter_configs_response,
        incremental_alter_configs_response,
    },
    protocol::StrBytes,
};

use super::super::core::Core;
use crate::config::{
    Configs,
    alter::{Altered, Change, Known, Refusal, Resource, Unnamed, alter},
};

impl Known for Core {
    fn topic_configs(&self, name: &str) -> Option<&Configs> {
        self.topic_by_name(name).map(|topic| &topic.configs)
    }

    /// The fake has no groups.
    fn group_configs(&self, _name: &str) -> Option<&Configs> {
        None
    }

    fn configured_groups(&self) -> usize {
        0
    }

    fn dynamic_broker_configs(&self) -> &Configs {
        &self.broker_configs
    }

    /// The fake was started with none.
    fn broker_configs(&self) -> &Configs {
        &self.broker_configs
    }
}

pub(super) fn alter_configs(core: &mut Core, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let resources = request.resources.iter().map(|resource| Resource {
        kind: resource.resource_type,
        name: &resource.resource_name,
        changes: resource
            .configs
            .iter()
            .map(|config| Change {
                name: &config.name,
                operation: 0,
                value: config.value.as_deref(),
            })
            .collect(),
    });
    let resources: Vec<_> = resources.collect();
    let results = alter_all(core, &resources, Unnamed::Removed, request.validate_only);
    let responses = request.resources.iter().zip(results);
    let responses = responses.map(|(resource, (code, text))| {
        alter_configs_response::AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
            .with_error_code(code)
            .with_error_message(text)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

pub(super) fn incremental_alter_configs(
    core: &mut Core,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let resources = request.resources.iter().map(|resource| Resource {
        kind: resource.resource_type,
        name: &resource.resource_name,
        changes: resource
            .configs
            .iter()
            .map(|config| Change {
                name: &config.name,
                operation: config.config_operation,
                value: config.value.as_deref(),
            })
            .collect(),
    });
    let resources: Vec<_> = resources.collect();
    let results = alter_all(core, &resources, Unnamed::Kept, request.validate_only);
    let responses = request.resources.iter().zip(results);
    let responses = responses.map(|(resource, (code, text))| {
        incremental_alter_configs_response::AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
            .with_error_code(code)
            .with_error_message(text)
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

/// Alters what may be altered; code and text of each resource.
fn alter_all(
    core: &mut Core,
    resources: &[Resource<'_>],
    unnamed: Unnamed,
    dry: bool,
) -> Vec<(i16, Option<StrBytes>)> {
    let results = alter(resources, unnamed, &*core);
    let answer = |result: Result<Option<Altered>, Refusal>| match result {
        Ok(altered) => {
            if let Some(altered) = altered.filter(|_| !dry) {
                core.set_configs(altered);
            }
            (0, None)
        }
        Err(refusal) => (
            refusal.error.code(),
            Some(StrBytes::from_string(refusal.text)),
        ),
    };
    results.into_iter().map(answer).collect()
}
