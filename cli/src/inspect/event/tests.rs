use aquifer_format::ids::{
    ClusterId, CommitNumber, Incarnation, LeaderEpoch, ObjectLevel, PartitionIndex, ProducerEpoch,
    ProducerId, Sequence, SessionId, TopicId, UploadEpoch, WriterSlot,
};
use aquifer_metadata::event::{
    ObjectInfo,
    group::{ConsumerMember, GroupChange, GroupKind, GroupNumber, OffsetCommit, OffsetsCommitted},
    swapped::SwappedExtent,
};
use aquifer_metadata_api::commit::BatchRef;

use super::*;
use crate::output;

fn cluster() -> ClusterId {
    aquifer_format::key::parse_cluster_id("AQIDBAUGBwgJCgsMDQ4PEA").unwrap()
}

fn topic() -> TopicId {
    TopicId(cluster().0)
}

fn partition(index: i32) -> PartitionId {
    PartitionId::new(topic(), PartitionIndex(index))
}

fn object() -> ObjectInfo {
    ObjectInfo {
        id: ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(2),
            writer: WriterSlot(3),
            level: ObjectLevel::L0,
            unique: 4,
        },
        bytes: 1_000,
        locations: vec![0],
    }
}

fn batch_summary() -> BatchSummary {
    BatchSummary {
        producer_id: ProducerId(7),
        producer_epoch: ProducerEpoch(1),
        first_sequence: Sequence(42),
        records: 3,
        bytes: 100,
        max_timestamp: 5,
    }
}

fn run(index: i32, batches: u32) -> CommittedRun {
    CommittedRun {
        partition: partition(index),
        position: 8,
        stored_bytes: 200,
        log_start: Offset(0),
        log_append_time: false,
        batches,
    }
}

/// A commit of three batches in two runs, each decided otherwise.
fn commit() -> Committed {
    let decisions = [
        Decision::Appended {
            base_offset: Offset(10),
        },
        Decision::Rejected(Rejection::OutOfOrderSequence),
        Decision::Held,
    ];
    Committed {
        session: SessionId(1),
        number: CommitNumber(2),
        answered_through: CommitNumber(1),
        object: object(),
        at: Moment {
            unix_millis: 9,
            upload_epoch: UploadEpoch(2),
        },
        runs: vec![run(0, 2), run(1, 1)],
        batches: decisions
            .map(|decision| CommittedBatch {
                summary: batch_summary(),
                decision,
            })
            .to_vec(),
    }
}

/// Every change of a group that has something to show.
fn group_changes() -> Vec<GroupChange> {
    let member = ConsumerMember {
        id: "c-1".into(),
        instance: None,
        rack: Some("zone-a".into()),
        client_id: "c".into(),
        client_host: "/10.0.0.1".into(),
        rebalance_timeout_ms: 300_000,
        topics: vec!["t".into()],
        regex: None,
        assignor: Some("uniform".into()),
        classic: None,
    };
    vec![
        GroupChange::Kind(GroupKind::Consumer),
        GroupChange::ConsumerMember(Box::new(member)),
        GroupChange::Target {
            epoch: 2,
            members: vec![("c-1".into(), [partition(1)].into_iter().collect())],
        },
        GroupChange::Removed("c-1".into()),
    ]
}

fn of_groups() -> Vec<Event> {
    let group = GroupNumber(3);
    let commit = OffsetCommit {
        offset: Offset(10),
        leader_epoch: -1,
        metadata: "".into(),
    };
    vec![
        Event::GroupCreated {
            group,
            name: "billing".to_owned(),
        },
        Event::GroupChanged {
            group,
            changes: group_changes(),
        },
        Event::GroupDeleted { group },
        Event::OffsetsCommitted(Box::new(OffsetsCommitted {
            group,
            at_ms: 5,
            expires_at_ms: None,
            offsets: vec![(partition(0), commit)],
        })),
        Event::OffsetsRemoved {
            group,
            partitions: vec![partition(0)],
        },
        Event::GroupConfigsSet {
            group: "billing".to_owned(),
            configs: BTreeMap::new(),
        },
    ]
}

#[test]
fn changes_of_groups_say_who_and_what() {
    let (_, fields) = event(&of_groups()[1]);
    let changes = fields["changes"].as_array().unwrap();
    assert_eq!(changes[0], json!({ "change": "kind", "kind": "consumer" }));
    assert_eq!(changes[1]["member"]["rack"], "zone-a");
    assert_eq!(changes[1]["member"]["topics"], json!(["t"]));
    let target = changes[2]["members"][0]["partitions"].as_array().unwrap();
    assert_eq!(target[..], [json!(partition(1).to_string())]);
    assert_eq!(changes[3]["id"], "c-1");
    let (_, fields) = event(&of_groups()[3]);
    assert_eq!(fields["offsets"][0]["offset"], 10);
}

