//! A partition as it will be once the events of a decision in progress are applied.

use aquifer_format::{
    ids::{Offset, PartitionId, ProducerEpoch, ProducerId, SessionId},
    limits::PRODUCER_BATCHES_MAX,
    map::FixedMap,
};
use aquifer_metadata_api::commit::{BatchRef, BatchSummary, Rejection};

use super::idempotence::{Known, Verdict, distance, judge, lead};
use crate::{
    event::Decision,
    state::{
        held::Hold,
        object::ObjectIndex,
        partition::Partition,
        producer::{Producer, Remembered},
    },
};

/// What a decision adds to a producer.
struct ProducerDraft<'a> {
    /// What the state knows, unless an epoch that began since made it void.
    known: Option<&'a Producer>,
    epoch: ProducerEpoch,
    newer: Vec<Remembered>,
}

/// The object of a batch that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PendingObject {
    /// That of the commit that is being decided.
    New,
    /// An earlier one.
    Earlier(ObjectIndex),
}

/// A batch that is held, or will be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) session: SessionId,
    pub(super) batch: BatchRef,
    pub(super) summary: BatchSummary,
    pub(super) object: PendingObject,
    pub(super) run_position: u64,
    pub(super) run_bytes: u32,
    pub(super) raw_start: u32,
    decided: bool,
}

impl Pending {
    pub(super) fn new(
        session: SessionId,
        batch: BatchRef,
        summary: BatchSummary,
        place: (u64, u32, u32),
    ) -> Self {
        Self {
            session,
            batch,
            summary,
            object: PendingObject::New,
            run_position: place.0,
            run_bytes: place.1,
            raw_start: place.2,
            decided: false,
        }
    }

    fn earlier(hold: &Hold) -> Self {
        Self {
            session: hold.session,
            batch: hold.batch,
            summary: hold.summary,
            object: PendingObject::Earlier(hold.object),
            run_position: hold.run_position,
            run_bytes: hold.run_bytes,
            raw_start: hold.raw_start,
            decided: false,
        }
    }
}

