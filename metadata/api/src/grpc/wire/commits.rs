//! The stream of commits.

use aquifer_format::ids::{CommitNumber, Offset, ProducerEpoch, ProducerId, Sequence};
use bytes::Bytes;

use super::{
    super::proto::{self, commits_call::Kind},
    Malformed, UNEVEN,
    columns::{length, partitions_from, partitions_to},
    ids::{epoch_from, object_from, object_to},
};
use crate::commit::{
    BatchOutcome, BatchRef, BatchSummary, Commit, CommitAnswer, CommitCall, Placement, Rejection,
    Run,
};

/// A call.
#[must_use]
pub fn call_to(call: &CommitCall) -> proto::CommitsCall {
    let kind = match call {
        CommitCall::Commit(commit) => Kind::Commit(commit_to(commit)),
        CommitCall::ReleaseHolds(batches) => Kind::ReleaseHolds(proto::BatchRefs {
            number: batches.iter().map(|b| b.number.0).collect(),
            run: batches.iter().map(|b| b.run).collect(),
            batch: batches.iter().map(|b| b.batch).collect(),
        }),
    };
    proto::CommitsCall { kind: Some(kind) }
}

/// Reads what [`call_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn call_from(call: proto::CommitsCall) -> Result<CommitCall, Malformed> {
    match call.kind {
        Some(Kind::Commit(commit)) => commit_from(commit).map(CommitCall::Commit),
        Some(Kind::ReleaseHolds(batches)) => refs_from(&batches).map(CommitCall::ReleaseHolds),
        Some(Kind::Open(_)) => Err(Malformed("a stream of commits is opened twice")),
        None => Err(Malformed("a call on a stream of commits is of no kind")),
    }
}

fn refs_from(from: &proto::BatchRefs) -> Result<Vec<BatchRef>, Malformed> {
    let count = from.number.len();
    if [from.run.len(), from.batch.len()] != [count; 2] {
        return Err(UNEVEN);
    }
    let reference = |at: usize| BatchRef {
        number: CommitNumber(from.number[at]),
        run: from.run[at],
        batch: from.batch[at],
    };
    Ok((0..count).map(reference).collect())
}

fn commit_to(commit: &Commit) -> proto::Commit {
    let runs = commit.runs.len();
    let batches = commit.runs.iter().map(|r| r.batches.len()).sum();
    let mut to = proto::Commit {
        number: commit.number.0,
        answered_through: commit.answered_through.0,
        object: Some(object_to(commit.object)),
        object_bytes: commit.object_bytes,
        locations: Bytes::copy_from_slice(&commit.locations),
        partitions: Some(partitions_to(commit.runs.iter().map(|r| r.partition))),
        position_gap: Vec::with_capacity(runs),
        stored_bytes: Vec::with_capacity(runs),
        batches: Vec::with_capacity(runs),
        records: Vec::with_capacity(batches),
        bytes: Vec::with_capacity(batches),
        max_timestamp: Vec::with_capacity(batches),
        producer_id: Vec::with_capacity(batches),
        producer_epoch: Vec::with_capacity(batches),
        first_sequence: Vec::with_capacity(batches),
    };
    let mut end = 0u64;
    let mut before = Before::default();
    for run in &commit.runs {
        to.position_gap
            .push(run.position.wrapping_sub(end).cast_signed());
        end = run.position.wrapping_add(u64::from(run.stored_bytes));
        to.stored_bytes.push(run.stored_bytes);
        to.batches.push(length(run.batches.len()));
        for batch in &run.batches {
            before.batch_to(batch, &mut to);
        }
    }
    to
}

/// What the next row of a column is a difference to.
#[derive(Default)]
struct Before {
    timestamp: i64,
    producer: i64,
}

impl Before {
    fn batch_to(&mut self, batch: &BatchSummary, to: &mut proto::Commit) {
        to.records.push(batch.records);
        to.bytes.push(batch.bytes);
        to.max_timestamp
            .push(batch.max_timestamp.wrapping_sub(self.timestamp));
        self.timestamp = batch.max_timestamp;
        to.producer_id
            .push(batch.producer_id.0.wrapping_sub(self.producer));
        self.producer = batch.producer_id.0;
        if self.producer >= 0 {
            to.producer_epoch.push(i32::from(batch.producer_epoch.0));
            to.first_sequence
                .push(batch.first_sequence.0.cast_unsigned());
        }
    }
}

