use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::ids::{
    ClusterId, CommitNumber, Incarnation, JournalSeq, LeaderEpoch, LeaderTerm, ObjectId,
    ObjectLevel, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence,
    SessionId, TopicId, UploadEpoch, WriterSlot,
};
use aquifer_store::{Rand, runtime::SeededRand};
use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use super::*;
use crate::{
    commit::{
        BatchOutcome, BatchRef, BatchSummary, Commit, CommitAnswer, CommitCall, Placement,
        Rejection, Run,
    },
    extent::{Extent, Watermarks},
    grpc::proto,
    kafka::{Envelope, KafkaCall, LeaderApi},
    live::LiveObjects,
    locate::{
        LocatePartition, LocateReply, LocateRequest, Located, OffsetSpec, OffsetsFound,
        OffsetsReply, OffsetsRequest,
    },
    mark::JournalMark,
    register::{AgentAddress, RegisterRequest},
    watch::{AgentView, CommonFrame, ExtentsFrame, Frame, InterestChange, TopicView},
};

/// Makes values of all sizes, the extreme ones among them.
struct Maker(SeededRand);

impl Maker {
    fn new(seed: u64) -> Self {
        Self(SeededRand::new(seed))
    }

    fn below(&self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn u64(&self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => self.0.next_u64(),
            _ => self.below(100_000),
        }
    }

    fn i64(&self) -> i64 {
        self.u64().cast_signed()
    }

    fn u32(&self) -> u32 {
        let [low @ .., _, _, _, _] = self.u64().to_le_bytes();
        u32::from_le_bytes(low)
    }

    fn chance(&self) -> bool {
        self.below(2) == 0
    }

    fn many<T>(&self, one: impl Fn(&Self) -> T) -> Vec<T> {
        let count = [0, 1, 2, 7, 40][usize::try_from(self.below(5)).expect("small")];
        (0..count).map(|_| one(self)).collect()
    }

    fn text(&self) -> String {
        ["", "a", "zone-ä", "longer text"][usize::try_from(self.below(4)).expect("small")].into()
    }

    fn partition(&self) -> PartitionId {
        let topic = TopicId(Uuid::from_u128(u128::from(self.below(3))));
        PartitionId::new(topic, PartitionIndex(self.u32().cast_signed()))
    }

    fn object(&self) -> ObjectId {
        let levels = [ObjectLevel::L0, ObjectLevel::L1, ObjectLevel::L2];
        ObjectId {
            incarnation: Incarnation(self.u32()),
            upload_epoch: UploadEpoch(self.u32()),
            writer: WriterSlot(self.u32()),
            level: levels[usize::try_from(self.below(3)).expect("small")],
            unique: self.below(3),
        }
    }

    fn batch(&self) -> BatchSummary {
        let plain = self.chance();
        BatchSummary {
            producer_id: if plain {
                ProducerId::NONE
            } else {
                ProducerId(self.i64() & i64::MAX)
            },
            producer_epoch: if plain {
                ProducerEpoch::NONE
            } else {
                ProducerEpoch(
                    [-1, 0, i16::MAX, i16::MIN][usize::try_from(self.below(4)).expect("small")],
                )
            },
            first_sequence: if plain {
                Sequence::NONE
            } else {
                Sequence(self.u32().cast_signed())
            },
            records: self.u32(),
            bytes: self.u32(),
            max_timestamp: self.i64(),
        }
    }

    fn commit(&self) -> CommitCall {
        CommitCall::Commit(Commit {
            number: CommitNumber(self.u64()),
            answered_through: CommitNumber(self.u64()),
            object: self.object(),
            object_bytes: self.u64(),
            locations: vec![0, 255],
            runs: self.many(|m| Run {
                partition: m.partition(),
                position: m.u64(),
                stored_bytes: m.u32(),
                batches: m.many(Self::batch),
            }),
        })
    }

    fn reference(&self) -> BatchRef {
        BatchRef {
            number: CommitNumber(self.u64()),
            run: self.u32(),
            batch: self.u32(),
        }
    }

