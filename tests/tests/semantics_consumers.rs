//! What Kafka's consumers expect, as raw requests against a running broker: Fetch, offsets, time.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::time::{Duration, Instant};

use aquifer_format::codec::Codec;
use aquifer_tests::{
    batches::{PLAIN, batch, batch_at, now},
    broker::DevBroker,
    fetch::{Ask, batches, partition, records, request},
    wire::{Connection, produce_request, topic_name},
};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, OffsetForLeaderEpochRequest,
    offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
};

fn open(broker: &DevBroker, topic: &str, partitions: i32) -> Connection {
    let mut connection = Connection::open(broker.address());
    connection.create_topic(topic, partitions, &[]);
    connection
}

#[test]
fn fetch() {
    let broker = DevBroker::start();
    a_whole_batch_comes_from_the_first_partition_that_has_one(&broker);
    an_offset_inside_a_batch_returns_the_whole_batch(&broker);
    min_bytes_and_max_wait_are_honoured(&broker);
    a_waiting_fetch_is_woken_by_a_produce(&broker);
    the_ends_of_the_log_are_told_apart(&broker);
    every_version_round_trips(&broker);
    fetch_sessions_know_their_partitions(&broker);
    log_append_time_is_in_what_consumers_get(&broker);
    read_committed_reads_up_to_the_last_stable_offset(&broker);
    other_requests_go_on_beside_a_waiting_fetch(&broker);
}

fn a_whole_batch_comes_from_the_first_partition_that_has_one(broker: &DevBroker) {
    let mut connection = open(broker, "first", 3);
    for index in [1, 2] {
        for _ in 0..2 {
            assert_eq!(connection.produce("first", index, batch(PLAIN, 10)).0, 0);
        }
    }
    let ask = Ask {
        max_bytes: 1,
        partition_max_bytes: 1,
        ..Ask::default()
    };
    let response = connection.call(12, &request("first", &[(0, 0), (1, 0), (2, 0)], ask));
    assert_eq!(
        batches(partition(&response, 1)).len(),
        1,
        "one whole batch, whatever max_bytes says"
    );
    assert_eq!(
        batches(partition(&response, 2)).len(),
        0,
        "and nothing of the next partition"
    );
    // The partition's own bound: the second partition may not have a whole batch of its own then.
    let ask = Ask {
        partition_max_bytes: 1,
        ..Ask::default()
    };
    let response = connection.call(12, &request("first", &[(2, 0), (1, 0)], ask));
    assert_eq!(
        batches(partition(&response, 2)).len(),
        1,
        "the first one in the request's order"
    );
}

fn an_offset_inside_a_batch_returns_the_whole_batch(broker: &DevBroker) {
    let mut connection = open(broker, "inside", 1);
    assert_eq!(
        connection.produce("inside", 0, batch(PLAIN, 10)),
        (0, 0, -1)
    );
    assert_eq!(
        connection.produce("inside", 0, batch(PLAIN, 10)),
        (0, 10, -1)
    );
    let found = batches(&connection.fetch("inside", 0, 14, Ask::default()));
    let bases: Vec<i64> = found
        .iter()
        .map(|batch| batch.header.base_offset.0)
        .collect();
    assert_eq!(bases, [10]);
}

fn min_bytes_and_max_wait_are_honoured(broker: &DevBroker) {
    let mut connection = open(broker, "waits", 1);
    assert_eq!(connection.produce("waits", 0, batch(PLAIN, 1)).0, 0);
    let ask = Ask {
        min_bytes: 1 << 20,
        max_wait_ms: 700,
        ..Ask::default()
    };
    let begin = Instant::now();
    assert_eq!(
        records(&connection.fetch("waits", 0, 0, ask)).len(),
        1,
        "what there is"
    );
    assert!(
        begin.elapsed() >= Duration::from_millis(690),
        "after {:?}",
        begin.elapsed()
    );
    assert!(
        begin.elapsed() < Duration::from_millis(3_000),
        "after {:?}",
        begin.elapsed()
    );
}

fn a_waiting_fetch_is_woken_by_a_produce(broker: &DevBroker) {
    let mut reader = open(broker, "wakes", 1);
    let ask = Ask {
        max_wait_ms: 20_000,
        ..Ask::default()
    };
    let waiting = reader.send(12, &request("wakes", &[(0, 0)], ask));
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    let mut writer = Connection::open(broker.address());
    assert_eq!(writer.produce("wakes", 0, batch(PLAIN, 3)).0, 0);
    let response = reader.receive::<FetchRequest>(12, waiting);
    assert_eq!(records(partition(&response, 0)).len(), 3);
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "woken, not timed out"
    );
}

