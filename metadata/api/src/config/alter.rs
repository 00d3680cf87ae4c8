//! Altering configs: what AlterConfigs and IncrementalAlterConfigs do, whoever answers them.
//!
//! Checks, their order, codes and texts follow Kafka's `ConfigAdminManager`, `ControllerConfigurationValidator`
//! and `ConfigurationControlManager`. Each resource is altered wholly or not at all, whatever becomes of the
//! others.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;

use super::{
    ConfigError, ConfigType, Configs, broker, group,
    operation::{Operation, Part, operate},
    topic, validate_all,
};
use crate::topic_name;

/// Longest value of a config in bytes, as in Kafka.
pub const CONFIG_VALUE_BYTES_MAX: usize = 32_767;
/// Most dynamic broker configs; names with a listener in them are as many as somebody thinks of.
const BROKER_CONFIGS_MAX: usize = 1_000;
/// Longest name of one in bytes, for the same reason: every agent is sent all of them.
const BROKER_CONFIG_NAME_BYTES_MAX: usize = 1_000;
/// Most groups that have configs: all of them are kept together.
const CONFIGURED_GROUPS_MAX: usize = 10_000;
/// Longest group id in bytes that configs are kept for.
const GROUP_ID_BYTES_MAX: usize = 1_024;
/// Longest text of a refusal, in characters: it may quote what the client sent.
const TEXT_CHARS_MAX: usize = 4_000;

/// Kafka's `ConfigResource.Type` numbers.
pub mod resource_type {
    /// A topic.
    pub const TOPIC: i8 = 2;
    /// A broker, or with an empty name all of them.
    pub const BROKER: i8 = 4;
    /// The loggers of a broker.
    pub const BROKER_LOGGER: i8 = 8;
    /// A subscription to metrics of clients.
    pub const CLIENT_METRICS: i8 = 16;
    /// A group.
    pub const GROUP: i8 = 32;
}

/// What a request asks of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// One of [`resource_type`], or whatever the client sent.
    pub kind: i8,
    /// Its name.
    pub name: &'a str,
    /// Its configs.
    pub changes: Vec<Change<'a>>,
}

/// What a request asks of one config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// Its name.
    pub name: &'a str,
    /// Kafka's number of the operation; 0 (set) for AlterConfigs.
    pub operation: i8,
    /// The value.
    pub value: Option<&'a str>,
}

/// What becomes of configs that a request does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// They are removed (AlterConfigs).
    Removed,
    /// They stay (IncrementalAlterConfigs).
    Kept,
}

/// All configs of a resource after an alteration that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Altered {
    /// Of a topic.
    Topic {
        /// Its name.
        name: String,
        /// All overrides.
        configs: Configs,
    },
    /// Of all brokers: all dynamic configs.
    Brokers(Configs),
    /// Of a group, which need not exist.
    Group {
        /// Its name.
        name: String,
        /// All that are set.
        configs: Configs,
    },
}

/// Why a resource is not altered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kafka's code.
    pub error: ResponseError,
    /// For people.
    pub text: String,
}

impl Refusal {
    fn new(error: ResponseError, text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
            text.truncate(end);
        }
        Self { error, text }
    }
}

/// What an alteration must know of the cluster.
pub trait Known {
    /// Overrides of the topic called `name`; None = there is no such topic.
    fn topic_configs(&self, name: &str) -> Option<&Configs>;
    /// What is set on the group called `name`; None = nothing.
    fn group_configs(&self, name: &str) -> Option<&Configs>;
    /// How many groups have configs.
    fn configured_groups(&self) -> usize;
    /// The dynamic configs of all brokers.
    fn dynamic_broker_configs(&self) -> &Configs;
    /// Those, before what the server was started with ([`super::layered`]).
    fn broker_configs(&self) -> &Configs;
}

/// Decides what `resources` ask for, one result for each. None = nothing changes.
pub fn alter(
    resources: &[Resource<'_>],
    unnamed: Unnamed,
    known: &dyn Known,
) -> Vec<Result<Option<Altered>, Refusal>> {
    let mut seen = BTreeSet::new();
    let keys = resources.iter().map(|r| (r.kind, r.name));
    let twice: BTreeSet<_> = keys.filter(|key| !seen.insert(*key)).collect();
    let one = |resource: &Resource<'_>| {
        if twice.contains(&(resource.kind, resource.name)) {
            return Err(invalid("Each resource must appear at most once."));
        }
        alter_one(resource, unnamed, known)
    };
    resources.iter().map(one).collect()
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::new(ResponseError::InvalidRequest, text)
}

