//! The hot event: its runs and batches are a table, not a message or column each, written and read in one
//! pass. All in the numbers of [`crate::varint`].
//!
//! How many runs there are, how many batches in all, and then a row for each run:
//!
//! 1. its batches * 4, + 2 if it has append times, + 1 if its topic is not that of the run before; then that
//!    topic's id (16 bytes) follows;
//! 2. the partition less the one of the run before if that is of the same topic (signed), the position less
//!    the end of the run before (signed), the stored bytes, the log start (signed);
//!
//! and behind it one for each of its batches:
//!
//! 1. the decision: 0 appended, 1 duplicate, 2 held, 3 duplicate that had an append time, 16 and up rejected;
//! 2. records, bytes, the largest timestamp less the event's time (signed), the producer id less the one of
//!    the batch before (signed);
//! 3. with a producer id: epoch (signed) and first sequence;
//! 4. where it is appended or a duplicate: the base offset less the end of what the run appended before it
//!    (signed), and the append time that a duplicate had, less the event's time (signed).

use aquifer_format::ids::{
    CommitNumber, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence,
    SessionId, TopicId,
};
use aquifer_metadata_api::commit::BatchSummary;
use uuid::Uuid;

use super::{
    Committed, CommittedBatch, CommittedRun, Decision,
    convert::{
        Malformed, decision_code, decision_to, epoch_from, moment_from, moment_to, object_from,
        object_to, rejection_of,
    },
    proto,
};
use crate::varint::{Reader, put, put_signed};

#[cfg(test)]
mod tests;

/// About what a run takes, and a batch.
const ROW_BYTES: usize = 16;
/// What a run takes at least: a byte for each number.
const RUN_BYTES_MIN: usize = 5;
/// What a batch takes at least.
const BATCH_BYTES_MIN: usize = 5;

const OTHER_TOPIC: u64 = 1;
const APPEND_TIME: u64 = 2;
const BATCHES_SHIFT: u32 = 2;

pub(super) fn committed_to(committed: &Committed) -> proto::Committed {
    proto::Committed {
        session: committed.session.0,
        number: committed.number.0,
        answered_through: committed.answered_through.0,
        object: Some(object_to(&committed.object)),
        at: Some(moment_to(committed.at)),
        table: table_to(committed),
    }
}

