//! What DescribeConfigs says of topics, brokers and groups.
//!
//! Values, sources, synonyms and their order follow Kafka's `ConfigHelper`: synonyms are listed layer by
//! layer (dynamic, static, default) and begin with the name that the config itself goes by; a value that
//! comes by another name only (`log.retention.hours`, say) counts as a default.

use std::borrow::Cow;

use super::{
    ConfigType, Configs,
    broker::{self, BROKER_CONFIGS, BrokerConfigSpec, Update},
    group::{GROUP_CONFIGS, GroupConfigSpec},
    layered,
    topic::{TOPIC_CONFIGS, TopicConfigSpec},
    value,
};

/// Where a value comes from, numbered as DescribeConfigs does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on all brokers, while they run.
    DynamicDefaultBroker,
    /// What the server was started with.
    StaticBroker,
    /// Nobody set it.
    Default,
    /// Set on the group.
    Group,
}

impl ConfigSource {
    /// The number that answers carry.
    #[must_use]
    pub fn wire_code(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
            Self::Group => 8,
        }
    }
}

/// One config of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Its value; None = it has none, or it is a secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be altered while servers run.
    pub read_only: bool,
    /// Whether it is a secret.
    pub sensitive: bool,
    /// Type of its value.
    pub kind: ConfigType,
    /// Every value that it has by some name and layer, the one that holds first.
    pub synonyms: Vec<Synonym>,
    /// What it is, for people.
    pub documentation: Cow<'static, str>,
}

/// A value that a config has by some name in some layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The name.
    pub name: String,
    /// The value; None = it is a secret.
    pub value: Option<String>,
    /// The layer.
    pub source: ConfigSource,
}

/// The broker configs of a server: the dynamic ones of all brokers, and what it was started with.
#[derive(Clone, Copy, Debug)]
struct Layers<'a> {
    dynamic: &'a Configs,
    statics: &'a Configs,
}

impl Layers<'_> {
    /// Every value that the broker config called `own` has by some name, layer by layer, from the first
    /// that it has by its own.
    fn synonyms(&self, own: &str, sensitive: bool) -> Vec<Synonym> {
        let names = broker::synonyms(own);
        let default = |name: &str| broker::find(name).and_then(|spec| spec.default);
        let of_layer = |source: ConfigSource| {
            names.iter().filter_map(move |name| {
                let value = match source {
                    ConfigSource::DynamicDefaultBroker => self.dynamic.get(*name)?.as_str(),
                    ConfigSource::StaticBroker => self.statics.get(*name)?.as_str(),
                    ConfigSource::Topic | ConfigSource::Group | ConfigSource::Default => {
                        default(name)?
                    }
                };
                Some(Synonym {
                    name: (*name).to_owned(),
                    value: (!sensitive).then(|| value.to_owned()),
                    source,
                })
            })
        };
        of_layer(ConfigSource::DynamicDefaultBroker)
            .chain(of_layer(ConfigSource::StaticBroker))
            .chain(of_layer(ConfigSource::Default))
            .skip_while(|synonym| synonym.name != own)
            .collect()
    }
}

/// The configs of a topic that has these overrides, sorted by name. `dynamic`: the dynamic configs of all
/// brokers; `statics`: what the server was started with.
#[must_use]
pub fn describe_topic(overrides: &Configs, dynamic: &Configs, statics: &Configs) -> Vec<Described> {
    let broker_configs = layered(statics, dynamic);
    let layers = Layers { dynamic, statics };
    let specs = TOPIC_CONFIGS.iter();
    specs
        .map(|spec| topic_config(spec, overrides, layers, &broker_configs))
        .collect()
}

fn topic_config(
    spec: &TopicConfigSpec,
    overrides: &Configs,
    layers: Layers<'_>,
    broker_configs: &Configs,
) -> Described {
    let value = value::show(spec.kind, &spec.value(overrides, broker_configs));
    let of_brokers = spec.synonyms.first();
    let mut synonyms = of_brokers.map_or_else(Vec::new, |s| layers.synonyms(s.name, false));
    if overrides.contains_key(spec.name) {
        let own = Synonym {
            name: spec.name.to_owned(),
            value: Some(value.clone()),
            source: ConfigSource::Topic,
        };
        synonyms.insert(0, own);
    }
    Described {
        name: spec.name.to_owned(),
        value: Some(value),
        source: source_of(&synonyms),
        read_only: false,
        sensitive: false,
        kind: spec.kind,
        synonyms,
        documentation: spec.documentation(),
    }
}

