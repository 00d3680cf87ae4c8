//! Offsets: ListOffsets, OffsetForLeaderEpoch, DeleteRecords.

use aquifer_format::codec::Codec;
use aquifer_tests::batches::{PLAIN, batch_at};
use kafka_protocol::messages::{
    DeleteRecordsRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest,
    delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
};

use crate::case::{Ask, Case, case, generated, name};

/// Times of records in the topic `present`, and times around them.
const TIMES: [i64; 18] = [
    -1,
    -2,
    0,
    1,
    999,
    1_000,
    1_001,
    1_500,
    2_000,
    2_999,
    3_000,
    3_001,
    5_000,
    5_001,
    6_000,
    9_000,
    9_001,
    i64::MAX,
];

fn at(partition: i32, timestamp: i64) -> ListOffsetsPartition {
    ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(timestamp)
}

fn listing(topics: &[(&str, &[ListOffsetsPartition])]) -> ListOffsetsRequest {
    let one = |(topic, partitions): &(&str, &[ListOffsetsPartition])| {
        ListOffsetsTopic::default()
            .with_name(name(topic))
            .with_partitions(partitions.to_vec())
    };
    ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(topics.iter().map(one).collect())
}

/// ListOffsets: special timestamps, timestamps of records and between them.
pub(crate) fn list_offsets() -> Vec<Case> {
    let special = |ask: &Ask<'_>, timestamp| {
        // Before these versions older brokers took the values for timestamps; Kafka still does.
        let since = match timestamp {
            -3 => 7,
            -4 => 8,
            -5 => 9,
            -6 => 11,
            _ => 1,
        };
        let timestamp = if ask.version < since { -1 } else { timestamp };
        let partitions = [at(0, timestamp), at(1, timestamp), at(2, timestamp)];
        listing(&[("present", &partitions)])
    };
    vec![
        case("latest", move |ask| special(ask, -1)),
        case("earliest", move |ask| special(ask, -2)),
        case("max-timestamp", move |ask| special(ask, -3)),
        case("earliest-local", move |ask| special(ask, -4)),
        case("latest-tiered", move |ask| special(ask, -5)),
        case("special-in-every-version", |_| {
            listing(&[("present", &[at(0, -3), at(1, -4), at(2, -5)])])
        }),
        case("special-unknown", |_| {
            listing(&[("present", &[at(0, -7), at(1, i64::MIN)])])
        }),
        case("nothing", |_| listing(&[])),
        case("missing-topic", |_| listing(&[("missing", &[at(0, -1)])])),
        case("bad-name", |_| listing(&[("a/b", &[at(0, -1)])])),
        case("missing-partitions", |_| {
            listing(&[("present", &[at(7, -1), at(-1, -1)])])
        }),
        case("partition-twice", |_| {
            listing(&[("present", &[at(0, -1), at(0, -1)])])
        }),
        case("committed", |_| {
            listing(&[("present", &[at(0, -1)])]).with_isolation_level(1)
        }),
        case("isolation-unknown", |_| {
            listing(&[("present", &[at(0, -1)])]).with_isolation_level(7)
        }),
        case("replica", |_| {
            listing(&[("present", &[at(0, -1)])]).with_replica_id(5.into())
        }),
        case("debugging-replica", |_| {
            listing(&[("present", &[at(0, -1)])]).with_replica_id((-2).into())
        }),
        case("epoch-now", |ask| {
            let epoch = ask.side.epoch;
            listing(&[("present", &[at(0, -1).with_current_leader_epoch(epoch)])])
        }),
        case("epoch-to-come", |ask| {
            let epoch = ask.side.epoch + 1_000;
            listing(&[("present", &[at(0, -1).with_current_leader_epoch(epoch)])])
        }),
        generated(40, |ask| {
            let mut topics = Vec::new();
            for topic in ask.random.among(&["present", "appended", "missing"]) {
                let mut partitions = Vec::new();
                for partition in ask.random.among(&[0, 1, 2, 3]) {
                    let timestamp = ask.random.pick(&TIMES);
                    partitions.push(at(partition, timestamp));
                }
                topics.push((topic, partitions));
            }
            let topics: Vec<_> = topics
                .iter()
                .map(|(topic, p)| (*topic, p.as_slice()))
                .collect();
            let isolation = ask.random.pick(&[0, 1]);
            let request = listing(&topics);
            if ask.version < 2 {
                return request;
            }
            request.with_isolation_level(isolation)
        }),
    ]
}