fn the_ends_of_the_log_are_told_apart(broker: &DevBroker) {
    let mut connection = open(broker, "ends", 1);
    assert_eq!(connection.produce("ends", 0, batch(PLAIN, 4)).0, 0);
    let at_the_end = connection.fetch("ends", 0, 4, Ask::default());
    assert_eq!((at_the_end.error_code, at_the_end.high_watermark), (0, 4));
    assert_eq!(records(&at_the_end).len(), 0);
    for offset in [5, 1_000_000, -1] {
        let beyond = connection.fetch("ends", 0, offset, Ask::default());
        assert_eq!(beyond.error_code, 1, "OFFSET_OUT_OF_RANGE at {offset}");
    }
    assert_eq!(
        connection.fetch("ends", 3, 0, Ask::default()).error_code,
        3,
        "no such partition"
    );
    assert_eq!(
        connection.fetch("no-such", 0, 0, Ask::default()).error_code,
        3,
        "no such topic"
    );
    let mut by_id = request("ends", &[(0, 0)], Ask::default());
    by_id.topics[0].topic_id = uuid::Uuid::from_u128(9);
    let response = connection.call(13, &by_id);
    assert_eq!(partition(&response, 0).error_code, 100, "UNKNOWN_TOPIC_ID");
    // Right after an acknowledgement, on any connection, the offset is never out of range.
    for i in 0..20 {
        let (code, offset, _) = connection.produce("ends", 0, batch(PLAIN, 1));
        assert_eq!(code, 0);
        let mut other = Connection::open(broker.address());
        let read = other.fetch("ends", 0, offset + 1, Ask::default());
        assert_eq!(read.error_code, 0, "round {i}");
    }
}

fn every_version_round_trips(broker: &DevBroker) {
    let mut connection = open(broker, "versions", 1);
    let topic_id = connection.topic_metadata("versions").topics[0].topic_id;
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        assert_eq!(
            connection
                .produce("versions", 0, batch_at(codec, PLAIN, &[7, 8]))
                .0,
            0
        );
    }
    for version in 4..=17 {
        let mut ask = request("versions", &[(0, 0)], Ask::default());
        ask.topics[0].topic_id = topic_id;
        let response = connection.call(version, &ask);
        let data = partition(&response, 0);
        assert_eq!(data.error_code, 0, "version {version}");
        let offsets: Vec<i64> = records(data).iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, (0..10).collect::<Vec<i64>>(), "version {version}");
        assert_eq!(data.high_watermark, 10, "version {version}");
    }
}

fn fetch_sessions_know_their_partitions(broker: &DevBroker) {
    let mut connection = open(broker, "sessions", 2);
    assert_eq!(connection.produce("sessions", 0, batch(PLAIN, 2)).0, 0);
    let mut full = request("sessions", &[(0, 0), (1, 0)], Ask::default());
    full.session_epoch = 0;
    let response = connection.call(12, &full);
    assert_eq!(response.error_code, 0);
    assert_ne!(response.session_id, 0, "there is room for a session");
    let mut unknown = request("sessions", &[], Ask::default());
    unknown.topics.clear();
    unknown.session_id = 123_456;
    unknown.session_epoch = 1;
    assert_eq!(
        connection.call(12, &unknown).error_code,
        70,
        "FETCH_SESSION_ID_NOT_FOUND"
    );
    let mut next = request("sessions", &[(0, 2)], Ask::default());
    next.session_id = response.session_id;
    next.session_epoch = 1;
    let nothing_new = connection.call(12, &next);
    assert_eq!(
        (nothing_new.error_code, nothing_new.responses.len()),
        (0, 0),
        "only what changed"
    );
    assert_eq!(connection.produce("sessions", 1, batch(PLAIN, 1)).0, 0);
    let mut rest = request("sessions", &[], Ask::default());
    rest.topics.clear();
    rest.session_id = response.session_id;
    rest.session_epoch = 2;
    let changed = connection.call(12, &rest);
    assert_eq!(
        records(partition(&changed, 1)).len(),
        1,
        "the session remembers partition 1"
    );
    rest.session_epoch = 9;
    assert_eq!(
        connection.call(12, &rest).error_code,
        71,
        "INVALID_FETCH_SESSION_EPOCH"
    );
}

fn log_append_time_is_in_what_consumers_get(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    connection.create_topic(
        "append-time",
        1,
        &[("message.timestamp.type", "LogAppendTime")],
    );
    for codec in [Codec::None, Codec::Zstd] {
        let (code, offset, time) =
            connection.produce("append-time", 0, batch_at(codec, PLAIN, &[5, 6, 7]));
        assert_eq!(code, 0);
        let data = connection.fetch("append-time", 0, offset, Ask::default());
        let header = &batches(&data)[0].header;
        assert_eq!(header.attributes & 8, 8, "the timestamp type's bit");
        assert_eq!(
            header.max_timestamp, time,
            "the time that the producer was told"
        );
    }
}

fn read_committed_reads_up_to_the_last_stable_offset(broker: &DevBroker) {
    let mut connection = open(broker, "committed", 1);
    assert_eq!(connection.produce("committed", 0, batch(PLAIN, 3)).0, 0);
    let data = connection.fetch(
        "committed",
        0,
        0,
        Ask {
            isolation: 1,
            ..Ask::default()
        },
    );
    assert_eq!((data.last_stable_offset, records(&data).len()), (3, 3));
}

