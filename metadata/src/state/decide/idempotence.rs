//! The rules for one batch of an idempotent producer.
//!
//! They are those of Kafka's `ProducerAppendInfo` and `ProducerStateEntry`, with three differences: 16
//! batches are remembered instead of 5; a partition that never had a record takes only a first
//! sequence of 0 from a producer that it does not know (KAFKA-15591: otherwise a first batch that was
//! lost would be lost silently); and where Kafka would refuse a gap, or take any sequence from an
//! unknown producer, the batch may be held for a while until its predecessor arrives.

use aquifer_format::ids::{ProducerEpoch, Sequence};
use aquifer_metadata_api::commit::{BatchSummary, Rejection};

use crate::state::producer::Remembered;

/// What a partition knows of a producer.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) epoch: ProducerEpoch,
    /// Its remembered batches of that epoch, oldest first, except ...
    pub(super) older: &'a [Remembered],
    /// ... those that the same decision appended.
    pub(super) newer: &'a [Remembered],
}

impl Known<'_> {
    /// The sequence that must come next.
    pub(super) fn next_sequence(&self) -> Sequence {
        self.newer
            .last()
            .or(self.older.last())
            .map_or(Sequence(0), Remembered::next_sequence)
    }

    fn find(&self, batch: &BatchSummary) -> Option<Remembered> {
        let mut all = self.newer.iter().rev().chain(self.older.iter().rev());
        all.find(|remembered| remembered.is_same(batch)).copied()
    }
}

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes to the end of the log.
    Append,
    /// It is there already.
    Duplicate(Remembered),
    /// It never will be.
    Reject(Rejection),
    /// Batches are missing before it; if they do not come it is rejected as out of order.
    Gap,
    /// Nothing is known of its producer, though it is not its first batch; if nothing that explains it
    /// comes it is appended.
    Unknown,
}

/// Judges a batch.
pub(super) fn judge(batch: &BatchSummary, known: Option<Known<'_>>, ever_held: bool) -> Verdict {
    if batch.producer_id.0 < 0 {
        return Verdict::Append;
    }
    let Some(known) = known else {
        return match (batch.first_sequence, ever_held) {
            (Sequence(0), _) => Verdict::Append,
            (_, false) => Verdict::Reject(Rejection::OutOfOrderSequence),
            (_, true) => Verdict::Unknown,
        };
    };
    if batch.producer_epoch < known.epoch {
        return Verdict::Reject(Rejection::StaleProducerEpoch);
    }
    if batch.producer_epoch > known.epoch {
        return match batch.first_sequence {
            Sequence(0) => Verdict::Append,
            _ => Verdict::Gap,
        };
    }
    if let Some(remembered) = known.find(batch) {
        return Verdict::Duplicate(remembered);
    }
    match distance(known.next_sequence(), batch.first_sequence) {
        0 => Verdict::Append,
        ahead if ahead < HALF => Verdict::Gap,
        _ => Verdict::Reject(Rejection::OutOfOrderSequence),
    }
}

/// Half of all sequences: what is further ahead than that is behind.
const HALF: u32 = 1 << 30;

/// How far `to` is ahead of `from`, on the circle of 2^31 sequences.
pub(super) fn distance(from: Sequence, to: Sequence) -> u32 {
    to.0.wrapping_sub(from.0).cast_unsigned() & (u32::MAX >> 1)
}

/// Whether `a` comes before `b`, and how far.
pub(super) fn lead(a: Sequence, b: Sequence) -> Option<u32> {
    Some(distance(a, b)).filter(|ahead| *ahead < HALF)
}
