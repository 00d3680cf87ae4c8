//! Configs: DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources.

use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
    ListConfigResourcesRequest, alter_configs_request as alter,
    describe_configs_request::DescribeConfigsResource, incremental_alter_configs_request as change,
};

use crate::case::{Ask, Case, case, generated, quiet, text};

/// Types of resources.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// What IncrementalAlterConfigs does to a config.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn resource(kind: i8, name: &str) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(None)
}

fn keys(kind: i8, name: &str, keys: &[&str]) -> DescribeConfigsResource {
    let keys = keys.iter().map(|key| text(key)).collect();
    resource(kind, name).with_configuration_keys(Some(keys))
}

/// DescribeConfigs of every type of resource.
pub(crate) fn describe_configs() -> Vec<Case> {
    let of = |resources| DescribeConfigsRequest::default().with_resources(resources);
    let one = move |kind, name: &str| of(vec![resource(kind, name)]);
    vec![
        case("topic", move |_| one(TOPIC, "present")),
        case("topic-synonyms", move |_| {
            one(TOPIC, "small").with_include_synonyms(true)
        }),
        case("topic-documented", move |_| {
            one(TOPIC, "present").with_include_documentation(true)
        }),
        case("topic-missing", move |_| one(TOPIC, "missing")),
        case("topic-bad-name", move |_| one(TOPIC, "a/b")),
        case("topic-no-name", move |_| one(TOPIC, "")),
        case("some", move |_| {
            of(vec![keys(
                TOPIC,
                "present",
                &["retention.ms", "nothing.like.it"],
            )])
        }),
        case("no-key", move |_| of(vec![keys(TOPIC, "present", &[])])),
        case("nothing", move |_| of(vec![])),
        case("twice", move |_| {
            let one = keys(TOPIC, "present", &["retention.ms"]);
            of(vec![one.clone(), one])
        }),
        case("broker", move |_| {
            one(BROKER, "0").with_include_synonyms(true)
        }),
        case("broker-documented", move |_| {
            one(BROKER, "0").with_include_documentation(true)
        }),
        case("broker-default", move |_| one(BROKER, "")),
        case("broker-default-all", move |_| {
            one(BROKER, "")
                .with_include_synonyms(true)
                .with_include_documentation(true)
        }),
        case("broker-missing", move |_| one(BROKER, "77")),
        case("broker-no-number", move |_| one(BROKER, "first")),
        case("logger", move |_| one(LOGGER, "0")),
        case("logger-missing", move |_| one(LOGGER, "77")),
        case("logger-no-name", move |_| one(LOGGER, "")),
        case("client-metrics", move |_| one(CLIENT_METRICS, "some")),
        case("client-metrics-no-name", move |_| one(CLIENT_METRICS, "")),
        case("group", move |_| one(GROUP, "some")),
        case("group-no-name", move |_| one(GROUP, "")),
        case("type-unknown", move |_| one(0, "present")),
        case("type-any", move |_| one(1, "present")),
        case("type-none", move |_| one(77, "present")),
        generated(15, move |ask| {
            let request = of(ask.random.some(3, |random| {
                let kind = random.pick(&[TOPIC, TOPIC, BROKER]);
                let name = random.pick(&["present", "compacted", "0", "", "missing"]);
                let asked = random.some(3, |random| {
                    random.pick(&[
                        "cleanup.policy",
                        "segment.bytes",
                        "log.retention.ms",
                        "x",
                        "",
                    ])
                });
                keys(kind, name, &asked)
            }));
            let synonyms = ask.random.pick(&[true, false]);
            request.with_include_synonyms(synonyms)
        }),
    ]
}

type Configs<'a> = &'a [(&'a str, Option<&'a str>)];

fn replaced(kind: i8, name: &str, configs: Configs<'_>) -> alter::AlterConfigsResource {
    let one = |(name, value): &(&str, Option<&str>)| {
        alter::AlterableConfig::default()
            .with_name(text(name))
            .with_value(value.map(text))
    };
    alter::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.iter().map(one).collect())
}

