//! ListOffsets and OffsetForLeaderEpoch.

use aquifer_format::{codec::Codec, ids::Offset};
use kafka_protocol::{
    messages::{
        ListOffsetsRequest, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    protocol::StrBytes,
};

use super::bed::{Bed, batch, batch_of, partition};

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];

#[tokio::test(start_paused = true)]
async fn the_ends_of_the_log_are_exact_also_when_the_view_is_behind() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    bed.settle().await;
    for (timestamp, want) in [(-1, 0), (-2, 0), (-3, -1), (-4, 0), (-5, -1), (0, -1)] {
        assert_eq!(
            bed.list_offset("t", timestamp).await,
            (0, -1, want),
            "empty, {timestamp}"
        );
    }
    bed.fake.set_frames_held(true);
    bed.append_one(id, batch_of(10, 10)).await;
    bed.fake.set_log_start(id, Offset(3));
    for (timestamp, want) in [(-1, 10), (-2, 3), (-4, 3), (-5, -1)] {
        assert_eq!(
            bed.list_offset("t", timestamp).await,
            (0, -1, want),
            "{timestamp}"
        );
    }
    bed.fake.set_frames_held(false);
}

#[tokio::test(start_paused = true)]
async fn a_timestamp_finds_the_first_record_at_or_after_it_inside_batches() {
    for codec in CODECS {
        let bed = Bed::new().await;
        let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
        // Times go back, repeat, and are negative.
        bed.append_one(id, batch(codec, &[(100, "a"), (300, "b"), (200, "c")]))
            .await;
        bed.append(&[(
            id,
            &[
                batch(codec, &[(300, "d"), (300, "e")]),
                batch(codec, &[(-50, "f"), (500, "g"), (400, "h"), (500, "i")]),
            ],
        )])
        .await;
        bed.append_one(id, batch(codec, &[(450, "j")])).await;
        bed.settle().await;
        for (timestamp, want) in [
            (0, (0, 100, 0)),
            (100, (0, 100, 0)),
            (101, (0, 300, 1)),
            (300, (0, 300, 1)),
            (301, (0, 500, 6)),
            (500, (0, 500, 6)),
            (501, (0, -1, -1)),
            (i64::MAX, (0, -1, -1)),
            (-3, (0, 500, 6)),
        ] {
            assert_eq!(
                bed.list_offset("t", timestamp).await,
                want,
                "{codec:?}, {timestamp}"
            );
        }
        // Records before the log start are not found.
        bed.fake.set_log_start(id, Offset(2));
        assert_eq!(bed.list_offset("t", 0).await, (0, 200, 2), "{codec:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn log_append_time_is_what_is_searched_where_the_topic_has_it() {
    let bed = Bed::new().await;
    let configs = [("message.timestamp.type", "LogAppendTime")];
    let id = partition(bed.fake.create_topic("t", 1, &configs), 0);
    bed.append_one(id, batch(Codec::Zstd, &[(1, "a"), (2, "b")]))
        .await;
    bed.settle().await;
    let (error, time, offset) = bed.list_offset("t", 5).await;
    assert_eq!((error, offset), (0, 0));
    assert!(time >= aquifer_metadata_api::fake::FAKE_START_UNIX_MILLIS);
    assert_eq!(bed.list_offset("t", time).await, (0, time, 0));
    assert_eq!(bed.list_offset("t", time + 1).await, (0, -1, -1));
    assert_eq!(bed.list_offset("t", -3).await, (0, time, 0));
}

fn list(name: &str, partitions: &[(i32, i32, i64)]) -> ListOffsetsRequest {
    let partitions = partitions.iter().map(|(index, epoch, timestamp)| {
        ListOffsetsPartition::default()
            .with_partition_index(*index)
            .with_current_leader_epoch(*epoch)
            .with_timestamp(*timestamp)
    });
    let topic = ListOffsetsTopic::default()
        .with_name(StrBytes::from_string(name.to_owned()).into())
        .with_partitions(partitions.collect());
    ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic])
}

