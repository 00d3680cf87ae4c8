//! One partition of the fake, with the simplest correct idempotence.

use std::collections::{BTreeMap, VecDeque};

use aquifer_format::{
    ids::{LeaderEpoch, ObjectId, Offset, ProducerEpoch, ProducerId, Sequence, SessionId},
    limits::PRODUCER_BATCHES_MAX,
};
use kafka_protocol::messages::describe_producers_response::ProducerState;

use crate::{
    commit::{BatchOutcome, BatchRef, BatchSummary, Placement, Rejection},
    extent::{Extent, Watermarks},
};

/// Names a batch within the cluster.
pub(super) type Owner = (SessionId, BatchRef);

/// A batch that wants to get into the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) owner: Owner,
    pub(super) summary: BatchSummary,
    pub(super) object: ObjectId,
    pub(super) run_position: u64,
    pub(super) run_bytes: u32,
    pub(super) raw_start: u32,
}

impl Candidate {
    fn last_sequence(&self) -> Sequence {
        self.summary.first_sequence.plus(self.summary.records - 1)
    }
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    first: Sequence,
    last: Sequence,
    /// Its latest time.
    time: i64,
    placement: Placement,
}

/// What a partition knows of one producer.
#[derive(Debug, Default)]
struct Producer {
    /// None = nothing of it is in the log, some batches are only held.
    epoch: Option<ProducerEpoch>,
    batches: VecDeque<Remembered>,
    held: Vec<Candidate>,
}

enum Verdict {
    Append,
    Duplicate(Placement),
    Reject(Rejection),
    Hold,
}

/// A partition's log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) log_append_time: bool,
    pub(super) log_start: Offset,
    pub(super) end: Offset,
    pub(super) extents: Vec<Extent>,
    /// How many of the extents were shown to watchers; only later ones may still grow.
    pub(super) published: usize,
    producers: BTreeMap<ProducerId, Producer>,
}

impl Log {
    pub(super) fn new(leader_epoch: LeaderEpoch, log_append_time: bool) -> Self {
        Self {
            leader_epoch,
            log_append_time,
            log_start: Offset(0),
            end: Offset(0),
            extents: Vec::new(),
            published: 0,
            producers: BTreeMap::new(),
        }
    }

    pub(super) fn watermarks(&self) -> Watermarks {
        Watermarks {
            log_start: self.log_start,
            high_watermark: self.end,
            last_stable: self.end,
            leader_epoch: self.leader_epoch,
        }
    }

    /// Decides a batch; the first outcome is its own, the rest are of held ones that it decided.
    pub(super) fn offer(&mut self, candidate: Candidate, now: i64) -> Vec<(Owner, BatchOutcome)> {
        if candidate.summary.producer_id == ProducerId::NONE {
            let placement = self.append(&candidate, now);
            return vec![(candidate.owner, BatchOutcome::Appended(placement))];
        }
        let outcome = self.decide(candidate, now);
        let mut outcomes = vec![(candidate.owner, outcome)];
        if outcome != BatchOutcome::Held {
            outcomes.extend(self.drain(candidate.summary.producer_id, now));
        }
        outcomes
    }

    /// Ends the hold of `owner`'s batch, if it is held here.
    pub(super) fn release(&mut self, owner: Owner, now: i64) -> Vec<(Owner, BatchOutcome)> {
        let Some((&id, at)) = self.producers.iter().find_map(|(id, producer)| {
            let at = producer.held.iter().position(|h| h.owner == owner)?;
            Some((id, at))
        }) else {
            return Vec::new();
        };
        let producer = self.producers.get_mut(&id).expect("found just above");
        let candidate = producer.held.remove(at);
        let outcome = if producer.epoch.is_some() {
            BatchOutcome::Rejected(Rejection::OutOfOrderSequence)
        } else {
            BatchOutcome::Appended(self.append_of_producer(&candidate, now))
        };
        let mut outcomes = vec![(owner, outcome)];
        outcomes.extend(self.drain(id, now));
        outcomes
    }

    /// Who wrote, as DescribeProducers says it.
    pub(super) fn producers(&self) -> Vec<ProducerState> {
        let known = self.producers.iter();
        let states = known.filter_map(|(id, producer)| {
            let newest = producer.batches.back()?;
            let state = ProducerState::default()
                .with_producer_id(id.0.into())
                .with_producer_epoch(i32::from(producer.epoch?.0))
                .with_last_sequence(newest.last.0)
                .with_last_timestamp(newest.time)
                .with_coordinator_epoch(-1)
                .with_current_txn_start_offset(-1);
            Some(state)
        });
        states.collect()
    }

    /// All batches that are held here; they are not any more.
    pub(super) fn take_held(&mut self) -> Vec<Owner> {
        let producers = self.producers.values_mut();
        let held = producers.flat_map(|producer| std::mem::take(&mut producer.held));
        held.map(|held| held.owner).collect()
    }

