use super::*;

#[test]
fn the_table_is_sorted_and_its_defaults_are_valid() {
    assert!(TOPIC_CONFIGS.is_sorted_by(|a, b| a.name < b.name));
    for spec in TOPIC_CONFIGS {
        assert_eq!(validate(spec.name, spec.default), Ok(()), "{}", spec.name);
    }
}

#[test]
fn values_are_taken_and_refused_as_kafka_4_2_does() {
    let taken = [
        ("cleanup.policy", ""),
        ("cleanup.policy", "delete,delete"),
        ("cleanup.policy", " delete , compact "),
        ("max.message.bytes", " 12 "),
        ("max.message.bytes", "+5"),
        ("retention.bytes", "-5"),
        ("compression.gzip.level", "-1"),
        ("preallocate", " TRUE "),
        ("min.cleanable.dirty.ratio", "1e-1"),
        ("leader.replication.throttled.replicas", "*"),
        ("leader.replication.throttled.replicas", "1:2,3:4"),
        ("leader.replication.throttled.replicas", ""),
        ("min.compaction.lag.ms", "5"),
    ];
    for (name, value) in taken {
        assert_eq!(validate(name, value), Ok(()), "{name}={value}");
    }
    let refused = [
        (
            "cleanup.policy",
            "Delete",
            "String must be one of: compact, delete",
        ),
        (
            "cleanup.policy",
            "foo",
            "String must be one of: compact, delete",
        ),
        ("max.message.bytes", "-1", "Value must be at least 0"),
        (
            "max.message.bytes",
            "99999999999",
            "Not a number of type INT",
        ),
        ("retention.ms", "-2", "Value must be at least -1"),
        ("retention.ms", "soon", "Not a number of type LONG"),
        (
            "compression.type",
            "none",
            "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
        ),
        (
            "compression.gzip.level",
            "0",
            "Value must be between 1 and 9 or equal to -1",
        ),
        (
            "compression.lz4.level",
            "18",
            "Value must be no more than 17",
        ),
        (
            "compression.zstd.level",
            "-131073",
            "Value must be at least -131072",
        ),
        (
            "preallocate",
            "yes",
            "Expected value to be either true or false",
        ),
        (
            "min.cleanable.dirty.ratio",
            "1.5",
            "Value must be no more than 1",
        ),
        (
            "min.cleanable.dirty.ratio",
            "NaN",
            "Value must be at least 0",
        ),
        (
            "message.timestamp.type",
            "createtime",
            "String must be one of: CreateTime, LogAppendTime",
        ),
        ("segment.bytes", "1000", "Value must be at least 1048576"),
        (
            "leader.replication.throttled.replicas",
            "x",
            "leader.replication.throttled.replicas must be the literal '*' or a list of replicas in \
             the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
        ),
        (
            "remote.storage.enable",
            "true",
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured \
             with remote log storage.",
        ),
    ];
    for (name, value, reason) in refused {
        let expected = ConfigError::Invalid {
            name: name.to_owned(),
            value: value.to_owned(),
            reason: reason.to_owned(),
        };
        assert_eq!(validate(name, value), Err(expected), "{name}={value}");
    }
    assert_eq!(
        validate("nope", "1"),
        Err(ConfigError::Unknown {
            name: "nope".to_owned()
        })
    );
}

fn configs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn compaction_lags_must_not_contradict_each_other() {
    let set = configs(&[
        ("min.compaction.lag.ms", "5"),
        ("max.compaction.lag.ms", "3"),
    ]);
    assert_eq!(
        validate_all(&set).map_err(|error| error.to_string()),
        Err(
            "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (3)"
                .to_owned()
        )
    );
}

#[test]
fn defaults_are_kafkas() {
    let config = TopicConfig::default();
    assert!(config.cleanup_delete && !config.cleanup_compact);
    assert_eq!(config.compression, Compression::Producer);
    assert_eq!(config.max_message_bytes, 1_048_588);
    assert_eq!(config.timestamp_type, TimestampType::CreateTime);
    assert_eq!(config.timestamp_before_max_ms, i64::MAX);
    assert_eq!(config.timestamp_after_max_ms, 3_600_000);
    assert_eq!(config.retention_ms, Some(604_800_000));
    assert_eq!(config.retention_bytes, None);
}

#[test]
fn overrides_win_and_invalid_ones_count_as_the_default() {
    let config = TopicConfig::from_overrides(&configs(&[
        ("cleanup.policy", "compact"),
        ("compression.type", "zstd"),
        ("compression.zstd.level", "7"),
        ("max.message.bytes", "many"),
        ("message.timestamp.type", "LogAppendTime"),
        ("retention.ms", "-1"),
    ]));
    assert!(config.cleanup_compact && !config.cleanup_delete);
    assert_eq!(config.compression, Compression::Zstd { level: 7 });
    assert_eq!(config.max_message_bytes, 1_048_588);
    assert_eq!(config.timestamp_type, TimestampType::LogAppendTime);
    assert_eq!(config.retention_ms, None);
}
