//! What Kafka's producers expect, as raw requests against a running broker: idempotence and Produce.

use std::time::Duration;

use aquifer_format::codec::Codec;
use aquifer_tests::{
    batches::{PLAIN, at, batch, batch_at, falsified, keyless, now},
    broker::DevBroker,
    fetch::{Ask, batches},
    wire::{Answer, Connection, api_versions, encode, first_result, produce_request, topic_name},
};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    DeleteTopicsRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest, TransactionalId,
    delete_topics_request::DeleteTopicState, metadata_request::MetadataRequestTopic,
};
use kafka_protocol::protocol::StrBytes;

const OUT_OF_ORDER: i16 = 45;
const INVALID_RECORD: i16 = 87;

fn open(broker: &DevBroker, topic: &str, configs: &[(&str, &str)]) -> Connection {
    let mut connection = Connection::open(broker.address());
    connection.create_topic(topic, 1, configs);
    connection
}

#[test]
fn idempotent_producers() {
    let broker = DevBroker::start();
    duplicates_get_their_original_offset(&broker);
    epochs_are_checked_first(&broker);
    sequences_wrap_between_batches(&broker);
    sequences_wrap_inside_a_batch(&broker);
    a_virgin_partition_takes_only_sequence_zero(&broker);
    an_unknown_producer_is_taken_where_there_were_records(&broker);
    a_gap_is_held_and_filled(&broker);
    a_gap_that_nothing_fills_is_out_of_order(&broker);
    five_in_flight_keep_their_order(&broker);
    malformed_producers_are_invalid(&broker);
}

fn duplicates_get_their_original_offset(broker: &DevBroker) {
    let mut connection = open(broker, "duplicates", &[]);
    let (id, epoch) = connection.producer_id();
    let batches: Vec<Bytes> = (0..20).map(|i| batch((id, epoch, i * 3), 3)).collect();
    for (i, records) in (0..).zip(&batches) {
        assert_eq!(
            connection.produce("duplicates", 0, records.clone()),
            (0, i * 3, -1)
        );
    }
    // The last 16 are remembered (Kafka remembers 5).
    for (i, records) in (0..).zip(&batches).skip(4) {
        assert_eq!(
            connection.produce("duplicates", 0, records.clone()),
            (0, i * 3, -1),
            "again {i}"
        );
    }
    // The next one still goes in where it belongs: nothing was appended meanwhile.
    assert_eq!(
        connection.produce("duplicates", 0, batch((id, epoch, 60), 1)),
        (0, 60, -1)
    );
}

fn epochs_are_checked_first(broker: &DevBroker) {
    let mut connection = open(broker, "epochs", &[]);
    let (id, _) = connection.producer_id();
    assert_eq!(connection.produce("epochs", 0, batch((id, 3, 0), 2)).0, 0);
    assert_eq!(
        connection.produce("epochs", 0, batch((id, 2, 2), 1)).0,
        47,
        "a lower epoch"
    );
    assert_eq!(
        connection.produce("epochs", 0, batch((id, 4, 2), 1)).0,
        OUT_OF_ORDER,
        "a higher one"
    );
    assert_eq!(
        connection.produce("epochs", 0, batch((id, 4, 0), 1)).0,
        0,
        "a higher one from 0"
    );
    assert_eq!(
        connection.produce("epochs", 0, batch((id, 3, 2), 1)).0,
        47,
        "the old one"
    );
}

fn sequences_wrap_between_batches(broker: &DevBroker) {
    for first in (i32::MAX - 3)..=i32::MAX {
        let topic = format!("wrap-{}", i32::MAX - first);
        let mut connection = open(broker, &topic, &[]);
        let (id, epoch) = connection.producer_id();
        // A record of another producer: an unknown one may begin anywhere then.
        assert_eq!(connection.produce(&topic, 0, batch(PLAIN, 1)).0, 0);
        let up_to_the_maximum = usize::try_from(i32::MAX - first).expect("small") + 1;
        let records = batch((id, epoch, first), up_to_the_maximum);
        assert_eq!(
            connection.produce(&topic, 0, records).0,
            0,
            "up to the maximum from {first}"
        );
        assert_eq!(
            connection.produce(&topic, 0, batch((id, epoch, 0), 2)).0,
            0,
            "then 0"
        );
        assert_eq!(
            connection.produce(&topic, 0, batch((id, epoch, 2), 1)).0,
            0,
            "then 2"
        );
    }
}

