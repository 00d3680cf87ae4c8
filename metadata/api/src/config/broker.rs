//! Broker configs: which there are, what a server makes of them, and which may be altered while it runs.

mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::table::{BROKER_CONFIGS, SOFT_DELETE_TTL_MS};
use super::{ConfigError, ConfigType, Configs, Effect, ValidValues, value};

/// When a config may be altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Never: only a restart changes it.
    ReadOnly,
    /// Any time, for a single broker only.
    PerBroker,
    /// Any time, for all brokers at once.
    ClusterWide,
}

/// One broker config.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BrokerConfigSpec {
    /// Its name.
    pub name: &'static str,
    /// Type of its value.
    pub kind: ConfigType,
    /// Its default, as text; None where it has none.
    pub default: Option<&'static str>,
    /// Valid values.
    pub valid: ValidValues,
    /// When Kafka allows it to be altered.
    pub update: Update,
    /// What it is, or why it does nothing, for people.
    pub doc: &'static str,
    /// Whether it does something here.
    pub effect: Effect,
}

impl BrokerConfigSpec {
    /// Whether it may have this value; if not, why.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self, value: &str) -> Result<(), ConfigError> {
        value::check(self.name, self.kind, self.valid, value)
    }

    /// Whether its value is a secret that is never shown.
    #[must_use]
    pub fn sensitive(&self) -> bool {
        self.kind == ConfigType::Password
    }
}

/// The broker config called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static BrokerConfigSpec> {
    BROKER_CONFIGS
        .binary_search_by(|spec| spec.name.cmp(name))
        .ok()
        .map(|at| &BROKER_CONFIGS[at])
}

/// Whether a config may be altered for all brokers at once, which is the only way here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alterable {
    /// It may.
    Yes,
    /// Only a restart changes it.
    ReadOnly,
    /// Kafka takes it only for one listener of one broker.
    PerListener,
    /// Kafka takes it only for one broker.
    PerBroker,
    /// There is no such config. Kafka keeps it for plug-ins; here are none, so that it can only be a slip.
    Unknown,
}

/// The names that Kafka takes with a listener's name before them for all brokers at once.
const LISTENER_CONFIGS: [&str; 3] = [
    "max.connection.creation.rate",
    "max.connections",
    "num.network.threads",
];

/// Whether the config called `name` may be altered for all brokers at once.
#[must_use]
pub fn alterable(name: &str) -> Alterable {
    if let Some(base) = of_listener(name) {
        return if LISTENER_CONFIGS.contains(&base) {
            Alterable::Yes
        } else {
            Alterable::PerBroker
        };
    }
    match find(name).map(|spec| spec.update) {
        Some(Update::ClusterWide) => Alterable::Yes,
        Some(Update::ReadOnly) => Alterable::ReadOnly,
        Some(Update::PerBroker) if is_security_of_listener(name) => Alterable::PerListener,
        Some(Update::PerBroker) => Alterable::PerBroker,
        None => Alterable::Unknown,
    }
}

/// The config that `listener.name.{listener}.{config}` stands for.
pub(super) fn of_listener(name: &str) -> Option<&str> {
    let (_, base) = name.strip_prefix("listener.name.")?.split_once('.')?;
    Some(base)
}

