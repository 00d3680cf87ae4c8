use aquifer_format::{
    batch::{BatchBuilder, RecordBatch},
    codec::Codec,
    ids::{Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence},
};
use aquifer_metadata_api::extent::Watermarks;
use kafka_protocol::messages::{ApiKey, TransactionalId};

use super::*;
use crate::testing::{Client, broker, settings};

const VERSIONS: std::ops::RangeInclusive<i16> = 3..=13;

fn builder() -> BatchBuilder {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.append(1_700_000_000_000, None, Some(b"value"), &[]);
    builder
}

fn batch() -> RecordBatch {
    builder().build().unwrap()
}

fn named(name: &str, id: TopicId, partitions: &[(i32, Bytes)]) -> TopicProduceData {
    let partitions = partitions.iter().map(|(index, records)| {
        PartitionProduceData::default()
            .with_index(*index)
            .with_records(Some(records.clone()))
    });
    TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(name.to_owned())))
        .with_topic_id(id.0)
        .with_partition_data(partitions.collect())
}

fn request(acks: i16, topics: Vec<TopicProduceData>) -> ProduceRequest {
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(30_000)
        .with_topic_data(topics)
}

/// Codes of all partitions of the first topic.
fn codes(response: &ProduceResponse) -> Vec<i16> {
    let partitions = &response.responses[0].partition_responses;
    partitions.iter().map(|answer| answer.error_code).collect()
}

async fn produce(client: &mut Client, version: i16, request: &ProduceRequest) -> ProduceResponse {
    client.call(ApiKey::Produce, version, request).await
}

#[test]
fn regression_a_batch_keeps_no_frame_that_is_much_larger() {
    let id = PartitionId::new(TopicId(uuid::Uuid::from_u128(1)), PartitionIndex(0));
    for (value_bytes, frame_bytes, kept) in [
        (10, 150, false),
        (10, 1 << 20, false),
        (400_000, 1 << 20, false),
        (600_000, 1 << 20, true),
    ] {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.append(1_000, None, Some(&vec![b'v'; value_bytes]), &[]);
        let mut frame = builder.build().unwrap().bytes.to_vec();
        let batch_bytes = frame.len();
        frame.resize(frame_bytes, 0);
        let frame = Bytes::from(frame);
        let batch = RecordBatch::parse(frame.slice(..batch_bytes)).unwrap();
        let mut batches = [ProduceBatch {
            partition: id,
            batch,
        }];
        cut_out(&mut batches, frame_bytes);
        let is_slice = batches[0].batch.bytes.as_ptr() == frame.as_ptr();
        assert_eq!(is_slice, kept, "{value_bytes} of {frame_bytes} bytes");
        assert_eq!(batches[0].batch.bytes, frame[..batch_bytes]);
    }
}

#[tokio::test]
async fn every_version_appends_and_says_where() {
    let (broker, fake) = broker(settings()).await;
    let topic = fake.create_topic("t", 2, &[]);
    let mut client = Client::connect(&broker);
    for (nth, version) in (0..).zip(VERSIONS) {
        let topics = vec![named("t", topic, &[(0, batch().bytes), (1, batch().bytes)])];
        let answer = produce(&mut client, version, &request(-1, topics)).await;
        assert_eq!(codes(&answer), [0, 0], "v{version}");
        for partition in &answer.responses[0].partition_responses {
            assert_eq!(partition.base_offset, nth, "v{version}");
            assert_eq!(partition.log_append_time_ms, -1);
        }
    }
}

