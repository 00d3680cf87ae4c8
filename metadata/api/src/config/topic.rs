//! Topic configs.
//!
//! Names, defaults and valid values were taken from Kafka 4.2's `LogConfig.configKeys()` by running it.
//! Configs about files and replicas are accepted and listed, since tools set them, and have no effect:
//! there are no segment files, and the bucket is the replica. (`segment.bytes` bounds what compactors merge.)

use std::borrow::Cow;

use super::{
    Compression, ConfigError, ConfigType,
    ConfigType::{Boolean, Double, Int, List, Long, String as Text},
    Configs, Effect,
    Effect::AsInKafka,
    TimestampType, ValidValues,
    ValidValues::{Any, AtLeast, Between, BetweenOr, OneOf, OnlyFalse, Ratio, ThrottledReplicas},
    value,
    value::list,
};

/// One topic config.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopicConfigSpec {
    /// Its name.
    pub name: &'static str,
    /// Type of its value.
    pub kind: ConfigType,
    /// Its default, as text.
    pub default: &'static str,
    /// Valid values.
    pub valid: ValidValues,
    /// The broker configs that give its value where the topic has none, the first one that is set.
    pub synonyms: &'static [Synonym],
    /// What it is, for people.
    pub doc: &'static str,
    /// Whether it does something here.
    pub effect: Effect,
}

/// A broker config that stands for a topic config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// Its name.
    pub name: &'static str,
    /// What one of its units is in the topic config's.
    pub unit: i64,
}

impl Synonym {
    const fn of(name: &'static str, unit: i64) -> Self {
        Self { name, unit }
    }

    /// The topic config's value, given this one's. Every negative retention is "no limit".
    #[must_use]
    pub fn convert(self, value: &str) -> Cow<'_, str> {
        if self.unit == 1 && self.name != "log.retention.ms" {
            return Cow::Borrowed(value);
        }
        match value.trim().parse::<i64>() {
            Ok(number) if number < 0 => Cow::Borrowed("-1"),
            Ok(number) => Cow::Owned(number.saturating_mul(self.unit).to_string()),
            Err(_) => Cow::Borrowed(value),
        }
    }
}

const MINUTES: i64 = 60_000;
const HOURS: i64 = 60 * MINUTES;
/// Why a topic cannot be deleted: our own.
pub const DELETION_PROTECTION: &str = "aquifer.deletion.protection";

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
    synonyms: &'static [Synonym],
    doc: &'static str,
    effect: Effect,
) -> TopicConfigSpec {
    TopicConfigSpec {
        name,
        kind,
        default,
        valid,
        synonyms,
        doc,
        effect,
    }
}

