//! CreatePartitions, and the defaults and limits of topics that are made.

use aquifer_format::ids::{JournalSeq, PartitionId, PartitionIndex};
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, create_partitions_request::CreatePartitionsAssignment,
};

use crate::{
    event::Event,
    state::{
        Budgets, Changes, State,
        budget::PARTITION_BYTES,
        decide,
        tests::world::{
            World, add_partitions_request, alter_request, create_request, delete_request, plain,
        },
    },
};

fn answers(world: &mut World, request: &CreatePartitionsRequest) -> Vec<(i16, Option<String>)> {
    let decided = decide::create_partitions(&world.state, request);
    let results = world.decided(decided).0.results.into_iter();
    results
        .map(|result| {
            let text = result.error_message.map(|text| text.to_string());
            (result.error_code, text)
        })
        .collect()
}

fn count(world: &World, name: &str) -> u32 {
    world.state.topic_by_name(name).unwrap().partitions()
}

#[test]
fn partitions_are_only_ever_added() {
    let mut world = World::new();
    world.create("t", 2);
    let cases: [(&str, i32, i16, Option<&str>); 8] = [
        ("t", 2, 37, Some("Topic already has 2 partition(s).")),
        (
            "t",
            1,
            37,
            Some("The topic t currently has 2 partition(s); 1 would not be an increase."),
        ),
        (
            "t",
            0,
            37,
            Some("The topic t currently has 2 partition(s); 0 would not be an increase."),
        ),
        (
            "t",
            -1,
            37,
            Some("The topic t currently has 2 partition(s); -1 would not be an increase."),
        ),
        (
            "t",
            100_001,
            37,
            Some("Number of partitions must not be over 100000."),
        ),
        ("nope", 3, 3, None),
        ("", 3, 3, None),
        ("t", 5, 0, None),
    ];
    for (name, asked, code, text) in cases {
        let answer = answers(&mut world, &add_partitions_request(name, asked)).remove(0);
        assert_eq!(
            answer,
            (code, text.map(str::to_owned)),
            "{name:?} to {asked}"
        );
    }
    assert_eq!(count(&world, "t"), 5);
}

#[test]
fn assignments_must_fit() {
    let mut world = World::new();
    world.create("t", 1);
    let cases: [(&[&[i32]], &str); 6] = [
        (
            &[],
            "Attempted to add 2 additional partition(s), but only 0 assignment(s) were specified.",
        ),
        (
            &[&[1], &[1], &[1]],
            "Attempted to add 2 additional partition(s), but only 3 assignment(s) were specified.",
        ),
        (
            &[&[1], &[]],
            "The manual partition assignment includes an empty replica list.",
        ),
        (
            &[&[1, 1], &[1, 2]],
            "The manual partition assignment includes the broker 1 more than once.",
        ),
        (
            &[&[1], &[-1]],
            "The manual partition assignment includes broker -1, but no such broker is registered.",
        ),
        (
            &[&[1], &[1, 2]],
            "The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with previous partitions, which have 1 replica(s).",
        ),
    ];
    let assigned = |assignments: &[&[i32]]| {
        let assignments = assignments.iter().map(|brokers| {
            let brokers = brokers.iter().map(|id| BrokerId(*id)).collect();
            CreatePartitionsAssignment::default().with_broker_ids(brokers)
        });
        let mut request = add_partitions_request("t", 3);
        request.topics[0].assignments = Some(assignments.collect());
        request
    };
    for (assignments, text) in cases {
        let answer = answers(&mut world, &assigned(assignments)).remove(0);
        assert_eq!(answer, (39, Some(text.to_owned())), "{assignments:?}");
    }
    assert_eq!(answers(&mut world, &assigned(&[&[1], &[2]])), [(0, None)]);
    assert_eq!(count(&world, "t"), 3);
}

