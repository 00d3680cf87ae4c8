//! Topic configs: every config that Apache Kafka 4.2 knows for a topic, with its type, default, valid
//! values and what it does here.
//!
//! Names, defaults and valid values were taken from Kafka 4.2's `LogConfig.configKeys()` by running it.
//! Configs about files and replicas are accepted and listed, since tools set them, and have no effect:
//! there are no segment files, and the bucket is the replica.

use std::{collections::BTreeMap, fmt};

/// Type of a config's value, numbered as DescribeConfigs does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean = 1,
    /// One of some strings.
    String = 2,
    /// 32-bit integer.
    Int = 3,
    /// 64-bit integer.
    Long = 5,
    /// Floating point.
    Double = 6,
    /// Comma-separated list.
    List = 7,
}

impl ConfigType {
    /// The number that DescribeConfigs answers carry.
    #[must_use]
    pub fn wire_code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
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
    /// Accepted, listed and ignored; the text says why.
    None(&'static str),
}

/// One topic config.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigSpec {
    /// Its name.
    pub name: &'static str,
    /// Type of its value.
    pub kind: ConfigType,
    /// Its default, as text.
    pub default: &'static str,
    /// Valid values.
    pub valid: ValidValues,
    /// The broker config that Kafka takes its default from, where there is one.
    pub broker_synonym: Option<&'static str>,
    /// What it is, for people.
    pub doc: &'static str,
    /// Whether it does something here.
    pub effect: Effect,
}

/// Why a config is refused. Kafka's code for all of them is INVALID_CONFIG (40).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no such topic config.
    #[error("Unknown topic config name: {name}")]
    Unknown {
        /// The name.
        name: String,
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
}

const NO_FILES: Effect = Effect::None("there are no segment files");
const NO_REPLICAS: Effect = Effect::None("the bucket is the replica");
const NO_TIERS: Effect = Effect::None("everything is in the bucket already");
const NO_FSYNC: Effect = Effect::None("every acknowledged record is in the bucket");
const NO_LEVELS: Effect =
    Effect::None("batches are compressed again at their codec's default level");
const I64_MAX: &str = "9223372036854775807";

const fn spec(
    name: &'static str,
    kind: ConfigType,
    default: &'static str,
    valid: ValidValues,
    broker_synonym: &'static str,
    doc: &'static str,
    effect: Effect,
) -> ConfigSpec {
    let broker_synonym = if broker_synonym.is_empty() {
        None
    } else {
        Some(broker_synonym)
    };
    ConfigSpec {
        name,
        kind,
        default,
        valid,
        broker_synonym,
        doc,
        effect,
    }
}

use ConfigType::{Boolean, Double, Int, List, Long, String as Text};
use Effect::AsInKafka;
use ValidValues::{Any, AtLeast, Between, BetweenOr, OneOf, OnlyFalse, Ratio, ThrottledReplicas};