    fn answer(&self) -> CommitAnswer {
        let number = CommitNumber(self.u64());
        let outcomes = self.many(|m| {
            let place = Placement {
                base_offset: Offset(m.i64()),
                log_append_time: m.chance().then(|| m.i64()),
                log_start: Offset(m.i64()),
            };
            let outcome = match m.below(8) {
                0 => BatchOutcome::Appended(place),
                1 => BatchOutcome::Duplicate(place),
                2 => BatchOutcome::Held,
                3 => BatchOutcome::Rejected(Rejection::UnknownPartition),
                4 => BatchOutcome::Rejected(Rejection::StaleProducerEpoch),
                5 => BatchOutcome::Rejected(Rejection::OutOfOrderSequence),
                6 => BatchOutcome::Rejected(Rejection::TooOld),
                _ => BatchOutcome::Rejected(Rejection::OverBudget),
            };
            let reference = BatchRef {
                number,
                ..m.reference()
            };
            (reference, outcome)
        });
        CommitAnswer { number, outcomes }
    }

    fn watermarks(&self) -> Watermarks {
        Watermarks {
            log_start: Offset(self.i64()),
            high_watermark: Offset(self.i64()),
            last_stable: Offset(self.i64()),
            leader_epoch: LeaderEpoch(self.u32().cast_signed()),
        }
    }

    fn extent(&self) -> Extent {
        Extent {
            object: self.object(),
            run_position: self.u64(),
            run_bytes: self.u32(),
            raw_start: self.u32(),
            raw_bytes: self.u32(),
            base_offset: Offset(self.i64()),
            end_offset: Offset(self.i64()),
            max_timestamp: self.i64(),
            log_append_time: self.chance().then(|| self.i64()),
        }
    }

    fn address(&self) -> AgentAddress {
        AgentAddress {
            host: self.text(),
            port: u16::MAX,
            node_ids: u8::MAX,
            zone: self.text(),
            peer: self.text(),
        }
    }

    fn mark(&self) -> JournalMark {
        JournalMark {
            incarnation: Incarnation(self.u32()),
            term: LeaderTerm(self.u64()),
            seq: JournalSeq(self.u64()),
            hash: [self.u32().to_le_bytes()[0]; 32],
        }
    }

    fn common(&self) -> CommonFrame {
        CommonFrame {
            term: LeaderTerm(self.u64()),
            seq: JournalSeq(self.u64()),
            hash: self.mark().hash,
            incarnation: Incarnation(self.u32()),
            reset: self.chance(),
            upload_epoch: UploadEpoch(self.u32()),
            topics: self.many(|m| {
                Arc::new(TopicView {
                    id: m.partition().topic,
                    name: m.text(),
                    partitions: m.u32(),
                    leader_epoch: LeaderEpoch(m.u32().cast_signed()),
                    configs: BTreeMap::from([(m.text(), m.text()), (m.text(), m.text())]),
                })
            }),
            deleted_topics: self.many(|m| m.partition().topic),
            watermarks: self.many(|m| (m.partition(), m.watermarks())),
            agents: self.chance().then(|| {
                self.many(|m| AgentView {
                    slot: WriterSlot(m.u32()),
                    address: m.address(),
                })
            }),
            agents_complete: self.chance(),
            throttle_produce: self.chance(),
            broker_configs: self.chance().then(|| {
                let configs = self.many(|m| (m.text(), m.text()));
                Arc::new(configs.into_iter().collect())
            }),
        }
    }

    fn extents_frame(&self) -> ExtentsFrame {
        ExtentsFrame {
            seq: JournalSeq(self.u64()),
            complete_from: self.many(|m| (m.partition(), Offset(m.i64()))),
            extents: self.many(|m| (m.partition(), m.many(Self::extent))),
        }
    }

    fn common_frame(&self) -> proto::WatchFrame {
        let sealed = sealed_to(&self.common());
        proto::WatchFrame {
            kind: Some(proto::watch_frame::Kind::Common(sealed)),
        }
    }

    fn locate_reply(&self) -> LocateReply {
        let partitions = self.many(|m| {
            m.chance().then(|| Located {
                watermarks: m.watermarks(),
                extents: m.many(Self::extent),
            })
        });
        LocateReply { partitions }
    }
}

/// The message as it comes out of the wire.
fn over_the_wire<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("it was encoded")
}

