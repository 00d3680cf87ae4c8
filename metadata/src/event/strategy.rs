//! Arbitrary events, sensible or not, for property tests.

use std::collections::BTreeMap;

use aquifer_format::ids::{
    ClusterId, CommitNumber, Incarnation, LeaderEpoch, ObjectId, ObjectLevel, Offset, PartitionId,
    PartitionIndex, ProducerEpoch, ProducerId, Sequence, SessionId, TopicId, UploadEpoch,
    WriterSlot,
};
use aquifer_metadata_api::{
    commit::{BatchRef, BatchSummary, Rejection},
    register::AgentAddress,
};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
};
use uuid::Uuid;

use super::{
    Committed, CommittedBatch, CommittedRun, Decision, Event, HoldDecided, LossAccepted, Moment,
    ObjectInfo, TopicCreated,
};

mod groups;
mod upkeep;

pub(crate) use groups::change as group_change;

/// Mostly small numbers, so that events meet each other, and now and then any.
fn number<T: Arbitrary + From<u8> + Clone + 'static>() -> BoxedStrategy<T> {
    prop_oneof![8 => (0u8..4).prop_map(T::from), 1 => any::<T>()].boxed()
}

fn topic() -> impl Strategy<Value = TopicId> {
    (0u128..3).prop_map(|bits| TopicId(Uuid::from_u128(bits)))
}

fn partition() -> impl Strategy<Value = PartitionId> {
    (topic(), number::<i32>())
        .prop_map(|(topic, index)| PartitionId::new(topic, PartitionIndex(index)))
}

fn object() -> impl Strategy<Value = ObjectInfo> {
    let level = prop_oneof![
        Just(ObjectLevel::L0),
        Just(ObjectLevel::L1),
        Just(ObjectLevel::L2)
    ];
    (
        number::<u32>(),
        number::<u32>(),
        level,
        number::<u64>(),
        any::<u64>(),
        vec(any::<u8>(), 0..3),
    )
        .prop_map(
            |(epoch, writer, level, unique, bytes, locations)| ObjectInfo {
                id: ObjectId {
                    incarnation: Incarnation(1),
                    upload_epoch: UploadEpoch(epoch),
                    writer: WriterSlot(writer),
                    level,
                    unique,
                },
                bytes,
                locations,
            },
        )
}

fn moment() -> impl Strategy<Value = Moment> {
    (any::<i64>(), number::<u32>()).prop_map(|(unix_millis, epoch)| Moment {
        unix_millis,
        upload_epoch: UploadEpoch(epoch),
    })
}

fn summary() -> impl Strategy<Value = BatchSummary> {
    let idempotent = (number::<i64>(), number::<i16>(), number::<i32>());
    let rest = (number::<u32>(), number::<u32>(), any::<i64>());
    (idempotent, rest).prop_map(|((producer, epoch, sequence), (records, bytes, time))| {
        let plain = producer < 0;
        BatchSummary {
            producer_id: ProducerId(producer),
            producer_epoch: if plain {
                ProducerEpoch::NONE
            } else {
                ProducerEpoch(epoch)
            },
            first_sequence: if plain {
                Sequence::NONE
            } else {
                Sequence(sequence)
            },
            records,
            bytes,
            max_timestamp: time,
        }
    })
}

fn decision() -> impl Strategy<Value = Decision> {
    prop_oneof![
        number::<i64>().prop_map(|offset| Decision::Appended {
            base_offset: Offset(offset)
        }),
        (number::<i64>(), option::of(any::<i64>())).prop_map(|(offset, log_append_time)| {
            Decision::Duplicate {
                base_offset: Offset(offset),
                log_append_time,
            }
        }),
        Just(Decision::Held),
        rejection().prop_map(Decision::Rejected),
    ]
}

fn rejection() -> impl Strategy<Value = Rejection> {
    prop_oneof![
        Just(Rejection::UnknownPartition),
        Just(Rejection::StaleProducerEpoch),
        Just(Rejection::OutOfOrderSequence),
        Just(Rejection::TooOld),
        Just(Rejection::OverBudget),
    ]
}

fn batch() -> impl Strategy<Value = CommittedBatch> {
    (summary(), decision()).prop_map(|(summary, decision)| CommittedBatch { summary, decision })
}

fn run() -> impl Strategy<Value = (CommittedRun, Vec<CommittedBatch>)> {
    let place = (any::<u64>(), any::<u32>(), number::<i64>(), any::<bool>());
    (partition(), place, vec(batch(), 0..5)).prop_map(|(partition, place, batches)| {
        let (position, stored_bytes, log_start, log_append_time) = place;
        let run = CommittedRun {
            partition,
            position,
            stored_bytes,
            log_start: Offset(log_start),
            log_append_time,
            batches: u32::try_from(batches.len()).unwrap(),
        };
        (run, batches)
    })
}

fn committed() -> impl Strategy<Value = Event> {
    let ids = (number::<u64>(), number::<u64>(), number::<u64>());
    (ids, object(), moment(), vec(run(), 0..4)).prop_map(|(ids, object, at, runs)| {
        let (runs, batches): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
        Event::Committed(Box::new(Committed {
            session: SessionId(ids.0),
            number: CommitNumber(ids.1),
            answered_through: CommitNumber(ids.2),
            object,
            at,
            runs,
            batches: batches.concat(),
        }))
    })
}

