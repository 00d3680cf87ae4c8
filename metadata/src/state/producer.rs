//! What a partition remembers of its idempotent producers.

use std::collections::BTreeMap;

use aquifer_format::{
    ids::{Offset, ProducerEpoch, ProducerId, Sequence, UploadEpoch},
    limits::PRODUCER_BATCHES_MAX,
};
use aquifer_metadata_api::commit::BatchSummary;

use super::budget::{PRODUCER_BYTES, REMEMBERED_BYTES, Usage};

/// A batch of a producer that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) base_offset: i64,
    /// `i64::MIN` = none was given.
    append_time: i64,
    pub(super) first_sequence: i32,
    pub(super) records: u32,
}

impl Remembered {
    pub(super) const NO_TIME: i64 = i64::MIN;

    pub(super) fn new(
        summary: &BatchSummary,
        base_offset: Offset,
        append_time: Option<i64>,
    ) -> Self {
        Self {
            base_offset: base_offset.0,
            append_time: append_time.unwrap_or(Self::NO_TIME),
            first_sequence: summary.first_sequence.0,
            records: summary.records,
        }
    }

    pub(super) fn from_parts(
        first_sequence: i32,
        records: u32,
        base_offset: i64,
        append_time: i64,
    ) -> Self {
        Self {
            base_offset,
            append_time,
            first_sequence,
            records,
        }
    }

    pub(super) fn append_time(&self) -> Option<i64> {
        (self.append_time != Self::NO_TIME).then_some(self.append_time)
    }

    /// The sequence that follows the batch; the wrap may fall inside it.
    pub(super) fn next_sequence(&self) -> Sequence {
        Sequence(self.first_sequence.max(0)).plus(self.records)
    }

    /// Same first and last sequence (the epoch was compared before).
    pub(super) fn is_same(&self, summary: &BatchSummary) -> bool {
        self.first_sequence == summary.first_sequence.0 && self.records == summary.records
    }
}

/// One producer in one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Producer {
    pub(super) epoch: ProducerEpoch,
    /// Upload epoch of its last batch.
    pub(super) last_seen: UploadEpoch,
    /// Its last batches, oldest first, all of `epoch`.
    pub(super) batches: Vec<Remembered>,
}

impl Producer {
    fn push(&mut self, epoch: ProducerEpoch, batch: Remembered) {
        if epoch != self.epoch {
            self.batches.clear();
            self.epoch = epoch;
        }
        if self.batches.len() >= PRODUCER_BATCHES_MAX {
            self.batches.remove(0);
        }
        self.batches.push(batch);
    }

    fn cost(&self) -> u64 {
        let batches = u64::try_from(self.batches.len()).unwrap_or(u64::MAX);
        PRODUCER_BYTES.saturating_add(batches.saturating_mul(REMEMBERED_BYTES))
    }
}

/// All producers of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Producers(pub(super) BTreeMap<ProducerId, Box<Producer>>);

impl Producers {
    pub(super) fn append(
        &mut self,
        summary: &BatchSummary,
        batch: Remembered,
        seen: UploadEpoch,
        usage: &mut Usage,
    ) {
        let mut before = 0;
        let producer = self
            .0
            .entry(summary.producer_id)
            .and_modify(|producer| before = producer.cost())
            .or_default();
        producer.push(summary.producer_epoch, batch);
        producer.last_seen = producer.last_seen.max(seen);
        usage.producer_bytes = usage
            .producer_bytes
            .saturating_add(producer.cost())
            .saturating_sub(before);
    }

    /// Forgets producers that were last seen in `through` or before; tells whether there were any.
    pub(super) fn expire(&mut self, through: UploadEpoch, usage: &mut Usage) -> bool {
        let before = self.0.len();
        self.0.retain(|_, producer| {
            let keep = producer.last_seen > through;
            if !keep {
                usage.producer_bytes = usage.producer_bytes.saturating_sub(producer.cost());
            }
            keep
        });
        self.0.len() != before
    }

    pub(super) fn cost(&self) -> u64 {
        self.0
            .values()
            .fold(0, |sum, producer| sum.saturating_add(producer.cost()))
    }
}
