use super::*;
use crate::config::layered;

fn configs(pairs: &[(&str, &str)]) -> Configs {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn the_table_is_sorted_and_its_defaults_are_valid() {
    assert!(BROKER_CONFIGS.is_sorted_by(|a, b| a.name < b.name));
    for spec in BROKER_CONFIGS {
        if let Some(default) = spec.default {
            assert_eq!(spec.check(default), Ok(()), "{}", spec.name);
        }
    }
}

/// Counted by running Kafka 4.2: what DescribeConfigs lists, and how much of it is dynamic.
#[test]
fn the_table_is_complete() {
    let of_kafka = || BROKER_CONFIGS.iter().filter(|s| s.effect != Effect::Own);
    let count = |update: Update| of_kafka().filter(|s| s.update == update).count();
    assert_eq!(of_kafka().count(), 320);
    assert_eq!(count(Update::ClusterWide), 56);
    assert_eq!(count(Update::PerBroker), 36);
    assert_eq!(of_kafka().filter(|s| s.sensitive()).count(), 10);
    let own = BROKER_CONFIGS.iter().filter(|s| s.effect == Effect::Own);
    let own: Vec<&str> = own.map(|s| s.name).collect();
    assert_eq!(own, [SOFT_DELETE_TTL_MS]);
}

#[test]
fn a_deleted_topic_can_be_restored_for_a_day_unless_it_is_said_otherwise() {
    for (set, ttl_ms) in [
        (None, 86_400_000),
        (Some("0"), 0),
        (Some("60000"), 60_000),
        (Some("-1"), 86_400_000),
        (Some("soon"), 86_400_000),
    ] {
        let set = set.map(|value| (SOFT_DELETE_TTL_MS, value));
        let config = BrokerConfig::resolve(&configs(set.as_slice()));
        assert_eq!(config.topic_soft_delete_ttl_ms, ttl_ms, "{set:?}");
    }
    assert_eq!(alterable(SOFT_DELETE_TTL_MS), Alterable::Yes);
}

#[test]
fn dynamic_configs_are_taken_and_refused_as_kafka_4_2_does() {
    let taken: &[&[(&str, &str)]] = &[
        &[("log.retention.ms", "1000")],
        &[("log.retention.ms", "-5")],
        &[("log.cleanup.policy", " ")],
        &[("log.flush.interval.ms", "-5")],
        &[("listener.name.plaintext.max.connections", "5")],
        &[("listener.name.nope.num.network.threads", "5")],
        &[("unclean.leader.election.enable", " TRUE ")],
        &[
            ("log.cleaner.min.compaction.lag.ms", "10"),
            ("log.cleaner.max.compaction.lag.ms", "5"),
        ],
        &[("max.connections.per.ip.overrides", "127.0.0.1:5,foo:6")],
        &[
            ("max.connections.per.ip", "0"),
            ("max.connections.per.ip.overrides", "a:1"),
        ],
    ];
    for set in taken {
        assert_eq!(validate_dynamic(&configs(set)), Ok(()), "{set:?}");
    }
    let refused: &[(&[(&str, &str)], &str)] = &[
        (
            &[("num.partitions", "3")],
            "Cannot update these configs dynamically: Set(num.partitions)",
        ),
        (
            &[
                ("num.partitions", "3"),
                ("log.retention.ms", "x"),
                ("broker.id", "1"),
            ],
            "Cannot update these configs dynamically: Set(broker.id, num.partitions)",
        ),
        (
            &[("log.retention.hours", "5")],
            "Cannot update these configs dynamically: Set(log.retention.hours)",
        ),
        (
            &[("ssl.keystore.location", "/x")],
            "These security configs can be dynamically updated only per-listener using the listener \
             prefix: HashSet(ssl.keystore.location)",
        ),
        (
            &[("listener.name.plaintext.ssl.keystore.location", "/x")],
            "Cannot update these configs at default cluster level, broker id must be specified: \
             Set(listener.name.plaintext.ssl.keystore.location)",
        ),
        (
            &[("listeners", "PLAINTEXT://x:1")],
            "Cannot update these configs at default cluster level, broker id must be specified: \
             Set(listeners)",
        ),
        (
            &[("ssl.client.auth", "required")],
            "Cannot update these configs at default cluster level, broker id must be specified: \
             Set(ssl.client.auth)",
        ),
        (
            &[("listener.name.plaintext.ssl.client.auth", "foo")],
            "Invalid value foo for configuration ssl.client.auth: String must be one of: required, \
             requested, none",
        ),
        (
            &[("log.retention.ms", "abc")],
            "Invalid value abc for configuration log.retention.ms: Not a number of type LONG",
        ),
        (
            &[("listener.name.plaintext.max.connections", "-5")],
            "Invalid value -5 for configuration max.connections: Value must be at least 0",
        ),
        (
            &[("log.retention.ms", "0")],
            "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
        ),
        (
            &[("log.roll.ms", "0")],
            "requirement failed: log.roll.ms must be greater than or equal to 1",
        ),
        (
            &[("log.roll.jitter.ms", "-1")],
            "requirement failed: log.roll.jitter.ms must be greater than or equal to 0",
        ),
        (
            &[("log.cleaner.dedupe.buffer.size", "1")],
            "requirement failed: log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
        ),
        (
            &[("max.connections.per.ip", "0")],
            "requirement failed: max.connections.per.ip can be set to zero only if \
             max.connections.per.ip.overrides property is set.",
        ),
        (&[("foo.bar", "1")], "Unknown broker config name: foo.bar"),
    ];
    for (set, text) in refused {
        let error = validate_dynamic(&configs(set)).map_err(|error| error.to_string());
        assert_eq!(error, Err((*text).to_owned()), "{set:?}");
    }
}

/// What can be altered is what the table calls cluster-wide, and nothing of it needs more than a valid
/// value.
#[test]
fn every_cluster_wide_config_can_be_set_to_its_default() {
    for spec in BROKER_CONFIGS {
        let alterable = alterable(spec.name);
        assert_eq!(
            alterable == Alterable::Yes,
            spec.update == Update::ClusterWide,
            "{}",
            spec.name
        );
        if let (Alterable::Yes, Some(default)) = (alterable, spec.default) {
            let set = configs(&[(spec.name, default)]);
            assert_eq!(validate_dynamic(&set), Ok(()), "{}", spec.name);
        }
    }
}

#[test]
fn servers_have_kafkas_defaults() {
    let config = BrokerConfig::default();
    assert!(config.auto_create_topics && config.delete_topic_enable);
    assert_eq!(config.num_partitions, 1);
    assert_eq!(config.default_replication_factor, 1);
    assert_eq!(config.message_max_bytes, 1_048_588);
    assert_eq!(
        config.log_retention_check_interval,
        Duration::from_secs(300)
    );
    assert_eq!(config.telemetry_max_bytes, 1_048_576);
    assert_eq!(config.connections_max_idle, Some(Duration::from_secs(600)));
    assert_eq!(config.queued_max_request_bytes, None);
}

#[test]
fn what_is_set_wins_and_what_is_not_valid_counts_as_not_set() {
    let statics = configs(&[
        ("auto.create.topics.enable", "false"),
        ("num.partitions", "6"),
        ("max.connections", "20000"),
    ]);
    let dynamic = configs(&[("max.connections", "10"), ("message.max.bytes", "-1")]);
    let config = BrokerConfig::resolve(&layered(&statics, &dynamic));
    assert!(!config.auto_create_topics);
    assert_eq!(config.num_partitions, 6);
    assert_eq!(config.max_connections, 10);
    assert_eq!(config.message_max_bytes, 1_048_588);
    let idle = configs(&[("connections.max.idle.ms", "-1")]);
    assert_eq!(BrokerConfig::resolve(&idle).connections_max_idle, None);
}
