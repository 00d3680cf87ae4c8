//! Configs of topics and brokers: every one that Apache Kafka 4.2 knows, and our own, with type, default,
//! valid values and what it does here; how layers of them are resolved, altered and described.
//!
//! The layers, the first that has a value wins: a topic's own overrides; the cluster-wide dynamic broker
//! configs; the settings with which a server was started; the default. The two in the middle are given as
//! one map to what resolves them ([`layered`]).

pub mod alter;
pub mod broker;
pub mod describe;
pub mod group;
mod operation;
pub mod topic;
mod value;

use std::{collections::BTreeMap, fmt};

pub use self::{
    broker::BrokerConfig,
    topic::{TOPIC_CONFIGS, TopicConfig, TopicConfigSpec, find, validate, validate_all},
};

/// Values by name.
pub type Configs = BTreeMap<String, String>;

/// Broker configs as they hold for one server: the dynamic ones before those that it was started with.
#[must_use]
pub fn layered(statics: &Configs, dynamic: &Configs) -> Configs {
    let mut all = statics.clone();
    all.extend(dynamic.clone());
    all
}

/// Type of a config's value, numbered as DescribeConfigs does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean = 1,
    /// One of some strings.
    String = 2,
    /// 32-bit integer.
    Int = 3,
    /// 16-bit integer.
    Short = 4,
    /// 64-bit integer.
    Long = 5,
    /// Floating point.
    Double = 6,
    /// Comma-separated list.
    List = 7,
    /// Name of a class.
    Class = 8,
    /// A secret; its value is never shown.
    Password = 9,
}

impl ConfigType {
    /// The number that DescribeConfigs answers carry.
    #[must_use]
    pub fn wire_code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }
}

/// Which values of its type a config takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValidValues {
    /// All of them.
    Any,
    /// Numbers from this one on.
    AtLeast(i64),
    /// Numbers in this range, both ends included.
    Between(i64, i64),
    /// Numbers in this range, both ends included, or the third number (gzip's "library default").
    BetweenOr(i64, i64, i64),
    /// Floating-point numbers in this range, both ends included.
    Ratio(f64, f64),
    /// One of these strings, or for lists: some of them.
    OneOf(&'static [&'static str]),
    /// One of these strings, in whatever case.
    OneOfAnyCase(&'static [&'static str]),
    /// `*`, or `partition:broker` pairs.
    ThrottledReplicas,
    /// Only `false`: the feature does not exist here, as in a Kafka broker with tiered storage off.
    OnlyFalse,
}

/// Whether a config does something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what it does in Kafka.
    AsInKafka,
    /// Kafka does not have it; it is Aquifer's own.
    Own,
    /// Accepted, listed and ignored; the text says why.
    None(&'static str),
}

/// Why a config is refused. Kafka's code is INVALID_CONFIG (40) for topics; for brokers see
/// [`alter`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no such topic config.
    #[error("Unknown topic config name: {name}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// There is no such broker config.
    #[error("Unknown broker config name: {name}")]
    UnknownOfBroker {
        /// The name.
        name: String,
    },
    /// There is no such config of groups.
    #[error("Unknown group config name: {name}")]
    UnknownOfGroup {
        /// The name.
        name: String,
    },
    /// A config of a group is not as another config asks.
    #[error("{name} must be {relation} {other}")]
    OutOfBounds {
        /// The config.
        name: &'static str,
        /// What it must be.
        relation: &'static str,
        /// The other one.
        other: &'static str,
    },
    /// The value cannot be taken.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Invalid {
        /// The config.
        name: String,
        /// The value.
        value: String,
        /// What is valid.
        reason: String,
    },
    /// A list has an empty item.
    #[error("Configuration '{name}' values must not be empty.")]
    EmptyItem {
        /// The config.
        name: String,
    },
    /// Tiered storage cannot be switched on.
    #[error(
        "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."
    )]
    NoTieredStorage,
    /// Two configs contradict each other.
    #[error(
        "conflict topic config setting min.compaction.lag.ms ({min_ms}) > max.compaction.lag.ms ({max_ms})"
    )]
    CompactionLags {
        /// `min.compaction.lag.ms`.
        min_ms: i64,
        /// `max.compaction.lag.ms`.
        max_ms: i64,
    },
    /// Only a restart changes these.
    #[error("Cannot update these configs dynamically: Set({})", names.join(", "))]
    NotDynamic {
        /// Which.
        names: Vec<String>,
    },
    /// These can be given to one listener of one broker only.
    #[error(
        "These security configs can be dynamically updated only per-listener using the listener prefix: HashSet({})",
        names.join(", ")
    )]
    PerListener {
        /// Which.
        names: Vec<String>,
    },
    /// These can be given to one broker only.
    #[error(
        "Cannot update these configs at default cluster level, broker id must be specified: Set({})",
        names.join(", ")
    )]
    PerBroker {
        /// Which.
        names: Vec<String>,
    },
    /// A rule beyond the config's type is broken.
    #[error("requirement failed: {rule}")]
    Requirement {
        /// The rule.
        rule: &'static str,
    },
}

/// Whose time a record's timestamp is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    CreateTime,
    /// The leader's, at the moment of the append.
    LogAppendTime,
}

/// What `compression.type` (and the levels) ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Batches stay as the producer made them.
    #[default]
    Producer,
    /// Records are stored plain.
    Uncompressed,
    /// gzip at this level (1 to 9; -1 = the library's default).
    Gzip {
        /// The level.
        level: i32,
    },
    /// Snappy.
    Snappy,
    /// LZ4 at this level (1 to 17).
    Lz4 {
        /// The level.
        level: i32,
    },
    /// zstd at this level (-131072 to 22).
    Zstd {
        /// The level.
        level: i32,
    },
}

impl fmt::Display for TimestampType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateTime => "CreateTime",
            Self::LogAppendTime => "LogAppendTime",
        })
    }
}

#[cfg(test)]
mod tests;