#[tokio::test(start_paused = true)]
async fn errors_of_list_offsets() {
    let bed = Bed::new().await;
    let topic = bed.fake.create_topic("t", 2, &[]);
    bed.append_one(partition(topic, 0), batch_of(4, 10)).await;
    bed.settle().await;
    let epoch = bed.view.topic_by_name("t").unwrap().view.leader_epoch.0;
    for (name, version, partitions, want) in [
        (
            "t",
            10,
            vec![(0, -1, -1), (1, -1, -1)],
            vec![(0, 4), (0, 0)],
        ),
        (
            "t",
            10,
            vec![(0, epoch, -1), (1, epoch + 1, -1)],
            vec![(0, 4), (75, -1)],
        ),
        ("t", 10, vec![(0, -2, -1)], vec![(74, -1)]),
        ("t", 10, vec![(2, -1, -1)], vec![(3, -1)]),
        ("u", 10, vec![(0, -1, -1)], vec![(3, -1)]),
        (
            "t",
            10,
            vec![(0, -1, -1), (0, -1, -2)],
            vec![(42, -1), (42, -1)],
        ),
        ("t", 10, vec![(0, -1, -6)], vec![(35, -1)]),
        ("t", 6, vec![(0, -1, -3)], vec![(35, -1)]),
        ("t", 7, vec![(0, -1, -3)], vec![(0, 0)]),
        ("t", 7, vec![(0, -1, -4)], vec![(35, -1)]),
        ("t", 8, vec![(0, -1, -5)], vec![(35, -1)]),
        ("t", 1, vec![(0, -1, -1)], vec![(0, 4)]),
    ] {
        let response = bed.list_offsets(version, list(name, &partitions)).await;
        let found: Vec<(i16, i64)> = response.topics[0]
            .partitions
            .iter()
            .map(|p| (p.error_code, p.offset))
            .collect();
        assert_eq!(found, want, "{name}, version {version}, {partitions:?}");
    }
    bed.fake.set_unavailable(Some(false));
    for (version, error) in [(4, 5), (5, 78)] {
        let response = bed.list_offsets(version, list("t", &[(0, -1, -1)])).await;
        assert_eq!(response.topics[0].partitions[0].error_code, error);
    }
}

#[tokio::test(start_paused = true)]
async fn regression_a_leader_that_is_away_is_waited_for_once_per_request() {
    let bed = Bed::new().await;
    bed.fake.set_frames_held(true);
    bed.fake.create_topic("t", 3, &[]);
    let began = bed.ports.clock.now();
    let wanted = [(0, -1, -1), (1, -1, -1), (2, -1, -1)];
    let response = bed.list_offsets(10, list("t", &wanted)).await;
    let partitions = &response.topics[0].partitions;
    assert!(partitions.iter().all(|p| p.error_code == 78));
    let took = bed.ports.clock.now().since(began);
    assert_eq!(took.as_secs(), 5, "the time to catch up, not thrice that");
}

#[tokio::test(start_paused = true)]
async fn an_epoch_never_ends_before_an_offset_that_was_handed_out() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    bed.settle().await;
    let epoch = bed.view.topic_by_name("t").unwrap().view.leader_epoch.0;
    bed.fake.set_frames_held(true);
    bed.append_one(id, batch_of(10, 10)).await;
    for (index, known, asked, want) in [
        (0, -1, epoch, (0, epoch, 10)),
        (0, epoch, epoch, (0, epoch, 10)),
        (0, -1, epoch + 1, (0, -1, -1)),
        (0, -1, -1, (0, -1, -1)),
        (0, -1, -5, (0, -1, -1)),
        (0, -2, epoch, (74, -1, -1)),
        (0, epoch + 1, epoch, (75, -1, -1)),
        (1, -1, epoch, (3, -1, -1)),
    ] {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(index)
            .with_current_leader_epoch(known)
            .with_leader_epoch(asked);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(StrBytes::from_static_str("t").into())
            .with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic]);
        for version in 2..=4 {
            bed.fake.set_frames_held(index == 0);
            let response: OffsetForLeaderEpochResponse =
                bed.leader_epoch_end(version, &request).await;
            let found = &response.topics[0].partitions[0];
            assert_eq!(
                (found.error_code, found.leader_epoch, found.end_offset),
                want,
                "partition {index}, knows {known}, asks {asked}"
            );
        }
    }
}