/// Kafka's `SslConfigs.RECONFIGURABLE_CONFIGS`.
fn is_security_of_listener(name: &str) -> bool {
    ["ssl.keystore.", "ssl.truststore.", "ssl.key.password"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Checks all dynamic configs of all brokers at once, as Kafka's `DynamicBrokerConfig.validate` does.
///
/// # Errors
/// The first kind of mistake that Kafka finds, in its words; and names that it would keep unread.
pub fn validate_dynamic(configs: &Configs) -> Result<(), ConfigError> {
    let of = |kind: Alterable| -> Vec<String> {
        let names = configs.keys().filter(|name| alterable(name) == kind);
        names.cloned().collect()
    };
    if let Some(name) = of(Alterable::Unknown).into_iter().next() {
        return Err(ConfigError::UnknownOfBroker { name });
    }
    let read_only = of(Alterable::ReadOnly);
    if !read_only.is_empty() {
        return Err(ConfigError::NotDynamic { names: read_only });
    }
    let per_listener = of(Alterable::PerListener);
    if !per_listener.is_empty() {
        return Err(ConfigError::PerListener {
            names: per_listener,
        });
    }
    for (name, value) in configs {
        let base = of_listener(name).unwrap_or(name);
        if let Some(spec) = find(base) {
            spec.check(value)?;
        }
    }
    let per_broker = of(Alterable::PerBroker);
    if !per_broker.is_empty() {
        return Err(ConfigError::PerBroker { names: per_broker });
    }
    requirements(configs)
}

/// What Kafka's `KafkaConfig` asks of values beyond their type.
fn requirements(configs: &Configs) -> Result<(), ConfigError> {
    let values = Values(configs);
    let set = |name: &str| configs.contains_key(name).then(|| values.long(name));
    let overrides = "max.connections.per.ip.overrides";
    let per_ip = configs.get(overrides).map_or("", |value| value.trim());
    let cleaners = values.long("log.cleaner.threads");
    let cleaner_bytes = values.long("log.cleaner.dedupe.buffer.size");
    let rules = [
        (
            set("log.roll.ms").is_none_or(|ms| ms >= 1),
            "log.roll.ms must be greater than or equal to 1",
        ),
        (
            set("log.roll.jitter.ms").is_none_or(|ms| ms >= 0),
            "log.roll.jitter.ms must be greater than or equal to 0",
        ),
        (
            set("log.retention.ms") != Some(0),
            "log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
        ),
        (
            cleaners >= 1 && cleaner_bytes / cleaners > MEBIBYTE,
            "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
        ),
        (
            set("max.connection.creation.rate") != Some(0),
            "max.connection.creation.rate must be greater than or equal to 1",
        ),
        (
            value::list(per_ip).all(is_host_and_count),
            "max.connections.per.ip.overrides must be a list of hostname:count",
        ),
        (
            set("max.connections.per.ip") != Some(0) || !per_ip.is_empty(),
            "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides \
             property is set.",
        ),
    ];
    match rules.into_iter().find(|(holds, _)| !holds) {
        Some((_, rule)) => Err(ConfigError::Requirement { rule }),
        None => Ok(()),
    }
}

const MEBIBYTE: i64 = 1 << 20;

fn is_host_and_count(item: &str) -> bool {
    item.rsplit_once(':')
        .is_some_and(|(host, count)| !host.is_empty() && count.parse::<i32>().is_ok())
}

/// The names by which a broker config may be set, the strongest first.
pub(super) fn synonyms(name: &str) -> Vec<&str> {
    const CHAINS: [&[&str]; 4] = [
        &["log.roll.ms", "log.roll.hours"],
        &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        &[
            "log.retention.ms",
            "log.retention.minutes",
            "log.retention.hours",
        ],
    ];
    let chain = CHAINS.into_iter().find(|chain| chain.contains(&name));
    match (chain, of_listener(name)) {
        // a default of the other, not the same config under another name
        _ if name == "log.flush.scheduler.interval.ms" => vec![name],
        (Some(chain), _) => chain.to_vec(),
        (None, Some(base)) => vec![name, base],
        (None, None) => vec![name],
    }
}

/// The broker configs that something here acts upon, defaults filled in. The defaults of topic configs
/// are resolved by [`super::TopicConfig::resolve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `num.partitions`: of a topic whose creator leaves their number to us.
    pub num_partitions: u32,
    /// `default.replication.factor`: what is answered where the creator leaves it to us.
    pub default_replication_factor: i16,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
    /// `message.max.bytes`: largest batch of topics that have no limit of their own.
    pub message_max_bytes: u32,
    /// `log.retention.check.interval.ms`.
    pub log_retention_check_interval: Duration,
    /// `telemetry.max.bytes`: largest metrics of a client, expanded.
    pub telemetry_max_bytes: u32,
    /// `max.connections`.
    pub max_connections: u32,
    /// `connections.max.idle.ms`; None = for ever.
    pub connections_max_idle: Option<Duration>,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: u32,
    /// `queued.max.request.bytes`; None = no limit.
    pub queued_max_request_bytes: Option<u64>,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: u32,
    /// `max.request.partition.size.limit`.
    pub request_partitions_max: u32,
    /// [`SOFT_DELETE_TTL_MS`]: how long a deleted topic can be restored; 0 = not at all.
    pub topic_soft_delete_ttl_ms: i64,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self::resolve(&Configs::new())
    }
}

impl BrokerConfig {
    /// The configs of a server that has `broker_configs` ([`super::layered`]). Total: a value that is not
    /// valid counts as not set.
    #[must_use]
    pub fn resolve(broker_configs: &Configs) -> Self {
        let values = Values(broker_configs);
        let positive = |name: &str| u64::try_from(values.long(name)).ok();
        Self {
            auto_create_topics: values.boolean("auto.create.topics.enable"),
            num_partitions: values.unsigned("num.partitions"),
            default_replication_factor: i16::try_from(values.long("default.replication.factor"))
                .unwrap_or(1),
            delete_topic_enable: values.boolean("delete.topic.enable"),
            message_max_bytes: values.unsigned("message.max.bytes"),
            log_retention_check_interval: Duration::from_millis(
                positive("log.retention.check.interval.ms").unwrap_or(1),
            ),
            telemetry_max_bytes: values.unsigned("telemetry.max.bytes"),
            max_connections: values.unsigned("max.connections"),
            connections_max_idle: positive("connections.max.idle.ms").map(Duration::from_millis),
            fetch_max_bytes: values.unsigned("fetch.max.bytes"),
            queued_max_request_bytes: positive("queued.max.request.bytes")
                .filter(|bytes| *bytes > 0),
            fetch_sessions_max: values.unsigned("max.incremental.fetch.session.cache.slots"),
            request_partitions_max: values.unsigned("max.request.partition.size.limit"),
            topic_soft_delete_ttl_ms: values.long(SOFT_DELETE_TTL_MS),
        }
    }
}

/// What is set before defaults.
pub(super) struct Values<'a>(pub(super) &'a Configs);

impl<'a> Values<'a> {
    pub(super) fn text(&self, name: &str) -> &'a str {
        let spec = find(name).expect("only names of the table are asked for");
        let set = self.0.get(name).filter(|value| spec.check(value).is_ok());
        set.map_or(spec.default.unwrap_or_default(), String::as_str)
    }

    fn boolean(&self, name: &str) -> bool {
        value::parse_bool(self.text(name)) == Some(true)
    }

    /// A number; 0 where there is none, not even a default.
    pub(super) fn long(&self, name: &str) -> i64 {
        self.text(name).trim().parse().unwrap_or(0)
    }

    fn unsigned(&self, name: &str) -> u32 {
        u32::try_from(self.long(name)).unwrap_or(0)
    }
}
