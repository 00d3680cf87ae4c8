use super::*;

struct Cluster {
    topic: Configs,
    group: Configs,
    /// How many groups have configs.
    configured: usize,
    dynamic: Configs,
    effective: Configs,
}

impl Known for Cluster {
    fn topic_configs(&self, name: &str) -> Option<&Configs> {
        (name == "t").then_some(&self.topic)
    }

    fn group_configs(&self, name: &str) -> Option<&Configs> {
        (name == "g").then_some(&self.group)
    }

    fn configured_groups(&self) -> usize {
        self.configured
    }

    fn dynamic_broker_configs(&self) -> &Configs {
        &self.dynamic
    }

    fn broker_configs(&self) -> &Configs {
        &self.effective
    }
}

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn configs(pairs: &[(&str, &str)]) -> Configs {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Topic `t` has a retention, group `g` a session timeout; brokers have a limit.
fn cluster() -> Cluster {
    let dynamic = configs(&[("message.max.bytes", "1000")]);
    Cluster {
        topic: configs(&[("retention.ms", "5")]),
        group: configs(&[("consumer.session.timeout.ms", "50000")]),
        configured: 1,
        effective: dynamic.clone(),
        dynamic,
    }
}

type Changes<'a> = &'a [(&'a str, i8, Option<&'a str>)];

fn resource<'a>(kind: i8, name: &'a str, changes: Changes<'a>) -> Resource<'a> {
    let change = |(name, operation, value): &(&'a str, i8, Option<&'a str>)| Change {
        name,
        operation: *operation,
        value: *value,
    };
    Resource {
        kind,
        name,
        changes: changes.iter().map(change).collect(),
    }
}

fn one(
    kind: i8,
    name: &str,
    changes: Changes<'_>,
    unnamed: Unnamed,
) -> Result<Option<Configs>, (i16, String)> {
    let mut results = alter(&[resource(kind, name, changes)], unnamed, &cluster());
    let result = results.pop().expect("one result per resource");
    assert!(results.is_empty());
    match result {
        Ok(None) => Ok(None),
        Ok(Some(Altered::Topic { name: of, configs })) => {
            assert_eq!((kind, of.as_str()), (resource_type::TOPIC, name));
            Ok(Some(configs))
        }
        Ok(Some(Altered::Brokers(configs))) => {
            assert_eq!(kind, resource_type::BROKER);
            Ok(Some(configs))
        }
        Ok(Some(Altered::Group { name: of, configs })) => {
            assert_eq!((kind, of.as_str()), (resource_type::GROUP, name));
            Ok(Some(configs))
        }
        Err(refusal) => Err((refusal.error.code(), refusal.text)),
    }
}

#[test]
fn single_configs_are_altered_and_the_others_stay() {
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(i8, &str, Changes<'_>, Option<Pairs<'_>>)] = &[
        (2, "t", &[], None),
        (2, "t", &[("retention.ms", SET, Some("5"))], None),
        (2, "t", &[("nope", DELETE, None)], None),
        (
            2,
            "t",
            &[("retention.ms", DELETE, Some("ignored"))],
            Some(&[]),
        ),
        (
            2,
            "t",
            &[("segment.ms", SET, Some("9"))],
            Some(&[("retention.ms", "5"), ("segment.ms", "9")]),
        ),
        (
            2,
            "t",
            &[("cleanup.policy", APPEND, Some("compact"))],
            Some(&[("cleanup.policy", "delete,compact"), ("retention.ms", "5")]),
        ),
        (
            2,
            "t",
            &[("cleanup.policy", SUBTRACT, Some("delete"))],
            Some(&[("cleanup.policy", ""), ("retention.ms", "5")]),
        ),
        (
            4,
            "",
            &[("log.retention.ms", SET, Some("7"))],
            Some(&[("log.retention.ms", "7"), ("message.max.bytes", "1000")]),
        ),
        (4, "", &[("message.max.bytes", DELETE, None)], Some(&[])),
        (4, "", &[("num.partitions", DELETE, None)], None),
        (
            32,
            "g",
            &[("consumer.heartbeat.interval.ms", SET, Some("6000"))],
            Some(&[
                ("consumer.heartbeat.interval.ms", "6000"),
                ("consumer.session.timeout.ms", "50000"),
            ]),
        ),
        (
            32,
            "nobody yet",
            &[("consumer.session.timeout.ms", SET, Some("45000"))],
            Some(&[("consumer.session.timeout.ms", "45000")]),
        ),
        (
            32,
            "g",
            &[("consumer.session.timeout.ms", DELETE, None)],
            Some(&[]),
        ),
        (
            32,
            "h",
            &[("consumer.session.timeout.ms", DELETE, None)],
            None,
        ),
        (
            4,
            "1",
            &[("leader.replication.throttled.rate", DELETE, None)],
            None,
        ),
    ];
    for (kind, name, changes, expected) in cases {
        let expected = expected.map(configs);
        assert_eq!(
            one(*kind, name, changes, Unnamed::Kept),
            Ok(expected),
            "{changes:?}"
        );
    }
}