#[test]
fn each_topic_of_a_request_is_answered_for_itself() {
    let mut world = World::new();
    world.create("a", 1);
    world.create("b", 1);
    let mut request = add_partitions_request("a", 2);
    for (name, asked) in [("twice", 3), ("b", 1), ("twice", 4), ("nope", 2)] {
        request
            .topics
            .extend(add_partitions_request(name, asked).topics);
    }
    let codes: Vec<i16> = answers(&mut world, &request).iter().map(|a| a.0).collect();
    assert_eq!(codes, [0, 42, 37, 3]);
    assert_eq!((count(&world, "a"), count(&world, "b")), (2, 1));
}

#[test]
fn validate_only_adds_nothing() {
    let mut world = World::new();
    world.create("t", 1);
    let request = add_partitions_request("t", 4).with_validate_only(true);
    assert_eq!(answers(&mut world, &request), [(0, None)]);
    assert_eq!(count(&world, "t"), 1);
}

#[test]
fn added_partitions_count_towards_the_budget() {
    let mut world = World::with_budgets(Budgets {
        partition_bytes: 10 * PARTITION_BYTES,
        ..Budgets::default()
    });
    world.create("a", 4);
    world.create("b", 4);
    let mut request = add_partitions_request("a", 6);
    request.topics.extend(add_partitions_request("b", 5).topics);
    let codes: Vec<i16> = answers(&mut world, &request).iter().map(|a| a.0).collect();
    assert_eq!(codes, [0, 44], "the request as a whole");
    world.delete("b");
    let code = answers(&mut world, &add_partitions_request("a", 10))[0].0;
    assert_eq!(code, 0);
    assert_eq!(world.state.usage().partition_bytes, 10 * PARTITION_BYTES);
}

#[test]
fn new_partitions_are_empty_and_have_the_topics_leader_epoch() {
    let mut world = World::new();
    world.create("other", 1);
    let topic = world.create("t", 1);
    let writer = world.register();
    let decided = decide::create_partitions(&world.state, &add_partitions_request("t", 3));
    let mut changes = Changes::default();
    let mut twin = State::from_pages(Budgets::default(), &world.state.all_pages()).unwrap();
    let seq = JournalSeq(world.rows.len() as u64 + 1);
    for event in &decided.events {
        twin.apply_noting(seq, event, &mut changes);
    }
    world.take(decided.events);
    assert!(twin == world.state);
    assert_eq!(changes.altered_topics, [topic]);
    assert!(changes.topics.is_empty());
    let id = |index| PartitionId::new(topic, PartitionIndex(index));
    assert_eq!(changes.partitions, [id(1), id(2)]);
    let epoch = world.state.topic(topic).unwrap().leader_epoch();
    for index in [1, 2] {
        let marks = world.state.watermarks(id(index)).unwrap();
        assert_eq!((marks.log_start.0, marks.high_watermark.0), (0, 0));
        assert_eq!(marks.leader_epoch, epoch);
    }
    let commit = world.next_commit(writer.session, writer.slot, &[(id(2), vec![plain(5)])]);
    world.commit(writer.session, &commit);
    let marks = world.state.watermarks(id(2)).unwrap();
    assert_eq!(marks.high_watermark.0, 5);
}

#[test]
fn partitions_of_a_topic_that_is_gone_or_has_more_are_not_added() {
    let mut world = World::new();
    let topic = world.create("t", 3);
    world.take(vec![Event::PartitionsAdded {
        topic,
        partitions: 2,
    }]);
    assert_eq!(count(&world, "t"), 3);
    world.delete("t");
    world.take(vec![Event::PartitionsAdded {
        topic,
        partitions: 9,
    }]);
    assert_eq!(world.state.usage().partition_bytes, 0);
}

#[test]
fn what_a_creator_leaves_open_is_as_the_server_was_started() {
    let mut world = World::new();
    let configs = [("num.partitions", "7"), ("default.replication.factor", "3")];
    let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    world.state.set_server_configs(configs.into());
    let request = create_request("t", -1, &[]);
    let decided = decide::create_topics(&world.state, &world.rand, &request);
    let answer = world.decided(decided).0.topics.remove(0);
    assert_eq!(answer.error_message, None);
    assert_eq!((answer.num_partitions, answer.replication_factor), (7, 3));
    assert_eq!(count(&world, "t"), 7);
}

