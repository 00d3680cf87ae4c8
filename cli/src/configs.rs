//! `aquifer config`: what topics and brokers are configured to do.

use anyhow::{Result, anyhow, bail};
use aquifer_metadata_api::config::{self, Effect};
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeClusterRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
        describe_cluster_response::DescribeClusterBroker,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::DescribeConfigsResourceResult,
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
    },
    protocol::StrBytes,
};
use serde_json::{Value, json};

use crate::{
    address::authority,
    arguments::{
        Bootstrap,
        configs::{Config, ConfigAction, ConfigDelete, ConfigDescribe, ConfigSet},
    },
    key_value::KeyValue,
    output::{Column, Printer, Record, text},
    protocol::{Connection, refusal, string},
    topic::no_topic,
};

/// Runs the command.
pub(crate) fn run(config: &Config) -> Result<()> {
    match &config.action {
        ConfigAction::Describe(describe) => run_describe(describe),
        ConfigAction::Set(set) => run_set(set),
        ConfigAction::Delete(delete) => run_delete(delete),
    }
}

/// Whose configs they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource<'a> {
    /// A topic's.
    Topic(&'a str),
    /// Those of all brokers, as far as they are set for all at once.
    Brokers,
    /// What holds for one node.
    Broker(i32),
}

impl Resource<'_> {
    fn of(topic: Option<&String>) -> Resource<'_> {
        topic.map_or(Resource::Brokers, |name| Resource::Topic(name))
    }

    /// Kafka's type of resource.
    fn kind(self) -> i8 {
        match self {
            Self::Topic(_) => 2,
            Self::Brokers | Self::Broker(_) => 4,
        }
    }

    fn name(self) -> StrBytes {
        match self {
            Self::Topic(name) => string(name),
            Self::Brokers => StrBytes::default(),
            Self::Broker(id) => StrBytes::from_string(id.to_string()),
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Topic(name) => format!("topic {name}"),
            Self::Brokers => "all brokers".to_owned(),
            Self::Broker(id) => format!("broker {id}"),
        }
    }

    /// As what JSON names it.
    fn json(self) -> (&'static str, Value) {
        match self {
            Self::Topic(name) => ("topic", json!(name)),
            Self::Brokers => ("brokers", json!("all")),
            Self::Broker(id) => ("broker", json!(id)),
        }
    }

    /// What a config does here, as far as this release knows it.
    fn effect(self, name: &str) -> Option<Effect> {
        match self {
            Self::Topic(_) => config::find(name).map(|spec| spec.effect),
            Self::Brokers | Self::Broker(_) => config::broker::find(name).map(|spec| spec.effect),
        }
    }

    fn default_of(self, name: &str) -> Option<&'static str> {
        match self {
            Self::Topic(_) => config::find(name).map(|spec| spec.default),
            Self::Brokers | Self::Broker(_) => config::broker::find(name)?.default,
        }
    }
}

/// A change of one config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: String,
    /// None = it is set back.
    value: Option<String>,
}

impl Change {
    pub(crate) fn set(config: &KeyValue) -> Self {
        Self {
            key: config.key.clone(),
            value: Some(config.value.clone()),
        }
    }

    pub(crate) fn delete(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            value: None,
        }
    }

    /// Kafka's number of the operation.
    fn operation(&self) -> i8 {
        if self.value.is_some() { 0 } else { 1 }
    }
}

/// Carries changes out, all of them or none; with `dry_run` it only says whether it could.
pub(crate) fn alter(
    connection: &mut Connection,
    resource: &Resource<'_>,
    changes: &[Change],
    dry_run: bool,
) -> Result<()> {
    let configs = changes.iter().map(|change| {
        AlterableConfig::default()
            .with_name(string(&change.key))
            .with_config_operation(change.operation())
            .with_value(change.value.as_deref().map(string))
    });
    let altered = AlterConfigsResource::default()
        .with_resource_type(resource.kind())
        .with_resource_name(resource.name())
        .with_configs(configs.collect());
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![altered])
        .with_validate_only(dry_run);
    let answer = connection.call(&request, 0..=1)?;
    let of = resource.describe();
    let result = answer.responses.first();
    let result = result.ok_or_else(|| {
        anyhow!("whether the configs of {of} were altered is not known: the cluster did not say")
    })?;
    done(
        "alter",
        *resource,
        result.error_code,
        result.error_message.as_ref(),
    )
}