fn sequences_wrap_inside_a_batch(broker: &DevBroker) {
    let mut connection = open(broker, "wrap-inside", &[]);
    let (id, epoch) = connection.producer_id();
    assert_eq!(connection.produce("wrap-inside", 0, batch(PLAIN, 1)).0, 0);
    let across = batch((id, epoch, i32::MAX - 1), 4);
    assert_eq!(
        connection.produce("wrap-inside", 0, across.clone()),
        (0, 1, -1)
    );
    assert_eq!(
        connection.produce("wrap-inside", 0, across),
        (0, 1, -1),
        "the duplicate"
    );
    assert_eq!(
        connection.produce("wrap-inside", 0, batch((id, epoch, 2), 1)),
        (0, 5, -1)
    );
}

fn a_virgin_partition_takes_only_sequence_zero(broker: &DevBroker) {
    let mut connection = open(broker, "virgin", &[]);
    let (id, epoch) = connection.producer_id();
    assert_eq!(
        connection.produce("virgin", 0, batch((id, epoch, 5), 1)).0,
        OUT_OF_ORDER
    );
    assert_eq!(
        connection.produce("virgin", 0, batch((id, epoch, 0), 1)),
        (0, 0, -1)
    );
}

fn an_unknown_producer_is_taken_where_there_were_records(broker: &DevBroker) {
    let mut connection = open(broker, "unknown-producer", &[]);
    assert_eq!(
        connection.produce("unknown-producer", 0, batch(PLAIN, 1)).0,
        0
    );
    let (id, epoch) = connection.producer_id();
    assert_eq!(
        connection.produce("unknown-producer", 0, batch((id, epoch, 70), 2)),
        (0, 1, -1)
    );
    assert_eq!(
        connection.produce("unknown-producer", 0, batch((id, epoch, 72), 1)),
        (0, 3, -1)
    );
}

fn a_gap_is_held_and_filled(broker: &DevBroker) {
    let mut late = open(broker, "held", &[]);
    let mut early = Connection::open(broker.address());
    let (id, epoch) = late.producer_id();
    assert_eq!(
        late.produce("held", 0, batch((id, epoch, 0), 1)),
        (0, 0, -1)
    );
    // Sequence 2 overtakes sequence 1 (another connection, as when a partition's agent changes).
    let waiting = early.send(9, &produce_request("held", 0, -1, batch((id, epoch, 2), 1)));
    std::thread::sleep(Duration::from_millis(300));
    // Other partitions and producers are not held up.
    assert_eq!(late.produce("held", 0, batch(PLAIN, 1)), (0, 1, -1));
    assert_eq!(
        late.produce("held", 0, batch((id, epoch, 1), 1)),
        (0, 2, -1)
    );
    let filled = first_result(&early.receive::<ProduceRequest>(9, waiting));
    assert_eq!(filled, (0, 3, -1), "the held batch follows its predecessor");
}

fn a_gap_that_nothing_fills_is_out_of_order(broker: &DevBroker) {
    let mut connection = open(broker, "gap", &[]);
    let (id, epoch) = connection.producer_id();
    assert_eq!(connection.produce("gap", 0, batch((id, epoch, 0), 1)).0, 0);
    assert_eq!(
        connection.produce("gap", 0, batch((id, epoch, 9), 1)).0,
        OUT_OF_ORDER
    );
    assert_eq!(
        connection.produce("gap", 0, batch((id, epoch, 1), 1)),
        (0, 1, -1),
        "unharmed"
    );
    // Five of one connection held: nothing can come any more that would fill the gap.
    let sent: Vec<i32> = (3..8)
        .map(|s| connection.send(9, &produce_request("gap", 0, -1, batch((id, epoch, s), 1))))
        .collect();
    for correlation in sent {
        let result = first_result(&connection.receive::<ProduceRequest>(9, correlation));
        assert_eq!(result.0, OUT_OF_ORDER);
    }
}

fn five_in_flight_keep_their_order(broker: &DevBroker) {
    let mut connection = open(broker, "five", &[]);
    let (id, epoch) = connection.producer_id();
    for round in 0..40 {
        let sent: Vec<i32> = (0..5)
            .map(|i| {
                let records = batch((id, epoch, round * 5 + i), 1);
                connection.send(9, &produce_request("five", 0, -1, records))
            })
            .collect();
        for (i, correlation) in (0..).zip(sent) {
            let result = first_result(&connection.receive::<ProduceRequest>(9, correlation));
            assert_eq!(result, (0, i64::from(round * 5 + i), -1));
        }
    }
}