    fn decide(&mut self, candidate: Candidate, now: i64) -> BatchOutcome {
        match self.judge(&candidate) {
            Verdict::Append => BatchOutcome::Appended(self.append_of_producer(&candidate, now)),
            Verdict::Duplicate(placement) => BatchOutcome::Duplicate(placement),
            Verdict::Reject(why) => BatchOutcome::Rejected(why),
            Verdict::Hold => {
                let producer = self
                    .producers
                    .entry(candidate.summary.producer_id)
                    .or_default();
                producer.held.push(candidate);
                BatchOutcome::Held
            }
        }
    }

    /// Decides held batches of `id` for as long as one of them can be decided.
    fn drain(&mut self, id: ProducerId, now: i64) -> Vec<(Owner, BatchOutcome)> {
        let mut outcomes = Vec::new();
        loop {
            let Some(producer) = self.producers.get(&id) else {
                return outcomes;
            };
            let ready = producer
                .held
                .iter()
                .position(|h| !matches!(self.judge(h), Verdict::Hold));
            let Some(at) = ready else {
                return outcomes;
            };
            let producer = self.producers.get_mut(&id).expect("looked up just above");
            let candidate = producer.held.remove(at);
            let outcome = self.decide(candidate, now);
            outcomes.push((candidate.owner, outcome));
        }
    }

    fn judge(&self, candidate: &Candidate) -> Verdict {
        let batch = &candidate.summary;
        let first = batch.first_sequence;
        let known = self.producers.get(&batch.producer_id);
        let Some((producer, epoch)) = known.and_then(|p| Some((p, p.epoch?))) else {
            return match (first.0, self.end.0) {
                (0, _) => Verdict::Append,
                (_, 0) => Verdict::Reject(Rejection::OutOfOrderSequence),
                _ => Verdict::Hold,
            };
        };
        if batch.producer_epoch < epoch {
            return Verdict::Reject(Rejection::StaleProducerEpoch);
        }
        if batch.producer_epoch > epoch {
            return if first.0 == 0 {
                Verdict::Append
            } else {
                Verdict::Reject(Rejection::OutOfOrderSequence)
            };
        }
        let last = candidate.last_sequence();
        let same = |r: &&Remembered| r.first == first && r.last == last;
        if let Some(earlier) = producer.batches.iter().find(same) {
            return Verdict::Duplicate(earlier.placement);
        }
        let newest = producer.batches.back().expect("a known producer has one");
        let expected = newest.last.plus(1);
        let ahead = (i64::from(first.0) - i64::from(expected.0)).rem_euclid(1 << 31);
        match ahead {
            0 => Verdict::Append,
            1..0x4000_0000 => Verdict::Hold,
            _ => Verdict::Reject(Rejection::OutOfOrderSequence),
        }
    }

    fn append_of_producer(&mut self, candidate: &Candidate, now: i64) -> Placement {
        let placement = self.append(candidate, now);
        let producer = self
            .producers
            .entry(candidate.summary.producer_id)
            .or_default();
        if producer.epoch != Some(candidate.summary.producer_epoch) {
            producer.batches.clear();
        }
        producer.epoch = Some(candidate.summary.producer_epoch);
        producer.batches.push_back(Remembered {
            first: candidate.summary.first_sequence,
            last: candidate.last_sequence(),
            time: placement
                .log_append_time
                .unwrap_or(candidate.summary.max_timestamp),
            placement,
        });
        if producer.batches.len() > PRODUCER_BATCHES_MAX {
            producer.batches.pop_front();
        }
        placement
    }

    fn append(&mut self, candidate: &Candidate, now: i64) -> Placement {
        let base_offset = self.end;
        let log_append_time = self.log_append_time.then_some(now);
        let extent = Extent {
            object: candidate.object,
            run_position: candidate.run_position,
            run_bytes: candidate.run_bytes,
            raw_start: candidate.raw_start,
            raw_bytes: candidate.summary.bytes,
            base_offset,
            end_offset: base_offset.plus(candidate.summary.records),
            max_timestamp: log_append_time.unwrap_or(candidate.summary.max_timestamp),
            log_append_time,
        };
        self.end = extent.end_offset;
        let unpublished = self.extents.len() > self.published;
        match self.extents.last_mut() {
            Some(last) if unpublished && follows(last, &extent) => {
                last.raw_bytes += extent.raw_bytes;
                last.end_offset = extent.end_offset;
                last.max_timestamp = last.max_timestamp.max(extent.max_timestamp);
            }
            _ => self.extents.push(extent),
        }
        Placement {
            base_offset,
            log_append_time,
            log_start: self.log_start,
        }
    }
}

fn follows(last: &Extent, next: &Extent) -> bool {
    last.object == next.object
        && last.run_position == next.run_position
        && last.raw_start.checked_add(last.raw_bytes) == Some(next.raw_start)
        && last.log_append_time == next.log_append_time
}