#[test]
fn every_message_arrives_as_it_was_sent() {
    for seed in 0..400 {
        let m = Maker::new(seed);
        for call in [
            m.commit(),
            CommitCall::ReleaseHolds(m.many(Maker::reference)),
        ] {
            assert_eq!(call_from(over_the_wire(&call_to(&call))), Ok(call));
        }
        let answer = m.answer();
        assert_eq!(answer_from(&over_the_wire(&answer_to(&answer))), Ok(answer));

        let locate = LocateRequest {
            partitions: m.many(|m| LocatePartition {
                partition: m.partition(),
                from: Offset(m.i64()),
                max_bytes: m.u64(),
            }),
        };
        assert_eq!(locate_from(over_the_wire(&locate_to(&locate))), Ok(locate));
        let located = m.locate_reply();
        let message = over_the_wire(&locate_reply_to(&located));
        assert_eq!(locate_reply_from(message), Ok(located));

        let offsets = OffsetsRequest {
            partitions: m.many(|m| {
                let spec = match m.below(3) {
                    0 => OffsetSpec::Watermarks,
                    1 => OffsetSpec::MaxTimestamp,
                    _ => OffsetSpec::Timestamp(m.i64()),
                };
                (m.partition(), spec)
            }),
        };
        assert_eq!(
            offsets_from(over_the_wire(&offsets_to(&offsets))),
            Ok(offsets)
        );
        let found = OffsetsReply {
            partitions: m.many(|m| {
                m.chance().then(|| OffsetsFound {
                    watermarks: m.watermarks(),
                    extent: m.chance().then(|| m.extent()),
                })
            }),
        };
        let message = over_the_wire(&offsets_reply_to(&found));
        assert_eq!(offsets_reply_from(message), Ok(found));

        let frame = m.common();
        let message = proto::WatchFrame {
            kind: Some(proto::watch_frame::Kind::Common(sealed_to(&frame))),
        };
        let expected = Frame::Common(Arc::new(frame));
        assert_eq!(frame_from(over_the_wire(&message)), Ok(expected));
        let frame = m.extents_frame();
        let message = proto::WatchFrame {
            kind: Some(proto::watch_frame::Kind::Extents(watch_extents_to(&frame))),
        };
        assert_eq!(
            frame_from(over_the_wire(&message)),
            Ok(Frame::Extents(frame))
        );

        let objects = m.many(Maker::object);
        let message = over_the_wire(&live_to(&objects));
        assert_eq!(live_from(&message), Ok(objects));
        let live = LiveObjects {
            cluster: ClusterId(Uuid::from_u128(u128::from(m.u64()))),
            incarnation: Incarnation(m.u32()),
            upload_epoch: UploadEpoch(m.u32()),
            live: m.many(Maker::chance),
        };
        let message = over_the_wire(&live_reply_to(&live));
        let asked = live.live.len();
        assert!(live_reply_from(message.clone(), asked + 1).is_err());
        assert_eq!(live_reply_from(message, asked), Ok(live));

        let mut changes = m.many(|m| {
            let partition = m.partition();
            if m.chance() {
                let from = Offset(m.i64());
                InterestChange::Add { partition, from }
            } else {
                InterestChange::Remove { partition }
            }
        });
        if m.chance() {
            let named = m.chance();
            changes.push(InterestChange::Presence { named });
        }
        let message = over_the_wire(&interests_to(&changes));
        assert_eq!(interests_from(message), Ok(changes));
    }
}

#[test]
fn registrations_and_calls_arrive_as_they_were_sent() {
    let m = Maker::new(1);
    for previous_slot in [None, Some(WriterSlot(0)), Some(WriterSlot(u32::MAX))] {
        let request = RegisterRequest {
            previous_slot,
            agent: m.address(),
            seen: previous_slot.map(|_| m.mark()),
        };
        let open = open_watch_to(SessionId(7), request.seen);
        let open = open_watch_from(over_the_wire(&open));
        assert_eq!(open, Ok((SessionId(7), request.seen)));
        let message = over_the_wire(&register_to(&request));
        assert_eq!(register_from(message), Ok(request));
    }
    for api in LeaderApi::ALL {
        let call = KafkaCall {
            api,
            envelope: Envelope {
                client_api_key: i16::MAX,
                client_api_version: -1,
                principal: "User:alice".to_owned(),
                client_id: m.text(),
                host: m.text(),
                zone: m.text(),
                listener: m.text(),
                deadline_ms: u32::MAX,
                call_id: u128::MAX - 1,
            },
            body: Bytes::from_static(b"\x00body"),
        };
        let message = over_the_wire(&kafka_to(&call));
        assert_eq!(kafka_from(message.clone()), Ok(call));
        let other_version = proto::KafkaRequest {
            version: message.version + 1,
            ..message
        };
        assert!(kafka_from(other_version).is_err());
    }
}

