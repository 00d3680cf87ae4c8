//! Rows: what goes in comes out, damage is seen, and the bytes of this version stay what they are.

use aquifer_format::ids::{
    ClusterId, CommitNumber, Incarnation, LeaderEpoch, ObjectId, ObjectLevel, Offset, PartitionId,
    PartitionIndex, ProducerEpoch, ProducerId, Sequence, SessionId, TopicId, UploadEpoch,
    WriterSlot,
};
use aquifer_metadata_api::{
    commit::{BatchRef, BatchSummary, Rejection},
    register::AgentAddress,
};
use proptest::prelude::*;
use prost::Message;
use uuid::Uuid;

use super::{
    Committed, CommittedBatch, CommittedRun, Decision, Event, HoldDecided, LossAccepted, Moment,
    ObjectInfo, ROW_VERSION, RowError, TopicCreated, decode_row, encode_row, golden, proto,
    strategy,
};

mod groups;
mod upkeep;

proptest! {
    #[test]
    fn rows_decode_to_what_was_encoded(events in prop::collection::vec(strategy::event(), 0..6)) {
        let row = encode_row(&events);
        prop_assert_eq!(decode_row(&row).unwrap(), events);
    }

    #[test]
    fn damaged_rows_are_refused_or_read_but_never_panic(
        events in prop::collection::vec(strategy::event(), 0..4),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut row = encode_row(&events).to_vec();
        let position = at.index(row.len());
        row[position] ^= flip;
        let _ = decode_row(&row);
        let _ = decode_row(&row[..cut.index(row.len())]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_row(&bytes);
    }
}

#[test]
fn rows_of_newer_versions_are_refused() {
    let row = proto::Row {
        version: ROW_VERSION + 1,
        events: Vec::new(),
    };
    let found = ROW_VERSION + 1;
    assert_eq!(
        decode_row(&row.encode_to_vec()),
        Err(RowError::NewerVersion { found })
    );
    assert!(matches!(decode_row(&[]), Err(RowError::Malformed { .. })));
}

#[test]
fn events_of_unknown_kinds_are_refused() {
    // Row { version: 1, events: [Event { 99: {} }] }
    let row = [0x08, 1, 0x12, 3, 0x9a, 0x06, 0];
    assert_eq!(decode_row(&row), Err(RowError::UnknownEvent));
}

fn topic(bits: u128) -> TopicId {
    TopicId(Uuid::from_u128(bits))
}

fn object(unique: u64) -> ObjectInfo {
    ObjectInfo {
        id: ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(42),
            writer: WriterSlot(3),
            level: ObjectLevel::L0,
            unique,
        },
        bytes: 8_388_608,
        locations: vec![0],
    }
}

fn at() -> Moment {
    Moment {
        unix_millis: 1_763_800_000_000,
        upload_epoch: UploadEpoch(43),
    }
}

fn summary(producer: i64, sequence: i32) -> BatchSummary {
    BatchSummary {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(if producer < 0 { -1 } else { 2 }),
        first_sequence: Sequence(if producer < 0 { -1 } else { sequence }),
        records: 100,
        bytes: 16_384,
        max_timestamp: 1_763_799_999_990,
    }
}

fn committed() -> Event {
    let run = |partition: u128, index: i32, position: u64, batches: u32| CommittedRun {
        partition: PartitionId::new(topic(partition), PartitionIndex(index)),
        position,
        stored_bytes: 20_000,
        log_start: Offset(7),
        log_append_time: index == 1,
        batches,
    };
    let batch = |producer, sequence, decision| CommittedBatch {
        summary: summary(producer, sequence),
        decision,
    };
    Event::Committed(Box::new(Committed {
        session: SessionId(9),
        number: CommitNumber(1_000),
        answered_through: CommitNumber(998),
        object: object(0xdead_beef),
        at: at(),
        runs: vec![run(1, 0, 8, 3), run(1, 1, 20_008, 2), run(2, 5, 50_000, 2)],
        batches: vec![
            batch(
                -1,
                0,
                Decision::Appended {
                    base_offset: Offset(100),
                },
            ),
            batch(
                5,
                0,
                Decision::Appended {
                    base_offset: Offset(200),
                },
            ),
            batch(5, 300, Decision::Held),
            batch(
                6,
                0,
                Decision::Duplicate {
                    base_offset: Offset(3),
                    log_append_time: None,
                },
            ),
            batch(
                6,
                100,
                Decision::Duplicate {
                    base_offset: Offset(4),
                    log_append_time: Some(77),
                },
            ),
            batch(
                7,
                i32::MAX,
                Decision::Rejected(Rejection::OutOfOrderSequence),
            ),
            batch(7, 1, Decision::Rejected(Rejection::StaleProducerEpoch)),
        ],
    }))
}

fn hold_decided(decision: Decision) -> HoldDecided {
    HoldDecided {
        partition: PartitionId::new(topic(1), PartitionIndex(0)),
        session: SessionId(9),
        batch: BatchRef {
            number: CommitNumber(1_000),
            run: 0,
            batch: 2,
        },
        summary: summary(5, 300),
        object: object(0xdead_beef),
        run_position: 8,
        run_bytes: 20_000,
        raw_start: 32_768,
        log_start: Offset(7),
        log_append_time: true,
        decision,
    }
}