/// Every topic config, sorted by name.
#[rustfmt::skip]
pub const TOPIC_CONFIGS: &[TopicConfigSpec] = &[
    spec(DELETION_PROTECTION, Boolean, "false", Any, &[],
        "whether DeleteTopics refuses to delete the topic; Aquifer's own", Effect::Own),
    spec("cleanup.policy", List, "delete", OneOf(&["compact", "delete"]), &[Synonym::of("log.cleanup.policy", 1)],
        "what happens to old records: deleted by time and size, compacted to the newest per key, both, or (empty) neither", AsInKafka),
    spec("compression.gzip.level", Int, "-1", BetweenOr(1, 9, -1), &[Synonym::of("compression.gzip.level", 1)],
        "level used where compression.type is gzip", NO_LEVELS),
    spec("compression.lz4.level", Int, "9", Between(1, 17), &[Synonym::of("compression.lz4.level", 1)],
        "level used where compression.type is lz4", NO_LEVELS),
    spec("compression.type", Text, "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), &[Synonym::of("compression.type", 1)],
        "codec of the batches that consumers get; producer keeps the one that the producer chose", AsInKafka),
    spec("compression.zstd.level", Int, "3", Between(-131_072, 22), &[Synonym::of("compression.zstd.level", 1)],
        "level used where compression.type is zstd", NO_LEVELS),
    spec("delete.retention.ms", Long, "86400000", AtLeast(0), &[Synonym::of("log.cleaner.delete.retention.ms", 1)],
        "how long tombstones are kept in a compacted topic", AsInKafka),
    spec("file.delete.delay.ms", Long, "60000", AtLeast(0), &[Synonym::of("log.segment.delete.delay.ms", 1)],
        "how long a deleted file stays on disk", NO_FILES),
    spec("flush.messages", Long, I64_MAX, AtLeast(1), &[Synonym::of("log.flush.interval.messages", 1)],
        "records between two fsyncs", NO_FSYNC),
    spec("flush.ms", Long, I64_MAX, AtLeast(0), &[Synonym::of("log.flush.interval.ms", 1), Synonym::of("log.flush.scheduler.interval.ms", 1)],
        "time between two fsyncs", NO_FSYNC),
    spec("follower.replication.throttled.replicas", List, "", ThrottledReplicas, &[],
        "replicas whose replication is throttled on the follower", NO_REPLICAS),
    spec("index.interval.bytes", Int, "4096", AtLeast(0), &[Synonym::of("log.index.interval.bytes", 1)],
        "bytes between two entries of the offset index", NO_FILES),
    spec("leader.replication.throttled.replicas", List, "", ThrottledReplicas, &[],
        "replicas whose replication is throttled on the leader", NO_REPLICAS),
    spec("local.retention.bytes", Long, "-2", AtLeast(-2), &[Synonym::of("log.local.retention.bytes", 1)],
        "bytes kept on local disks in front of tiered storage", NO_TIERS),
    spec("local.retention.ms", Long, "-2", AtLeast(-2), &[Synonym::of("log.local.retention.ms", 1)],
        "time for which records are kept on local disks in front of tiered storage", NO_TIERS),
    spec("max.compaction.lag.ms", Long, I64_MAX, AtLeast(1), &[Synonym::of("log.cleaner.max.compaction.lag.ms", 1)],
        "longest time for which a record may stay uncompacted", AsInKafka),
    spec("max.message.bytes", Int, "1048588", AtLeast(0), &[Synonym::of("message.max.bytes", 1)],
        "largest record batch, as the producer compressed it", AsInKafka),
    spec("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), &[Synonym::of("log.message.timestamp.after.max.ms", 1)],
        "how far ahead of the broker's clock a record's timestamp may be (CreateTime only)", AsInKafka),
    spec("message.timestamp.before.max.ms", Long, I64_MAX, AtLeast(0), &[Synonym::of("log.message.timestamp.before.max.ms", 1)],
        "how far behind the broker's clock a record's timestamp may be (CreateTime only)", AsInKafka),
    spec("message.timestamp.type", Text, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), &[Synonym::of("log.message.timestamp.type", 1)],
        "whether a record's timestamp is the producer's or the time at which it was appended", AsInKafka),
    spec("min.cleanable.dirty.ratio", Double, "0.5", Ratio(0.0, 1.0), &[Synonym::of("log.cleaner.min.cleanable.ratio", 1)],
        "share of uncompacted bytes from which on a log is compacted", AsInKafka),
    spec("min.compaction.lag.ms", Long, "0", AtLeast(0), &[Synonym::of("log.cleaner.min.compaction.lag.ms", 1)],
        "shortest time for which a record stays uncompacted", AsInKafka),
    spec("min.insync.replicas", Int, "1", AtLeast(1), &[Synonym::of("min.insync.replicas", 1)],
        "replicas that must have a record before acks=all is answered", NO_REPLICAS),
    spec("preallocate", Boolean, "false", Any, &[Synonym::of("log.preallocate", 1)],
        "whether segment files are allocated in advance", NO_FILES),
    spec("remote.log.copy.disable", Boolean, "false", Any, &[],
        "whether nothing more is copied to tiered storage", NO_TIERS),
    spec("remote.log.delete.on.disable", Boolean, "false", Any, &[],
        "whether switching tiered storage off deletes what is there", NO_TIERS),
    spec("remote.storage.enable", Boolean, "false", OnlyFalse, &[],
        "whether the topic uses tiered storage", NO_TIERS),
    spec("retention.bytes", Long, "-1", Any, &[Synonym::of("log.retention.bytes", 1)],
        "bytes that a partition may grow to before its oldest records are deleted; -1 = no limit", AsInKafka),
    spec("retention.ms", Long, "604800000", AtLeast(-1), &[Synonym::of("log.retention.ms", 1), Synonym::of("log.retention.minutes", MINUTES), Synonym::of("log.retention.hours", HOURS)],
        "time after which records are deleted; -1 = never", AsInKafka),
    spec("segment.bytes", Int, "1073741824", AtLeast(1_048_576), &[Synonym::of("log.segment.bytes", 1)],
        "most bytes of batches that compactors merge into one piece of a log (half a gibibyte at most)", AsInKafka),
    spec("segment.index.bytes", Int, "10485760", AtLeast(4), &[Synonym::of("log.index.size.max.bytes", 1)],
        "size of a segment's index file", NO_FILES),
    spec("segment.jitter.ms", Long, "0", AtLeast(0), &[Synonym::of("log.roll.jitter.ms", 1), Synonym::of("log.roll.jitter.hours", HOURS)],
        "random part subtracted from segment.ms", NO_FILES),
    spec("segment.ms", Long, "604800000", AtLeast(1), &[Synonym::of("log.roll.ms", 1), Synonym::of("log.roll.hours", HOURS)],
        "time after which a new segment file is begun", NO_FILES),
    spec("unclean.leader.election.enable", Boolean, "false", Any, &[Synonym::of("unclean.leader.election.enable", 1)],
        "whether a replica that lags behind may become leader", NO_REPLICAS),
];