fn invalid_config(error: &ConfigError) -> Refusal {
    Refusal::new(ResponseError::InvalidConfig, error.to_string())
}

fn alter_one(
    resource: &Resource<'_>,
    unnamed: Unnamed,
    known: &dyn Known,
) -> Result<Option<Altered>, Refusal> {
    let parts = parts_of(&resource.changes)?;
    match resource.kind {
        resource_type::TOPIC => alter_topic(resource.name, &parts, unnamed, known),
        resource_type::BROKER => alter_brokers(resource.name, &parts, unnamed, known),
        resource_type::BROKER_LOGGER if unnamed == Unnamed::Kept => {
            alter_loggers(resource.name, &parts).map(|()| None)
        }
        resource_type::CLIENT_METRICS => Err(invalid(
            "Configs of client metrics cannot be set: metrics that clients push are kept or dropped as \
             the agents' settings say.",
        )),
        resource_type::GROUP => alter_group(resource.name, &parts, unnamed, known),
        other => Err(invalid(format!("Unknown resource type {other}"))),
    }
}

fn parts_of<'a>(changes: &[Change<'a>]) -> Result<Vec<Part<'a>>, Refusal> {
    let mut names = BTreeSet::new();
    if !changes.iter().all(|change| names.insert(change.name)) {
        return Err(invalid("Error due to duplicate config keys"));
    }
    let deletes = |change: &&Change<'_>| change.operation == Operation::DELETE;
    let nulls = changes
        .iter()
        .filter(|change| !deletes(change) && change.value.is_none());
    let nulls: Vec<&str> = nulls.map(|change| change.name).collect();
    if !nulls.is_empty() {
        let names = nulls.join(", ");
        return Err(invalid(format!("Null value not supported for : {names}")));
    }
    let parts = changes.iter().map(|change| {
        let value = change.value.unwrap_or_default();
        let operation = Operation::from_wire(change.operation, value);
        let operation = operation
            .ok_or_else(|| invalid(format!("Unknown operations type {}", change.operation)))?;
        Ok(Part {
            name: change.name,
            operation,
        })
    });
    parts.collect()
}