#[test]
fn all_configs_are_replaced() {
    let replaced = |kind, name, changes| one(kind, name, changes, Unnamed::Removed);
    assert_eq!(
        replaced(2, "t", &[("segment.ms", SET, Some("9"))]),
        Ok(Some(configs(&[("segment.ms", "9")])))
    );
    assert_eq!(replaced(2, "t", &[]), Ok(Some(Configs::new())));
    assert_eq!(replaced(4, "", &[]), Ok(Some(Configs::new())));
    assert_eq!(replaced(4, "1", &[]), Ok(None));
    assert_eq!(replaced(32, "g", &[]), Ok(Some(Configs::new())));
    assert_eq!(replaced(32, "h", &[]), Ok(None));
    let (code, text) = replaced(8, "1", &[("root", SET, Some("INFO"))]).unwrap_err();
    assert_eq!((code, text.as_str()), (42, "Unknown resource type 8"));
}

/// Codes and texts are those of a running Kafka 4.2, except for single brokers, client metrics
/// and unknown broker configs.
#[test]
fn mistakes_are_refused_as_kafka_does() {
    let set = |name, value| (name, SET, Some(value));
    let cases: &[(i8, &str, Changes<'_>, i16, &str)] = &[
        (
            2,
            "nope",
            &[set("retention.ms", "5")],
            3,
            "The topic 'nope' does not exist.",
        ),
        (2, "nope", &[], 3, "The topic 'nope' does not exist."),
        (
            2,
            "nope",
            &[set("x", "5")],
            40,
            "Unknown topic config name: x",
        ),
        (
            2,
            "",
            &[set("retention.ms", "5")],
            42,
            "Default topic resources are not allowed.",
        ),
        (
            2,
            "a b",
            &[set("retention.ms", "5")],
            17,
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII \
             alphanumerics, '.', '_' and '-'",
        ),
        (
            2,
            "t",
            &[set("retention.ms", "x")],
            40,
            "Invalid value x for configuration retention.ms: Not a number of type LONG",
        ),
        (
            2,
            "t",
            &[("retention.ms", APPEND, Some("5"))],
            40,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            2,
            "t",
            &[("x", SUBTRACT, Some("5"))],
            40,
            "Can't SUBTRACT to key x because its type is not LIST.",
        ),
        (
            2,
            "t",
            &[("retention.ms", SET, None), ("x", APPEND, None)],
            42,
            "Null value not supported for : retention.ms, x",
        ),
        (
            2,
            "t",
            &[("retention.ms", DELETE, None), set("retention.ms", "4")],
            42,
            "Error due to duplicate config keys",
        ),
        (
            2,
            "t",
            &[
                set("min.compaction.lag.ms", "9"),
                set("max.compaction.lag.ms", "5"),
            ],
            40,
            "conflict topic config setting min.compaction.lag.ms (9) > max.compaction.lag.ms (5)",
        ),
        (
            4,
            "",
            &[set("num.partitions", "3")],
            42,
            "Cannot update these configs dynamically: Set(num.partitions)",
        ),
        (
            4,
            "",
            &[("log.retention.ms", APPEND, Some("4"))],
            40,
            "Config value append is not allowed for config key: log.retention.ms",
        ),
        (
            4,
            "",
            &[("log.retention.ms", 7, Some("4"))],
            42,
            "Unknown operations type 7",
        ),
        (
            4,
            "",
            &[set("foo", "1")],
            40,
            "Unknown broker config name: foo",
        ),
        (
            4,
            "",
            &[("foo", APPEND, Some("1"))],
            40,
            "Unknown broker config name: foo",
        ),
        (4, "x", &[], 42, "Node id must be an integer, but it is: x"),
        (
            4,
            "1",
            &[set("log.retention.ms", "5")],
            42,
            "Configs of a single broker cannot be altered: agents are interchangeable. Alter the \
             configs of all of them, without a broker id (--entity-default).",
        ),
        (8, "", &[], 42, "Node id must be an integer, but it is: "),
        (
            8,
            "1",
            &[set("kafka", "INFO")],
            40,
            "Logger kafka does not exist!",
        ),
        (
            32,
            "",
            &[set("consumer.session.timeout.ms", "50000")],
            42,
            "Default group resources are not allowed.",
        ),
        (
            32,
            "g",
            &[set("retention.ms", "5")],
            40,
            "Unknown group config name: retention.ms",
        ),
        (
            32,
            "g",
            &[set("consumer.session.timeout.ms", "44999")],
            40,
            "consumer.session.timeout.ms must be greater than or equal to \
             group.consumer.min.session.timeout.ms",
        ),
        (
            32,
            "g",
            &[("consumer.session.timeout.ms", APPEND, Some("5"))],
            40,
            "Can't APPEND to key consumer.session.timeout.ms because its type is not LIST.",
        ),
        (99, "x", &[], 42, "Unknown resource type 99"),
        (-1, "x", &[], 42, "Unknown resource type -1"),
    ];
    for (kind, name, changes, code, text) in cases {
        let refused = one(*kind, name, changes, Unnamed::Kept);
        assert_eq!(
            refused,
            Err((*code, (*text).to_owned())),
            "{kind}:{name} {changes:?}"
        );
    }
}

#[test]
fn each_resource_is_altered_wholly_or_not_at_all() {
    let changes: Changes<'_> = &[
        ("segment.ms", SET, Some("9")),
        ("retention.ms", SET, Some("x")),
    ];
    let good: Changes<'_> = &[("log.retention.ms", SET, Some("9"))];
    let resources = [resource(2, "t", changes), resource(4, "", good)];
    let results = alter(&resources, Unnamed::Kept, &cluster());
    assert!(results[0].is_err());
    assert!(matches!(results[1], Ok(Some(Altered::Brokers(_)))));
}