fn malformed_producers_are_invalid(broker: &DevBroker) {
    let mut connection = open(broker, "malformed", &[]);
    let (id, epoch) = connection.producer_id();
    let good = batch((id, epoch, 0), 2);
    let mut two = BytesMut::from(&good[..]);
    two.extend_from_slice(&batch((id, epoch, 2), 1));
    let cases = [
        (
            "a producer id without a sequence",
            batch((id, epoch, -1), 1),
        ),
        ("a negative sequence", batch((id, epoch, -7), 1)),
        (
            "a control batch",
            falsified(&good, &[(at::ATTRIBUTES, 0x20)], true),
        ),
        (
            "fewer records than offsets",
            falsified(&good, &[(at::LAST_OFFSET_DELTA, 9)], true),
        ),
        (
            "another record count",
            falsified(&good, &[(at::RECORD_COUNT, 7)], true),
        ),
        ("two batches", two.freeze()),
        ("magic 1", falsified(&good, &[(at::MAGIC, 1)], false)),
    ];
    for (what, records) in cases {
        assert_eq!(
            connection.produce("malformed", 0, records).0,
            INVALID_RECORD,
            "{what}"
        );
    }
    assert_eq!(
        connection.produce("malformed", 0, good),
        (0, 0, -1),
        "nothing was taken of those"
    );
}

#[test]
fn produce() {
    let broker = DevBroker::start();
    errors_have_kafkas_codes(&broker);
    acks_zero_gets_no_answer_and_an_error_closes(&broker);
    compacted_topics_want_keys(&broker);
    timestamps_have_bounds(&broker);
    the_broker_gives_the_time_where_asked_to(&broker);
    every_version_round_trips(&broker);
    every_codec_is_taken_and_topics_can_choose_one(&broker);
    old_produce_versions_are_listed(&broker);
    names_are_checked(&broker);
    a_topic_created_again_has_nothing_of_the_old_one(&broker);
    transactions_are_refused_clearly(&broker);
}

fn errors_have_kafkas_codes(broker: &DevBroker) {
    let mut connection = open(broker, "errors", &[("max.message.bytes", "2000")]);
    let good = batch(PLAIN, 1);
    let large = batch(PLAIN, 500);
    assert!(large.len() > 2000, "larger than the topic allows");
    assert_eq!(
        connection.produce("errors", 0, large).0,
        10,
        "MESSAGE_TOO_LARGE"
    );
    let torn = falsified(&good, &[(good.len() - 1, 0xff)], false);
    assert_eq!(
        connection.produce("errors", 0, torn).0,
        2,
        "CORRUPT_MESSAGE"
    );
    assert_eq!(
        connection.produce("errors", 7, good.clone()).0,
        3,
        "no such partition"
    );
    assert_eq!(
        connection.produce("never-created", 0, good.clone()).0,
        3,
        "no such topic"
    );
    let request = produce_request("errors", 0, 2, good.clone());
    assert_eq!(
        first_result(&connection.call(9, &request)).0,
        21,
        "INVALID_REQUIRED_ACKS"
    );
    let mut by_id = produce_request("errors", 0, -1, good.clone());
    by_id.topic_data[0].topic_id = uuid::Uuid::from_u128(7);
    assert_eq!(
        first_result(&connection.call(13, &by_id)).0,
        100,
        "UNKNOWN_TOPIC_ID"
    );
    assert_eq!(connection.produce("errors", 0, good), (0, 0, -1));
}

fn acks_zero_gets_no_answer_and_an_error_closes(broker: &DevBroker) {
    let mut connection = open(broker, "acks-zero", &[]);
    connection.send(9, &produce_request("acks-zero", 0, 0, batch(PLAIN, 1)));
    // The next answer on the connection is that of the next request.
    assert_eq!(
        connection.produce("acks-zero", 0, batch(PLAIN, 1)),
        (0, 1, -1)
    );
    connection.send(9, &produce_request("no-such-topic", 0, 0, batch(PLAIN, 1)));
    assert_eq!(connection.answer(Duration::from_secs(10)), Answer::Closed);
}