fn alter_topic(
    name: &str,
    parts: &[Part<'_>],
    unnamed: Unnamed,
    known: &dyn Known,
) -> Result<Option<Altered>, Refusal> {
    let before = known.topic_configs(name);
    let none = Configs::new();
    let base = match unnamed {
        Unnamed::Removed => &none,
        Unnamed::Kept => before.unwrap_or(&none),
    };
    let lists = |name: &str| {
        let spec = topic::find(name)?;
        (spec.kind == ConfigType::List).then_some(spec.default)
    };
    let after = operate(base, parts, lists).map_err(|(name, verb)| {
        let verb = verb.to_ascii_uppercase();
        let text = format!("Can't {verb} to key {name} because its type is not LIST.");
        Refusal::new(ResponseError::InvalidConfig, text)
    })?;
    check_sizes(parts, &after)?;
    if name.is_empty() {
        return Err(invalid("Default topic resources are not allowed."));
    }
    topic_name::check(name)
        .map_err(|error| Refusal::new(ResponseError::InvalidTopicException, error.to_string()))?;
    validate_all(&after, known.broker_configs()).map_err(|error| invalid_config(&error))?;
    let before = before.ok_or_else(|| {
        let text = format!("The topic '{name}' does not exist.");
        Refusal::new(ResponseError::UnknownTopicOrPartition, text)
    })?;
    let changed = after != *before;
    Ok(changed.then_some(Altered::Topic {
        name: name.to_owned(),
        configs: after,
    }))
}

fn alter_group(
    name: &str,
    parts: &[Part<'_>],
    unnamed: Unnamed,
    known: &dyn Known,
) -> Result<Option<Altered>, Refusal> {
    let none = Configs::new();
    let before = known.group_configs(name).unwrap_or(&none);
    let base = match unnamed {
        Unnamed::Removed => &none,
        Unnamed::Kept => before,
    };
    // none of them is a list
    let after = operate(base, parts, |_| None).map_err(|(name, verb)| {
        let verb = verb.to_ascii_uppercase();
        let text = format!("Can't {verb} to key {name} because its type is not LIST.");
        Refusal::new(ResponseError::InvalidConfig, text)
    })?;
    check_sizes(parts, &after)?;
    if name.is_empty() {
        return Err(invalid("Default group resources are not allowed."));
    }
    if name.len() > GROUP_ID_BYTES_MAX {
        return Err(invalid(format!(
            "A group id of more than {GROUP_ID_BYTES_MAX} bytes is not supported."
        )));
    }
    group::validate_all(&after, known.broker_configs()).map_err(|error| invalid_config(&error))?;
    let begins = before.is_empty() && !after.is_empty();
    if begins && known.configured_groups() >= CONFIGURED_GROUPS_MAX {
        return Err(invalid(format!(
            "{CONFIGURED_GROUPS_MAX} groups have configs already, and more are not supported: delete those \
             of groups that need none."
        )));
    }
    let changed = after != *before;
    Ok(changed.then_some(Altered::Group {
        name: name.to_owned(),
        configs: after,
    }))
}

fn alter_brokers(
    name: &str,
    parts: &[Part<'_>],
    unnamed: Unnamed,
    known: &dyn Known,
) -> Result<Option<Altered>, Refusal> {
    if !name.is_empty() {
        check_node_id(name)?;
        // nothing is ever set there; kafka-reassign-partitions unsets its throttles one by one
        if parts.iter().all(|part| part.operation == Operation::Delete) {
            return Ok(None);
        }
        return Err(invalid(
            "Configs of a single broker cannot be altered: agents are interchangeable. Alter the configs \
             of all of them, without a broker id (--entity-default).",
        ));
    }
    let before = known.dynamic_broker_configs();
    let none = Configs::new();
    let base = match unnamed {
        Unnamed::Removed => &none,
        Unnamed::Kept => before,
    };
    let unknown = parts
        .iter()
        .find(|part| part.operation.is_of_list() && broker::find(part.name).is_none());
    if let Some(part) = unknown {
        let name = part.name.to_owned();
        return Err(invalid_config(&ConfigError::UnknownOfBroker { name }));
    }
    let lists = |name: &str| {
        let spec = broker::find(name)?;
        let is_list = spec.kind == ConfigType::List;
        is_list.then_some(spec.default.unwrap_or_default())
    };
    let after = operate(base, parts, lists).map_err(|(name, verb)| {
        let text = format!("Config value {verb} is not allowed for config key: {name}");
        Refusal::new(ResponseError::InvalidConfig, text)
    })?;
    check_sizes(parts, &after)?;
    broker::validate_dynamic(&after).map_err(|error| match error {
        ConfigError::UnknownOfBroker { .. } => invalid_config(&error),
        error => invalid(error.to_string()),
    })?;
    if after.len() > BROKER_CONFIGS_MAX {
        let text = format!("There would be more than {BROKER_CONFIGS_MAX} dynamic broker configs.");
        return Err(invalid(text));
    }
    if after
        .keys()
        .any(|name| name.len() > BROKER_CONFIG_NAME_BYTES_MAX)
    {
        let text =
            format!("Names of broker configs have at most {BROKER_CONFIG_NAME_BYTES_MAX} bytes.");
        return Err(invalid(text));
    }
    let changed = after != *before;
    Ok(changed.then_some(Altered::Brokers(after)))
}

/// There are no loggers by Kafka's names here, so that every alteration of one is refused as that of a
/// logger which Kafka does not know.
fn alter_loggers(name: &str, parts: &[Part<'_>]) -> Result<(), Refusal> {
    check_node_id(name)?;
    match parts.first() {
        None => Ok(()),
        Some(part) if part.operation.is_of_list() => Err(invalid(format!(
            "{} operation is not allowed for the BROKER_LOGGER resource",
            part.operation.verb().to_ascii_uppercase()
        ))),
        Some(part) => Err(Refusal::new(
            ResponseError::InvalidConfig,
            format!("Logger {} does not exist!", part.name),
        )),
    }
}

fn check_node_id(name: &str) -> Result<(), Refusal> {
    match name.parse::<i32>() {
        Ok(_) => Ok(()),
        Err(_) => Err(invalid(format!(
            "Node id must be an integer, but it is: {name}"
        ))),
    }
}

/// Checks the values that were altered.
fn check_sizes(parts: &[Part<'_>], after: &Configs) -> Result<(), Refusal> {
    let mut values = parts.iter().filter_map(|part| after.get(part.name));
    if values.all(|value| value.len() <= CONFIG_VALUE_BYTES_MAX) {
        return Ok(());
    }
    let text = format!(
        "The configuration value cannot be added because it exceeds the maximum value size of \
         {CONFIG_VALUE_BYTES_MAX} bytes."
    );
    Err(Refusal::new(ResponseError::InvalidConfig, text))
}

#[cfg(test)]
mod tests;