#[test]
fn a_resource_that_is_named_twice_is_refused_both_times() {
    let resources = [
        resource(2, "t", &[("segment.ms", SET, Some("9"))]),
        resource(4, "", &[("log.retention.ms", SET, Some("9"))]),
        resource(2, "t", &[]),
    ];
    let results = alter(&resources, Unnamed::Kept, &cluster());
    for at in [0, 2] {
        let refusal = results[at].as_ref().unwrap_err();
        assert_eq!(refusal.text, "Each resource must appear at most once.");
    }
    assert!(results[1].is_ok());
}

#[test]
fn values_are_bounded() {
    let long = "x".repeat(CONFIG_VALUE_BYTES_MAX + 1);
    let changes: Changes<'_> = &[("leader.replication.throttled.replicas", SET, Some(&long))];
    let (code, text) = one(2, "t", changes, Unnamed::Kept).unwrap_err();
    assert_eq!(code, 40);
    assert!(text.contains("32767 bytes"), "{text}");
    let long = "x".repeat(20_000);
    let changes: Changes<'_> = &[("retention.ms", SET, Some(&long))];
    let (_, text) = one(2, "t", changes, Unnamed::Kept).unwrap_err();
    assert_eq!(text.chars().count(), TEXT_CHARS_MAX);
}

/// Names with a listener in them could be as long as a request, and are in every reset of a watch.
#[test]
fn regression_names_of_broker_configs_are_not_endless() {
    let name = |listener: usize| format!("listener.name.{}.max.connections", "l".repeat(listener));
    let set = |name: &str| one(4, "", &[(name, SET, Some("7"))], Unnamed::Kept);
    assert!(set(&name(900)).is_ok());
    let (code, text) = set(&name(1_000)).unwrap_err();
    assert_eq!(
        (code, text.as_str()),
        (42, "Names of broker configs have at most 1000 bytes.")
    );
}

#[test]
fn groups_with_configs_are_bounded_in_number_and_in_their_names() {
    let changes: Changes<'_> = &[("consumer.session.timeout.ms", SET, Some("46000"))];
    let mut full = cluster();
    full.configured = CONFIGURED_GROUPS_MAX;
    let results = alter(&[resource(32, "new", changes)], Unnamed::Kept, &full);
    let refusal = results[0].as_ref().unwrap_err();
    assert_eq!(refusal.error, ResponseError::InvalidRequest);
    let results = alter(&[resource(32, "g", changes)], Unnamed::Kept, &full);
    assert!(matches!(results[0], Ok(Some(_))), "it has some already");
    let long = "g".repeat(GROUP_ID_BYTES_MAX + 1);
    let (code, text) = one(32, &long, changes, Unnamed::Kept).unwrap_err();
    assert_eq!(code, 42);
    assert!(text.contains("1024 bytes"), "{text}");
}
