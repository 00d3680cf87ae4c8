//! Topics: Metadata, DescribeTopicPartitions, CreateTopics, CreatePartitions, DeleteTopics.

use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeTopicPartitionsRequest, MetadataRequest,
    create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic},
    create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig},
    delete_topics_request::DeleteTopicState,
    describe_topic_partitions_request::{Cursor, TopicRequest},
    metadata_request::MetadataRequestTopic,
};

use crate::case::{Ask, Case, case, generated, name, text};

/// Names that are no topic's.
pub(crate) const WRONG_NAMES: [&str; 6] = ["missing", "", ".", "..", "a/b", "ü"];
/// Names of topics and others.
pub(crate) const NAMES: [&str; 8] = [
    "present",
    "compacted",
    "empty",
    "missing",
    "a/b",
    "",
    "present",
    "small",
];

fn long_name() -> String {
    "n".repeat(250)
}

/// Metadata of topics that exist, and of some that don't and are not to be created.
pub(crate) fn metadata() -> Vec<Case> {
    let by_name = |ask: &str| MetadataRequestTopic::default().with_name(Some(name(ask)));
    let named = move |names: &[&str]| {
        MetadataRequest::default().with_topics(Some(names.iter().map(|n| by_name(n)).collect()))
    };
    vec![
        case("one", move |_| named(&["present"])),
        case("all", |_| MetadataRequest::default().with_topics(None)),
        case("none", |_| {
            MetadataRequest::default().with_topics(Some(vec![]))
        }),
        case("twice", move |_| named(&["present", "present"])),
        case("internal", move |_| {
            named(&["__consumer_offsets"]).with_allow_auto_topic_creation(false)
        }),
        case("missing", move |_| {
            named(&["missing", "present"]).with_allow_auto_topic_creation(false)
        }),
        case("bad-names", move |_| {
            named(&["", ".", "a/b"]).with_allow_auto_topic_creation(false)
        }),
        case("long-name", move |_| {
            named(&[&long_name()]).with_allow_auto_topic_creation(false)
        }),
        case("operations", move |_| {
            named(&["present"]).with_include_topic_authorized_operations(true)
        }),
        case("cluster-operations", move |_| {
            named(&["present"]).with_include_cluster_authorized_operations(true)
        }),
        case("by-id", |ask| {
            let topic = MetadataRequestTopic::default()
                .with_topic_id(ask.id("present"))
                .with_name(None);
            MetadataRequest::default().with_topics(Some(vec![topic]))
        }),
        case("by-unknown-id", |ask| {
            let topic = MetadataRequestTopic::default()
                .with_topic_id(ask.id("unknown"))
                .with_name(None);
            MetadataRequest::default().with_topics(Some(vec![topic]))
        }),
        case("by-id-and-name", |ask| {
            let topic = MetadataRequestTopic::default()
                .with_topic_id(ask.id("present"))
                .with_name(Some(name("present")));
            MetadataRequest::default().with_topics(Some(vec![topic]))
        }),
        case("by-neither", |_| {
            let topic = MetadataRequestTopic::default().with_name(None);
            MetadataRequest::default().with_topics(Some(vec![topic]))
        }),
        generated(20, |ask| {
            let topics = ask.random.some(5, |random| {
                MetadataRequestTopic::default().with_name(Some(name(random.pick(&NAMES))))
            });
            let request = MetadataRequest::default()
                .with_topics(Some(topics))
                .with_allow_auto_topic_creation(false);
            let operations = ask.version >= 8 && ask.random.pick(&[false, true]);
            request.with_include_topic_authorized_operations(operations)
        }),
    ]
}

/// Metadata of topics that it creates.
pub(crate) fn created_by_metadata() -> Vec<Case> {
    let request = |names: &[&str]| {
        let topics = names
            .iter()
            .map(|n| MetadataRequestTopic::default().with_name(Some(name(n))));
        MetadataRequest::default().with_topics(Some(topics.collect()))
    };
    vec![
        case("created", move |ask| request(&[&ask.fresh("automatic")])),
        case("created-beside-others", move |ask| {
            request(&[&ask.fresh("automatic-too"), "present"])
        }),
        case("not-created-bad-name", move |_| request(&["a b"])),
    ]
}

