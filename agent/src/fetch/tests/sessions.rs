//! Fetch sessions (KIP-227).

use std::time::Duration;

use kafka_protocol::{
    messages::{
        FetchRequest, FetchResponse,
        fetch_request::{FetchPartition, FetchTopic, ForgottenTopic},
    },
    protocol::StrBytes,
};

use super::bed::{Bed, batch_of, partition, ranges, request};
use crate::fetch::{FetchSettings, session::SessionSettings};

fn answered(response: &FetchResponse) -> Vec<i32> {
    let partitions = response.responses.iter().flat_map(|t| &t.partitions);
    partitions.map(|p| p.partition_index).collect()
}

fn next(id: i32, epoch: i32) -> FetchRequest {
    request(&[])
        .with_session_id(id)
        .with_session_epoch(epoch)
        .with_max_wait_ms(0)
}

#[tokio::test(start_paused = true)]
async fn an_incremental_answer_says_only_what_changed() {
    let bed = Bed::new().await;
    let topic = bed.fake.create_topic("t", 3, &[]);
    let ids = [0, 1, 2].map(|i| partition(topic, i));
    bed.settle().await;
    let all = [(ids[0], 0), (ids[1], 0), (ids[2], 0)];
    let full = request(&all).with_session_epoch(0).with_max_wait_ms(0);
    let response = bed.fetch(17, full).await;
    let id = response.session_id;
    assert!(id > 0);
    assert_eq!(answered(&response), [0, 1, 2]);

    let response = bed.fetch(17, next(id, 1)).await;
    assert_eq!((response.session_id, answered(&response)), (id, vec![]));

    bed.append_one(ids[1], batch_of(2, 10)).await;
    bed.settle().await;
    let response = bed.fetch(17, next(id, 2)).await;
    assert_eq!(answered(&response), [1]);
    assert_eq!(ranges(&response.responses[0].partitions[0]), [(0, 1)]);

    // The client moves on; the new position comes with the request.
    let mut moved = request(&[(ids[1], 2)]).with_max_wait_ms(0);
    moved.session_id = id;
    moved.session_epoch = 3;
    assert_eq!(answered(&bed.fetch(17, moved).await), [] as [i32; 0]);

    // Partitions that brought records are served last from then on.
    for id in ids {
        bed.append_one(id, batch_of(1, 10)).await;
    }
    bed.settle().await;
    let response = bed.fetch(17, next(id, 4)).await;
    assert_eq!(answered(&response), [0, 2, 1]);

    let forget = next(id, 5).with_forgotten_topics_data(vec![
        ForgottenTopic::default()
            .with_topic_id(topic.0)
            .with_partitions(vec![0, 2]),
    ]);
    assert_eq!(answered(&bed.fetch(17, forget).await), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_partition_with_an_error_is_said_until_it_heals() {
    let bed = Bed::new().await;
    let topic = bed.fake.create_topic("t", 1, &[]);
    bed.settle().await;
    let full = request(&[(partition(topic, 0), 0), (partition(topic, 9), 0)]);
    let response = bed.fetch(17, full.with_session_epoch(0)).await;
    let id = response.session_id;
    for epoch in 1..4 {
        assert_eq!(answered(&bed.fetch(17, next(id, epoch)).await), [9]);
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_ids_and_epochs_are_refused() {
    let bed = Bed::new().await;
    let topic = bed.fake.create_topic("t", 1, &[]);
    bed.settle().await;
    let full = || {
        request(&[(partition(topic, 0), 0)])
            .with_session_epoch(0)
            .with_max_wait_ms(0)
    };
    let id = bed.fetch(17, full()).await.session_id;
    for (session, epoch, error) in [
        (id ^ 1, 1, 70),
        (0, 1, 70),
        (id, 2, 71),
        (id, i32::MAX, 71),
        (id, i32::MIN, 71),
        (id, 1, 0),
        (id, 1, 71),
        (id, 2, 0),
    ] {
        let response = bed.fetch(17, next(session, epoch)).await;
        assert_eq!(
            response.error_code, error,
            "session {session}, epoch {epoch}"
        );
        if error != 0 {
            assert_eq!((response.session_id, response.responses.len()), (0, 0));
        }
    }
    // Another way to name topics than the session began with.
    let mut by_name = next(id, 3);
    by_name.topics.clear();
    assert_eq!(bed.fetch(12, by_name).await.error_code, 106);
    // A full request ends the session that it names, and begins another.
    let mut again = full();
    again.session_id = id;
    let other = bed.fetch(17, again).await.session_id;
    assert!(other > 0 && other != id);
    assert_eq!(bed.fetch(17, next(id, 3)).await.error_code, 70);
    // The final epoch ends it, too.
    let mut last = full();
    last.session_id = other;
    last.session_epoch = -1;
    assert_eq!(bed.fetch(17, last).await.session_id, 0);
    assert_eq!(bed.fetch(17, next(other, 1)).await.error_code, 70);
}

#[tokio::test(start_paused = true)]
async fn regression_names_that_no_topic_can_have_are_not_remembered() {
    let bed = Bed::new().await;
    let named = |name: &str, epoch: i32| {
        let topic = FetchTopic::default()
            .with_topic(StrBytes::from_string(name.to_owned()).into())
            .with_partitions(vec![FetchPartition::default()]);
        FetchRequest::default()
            .with_session_epoch(epoch)
            .with_max_wait_ms(0)
            .with_topics(vec![topic])
    };
    // Longer than an answer of an earlier version could say.
    let long = "x".repeat(40_000);
    let response = bed.fetch(12, named(&long, 0)).await;
    assert_eq!(response.session_id, 0);
    assert_eq!(response.responses[0].partitions[0].error_code, 3);
    let id = bed.fetch(12, named("short", 0)).await.session_id;
    assert!(id > 0);
    let more = named(&long, 1).with_session_id(id);
    assert_eq!(bed.fetch(12, more).await.error_code, 70);
    assert_eq!(bed.fetch(11, next(id, 1)).await.error_code, 70);
}

#[tokio::test(start_paused = true)]
async fn the_cache_is_bounded_and_the_idle_give_way() {
    let settings = FetchSettings {
        sessions: SessionSettings {
            sessions_max: 2,
            partitions_max: 3,
        },
        ..FetchSettings::default()
    };
    let bed = Bed::with(settings).await;
    let topic = bed.fake.create_topic("t", 4, &[]);
    bed.settle().await;
    let full = |n: i32| {
        let partitions: Vec<_> = (0..n).map(|i| (partition(topic, i), 0)).collect();
        request(&partitions)
            .with_session_epoch(0)
            .with_max_wait_ms(0)
    };
    assert_eq!(
        bed.fetch(17, full(4)).await.session_id,
        0,
        "too many partitions"
    );
    let first = bed.fetch(17, full(1)).await.session_id;
    let second = bed.fetch(17, full(1)).await.session_id;
    assert!(first > 0 && second > 0);
    assert_eq!(
        bed.fetch(17, full(1)).await.session_id,
        0,
        "no slot is free"
    );
    bed.ports.sleep(Duration::from_secs(121)).await;
    assert_eq!(bed.fetch(17, next(second, 1)).await.error_code, 0);
    assert!(bed.fetch(17, full(1)).await.session_id > 0);
    assert_eq!(
        bed.fetch(17, next(first, 1)).await.error_code,
        70,
        "the idle one"
    );
    assert_eq!(bed.fetch(17, next(second, 2)).await.error_code, 0);
}