fn commit_from(mut from: proto::Commit) -> Result<Commit, Malformed> {
    let partitions = partitions_from(from.partitions.take())?;
    let runs = partitions.len();
    let columns = [
        from.position_gap.len(),
        from.stored_bytes.len(),
        from.batches.len(),
    ];
    if columns != [runs; 3] {
        return Err(UNEVEN);
    }
    let mut batches = Batches::new(&from)?;
    let mut end = 0u64;
    let mut taken = Vec::with_capacity(runs);
    for (at, partition) in partitions.into_iter().enumerate() {
        let position = end.wrapping_add(from.position_gap[at].cast_unsigned());
        end = position.wrapping_add(u64::from(from.stored_bytes[at]));
        taken.push(Run {
            partition,
            position,
            stored_bytes: from.stored_bytes[at],
            batches: batches.take(from.batches[at])?,
        });
    }
    batches.finish()?;
    Ok(Commit {
        number: CommitNumber(from.number),
        answered_through: CommitNumber(from.answered_through),
        object: object_from(from.object)?,
        object_bytes: from.object_bytes,
        locations: from.locations.to_vec(),
        runs: taken,
    })
}

/// Walks a commit's columns of batches.
struct Batches<'a> {
    from: &'a proto::Commit,
    next: usize,
    /// Row of the columns that only batches with a producer id have.
    sequenced: usize,
    before: Before,
}

impl<'a> Batches<'a> {
    fn new(from: &'a proto::Commit) -> Result<Self, Malformed> {
        let columns = [
            from.bytes.len(),
            from.max_timestamp.len(),
            from.producer_id.len(),
        ];
        if columns != [from.records.len(); 3]
            || from.producer_epoch.len() != from.first_sequence.len()
        {
            return Err(UNEVEN);
        }
        Ok(Self {
            from,
            next: 0,
            sequenced: 0,
            before: Before::default(),
        })
    }

    /// The next `count` batches.
    fn take(&mut self, count: u32) -> Result<Vec<BatchSummary>, Malformed> {
        let count = usize::try_from(count).map_err(|_| UNEVEN)?;
        if count > self.from.records.len() - self.next {
            return Err(UNEVEN);
        }
        let mut batches = Vec::with_capacity(count);
        for _ in 0..count {
            batches.push(self.one()?);
        }
        Ok(batches)
    }

    /// The next batch; there is one.
    fn one(&mut self) -> Result<BatchSummary, Malformed> {
        let (from, at) = (self.from, self.next);
        self.next += 1;
        let timestamp = self.before.timestamp.wrapping_add(from.max_timestamp[at]);
        let producer = self.before.producer.wrapping_add(from.producer_id[at]);
        self.before = Before {
            timestamp,
            producer,
        };
        let (producer_epoch, first_sequence) = if producer >= 0 {
            let row = self.sequenced;
            self.sequenced += 1;
            let epoch = epoch_from(*from.producer_epoch.get(row).ok_or(UNEVEN)?)?;
            (epoch, Sequence(from.first_sequence[row].cast_signed()))
        } else {
            (ProducerEpoch::NONE, Sequence::NONE)
        };
        Ok(BatchSummary {
            producer_id: ProducerId(producer),
            producer_epoch,
            first_sequence,
            records: from.records[at],
            bytes: from.bytes[at],
            max_timestamp: timestamp,
        })
    }

    /// Everything was taken.
    fn finish(self) -> Result<(), Malformed> {
        let all = self.next == self.from.records.len();
        if all && self.sequenced == self.from.producer_epoch.len() {
            Ok(())
        } else {
            Err(UNEVEN)
        }
    }
}

/// Codes of outcomes.
mod outcome {
    pub(super) const APPENDED: u32 = 0;
    pub(super) const APPENDED_WITH_TIME: u32 = 1;
    pub(super) const DUPLICATE: u32 = 2;
    pub(super) const DUPLICATE_WITH_TIME: u32 = 3;
    pub(super) const HELD: u32 = 4;
    pub(super) const UNKNOWN_PARTITION: u32 = 16;
    pub(super) const STALE_EPOCH: u32 = 17;
    pub(super) const OUT_OF_ORDER: u32 = 18;
    pub(super) const TOO_OLD: u32 = 19;
    pub(super) const OVER_BUDGET: u32 = 20;
}

fn rejection_to(rejection: Rejection) -> u32 {
    match rejection {
        Rejection::UnknownPartition => outcome::UNKNOWN_PARTITION,
        Rejection::StaleProducerEpoch => outcome::STALE_EPOCH,
        Rejection::OutOfOrderSequence => outcome::OUT_OF_ORDER,
        Rejection::TooOld => outcome::TOO_OLD,
        Rejection::OverBudget => outcome::OVER_BUDGET,
    }
}