/// What a broker's answer means for whoever asked.
fn done(what: &str, resource: Resource<'_>, code: i16, message: Option<&StrBytes>) -> Result<()> {
    let missing = ResponseError::UnknownTopicOrPartition.code();
    match (resource, refusal(code, message)) {
        (_, None) => Ok(()),
        (Resource::Topic(name), Some(_)) if code == missing => Err(no_topic(name)),
        (_, Some(refused)) => bail!(
            "cannot {what} the configs of {}: {refused}",
            resource.describe()
        ),
    }
}

/// Refuses names of configs that there are none of: brokers say nothing when they are set back.
pub(crate) fn check_names(
    connection: &mut Connection,
    bootstrap: &Bootstrap,
    resource: Resource<'_>,
    names: &[String],
) -> Result<()> {
    let mut there = ask(connection, resource, names)?;
    if resource == Resource::Brokers {
        // What is set for all is listed so; what can be set, each broker lists.
        let (id, mut node) = node(connection, bootstrap, None)?;
        there.extend(ask(&mut node, Resource::Broker(id), names)?);
    }
    match missing(&there, names) {
        Some(name) => bail!(
            "{} have no config {name}; `aquifer config describe --all` shows those that there are",
            match resource {
                Resource::Topic(_) => "topics",
                Resource::Brokers | Resource::Broker(_) => "brokers",
            }
        ),
        None => Ok(()),
    }
}

/// The first of these names that no config has.
fn missing<'a>(
    configs: &[DescribeConfigsResourceResult],
    names: &'a [String],
) -> Option<&'a String> {
    let there = |name: &String| configs.iter().any(|config| config.name.as_str() == *name);
    names.iter().find(|name| !there(name))
}

fn run_set(set: &ConfigSet) -> Result<()> {
    let changes: Vec<Change> = set.configs.iter().map(Change::set).collect();
    let resource = Resource::of(set.topic.as_ref());
    let mut connection = Connection::open(&set.bootstrap)?;
    alter(&mut connection, &resource, &changes, set.dry_run)?;
    tell(
        &mut Printer::stdout(set.output),
        resource,
        &changes,
        set.dry_run,
    )
}

fn run_delete(delete: &ConfigDelete) -> Result<()> {
    let changes: Vec<Change> = delete
        .configs
        .iter()
        .map(|key| Change::delete(key))
        .collect();
    let resource = Resource::of(delete.topic.as_ref());
    let mut connection = Connection::open(&delete.bootstrap)?;
    check_names(
        &mut connection,
        &delete.bootstrap,
        resource,
        &delete.configs,
    )?;
    alter(&mut connection, &resource, &changes, delete.dry_run)?;
    tell(
        &mut Printer::stdout(delete.output),
        resource,
        &changes,
        delete.dry_run,
    )
}

/// A line per change; what does nothing here is said to.
fn tell<W: std::io::Write>(
    printer: &mut Printer<W>,
    resource: Resource<'_>,
    changes: &[Change],
    dry_run: bool,
) -> Result<()> {
    let of = resource.describe();
    for Change { key, value } in changes {
        let why = match resource.effect(key) {
            Some(Effect::None(why)) if value.is_some() => Some(why),
            _ => None,
        };
        let did = if dry_run { "could be" } else { "is" };
        let mut text = match value {
            Some(value) => format!("{key} of {of} {did} {value}"),
            None => format!("{key} of {of} {did} as if it had never been set"),
        };
        if let Some(why) = why {
            text.push_str(&format!(", which does nothing here ({why})"));
        }
        let (kind, name) = resource.json();
        let json = json!({
            kind: name, "name": key, "value": value, "altered": !dry_run, "without_effect": why,
        });
        printer.say(&text, &json)?;
    }
    Ok(())
}

fn run_describe(describe: &ConfigDescribe) -> Result<()> {
    const COLUMNS: [Column; 5] = [
        text("name"),
        text("value"),
        text("source"),
        text("default"),
        text("effect"),
    ];
    let mut connection = Connection::open(&describe.bootstrap)?;
    let resource = match &describe.topic {
        Some(name) => Resource::Topic(name),
        None => {
            let (id, other) = node(&mut connection, &describe.bootstrap, describe.broker)?;
            connection = other;
            Resource::Broker(id)
        }
    };
    let mut configs = ask(&mut connection, resource, &describe.names)?;
    configs.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    let missing = missing(&configs, &describe.names);
    let everything = describe.all || !describe.names.is_empty();
    let records: Vec<Record> = configs
        .iter()
        .filter(|config| everything || matters(resource, config))
        .map(|config| record(resource, config))
        .collect();
    Printer::stdout(describe.output).table(&COLUMNS, &records)?;
    match missing {
        Some(name) => bail!("{} has no config {name}", resource.describe()),
        None => Ok(()),
    }
}