/// One event of each kind, and one for each later form of a kind. A new kind gets a line here and a golden file.
fn examples() -> Vec<(&'static str, Event)> {
    let agent = AgentAddress {
        host: "agent-1.example".to_owned(),
        port: 9092,
        node_ids: 4,
        zone: "zone-a".to_owned(),
        peer: String::new(),
    };
    let with_peer = AgentAddress {
        peer: "10.0.0.7:9400".to_owned(),
        ..agent.clone()
    };
    vec![
        (
            "genesis",
            Event::Genesis {
                cluster: ClusterId(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10)),
                incarnation: Incarnation(1),
                upload_epoch: UploadEpoch(1),
            },
        ),
        (
            "upload_epoch_advanced",
            Event::UploadEpochAdvanced {
                upload_epoch: UploadEpoch(44),
            },
        ),
        (
            "registered",
            Event::Registered {
                slot: WriterSlot(3),
                session: SessionId(9),
                agent,
            },
        ),
        (
            "registered_with_peer",
            Event::Registered {
                slot: WriterSlot(3),
                session: SessionId(9),
                agent: with_peer,
            },
        ),
        (
            "session_ended",
            Event::SessionEnded {
                session: SessionId(9),
                slot: WriterSlot(3),
                upload_epoch: UploadEpoch(60),
            },
        ),
        (
            "topic_created",
            Event::TopicCreated(TopicCreated {
                topic: topic(1),
                name: "orders".to_owned(),
                partitions: 12,
                leader_epoch: LeaderEpoch(5),
                configs: configs(&[("cleanup.policy", "compact"), ("retention.ms", "60000")]),
            }),
        ),
        ("topic_deleted", Event::TopicDeleted { topic: topic(1) }),
        (
            "producer_id_allocated",
            Event::ProducerIdAllocated {
                producer_id: ProducerId(1_000),
            },
        ),
        ("committed", committed()),
        (
            "holds_decided",
            Event::HoldsDecided {
                at: at(),
                decisions: vec![
                    hold_decided(Decision::Appended {
                        base_offset: Offset(300),
                    }),
                    hold_decided(Decision::Duplicate {
                        base_offset: Offset(300),
                        log_append_time: Some(at().unix_millis),
                    }),
                    hold_decided(Decision::Rejected(Rejection::OutOfOrderSequence)),
                ],
            },
        ),
        (
            "producers_expired",
            Event::ProducersExpired {
                last_seen_through: UploadEpoch(7),
                partitions: vec![
                    PartitionId::new(topic(1), PartitionIndex(0)),
                    PartitionId::new(topic(1), PartitionIndex(3)),
                    PartitionId::new(topic(2), PartitionIndex(1)),
                ],
            },
        ),
        (
            "objects_released",
            Event::ObjectsReleased {
                since: UploadEpoch(43),
                objects: vec![(object(1).id, 10), (object(2).id, 20)],
            },
        ),
        (
            "loss_accepted",
            Event::LossAccepted(Box::new(LossAccepted {
                incarnation: Incarnation(2),
                upload_epoch: UploadEpoch(44),
                leader_epoch: LeaderEpoch(1_005),
                next_session: SessionId(1_000_009),
                next_producer_id: ProducerId(1_000_007),
                partitions: vec![
                    (
                        PartitionId::new(topic(1), PartitionIndex(0)),
                        Offset(1_000_000),
                    ),
                    (
                        PartitionId::new(topic(1), PartitionIndex(1)),
                        Offset(1_000_200),
                    ),
                    (
                        PartitionId::new(topic(2), PartitionIndex(0)),
                        Offset(1_000_000),
                    ),
                ],
            })),
        ),
        (
            "topic_configs_set",
            Event::TopicConfigsSet {
                topic: topic(1),
                configs: configs(&[("cleanup.policy", "compact"), ("retention.ms", "-1")]),
            },
        ),
        (
            "partitions_added",
            Event::PartitionsAdded {
                topic: topic(1),
                partitions: 12,
            },
        ),
        (
            "log_start_moved",
            Event::LogStartMoved {
                partitions: vec![
                    (PartitionId::new(topic(1), PartitionIndex(0)), Offset(100)),
                    (PartitionId::new(topic(1), PartitionIndex(7)), Offset(1)),
                    (
                        PartitionId::new(topic(2), PartitionIndex(0)),
                        Offset(9_000_000_000),
                    ),
                ],
            },
        ),
        (
            "broker_configs_set",
            Event::BrokerConfigsSet {
                configs: configs(&[("log.retention.ms", "60000")]),
            },
        ),
    ]
}

fn configs(configs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    configs.iter().map(owned).collect()
}

#[test]
fn golden_rows_of_version_1() {
    let mut examples = examples();
    examples.extend(groups::examples());
    examples.extend(upkeep::examples());
    let kinds: std::collections::BTreeSet<_> = examples
        .iter()
        .map(|(_, event)| std::mem::discriminant(event))
        .map(|kind| format!("{kind:?}"))
        .collect();
    assert_eq!(kinds.len(), 26, "every kind of event has an example");
    for (name, event) in examples {
        let row = encode_row(std::slice::from_ref(&event));
        golden::check(&format!("row-v1-{name}.bin"), &row);
        assert_eq!(decode_row(&row).unwrap(), [event], "{name}");
    }
}
