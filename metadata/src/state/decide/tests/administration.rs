//! CreateTopics, DeleteTopics, InitProducerId.

use aquifer_format::ids::{LeaderEpoch, TopicId};
use kafka_protocol::{
    messages::{
        BrokerId, InitProducerIdRequest, ProducerId, TransactionalId,
        create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest},
        create_topics_response::CreatableTopicResult,
        delete_topics_request::{DeleteTopicState, DeleteTopicsRequest},
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use crate::state::{
    Budgets,
    budget::PARTITION_BYTES,
    decide,
    tests::world::{Log, World, batch, create_request, delete_request, plain, topic_name},
};

const INVALID_TOPIC: i16 = 17;
const EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICATION: i16 = 38;
const INVALID_ASSIGNMENT: i16 = 39;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const POLICY: i16 = 44;

fn answers(world: &mut World, request: &CreateTopicsRequest) -> Vec<CreatableTopicResult> {
    let decided = decide::create_topics(&world.state, &world.rand, request);
    world.decided(decided).0.topics
}

fn one(world: &mut World, request: &CreateTopicsRequest) -> (i16, String) {
    let answer = answers(world, request).remove(0);
    let text = answer
        .error_message
        .map_or_else(String::new, |text| text.to_string());
    (answer.error_code, text)
}

#[test]
fn names_are_checked_as_in_kafka() {
    let long = "n".repeat(250);
    let cases = [
        ("", "Topic name is invalid: the empty string is not allowed"),
        (".", "Topic name is invalid: '.' is not allowed"),
        ("..", "Topic name is invalid: '..' is not allowed"),
        (
            "a b",
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        (
            "ä",
            "Topic name is invalid: 'ä' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        (long.as_str(), "is longer than the max allowed length 249"),
    ];
    let mut world = World::new();
    for (name, text) in cases {
        let (code, message) = one(&mut world, &create_request(name, 1, &[]));
        assert_eq!(code, INVALID_TOPIC, "{name}");
        assert!(message.contains(text), "{message}");
    }
    for name in ["a", "...", "A-z_0.9", &"n".repeat(249)] {
        assert_eq!(
            one(&mut world, &create_request(name, 1, &[])).0,
            0,
            "{name}"
        );
    }
}

#[test]
fn names_that_collide_in_metrics_are_refused() {
    let mut world = World::new();
    world.create("a.b_c", 1);
    let (code, text) = one(&mut world, &create_request("a_b.c", 1, &[]));
    assert_eq!(code, INVALID_TOPIC);
    assert_eq!(text, "Topic 'a_b.c' collides with existing topic: a.b_c");
    let (code, text) = one(&mut world, &create_request("a.b_c", 1, &[]));
    assert_eq!(
        (code, text.as_str()),
        (EXISTS, "Topic 'a.b_c' already exists.")
    );
    assert_eq!(one(&mut world, &create_request("a-b_c", 1, &[])).0, 0);
    world.delete("a.b_c");
    assert_eq!(one(&mut world, &create_request("a_b.c", 1, &[])).0, 0);
}

#[test]
fn partitions_and_replicas_are_checked() {
    let mut world = World::new();
    let cases = [
        (0, -1, INVALID_PARTITIONS),
        (-2, -1, INVALID_PARTITIONS),
        (100_001, -1, INVALID_PARTITIONS),
        (i32::MIN, -1, INVALID_PARTITIONS),
        (1, 0, INVALID_REPLICATION),
        (1, -2, INVALID_REPLICATION),
        (1, 2, INVALID_REPLICATION),
        (1, 4, INVALID_REPLICATION),
        (-1, -1, 0),
        (5, 1, 0),
        (5, 3, 0),
    ];
    for (number, (partitions, replicas, expected)) in cases.into_iter().enumerate() {
        let mut request = create_request(&format!("t{number}"), partitions, &[]);
        request.topics[0].replication_factor = replicas;
        let answer = answers(&mut world, &request).remove(0);
        assert_eq!(answer.error_code, expected, "{partitions} x {replicas}");
        if expected == 0 {
            let count = if partitions == -1 { 1 } else { partitions };
            assert_eq!(answer.num_partitions, count);
            assert_eq!(answer.replication_factor, replicas.max(1));
            let topic = world.state.topic(TopicId(answer.topic_id)).unwrap();
            assert_eq!(i64::from(topic.partitions()), i64::from(count));
        }
    }
}

fn assignment(partition: i32, brokers: &[i32]) -> CreatableReplicaAssignment {
    CreatableReplicaAssignment::default()
        .with_partition_index(partition)
        .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
}

#[test]
fn manual_assignments_say_how_many_partitions_there_are() {
    let cases = [
        (vec![assignment(0, &[1]), assignment(1, &[2])], -1, -1, 0),
        (
            vec![assignment(1, &[1, 2]), assignment(0, &[2, 1])],
            -1,
            -1,
            0,
        ),
        (vec![assignment(0, &[1])], 1, -1, INVALID_REQUEST),
        (vec![assignment(0, &[1])], -1, 1, INVALID_REQUEST),
        (
            vec![assignment(0, &[1]), assignment(0, &[1])],
            -1,
            -1,
            INVALID_ASSIGNMENT,
        ),
        (vec![assignment(1, &[1])], -1, -1, INVALID_ASSIGNMENT),
        (
            vec![assignment(-1, &[1]), assignment(0, &[1])],
            -1,
            -1,
            INVALID_ASSIGNMENT,
        ),
        (vec![assignment(0, &[])], -1, -1, INVALID_ASSIGNMENT),
        (vec![assignment(0, &[1, 1])], -1, -1, INVALID_ASSIGNMENT),
        (vec![assignment(0, &[-1])], -1, -1, INVALID_ASSIGNMENT),
        (
            vec![assignment(0, &[1]), assignment(1, &[1, 2])],
            -1,
            -1,
            INVALID_ASSIGNMENT,
        ),
    ];
    let mut world = World::new();
    for (number, (assignments, partitions, replicas, expected)) in cases.into_iter().enumerate() {
        let count = assignments.len();
        let mut request = create_request(&format!("t{number}"), partitions, &[]);
        request.topics[0].replication_factor = replicas;
        request.topics[0].assignments = assignments;
        let answer = answers(&mut world, &request).remove(0);
        assert_eq!(answer.error_code, expected, "case {number}: {answer:?}");
        if expected == 0 {
            assert_eq!(usize::try_from(answer.num_partitions), Ok(count));
        }
    }
}

#[test]
fn configs_are_checked_kept_and_answered() {
    let mut world = World::new();
    let cases: [&[(&str, &str)]; 4] = [
        &[("no.such.config", "1")],
        &[("retention.ms", "soon")],
        &[("cleanup.policy", "burn")],
        &[
            ("min.compaction.lag.ms", "10"),
            ("max.compaction.lag.ms", "5"),
        ],
    ];
    for configs in cases {
        let (code, text) = one(&mut world, &create_request("t", 1, configs));
        assert_eq!(code, INVALID_CONFIG, "{configs:?}");
        assert!(!text.is_empty());
    }
    let mut null = create_request("t", 1, &[("retention.ms", "1")]);
    null.topics[0].configs[0].value = None;
    let (code, text) = one(&mut world, &null);
    assert_eq!(code, INVALID_CONFIG);
    assert_eq!(
        text,
        "Null value not supported for topic configs: retention.ms"
    );

    let request = create_request("t", 1, &[("retention.ms", "60000")]);
    let answer = answers(&mut world, &request).remove(0);
    let configs = answer.configs.unwrap();
    let find = |name: &str| {
        let entry = configs
            .iter()
            .find(|entry| entry.name.as_str() == name)
            .unwrap();
        (
            entry.value.clone().unwrap().to_string(),
            entry.config_source,
        )
    };
    assert_eq!(find("retention.ms"), ("60000".to_owned(), 1));
    assert_eq!(find("cleanup.policy"), ("delete".to_owned(), 5));
    let view = world.state.topic_by_name("t").unwrap().view();
    assert_eq!(view.configs.len(), 1);
    assert_eq!(view.configs["retention.ms"], "60000");
}

#[test]
fn one_request_may_succeed_and_fail_topic_by_topic() {
    let mut world = World::new();
    let topics =
        ["a", "twice", "", "b", "twice"].map(|name| create_request(name, 1, &[]).topics.remove(0));
    let request = CreateTopicsRequest::default().with_topics(topics.to_vec());
    let codes: Vec<_> = answers(&mut world, &request)
        .iter()
        .map(|answer| (answer.name.as_str().to_owned(), answer.error_code))
        .collect();
    let expected = [
        ("a", 0),
        ("twice", INVALID_REQUEST),
        ("", INVALID_TOPIC),
        ("b", 0),
    ];
    assert_eq!(codes, expected.map(|(name, code)| (name.to_owned(), code)));
    let epochs: Vec<_> = ["a", "b"]
        .iter()
        .map(|name| world.state.topic_by_name(name).unwrap().leader_epoch())
        .collect();
    assert_eq!(epochs, [LeaderEpoch(0), LeaderEpoch(1)]);
}

#[test]
fn validate_only_answers_and_creates_nothing() {
    let mut world = World::new();
    let request = create_request("t", 4, &[]).with_validate_only(true);
    let answer = answers(&mut world, &request).remove(0);
    assert_eq!((answer.error_code, answer.num_partitions), (0, 4));
    assert!(!answer.topic_id.is_nil(), "as Kafka: the id of no topic");
    assert!(world.state.topic_by_name("t").is_none());
}

#[test]
fn partitions_have_a_budget() {
    let budgets = Budgets {
        partition_bytes: 10 * PARTITION_BYTES,
        ..Budgets::default()
    };
    let mut world = World::with_budgets(budgets);
    world.create("t", 9);
    assert_eq!(one(&mut world, &create_request("u", 2, &[])).0, POLICY);
    assert_eq!(one(&mut world, &create_request("u", 1, &[])).0, 0);
    assert_eq!(one(&mut world, &create_request("v", 1, &[])).0, POLICY);
    world.delete("t");
    assert_eq!(one(&mut world, &create_request("v", 9, &[])).0, 0);
}

#[test]
fn a_topic_that_comes_back_is_a_new_one_with_a_higher_leader_epoch() {
    let mut log = Log::empty();
    log.send(plain(10));
    let before = log.world.state.topic_by_name("log").unwrap().leader_epoch();
    log.world.delete("log");
    assert!(log.world.state.topic_by_name("log").is_none());
    assert!(log.world.state.watermarks(log.partition).is_none());
    let id = log.world.create("log", 1);
    let topic = log.world.state.topic(id).unwrap();
    assert_ne!(id, log.partition.topic);
    assert!(topic.leader_epoch() > before);
    assert_eq!(topic.watermarks().next().unwrap().1.high_watermark.0, 0);
    assert_eq!(log.world.state.locate(&Default::default()).partitions, []);
}

#[test]
fn deleting_releases_the_objects_that_nothing_else_refers_to() {
    let mut log = Log::empty();
    let other = log.world.create("other", 1);
    let other = aquifer_format::ids::PartitionId::new(other, log.partition.partition);
    let mut runs = vec![
        (log.partition, vec![batch(0, 0, 1)]),
        (other, vec![plain(1)]),
    ];
    runs.sort_by_key(|(partition, _)| *partition);
    let shared = log.world.next_commit(log.session, log.slot, &runs);
    log.world.commit(log.session, &shared);
    log.send(plain(1));
    log.world.delete("log");
    let released: Vec<_> = log
        .world
        .state
        .released()
        .map(|(id, ..)| id.unique)
        .collect();
    assert_eq!(released, [2], "the first object is also the other topic's");
    log.world.delete("other");
    let released: Vec<_> = log
        .world
        .state
        .released()
        .map(|(id, bytes, _)| (id, bytes))
        .collect();
    assert_eq!(released.len(), 2);
    assert_eq!(released[0], (shared.object, shared.object_bytes));
    let usage = log.world.state.usage();
    assert_eq!(
        (
            usage.extent_bytes,
            usage.producer_bytes,
            usage.partition_bytes
        ),
        (0, 0, 0)
    );
}

#[test]
fn deletions_are_checked_as_in_kafka() {
    let mut world = World::new();
    let id = world.create("a", 1);
    world.create("b", 1);
    let by = |name: Option<&str>, id: Uuid| {
        DeleteTopicState::default()
            .with_name(name.map(topic_name))
            .with_topic_id(id)
    };
    let topics = vec![
        by(None, Uuid::nil()),
        by(Some("a"), id.0),
        by(Some("nope"), Uuid::nil()),
        by(None, Uuid::from_u128(77)),
        by(Some("b"), Uuid::nil()),
        by(Some("b"), Uuid::nil()),
        by(Some("a"), Uuid::nil()),
        by(None, id.0),
    ];
    let request = DeleteTopicsRequest::default().with_topics(topics);
    let decided = decide::delete_topics(&world.state, &world.now, 6, &request);
    let (reply, _) = world.decided(decided);
    let codes: Vec<_> = reply
        .responses
        .iter()
        .map(|answer| answer.error_code)
        .collect();
    assert_eq!(codes, [42, 42, 3, 100, 42, 0, 42]);
    assert!(world.state.topic_by_name("a").is_none());
    assert!(world.state.topic_by_name("b").is_some());
    let (code, _) = {
        let decided = decide::delete_topics(&world.state, &world.now, 6, &delete_request("a"));
        let (reply, _) = world.decided(decided);
        (reply.responses[0].error_code, ())
    };
    assert_eq!(code, 3);
}

#[test]
fn idempotent_producers_get_ids_that_nobody_had() {
    let mut world = World::new();
    let mut init = |request: &InitProducerIdRequest| {
        let decided = decide::init_producer_id(&world.state, request);
        let (reply, _) = world.decided(decided);
        (reply.error_code, reply.producer_id.0, reply.producer_epoch)
    };
    let fresh = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(ProducerId(-1));
    assert_eq!(init(&fresh), (0, 0, 0));
    assert_eq!(init(&fresh), (0, 1, 0));
    // With an id of its own it gets another one, as in Kafka.
    let known = fresh
        .clone()
        .with_producer_id(ProducerId(1))
        .with_producer_epoch(5);
    assert_eq!(init(&known), (0, 2, 0));
    let transactional = |id: &str| {
        let id = TransactionalId(StrBytes::from_string(id.to_owned()));
        fresh.clone().with_transactional_id(Some(id))
    };
    assert_eq!(init(&transactional("")), (INVALID_REQUEST, -1, -1));
    assert_eq!(init(&transactional("t")), (35, -1, -1));
    assert_eq!(init(&fresh), (0, 3, 0));
}

#[test]
fn a_request_has_at_most_ten_thousand_topics() {
    let world = World::new();
    let topics = (0..10_001).map(|number| {
        CreatableTopic::default()
            .with_name(topic_name(&format!("t{number}")))
            .with_num_partitions(0)
    });
    let request = CreateTopicsRequest::default().with_topics(topics.collect());
    let decided = decide::create_topics(&world.state, &world.rand, &request);
    assert_eq!(decided.reply.topics[10_000].error_code, POLICY);
    assert_ne!(decided.reply.topics[9_999].error_code, POLICY);
}