/// OffsetForLeaderEpoch: epochs that are, were never, and are to come.
pub(crate) fn offset_for_leader_epoch() -> Vec<Case> {
    let of = |topic: &str, partition, current: i32, wanted: i32| {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(current)
            .with_leader_epoch(wanted);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(name(topic))
            .with_partitions(vec![partition]);
        OffsetForLeaderEpochRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic])
    };
    vec![
        case("now", move |ask| of("present", 0, -1, ask.side.epoch)),
        case("now-checked", move |ask| {
            of("present", 0, ask.side.epoch, ask.side.epoch)
        }),
        case("empty-partition", move |ask| {
            of("present", 2, -1, ask.side.epoch)
        }),
        case("to-come", move |ask| {
            of("present", 0, -1, ask.side.epoch + 10)
        }),
        case("none", move |_| of("present", 0, -1, -1)),
        case("below-none", move |_| of("present", 0, -1, -5)),
        case("unknown-current", move |ask| {
            of("present", 0, ask.side.epoch + 10, 0)
        }),
        case("missing-topic", move |_| of("missing", 0, -1, 0)),
        case("missing-partition", move |_| of("present", 7, -1, 0)),
        case("nothing", |_| {
            OffsetForLeaderEpochRequest::default().with_replica_id((-1).into())
        }),
        case("replica", move |_| {
            of("present", 0, -1, 0).with_replica_id(5.into())
        }),
        generated(10, move |ask| {
            let (now, to_come) = (ask.side.epoch, ask.side.epoch + 10);
            let topic = ask.random.pick(&["present", "present", "missing"]);
            let partition = ask.random.pick(&[0, 1, 2, 7]);
            let current = ask.random.pick(&[-1, now, to_come]);
            let wanted = ask.random.pick(&[-1, now, to_come]);
            of(topic, partition, current, wanted)
        }),
    ]
}

/// DeleteRecords on topics of its own with five records in two batches.
pub(crate) fn delete_records() -> Vec<Case> {
    let of = |topic: &str, offsets: &[(i32, i64)]| {
        let one = |(partition, offset): &(i32, i64)| {
            DeleteRecordsPartition::default()
                .with_partition_index(*partition)
                .with_offset(*offset)
        };
        let topic = DeleteRecordsTopic::default()
            .with_name(name(topic))
            .with_partitions(offsets.iter().map(one).collect());
        DeleteRecordsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000)
    };
    let own = |ask: &mut Ask<'_>| {
        let topic = ask.topic("cut", 1, &[("retention.ms", "-1")]);
        for times in [&[1_000, 2_000][..], &[3_000, 4_000, 5_000]] {
            let records = batch_at(Codec::None, PLAIN, times);
            let (code, ..) = ask.side.connection.produce(&topic, 0, records);
            assert_eq!(code, 0, "produced to {topic}");
        }
        topic
    };
    vec![
        case("missing-topic", move |_| of("missing", &[(0, 1)])),
        case("bad-name", move |_| of("a/b", &[(0, 1)])),
        case("missing-partitions", move |_| {
            of("present", &[(7, 0), (-1, 0)])
        }),
        case("nothing", |_| DeleteRecordsRequest::default()),
        case("empty-partition", move |_| of("present", &[(2, 0)])),
        case("empty-partition-to-the-end", move |_| {
            of("present", &[(2, -1)])
        }),
        case("compacted", move |_| of("compacted", &[(0, 1)])),
        case("internal", move |_| of("__consumer_offsets", &[(0, 0)])),
        case("to-the-end", move |ask| of(&own(ask), &[(0, -1)])),
        case("inside-a-batch", move |ask| of(&own(ask), &[(0, 3)])),
        case("to-a-batch", move |ask| of(&own(ask), &[(0, 2)])),
        case("to-the-watermark", move |ask| of(&own(ask), &[(0, 5)])),
        case("nothing-to-delete", move |ask| of(&own(ask), &[(0, 0)])),
        case("past-the-end", move |ask| of(&own(ask), &[(0, 6)])),
        case("below-0", move |ask| of(&own(ask), &[(0, -2)])),
        case("twice", move |ask| of(&own(ask), &[(0, 1), (0, 4)])),
        generated(6, move |ask| {
            let topic = own(ask);
            let offset = ask.random.pick(&[-3, -1, 0, 1, 2, 3, 4, 5, 6, i64::MAX]);
            of(&topic, &[(0, offset)])
        }),
    ]
}