/// AlterConfigs: the whole of a resource's configs is replaced.
pub(crate) fn alter_configs() -> Vec<Case> {
    let of = |resources| AlterConfigsRequest::default().with_resources(resources);
    let own = move |ask: &mut Ask<'_>, configs: Configs<'_>| {
        let topic = ask.topic("altered", 1, &[("retention.ms", "5000")]);
        of(vec![replaced(TOPIC, &topic, configs)])
    };
    let broker = move |name: &str, configs: Configs<'_>| of(vec![replaced(BROKER, name, configs)]);
    vec![
        case("topic", move |ask| {
            own(ask, &[("retention.bytes", Some("1000"))])
        }),
        case("topic-nothing", move |ask| own(ask, &[])),
        case("topic-validated-only", move |ask| {
            own(ask, &[("retention.bytes", Some("1000"))]).with_validate_only(true)
        }),
        case("topic-unknown-config", move |ask| {
            own(ask, &[("nothing.like.it", Some("1"))])
        }),
        case("topic-bad-value", move |ask| {
            own(ask, &[("retention.ms", Some("week"))])
        }),
        case("topic-null", move |ask| own(ask, &[("retention.ms", None)])),
        case("topic-empty", move |ask| {
            own(ask, &[("retention.ms", Some(""))])
        }),
        case("topic-twice", move |ask| {
            own(
                ask,
                &[("retention.ms", Some("1")), ("retention.ms", Some("2"))],
            )
        }),
        case("topic-no-config-name", move |ask| {
            own(ask, &[("", Some("1"))])
        }),
        case("topic-missing", move |_| {
            of(vec![replaced(TOPIC, "missing", &[])])
        }),
        case("topic-bad-name", move |_| {
            of(vec![replaced(TOPIC, "a/b", &[])])
        }),
        case("topic-no-name", move |_| of(vec![replaced(TOPIC, "", &[])])),
        case("nothing", move |_| of(vec![])),
        quiet("same-resource-twice", move |_| {
            let one = replaced(TOPIC, "present", &[("retention.ms", Some("-1"))]);
            of(vec![one.clone(), one]).with_validate_only(true)
        }),
        case("broker-default-validated", move |_| {
            broker("", &[("log.retention.ms", Some("1000000"))]).with_validate_only(true)
        }),
        case("broker-validated", move |_| {
            broker("0", &[("log.retention.ms", Some("1000000"))]).with_validate_only(true)
        }),
        case("broker-missing", move |_| {
            broker("77", &[("log.retention.ms", Some("1000000"))]).with_validate_only(true)
        }),
        case("broker-no-number", move |_| {
            broker("first", &[("log.retention.ms", Some("1"))]).with_validate_only(true)
        }),
        case("broker-read-only", move |_| {
            broker("", &[("num.partitions", Some("3"))]).with_validate_only(true)
        }),
        case("broker-bad-value", move |_| {
            broker("", &[("log.retention.ms", Some("week"))]).with_validate_only(true)
        }),
        case("logger", move |_| {
            of(vec![replaced(LOGGER, "0", &[("root", Some("INFO"))])])
        }),
        case("type-unknown", move |_| {
            of(vec![replaced(0, "present", &[])])
        }),
        case("type-none", move |_| of(vec![replaced(77, "present", &[])])),
        generated(6, move |ask| {
            let names = ask.random.among(&[
                "retention.ms",
                "cleanup.policy",
                "segment.bytes",
                "flush.ms",
                "nothing.like.it",
            ]);
            let values = ["1", "-1", "compact", "9999999999"];
            let pairs: Vec<(&str, Option<&str>)> = names
                .into_iter()
                .map(|name| (name, Some(ask.random.pick(&values))))
                .collect();
            let validate = ask.random.pick(&[true, false]);
            own(ask, &pairs).with_validate_only(validate)
        }),
    ]
}

type Changes<'a> = &'a [(&'a str, i8, Option<&'a str>)];