fn other_requests_go_on_beside_a_waiting_fetch(broker: &DevBroker) {
    let mut connection = open(broker, "beside", 1);
    // The produce on the same connection is taken while the fetch before it waits, and wakes it.
    let ask = Ask {
        max_wait_ms: 20_000,
        ..Ask::default()
    };
    let fetch = connection.send(12, &request("beside", &[(0, 0)], ask));
    let produce = connection.send(9, &produce_request("beside", 0, -1, batch(PLAIN, 1)));
    let begin = Instant::now();
    let response = connection.receive::<FetchRequest>(12, fetch);
    assert_eq!(records(partition(&response, 0)).len(), 1);
    connection.receive::<kafka_protocol::messages::ProduceRequest>(9, produce);
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "answers in order, without the wait"
    );
}

#[test]
fn offsets_and_time() {
    let broker = DevBroker::start();
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
        timestamps_find_records(&broker, codec);
    }
    an_empty_partition_has_no_record_at_any_time(&broker);
    epochs_never_answer_less_than_was_handed_out(&broker);
    leader_epochs_are_checked(&broker);
}

fn timestamps_find_records(broker: &DevBroker, codec: Codec) {
    let topic = format!("times-{}", codec.name());
    let mut connection = open(broker, &topic, 1);
    // Times go back, are negative, and are equal.
    let produced: [&[i64]; 3] = [&[100, 300, 200], &[-5, 250], &[900, 900, 400]];
    for timestamps in produced {
        assert_eq!(
            connection
                .produce(&topic, 0, batch_at(codec, PLAIN, timestamps))
                .0,
            0
        );
    }
    for version in 1..=10 {
        let cases = [
            (-1, (0, 8, -1), "latest"),
            (-2, (0, 0, -1), "earliest"),
            (0, (0, 0, 100), "the first record at or after 0"),
            (100, (0, 0, 100), "exactly"),
            (101, (0, 1, 300), "inside a batch"),
            (301, (0, 5, 900), "equal timestamps: the first"),
            (901, (0, -1, -1), "none"),
        ];
        for (timestamp, expected, what) in cases {
            let found = connection.list_offset(version, &topic, timestamp);
            assert_eq!(found, expected, "{topic} v{version} {timestamp}: {what}");
        }
        if version >= 7 {
            assert_eq!(
                connection.list_offset(version, &topic, -3),
                (0, 5, 900),
                "max timestamp"
            );
        }
        if version >= 8 {
            assert_eq!(
                connection.list_offset(version, &topic, -4),
                (0, 0, -1),
                "earliest local"
            );
        }
        if version >= 9 {
            let (code, offset, _) = connection.list_offset(version, &topic, -5);
            assert_eq!((code, offset), (0, -1), "latest tiered");
        }
    }
}

fn an_empty_partition_has_no_record_at_any_time(broker: &DevBroker) {
    let mut connection = open(broker, "empty", 1);
    for (timestamp, offset) in [(-1, 0), (-2, 0), (-3, -1), (0, -1), (now(), -1)] {
        let found = connection.list_offset(7, "empty", timestamp);
        assert_eq!(found, (0, offset, -1), "{timestamp}");
    }
}

fn epoch_end(
    connection: &mut Connection,
    topic: &str,
    current: i32,
    epoch: i32,
) -> (i16, i32, i64) {
    let partition = OffsetForLeaderPartition::default()
        .with_partition(0)
        .with_current_leader_epoch(current)
        .with_leader_epoch(epoch);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    let response = connection.call(4, &request);
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.leader_epoch, found.end_offset)
}

fn epochs_never_answer_less_than_was_handed_out(broker: &DevBroker) {
    let mut connection = open(broker, "epoch-end", 1);
    let epoch = connection.topic_metadata("epoch-end").topics[0].partitions[0].leader_epoch;
    for i in 1..=10 {
        assert_eq!(connection.produce("epoch-end", 0, batch(PLAIN, 2)).0, 0);
        assert_eq!(
            epoch_end(&mut connection, "epoch-end", -1, epoch),
            (0, epoch, i * 2)
        );
    }
    let (code, _, end) = epoch_end(&mut connection, "epoch-end", -1, epoch + 1);
    assert_eq!((code, end), (0, -1), "an epoch that never was");
}

fn leader_epochs_are_checked(broker: &DevBroker) {
    let mut connection = open(broker, "leader-epochs", 1);
    let epoch = connection.topic_metadata("leader-epochs").topics[0].partitions[0].leader_epoch;
    for (current, code) in [(epoch, 0), (epoch + 1, 75), (-1, 0)] {
        let mut ask = request("leader-epochs", &[(0, 0)], Ask::default());
        ask.topics[0].partitions[0].current_leader_epoch = current;
        let response = connection.call(12, &ask);
        assert_eq!(
            partition(&response, 0).error_code,
            code,
            "Fetch with epoch {current}"
        );
        assert_eq!(
            epoch_end(&mut connection, "leader-epochs", current, epoch).0,
            code
        );
    }
    if epoch > 0 {
        let fenced = epoch_end(&mut connection, "leader-epochs", epoch - 1, epoch).0;
        assert_eq!(fenced, 74, "FENCED_LEADER_EPOCH");
    }
}
