//! The lines of Kafka's contract about fetching.

use std::{sync::Arc, time::Duration};

use aquifer_format::{codec::Codec, ids::Offset, record::records};
use kafka_protocol::messages::{FetchRequest, fetch_request::FetchTopic};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::bed::{Bed, batch, batch_of, batches, partition, ranges, request};

fn with_max(mut request: FetchRequest, partition_max_bytes: i32) -> FetchRequest {
    for topic in &mut request.topics {
        topic.partitions[0].partition_max_bytes = partition_max_bytes;
    }
    request
}

#[tokio::test(start_paused = true)]
async fn what_was_appended_is_read_with_its_real_offsets_in_every_codec() {
    let bed = Bed::new().await;
    let topic = bed.fake.create_topic("t", 2, &[]);
    let id = partition(topic, 0);
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        let two = [
            batch(codec, &[(1, "a"), (2, "b")]),
            batch(codec, &[(3, "c")]),
        ];
        bed.append(&[(id, &two), (partition(topic, 1), &[batch_of(1, 10)])])
            .await;
    }
    bed.settle().await;
    let answer = bed.fetch_at(id, 0).await;
    let want: Vec<(i64, i64)> = (0..5)
        .flat_map(|i| [(3 * i, 3 * i + 1), (3 * i + 2, 3 * i + 2)])
        .collect();
    assert_eq!(ranges(&answer), want);
    assert_eq!(answer.high_watermark, 15);
    for batch in batches(&answer) {
        let epoch = bed.view.topic_by_name("t").unwrap().view.leader_epoch;
        assert_eq!(batch.header.leader_epoch, epoch);
        let values: Vec<_> = records(&batch, 1 << 20)
            .unwrap()
            .map(|r| r.unwrap().value.unwrap())
            .collect();
        assert!(values == ["a", "b"] || values == ["c"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_offset_inside_a_batch_returns_the_whole_batch() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    for _ in 0..3 {
        bed.append_one(id, batch_of(10, 10)).await;
    }
    bed.settle().await;
    for (offset, want) in [
        (0, vec![(0, 9), (10, 19), (20, 29)]),
        (9, vec![(0, 9), (10, 19), (20, 29)]),
        (10, vec![(10, 19), (20, 29)]),
        (15, vec![(10, 19), (20, 29)]),
        (29, vec![(20, 29)]),
        (30, vec![]),
    ] {
        let answer = bed.fetch_at(id, offset).await;
        assert_eq!(
            (answer.error_code, ranges(&answer)),
            (0, want),
            "from {offset}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_partition_with_data_gives_one_batch_whatever_the_bounds() {
    let bed = Bed::new().await;
    let topic = bed.fake.create_topic("t", 3, &[]);
    let ids = [0, 1, 2].map(|i| partition(topic, i));
    for id in &ids[1..] {
        bed.append(&[(*id, &[batch_of(1, 5000), batch_of(1, 5000)])])
            .await;
    }
    bed.settle().await;
    let all = [(ids[0], 0), (ids[1], 0), (ids[2], 0)];
    for (max_bytes, partition_max, want) in [
        (0, 0, [0, 1, 0]),
        (1, 1, [0, 1, 0]),
        (1_000_000, 100, [0, 1, 0]),
        (100, 1_000_000, [0, 1, 0]),
        (6000, 1_000_000, [0, 1, 0]),
        (11_000, 1_000_000, [0, 2, 0]),
        (16_000, 1_000_000, [0, 2, 1]),
        (1_000_000, 6000, [0, 1, 1]),
        (1_000_000, 1_000_000, [0, 2, 2]),
    ] {
        let request = with_max(request(&all).with_max_bytes(max_bytes), partition_max);
        let response = bed.fetch(17, request).await;
        let counts: Vec<usize> = response
            .responses
            .iter()
            .flat_map(|t| &t.partitions)
            .map(|p| ranges(p).len())
            .collect();
        assert_eq!(
            counts, want,
            "max {max_bytes}, partition max {partition_max}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_batch_is_left_out_between_two_that_are_sent() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    bed.append(&[(id, &[batch_of(1, 100), batch_of(1, 90_000)])])
        .await;
    bed.append_one(id, batch_of(1, 100)).await;
    bed.settle().await;
    let request = with_max(request(&[(id, 0)]), 10_000);
    let response = bed.fetch(17, request).await;
    assert_eq!(ranges(&response.responses[0].partitions[0]), [(0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_at_the_end_waits_and_wakes_without_asking_anybody() {
    let bed = Arc::new(Bed::new().await);
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    bed.settle().await;
    // The first one sets the interest, and runs out of time.
    let began = bed.ports.clock.now();
    let response = bed.fetch(17, request(&[(id, 0)])).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 0);
    assert_eq!(
        bed.ports.clock.now().since(began),
        Duration::from_millis(500)
    );
    let (locates, barriers) = (
        bed.locates(),
        bed.metadata
            .barriers
            .load(std::sync::atomic::Ordering::Relaxed),
    );
    for round in 0..5 {
        let began = bed.ports.clock.now();
        let reader = Arc::clone(&bed);
        let fetch = async move {
            let request = request(&[(id, round)]);
            reader.fetch(17, request).await
        };
        let append = async {
            bed.ports.sleep(Duration::from_millis(100)).await;
            bed.append_one(id, batch_of(1, 10)).await;
        };
        let (response, ()) = futures::join!(fetch, append);
        assert_eq!(
            ranges(&response.responses[0].partitions[0]),
            [(round, round)]
        );
        assert_eq!(
            bed.ports.clock.now().since(began),
            Duration::from_millis(100)
        );
    }
    assert_eq!(bed.locates(), locates, "tail reads ask nobody");
    assert_eq!(
        bed.metadata
            .barriers
            .load(std::sync::atomic::Ordering::Relaxed),
        barriers
    );
}

#[tokio::test(start_paused = true)]
async fn min_bytes_is_waited_for_and_max_wait_ends_it() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    bed.append_one(id, batch_of(1, 1000)).await;
    bed.settle().await;
    let began = bed.ports.clock.now();
    let fetch = bed.fetch(
        17,
        request(&[(id, 0)])
            .with_min_bytes(2500)
            .with_max_wait_ms(10_000),
    );
    let append = async {
        for _ in 0..2 {
            bed.ports.sleep(Duration::from_millis(100)).await;
            bed.append_one(id, batch_of(1, 1000)).await;
        }
    };
    let (response, ()) = futures::join!(fetch, append);
    assert_eq!(ranges(&response.responses[0].partitions[0]).len(), 3);
    assert_eq!(
        bed.ports.clock.now().since(began),
        Duration::from_millis(200)
    );

    let began = bed.ports.clock.now();
    let response = bed
        .fetch(
            17,
            request(&[(id, 0)])
                .with_min_bytes(1_000_000)
                .with_max_wait_ms(700),
        )
        .await;
    assert_eq!(ranges(&response.responses[0].partitions[0]).len(), 3);
    assert_eq!(
        bed.ports.clock.now().since(began),
        Duration::from_millis(700)
    );
}

#[tokio::test(start_paused = true)]
async fn beyond_its_own_high_watermark_an_agent_asks_before_it_says_out_of_range() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    bed.append_one(id, batch_of(10, 10)).await;
    bed.settle().await;
    bed.fake.set_frames_held(true);
    bed.append_one(id, batch_of(10, 10)).await;
    assert_eq!(bed.view.watermarks(id).unwrap().high_watermark, Offset(10));
    for (offset, error, want) in [
        (15, 0, vec![(10, 19)]),
        (20, 0, vec![]),
        (21, 1, vec![]),
        (i64::MAX, 1, vec![]),
        (-1, 1, vec![]),
        (i64::MIN, 1, vec![]),
    ] {
        let answer = bed.fetch_at(id, offset).await;
        assert_eq!(
            (answer.error_code, ranges(&answer)),
            (error, want),
            "from {offset}"
        );
        if error == 0 {
            assert_eq!(answer.high_watermark, 20);
        } else {
            assert_eq!(answer.high_watermark, -1);
        }
    }
    bed.fake.set_frames_held(false);
}

#[tokio::test(start_paused = true)]
async fn before_the_log_start_is_out_of_range_also_when_the_view_is_behind() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    for _ in 0..3 {
        bed.append_one(id, batch_of(10, 10)).await;
    }
    bed.settle().await;
    bed.fake.set_log_start(id, Offset(15));
    bed.settle().await;
    for (offset, error) in [(0, 1), (14, 1), (15, 0), (20, 0)] {
        let answer = bed.fetch_at(id, offset).await;
        assert_eq!(answer.error_code, error, "from {offset}");
        if error == 0 {
            assert_eq!(answer.log_start_offset, 15);
        }
    }
    bed.fake.set_frames_held(true);
    bed.fake.set_log_start(id, Offset(25));
    // Not in the extent cache, so the leader is asked, and it knows better.
    bed.view
        .forget_object(id, &bed.append_one(id, batch_of(1, 1)).await);
    assert_eq!(bed.fetch_at(id, 31).await.error_code, 0);
    assert_eq!(bed.fetch_at(id, 24).await.error_code, 1);
    bed.fake.set_frames_held(false);
}

#[tokio::test(start_paused = true)]
async fn unknown_topics_are_unknown_only_after_the_leader_was_asked() {
    let bed = Bed::new().await;
    let stranger = partition(aquifer_format::ids::TopicId(Uuid::from_u128(99)), 0);
    assert_eq!(bed.fetch_at(stranger, 0).await.error_code, 100);
    let by_name = |name: &str, index: i32| {
        let mut request = request(&[(partition(stranger.topic, index), 0)]);
        let name = StrBytes::from_string(name.to_owned());
        request.topics[0] = FetchTopic::default()
            .with_topic(name.into())
            .with_partitions(request.topics[0].partitions.clone());
        request
    };
    let error = |response: kafka_protocol::messages::FetchResponse| {
        response.responses[0].partitions[0].error_code
    };
    assert_eq!(error(bed.fetch(12, by_name("t", 0)).await), 3);
    // A topic that the agent has not heard of yet.
    let topic = bed.fake.create_topic("t", 1, &[]);
    bed.append_one(partition(topic, 0), batch_of(1, 10)).await;
    assert_eq!(error(bed.fetch(4, by_name("t", 0)).await), 0);
    assert_eq!(error(bed.fetch(4, by_name("t", 1)).await), 3);
    assert_eq!(error(bed.fetch(4, by_name("t", -1)).await), 3);
    assert_eq!(bed.fetch_at(partition(topic, 5), 0).await.error_code, 3);
    // Deleted and created again: another id, and no old record.
    bed.fake.delete_topic(topic);
    let again = bed.fake.create_topic("t", 1, &[]);
    bed.settle().await;
    assert_eq!(bed.fetch_at(partition(topic, 0), 0).await.error_code, 100);
    let answer = bed.fetch_at(partition(again, 0), 0).await;
    assert_eq!((answer.error_code, answer.high_watermark), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_wakes_who_waits_for_it() {
    let bed = Bed::new().await;
    let topic = bed.fake.create_topic("t", 1, &[]);
    bed.settle().await;
    let fetch = bed.fetch(
        17,
        request(&[(partition(topic, 0), 0)]).with_max_wait_ms(60_000),
    );
    let delete = async {
        bed.ports.sleep(Duration::from_millis(50)).await;
        bed.fake.delete_topic(topic);
    };
    let began = bed.ports.clock.now();
    let (response, ()) = futures::join!(fetch, delete);
    assert_eq!(response.responses[0].partitions[0].error_code, 100);
    assert!(bed.ports.clock.now().since(began) < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_leader_epoch_of_the_client_is_checked() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    bed.append_one(id, batch_of(1, 10)).await;
    bed.settle().await;
    let epoch = bed.view.topic_by_name("t").unwrap().view.leader_epoch.0;
    for (known, error) in [
        (-1, 0),
        (epoch, 0),
        (epoch + 1, 75),
        (epoch - 1, if epoch > 0 { 74 } else { 0 }),
        (-2, 74),
        (i32::MIN, 74),
    ] {
        let mut request = request(&[(id, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = known;
        let response = bed.fetch(17, request).await;
        assert_eq!(
            response.responses[0].partitions[0].error_code, error,
            "epoch {known}"
        );
        if error == 74 {
            assert_eq!(
                response.responses[0].partitions[0]
                    .current_leader
                    .leader_epoch,
                epoch
            );
            assert_eq!(response.node_endpoints.len(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn log_append_time_is_patched_into_what_is_served() {
    let bed = Bed::new().await;
    let configs = [("message.timestamp.type", "LogAppendTime")];
    let id = partition(bed.fake.create_topic("t", 1, &configs), 0);
    let two = [
        batch(Codec::Lz4, &[(1, "a"), (2, "b")]),
        batch(Codec::None, &[(3, "c"), (4, &"d".repeat(3000))]),
    ];
    bed.append(&[(id, &two)]).await;
    bed.settle().await;
    let answer = bed.fetch_at(id, 0).await;
    assert_eq!(ranges(&answer), [(0, 1), (2, 3)]);
    for batch in batches(&answer) {
        let time = batch.header.max_timestamp;
        assert!(time >= aquifer_metadata_api::fake::FAKE_START_UNIX_MILLIS);
        for record in records(&batch, 1 << 20).unwrap() {
            assert_eq!(record.unwrap().timestamp, time);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_metadata_service_cached_reads_go_on_and_others_are_retried() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 2, &[]), 0);
    bed.append_one(id, batch_of(10, 10)).await;
    bed.append_one(partition(id.topic, 1), batch_of(10, 10))
        .await;
    bed.settle().await;
    assert_eq!(ranges(&bed.fetch_at(id, 0).await), [(0, 9)]);
    bed.fake.set_unavailable(Some(false));
    assert_eq!(ranges(&bed.fetch_at(id, 0).await), [(0, 9)]);
    let other = partition(id.topic, 1);
    assert_eq!(bed.fetch_at(other, 0).await.error_code, 78);
    assert_eq!(bed.fetch_at(other, 11).await.error_code, 78);
    bed.fake.set_unavailable(None);
    assert_eq!(ranges(&bed.fetch_at(other, 0).await), [(0, 9)]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_gives_its_place_up() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    bed.settle().await;
    let fetch = bed.fetch_reply(17, request(&[(id, 0)]).with_max_wait_ms(60_000));
    let close = async {
        bed.ports.sleep(Duration::from_millis(50)).await;
        bed.connection.close();
    };
    let began = bed.ports.clock.now();
    let (_, ()) = futures::join!(fetch, close);
    assert_eq!(
        bed.ports.clock.now().since(began),
        Duration::from_millis(50)
    );
}

#[tokio::test(start_paused = true)]
async fn one_call_locates_all_partitions_of_a_request() {
    let bed = Bed::new().await;
    let topic = bed.fake.create_topic("t", 20, &[]);
    let one = [batch_of(1, 10)];
    let runs: Vec<_> = (0..20).map(|i| (partition(topic, i), &one[..])).collect();
    bed.append(&runs).await;
    bed.settle().await;
    let all: Vec<_> = (0..20).map(|i| (partition(topic, i), 0)).collect();
    let response = bed.fetch(17, request(&all)).await;
    for topic in &response.responses {
        assert_eq!(ranges(&topic.partitions[0]), [(0, 0)]);
    }
    assert_eq!(bed.locates(), 1);
    assert_eq!(bed.faults.counts().requests, 1, "one GET for one object");
}

#[tokio::test(start_paused = true)]
async fn reads_inside_a_gap_of_the_log_get_what_follows_it() {
    let bed = Bed::new().await;
    let id = partition(bed.fake.create_topic("t", 1, &[]), 0);
    bed.append_one(id, batch_of(10, 10)).await;
    bed.fake.skip_offsets(id, 1_000_000);
    bed.settle().await;
    for inside in [10, 500, 1_000_009, 1_000_010] {
        let answer = bed.fetch_at(id, inside).await;
        assert_eq!((answer.error_code, ranges(&answer)), (0, vec![]));
        assert_eq!(answer.high_watermark, 1_000_010);
    }
    // one that waits inside is woken by what follows
    let waiting = request(&[(id, 500)]).with_max_wait_ms(60_000);
    let began = bed.ports.clock.now();
    let (response, _) = tokio::join!(bed.fetch(17, waiting), async {
        bed.ports.sleep(Duration::from_secs(1)).await;
        bed.append_one(id, batch_of(5, 10)).await
    });
    let after = (1_000_010, 1_000_014);
    assert_eq!(ranges(&response.responses[0].partitions[0]), [after]);
    let took = bed.ports.clock.now().since(began);
    assert!(took < Duration::from_secs(2), "{took:?}");
    for (from, want) in [
        (0, vec![(0, 9), after]),
        (9, vec![(0, 9), after]),
        (10, vec![after]),
        (500, vec![after]),
        (1_000_012, vec![after]),
    ] {
        let answer = bed.fetch_at(id, from).await;
        assert_eq!((answer.error_code, ranges(&answer)), (0, want), "{from}");
    }
}