fn changed(kind: i8, name: &str, changes: Changes<'_>) -> change::AlterConfigsResource {
    let one = |(name, operation, value): &(&str, i8, Option<&str>)| {
        change::AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    };
    change::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(changes.iter().map(one).collect())
}

/// IncrementalAlterConfigs: single configs are set, removed, and lists changed.
pub(crate) fn incremental_alter_configs() -> Vec<Case> {
    let of = |resources| IncrementalAlterConfigsRequest::default().with_resources(resources);
    let mut cases = vec![
        case("nothing", move |_| of(vec![])),
        case("topic-missing", move |_| {
            of(vec![changed(
                TOPIC,
                "missing",
                &[("retention.ms", SET, Some("1"))],
            )])
        }),
        case("topic-bad-name", move |_| {
            of(vec![changed(
                TOPIC,
                "a/b",
                &[("retention.ms", SET, Some("1"))],
            )])
        }),
        case("topic-no-name", move |_| {
            of(vec![changed(
                TOPIC,
                "",
                &[("retention.ms", SET, Some("1"))],
            )])
        }),
        case("same-resource-twice", move |_| {
            let one = changed(TOPIC, "present", &[("retention.ms", SET, Some("-1"))]);
            of(vec![one.clone(), one]).with_validate_only(true)
        }),
        case("good-and-bad", move |ask| {
            let topic = ask.topic("changed", 1, &[]);
            of(vec![
                changed(TOPIC, &topic, &[("retention.ms", SET, Some("1"))]),
                changed(TOPIC, "missing", &[("retention.ms", SET, Some("1"))]),
                changed(TOPIC, "present", &[("retention.ms", SET, Some("week"))]),
            ])
        }),
        case("type-unknown", move |_| {
            of(vec![changed(0, "present", &[])])
        }),
        case("type-none", move |_| of(vec![changed(77, "present", &[])])),
        case("client-metrics-set", move |_| {
            of(vec![changed(
                CLIENT_METRICS,
                "some",
                &[("interval.ms", SET, Some("1000"))],
            )])
            .with_validate_only(true)
        }),
        case("client-metrics-unknown-config", move |_| {
            of(vec![changed(
                CLIENT_METRICS,
                "some",
                &[("x", SET, Some("1000"))],
            )])
        }),
        case("group-set", move |_| {
            let change = ("consumer.session.timeout.ms", SET, Some("45000"));
            of(vec![changed(GROUP, "some", &[change])]).with_validate_only(true)
        }),
        case("group-unknown-config", move |_| {
            of(vec![changed(GROUP, "some", &[("x", SET, Some("1000"))])])
        }),
        case("logger-set", move |_| {
            of(vec![changed(LOGGER, "0", &[("root", SET, Some("ERROR"))])])
        }),
        case("logger-unknown", move |_| {
            of(vec![changed(
                LOGGER,
                "0",
                &[("no.such.logger", SET, Some("ERROR"))],
            )])
        }),
        case("logger-bad-level", move |_| {
            of(vec![changed(LOGGER, "0", &[("root", SET, Some("LOUD"))])])
        }),
    ];
    let topic: [(&str, Changes<'static>); 19] = [
        ("set", &[("retention.ms", SET, Some("1"))]),
        ("set-null", &[("retention.ms", SET, None)]),
        ("set-empty", &[("retention.ms", SET, Some(""))]),
        ("set-bad", &[("retention.ms", SET, Some("week"))]),
        ("set-unknown", &[("nothing.like.it", SET, Some("1"))]),
        ("set-no-config-name", &[("", SET, Some("1"))]),
        (
            "set-twice",
            &[("flush.ms", SET, Some("1")), ("flush.ms", SET, Some("2"))],
        ),
        (
            "set-and-delete",
            &[("flush.ms", SET, Some("1")), ("flush.ms", DELETE, None)],
        ),
        ("nothing-in-topic", &[]),
        ("delete", &[("retention.ms", DELETE, None)]),
        ("delete-with-value", &[("retention.ms", DELETE, Some("1"))]),
        ("delete-not-set", &[("segment.ms", DELETE, None)]),
        ("delete-unknown", &[("nothing.like.it", DELETE, None)]),
        ("append", &[("cleanup.policy", APPEND, Some("compact"))]),
        ("append-same", &[("cleanup.policy", APPEND, Some("delete"))]),
        ("append-no-list", &[("retention.ms", APPEND, Some("1"))]),
        ("subtract", &[("cleanup.policy", SUBTRACT, Some("delete"))]),
        ("subtract-no-list", &[("retention.ms", SUBTRACT, Some("1"))]),
        ("operation-unknown", &[("retention.ms", 9, Some("1"))]),
    ];
    for (name, changes) in topic {
        cases.push(case(name, move |ask| {
            let topic = ask.topic("changed", 1, &[("retention.ms", "5000")]);
            of(vec![changed(TOPIC, &topic, changes)])
        }));
    }
    let broker: [(&str, &str, Changes<'static>); 9] = [
        (
            "broker-default-set",
            "",
            &[("log.retention.ms", SET, Some("1000000"))],
        ),
        (
            "broker-default-delete",
            "",
            &[("log.retention.ms", DELETE, None)],
        ),
        (
            "broker-default-bad",
            "",
            &[("log.retention.ms", SET, Some("week"))],
        ),
        (
            "broker-default-unknown",
            "",
            &[("nothing.like.it", SET, Some("1"))],
        ),
        (
            "broker-default-read-only",
            "",
            &[("num.partitions", SET, Some("3"))],
        ),
        (
            "broker-default-per-broker",
            "",
            &[("ssl.key.password", SET, Some("x"))],
        ),
        (
            "broker-set",
            "0",
            &[("log.retention.ms", SET, Some("1000000"))],
        ),
        (
            "broker-missing",
            "77",
            &[("log.retention.ms", SET, Some("1000000"))],
        ),
        (
            "broker-no-number",
            "first",
            &[("log.retention.ms", SET, Some("1"))],
        ),
    ];
    for (name, broker, changes) in broker {
        cases.push(case(name, move |_| {
            of(vec![changed(BROKER, broker, changes)]).with_validate_only(true)
        }));
    }
    cases.push(generated(10, move |ask| {
        let topic = ask.topic("mixed", 1, &[("retention.ms", "5000")]);
        let changes = ask.random.some(4, |random| {
            let name = random.pick(&[
                "retention.ms",
                "cleanup.policy",
                "segment.bytes",
                "compression.type",
                "flush.ms",
                "min.cleanable.dirty.ratio",
                "message.timestamp.type",
                "preallocate",
                "unclean.leader.election.enable",
                "follower.replication.throttled.replicas",
            ]);
            let operation = random.pick(&[SET, SET, SET, DELETE, APPEND, SUBTRACT]);
            let value = random.pick(&[
                Some("1"),
                Some("-1"),
                Some("0.5"),
                Some("true"),
                Some("compact"),
                Some("zstd"),
                Some("delete,compact"),
                Some("LogAppendTime"),
                Some("*"),
                Some("9999999999"),
                None,
            ]);
            (name, operation, value)
        });
        of(vec![changed(TOPIC, &topic, &changes)])
    }));
    cases
}

/// ListConfigResources by type.
pub(crate) fn list_config_resources() -> Vec<Case> {
    let types: [(&str, &'static [i8]); 8] = [
        ("all", &[]),
        ("topics", &[TOPIC]),
        ("brokers", &[BROKER]),
        ("loggers", &[LOGGER]),
        ("client-metrics", &[CLIENT_METRICS]),
        ("groups", &[GROUP]),
        ("twice", &[BROKER, BROKER]),
        ("type-none", &[77]),
    ];
    let of = |types: &[i8]| ListConfigResourcesRequest::default().with_resource_types(types.into());
    let mut cases = Vec::from(types.map(|(name, types)| case(name, move |_| of(types))));
    cases.push(generated(8, move |ask| {
        let all = [TOPIC, BROKER, LOGGER, CLIENT_METRICS, GROUP, 77];
        of(&ask.random.among(&all))
    }));
    cases
}
