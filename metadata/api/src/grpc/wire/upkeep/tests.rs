use std::{fmt::Debug, time::Duration};

use aquifer_format::ids::{
    ClusterId, Incarnation, LeaderEpoch, LeaderTerm, ObjectId, ObjectLevel, Offset, PartitionId,
    PartitionIndex, ProducerEpoch, ProducerId, TopicId, UploadEpoch, WriterSlot,
};
use aquifer_store::{Rand, runtime::SeededRand};
use prost::Message;
use uuid::Uuid;

use super::*;
use crate::{
    extent::{Extent, Watermarks},
    grpc::{proto, wire::Malformed},
    upkeep::{
        Clean, DeletedTopic, DeletedTopics, Finish, Inputs, InputsReply, InputsRequest, Job,
        JobKind, JobOutcome, JobToken, LastRecord, LeaseReply, LeaseRequest, ListedObject,
        MergeRange, MergedExtent, ObjectsReply, ObjectsRequest, RangeOutcome, Renewal, Renewed,
        RestoreTopic, RestoredTopic, SwapObject, SwapRange, SwapReply, SwapRequest, WorkKinds,
        WorkerId,
    },
};

const ROUNDS: u64 = 300;

/// Makes values of all sizes, the extreme ones among them.
struct Maker(SeededRand);