/// DescribeTopicPartitions with limits and cursors.
pub(crate) fn describe_topic_partitions() -> Vec<Case> {
    let request = |names: &[&str]| {
        let topics = names
            .iter()
            .map(|n| TopicRequest::default().with_name(name(n)));
        DescribeTopicPartitionsRequest::default().with_topics(topics.collect())
    };
    let cursor = |topic: &str, partition| {
        let cursor = Cursor::default().with_topic_name(name(topic));
        Some(cursor.with_partition_index(partition))
    };
    vec![
        case("one", move |_| request(&["present"])),
        case("all", move |_| request(&[])),
        case("twice", move |_| {
            request(&["present", "present", "compacted"])
        }),
        case("missing", move |_| request(&["missing", "present"])),
        case("bad-name", move |_| request(&["a/b", "present"])),
        case("no-name", move |_| request(&["", "present"])),
        case("limit-1", move |_| {
            request(&["compacted", "present"]).with_response_partition_limit(1)
        }),
        case("limit-2", move |_| {
            request(&["compacted", "present"]).with_response_partition_limit(2)
        }),
        case("limit-0", move |_| {
            request(&["present"]).with_response_partition_limit(0)
        }),
        case("limit-below-0", move |_| {
            request(&["present"]).with_response_partition_limit(-5)
        }),
        case("cursor", move |_| {
            request(&["compacted", "present"]).with_cursor(cursor("present", 1))
        }),
        case("cursor-past-the-end", move |_| {
            request(&["compacted", "present"]).with_cursor(cursor("present", 9))
        }),
        case("cursor-below-0", move |_| {
            request(&["present"]).with_cursor(cursor("present", -1))
        }),
        case("cursor-of-another-topic", move |_| {
            request(&["compacted", "present"]).with_cursor(cursor("empty", 0))
        }),
        case("cursor-of-no-topic", move |_| {
            request(&["compacted", "present"]).with_cursor(cursor("missing", 0))
        }),
        generated(30, move |ask| {
            let names = ask
                .random
                .among(&["present", "compacted", "empty", "missing", "small"]);
            let limit = ask.random.pick(&[1, 2, 3, 4, 2000]);
            let start = ask.random.pick(&[None, Some("compacted"), Some("present")]);
            let partition = ask.random.pick(&[0, 1, 2, 3]);
            let request = request(&names).with_response_partition_limit(limit);
            request.with_cursor(start.and_then(|topic| cursor(topic, partition)))
        }),
    ]
}

