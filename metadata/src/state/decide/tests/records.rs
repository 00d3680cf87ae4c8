//! DeleteRecords, DescribeProducers, DescribeLogDirs.

use aquifer_format::ids::{JournalSeq, Offset, PartitionId};
use aquifer_metadata_api::{
    commit::{BatchOutcome, BatchSummary},
    locate::{OffsetSpec, OffsetsRequest},
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
    describe_log_dirs_request::DescribableLogDirTopic, describe_producers_request::TopicRequest,
    describe_producers_response::PartitionResponse,
};

use crate::{
    event::Event,
    state::{
        Changes, State, decide,
        tests::world::{Log, World, batch, delete_records_request, of_producer, plain, topic_name},
    },
};

/// Ten extents of 10 records each.
fn filled() -> Log {
    let mut log = Log::empty();
    for _ in 0..10 {
        log.send(plain(10));
    }
    log
}

fn offsets(log: &Log) -> Vec<i64> {
    let extents = log.world.state.extents(log.partition, Offset(0));
    extents.map(|extent| extent.base_offset.0).collect()
}

fn log_start(log: &Log) -> i64 {
    log.world
        .state
        .watermarks(log.partition)
        .unwrap()
        .log_start
        .0
}

#[test]
fn a_log_start_moves_forward_only() {
    let mut log = filled();
    let cases = [
        (0, (0, 0), 10),
        (10, (0, 10), 9),
        (25, (0, 25), 8),
        (5, (0, 25), 8),
        (101, (1, -1), 8),
        (-2, (1, -1), 8),
        (i64::MIN, (1, -1), 8),
        (i64::MAX, (1, -1), 8),
        (100, (0, 100), 0),
        (-1, (0, 100), 0),
        (0, (0, 100), 0),
    ];
    for (offset, expected, extents) in cases {
        assert_eq!(
            log.world.delete_records("log", 0, offset),
            expected,
            "{offset}"
        );
        assert_eq!(offsets(&log).len(), extents, "{offset}");
    }
    assert_eq!((log_start(&log), log.end_offset()), (100, 100));
    log.send(plain(3));
    assert_eq!(offsets(&log), [100]);
    assert_eq!(log.world.delete_records("log", 0, -1), (0, 103));
}

#[test]
fn what_is_not_there_and_what_is_compacted_only_is_refused() {
    let mut log = filled();
    assert_eq!(log.world.delete_records("nope", 0, 0), (3, -1));
    assert_eq!(log.world.delete_records("", 0, 0), (3, -1));
    assert_eq!(log.world.delete_records("log", 1, 0), (3, -1));
    assert_eq!(log.world.delete_records("log", -1, 0), (3, -1));
    let policies = [
        ("compact", (44, -1)),
        ("compact,delete", (0, 10)),
        ("", (0, 10)),
        ("delete", (0, 10)),
    ];
    for (policy, expected) in policies {
        log.world
            .alter("log", &[("cleanup.policy", 0, Some(policy))]);
        assert_eq!(
            log.world.delete_records("log", 0, 10),
            expected,
            "{policy:?}"
        );
    }
    log.world.alter("log", &[("cleanup.policy", 1, None)]);
    log.world
        .alter_brokers(&[("log.cleanup.policy", 0, Some("compact"))]);
    assert_eq!(log.world.delete_records("log", 0, 20), (44, -1));
}

#[test]
fn of_a_partition_that_is_named_twice_the_last_offset_counts() {
    let mut log = filled();
    let mut request = delete_records_request("log", 0, 70);
    request
        .topics
        .extend(delete_records_request("log", 0, 30).topics);
    request
        .topics
        .extend(delete_records_request("nope", 2, 1).topics);
    let decided = decide::delete_records(&log.world.state, &request);
    let (reply, _) = log.world.decided(decided);
    let answers: Vec<_> = reply
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.as_str(), p)))
        .map(|(topic, p)| (topic, p.partition_index, p.low_watermark, p.error_code))
        .collect();
    assert_eq!(answers, [("log", 0, 30, 0), ("nope", 2, -1, 3)]);
    let none = decide::delete_records(&log.world.state, &DeleteRecordsRequest::default());
    assert_eq!((none.events.len(), none.reply.topics.len()), (0, 0));
}