/// The config called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static TopicConfigSpec> {
    TOPIC_CONFIGS
        .binary_search_by(|spec| spec.name.cmp(name))
        .ok()
        .map(|at| &TOPIC_CONFIGS[at])
}

/// Checks one config of a topic as Kafka's `LogConfig.validate` does.
///
/// # Errors
/// There is no such config, or it may not have that value.
pub fn validate(name: &str, value: &str) -> Result<(), ConfigError> {
    let spec = find(name).ok_or_else(|| ConfigError::Unknown {
        name: name.to_owned(),
    })?;
    spec.check(value)
}

/// Checks all overrides of a topic: each one, and against each other together with the values that
/// `broker_configs` ([`super::layered`]) give.
///
/// # Errors
/// The first mistake, unknown names before values.
pub fn validate_all(overrides: &Configs, broker_configs: &Configs) -> Result<(), ConfigError> {
    if let Some(name) = overrides.keys().find(|name| find(name).is_none()) {
        return Err(ConfigError::Unknown { name: name.clone() });
    }
    for (name, value) in overrides {
        validate(name, value)?;
    }
    let config = TopicConfig::resolve(overrides, broker_configs);
    if config.min_compaction_lag_ms > config.max_compaction_lag_ms {
        return Err(ConfigError::CompactionLags {
            min_ms: config.min_compaction_lag_ms,
            max_ms: config.max_compaction_lag_ms,
        });
    }
    Ok(())
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
    /// `segment.bytes`: most bytes of batches that are merged into one run.
    pub segment_bytes: u32,
    /// `min.insync.replicas`; kept to be shown, nothing depends on it.
    pub min_insync_replicas: i32,
    /// [`DELETION_PROTECTION`].
    pub deletion_protection: bool,
}