fn all() -> Vec<Event> {
    let configs = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let agent = AgentAddress {
        host: "h".to_owned(),
        port: 1,
        node_ids: 4,
        zone: "z".to_owned(),
        peer: "h:2".to_owned(),
    };
    vec![
        Event::Genesis {
            cluster: cluster(),
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(1),
        },
        Event::UploadEpochAdvanced {
            upload_epoch: UploadEpoch(2),
        },
        Event::Registered {
            slot: WriterSlot(3),
            session: SessionId(1),
            agent,
        },
        Event::SessionEnded {
            session: SessionId(1),
            slot: WriterSlot(3),
            upload_epoch: UploadEpoch(2),
        },
        Event::TopicCreated(TopicCreated {
            topic: topic(),
            name: "t".to_owned(),
            partitions: 2,
            leader_epoch: LeaderEpoch(1),
            configs: configs.clone(),
        }),
        Event::TopicDeleted { topic: topic() },
        Event::ProducerIdAllocated {
            producer_id: ProducerId(7),
        },
        Event::Committed(Box::new(commit())),
        Event::HoldsDecided {
            at: Moment::default(),
            decisions: vec![HoldDecided {
                partition: partition(1),
                session: SessionId(1),
                batch: BatchRef {
                    number: CommitNumber(2),
                    run: 1,
                    batch: 0,
                },
                summary: batch_summary(),
                object: object(),
                run_position: 8,
                run_bytes: 200,
                raw_start: 0,
                log_start: Offset(0),
                log_append_time: true,
                decision: Decision::Duplicate {
                    base_offset: Offset(5),
                    log_append_time: None,
                },
            }],
        },
        Event::ProducersExpired {
            last_seen_through: UploadEpoch(1),
            partitions: vec![partition(0)],
        },
        Event::ObjectsReleased {
            since: UploadEpoch(2),
            objects: vec![(object().id, 1_000)],
        },
        Event::TopicConfigsSet {
            topic: topic(),
            configs: configs.clone(),
        },
        Event::PartitionsAdded {
            topic: topic(),
            partitions: 9,
        },
        Event::LogStartMoved {
            partitions: vec![(partition(0), Offset(10))],
        },
        Event::BrokerConfigsSet { configs },
        Event::LossAccepted(Box::new(LossAccepted {
            incarnation: Incarnation(2),
            upload_epoch: UploadEpoch(9),
            leader_epoch: LeaderEpoch(3),
            next_session: SessionId(5),
            next_producer_id: ProducerId(8),
            partitions: vec![(partition(0), Offset(1_000_010))],
        })),
        Event::Swapped(Box::new(swap())),
        Event::ObjectsDeleted {
            objects: vec![object().id],
        },
        Event::TopicSoftDeleted {
            topic: topic(),
            at_ms: 5,
            purge_at_ms: 86_400_005,
        },
        Event::TopicRestored {
            topic: topic(),
            leader_epoch: LeaderEpoch(4),
        },
    ]
}

/// One extent in the place of what lies at 10..20.
fn swap() -> Swapped {
    let extent = SwappedExtent {
        object: 0,
        run_position: 8,
        run_bytes: 200,
        raw_bytes: 300,
        base_offset: Offset(11),
        offsets: 9,
        max_timestamp: 5,
    };
    let range = SwappedRange {
        partition: partition(0),
        from: Offset(10),
        to: Offset(20),
        into: Offset(0),
        cleaned_through: Some(Offset(20)),
        extents: vec![extent],
    };
    Swapped {
        objects: vec![object()],
        ranges: vec![range],
    }
}

#[test]
fn a_swap_says_what_lies_where() {
    let value = swapped(&swap());
    let range = &value["ranges"][0];
    assert_eq!((&range["from"], &range["to"]), (&json!(10), &json!(20)));
    assert_eq!(range["cleaned_through"], 20);
    let extent = &range["extents"][0];
    assert_eq!(
        extent["object"],
        "0000000001/0000000002/l0-3-0000000000000004"
    );
    assert_eq!(extent["end_offset"], 20);
    let mut damaged = swap();
    damaged.objects.clear();
    assert!(swapped(&damaged)["ranges"][0]["extents"][0]["object"].is_null());
}

#[test]
fn every_event_has_a_name_of_its_own_and_fields() {
    let mut names = std::collections::BTreeSet::new();
    for one in all().into_iter().chain(of_groups()) {
        let (name, fields) = event(&one);
        assert!(names.insert(name), "{name} is there twice");
        let fields = fields.as_object().unwrap();
        assert!(!fields.is_empty(), "{name}");
        assert!(!output::summary(&json!(fields)).is_empty(), "{name}");
    }
}

#[test]
fn a_commit_has_its_batches_in_their_runs() {
    let value = committed(&commit());
    assert_eq!(
        value["batches"],
        json!({ "appended": 1, "rejected": 1, "held": 1 })
    );
    let runs = value["runs"].as_array().unwrap();
    let batches: Vec<usize> = runs
        .iter()
        .map(|run| run["batches"].as_array().unwrap().len())
        .collect();
    assert_eq!(batches, [2, 1]);
    assert_eq!(runs[0]["batches"][0]["base_offset"], 10);
    assert_eq!(runs[0]["batches"][1]["why"], "out_of_order_sequence");
    assert_eq!(runs[1]["batches"][0]["decision"], "held");
    assert_eq!(
        value["object"],
        "0000000001/0000000002/l0-3-0000000000000004"
    );
    let text = output::summary(&value);
    assert!(
        text.contains("batches={appended=1 held=1 rejected=1}"),
        "{text}"
    );
    assert!(text.contains("runs=[2]"), "{text}");
}
