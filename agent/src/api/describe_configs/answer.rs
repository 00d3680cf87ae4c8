//! The answer, encoded resource by resource: as structures, the configs of ten thousand topics would take
//! several times the memory of their bytes. The protocol crate's decoder checks the result in tests, in every
//! version.

use std::collections::BTreeSet;

use aquifer_metadata_api::config::describe::Described;
use bytes::{BufMut, BytesMut};
use kafka_protocol::{
    messages::{
        DescribeConfigsRequest,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::{
            DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
        },
    },
    protocol::{Encodable, StrBytes},
};

use super::{Close, Refusal, Reply};

/// First version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 4;

/// An answer that is being encoded.
pub(super) struct Answer<'a> {
    request: &'a DescribeConfigsRequest,
    version: i16,
    body: BytesMut,
}

impl<'a> Answer<'a> {
    /// The beginning of an answer. Each of the request's resources must follow.
    pub(super) fn new(request: &'a DescribeConfigsRequest, version: i16) -> Self {
        let mut body = BytesMut::new();
        body.put_i32(0); // throttle time
        let resources = request.resources.len();
        if version >= FLEXIBLE {
            varint(&mut body, resources.saturating_add(1));
        } else {
            body.put_i32(i32::try_from(resources).unwrap_or(i32::MAX));
        }
        Self {
            request,
            version,
            body,
        }
    }

    /// How large it is so far.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Adds a resource.
    pub(super) fn push(
        &mut self,
        resource: &DescribeConfigsResource,
        described: Result<Vec<Described>, Refusal>,
    ) -> Result<(), Close> {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let result = match described {
            Ok(described) => result.with_configs(self.configs(resource, described)),
            Err((error, why)) => result
                .with_error_code(error.code())
                .with_error_message(Some(StrBytes::from_string(why))),
        };
        self.encode(&result)
    }

    fn encode(&mut self, result: &DescribeConfigsResult) -> Result<(), Close> {
        let encoded = result.encode(&mut self.body, self.version);
        encoded.map_err(|error| Close::Unencodable {
            reason: error.to_string(),
        })
    }

    /// Adds a resource that the metadata leader has described.
    pub(super) fn pass(
        &mut self,
        resource: &DescribeConfigsResource,
        mut result: DescribeConfigsResult,
    ) -> Result<(), Close> {
        result.resource_type = resource.resource_type;
        result.resource_name = resource.resource_name.clone();
        let wanted = wanted(resource);
        result.configs.retain(|config| wanted(&config.name));
        for config in &mut result.configs {
            if !self.request.include_synonyms {
                config.synonyms.clear();
            }
            if !self.request.include_documentation {
                config.documentation = None;
            }
        }
        self.encode(&result)
    }

    /// The whole answer.
    pub(super) fn finish(mut self) -> Reply {
        if self.version >= FLEXIBLE {
            self.body.put_u8(0); // tagged fields
        }
        Reply::Body(vec![self.body.freeze()])
    }

    fn configs(
        &self,
        resource: &DescribeConfigsResource,
        described: Vec<Described>,
    ) -> Vec<DescribeConfigsResourceResult> {
        let wanted = wanted(resource);
        described
            .into_iter()
            .filter(|config| wanted(&config.name))
            .map(|config| self.config(config))
            .collect()
    }

    fn config(&self, config: Described) -> DescribeConfigsResourceResult {
        let text = StrBytes::from_string;
        let synonyms = if self.request.include_synonyms {
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
        let documented = self.request.include_documentation;
        let documentation = documented.then(|| text(config.documentation.into_owned()));
        DescribeConfigsResourceResult::default()
            .with_name(text(config.name))
            .with_value(config.value.map(text))
            .with_read_only(config.read_only)
            .with_config_source(config.source.wire_code())
            .with_is_sensitive(config.sensitive)
            .with_synonyms(synonyms.collect())
            .with_config_type(config.kind.wire_code())
            .with_documentation(documentation)
    }
}

/// Whether a config of this name is asked for.
fn wanted(resource: &DescribeConfigsResource) -> impl Fn(&str) -> bool {
    let keys = resource.configuration_keys.iter().flatten();
    let keys: BTreeSet<&str> = keys.map(StrBytes::as_str).collect();
    // No names at all ask for everything, as null does.
    move |name: &str| keys.is_empty() || keys.contains(name)
}

fn varint(body: &mut BytesMut, mut value: usize) {
    loop {
        let group = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            body.put_u8(group);
            return;
        }
        body.put_u8(group | 0x80);
    }
}