impl TopicConfigSpec {
    /// Whether it may have this value; if not, why.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self, value: &str) -> Result<(), ConfigError> {
        value::check(self.name, self.kind, self.valid, value)
    }

    /// Its value on a topic with these overrides, on servers with `broker_configs`. What is not valid
    /// counts as not set.
    pub(super) fn value<'a>(
        &self,
        overrides: &'a Configs,
        broker_configs: &'a Configs,
    ) -> Cow<'a, str> {
        let set = overrides.get(self.name);
        if let Some(value) = set.filter(|value| self.check(value).is_ok()) {
            return Cow::Borrowed(value);
        }
        let of_broker = self.synonyms.iter().find_map(|synonym| {
            let value = synonym.convert(broker_configs.get(synonym.name)?);
            self.check(&value).is_ok().then_some(value)
        });
        of_broker.unwrap_or(Cow::Borrowed(self.default))
    }

    /// What it is, and why it does nothing if it does nothing, for people.
    #[must_use]
    pub fn documentation(&self) -> Cow<'static, str> {
        match self.effect {
            Effect::AsInKafka | Effect::Own => Cow::Borrowed(self.doc),
            Effect::None(why) => Cow::Owned(format!("{}; no effect: {why}", self.doc)),
        }
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self::resolve(&Configs::new(), &Configs::new())
    }
}

impl TopicConfig {
    /// The configs of a topic on which `overrides` were set, on servers that have `broker_configs`
    /// ([`super::layered`]). Total: a value that [`validate`] would refuse counts as not set (it cannot
    /// have been stored).
    #[must_use]
    pub fn resolve(overrides: &Configs, broker_configs: &Configs) -> Self {
        let values = Values {
            overrides,
            broker_configs,
        };
        let policies = values.text("cleanup.policy");
        let number = |name: &str| values.long(name);
        Self {
            cleanup_delete: list(&policies).any(|policy| policy == "delete"),
            cleanup_compact: list(&policies).any(|policy| policy == "compact"),
            compression: values.compression(),
            max_message_bytes: u32::try_from(number("max.message.bytes")).unwrap_or(0),
            timestamp_type: match &*values.text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            retention_ms: Some(number("retention.ms")).filter(|ms| *ms >= 0),
            retention_bytes: Some(number("retention.bytes")).filter(|bytes| *bytes >= 0),
            delete_retention_ms: number("delete.retention.ms"),
            min_compaction_lag_ms: number("min.compaction.lag.ms"),
            max_compaction_lag_ms: number("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: values.ratio("min.cleanable.dirty.ratio"),
            segment_bytes: u32::try_from(number("segment.bytes")).unwrap_or(u32::MAX),
            min_insync_replicas: i32::try_from(number("min.insync.replicas")).unwrap_or(1),
            deletion_protection: value::parse_bool(&values.text(DELETION_PROTECTION)) == Some(true),
        }
    }
}

/// Overrides before broker configs before defaults.
struct Values<'a> {
    overrides: &'a Configs,
    broker_configs: &'a Configs,
}

impl<'a> Values<'a> {
    fn text(&self, name: &str) -> Cow<'a, str> {
        let spec = find(name).expect("only names of the table are asked for");
        match spec.value(self.overrides, self.broker_configs) {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text),
        }
    }

    fn long(&self, name: &str) -> i64 {
        self.text(name)
            .parse()
            .expect("checked, and defaults are valid")
    }

    fn ratio(&self, name: &str) -> f64 {
        self.text(name)
            .parse()
            .expect("checked, and defaults are valid")
    }

    fn compression(&self) -> Compression {
        let level = |codec: &str| {
            let level = self.long(&format!("compression.{codec}.level"));
            i32::try_from(level).unwrap_or(0)
        };
        match &*self.text("compression.type") {
            "uncompressed" => Compression::Uncompressed,
            "gzip" => Compression::Gzip {
                level: level("gzip"),
            },
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4 {
                level: level("lz4"),
            },
            "zstd" => Compression::Zstd {
                level: level("zstd"),
            },
            _ => Compression::Producer,
        }
    }
}