fn source_of(synonyms: &[Synonym]) -> ConfigSource {
    synonyms
        .first()
        .map_or(ConfigSource::Default, |first| first.source)
}

/// The configs of one broker, sorted by name: all there are, and those of single listeners that were set.
#[must_use]
pub fn describe_broker(dynamic: &Configs, statics: &Configs) -> Vec<Described> {
    let layers = Layers { dynamic, statics };
    let known = BROKER_CONFIGS.iter().map(|spec| (spec.name, spec));
    let set = dynamic.keys().chain(statics.keys());
    let of_listeners = set.filter_map(|name| Some((name.as_str(), listener_config(name)?)));
    let mut all: Vec<(&str, &BrokerConfigSpec)> = known.chain(of_listeners).collect();
    all.sort_unstable_by_key(|(name, _)| *name);
    all.dedup_by_key(|(name, _)| *name);
    let value = |name: &str, spec: &BrokerConfigSpec| {
        let set = dynamic.get(name).or_else(|| statics.get(name));
        match set {
            Some(value) if name == spec.name => Some(value::show(spec.kind, value)),
            Some(value) => Some(value.clone()),
            None => spec.default.map(str::to_owned),
        }
    };
    all.into_iter()
        .map(|(name, spec)| broker_config(name, spec, value(name, spec), layers))
        .collect()
}

/// The dynamic configs of all brokers, sorted by name.
#[must_use]
pub fn describe_default(dynamic: &Configs) -> Vec<Described> {
    let none = Configs::new();
    let layers = Layers {
        dynamic,
        statics: &none,
    };
    let described = dynamic.iter().filter_map(|(name, value)| {
        let spec = broker::find(name).or_else(|| listener_config(name))?;
        let mut described = broker_config(name, spec, Some(value.clone()), layers);
        let dynamic = |s: &Synonym| s.source == ConfigSource::DynamicDefaultBroker;
        described.synonyms.retain(dynamic);
        Some(described)
    });
    described.collect()
}

/// The configs of a group on which these are set, sorted by name. `broker_configs`: the dynamic ones of all
/// brokers before those that the server was started with. As in Kafka, a value that comes from them counts as
/// a default.
#[must_use]
pub fn describe_group(own: &Configs, broker_configs: &Configs) -> Vec<Described> {
    let specs = GROUP_CONFIGS.iter();
    specs
        .map(|spec| group_config(spec, own, broker_configs))
        .collect()
}

fn group_config(spec: &GroupConfigSpec, own: &Configs, broker_configs: &Configs) -> Described {
    let (value, source) = match own.get(spec.name) {
        Some(set) => (set.as_str(), ConfigSource::Group),
        None => (spec.inherited(broker_configs), ConfigSource::Default),
    };
    let value = value::show(spec.kind, value);
    let synonyms = vec![Synonym {
        name: spec.name.to_owned(),
        value: Some(value.clone()),
        source,
    }];
    Described {
        name: spec.name.to_owned(),
        value: Some(value),
        source,
        read_only: false,
        sensitive: false,
        kind: spec.kind,
        synonyms,
        documentation: Cow::Borrowed(spec.doc),
    }
}

/// What `listener.name.{listener}.{config}` stands for.
fn listener_config(name: &str) -> Option<&'static BrokerConfigSpec> {
    broker::find(broker::of_listener(name)?)
}

fn broker_config(
    name: &str,
    spec: &BrokerConfigSpec,
    value: Option<String>,
    layers: Layers<'_>,
) -> Described {
    let sensitive = spec.sensitive();
    let synonyms = layers.synonyms(name, sensitive);
    Described {
        name: name.to_owned(),
        value: value.filter(|_| !sensitive),
        source: source_of(&synonyms),
        read_only: spec.name != name || spec.update == Update::ReadOnly,
        sensitive,
        kind: spec.kind,
        synonyms,
        documentation: Cow::Borrowed(spec.doc),
    }
}

#[cfg(test)]
mod tests;