#[test]
fn objects_are_released_when_their_last_extent_goes() {
    let mut log = Log::empty();
    let other = log.world.create("other", 1);
    let other = PartitionId::new(other, log.partition.partition);
    let mut runs = vec![(log.partition, vec![plain(5)]), (other, vec![plain(5)])];
    runs.sort_by_key(|(partition, _)| *partition);
    let shared = log.world.next_commit(log.session, log.slot, &runs);
    log.world.commit(log.session, &shared);
    log.send(plain(5));
    let released = |log: &Log| -> Vec<u64> {
        let released = log.world.state.released();
        released.map(|(id, ..)| id.unique).collect()
    };
    log.world.delete_records("log", 0, 7);
    assert!(
        released(&log).is_empty(),
        "the first object is the other topic's too"
    );
    log.world.delete_records("log", 0, 10);
    assert_eq!(released(&log), [2]);
    log.world.delete_records("other", 0, -1);
    assert_eq!(released(&log), [1, 2]);
    assert_eq!(log.world.state.usage().extent_bytes, 0);
    assert_eq!(log.world.state.objects().count(), 0);
}

#[test]
fn an_object_that_two_partitions_lose_at_once_is_released_once() {
    let mut log = Log::empty();
    let other = log.world.create("other", 1);
    let other = PartitionId::new(other, log.partition.partition);
    let mut runs = vec![(log.partition, vec![plain(5)]), (other, vec![plain(5)])];
    runs.sort_by_key(|(partition, _)| *partition);
    let shared = log.world.next_commit(log.session, log.slot, &runs);
    log.world.commit(log.session, &shared);
    let mut request = delete_records_request("log", 0, -1);
    request
        .topics
        .extend(delete_records_request("other", 0, -1).topics);
    let decided = decide::delete_records(&log.world.state, &request);
    let Event::LogStartMoved { partitions } = &decided.events[0] else {
        panic!("log starts move first: {:?}", decided.events);
    };
    assert!(partitions.is_sorted());
    let Event::ObjectsReleased { objects, .. } = &decided.events[1] else {
        panic!("and objects are released: {:?}", decided.events);
    };
    assert_eq!(objects, &[(shared.object, shared.object_bytes)]);
}

#[test]
fn a_held_batch_keeps_its_object() {
    let mut log = Log::used();
    log.send_run(vec![plain(1), batch(0, 5, 1)]);
    log.world.delete_records("log", 0, -1);
    let released = log.world.state.released();
    assert_eq!(released.count(), 1, "that of the used log");
    assert_eq!(log.world.state.held().count(), 1);
}

#[test]
fn producers_are_known_after_their_records_are_gone() {
    let mut log = Log::empty();
    log.send(batch(0, 0, 2));
    log.world.delete_records("log", 0, -1);
    let duplicate = log.send(batch(0, 0, 2));
    assert!(
        matches!(duplicate, BatchOutcome::Duplicate(_)),
        "{duplicate:?}"
    );
    log.send(batch(0, 2, 1));
    assert_eq!(log.end_offset(), 3);
}

#[test]
fn watchers_are_told_of_the_partition() {
    let mut log = filled();
    let request = delete_records_request("log", 0, 30);
    let decided = decide::delete_records(&log.world.state, &request);
    let mut changes = Changes::default();
    let seq = JournalSeq(log.world.rows.len() as u64 + 1);
    for event in &decided.events {
        log.world.state.apply_noting(seq, event, &mut changes);
    }
    assert_eq!(changes.partitions, [log.partition]);
    assert!(changes.altered_topics.is_empty());
}

#[test]
fn a_log_start_beyond_the_end_stops_at_the_end() {
    let mut log = filled();
    log.world.take(vec![Event::LogStartMoved {
        partitions: vec![(log.partition, Offset(1_000))],
    }]);
    assert_eq!((log_start(&log), log.end_offset()), (100, 100));
    let pages = log.world.state.all_pages();
    let loaded = State::from_pages(*log.world.state.budgets(), &pages).unwrap();
    assert!(loaded == log.world.state);
}

#[test]
fn timestamps_are_looked_for_in_what_is_left() {
    let mut log = Log::empty();
    for timestamp in [900, 100, 200] {
        let mut batch = plain(1);
        batch.max_timestamp = timestamp;
        log.send(batch);
    }
    log.world.delete_records("log", 0, 1);
    let found = |spec| {
        let request = OffsetsRequest {
            partitions: vec![(log.partition, spec)],
        };
        let reply = log.world.state.offsets(&request);
        let found = reply.partitions[0].unwrap();
        found.extent.map(|extent| extent.base_offset.0)
    };
    assert_eq!(found(OffsetSpec::MaxTimestamp), Some(2));
    assert_eq!(found(OffsetSpec::Timestamp(150)), Some(2));
    assert_eq!(found(OffsetSpec::Timestamp(500)), None);
}

fn described(world: &World, topic: &str, partitions: &[i32]) -> Vec<PartitionResponse> {
    let topic = TopicRequest::default()
        .with_name(topic_name(topic))
        .with_partition_indexes(partitions.to_vec());
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let mut response = decide::describe_producers(&world.state, &request);
    response.topics.remove(0).partitions
}