/// Partitions and the brokers that they are to be on.
type Assignments<'a> = &'a [(i32, &'a [i32])];
/// Names and values.
type Configs<'a> = &'a [(&'a str, Option<&'a str>)];

fn topic(named: &str) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(name(named))
        .with_num_partitions(1)
        .with_replication_factor(-1)
}

fn config(named: &str, value: Option<&str>) -> CreatableTopicConfig {
    CreatableTopicConfig::default()
        .with_name(text(named))
        .with_value(value.map(text))
}

fn creating(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(10_000)
}

/// CreateTopics: names, counts, factors, assignments, configs.
pub(crate) fn create_topics() -> Vec<Case> {
    let own = |ask: &Ask<'_>| topic(&ask.fresh("new"));
    let assigned = |pairs: Assignments<'_>| -> Vec<CreatableReplicaAssignment> {
        let one = |(partition, brokers): &(i32, &[i32])| {
            CreatableReplicaAssignment::default()
                .with_partition_index(*partition)
                .with_broker_ids(brokers.iter().map(|&b| b.into()).collect())
        };
        pairs.iter().map(one).collect()
    };
    let with = move |ask: &Ask<'_>, partitions, factor| {
        creating(vec![
            own(ask)
                .with_num_partitions(partitions)
                .with_replication_factor(factor),
        ])
    };
    let configured = move |ask: &Ask<'_>, configs: Configs<'_>| {
        let configs = configs.iter().map(|(n, v)| config(n, *v)).collect();
        creating(vec![own(ask).with_configs(configs)])
    };
    let assigning = move |ask: &Ask<'_>, pairs: Assignments<'_>| {
        let topic = own(ask)
            .with_num_partitions(-1)
            .with_assignments(assigned(pairs));
        creating(vec![topic])
    };
    let mut cases = vec![
        case("plain", move |ask| creating(vec![own(ask)])),
        case("nothing", |_| creating(vec![])),
        case("exists", |_| creating(vec![topic("present")])),
        case("validated-only", move |ask| {
            creating(vec![own(ask)]).with_validate_only(true)
        }),
        case("validated-exists", |_| {
            creating(vec![topic("present")]).with_validate_only(true)
        }),
        case("twice", |ask| {
            let named = ask.fresh("twice");
            creating(vec![topic(&named), topic(&named)])
        }),
        case("wrong-names", |_| {
            creating(WRONG_NAMES[1..].iter().map(|n| topic(n)).collect())
        }),
        case("long-name", |_| creating(vec![topic(&long_name())])),
        case("internal-name", |_| {
            creating(vec![topic("__consumer_offsets")])
        }),
        case("colliding-name", |ask| {
            let _ = ask.topic("dot.ted", 1, &[]);
            creating(vec![topic(&ask.fresh("dot_ted"))])
        }),
        case("default-partitions", move |ask| with(ask, -1, -1)),
        case("no-partition", move |ask| with(ask, 0, 1)),
        case("partitions-below-0", move |ask| with(ask, -2, 1)),
        case("too-many-partitions", move |ask| with(ask, 10_001, 1)),
        case("one-replica", move |ask| with(ask, 2, 1)),
        case("no-replica", move |ask| with(ask, 1, 0)),
        case("replicas-below-0", move |ask| with(ask, 1, -2)),
        case("three-replicas", move |ask| with(ask, 1, 3)),
        case("assigned-with-factor", move |ask| {
            let assignments = assigned(&[(0, &[0])]);
            creating(vec![own(ask).with_assignments(assignments)])
        }),
    ];
    let assignments: [(&str, Assignments<'static>); 7] = [
        ("assigned", &[(0, &[0]), (1, &[0])]),
        ("assigned-nowhere", &[(0, &[])]),
        ("assigned-twice-there", &[(0, &[0, 0])]),
        ("assigned-to-nobody", &[(0, &[99])]),
        ("assigned-with-a-gap", &[(0, &[0]), (2, &[0])]),
        ("assigned-twice", &[(0, &[0]), (0, &[0])]),
        ("assigned-unevenly", &[(0, &[0]), (1, &[0, 99])]),
    ];
    for (named, pairs) in assignments {
        cases.push(case(named, move |ask| assigning(ask, pairs)));
    }
    let configs: [(&str, Configs<'static>); 9] = [
        (
            "configured",
            &[
                ("retention.ms", Some("1000")),
                ("cleanup.policy", Some("compact")),
            ],
        ),
        ("config-unknown", &[("nothing.like.it", Some("1"))]),
        ("config-null", &[("retention.ms", None)]),
        ("config-empty", &[("retention.ms", Some(""))]),
        ("config-not-a-number", &[("retention.ms", Some("week"))]),
        ("config-too-small", &[("retention.ms", Some("-2"))]),
        ("config-no-choice", &[("cleanup.policy", Some("keep"))]),
        (
            "config-twice",
            &[("retention.ms", Some("1")), ("retention.ms", Some("2"))],
        ),
        ("config-remote", &[("remote.storage.enable", Some("true"))]),
    ];
    for (named, configs) in configs {
        cases.push(case(named, move |ask| configured(ask, configs)));
    }
    cases.push(generated(8, |ask| {
        let names = [
            ask.fresh("a"),
            ask.fresh("b"),
            "present".to_owned(),
            "a b".to_owned(),
        ];
        let topics = ask.random.some(4, |random| {
            topic(&names[random.pick(&[0, 1, 2, 3])])
                .with_num_partitions(random.pick(&[-1, 0, 1, 3]))
                .with_replication_factor(random.pick(&[-1, 0, 1]))
                .with_configs(random.some(2, |random| {
                    let name = random.pick(&["segment.bytes", "flush.ms", "min.insync.replicas"]);
                    config(name, Some(random.pick(&["1", "-1", "100000000", "x"])))
                }))
        });
        let validate = ask.random.pick(&[true, false]);
        creating(topics).with_validate_only(validate)
    }));
    cases
}

fn growing(topics: Vec<CreatePartitionsTopic>) -> CreatePartitionsRequest {
    CreatePartitionsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(10_000)
}

fn to(named: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic::default()
        .with_name(name(named))
        .with_count(count)
        .with_assignments(None)
}

/// CreatePartitions: counts and assignments.
pub(crate) fn create_partitions() -> Vec<Case> {
    let assigned = |ask: &mut Ask<'_>, brokers: &[&[i32]]| {
        let one = |brokers: &&[i32]| {
            let ids = brokers.iter().map(|&b| b.into()).collect();
            CreatePartitionsAssignment::default().with_broker_ids(ids)
        };
        let topic = to(&ask.topic("grown", 1, &[]), 3);
        growing(vec![
            topic.with_assignments(Some(brokers.iter().map(one).collect())),
        ])
    };
    vec![
        case("more", |ask| {
            growing(vec![to(&ask.topic("grown", 1, &[]), 3)])
        }),
        case("nothing", |_| growing(vec![])),
        case("missing", |_| growing(vec![to("missing", 3)])),
        case("wrong-names", |_| {
            growing(WRONG_NAMES.iter().map(|n| to(n, 3)).collect())
        }),
        case("same", |_| growing(vec![to("present", 3)])),
        case("fewer", |_| growing(vec![to("present", 2)])),
        case("none", |_| growing(vec![to("present", 0)])),
        case("below-0", |_| growing(vec![to("present", -1)])),
        case("too-many", |_| {
            growing(vec![to("present", 20_000)]).with_validate_only(true)
        }),
        case("twice", |ask| {
            let topic = ask.topic("grown", 1, &[]);
            growing(vec![to(&topic, 9), to(&topic, 9)])
        }),
        case("internal", |_| growing(vec![to("__consumer_offsets", 0)])),
        case("validated-only", |_| {
            growing(vec![to("present", 9)]).with_validate_only(true)
        }),
        case("assigned", move |ask| assigned(ask, &[&[0], &[0]])),
        case("assigned-too-few", move |ask| assigned(ask, &[&[0]])),
        case("assigned-too-many", move |ask| {
            assigned(ask, &[&[0], &[0], &[0]])
        }),
        case("assigned-nowhere", move |ask| assigned(ask, &[&[], &[]])),
        case("assigned-to-nobody", move |ask| {
            assigned(ask, &[&[99], &[0]])
        }),
        case("assigned-unevenly", move |ask| {
            assigned(ask, &[&[0], &[0, 0]])
        }),
        generated(10, |ask| {
            let topics = ask.random.some(3, |random| {
                to(random.pick(&NAMES), random.pick(&[-1, 0, 1, 2, 3, 4]))
            });
            growing(topics).with_validate_only(true)
        }),
    ]
}