/// Every topic config, sorted by name.
#[rustfmt::skip]
pub const TOPIC_CONFIGS: &[ConfigSpec] = &[
    spec("cleanup.policy", List, "delete", OneOf(&["compact", "delete"]), "log.cleanup.policy",
        "what happens to old records: deleted by time and size, compacted to the newest per key, both, or (empty) neither", AsInKafka),
    spec("compression.gzip.level", Int, "-1", BetweenOr(1, 9, -1), "compression.gzip.level",
        "level used where compression.type is gzip", NO_LEVELS),
    spec("compression.lz4.level", Int, "9", Between(1, 17), "compression.lz4.level",
        "level used where compression.type is lz4", NO_LEVELS),
    spec("compression.type", Text, "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), "compression.type",
        "codec of the batches that consumers get; producer keeps the one that the producer chose", AsInKafka),
    spec("compression.zstd.level", Int, "3", Between(-131_072, 22), "compression.zstd.level",
        "level used where compression.type is zstd", NO_LEVELS),
    spec("delete.retention.ms", Long, "86400000", AtLeast(0), "log.cleaner.delete.retention.ms",
        "how long tombstones are kept in a compacted topic", AsInKafka),
    spec("file.delete.delay.ms", Long, "60000", AtLeast(0), "log.segment.delete.delay.ms",
        "how long a deleted file stays on disk", NO_FILES),
    spec("flush.messages", Long, I64_MAX, AtLeast(1), "log.flush.interval.messages",
        "records between two fsyncs", NO_FSYNC),
    spec("flush.ms", Long, I64_MAX, AtLeast(0), "log.flush.interval.ms",
        "time between two fsyncs", NO_FSYNC),
    spec("follower.replication.throttled.replicas", List, "", ThrottledReplicas, "",
        "replicas whose replication is throttled on the follower", NO_REPLICAS),
    spec("index.interval.bytes", Int, "4096", AtLeast(0), "log.index.interval.bytes",
        "bytes between two entries of the offset index", NO_FILES),
    spec("leader.replication.throttled.replicas", List, "", ThrottledReplicas, "",
        "replicas whose replication is throttled on the leader", NO_REPLICAS),
    spec("local.retention.bytes", Long, "-2", AtLeast(-2), "log.local.retention.bytes",
        "bytes kept on local disks in front of tiered storage", NO_TIERS),
    spec("local.retention.ms", Long, "-2", AtLeast(-2), "log.local.retention.ms",
        "time for which records are kept on local disks in front of tiered storage", NO_TIERS),
    spec("max.compaction.lag.ms", Long, I64_MAX, AtLeast(1), "log.cleaner.max.compaction.lag.ms",
        "longest time for which a record may stay uncompacted", AsInKafka),
    spec("max.message.bytes", Int, "1048588", AtLeast(0), "message.max.bytes",
        "largest record batch, as the producer compressed it", AsInKafka),
    spec("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), "log.message.timestamp.after.max.ms",
        "how far ahead of the broker's clock a record's timestamp may be (CreateTime only)", AsInKafka),
    spec("message.timestamp.before.max.ms", Long, I64_MAX, AtLeast(0), "log.message.timestamp.before.max.ms",
        "how far behind the broker's clock a record's timestamp may be (CreateTime only)", AsInKafka),
    spec("message.timestamp.type", Text, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), "log.message.timestamp.type",
        "whether a record's timestamp is the producer's or the time at which it was appended", AsInKafka),
    spec("min.cleanable.dirty.ratio", Double, "0.5", Ratio(0.0, 1.0), "log.cleaner.min.cleanable.ratio",
        "share of uncompacted bytes from which on a log is compacted", AsInKafka),
    spec("min.compaction.lag.ms", Long, "0", AtLeast(0), "log.cleaner.min.compaction.lag.ms",
        "shortest time for which a record stays uncompacted", AsInKafka),
    spec("min.insync.replicas", Int, "1", AtLeast(1), "min.insync.replicas",
        "replicas that must have a record before acks=all is answered", NO_REPLICAS),
    spec("preallocate", Boolean, "false", Any, "log.preallocate",
        "whether segment files are allocated in advance", NO_FILES),
    spec("remote.log.copy.disable", Boolean, "false", Any, "",
        "whether nothing more is copied to tiered storage", NO_TIERS),
    spec("remote.log.delete.on.disable", Boolean, "false", Any, "",
        "whether switching tiered storage off deletes what is there", NO_TIERS),
    spec("remote.storage.enable", Boolean, "false", OnlyFalse, "",
        "whether the topic uses tiered storage", NO_TIERS),
    spec("retention.bytes", Long, "-1", Any, "log.retention.bytes",
        "bytes that a partition may grow to before its oldest records are deleted; -1 = no limit", AsInKafka),
    spec("retention.ms", Long, "604800000", AtLeast(-1), "log.retention.ms",
        "time after which records are deleted; -1 = never", AsInKafka),
    spec("segment.bytes", Int, "1073741824", AtLeast(1_048_576), "log.segment.bytes",
        "size of a segment file", NO_FILES),
    spec("segment.index.bytes", Int, "10485760", AtLeast(4), "log.index.size.max.bytes",
        "size of a segment's index file", NO_FILES),
    spec("segment.jitter.ms", Long, "0", AtLeast(0), "log.roll.jitter.ms",
        "random part subtracted from segment.ms", NO_FILES),
    spec("segment.ms", Long, "604800000", AtLeast(1), "log.roll.ms",
        "time after which a new segment file is begun", NO_FILES),
    spec("unclean.leader.election.enable", Boolean, "false", Any, "unclean.leader.election.enable",
        "whether a replica that lags behind may become leader", NO_REPLICAS),
];

