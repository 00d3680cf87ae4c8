//! AlterConfigs and IncrementalAlterConfigs.

use std::sync::Arc;

use aquifer_format::ids::TopicId;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, alter_configs_request, incremental_alter_configs_request,
};

use super::{
    fixture::{Watcher, Writer, partition, plain, topic},
    kafka::{call, delete_topic, text},
};
use crate::{Metadata, commit::BatchOutcome, kafka::LeaderApi};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Name, operation and value of a config.
type Config<'a> = (&'a str, i8, Option<&'a str>);
/// Type and name of a resource, and what is altered.
type Change<'a> = (i8, &'a str, &'a [Config<'a>]);

/// The code of each resource.
async fn alter(metadata: &dyn Metadata, changes: &[Change<'_>], validate_only: bool) -> Vec<i16> {
    let resource = |(kind, name, configs): &Change<'_>| {
        let config = |(name, operation, value): &Config<'_>| {
            incremental_alter_configs_request::AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(*operation)
                .with_value(value.map(text))
        };
        incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(*kind)
            .with_resource_name(text(name))
            .with_configs(configs.iter().map(config).collect())
    };
    let request = IncrementalAlterConfigsRequest::default()
        .with_validate_only(validate_only)
        .with_resources(changes.iter().map(resource).collect());
    let response: IncrementalAlterConfigsResponse =
        call(metadata, LeaderApi::IncrementalAlterConfigs, &request).await;
    let named = response.responses.iter();
    let named = named.map(|r| (r.resource_type, r.resource_name.as_str()));
    assert!(
        named.eq(changes.iter().map(|(kind, name, _)| (*kind, *name))),
        "answers come in the order of the request: {response:?}"
    );
    response.responses.iter().map(|r| r.error_code).collect()
}

/// The code of the only resource.
async fn replace(metadata: &dyn Metadata, kind: i8, name: &str, configs: &[(&str, &str)]) -> i16 {
    let config = |(name, value): &(&str, &str)| {
        alter_configs_request::AlterableConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    };
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.iter().map(config).collect());
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let response: AlterConfigsResponse = call(metadata, LeaderApi::AlterConfigs, &request).await;
    assert_eq!(response.responses.len(), 1);
    response.responses[0].error_code
}