/// The node whose configs are wanted (its id, or the controller), and a connection to it: brokers describe
/// themselves.
fn node(
    connection: &mut Connection,
    bootstrap: &Bootstrap,
    wanted: Option<i32>,
) -> Result<(i32, Connection)> {
    let cluster = connection.call(&DescribeClusterRequest::default(), 0..=1)?;
    refusal(cluster.error_code, cluster.error_message.as_ref()).map_or(Ok(()), Err)?;
    let id = wanted.unwrap_or(cluster.controller_id.0);
    let node = cluster.brokers.iter().find(|node| node.broker_id.0 == id);
    let node = node.ok_or_else(|| {
        anyhow!("there is no node {id}; `aquifer cluster status` shows those that there are")
    })?;
    let other = Connection::open_at(&address_of(node), bootstrap.timeout.0)
        .map_err(|error| error.context(format!("node {id} does not answer")))?;
    Ok((id, other))
}

fn address_of(node: &DescribeClusterBroker) -> String {
    authority(&node.host, u16::try_from(node.port).unwrap_or_default())
}

fn ask(
    connection: &mut Connection,
    resource: Resource<'_>,
    names: &[String],
) -> Result<Vec<DescribeConfigsResourceResult>> {
    let keys = (!names.is_empty()).then(|| names.iter().map(|name| string(name)).collect());
    let asked = DescribeConfigsResource::default()
        .with_resource_type(resource.kind())
        .with_resource_name(resource.name())
        .with_configuration_keys(keys);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![asked])
        .with_include_synonyms(true)
        .with_include_documentation(true);
    let of = resource.describe();
    let answer = connection.call(&request, 3..=4)?;
    let result = answer.results.into_iter().next();
    let result = result.ok_or_else(|| anyhow!("the cluster says nothing of {of}"))?;
    done(
        "describe",
        resource,
        result.error_code,
        result.error_message.as_ref(),
    )?;
    Ok(result.configs)
}

/// What a value's number of origin means.
fn source(code: i8) -> &'static str {
    match code {
        1 => "topic",
        2 => "broker",
        3 => "all brokers",
        4 => "static",
        5 => "default",
        _ => "other",
    }
}

const DEFAULT: i8 = 5;

/// Whether people want to see it unasked: it does something, or somebody set it.
fn matters(resource: Resource<'_>, config: &DescribeConfigsResourceResult) -> bool {
    let idle = matches!(resource.effect(&config.name), Some(Effect::None(_)));
    !idle || config.config_source != DEFAULT
}

fn record(resource: Resource<'_>, config: &DescribeConfigsResourceResult) -> Record {
    let name = config.name.as_str();
    let of_layer = config.synonyms.iter().find(|s| s.source == DEFAULT);
    let default = resource
        .default_of(name)
        .or_else(|| of_layer?.value.as_deref());
    let value = config.value.as_deref();
    let effect = resource.effect(name);
    let (shown_effect, does, why) = match effect {
        Some(Effect::None(why)) => (format!("none: {}", reason(why)), Some(false), Some(why)),
        Some(Effect::Own) => ("Aquifer's own".to_owned(), Some(true), None),
        Some(Effect::AsInKafka) => ("as in Kafka".to_owned(), Some(true), None),
        None => ("not known".to_owned(), None, None),
    };
    let shown = if config.is_sensitive {
        "(hidden)"
    } else {
        value.unwrap_or_default()
    };
    let synonyms: Vec<Value> = config
        .synonyms
        .iter()
        .map(|synonym| {
            json!({
                "name": synonym.name.as_str(),
                "value": synonym.value.as_deref(),
                "source": source(synonym.source),
            })
        })
        .collect();
    let (kind, of) = resource.json();
    Record {
        cells: vec![
            name.to_owned(),
            shown.to_owned(),
            source(config.config_source).to_owned(),
            default.unwrap_or_default().to_owned(),
            shown_effect,
        ],
        json: json!({
            kind: of,
            "name": name,
            "value": value,
            "source": source(config.config_source),
            "default": default,
            "effect": does,
            "without_effect": why.map(reason),
            "read_only": config.read_only,
            "sensitive": config.is_sensitive,
            "synonyms": synonyms,
            "documentation": config.documentation.as_deref(),
        }),
    }
}