/// The config called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static ConfigSpec> {
    TOPIC_CONFIGS
        .binary_search_by(|spec| spec.name.cmp(name))
        .ok()
        .map(|at| &TOPIC_CONFIGS[at])
}

/// Checks one config as Kafka's `LogConfig.validate` does (the message texts are Kafka's too: tools
/// show them). A NaN, which Kafka takes, is refused.
pub fn validate(name: &str, value: &str) -> Result<(), ConfigError> {
    let spec = find(name).ok_or_else(|| ConfigError::Unknown {
        name: name.to_owned(),
    })?;
    check_value(spec, value).map_err(|reason| ConfigError::Invalid {
        name: name.to_owned(),
        value: value.to_owned(),
        reason,
    })
}

/// Checks all configs of a topic, each one and against each other.
pub fn validate_all(configs: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (name, value) in configs {
        validate(name, value)?;
    }
    let config = TopicConfig::from_overrides(configs);
    if config.min_compaction_lag_ms > config.max_compaction_lag_ms {
        return Err(ConfigError::CompactionLags {
            min_ms: config.min_compaction_lag_ms,
            max_ms: config.max_compaction_lag_ms,
        });
    }
    Ok(())
}

fn check_value(spec: &ConfigSpec, value: &str) -> Result<(), String> {
    match spec.kind {
        Boolean => match (parse_bool(value), spec.valid) {
            (None, _) => Err("Expected value to be either true or false".to_owned()),
            (Some(true), OnlyFalse) => {
                Err("Tiered Storage functionality is disabled in the broker. \
                Topic cannot be configured with remote log storage."
                    .to_owned())
            }
            (Some(_), _) => Ok(()),
        },
        Int => value
            .trim()
            .parse::<i32>()
            .map_err(|_| "Not a number of type INT".to_owned())
            .and_then(|number| check_number(spec.valid, i64::from(number))),
        Long => value
            .trim()
            .parse::<i64>()
            .map_err(|_| "Not a number of type LONG".to_owned())
            .and_then(|number| check_number(spec.valid, number)),
        Double => value
            .trim()
            .parse::<f64>()
            .map_err(|_| "Not a number of type DOUBLE".to_owned())
            .and_then(|number| check_ratio(spec.valid, number)),
        Text => check_one_of(spec.valid, value),
        List => match spec.valid {
            ThrottledReplicas => check_throttled(spec.name, value),
            valid => list(value).try_for_each(|item| check_one_of(valid, item)),
        },
    }
}

fn check_number(valid: ValidValues, number: i64) -> Result<(), String> {
    match valid {
        AtLeast(min) if number < min => Err(format!("Value must be at least {min}")),
        Between(min, _) if number < min => Err(format!("Value must be at least {min}")),
        Between(_, max) if number > max => Err(format!("Value must be no more than {max}")),
        BetweenOr(min, max, or) if number != or && !(min..=max).contains(&number) => Err(format!(
            "Value must be between {min} and {max} or equal to {or}"
        )),
        _ => Ok(()),
    }
}

fn check_ratio(valid: ValidValues, number: f64) -> Result<(), String> {
    match valid {
        Ratio(min, max) if (min..=max).contains(&number) => Ok(()),
        Ratio(_, max) if number > max => Err(format!("Value must be no more than {max}")),
        Ratio(min, _) => Err(format!("Value must be at least {min}")),
        _ => Ok(()),
    }
}