/// See the module.
pub(super) struct Draft<'a> {
    pub(super) id: PartitionId,
    partition: &'a Partition,
    append_time: Option<i64>,
    next_offset: i64,
    ever_held: bool,
    producers: FixedMap<ProducerId, ProducerDraft<'a>>,
    /// Held batches in order of arrival: those of the state, then those of this decision.
    pub(super) pending: Vec<Pending>,
    /// Decisions on `pending`, in log order.
    pub(super) decided: Vec<(Pending, Decision)>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(id: PartitionId, partition: &'a Partition, append_time: Option<i64>) -> Self {
        let mut draft = Self {
            id,
            partition,
            append_time,
            next_offset: 0,
            ever_held: false,
            producers: FixedMap::default(),
            pending: Vec::new(),
            decided: Vec::new(),
        };
        draft.begin(id, partition, append_time);
        draft
    }

    /// Goes on with another partition, keeping allocations.
    pub(super) fn begin(
        &mut self,
        id: PartitionId,
        partition: &'a Partition,
        append_time: Option<i64>,
    ) {
        self.id = id;
        self.partition = partition;
        self.append_time = append_time;
        self.next_offset = partition.high_watermark;
        self.ever_held = partition.ever_held;
        self.producers.clear();
        self.pending.clear();
        self.pending
            .extend(partition.holds().iter().map(Pending::earlier));
        self.decided.clear();
    }

    pub(super) fn log_start(&self) -> Offset {
        Offset(self.partition.log_start)
    }

    pub(super) fn judge(&self, batch: &BatchSummary) -> Verdict {
        if batch.producer_id.0 < 0 {
            return Verdict::Append;
        }
        judge(batch, self.known(batch.producer_id), self.ever_held)
    }

    fn known(&self, id: ProducerId) -> Option<Known<'_>> {
        let Some(draft) = self.producers.get(&id) else {
            let producer = self.partition.producer(id)?;
            return Some(Known {
                epoch: producer.epoch,
                older: &producer.batches,
                newer: &[],
            });
        };
        // The state forgets the oldest batches as it takes the new ones in.
        let older = draft
            .known
            .map_or(&[] as &[_], |known| known.batches.as_slice());
        let room = PRODUCER_BATCHES_MAX.saturating_sub(draft.newer.len());
        let newer_from = draft.newer.len().saturating_sub(PRODUCER_BATCHES_MAX);
        Some(Known {
            epoch: draft.epoch,
            older: &older[older.len().saturating_sub(room)..],
            newer: &draft.newer[newer_from..],
        })
    }

    /// Gives the batch its offset. `followed`: something in this decision may depend on it.
    pub(super) fn append(&mut self, batch: &BatchSummary, followed: bool) -> Decision {
        let base_offset = Offset(self.next_offset);
        self.next_offset = base_offset.plus(batch.records).0;
        self.ever_held = true;
        if followed && batch.producer_id.0 >= 0 {
            self.note(batch, base_offset);
        }
        Decision::Appended { base_offset }
    }

    fn note(&mut self, batch: &BatchSummary, base_offset: Offset) {
        let partition = self.partition;
        let draft = self
            .producers
            .entry(batch.producer_id)
            .or_insert_with(|| ProducerDraft {
                known: partition.producer(batch.producer_id),
                epoch: partition
                    .producer(batch.producer_id)
                    .map_or(batch.producer_epoch, |known| known.epoch),
                newer: Vec::new(),
            });
        if draft.epoch != batch.producer_epoch {
            draft.epoch = batch.producer_epoch;
            draft.known = None;
            draft.newer.clear();
        }
        draft
            .newer
            .push(Remembered::new(batch, base_offset, self.append_time));
    }

    /// Decides held batches that the appends of this decision made decidable. Called once all batches
    /// of the run have their offsets.
    pub(super) fn follow_all(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let mut touched: Vec<ProducerId> = self
            .pending
            .iter()
            .map(|pending| pending.summary.producer_id)
            .filter(|id| self.producers.contains_key(id))
            .collect();
        touched.sort_unstable();
        touched.dedup();
        for producer in touched {
            self.follow(producer);
        }
    }

    /// Decides held batches of one producer that are decidable now. In the order of their sequences
    /// one pass is enough: each append makes at most the next one decidable.
    fn follow(&mut self, producer: ProducerId) {
        let Some(known) = self.known(producer) else {
            return;
        };
        let (epoch, next) = (known.epoch, known.next_sequence());
        let mut waiting: Vec<usize> = (0..self.pending.len())
            .filter(|at| {
                let pending = &self.pending[*at];
                !pending.decided && pending.summary.producer_id == producer
            })
            .collect();
        waiting.sort_by_key(|at| {
            let summary = &self.pending[*at].summary;
            let other_epoch = summary.producer_epoch != epoch;
            (other_epoch, distance(next, summary.first_sequence))
        });
        for at in waiting {
            let summary = self.pending[at].summary;
            match self.judge(&summary) {
                Verdict::Append => {
                    let decision = self.append(&summary, true);
                    self.settle(at, decision);
                }
                Verdict::Duplicate(original) => self.settle(at, duplicate(&original)),
                Verdict::Reject(rejection) => self.settle(at, Decision::Rejected(rejection)),
                Verdict::Gap | Verdict::Unknown => {}
            }
        }
    }

    fn settle(&mut self, at: usize, decision: Decision) {
        self.pending[at].decided = true;
        self.decided.push((self.pending[at], decision));
    }

    /// Ends the wait of a held batch: it is decided now, as Kafka would. Where the producer is unknown,
    /// the earliest of its held batches is taken first, so that its records keep their order.
    pub(super) fn release(&mut self, session: SessionId, batch: BatchRef) {
        let Some(at) = self
            .pending
            .iter()
            .position(|pending| pending.session == session && pending.batch == batch)
        else {
            return;
        };
        while !self.pending[at].decided {
            let summary = self.pending[at].summary;
            match self.judge(&summary) {
                Verdict::Append => {
                    let decision = self.append(&summary, true);
                    self.settle(at, decision);
                }
                Verdict::Unknown => {
                    let first = self.earliest(&summary).unwrap_or(at);
                    let earliest = self.pending[first].summary;
                    let decision = self.append(&earliest, true);
                    self.settle(first, decision);
                }
                Verdict::Duplicate(original) => self.settle(at, duplicate(&original)),
                Verdict::Reject(rejection) => self.settle(at, Decision::Rejected(rejection)),
                Verdict::Gap => {
                    self.settle(at, Decision::Rejected(Rejection::OutOfOrderSequence));
                }
            }
            self.follow(summary.producer_id);
        }
    }

    /// The waiting batch of the same producer and epoch that is furthest before `batch`, or itself.
    fn earliest(&self, batch: &BatchSummary) -> Option<usize> {
        let same = (0..self.pending.len()).filter(|at| {
            let pending = &self.pending[*at];
            !pending.decided
                && pending.summary.producer_id == batch.producer_id
                && pending.summary.producer_epoch == batch.producer_epoch
        });
        same.filter_map(|at| {
            let first = self.pending[at].summary.first_sequence;
            Some((lead(first, batch.first_sequence)?, std::cmp::Reverse(at)))
        })
        .max()
        .map(|(_, std::cmp::Reverse(at))| at)
    }

    /// Gives a held batch up, whatever its sequence.
    pub(super) fn reject(&mut self, session: SessionId, rejection: Rejection) {
        for at in 0..self.pending.len() {
            if self.pending[at].session == session && !self.pending[at].decided {
                self.settle(at, Decision::Rejected(rejection));
            }
        }
    }
}

/// The decision for a batch that is in the log already.
pub(super) fn duplicate(original: &Remembered) -> Decision {
    Decision::Duplicate {
        base_offset: Offset(original.base_offset),
        log_append_time: original.append_time(),
    }
}