/// What a watcher sees of a topic's configs.
fn configs_of(watcher: &Watcher, topic: TopicId) -> Vec<(&str, &str)> {
    let configs = watcher.topics[&topic].configs.iter();
    configs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn broker_configs(watcher: &Watcher) -> Vec<(&str, &str)> {
    let configs = watcher.broker_configs.iter();
    configs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

pub(super) async fn configs_of_a_topic_are_altered_one_by_one(metadata: Arc<dyn Metadata>) {
    let orders = topic(&*metadata, "orders", 1, &[("retention.ms", "1000")]).await;
    let writer = Writer::new(&metadata).await;
    let mut watcher = Watcher::new(&writer).await;
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let steps: &[(&[Config<'_>], Pairs<'_>)] = &[
        (
            &[
                ("segment.ms", SET, Some("9")),
                ("cleanup.policy", APPEND, Some("compact")),
            ],
            &[
                ("cleanup.policy", "delete,compact"),
                ("retention.ms", "1000"),
                ("segment.ms", "9"),
            ],
        ),
        (
            &[
                ("segment.ms", DELETE, None),
                ("retention.ms", SET, Some("-1")),
                ("cleanup.policy", SUBTRACT, Some("delete")),
            ],
            &[("cleanup.policy", "compact"), ("retention.ms", "-1")],
        ),
        (
            &[
                ("cleanup.policy", DELETE, None),
                ("retention.ms", DELETE, None),
            ],
            &[],
        ),
        (&[], &[]),
    ];
    let mut before: &[(&str, &str)] = &[("retention.ms", "1000")];
    for (changes, after) in steps {
        let change = [(TOPIC, "orders", *changes)];
        assert_eq!(alter(&*metadata, &change, true).await, [0], "{changes:?}");
        watcher.catch_up(&*metadata).await;
        assert_eq!(
            configs_of(&watcher, orders),
            before,
            "validate_only altered something"
        );
        assert_eq!(alter(&*metadata, &change, false).await, [0], "{changes:?}");
        watcher.catch_up(&*metadata).await;
        assert_eq!(configs_of(&watcher, orders), *after, "{changes:?}");
        before = after;
    }
}

pub(super) async fn configs_of_a_topic_are_replaced(metadata: Arc<dyn Metadata>) {
    let configs = [("retention.ms", "1000"), ("segment.ms", "9")];
    let orders = topic(&*metadata, "orders", 1, &configs).await;
    let writer = Writer::new(&metadata).await;
    let mut watcher = Watcher::new(&writer).await;
    for configs in [&[("flush.ms", "5")][..], &[]] {
        assert_eq!(replace(&*metadata, TOPIC, "orders", configs).await, 0);
        watcher.catch_up(&*metadata).await;
        assert_eq!(configs_of(&watcher, orders), configs);
    }
}

pub(super) async fn mistakes_leave_configs_as_they_are(metadata: Arc<dyn Metadata>) {
    let orders = topic(&*metadata, "orders", 1, &[]).await;
    let writer = Writer::new(&metadata).await;
    let mut watcher = Watcher::new(&writer).await;
    let cases: &[(Change<'_>, i16)] = &[
        ((TOPIC, "orders", &[("nothing", SET, Some("1"))]), 40),
        (
            (TOPIC, "orders", &[("retention.ms", SET, Some("soon"))]),
            40,
        ),
        (
            (
                TOPIC,
                "orders",
                &[
                    ("segment.ms", SET, Some("9")),
                    ("retention.ms", SET, Some("soon")),
                ],
            ),
            40,
        ),
        (
            (TOPIC, "orders", &[("retention.ms", APPEND, Some("1"))]),
            40,
        ),
        ((TOPIC, "orders", &[("retention.ms", SET, None)]), 42),
        (
            (
                TOPIC,
                "orders",
                &[("segment.ms", SET, Some("9")), ("segment.ms", DELETE, None)],
            ),
            42,
        ),
        (
            (
                TOPIC,
                "orders",
                &[
                    ("min.compaction.lag.ms", SET, Some("9")),
                    ("max.compaction.lag.ms", SET, Some("5")),
                ],
            ),
            40,
        ),
        ((TOPIC, "nothing", &[("segment.ms", SET, Some("9"))]), 3),
        ((TOPIC, "no/slashes", &[("segment.ms", SET, Some("9"))]), 17),
        ((TOPIC, "", &[("segment.ms", SET, Some("9"))]), 42),
        ((BROKER, "", &[("num.partitions", SET, Some("9"))]), 42),
        ((BROKER, "", &[("log.retention.ms", SET, Some("soon"))]), 42),
        ((BROKER, "", &[("nothing", SET, Some("1"))]), 40),
        ((BROKER, "1", &[("log.retention.ms", SET, Some("9"))]), 42),
        ((99, "orders", &[]), 42),
    ];
    for (change, code) in cases {
        let codes = alter(&*metadata, std::slice::from_ref(change), false).await;
        assert_eq!(codes, [*code], "{change:?}");
    }
    let nine: &[Config<'_>] = &[("segment.ms", SET, Some("9"))];
    let none: &[Config<'_>] = &[];
    let twice = [
        (TOPIC, "orders", nine),
        (BROKER, "", none),
        (TOPIC, "orders", none),
    ];
    assert_eq!(alter(&*metadata, &twice, false).await, [42, 0, 42]);
    assert_eq!(replace(&*metadata, TOPIC, "nothing", &[]).await, 3);
    assert_eq!(
        replace(&*metadata, BROKER, "", &[("node.id", "1")]).await,
        42
    );
    watcher.catch_up(&*metadata).await;
    assert!(configs_of(&watcher, orders).is_empty());
    assert!(broker_configs(&watcher).is_empty());
}

pub(super) async fn broker_configs_reach_watchers(metadata: Arc<dyn Metadata>) {
    let writer = Writer::new(&metadata).await;
    let mut watcher = Watcher::new(&writer).await;
    assert!(broker_configs(&watcher).is_empty());
    let set: &[Config<'_>] = &[
        ("log.retention.ms", SET, Some("1000")),
        ("log.cleanup.policy", APPEND, Some("compact")),
    ];
    let expected = [
        ("log.cleanup.policy", "delete,compact"),
        ("log.retention.ms", "1000"),
    ];
    assert_eq!(alter(&*metadata, &[(BROKER, "", set)], true).await, [0]);
    watcher.catch_up(&*metadata).await;
    assert!(broker_configs(&watcher).is_empty());
    assert_eq!(alter(&*metadata, &[(BROKER, "", set)], false).await, [0]);
    watcher.catch_up(&*metadata).await;
    assert_eq!(broker_configs(&watcher), expected);
    let late = Watcher::new(&writer).await;
    assert_eq!(broker_configs(&late), expected);
    let unset: &[Config<'_>] = &[("log.cleanup.policy", DELETE, None)];
    assert_eq!(alter(&*metadata, &[(BROKER, "", unset)], false).await, [0]);
    watcher.catch_up(&*metadata).await;
    assert_eq!(broker_configs(&watcher), [("log.retention.ms", "1000")]);
    assert_eq!(replace(&*metadata, BROKER, "", &[]).await, 0);
    watcher.catch_up(&*metadata).await;
    assert!(broker_configs(&watcher).is_empty());
}

pub(super) async fn timestamp_types_hold_from_their_alteration_on(metadata: Arc<dyn Metadata>) {
    let orders = topic(&*metadata, "orders", 1, &[]).await;
    let to = partition(orders, 0);
    let mut writer = Writer::new(&metadata).await;
    let of_topic = "message.timestamp.type";
    let of_brokers = "log.message.timestamp.type";
    let steps: &[(i8, &str, &str, i8, &str, bool)] = &[
        (TOPIC, "orders", of_topic, SET, "LogAppendTime", true),
        (TOPIC, "orders", of_topic, DELETE, "", false),
        (BROKER, "", of_brokers, SET, "LogAppendTime", true),
        (TOPIC, "orders", of_topic, SET, "CreateTime", false),
        (TOPIC, "orders", of_topic, DELETE, "", true),
        (BROKER, "", of_brokers, DELETE, "", false),
    ];
    for (kind, name, config, operation, value, append_time) in steps {
        let change: &[Config<'_>] = &[(config, *operation, Some(value))];
        assert_eq!(
            alter(&*metadata, &[(*kind, name, change)], false).await,
            [0]
        );
        let outcome = writer.one(to, plain(1, 1)).await;
        let BatchOutcome::Appended(placement) = outcome else {
            panic!("not appended: {outcome:?}");
        };
        let is_set = placement.log_append_time.is_some();
        assert_eq!(
            is_set, *append_time,
            "{name:?} {config} {operation} {value}"
        );
    }
}

pub(super) async fn protected_topics_are_not_deleted(metadata: Arc<dyn Metadata>) {
    let protection = "aquifer.deletion.protection";
    let orders = topic(&*metadata, "orders", 1, &[(protection, "true")]).await;
    let writer = Writer::new(&metadata).await;
    let mut watcher = Watcher::new(&writer).await;
    assert_eq!(delete_topic(&*metadata, "orders").await, 44);
    watcher.catch_up(&*metadata).await;
    assert!(watcher.topics.contains_key(&orders));
    let change: &[Config<'_>] = &[(protection, SET, Some("false"))];
    assert_eq!(
        alter(&*metadata, &[(TOPIC, "orders", change)], false).await,
        [0]
    );
    assert_eq!(delete_topic(&*metadata, "orders").await, 0);
}