pub(super) fn committed_from(from: proto::Committed) -> Result<Committed, Malformed> {
    let at = moment_from(from.at)?;
    let (runs, batches) = table_from(&from.table, at.unix_millis)?;
    Ok(Committed {
        session: SessionId(from.session),
        number: CommitNumber(from.number),
        answered_through: CommitNumber(from.answered_through),
        object: object_from(from.object)?,
        at,
        runs,
        batches,
    })
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn table_to(committed: &Committed) -> Vec<u8> {
    let Committed { runs, batches, .. } = committed;
    let mut to = Vec::with_capacity(ROW_BYTES * (runs.len() + batches.len() + 1));
    put(&mut to, length(runs.len()));
    put(&mut to, length(batches.len()));
    let mut before = Before::default();
    let mut rest = batches.as_slice();
    for run in runs {
        let count = usize::try_from(run.batches).unwrap_or(usize::MAX);
        let (batches, after) = rest.split_at(count.min(rest.len()));
        rest = after;
        before.run_to(run, length(batches.len()), &mut to);
        for batch in batches {
            before.batch_to(batch, committed.at.unix_millis, &mut to);
        }
    }
    to
}

/// What the next row says only the difference to.
#[derive(Default)]
struct Before {
    topic: Option<TopicId>,
    partition: i32,
    /// Where the run ends in the object.
    end: u64,
    producer: i64,
    /// Where the log goes on.
    next_offset: i64,
}

impl Before {
    fn run_to(&mut self, run: &CommittedRun, batches: u64, to: &mut Vec<u8>) {
        let PartitionId { topic, partition } = run.partition;
        let other = self.topic != Some(topic);
        let mut head = batches << BATCHES_SHIFT;
        if run.log_append_time {
            head |= APPEND_TIME;
        }
        if other {
            head |= OTHER_TOPIC;
        }
        put(to, head);
        if other {
            to.extend_from_slice(topic.0.as_bytes());
            self.begin_topic(topic);
        }
        put_signed(to, i64::from(partition.0) - i64::from(self.partition));
        put_signed(to, run.position.wrapping_sub(self.end).cast_signed());
        put(to, u64::from(run.stored_bytes));
        put_signed(to, run.log_start.0);
        self.end_run(run);
    }

    fn begin_topic(&mut self, topic: TopicId) {
        self.topic = Some(topic);
        self.partition = 0;
    }

    fn end_run(&mut self, run: &CommittedRun) {
        self.partition = run.partition.partition.0;
        self.end = run.position.wrapping_add(u64::from(run.stored_bytes));
        self.next_offset = 0;
    }

    fn batch_to(&mut self, batch: &CommittedBatch, unix_millis: i64, to: &mut Vec<u8>) {
        let CommittedBatch { summary, decision } = batch;
        put(to, u64::from(decision_to(*decision)));
        put(to, u64::from(summary.records));
        put(to, u64::from(summary.bytes));
        put_signed(to, summary.max_timestamp.wrapping_sub(unix_millis));
        let producer = summary.producer_id.0;
        put_signed(to, producer.wrapping_sub(self.producer));
        if producer >= 0 {
            put_signed(to, i64::from(summary.producer_epoch.0));
            put(to, u64::from(summary.first_sequence.0.cast_unsigned()));
        }
        match decision {
            Decision::Appended { base_offset } => {
                put_signed(to, base_offset.0.wrapping_sub(self.next_offset));
            }
            Decision::Duplicate {
                base_offset,
                log_append_time,
            } => {
                put_signed(to, base_offset.0.wrapping_sub(self.next_offset));
                if let Some(time) = log_append_time {
                    put_signed(to, time.wrapping_sub(unix_millis));
                }
            }
            Decision::Held | Decision::Rejected(_) => {}
        }
        self.end_batch(batch);
    }

    fn end_batch(&mut self, batch: &CommittedBatch) {
        self.producer = batch.summary.producer_id.0;
        if let Decision::Appended { base_offset } = batch.decision {
            self.next_offset = base_offset.plus(batch.summary.records).0;
        }
    }

    fn run_from(&mut self, from: &mut Reader<'_>) -> Result<CommittedRun, Malformed> {
        let head = from.number()?;
        if head & OTHER_TOPIC != 0 {
            self.begin_topic(TopicId(Uuid::from_bytes(from.array()?)));
        }
        let topic = self.topic.ok_or("a commit's first run has no topic")?;
        let partition = i64::from(self.partition).checked_add(from.signed()?);
        let partition = partition.and_then(|partition| i32::try_from(partition).ok());
        let partition = partition.ok_or("a partition is out of range")?;
        let run = CommittedRun {
            partition: PartitionId::new(topic, PartitionIndex(partition)),
            position: self.end.wrapping_add(from.signed()?.cast_unsigned()),
            stored_bytes: from.small()?,
            log_start: Offset(from.signed()?),
            log_append_time: head & APPEND_TIME != 0,
            batches: u32::try_from(head >> BATCHES_SHIFT).map_err(|_| UNEVEN)?,
        };
        self.end_run(&run);
        Ok(run)
    }

    fn batch_from(
        &mut self,
        unix_millis: i64,
        from: &mut Reader<'_>,
    ) -> Result<CommittedBatch, Malformed> {
        let code = from.small()?;
        let (records, bytes) = (from.small()?, from.small()?);
        let max_timestamp = from.signed()?.wrapping_add(unix_millis);
        let producer = self.producer.wrapping_add(from.signed()?);
        let (producer_epoch, first_sequence) = if producer >= 0 {
            let epoch = i32::try_from(from.signed()?);
            let epoch = epoch_from(epoch.map_err(|_| "a producer epoch is out of range")?)?;
            (epoch, Sequence(from.small()?.cast_signed()))
        } else {
            (ProducerEpoch::NONE, Sequence::NONE)
        };
        let decision = self.decision_from(code, unix_millis, from)?;
        let batch = CommittedBatch {
            summary: BatchSummary {
                producer_id: ProducerId(producer),
                producer_epoch,
                first_sequence,
                records,
                bytes,
                max_timestamp,
            },
            decision,
        };
        self.end_batch(&batch);
        Ok(batch)
    }

    fn decision_from(
        &self,
        code: u32,
        unix_millis: i64,
        from: &mut Reader<'_>,
    ) -> Result<Decision, Malformed> {
        let base_offset = |from: &mut Reader<'_>| {
            let offset = self.next_offset.wrapping_add(from.signed()?);
            Ok::<_, Malformed>(Offset(offset))
        };
        Ok(match code {
            decision_code::APPENDED => Decision::Appended {
                base_offset: base_offset(from)?,
            },
            decision_code::DUPLICATE => Decision::Duplicate {
                base_offset: base_offset(from)?,
                log_append_time: None,
            },
            decision_code::DUPLICATE_WITH_TIME => Decision::Duplicate {
                base_offset: base_offset(from)?,
                log_append_time: Some(from.signed()?.wrapping_add(unix_millis)),
            },
            decision_code::HELD => Decision::Held,
            rejected => Decision::Rejected(rejection_of(rejected)?),
        })
    }
}

const UNEVEN: Malformed = "a commit's runs and batches do not add up";

fn table_from(
    table: &[u8],
    unix_millis: i64,
) -> Result<(Vec<CommittedRun>, Vec<CommittedBatch>), Malformed> {
    let mut from = Reader::new(table);
    let (run_count, batch_count) = (from.count()?, from.count()?);
    // no more than the bytes can be
    let mut runs = Vec::with_capacity(run_count.min(from.left() / RUN_BYTES_MIN));
    let mut batches = Vec::with_capacity(batch_count.min(from.left() / BATCH_BYTES_MIN));
    let mut before = Before::default();
    for _ in 0..run_count {
        let run = before.run_from(&mut from)?;
        for _ in 0..run.batches {
            batches.push(before.batch_from(unix_millis, &mut from)?);
        }
        runs.push(run);
    }
    from.finish()?;
    if batches.len() != batch_count {
        return Err(UNEVEN);
    }
    Ok((runs, batches))
}
