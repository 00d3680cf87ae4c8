//! Configs of groups, from the metadata leader: a bounded number with each call, so that neither a call nor what
//! waits here to be encoded grows with the request.

use std::{collections::VecDeque, time::Duration};

use aquifer_metadata_api::{MetadataError, config::alter::resource_type::GROUP, kafka::LeaderApi};
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeConfigsRequest, DescribeConfigsResponse,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::DescribeConfigsResult,
    },
};

use super::{Refusal, RequestContext, errors};
use crate::{broker::Broker, group_calls};

/// Most groups of one call. The configs of one take up to 4,000 bytes.
const GROUPS_PER_CALL: usize = 256;
/// How long this agent tries: clients give up after 30 s.
const PATIENCE: Duration = Duration::from_secs(25);

/// Whether the leader describes this resource.
pub(super) fn is_asked(resource: &DescribeConfigsResource) -> bool {
    resource.resource_type == GROUP && !resource.resource_name.is_empty()
}

/// The groups of a request, one after the other.
pub(super) struct Groups<'a> {
    request: &'a DescribeConfigsRequest,
    described: VecDeque<DescribeConfigsResult>,
    /// Why the leader could not be asked; it is not asked again then.
    failed: Option<Refusal>,
}

impl<'a> Groups<'a> {
    pub(super) fn of(request: &'a DescribeConfigsRequest) -> Self {
        Self {
            request,
            described: VecDeque::new(),
            failed: None,
        }
    }

    /// What the leader says of the first of `resources`. To be called for each that [`is_asked`], in their order.
    pub(super) async fn next(
        &mut self,
        broker: &Broker,
        context: &RequestContext,
        resources: &[DescribeConfigsResource],
    ) -> Result<DescribeConfigsResult, Refusal> {
        if self.described.is_empty() && self.failed.is_none() {
            match self.ask(broker, context, resources).await {
                Ok(described) => self.described = described.into(),
                Err(error) => {
                    let code = errors::controller_code(&error);
                    self.failed = Some((code, error.to_string()));
                }
            }
        }
        let left_out = || {
            let why = "the metadata leader left this group out: report it as a bug";
            (ResponseError::UnknownServerError, why.to_owned())
        };
        let described = self.described.pop_front();
        described.ok_or_else(|| self.failed.clone().unwrap_or_else(left_out))
    }

    async fn ask(
        &self,
        broker: &Broker,
        context: &RequestContext,
        resources: &[DescribeConfigsResource],
    ) -> Result<Vec<DescribeConfigsResult>, MetadataError> {
        let groups = resources.iter().filter(|resource| is_asked(resource));
        let groups = groups.take(GROUPS_PER_CALL).map(|resource| {
            DescribeConfigsResource::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_configuration_keys(resource.configuration_keys.clone())
        });
        let request = DescribeConfigsRequest::default()
            .with_resources(groups.collect())
            .with_include_synonyms(self.request.include_synonyms)
            .with_include_documentation(self.request.include_documentation);
        let api = LeaderApi::DescribeConfigs;
        let answered: DescribeConfigsResponse =
            group_calls::call(broker, context, api, &request, PATIENCE).await?;
        if answered.results.len() == request.resources.len() {
            return Ok(answered.results);
        }
        Err(MetadataError::Refused {
            reason: format!(
                "the metadata leader described {} groups of {}",
                answered.results.len(),
                request.resources.len()
            ),
        })
    }
}