fn check_one_of(valid: ValidValues, value: &str) -> Result<(), String> {
    match valid {
        OneOf(names) if !names.contains(&value) => {
            Err(format!("String must be one of: {}", names.join(", ")))
        }
        _ => Ok(()),
    }
}

fn check_throttled(name: &str, value: &str) -> Result<(), String> {
    let pair = |item: &str| {
        item.split_once(':').is_some_and(|(partition, broker)| {
            [partition, broker]
                .iter()
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    if value.trim() == "*" || list(value).all(pair) {
        return Ok(());
    }
    Err(format!(
        "{name} must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    ))
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    let value = value.trim();
    value
        .split(',')
        .map(str::trim)
        .filter(move |_| !value.is_empty())
}

fn parse_bool(value: &str) -> Option<bool> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
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

/// The configs of one topic that something here acts upon, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy` has `delete`.
    pub cleanup_delete: bool,
    /// `cleanup.policy` has `compact`.
    pub cleanup_compact: bool,
    /// `compression.type`.
    pub compression: Compression,
    /// `max.message.bytes`: largest batch in bytes.
    pub max_message_bytes: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`; `i64::MAX` = no limit.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`; `i64::MAX` = no limit.
    pub timestamp_after_max_ms: i64,
    /// `retention.ms`; None = for ever.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; None = no limit.
    pub retention_bytes: Option<i64>,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.insync.replicas`; kept to be shown, nothing depends on it.
    pub min_insync_replicas: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self::from_overrides(&BTreeMap::new())
    }
}

impl TopicConfig {
    /// The configs of a topic on which `overrides` were set. Total: a value that
    /// [`validate`] would refuse counts as the default (it cannot have been stored).
    #[must_use]
    pub fn from_overrides(overrides: &BTreeMap<String, String>) -> Self {
        let values = Values(overrides);
        let policies = values.text("cleanup.policy");
        Self {
            cleanup_delete: list(policies).any(|policy| policy == "delete"),
            cleanup_compact: list(policies).any(|policy| policy == "compact"),
            compression: values.compression(),
            max_message_bytes: u32::try_from(values.int("max.message.bytes")).unwrap_or(0),
            timestamp_type: match values.text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: values.long("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: values.long("message.timestamp.after.max.ms"),
            retention_ms: Some(values.long("retention.ms")).filter(|ms| *ms >= 0),
            retention_bytes: Some(values.long("retention.bytes")).filter(|bytes| *bytes >= 0),
            delete_retention_ms: values.long("delete.retention.ms"),
            min_compaction_lag_ms: values.long("min.compaction.lag.ms"),
            max_compaction_lag_ms: values.long("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: values.double("min.cleanable.dirty.ratio"),
            min_insync_replicas: values.int("min.insync.replicas"),
        }
    }
}

/// Overrides before defaults.
struct Values<'a>(&'a BTreeMap<String, String>);

impl<'a> Values<'a> {
    fn text(&self, name: &str) -> &'a str {
        let spec = find(name).expect("only names of the table are asked for");
        match self.0.get(name) {
            Some(value) if check_value(spec, value).is_ok() => value,
            _ => spec.default,
        }
    }

    fn int(&self, name: &str) -> i32 {
        self.text(name)
            .trim()
            .parse()
            .expect("checked, and defaults are valid")
    }

    fn long(&self, name: &str) -> i64 {
        self.text(name)
            .trim()
            .parse()
            .expect("checked, and defaults are valid")
    }

    fn double(&self, name: &str) -> f64 {
        self.text(name)
            .trim()
            .parse()
            .expect("checked, and defaults are valid")
    }

    fn compression(&self) -> Compression {
        match self.text("compression.type") {
            "uncompressed" => Compression::Uncompressed,
            "gzip" => Compression::Gzip {
                level: self.int("compression.gzip.level"),
            },
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4 {
                level: self.int("compression.lz4.level"),
            },
            "zstd" => Compression::Zstd {
                level: self.int("compression.zstd.level"),
            },
            _ => Compression::Producer,
        }
    }
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