#[test]
fn replicas_are_looked_at_before_partitions() {
    let mut world = World::new();
    let mut refused = |partitions, replicas| {
        let mut request = create_request("t", partitions, &[]);
        request.topics[0].replication_factor = replicas;
        let decided = decide::create_topics(&world.state, &world.rand, &request);
        world.decided(decided).0.topics[0].error_code
    };
    assert_eq!(refused(0, 0), 38);
    assert_eq!(refused(0, 2), 37);
    assert_eq!(refused(1, 2), 38);
}

#[test]
fn kafkas_own_log_cannot_be_made() {
    let mut world = World::new();
    let request = create_request("__cluster_metadata", 1, &[]);
    let decided = decide::create_topics(&world.state, &world.rand, &request);
    let answer = world.decided(decided).0.topics.remove(0);
    assert_eq!(answer.error_code, 42);
    let text = "Creation of internal topic __cluster_metadata is prohibited.";
    assert_eq!(answer.error_message.as_deref(), Some(text));
}

#[test]
fn a_created_topic_tells_where_its_configs_come_from() {
    let mut world = World::new();
    let server = [
        ("log.retention.hours", "2"),
        ("log.cleanup.policy", "compact"),
    ];
    let server = server.map(|(name, value)| (name.to_owned(), value.to_owned()));
    world.state.set_server_configs(server.into());
    world.alter_brokers(&[("log.retention.bytes", 0, Some("5000"))]);
    let request = create_request("t", 1, &[("segment.ms", "9000")]);
    let decided = decide::create_topics(&world.state, &world.rand, &request);
    let configs = world.decided(decided).0.topics.remove(0).configs.unwrap();
    let find = |name: &str| {
        let entry = configs.iter().find(|entry| entry.name.as_str() == name);
        let entry = entry.unwrap();
        (entry.value.as_deref().unwrap(), entry.config_source)
    };
    assert_eq!(find("segment.ms"), ("9000", 1));
    assert_eq!(find("retention.bytes"), ("5000", 3));
    assert_eq!(find("retention.ms"), ("7200000", 4));
    assert_eq!(find("cleanup.policy"), ("compact", 4));
    assert_eq!(find("max.message.bytes"), ("1048588", 5));
    assert_eq!(find("aquifer.deletion.protection"), ("false", 5));
}

#[test]
fn deletion_can_be_switched_off_and_topics_protected() {
    let mut world = World::new();
    let topic = world.create_with("t", 1, &[("aquifer.deletion.protection", "true")]);
    let deleted = |world: &mut World, version| {
        let request = delete_request("t");
        let decided = decide::delete_topics(&world.state, &world.now, version, &request);
        let answer = world.decided(decided).0.responses.remove(0);
        let text = answer.error_message.map(|text| text.to_string());
        (answer.error_code, text.unwrap_or_default())
    };
    let (code, text) = deleted(&mut world, 6);
    assert_eq!(code, 44);
    assert!(text.contains("aquifer.deletion.protection"), "{text}");
    world.alter("t", &[("aquifer.deletion.protection", 1, None)]);
    let off = ("delete.topic.enable".to_owned(), "false".to_owned());
    world.state.set_server_configs([off].into());
    assert_eq!(deleted(&mut world, 6).0, 73);
    assert_eq!(deleted(&mut world, 2).0, 42, "older clients do not know 73");
    world.state.set_server_configs([].into());
    assert_eq!(deleted(&mut world, 6).0, 0);
    let request = alter_request(2, "t", &[("retention.ms", 0, Some("1"))]);
    let decided = decide::incremental_alter_configs(&world.state, &request);
    assert_eq!(
        decided.reply.responses[0].error_code, 3,
        "{topic:?} is gone"
    );
}
