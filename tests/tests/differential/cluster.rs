//! The cluster: ApiVersions, DescribeCluster, DescribeQuorum, UpdateFeatures, FindCoordinator, DescribeLogDirs.

use aquifer_tests::wire::api_versions as asking;
use kafka_protocol::messages::{
    ApiVersionsRequest, DescribeClusterRequest, DescribeLogDirsRequest, DescribeQuorumRequest,
    FindCoordinatorRequest, UpdateFeaturesRequest,
    describe_log_dirs_request::DescribableLogDirTopic,
    describe_quorum_request::{PartitionData, TopicData},
    update_features_request::FeatureUpdateKey,
};

use crate::case::{Ask, Case, case, generated, name, text};

/// ApiVersions with names of clients.
pub(crate) fn api_versions() -> Vec<Case> {
    let named = |software: &str, version: &str| {
        ApiVersionsRequest::default()
            .with_client_software_name(text(software))
            .with_client_software_version(text(version))
    };
    vec![
        case("plain", |ask| {
            if ask.version < 3 {
                ApiVersionsRequest::default()
            } else {
                asking()
            }
        }),
        case("no-name", move |_| named("", "1")),
        case("no-version", move |_| named("tests", "")),
        case("bad-name", move |_| named("te sts", "1")),
        case("bad-version", move |_| named("tests", "1 0")),
        case("ends-with-a-dash", move |_| named("tests-", "1.")),
        generated(6, move |ask| {
            let software = ask
                .random
                .pick(&["tests", "a.b-c", "-a", "te sts", "ü", ""]);
            named(software, ask.random.pick(&["1", "4.2.0", ".1", "1 0", ""]))
        }),
    ]
}

/// DescribeCluster of brokers and controllers.
pub(crate) fn describe_cluster() -> Vec<Case> {
    let plain = DescribeClusterRequest::default;
    vec![
        case("plain", move |_| plain()),
        case("operations", move |_| {
            plain().with_include_cluster_authorized_operations(true)
        }),
        case("controllers", move |_| plain().with_endpoint_type(2)),
        case("endpoint-type-0", move |_| plain().with_endpoint_type(0)),
        case("endpoint-type-3", move |_| plain().with_endpoint_type(3)),
        case("fenced", move |_| plain().with_include_fenced_brokers(true)),
        generated(4, move |ask| {
            let operations = ask.random.pick(&[false, true]);
            let kind = ask.random.pick(&[0, 1, 2, 3]);
            let request = plain().with_include_cluster_authorized_operations(operations);
            if ask.version < 1 {
                return request;
            }
            request.with_endpoint_type(kind)
        }),
    ]
}

/// DescribeQuorum of the partition that it is about, and of others.
pub(crate) fn describe_quorum() -> Vec<Case> {
    let of = |topics: &[(&str, &[i32])]| {
        let one = |(topic, partitions): &(&str, &[i32])| {
            let partitions = partitions
                .iter()
                .map(|&p| PartitionData::default().with_partition_index(p));
            TopicData::default()
                .with_topic_name(name(topic))
                .with_partitions(partitions.collect())
        };
        DescribeQuorumRequest::default().with_topics(topics.iter().map(one).collect())
    };
    vec![
        case("metadata", move |_| of(&[("__cluster_metadata", &[0])])),
        case("nothing", move |_| of(&[])),
        case("other-topic", move |_| of(&[("present", &[0])])),
        case("other-partition", move |_| {
            of(&[("__cluster_metadata", &[1])])
        }),
        case("twice", move |_| of(&[("__cluster_metadata", &[0, 0])])),
        case("with-others", move |_| {
            of(&[("__cluster_metadata", &[0]), ("present", &[0])])
        }),
        case("no-partition", move |_| of(&[("__cluster_metadata", &[])])),
        generated(6, move |ask| {
            let topics = ask.random.some(2, |random| {
                let topic = random.pick(&["__cluster_metadata", "present", "missing"]);
                (topic, random.pick(&[&[0][..], &[0, 1], &[1], &[-1]]))
            });
            of(&topics)
        }),
    ]
}