fn compacted_topics_want_keys(broker: &DevBroker) {
    let mut connection = open(broker, "compacted", &[("cleanup.policy", "compact")]);
    let response = connection.call(9, &produce_request("compacted", 0, -1, keyless()));
    let result = &response.responses[0].partition_responses[0];
    assert_eq!(result.error_code, INVALID_RECORD);
    assert_eq!(result.record_errors.len(), 1, "it says which record");
    assert_eq!(result.record_errors[0].batch_index, 0);
    assert_eq!(
        connection.produce("compacted", 0, batch(PLAIN, 1)),
        (0, 0, -1)
    );
}

fn timestamps_have_bounds(broker: &DevBroker) {
    let bounds = [
        ("message.timestamp.before.max.ms", "60000"),
        ("message.timestamp.after.max.ms", "60000"),
    ];
    let mut connection = open(broker, "bounds", &bounds);
    for (shift, code) in [(-120_000, 32), (120_000, 32), (-30_000, 0), (30_000, 0)] {
        let records = batch_at(Codec::None, PLAIN, &[now(), now() + shift]);
        assert_eq!(
            connection.produce("bounds", 0, records).0,
            code,
            "{shift} ms from now"
        );
    }
}

fn the_broker_gives_the_time_where_asked_to(broker: &DevBroker) {
    let mut connection = open(
        broker,
        "log-append-time",
        &[("message.timestamp.type", "LogAppendTime")],
    );
    let before = now();
    let records = batch_at(Codec::Lz4, PLAIN, &[5, 6]);
    let (code, offset, time) = connection.produce("log-append-time", 0, records);
    assert_eq!((code, offset), (0, 0));
    assert!(
        (before..=now()).contains(&time),
        "{time} is the time of the append"
    );
}

fn every_version_round_trips(broker: &DevBroker) {
    let mut connection = open(broker, "versions", &[]);
    let topic_id = connection.topic_metadata("versions").topics[0].topic_id;
    for (offset, version) in (0..).zip(3..=13) {
        let mut request = produce_request("versions", 0, -1, batch(PLAIN, 1));
        request.topic_data[0].topic_id = topic_id;
        let result = first_result(&connection.call(version, &request));
        assert_eq!(result, (0, offset, -1), "version {version}");
    }
}

fn every_codec_is_taken_and_topics_can_choose_one(broker: &DevBroker) {
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        for (target, expected) in [
            ("producer", codec),
            ("uncompressed", Codec::None),
            ("gzip", Codec::Gzip),
            ("snappy", Codec::Snappy),
            ("lz4", Codec::Lz4),
            ("zstd", Codec::Zstd),
        ] {
            let topic = format!("codec-{}-{target}", codec.name());
            let mut connection = open(broker, &topic, &[("compression.type", target)]);
            let records = batch_at(codec, PLAIN, &[now(), now(), now()]);
            assert_eq!(
                connection.produce(&topic, 0, records),
                (0, 0, -1),
                "{topic}"
            );
            let data = connection.fetch(&topic, 0, 0, Ask::default());
            let stored = batches(&data)[0].header.codec();
            assert_eq!(stored.expect("a known codec"), expected, "{topic}");
        }
    }
}

fn old_produce_versions_are_listed(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    let response = connection.call(3, &api_versions());
    let range = |key: i16| {
        let api = response
            .api_keys
            .iter()
            .find(|api| api.api_key == key)
            .expect("it is listed");
        (api.min_version, api.max_version)
    };
    assert_eq!(
        range(0).0,
        0,
        "Produce from v0, or older librdkafka stops compressing"
    );
    assert_eq!(range(1).0, 4, "Fetch from v4: no down-conversion");
    let features: Vec<_> = response
        .finalized_features
        .iter()
        .map(|f| f.name.to_string())
        .collect();
    assert!(
        !features.contains(&"transaction.version".to_owned()),
        "{features:?}"
    );
}

fn names_are_checked(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    let long = "x".repeat(250);
    for name in ["a b", ".", "..", "", long.as_str(), "ä"] {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(true);
        let response = connection.call(12, &request);
        assert_eq!(response.topics[0].error_code, 17, "{name:?}");
    }
    // Automatic creation: 3 or 5 at first, then the topic is there.
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name("automatic")));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true);
    let code = (0..50)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(20));
            connection.call(12, &request).topics[0].error_code
        })
        .find(|code| !matches!(code, 3 | 5));
    assert_eq!(code, Some(0));
}