impl Maker {
    fn below(&self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn pick<T: Clone>(&self, of: &[T]) -> T {
        let at = self.below(u64::try_from(of.len()).expect("a short list"));
        of[usize::try_from(at).expect("small")].clone()
    }

    fn u64(&self) -> u64 {
        let any = self.0.next_u64();
        self.pick(&[0, 1, u64::MAX, any, any % 100_000])
    }

    fn u32(&self) -> u32 {
        u32::try_from(self.u64() & u64::from(u32::MAX)).expect("masked")
    }

    fn offset(&self) -> Offset {
        Offset((self.u64() >> 2).cast_signed())
    }

    fn chance(&self) -> bool {
        self.below(2) == 0
    }

    fn many<T>(&self, one: impl Fn(&Self) -> T) -> Vec<T> {
        let count = self.pick(&[0, 1, 2, 7, 40]);
        (0..count).map(|_| one(self)).collect()
    }

    fn topic(&self) -> TopicId {
        TopicId(Uuid::from_u128(u128::from(self.below(3))))
    }

    fn partition(&self) -> PartitionId {
        PartitionId::new(self.topic(), PartitionIndex(self.u32().cast_signed()))
    }

    fn object(&self) -> ObjectId {
        ObjectId {
            incarnation: Incarnation(self.u32()),
            upload_epoch: UploadEpoch(self.u32()),
            writer: WriterSlot(self.u32()),
            level: self.pick(&[ObjectLevel::L0, ObjectLevel::L1, ObjectLevel::L2]),
            unique: self.u64(),
        }
    }

    fn token(&self) -> JobToken {
        JobToken {
            term: LeaderTerm(self.u64()),
            number: self.u64(),
        }
    }

    fn range(&self) -> MergeRange {
        MergeRange {
            partition: self.partition(),
            from: self.offset(),
            to: self.offset(),
            run_bytes_max: self.u32(),
        }
    }

    fn kind(&self) -> JobKind {
        match self.below(4) {
            0 => JobKind::MergeObjects {
                objects: self.many(|make| (make.object(), make.u64())),
                object_bytes: self.u64(),
            },
            1 => JobKind::MergeRanges {
                ranges: self.many(Self::range),
                object_bytes: self.u64(),
            },
            2 => JobKind::Clean(Clean {
                partition: self.partition(),
                from: self.offset(),
                first_dirty: self.offset(),
                to: self.offset(),
                delete_retention_ms: self.u64().cast_signed(),
                now_ms: self.u64().cast_signed(),
                run_bytes_max: self.u32(),
            }),
            _ => JobKind::Delete {
                objects: self.many(Self::object),
            },
        }
    }

    fn job(&self) -> Job {
        Job {
            token: self.token(),
            lease: Duration::from_millis(u64::from(self.u32())),
            cluster: ClusterId(Uuid::from_u128(u128::from(self.u64()))),
            incarnation: Incarnation(self.u32()),
            upload_epoch: UploadEpoch(self.u32()),
            kind: self.kind(),
        }
    }

    fn extent(&self) -> Extent {
        Extent {
            object: self.object(),
            run_position: self.u64(),
            run_bytes: self.u32(),
            raw_start: self.u32(),
            raw_bytes: self.u32(),
            base_offset: self.offset(),
            end_offset: self.offset(),
            max_timestamp: self.u64().cast_signed(),
            log_append_time: self.chance().then(|| self.u64().cast_signed()),
        }
    }

    fn inputs(&self) -> Inputs {
        let extents = self.many(Self::extent);
        let last_record = |make: &Self| {
            let record = LastRecord {
                last_offset: make.chance().then(|| make.offset()),
                epoch: ProducerEpoch(make.pick(&[-1, 0, i16::MAX, i16::MIN])),
            };
            (ProducerId(make.u64().cast_signed()), record)
        };
        Inputs {
            partition: self.partition(),
            watermarks: Watermarks {
                log_start: self.offset(),
                high_watermark: self.offset(),
                last_stable: self.offset(),
                leader_epoch: LeaderEpoch(self.u32().cast_signed()),
            },
            breaks: extents.iter().map(|_| self.chance()).collect(),
            extents,
            last_records: self.many(last_record),
        }
    }

    fn merged(&self) -> MergedExtent {
        let base = self.offset();
        MergedExtent {
            object: self.u32(),
            run_position: self.u64(),
            run_bytes: self.u32(),
            raw_bytes: self.u32(),
            base_offset: base,
            end_offset: base.plus(self.u32()),
            max_timestamp: self.u64().cast_signed(),
        }
    }

    fn swap(&self) -> SwapRequest {
        SwapRequest {
            worker: WorkerId(self.u64()),
            token: self.token(),
            objects: self.many(|make| SwapObject {
                id: make.object(),
                bytes: make.u64(),
                locations: make.many(|make| make.pick(&[0, 1, u8::MAX])),
            }),
            inputs: self.many(Self::object),
            ranges: self.many(|make| SwapRange {
                partition: make.partition(),
                from: make.offset(),
                to: make.offset(),
                extents: make.many(Self::merged),
                cleaned_through: make.chance().then(|| make.offset()),
            }),
        }
    }

    fn listed(&self) -> ListedObject {
        ListedObject {
            id: self.object(),
            bytes: self.u64(),
            references: self.u32(),
            released_in: self.chance().then(|| UploadEpoch(self.u32())),
        }
    }

    fn deleted(&self) -> DeletedTopic {
        DeletedTopic {
            id: self.topic(),
            name: self.pick(&["", "a", "topic-ä"]).to_owned(),
            partitions: self.u32(),
            bytes: self.u64(),
            deleted_at_ms: self.u64().cast_signed(),
            purged_at_ms: self.u64().cast_signed(),
        }
    }
}

fn makers() -> impl Iterator<Item = Maker> {
    (0..ROUNDS).map(|seed| Maker(SeededRand::new(seed)))
}

/// What arrives is what was sent; and what arrives in parts, or with other bytes, is refused or something else.
fn travels<T, M>(
    value: &T,
    to: impl Fn(&T) -> M,
    from: impl Fn(M) -> Result<T, Malformed>,
    make: &Maker,
) where
    T: Debug + PartialEq,
    M: Message + Default,
{
    let bytes = to(value).encode_to_vec();
    let read = |bytes: &[u8]| M::decode(bytes).ok().map(&from);
    match read(&bytes) {
        Some(Ok(arrived)) => assert_eq!(arrived, *value),
        other => panic!("{other:?} arrived instead of {value:?}"),
    }
    for _ in 0..4 {
        let mut broken = bytes.clone();
        if broken.is_empty() {
            return;
        }
        let at = usize::try_from(make.below(u64::try_from(broken.len()).expect("short")));
        let at = at.expect("within");
        if make.chance() {
            broken.truncate(at);
        } else {
            broken[at] ^= 1 << make.below(8);
        }
        // reading is total
        drop(read(&broken));
    }
}

#[test]
fn jobs_travel_and_nonsense_is_refused() {
    for make in makers() {
        let job = make.chance().then(|| make.job());
        let reply = LeaseReply {
            job,
            again_in: Duration::from_millis(u64::from(make.u32())),
        };
        travels(&reply, lease_reply_to, lease_reply_from, &make);
        let renewal = Renewal {
            worker: WorkerId(make.u64()),
            job: make.job(),
            read_bytes: make.u64(),
        };
        travels(&renewal, renewal_to, renewal_from, &make);
        let held = Renewed::Held {
            token: make.token(),
            upload_epoch: UploadEpoch(make.u32()),
        };
        let renewed = make.pick(&[Renewed::Lost, held]);
        travels(&renewed, renewed_to, renewed_from, &make);
        let failed = JobOutcome::Failed {
            reason: make.pick(&["", "damaged"]).to_owned(),
        };
        let finish = Finish {
            worker: WorkerId(make.u64()),
            token: make.token(),
            outcome: make.pick(&[JobOutcome::Done, failed]),
            deleted: make.many(Maker::object),
            read_bytes: make.u64(),
            written_bytes: make.u64(),
        };
        travels(&finish, finish_to, finish_from, &make);
        let request = LeaseRequest {
            worker: WorkerId(make.u64()),
            kinds: WorkKinds {
                merge: make.chance(),
                clean: make.chance(),
                delete: make.chance(),
            },
        };
        travels(&request, lease_to, |wire| Ok(lease_from(&wire)), &make);
    }
}

#[test]
fn inputs_travel_and_nonsense_is_refused() {
    for make in makers() {
        let request = InputsRequest {
            token: make.token(),
            partitions: make.many(|make| (make.partition(), make.offset())),
        };
        travels(&request, inputs_to, inputs_from, &make);
        let next = (make.partition(), make.offset());
        let reply = InputsReply {
            partitions: make.many(Maker::inputs),
            next: make.chance().then_some(next),
        };
        travels(&reply, inputs_reply_to, inputs_reply_from, &make);
    }
}

#[test]
fn swaps_travel_and_nonsense_is_refused() {
    for make in makers() {
        travels(&make.swap(), swap_to, swap_from, &make);
        let outcomes = make.many(|make| {
            make.pick(&[
                RangeOutcome::Done,
                RangeOutcome::Gone,
                RangeOutcome::Changed,
                RangeOutcome::Fenced,
                RangeOutcome::TooOld,
                RangeOutcome::Useless,
            ])
        });
        let asked = outcomes.len();
        let reply = SwapReply { outcomes };
        let read = |wire: proto::SwapReply| swap_reply_from(&wire, asked);
        travels(&reply, swap_reply_to, read, &make);
        let more = swap_reply_from(&swap_reply_to(&reply), asked + 1);
        assert!(more.is_err(), "a range was left out");
    }
}

#[test]
fn lists_travel_and_nonsense_is_refused() {
    for make in makers() {
        let after = make.chance().then(|| make.object());
        let limit = usize::try_from(make.u32()).expect("at least 32 bits");
        let request = ObjectsRequest { after, limit };
        travels(&request, objects_to, objects_from, &make);
        let reply = ObjectsReply {
            cluster: ClusterId(Uuid::from_u128(u128::from(make.u64()))),
            incarnation: Incarnation(make.u32()),
            upload_epoch: UploadEpoch(make.u32()),
            objects: make.many(Maker::listed),
        };
        travels(&reply, objects_reply_to, objects_reply_from, &make);
        let topics = DeletedTopics {
            topics: make.many(Maker::deleted),
        };
        travels(&topics, deleted_topics_to, deleted_topics_from, &make);
        let (id, name) = (make.topic(), make.pick(&["", "a"]).to_owned());
        let restore = make.pick(&[RestoreTopic::Id(id), RestoreTopic::Name(name.clone())]);
        travels(&restore, restore_to, restore_from, &make);
        travels(
            &RestoredTopic { id, name },
            restored_to,
            restored_from,
            &make,
        );
    }
}