fn rejection_from(code: u32) -> Result<Rejection, Malformed> {
    match code {
        outcome::UNKNOWN_PARTITION => Ok(Rejection::UnknownPartition),
        outcome::STALE_EPOCH => Ok(Rejection::StaleProducerEpoch),
        outcome::OUT_OF_ORDER => Ok(Rejection::OutOfOrderSequence),
        outcome::TOO_OLD => Ok(Rejection::TooOld),
        outcome::OVER_BUDGET => Ok(Rejection::OverBudget),
        _ => Err(Malformed("a batch has an unknown outcome")),
    }
}

/// An answer.
#[must_use]
pub fn answer_to(answer: &CommitAnswer) -> proto::CommitAnswer {
    let count = answer.outcomes.len();
    let mut to = proto::CommitAnswer {
        number: answer.number.0,
        run: Vec::with_capacity(count),
        batch: Vec::with_capacity(count),
        outcome: Vec::with_capacity(count),
        base_offset: Vec::with_capacity(count),
        log_start: Vec::with_capacity(count),
        log_append_time: Vec::new(),
    };
    let mut time = 0i64;
    for (batch, decided) in &answer.outcomes {
        to.run.push(batch.run);
        to.batch.push(batch.batch);
        let (code, with_time, place) = match decided {
            BatchOutcome::Appended(place) => {
                (outcome::APPENDED, outcome::APPENDED_WITH_TIME, place)
            }
            BatchOutcome::Duplicate(place) => {
                (outcome::DUPLICATE, outcome::DUPLICATE_WITH_TIME, place)
            }
            BatchOutcome::Rejected(rejection) => {
                to.outcome.push(rejection_to(*rejection));
                continue;
            }
            BatchOutcome::Held => {
                to.outcome.push(outcome::HELD);
                continue;
            }
        };
        to.base_offset.push(place.base_offset.0);
        to.log_start.push(place.log_start.0);
        match place.log_append_time {
            Some(append_time) => {
                to.outcome.push(with_time);
                to.log_append_time.push(append_time.wrapping_sub(time));
                time = append_time;
            }
            None => to.outcome.push(code),
        }
    }
    to
}

/// Reads what [`answer_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn answer_from(from: &proto::CommitAnswer) -> Result<CommitAnswer, Malformed> {
    let count = from.outcome.len();
    if [from.run.len(), from.batch.len()] != [count; 2]
        || from.base_offset.len() != from.log_start.len()
    {
        return Err(UNEVEN);
    }
    let number = CommitNumber(from.number);
    let mut places = Places {
        from,
        next: 0,
        times: 0,
        time: 0,
    };
    let mut outcomes = Vec::with_capacity(count);
    for at in 0..count {
        let reference = BatchRef {
            number,
            run: from.run[at],
            batch: from.batch[at],
        };
        let decided = match from.outcome[at] {
            outcome::APPENDED => BatchOutcome::Appended(places.take(false)?),
            outcome::APPENDED_WITH_TIME => BatchOutcome::Appended(places.take(true)?),
            outcome::DUPLICATE => BatchOutcome::Duplicate(places.take(false)?),
            outcome::DUPLICATE_WITH_TIME => BatchOutcome::Duplicate(places.take(true)?),
            outcome::HELD => BatchOutcome::Held,
            rejected => BatchOutcome::Rejected(rejection_from(rejected)?),
        };
        outcomes.push((reference, decided));
    }
    if places.next != from.base_offset.len() || places.times != from.log_append_time.len() {
        return Err(UNEVEN);
    }
    Ok(CommitAnswer { number, outcomes })
}

/// Walks an answer's columns of places.
struct Places<'a> {
    from: &'a proto::CommitAnswer,
    next: usize,
    times: usize,
    time: i64,
}

impl Places<'_> {
    fn take(&mut self, with_time: bool) -> Result<Placement, Malformed> {
        let base_offset = *self.from.base_offset.get(self.next).ok_or(UNEVEN)?;
        let log_start = self.from.log_start[self.next];
        self.next += 1;
        let log_append_time = if with_time {
            let after = self.from.log_append_time.get(self.times).ok_or(UNEVEN)?;
            self.times += 1;
            self.time = self.time.wrapping_add(*after);
            Some(self.time)
        } else {
            None
        };
        Ok(Placement {
            base_offset: Offset(base_offset),
            log_append_time,
            log_start: Offset(log_start),
        })
    }
}