/// Whatever arrives is read or refused; it never panics and never reserves what a number asks for.
#[test]
fn damaged_messages_are_refused() {
    let (mut read, mut refused) = (0, 0);
    let mut note = |ok: bool| if ok { read += 1 } else { refused += 1 };
    for seed in 0..3_000 {
        let m = Maker::new(seed);
        let damage = |message: Vec<u8>| {
            let mut message = message;
            for _ in 0..=m.below(3) {
                if !message.is_empty() {
                    let length = u64::try_from(message.len()).expect("small");
                    let at = usize::try_from(m.below(length)).expect("small");
                    message[at] = m.u32().to_le_bytes()[0];
                }
            }
            message
        };
        let commit = damage(call_to(&m.commit()).encode_to_vec());
        if let Ok(message) = proto::CommitsCall::decode(commit.as_slice()) {
            note(call_from(message).is_ok());
        }
        let answer = damage(answer_to(&m.answer()).encode_to_vec());
        if let Ok(message) = proto::CommitAnswer::decode(answer.as_slice()) {
            note(answer_from(&message).is_ok());
        }
        let located = damage(locate_reply_to(&m.locate_reply()).encode_to_vec());
        if let Ok(message) = proto::LocateReply::decode(located.as_slice()) {
            note(locate_reply_from(message).is_ok());
        }
        let extents = damage(watch_extents_to(&m.extents_frame()).encode_to_vec());
        if let Ok(message) = proto::ExtentsFrame::decode(extents.as_slice()) {
            let kind = Some(proto::watch_frame::Kind::Extents(message));
            note(frame_from(proto::WatchFrame { kind }).is_ok());
        }
        let common = damage(m.common_frame().encode_to_vec());
        if let Ok(message) = proto::WatchFrame::decode(common.as_slice()) {
            note(frame_from(message).is_ok());
        }
    }
    assert!(
        read > 500 && refused > 500,
        "{read} read, {refused} refused"
    );
}

#[test]
fn a_frame_that_claims_to_be_huge_is_refused() {
    let sealed = proto::Sealed {
        expanded_bytes: u32::MAX,
        body: Bytes::from_static(b"small"),
    };
    let kind = Some(proto::watch_frame::Kind::Common(sealed));
    let refused = frame_from(proto::WatchFrame { kind });
    assert_eq!(refused, Err(Malformed("a frame is too large")));
}

/// What a commit costs on the wire is what one column per property costs.
#[test]
fn a_batch_costs_few_bytes() {
    let runs: Vec<Run> = (0..1_000u32)
        .map(|n| Run {
            partition: PartitionId::new(
                TopicId(Uuid::from_u128(u128::from(n / 100))),
                PartitionIndex((n % 100).cast_signed()),
            ),
            position: u64::from(n) * 8_000,
            stored_bytes: 8_000,
            batches: vec![BatchSummary {
                producer_id: ProducerId(i64::from(n) + 1_000),
                producer_epoch: ProducerEpoch(0),
                first_sequence: Sequence(n.cast_signed() * 50),
                records: 50,
                bytes: 7_900,
                max_timestamp: 1_704_067_200_000 + i64::from(n),
            }],
        })
        .collect();
    let commit = CommitCall::Commit(Commit {
        number: CommitNumber(1),
        answered_through: CommitNumber(0),
        object: Maker::new(1).object(),
        object_bytes: 8 << 20,
        locations: vec![0],
        runs,
    });
    let bytes = call_to(&commit).encoded_len();
    assert!(bytes < 20_000, "{bytes} bytes for 1,000 batches");
}