/// DeleteTopics by name and, since version 6, by id.
pub(crate) fn delete_topics() -> Vec<Case> {
    let named = |ask: &Ask<'_>, names: &[&str]| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
        if ask.version < 6 {
            return request.with_topic_names(names.iter().map(|n| name(n)).collect());
        }
        let one = |n: &&str| DeleteTopicState::default().with_name(Some(name(n)));
        request.with_topics(names.iter().map(one).collect())
    };
    let by = |id, named: Option<&str>| {
        let one = DeleteTopicState::default().with_topic_id(id);
        DeleteTopicsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(vec![one.with_name(named.map(name))])
    };
    vec![
        case("existing", move |ask| {
            let topic = ask.topic("doomed", 2, &[]);
            named(ask, &[&topic])
        }),
        case("nothing", move |ask| named(ask, &[])),
        case("wrong-names", move |ask| named(ask, &WRONG_NAMES)),
        case("long-name", move |ask| named(ask, &[&long_name()])),
        case("twice", move |ask| {
            let topic = ask.topic("doomed", 1, &[]);
            named(ask, &[&topic, &topic])
        }),
        case("some-missing", move |ask| {
            let topic = ask.topic("doomed", 1, &[]);
            named(ask, &["missing", &topic])
        }),
        case("by-id", move |ask| {
            let topic = ask.topic("doomed", 1, &[]);
            let metadata = ask.side.connection.topic_metadata(&topic);
            by(metadata.topics[0].topic_id, None)
        }),
        case("by-unknown-id", move |ask| by(ask.id("unknown"), None)),
        case("by-id-and-name", move |ask| {
            by(ask.id("present"), Some("present"))
        }),
        case("by-neither", move |ask| by(ask.id("nil"), None)),
        generated(3, move |ask| {
            let doomed = ask.topic("doomed", 1, &[]);
            let chosen = ask
                .random
                .among(&["present-not", "a/b", "", "..", "missing", "ü"]);
            let names: Vec<&str> = chosen.into_iter().chain([doomed.as_str()]).collect();
            named(ask, &names)
        }),
    ]
}
