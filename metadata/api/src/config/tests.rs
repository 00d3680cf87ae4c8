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
        ("leader.replication.throttled.replicas", "1:2,"),
        ("min.compaction.lag.ms", "5"),
        ("compression.type", " gzip "),
        ("aquifer.deletion.protection", "true"),
    ];
    for (name, value) in taken {
        assert_eq!(validate(name, value), Ok(()), "{name}={value}");
    }
    let one_of = "String must be one of: compact, delete";
    let throttled = "leader.replication.throttled.replicas";
    let codecs = "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer";
    let pairs = format!(
        "{throttled} must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    );
    let refused: &[(&str, &str, &str, &str)] = &[
        ("cleanup.policy", "Delete", "Delete", one_of),
        ("cleanup.policy", "compact,foo", "foo", one_of),
        ("max.message.bytes", "-1", "-1", "Value must be at least 0"),
        (
            "max.message.bytes",
            "99999999999",
            "99999999999",
            "Not a number of type INT",
        ),
        ("retention.ms", " -9 ", "-9", "Value must be at least -1"),
        ("retention.ms", " x ", " x ", "Not a number of type LONG"),
        ("retention.ms", "1e3", "1e3", "Not a number of type LONG"),
        ("retention.ms", "", "", "Not a number of type LONG"),
        ("compression.type", "none", "none", codecs),
        (
            "compression.gzip.level",
            "0",
            "0",
            "Value must be between 1 and 9 or equal to -1",
        ),
        (
            "compression.lz4.level",
            "18",
            "18",
            "Value must be no more than 17",
        ),
        (
            "compression.zstd.level",
            "-131073",
            "-131073",
            "Value must be at least -131072",
        ),
        (
            "preallocate",
            " yes ",
            " yes ",
            "Expected value to be either true or false",
        ),
        (
            "min.cleanable.dirty.ratio",
            "2",
            "2.0",
            "Value must be no more than 1",
        ),
        (
            "min.cleanable.dirty.ratio",
            "1e10",
            "1.0E10",
            "Value must be no more than 1",
        ),
        (
            "min.cleanable.dirty.ratio",
            "NaN",
            "NaN",
            "Value must be at least 0",
        ),
        (
            "message.timestamp.type",
            "createtime",
            "createtime",
            "String must be one of: CreateTime, LogAppendTime",
        ),
        (
            "segment.bytes",
            "1000",
            "1000",
            "Value must be at least 1048576",
        ),
        (throttled, " x ,1:2", "[x, 1:2]", &pairs),
        (throttled, "1:2,*", "[1:2, *]", &pairs),
    ];
    for (name, value, shown, reason) in refused {
        let error = validate(name, value).map_err(|error| error.to_string());
        let expected = format!("Invalid value {shown} for configuration {name}: {reason}");
        assert_eq!(error, Err(expected), "{name}={value}");
    }
    let whole = [
        (
            "remote.storage.enable",
            "true",
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured \
             with remote log storage.",
        ),
        (
            "cleanup.policy",
            "compact,",
            "Configuration 'cleanup.policy' values must not be empty.",
        ),
        ("nope", "1", "Unknown topic config name: nope"),
    ];
    for (name, value, text) in whole {
        let error = validate(name, value).map_err(|error| error.to_string());
        assert_eq!(error, Err(text.to_owned()), "{name}={value}");
    }
}

fn configs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn resolved(overrides: &[(&str, &str)]) -> TopicConfig {
    TopicConfig::resolve(&configs(overrides), &Configs::new())
}

#[test]
fn compaction_lags_must_not_contradict_each_other() {
    let set = configs(&[
        ("min.compaction.lag.ms", "5"),
        ("max.compaction.lag.ms", "3"),
    ]);
    assert_eq!(
        validate_all(&set, &Configs::new()).map_err(|error| error.to_string()),
        Err(
            "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (3)"
                .to_owned()
        )
    );
}

#[test]
fn compaction_lags_are_compared_with_what_the_brokers_say() {
    let of_brokers = configs(&[("log.cleaner.max.compaction.lag.ms", "100")]);
    let check = |lag: &str| validate_all(&configs(&[("min.compaction.lag.ms", lag)]), &of_brokers);
    assert_eq!(check("100"), Ok(()));
    assert!(matches!(
        check("101"),
        Err(ConfigError::CompactionLags {
            min_ms: 101,
            max_ms: 100
        })
    ));
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
    let config = resolved(&[
        ("cleanup.policy", "compact"),
        ("compression.type", "zstd"),
        ("compression.zstd.level", "7"),
        ("max.message.bytes", "many"),
        ("message.timestamp.type", "LogAppendTime"),
        ("retention.ms", "-1"),
    ]);
    assert!(config.cleanup_compact && !config.cleanup_delete);
    assert_eq!(config.compression, Compression::Zstd { level: 7 });
    assert_eq!(config.max_message_bytes, 1_048_588);
    assert_eq!(config.timestamp_type, TimestampType::LogAppendTime);
    assert_eq!(config.retention_ms, None);
}