#[tokio::test]
async fn unknown_topics_and_partitions_have_the_code_of_the_version() {
    let (broker, fake) = broker(settings()).await;
    let topic = fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    let stranger = TopicId(uuid::Uuid::from_u128(99));
    for (version, name, id, partition, expected) in [
        (
            12,
            "nowhere",
            stranger,
            0,
            ResponseError::UnknownTopicOrPartition,
        ),
        (12, "t", topic, 7, ResponseError::UnknownTopicOrPartition),
        (12, "t", topic, -1, ResponseError::UnknownTopicOrPartition),
        (13, "", stranger, 0, ResponseError::UnknownTopicId),
        (13, "", topic, 7, ResponseError::UnknownTopicOrPartition),
    ] {
        let topics = vec![named(name, id, &[(partition, batch().bytes)])];
        let answer = produce(&mut client, version, &request(-1, topics)).await;
        assert_eq!(
            codes(&answer),
            [expected.code()],
            "v{version} {name}-{partition}"
        );
        assert_eq!(answer.responses[0].partition_responses[0].index, partition);
    }
}

#[tokio::test]
async fn a_topic_that_the_view_has_not_heard_of_is_found_at_the_leader() {
    let (broker, fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    fake.set_frames_held(true);
    let topic = fake.create_topic("new", 1, &[]);
    let sent = client
        .send(
            ApiKey::Produce,
            12,
            &request(-1, vec![named("new", topic, &[(0, batch().bytes)])]),
        )
        .await;
    broker.ports.sleep(Duration::from_millis(50)).await;
    fake.set_frames_held(false);
    let (received, answer): (i32, ProduceResponse) = client.receive(ApiKey::Produce, 12).await;
    assert_eq!(received, sent);
    assert_eq!(codes(&answer), [0]);
}

#[tokio::test]
async fn checks_come_in_kafkas_order() {
    let (broker, fake) = broker(settings()).await;
    let topic = fake.create_topic("t", 3, &[("max.message.bytes", "10")]);
    let mut client = Client::connect(&broker);
    let good = batch().bytes;
    let topics = || {
        vec![named(
            "t",
            topic,
            &[(9, good.clone()), (0, Bytes::new()), (1, good.clone())],
        )]
    };
    let answer = produce(&mut client, 9, &request(2, topics())).await;
    let expected = [
        ResponseError::UnknownTopicOrPartition,
        ResponseError::InvalidRecord,
        ResponseError::InvalidRequiredAcks,
    ];
    assert_eq!(codes(&answer), expected.map(|code| code.code()));
    let answer = produce(&mut client, 9, &request(1, topics())).await;
    assert_eq!(codes(&answer)[2], ResponseError::MessageTooLarge.code());
    let answer = &answer.responses[0].partition_responses[2];
    assert_eq!((answer.base_offset, answer.log_append_time_ms), (-1, -1));
    assert!(answer.error_message.is_some());
}

#[tokio::test]
async fn a_bad_partition_does_not_keep_the_others_out() {
    let (broker, fake) = broker(settings()).await;
    let topic = fake.create_topic("t", 2, &[("cleanup.policy", "compact")]);
    let mut client = Client::connect(&broker);
    let mut keyed = BatchBuilder::new(Codec::None);
    keyed.append(1_700_000_000_000, Some(b"k"), None, &[]);
    let keyed = keyed.build().unwrap().bytes;
    let topics = vec![named(
        "t",
        topic,
        &[(0, batch().bytes), (1, keyed.clone()), (1, keyed)],
    )];
    let answer = produce(&mut client, 11, &request(-1, topics)).await;
    let invalid = ResponseError::InvalidRecord.code();
    assert_eq!(
        codes(&answer),
        [invalid, 0, invalid],
        "without key, good, named twice"
    );
    let errors = &answer.responses[0].partition_responses[0].record_errors;
    assert_eq!(
        errors.iter().map(|e| e.batch_index).collect::<Vec<_>>(),
        [0]
    );
}

#[tokio::test]
async fn acks_0_has_no_answer_and_an_error_closes_the_connection() {
    let (broker, fake) = broker(settings()).await;
    let topic = fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    let good = || vec![named("t", topic, &[(0, batch().bytes)])];
    client.send(ApiKey::Produce, 9, &request(0, good())).await;
    let answer = produce(&mut client, 9, &request(1, good())).await;
    assert_eq!(
        codes(&answer),
        [0],
        "the first answer is that of the second request"
    );
    assert_eq!(answer.responses[0].partition_responses[0].base_offset, 1);
    let bad = vec![named("t", topic, &[(5, batch().bytes)])];
    client.send(ApiKey::Produce, 9, &request(0, bad)).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn transactions_are_refused_for_the_whole_request() {
    let (broker, fake) = broker(settings()).await;
    let topic = fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    let refused = ResponseError::TransactionalIdAuthorizationFailed.code();
    let by_id = request(-1, vec![named("t", topic, &[(0, batch().bytes)])])
        .with_transactional_id(Some(TransactionalId(StrBytes::from_static_str("x"))));
    assert_eq!(codes(&produce(&mut client, 9, &by_id).await), [refused]);
    let inside = builder()
        .producer(ProducerId(1), ProducerEpoch(0), Sequence(0))
        .transactional(true)
        .build()
        .unwrap();
    let by_batch = request(-1, vec![named("t", topic, &[(0, inside.bytes)])]);
    assert_eq!(codes(&produce(&mut client, 9, &by_batch).await), [refused]);
}

#[tokio::test]
async fn a_duplicate_is_answered_with_its_first_offset() {
    let (broker, fake) = broker(settings()).await;
    let topic = fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    let idempotent = builder()
        .producer(ProducerId(1), ProducerEpoch(0), Sequence(0))
        .build()
        .unwrap()
        .bytes;
    for _ in 0..2 {
        let topics = vec![named("t", topic, &[(0, idempotent.clone())])];
        let answer = produce(&mut client, 9, &request(-1, topics)).await;
        assert_eq!(codes(&answer), [0]);
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, 0);
    }
    assert_eq!(fake.watermarks(topic, 0).unwrap().high_watermark.0, 1);
}

#[tokio::test]
async fn over_the_metadata_budget_producers_are_slowed_then_refused() {
    let (broker, fake) = broker(settings()).await;
    let topic = fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    fake.set_throttle_produce(true);
    fake.set_over_budget(true);
    while !broker.view.throttle_produce() {
        broker.ports.sleep(Duration::from_millis(1)).await;
    }
    let topics = vec![named("t", topic, &[(0, batch().bytes)])];
    let answer = produce(&mut client, 9, &request(-1, topics)).await;
    assert_eq!(codes(&answer), [ResponseError::NotEnoughReplicas.code()]);
    assert_eq!(answer.throttle_time_ms, 500);
}

#[tokio::test]
async fn a_stale_upload_is_answered_with_the_partitions_leader() {
    let (broker, fake) = broker(settings()).await;
    let topic = fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    broker.view.catch_up().await.unwrap();
    fake.set_frames_held(true);
    fake.advance_upload_epoch(11);
    let topics = vec![named("t", topic, &[(0, batch().bytes)])];
    let answer = produce(&mut client, 12, &request(-1, topics)).await;
    assert_eq!(codes(&answer), [ResponseError::NotLeaderOrFollower.code()]);
    let leader = &answer.responses[0].partition_responses[0].current_leader;
    assert_eq!(answer.node_endpoints.len(), 1);
    assert_eq!(answer.node_endpoints[0].node_id, leader.leader_id);
    assert_eq!(answer.node_endpoints[0].port, 9092);
}

#[tokio::test]
async fn regression_odd_producer_ids_and_epochs_are_answered() {
    let (broker, fake) = broker(settings()).await;
    let topic = fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    let stale = ResponseError::InvalidProducerEpoch.code();
    for (id, epoch, sequence, code, base_offset) in [
        // Every id below 0 is none: nothing is said of duplicates.
        (-2, 0, 0, 0, 0),
        (-2, 0, 0, 0, 1),
        (i64::MIN, -1, 7, 0, 2),
        (-1, -1, 5, 0, 3),
        (7, -1, 0, stale, -1),
        (7, i16::MIN, 0, stale, -1),
        (7, 0, 0, 0, 4),
    ] {
        let records = builder()
            .producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence))
            .build()
            .unwrap()
            .bytes;
        let topics = vec![named("t", topic, &[(0, records)])];
        let answer = produce(&mut client, 9, &request(-1, topics)).await;
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(
            (partition.error_code, partition.base_offset),
            (code, base_offset),
            "producer {id}, epoch {epoch}, sequence {sequence}"
        );
    }
}

