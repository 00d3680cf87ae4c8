use super::*;

fn configs(pairs: &[(&str, &str)]) -> Configs {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// `name=value@source` of the value, and of each synonym.
fn lines(described: &[Described], name: &str) -> (String, Vec<String>) {
    let one = described.iter().find(|d| d.name == name).expect(name);
    let line = |name: &str, value: &Option<String>, source: ConfigSource| {
        let value = value.as_deref().unwrap_or("null");
        format!("{name}={value}@{}", source.wire_code())
    };
    let synonyms = one.synonyms.iter();
    let synonyms = synonyms.map(|s| line(&s.name, &s.value, s.source));
    (line(name, &one.value, one.source), synonyms.collect())
}

type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str, &'a [&'a str]);

fn check(of: impl Fn(&Configs) -> Vec<Described>, cases: &[Case<'_>]) {
    for (set, name, value, synonyms) in cases {
        let described = of(&configs(set));
        let (line, found) = lines(&described, name);
        assert_eq!(line, *value, "{set:?}");
        assert_eq!(found, *synonyms, "{name} with {set:?}");
    }
}

/// As listed by Kafka 4.2.
#[test]
fn a_topic_shows_where_its_values_come_from() {
    let none = Configs::new();
    check(
        |overrides| describe_topic(overrides, &none, &none),
        &[
            (&[], "retention.ms", "retention.ms=604800000@5", &[]),
            (&[], "segment.ms", "segment.ms=604800000@5", &[]),
            (&[], "flush.ms", "flush.ms=9223372036854775807@5", &[]),
            (
                &[("retention.ms", " +5 ")],
                "retention.ms",
                "retention.ms=5@1",
                &["retention.ms=5@1"],
            ),
            (
                &[("compression.type", "zstd")],
                "compression.type",
                "compression.type=zstd@1",
                &["compression.type=zstd@1", "compression.type=producer@5"],
            ),
            (
                &[("aquifer.deletion.protection", "true")],
                "aquifer.deletion.protection",
                "aquifer.deletion.protection=true@1",
                &["aquifer.deletion.protection=true@1"],
            ),
        ],
    );
    check(
        |dynamic| describe_topic(&none, dynamic, &none),
        &[
            (
                &[("log.retention.ms", " 5 ")],
                "retention.ms",
                "retention.ms=5@3",
                &["log.retention.ms= 5 @3", "log.retention.hours=168@5"],
            ),
            (
                &[("log.retention.ms", "-5")],
                "retention.ms",
                "retention.ms=-1@3",
                &["log.retention.ms=-5@3", "log.retention.hours=168@5"],
            ),
            (
                &[("log.flush.interval.ms", "0")],
                "flush.ms",
                "flush.ms=0@3",
                &[
                    "log.flush.interval.ms=0@3",
                    "log.flush.scheduler.interval.ms=9223372036854775807@5",
                ],
            ),
            (
                &[("log.cleanup.policy", " ")],
                "cleanup.policy",
                "cleanup.policy=@3",
                &["log.cleanup.policy= @3", "log.cleanup.policy=delete@5"],
            ),
        ],
    );
    check(
        |statics| describe_topic(&none, &none, statics),
        &[
            (
                &[("log.retention.hours", "24")],
                "retention.ms",
                "retention.ms=86400000@5",
                &[],
            ),
            (
                &[("message.max.bytes", "7")],
                "max.message.bytes",
                "max.message.bytes=7@4",
                &["message.max.bytes=7@4", "message.max.bytes=1048588@5"],
            ),
        ],
    );
}

#[test]
fn a_broker_shows_where_its_values_come_from() {
    let none = Configs::new();
    let statics = configs(&[
        ("node.id", "1"),
        ("broker.id", "1"),
        ("num.partitions", "4"),
    ]);
    check(
        |dynamic| describe_broker(dynamic, &statics),
        &[
            (&[], "node.id", "node.id=1@4", &["node.id=1@4"]),
            (
                &[],
                "broker.id",
                "broker.id=1@4",
                &["broker.id=1@4", "broker.id=-1@5"],
            ),
            (
                &[],
                "num.partitions",
                "num.partitions=4@4",
                &["num.partitions=4@4", "num.partitions=1@5"],
            ),
            (&[], "log.retention.ms", "log.retention.ms=null@5", &[]),
            (
                &[],
                "log.retention.hours",
                "log.retention.hours=168@5",
                &["log.retention.hours=168@5"],
            ),
            (
                &[("log.retention.ms", "7777")],
                "log.retention.hours",
                "log.retention.hours=168@5",
                &["log.retention.hours=168@5"],
            ),
            (
                &[("unclean.leader.election.enable", " TRUE ")],
                "unclean.leader.election.enable",
                "unclean.leader.election.enable=true@3",
                &[
                    "unclean.leader.election.enable= TRUE @3",
                    "unclean.leader.election.enable=false@5",
                ],
            ),
            (
                &[("log.cleaner.io.buffer.load.factor", "5")],
                "log.cleaner.io.buffer.load.factor",
                "log.cleaner.io.buffer.load.factor=5.0@3",
                &[
                    "log.cleaner.io.buffer.load.factor=5@3",
                    "log.cleaner.io.buffer.load.factor=0.9@5",
                ],
            ),
            (
                &[
                    ("listener.name.a.max.connections", "5"),
                    ("max.connections", "6"),
                ],
                "listener.name.a.max.connections",
                "listener.name.a.max.connections=5@3",
                &[
                    "listener.name.a.max.connections=5@3",
                    "max.connections=6@3",
                    "max.connections=2147483647@5",
                ],
            ),
        ],
    );
    let secrets = configs(&[("ssl.keystore.password", "hush"), ("not.kafkas", "x")]);
    let described = describe_broker(&none, &secrets);
    let (line, synonyms) = lines(&described, "ssl.keystore.password");
    assert_eq!(line, "ssl.keystore.password=null@4");
    assert_eq!(synonyms, ["ssl.keystore.password=null@4"]);
    assert!(described.is_sorted_by(|a, b| a.name < b.name));
    assert!(described.iter().all(|d| d.name != "not.kafkas"));
    for one in &described {
        let dynamic = broker::find(&one.name).is_some_and(|s| s.update != Update::ReadOnly);
        assert_eq!(one.read_only, !dynamic, "{}", one.name);
        assert!(!one.documentation.is_empty(), "{}", one.name);
    }
}

#[test]
fn all_brokers_show_what_was_set_while_they_ran() {
    assert!(describe_default(&Configs::new()).is_empty());
    let dynamic = configs(&[
        ("log.retention.ms", " 5 "),
        ("listener.name.a.max.connections", "5"),
    ]);
    let described = describe_default(&dynamic);
    assert_eq!(described.len(), 2);
    assert!(described[0].read_only && !described[1].read_only);
    assert_eq!(
        lines(&described, "log.retention.ms"),
        (
            "log.retention.ms= 5 @3".to_owned(),
            vec!["log.retention.ms= 5 @3".to_owned()]
        )
    );
}

#[test]
fn configs_of_compaction_have_their_effect() {
    let none = Configs::new();
    let described = describe_topic(&none, &none, &none);
    for name in [
        "cleanup.policy",
        "delete.retention.ms",
        "max.compaction.lag.ms",
        "min.cleanable.dirty.ratio",
        "min.compaction.lag.ms",
        "segment.bytes",
    ] {
        let text = described.iter().find(|d| d.name == name);
        let text = &text.expect("it is listed").documentation;
        assert!(!text.contains("no effect"), "{name}: {text}");
    }
}

#[test]
fn configs_without_effect_say_why() {
    let none = Configs::new();
    let described = describe_topic(&none, &none, &none);
    let preallocate = described.iter().find(|d| d.name == "preallocate");
    let text = &preallocate.expect("it is listed").documentation;
    assert!(
        text.ends_with("; no effect: there are no segment files"),
        "{text}"
    );
}

/// As Kafka 4.2's `ConfigHelper.createGroupConfigEntry` has it: one synonym, whatever the brokers say.
#[test]
fn a_group_shows_what_is_set_on_it_and_else_what_the_brokers_say() {
    let brokers = configs(&[("group.consumer.session.timeout.ms", "50000")]);
    check(
        |own| describe_group(own, &brokers),
        &[
            (
                &[],
                "consumer.session.timeout.ms",
                "consumer.session.timeout.ms=50000@5",
                &["consumer.session.timeout.ms=50000@5"],
            ),
            (
                &[("consumer.session.timeout.ms", " 55000 ")],
                "consumer.session.timeout.ms",
                "consumer.session.timeout.ms=55000@8",
                &["consumer.session.timeout.ms=55000@8"],
            ),
            (
                &[],
                "share.auto.offset.reset",
                "share.auto.offset.reset=latest@5",
                &["share.auto.offset.reset=latest@5"],
            ),
        ],
    );
    let described = describe_group(&Configs::new(), &brokers);
    assert!(described.is_sorted_by(|a, b| a.name < b.name));
    assert_eq!(described.len(), 11);
    assert!(described.iter().all(|config| !config.read_only));
}