#[test]
fn a_topic_without_a_value_has_that_of_its_brokers() {
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(Pairs<'_>, Pairs<'_>, Option<i64>)] = &[
        (&[], &[], Some(604_800_000)),
        (&[], &[("log.retention.hours", "2")], Some(7_200_000)),
        (
            &[],
            &[("log.retention.hours", "2"), ("log.retention.minutes", "3")],
            Some(180_000),
        ),
        (
            &[],
            &[
                ("log.retention.hours", "2"),
                ("log.retention.minutes", "3"),
                ("log.retention.ms", "5"),
            ],
            Some(5),
        ),
        (
            &[("retention.ms", "7")],
            &[("log.retention.ms", "5")],
            Some(7),
        ),
        (
            &[("retention.ms", "-1")],
            &[("log.retention.ms", "5")],
            None,
        ),
        (&[], &[("log.retention.ms", "-5")], None),
        (&[], &[("log.retention.hours", "-1")], None),
        (
            &[],
            &[("log.retention.hours", "9223372036854775807")],
            Some(i64::MAX),
        ),
        (&[], &[("log.retention.ms", "soon")], Some(604_800_000)),
    ];
    for (overrides, of_brokers, expected) in cases {
        let config = TopicConfig::resolve(&configs(overrides), &configs(of_brokers));
        assert_eq!(
            config.retention_ms, *expected,
            "{overrides:?} on {of_brokers:?}"
        );
    }
    let config = TopicConfig::resolve(
        &Configs::new(),
        &configs(&[
            ("message.max.bytes", "1000"),
            ("log.message.timestamp.type", " LogAppendTime "),
            ("log.cleanup.policy", "compact"),
            ("log.cleaner.min.cleanable.ratio", "0.25"),
            ("compression.type", "lz4"),
            ("compression.lz4.level", "4"),
        ]),
    );
    assert_eq!(config.max_message_bytes, 1_000);
    assert_eq!(config.timestamp_type, TimestampType::LogAppendTime);
    assert!(config.cleanup_compact && !config.cleanup_delete);
    assert!((config.min_cleanable_dirty_ratio - 0.25).abs() < f64::EPSILON);
    assert_eq!(config.compression, Compression::Lz4 { level: 4 });
}

#[test]
fn deletion_protection_is_off_unless_it_is_set() {
    assert!(!TopicConfig::default().deletion_protection);
    assert!(resolved(&[("aquifer.deletion.protection", "TRUE")]).deletion_protection);
}

#[test]
fn every_synonym_of_a_topic_config_is_a_broker_config() {
    for spec in TOPIC_CONFIGS {
        let names: Vec<&str> = spec.synonyms.iter().map(|synonym| synonym.name).collect();
        for name in &names {
            assert!(broker::find(name).is_some(), "{name}, of {}", spec.name);
        }
        if let Some(first) = names.first() {
            assert_eq!(broker::synonyms(first), names, "{}", spec.name);
        }
    }
}

#[test]
fn dynamic_configs_stand_before_static_ones() {
    let statics = configs(&[("log.retention.ms", "1"), ("num.partitions", "3")]);
    let dynamic = configs(&[("log.retention.ms", "2")]);
    let all = layered(&statics, &dynamic);
    assert_eq!(
        all,
        configs(&[("log.retention.ms", "2"), ("num.partitions", "3")])
    );
}

/// Whatever is stored, resolving it neither fails nor gives what validation would refuse.
#[test]
fn resolving_is_total() {
    use aquifer_store::{Rand, runtime::SeededRand};
    let values = [
        "",
        " ",
        "0",
        "-1",
        "-5",
        "1",
        "true",
        "false",
        "compact",
        "delete,compact",
        "zstd",
        "x",
        "9223372036854775807",
        "99999999999999999999",
        "1e308",
        "NaN",
        "0.3",
        "LogAppendTime",
        ",",
    ];
    for seed in 0..2_000 {
        let rand = SeededRand::new(seed);
        let below = |bound: usize| {
            let bound = u64::try_from(bound).expect("small");
            usize::try_from(rand.next_u64() % bound).expect("small")
        };
        let value = || values[below(values.len())].to_owned();
        let topics: Configs = (0..below(12))
            .map(|_| {
                (
                    TOPIC_CONFIGS[below(TOPIC_CONFIGS.len())].name.to_owned(),
                    value(),
                )
            })
            .collect();
        let brokers: Configs = (0..below(60))
            .map(|_| {
                let spec = broker::BROKER_CONFIGS[below(broker::BROKER_CONFIGS.len())];
                (spec.name.to_owned(), value())
            })
            .collect();
        let config = TopicConfig::resolve(&topics, &brokers);
        assert!(config.retention_ms.is_none_or(|ms| ms >= 0));
        assert!((0.0..=1.0).contains(&config.min_cleanable_dirty_ratio));
        let of_broker = BrokerConfig::resolve(&brokers);
        assert!(of_broker.num_partitions >= 1);
        for described in describe::describe_topic(&topics, &brokers, &Configs::new()) {
            let value = described.value.expect("every topic config has a value");
            let spec = find(&described.name).expect("it is in the table");
            assert!(spec.check(&value).is_ok(), "{}={value}", described.name);
        }
        let described = describe::describe_broker(&brokers, &topics);
        assert_eq!(described.len(), broker::BROKER_CONFIGS.len());
    }
}