fn a_topic_created_again_has_nothing_of_the_old_one(broker: &DevBroker) {
    let mut connection = open(broker, "again", &[]);
    let first = connection.topic_metadata("again").topics[0].clone();
    assert_eq!(connection.produce("again", 0, batch(PLAIN, 5)), (0, 0, -1));
    let gone = DeleteTopicState::default().with_name(Some(topic_name("again")));
    let request = DeleteTopicsRequest::default()
        .with_topics(vec![gone])
        .with_timeout_ms(30_000);
    assert_eq!(connection.call(6, &request).responses[0].error_code, 0);
    assert_eq!(
        connection.topic_metadata("again").topics[0].error_code,
        3,
        "it is gone"
    );
    connection.create_topic("again", 1, &[]);
    let second = connection.topic_metadata("again").topics[0].clone();
    assert_ne!(first.topic_id, second.topic_id);
    assert!(
        second.partitions[0].leader_epoch >= first.partitions[0].leader_epoch,
        "the leader epoch never goes back for a name"
    );
    assert_eq!(
        connection.produce("again", 0, batch(PLAIN, 1)),
        (0, 0, -1),
        "from offset 0"
    );
    let mut old = produce_request("again", 0, -1, batch(PLAIN, 1));
    old.topic_data[0].topic_id = first.topic_id;
    assert_eq!(
        first_result(&connection.call(13, &old)).0,
        100,
        "the old id is unknown"
    );
}

fn transactions_are_refused_clearly(broker: &DevBroker) {
    let mut connection = open(broker, "transactions", &[]);
    let id = TransactionalId(StrBytes::from_static_str("tx"));
    let request = InitProducerIdRequest::default()
        .with_producer_id((-1).into())
        .with_producer_epoch(-1)
        .with_transactional_id(Some(id.clone()))
        .with_transaction_timeout_ms(60_000);
    assert_ne!(connection.call(4, &request).error_code, 0, "InitProducerId");
    let empty = TransactionalId(StrBytes::from_static_str(""));
    let request = InitProducerIdRequest::default()
        .with_producer_id((-1).into())
        .with_producer_epoch(-1)
        .with_transactional_id(Some(empty))
        .with_transaction_timeout_ms(60_000);
    assert_eq!(
        connection.call(4, &request).error_code,
        42,
        "an empty id is INVALID_REQUEST"
    );
    let (producer, epoch) = connection.producer_id();
    let transactional = falsified(
        &batch((producer, epoch, 0), 1),
        &[(at::ATTRIBUTES, 0x10)],
        true,
    );
    let mut request = produce_request("transactions", 0, -1, transactional);
    request.transactional_id = Some(id);
    assert_ne!(first_result(&connection.call(9, &request)).0, 0, "Produce");
    assert_eq!(
        connection.produce("transactions", 0, batch(PLAIN, 1)),
        (0, 0, -1)
    );
}

#[test]
fn unknown_versions_and_apis() {
    let broker = DevBroker::start();
    let mut connection = Connection::open(broker.address());
    let mut frame = BytesMut::from(&encode(1, 3, &api_versions())[..]);
    frame[6..8].copy_from_slice(&99_i16.to_be_bytes());
    connection.send_bytes(&frame);
    let Answer::Frame(answer) = connection.answer(Duration::from_secs(10)) else {
        panic!("an unknown ApiVersions version is answered")
    };
    assert_eq!(
        answer[..6],
        [0, 0, 0, 1, 0, 35],
        "a v0 body with UNSUPPORTED_VERSION"
    );
    for (key, version) in [(0_i16, 99_i16), (1, 99), (3, 99), (999, 0), (-1, 0)] {
        let mut connection = Connection::open(broker.address());
        let mut frame = BytesMut::from(&encode(1, 3, &api_versions())[..]);
        frame[4..6].copy_from_slice(&key.to_be_bytes());
        frame[6..8].copy_from_slice(&version.to_be_bytes());
        connection.send_bytes(&frame);
        let answer = connection.answer(Duration::from_secs(10));
        assert_eq!(
            answer,
            Answer::Closed,
            "api {key} version {version} closes the connection"
        );
    }
}