/// UpdateFeatures, checked only: what they are about differs.
pub(crate) fn update_features() -> Vec<Case> {
    let update = |ask: &Ask<'_>, feature: &str, level: i16, upgrade: i8| {
        let key = FeatureUpdateKey::default()
            .with_feature(text(feature))
            .with_max_version_level(level);
        if ask.version < 1 {
            key.with_allow_downgrade(upgrade != 1)
        } else {
            key.with_upgrade_type(upgrade)
        }
    };
    let of = |ask: &Ask<'_>, updates: Vec<FeatureUpdateKey>| {
        let request = UpdateFeaturesRequest::default()
            .with_timeout_ms(10_000)
            .with_feature_updates(updates);
        if ask.version < 1 {
            request
        } else {
            request.with_validate_only(true)
        }
    };
    let one = move |ask: &Ask<'_>, feature: &str, level, upgrade| {
        let update = update(ask, feature, level, upgrade);
        of(ask, vec![update])
    };
    vec![
        case("nothing", move |ask| of(ask, vec![])),
        case("unknown", move |ask| one(ask, "nothing.like.it", 1, 1)),
        case("no-name", move |ask| one(ask, "", 1, 1)),
        case("level-0", move |ask| one(ask, "nothing.like.it", 0, 1)),
        case("level-below-0", move |ask| {
            one(ask, "nothing.like.it", -1, 1)
        }),
        case("upgrade-type-unknown", move |ask| {
            one(ask, "group.version", 1, 9)
        }),
        case("same-level", move |ask| one(ask, "group.version", 1, 1)),
        case("too-high", move |ask| one(ask, "group.version", 99, 1)),
        case("twice", move |ask| {
            let one = update(ask, "group.version", 1, 1);
            of(ask, vec![one.clone(), one])
        }),
        case("good-and-bad", move |ask| {
            let updates = vec![
                update(ask, "group.version", 1, 1),
                update(ask, "nothing.like.it", 1, 1),
            ];
            of(ask, updates)
        }),
        generated(4, move |ask| {
            let mut updates = Vec::new();
            for feature in ask.random.among(&["nothing.like.it", "", "ü"]) {
                let level = ask.random.pick(&[1, 99]);
                updates.push(update(ask, feature, level, 1));
            }
            of(ask, updates)
        }),
    ]
}

/// FindCoordinator of groups, transactional ids and what else there is.
pub(crate) fn find_coordinator() -> Vec<Case> {
    let of = |ask: &Ask<'_>, keys: &[&str], kind| {
        let request = FindCoordinatorRequest::default();
        let request = if ask.version < 1 && kind == 0 {
            request
        } else {
            request.with_key_type(kind)
        };
        if ask.version < 4 {
            return request.with_key(text(keys.first().copied().unwrap_or_default()));
        }
        request.with_coordinator_keys(keys.iter().map(|key| text(key)).collect())
    };
    vec![
        case("group", move |ask| of(ask, &["some"], 0)),
        case("group-no-name", move |ask| of(ask, &[""], 0)),
        case("transaction", move |ask| of(ask, &["some"], 1)),
        case("transaction-no-name", move |ask| of(ask, &[""], 1)),
        case("share", move |ask| of(ask, &["some"], 2)),
        case("share-key", move |ask| {
            of(ask, &["g:AAAAAAAAAAAAAAAAAAAAAQ:0"], 2)
        }),
        case("type-unknown", move |ask| of(ask, &["some"], 9)),
        case("type-below-0", move |ask| of(ask, &["some"], -1)),
        case("several", move |ask| of(ask, &["a", "b", "a", ""], 0)),
        case("nothing", move |ask| of(ask, &[], 0)),
        generated(8, move |ask| {
            let keys = ask.random.among(&["a", "b", "", "a b"]);
            let kind = if ask.version < 1 {
                0
            } else {
                ask.random.pick(&[0, 1])
            };
            of(ask, &keys, kind)
        }),
    ]
}

/// DescribeLogDirs of all topics and some.
pub(crate) fn describe_log_dirs() -> Vec<Case> {
    let of = |topics: &[(&str, &[i32])]| {
        let one = |(topic, partitions): &(&str, &[i32])| {
            DescribableLogDirTopic::default()
                .with_topic(name(topic))
                .with_partitions(partitions.to_vec())
        };
        let topics = topics.iter().map(one).collect();
        DescribeLogDirsRequest::default().with_topics(Some(topics))
    };
    vec![
        case("all", |_| {
            DescribeLogDirsRequest::default().with_topics(None)
        }),
        case("some", move |_| of(&[("present", &[0, 2])])),
        case("missing", move |_| {
            of(&[("missing", &[0]), ("present", &[9, -1])])
        }),
        case("no-partition", move |_| of(&[("present", &[])])),
        case("twice", move |_| {
            of(&[("present", &[0, 0]), ("present", &[0])])
        }),
        case("nothing", move |_| of(&[])),
        generated(5, move |ask| {
            let topics = ask.random.some(3, |random| {
                let topic = random.pick(&["present", "compacted", "missing"]);
                (topic, random.some(2, |random| random.pick(&[0, 1, 7])))
            });
            let topics: Vec<_> = topics
                .iter()
                .map(|(topic, p)| (*topic, p.as_slice()))
                .collect();
            of(&topics)
        }),
    ]
}