/// A reason as it stands behind words of ours.
fn reason(why: &'static str) -> &'static str {
    why.strip_prefix("no effect: ").unwrap_or(why)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_configs_response::DescribeConfigsSynonym;

    use super::*;
    use crate::arguments::OutputForm;

    fn config(name: &str, value: &str, source: i8) -> DescribeConfigsResourceResult {
        DescribeConfigsResourceResult::default()
            .with_name(string(name))
            .with_value(Some(string(value)))
            .with_config_source(source)
    }

    #[test]
    fn a_config_shows_value_source_default_and_effect() {
        let topic = Resource::Topic("t");
        let shown = |resource, config| record(resource, &config).cells;
        assert_eq!(
            shown(topic, config("retention.ms", "1000", 1)),
            ["retention.ms", "1000", "topic", "604800000", "as in Kafka"]
        );
        let idle = shown(topic, config("segment.ms", "604800000", 5));
        assert!(idle[4].starts_with("none: "), "{idle:?}");
        let own = shown(topic, config("aquifer.deletion.protection", "true", 1));
        assert_eq!(own[4], "Aquifer's own");
        let synonym = DescribeConfigsSynonym::default()
            .with_name(string("of.a.newer.release"))
            .with_value(Some(string("7")))
            .with_source(5);
        let newer = config("of.a.newer.release", "8", 3).with_synonyms(vec![synonym]);
        assert_eq!(
            shown(Resource::Broker(1), newer),
            ["of.a.newer.release", "8", "all brokers", "7", "not known"]
        );
    }

    #[test]
    fn names_that_no_config_has_are_found() {
        let there = [config("a", "1", 1), config("b", "1", 5)];
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(missing(&there, &names(&["b", "a"])), None);
        let wrong = names(&["a", "c", "d"]);
        assert_eq!(missing(&there, &wrong), Some(&wrong[1]));
        assert_eq!(missing(&there, &[]), None);
    }

    #[test]
    fn a_missing_topic_is_told_as_such() {
        let missing = ResponseError::UnknownTopicOrPartition.code();
        let told = |resource| {
            done("alter", resource, missing, None)
                .unwrap_err()
                .to_string()
        };
        assert!(told(Resource::Topic("t")).contains("`aquifer topic list`"));
        assert_eq!(
            told(Resource::Brokers),
            "cannot alter the configs of all brokers: UNKNOWN_TOPIC_OR_PARTITION"
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = config("ssl.key.password", "", 4)
            .with_value(None)
            .with_is_sensitive(true);
        let record = record(Resource::Broker(1), &secret);
        assert_eq!(record.cells[1], "(hidden)");
        assert_eq!(record.json["value"], Value::Null);
    }

    #[test]
    fn what_does_nothing_and_was_not_set_is_left_out() {
        let topic = Resource::Topic("t");
        for (name, source, there) in [
            ("retention.ms", 5, true),
            ("segment.ms", 5, false),
            ("segment.ms", 1, true),
            ("of.a.newer.release", 5, true),
        ] {
            let matters = matters(topic, &config(name, "1", source));
            assert_eq!(matters, there, "{name} {source}");
        }
    }

    #[test]
    fn a_change_without_effect_says_so() {
        let changes = ["retention.ms=1", "segment.ms=2000000"]
            .map(|text| Change::set(&text.parse::<KeyValue>().unwrap()));
        let mut out = Vec::new();
        let mut printer = Printer::new(OutputForm::Text, &mut out);
        tell(&mut printer, Resource::Topic("t"), &changes, false).unwrap();
        let gone = [Change::delete("retention.ms")];
        tell(&mut printer, Resource::Brokers, &gone, true).unwrap();
        let lines = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines[0], "retention.ms of topic t is 1");
        assert!(lines[1].contains("does nothing here ("), "{lines:?}");
        assert!(lines[2].contains("all brokers could be as if"), "{lines:?}");
    }
}