#[test]
fn producers_are_described() {
    let mut log = Log::empty();
    let timed = |mut batch: BatchSummary, time| {
        batch.max_timestamp = time;
        batch
    };
    log.send(timed(of_producer(7, 3, 0, 10), 50));
    log.send(timed(of_producer(7, 3, 10, 5), 40));
    log.send(timed(of_producer(9, 0, 0, 1), 60));
    log.send(plain(1));
    let partitions = described(&log.world, "log", &[0]);
    let producers: Vec<_> = partitions[0]
        .active_producers
        .iter()
        .map(|p| {
            assert_eq!((p.coordinator_epoch, p.current_txn_start_offset), (-1, -1));
            let last = (p.last_sequence, p.last_timestamp);
            (p.producer_id.0, p.producer_epoch, last)
        })
        .collect();
    assert_eq!(producers, [(7, 3, (14, 40)), (9, 0, (0, 60))]);
    log.world.delete_records("log", 0, -1);
    let partitions = described(&log.world, "log", &[0]);
    let producer = &partitions[0].active_producers[0];
    assert_eq!((producer.last_sequence, producer.last_timestamp), (14, -1));
}

#[test]
fn sequences_that_wrapped_and_append_times_are_described() {
    let mut log = Log::in_world(World::new(), &[("message.timestamp.type", "LogAppendTime")]);
    log.send(batch(0, 0, 1));
    log.send(batch(1, 0, u32::try_from(i32::MAX).unwrap()));
    log.send(batch(1, i32::MAX, 1));
    let partitions = described(&log.world, "log", &[0]);
    let producer = &partitions[0].active_producers[0];
    assert_eq!(
        (producer.producer_epoch, producer.last_sequence),
        (1, i32::MAX)
    );
    assert_eq!(producer.last_timestamp, log.world.now.unix_millis);
}

#[test]
fn producers_of_what_is_not_there_are_an_error() {
    let log = Log::empty();
    let error = |topic: &str, partition| {
        let partition = described(&log.world, topic, &[partition]).remove(0);
        let text = partition.error_message.map(|text| text.to_string());
        (partition.error_code, text)
    };
    assert_eq!(error("log", 0), (0, None));
    assert_eq!(error("log", 1), (3, None));
    assert_eq!(error("log", -1), (3, None));
    let text = "This server does not host this topic-partition.";
    assert_eq!(error("nope", 0), (3, Some(text.to_owned())));
    assert_eq!(error("", 0).0, 17);
    assert_eq!(error("a b", 0).0, 17);
    assert_eq!(described(&log.world, "log", &[0, 0]).len(), 2);
}

fn sizes(world: &World, topics: Option<&[(&str, &[i32])]>) -> Vec<(String, Vec<(i32, i64)>)> {
    let topics = topics.map(|topics| {
        let topics = topics.iter().map(|(name, partitions)| {
            DescribableLogDirTopic::default()
                .with_topic(topic_name(name))
                .with_partitions(partitions.to_vec())
        });
        topics.collect()
    });
    let request = DescribeLogDirsRequest::default().with_topics(topics);
    let response = decide::describe_log_dirs(&world.state, &request);
    let [bucket] = response.results.as_slice() else {
        panic!("one directory: {response:?}");
    };
    assert_eq!((bucket.total_bytes, bucket.usable_bytes), (-1, -1));
    let topics = bucket.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter();
        let partitions = partitions.map(|p| (p.partition_index, p.partition_size));
        (topic.name.to_string(), partitions.collect())
    });
    topics.collect()
}

#[test]
fn partitions_are_as_large_as_their_batches() {
    let mut log = Log::empty();
    log.world.create("other", 2);
    let of = |name: &str, sizes: &[(i32, i64)]| (name.to_owned(), sizes.to_vec());
    // 61 bytes and one for each record
    for _ in 0..600 {
        log.send(plain(1));
    }
    let all = sizes(&log.world, None);
    assert_eq!(
        all,
        [of("log", &[(0, 37_200)]), of("other", &[(0, 0), (1, 0)])]
    );
    log.world.delete_records("log", 0, 590);
    let some: &[(&str, &[i32])] = &[("other", &[1, 1, 7]), ("log", &[0]), ("nope", &[0])];
    let some = sizes(&log.world, Some(some));
    assert_eq!(some, [of("log", &[(0, 620)]), of("other", &[(1, 0)])]);
    let nothing: [&[(&str, &[i32])]; 2] = [&[], &[("log", &[])]];
    for nothing in nothing {
        assert!(sizes(&log.world, Some(nothing)).is_empty());
    }
    let pages = log.world.state.all_pages();
    log.world.state = State::from_pages(*log.world.state.budgets(), &pages).unwrap();
    let one: &[(&str, &[i32])] = &[("log", &[0])];
    assert_eq!(sizes(&log.world, Some(one)), [of("log", &[(0, 620)])]);
}