#[tokio::test]
async fn regression_errors_found_by_the_log_say_where_it_begins() {
    let (broker, fake) = broker(settings()).await;
    let compact = ("cleanup.policy", "compact");
    let topic = fake.create_topic("t", 1, &[compact, ("max.message.bytes", "200")]);
    let mut client = Client::connect(&broker);
    let of = |id, sequence, value: &[u8]| {
        let mut builder = BatchBuilder::new(Codec::None).producer(
            ProducerId(id),
            ProducerEpoch(3),
            Sequence(sequence),
        );
        builder.append(1_700_000_000_000, Some(b"k"), Some(value), &[]);
        builder
    };
    let sent = |records: &BatchBuilder| records.build().unwrap().bytes;
    let first = vec![named("t", topic, &[(0, sent(&of(7, 0, b"v")))])];
    let answer = produce(&mut client, 9, &request(-1, first)).await;
    assert_eq!(codes(&answer), [0]);
    let partition = PartitionId::new(topic, PartitionIndex(0));
    fake.set_log_start(partition, Offset(1));
    let begins = |marks: Watermarks| marks.log_start == Offset(1);
    while !broker.view.watermarks(partition).is_some_and(begins) {
        broker.ports.sleep(Duration::from_millis(1)).await;
    }
    let old = of(7, 0, b"v").producer(ProducerId(7), ProducerEpoch(2), Sequence(0));
    let mut corrupt = sent(&of(-1, -1, b"v")).to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    for (what, acks, index, records, error, log_start) in [
        (
            "no key",
            -1,
            0,
            batch().bytes,
            ResponseError::InvalidRecord,
            1,
        ),
        (
            "a control batch",
            -1,
            0,
            sent(&of(-1, -1, b"v").control(true)),
            ResponseError::InvalidRecord,
            1,
        ),
        (
            "an old epoch",
            -1,
            0,
            sent(&old),
            ResponseError::InvalidProducerEpoch,
            1,
        ),
        (
            "too large",
            -1,
            0,
            sent(&of(-1, -1, &[b'v'; 300])),
            ResponseError::MessageTooLarge,
            -1,
        ),
        (
            "corrupt",
            -1,
            0,
            corrupt.into(),
            ResponseError::CorruptMessage,
            -1,
        ),
        (
            "no batch",
            -1,
            0,
            Bytes::new(),
            ResponseError::InvalidRecord,
            -1,
        ),
        (
            "acks",
            2,
            0,
            sent(&of(-1, -1, b"v")),
            ResponseError::InvalidRequiredAcks,
            -1,
        ),
        (
            "no such partition",
            -1,
            1,
            sent(&of(-1, -1, b"v")),
            ResponseError::UnknownTopicOrPartition,
            -1,
        ),
    ] {
        let topics = vec![named("t", topic, &[(index, records)])];
        let answer = produce(&mut client, 9, &request(acks, topics)).await;
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(
            (partition.error_code, partition.log_start_offset),
            (error.code(), log_start),
            "{what}"
        );
        assert!(partition.error_message.is_some(), "{what}");
    }
}

#[tokio::test]
async fn regression_topics_without_partitions_are_left_out() {
    let (broker, fake) = broker(settings()).await;
    let topic = fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    for version in VERSIONS {
        let nobody = TopicId(uuid::Uuid::from_u128(99));
        let topics = vec![
            named("missing", nobody, &[]),
            named("t", topic, &[(0, batch().bytes)]),
        ];
        let answer = produce(&mut client, version, &request(-1, topics)).await;
        assert_eq!(answer.responses.len(), 1, "v{version}");
        assert_eq!(codes(&answer), [0], "v{version}");
    }
}