fn hold_decided() -> impl Strategy<Value = HoldDecided> {
    let name = (
        number::<u64>(),
        number::<u64>(),
        number::<u32>(),
        number::<u32>(),
    );
    let place = (
        any::<u64>(),
        any::<u32>(),
        any::<u32>(),
        number::<i64>(),
        any::<bool>(),
    );
    (partition(), name, summary(), object(), place, decision()).prop_map(
        |(partition, name, summary, object, place, decision)| HoldDecided {
            partition,
            session: SessionId(name.0),
            batch: BatchRef {
                number: CommitNumber(name.1),
                run: name.2,
                batch: name.3,
            },
            summary,
            object,
            run_position: place.0,
            run_bytes: place.1,
            raw_start: place.2,
            log_start: Offset(place.3),
            log_append_time: place.4,
            decision,
        },
    )
}

fn agent() -> impl Strategy<Value = AgentAddress> {
    (
        "[a-z]{0,8}",
        any::<u16>(),
        any::<u8>(),
        "[a-z]{0,3}",
        "[a-z:0-9]{0,8}",
    )
        .prop_map(|(host, port, node_ids, zone, peer)| AgentAddress {
            host,
            port,
            node_ids,
            zone,
            peer,
        })
}

fn configs() -> impl Strategy<Value = BTreeMap<String, String>> {
    let of_time = Just("message.timestamp.type".to_owned());
    let of_brokers = Just("log.message.timestamp.type".to_owned());
    let name = prop_oneof![4 => "[a-z]{1,4}", 1 => of_time, 1 => of_brokers];
    let value = prop_oneof![4 => "[a-z]{0,4}", 1 => Just("LogAppendTime".to_owned())];
    btree_map(name, value, 0..3)
}

fn topic_created() -> impl Strategy<Value = Event> {
    (topic(), "[a-z._]{0,3}", 0u32..6, number::<i32>(), configs()).prop_map(
        |(topic, name, partitions, epoch, configs)| {
            Event::TopicCreated(TopicCreated {
                topic,
                name,
                partitions,
                leader_epoch: LeaderEpoch(epoch),
                configs,
            })
        },
    )
}

fn loss_accepted() -> impl Strategy<Value = Event> {
    let partitions = btree_map(partition(), number::<i64>(), 0..4);
    let counters = (
        number::<u32>(),
        number::<u32>(),
        number::<i32>(),
        number::<u64>(),
        number::<i64>(),
    );
    (counters, partitions).prop_map(|(counters, partitions)| {
        Event::LossAccepted(Box::new(LossAccepted {
            incarnation: Incarnation(counters.0),
            upload_epoch: UploadEpoch(counters.1),
            leader_epoch: LeaderEpoch(counters.2),
            next_session: SessionId(counters.3),
            next_producer_id: ProducerId(counters.4),
            partitions: partitions
                .into_iter()
                .map(|(id, at)| (id, Offset(at)))
                .collect(),
        }))
    })
}

/// Any event that the journal can carry.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (any::<u128>(), number::<u32>(), number::<u32>()).prop_map(|(id, incarnation, epoch)| {
            Event::Genesis {
                cluster: ClusterId(Uuid::from_u128(id)),
                incarnation: Incarnation(incarnation),
                upload_epoch: UploadEpoch(epoch),
            }
        }),
        1 => number::<u32>().prop_map(|epoch| Event::UploadEpochAdvanced {
            upload_epoch: UploadEpoch(epoch)
        }),
        2 => (number::<u32>(), number::<u64>(), agent()).prop_map(|(slot, session, agent)| {
            Event::Registered {
                slot: WriterSlot(slot),
                session: SessionId(session),
                agent,
            }
        }),
        1 => (number::<u64>(), number::<u32>(), number::<u32>()).prop_map(|(session, slot, epoch)| {
            Event::SessionEnded {
                session: SessionId(session),
                slot: WriterSlot(slot),
                upload_epoch: UploadEpoch(epoch),
            }
        }),
        3 => topic_created(),
        1 => topic().prop_map(|topic| Event::TopicDeleted { topic }),
        1 => number::<i64>().prop_map(|id| Event::ProducerIdAllocated {
            producer_id: ProducerId(id)
        }),
        8 => committed(),
        4 => (moment(), vec(hold_decided(), 0..4)).prop_map(|(at, decisions)| {
            Event::HoldsDecided { at, decisions }
        }),
        1 => (number::<u32>(), vec(partition(), 0..4)).prop_map(|(through, partitions)| {
            Event::ProducersExpired {
                last_seen_through: UploadEpoch(through),
                partitions,
            }
        }),
        1 => loss_accepted(),
        1 => (topic(), configs()).prop_map(|(topic, configs)| Event::TopicConfigsSet {
            topic,
            configs,
        }),
        1 => (topic(), 0u32..8).prop_map(|(topic, partitions)| Event::PartitionsAdded {
            topic,
            partitions,
        }),
        3 => vec((partition(), number::<i64>()), 0..4).prop_map(|partitions| {
            let partitions = partitions.into_iter().map(|(id, at)| (id, Offset(at)));
            Event::LogStartMoved { partitions: partitions.collect() }
        }),
        1 => configs().prop_map(|configs| Event::BrokerConfigsSet { configs }),
        10 => groups::event(),
        8 => upkeep::event(),
        1 => (number::<u32>(), vec((object(), any::<u64>()), 0..3)).prop_map(|(since, objects)| {
            Event::ObjectsReleased {
                since: UploadEpoch(since),
                objects: objects.into_iter().map(|(object, bytes)| (object.id, bytes)).collect(),
            }
        }),
    ]
}
