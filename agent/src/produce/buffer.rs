//! The agent's one open buffer: what the next object will hold.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::{
    batch::RecordBatch,
    ids::{PartitionId, ProducerEpoch, ProducerId, Sequence},
};
use aquifer_metadata_api::commit::BatchSummary;
use aquifer_store::Monotonic;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    policy::{BufferState, FlushReason},
    requests::BatchTag,
};
use crate::connection::ConnectionId;

/// A batch on its way into an object.
#[derive(Clone, Debug)]
pub(super) struct Buffered {
    pub(super) tag: BatchTag,
    pub(super) batch: RecordBatch,
}

/// Batches of one connection to one partition: flushes that share one are committed in order.
pub(super) type OrderKey = (ConnectionId, PartitionId);

/// The open buffer.
#[derive(Debug, Default)]
pub(super) struct OpenBuffer {
    contents: Contents,
    times: Option<(Monotonic, Monotonic)>,
    sealed_at: Option<Monotonic>,
    full_window: bool,
}

/// What a buffer holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Batches per partition in order of arrival.
    pub(super) runs: BTreeMap<PartitionId, Vec<Buffered>>,
    /// Whose batches they are.
    pub(super) keys: BTreeSet<OrderKey>,
    /// Bytes of all batches.
    pub(super) bytes: u64,
    /// Number of batches.
    pub(super) batches: u64,
    /// The bytes' share of the agent's bound; given back when the buffer is dropped.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// A buffer that was sealed.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) contents: Contents,
    pub(super) reason: FlushReason,
    /// When its first byte came.
    pub(super) first_at: Monotonic,
    /// When it was sealed.
    pub(super) sealed_at: Monotonic,
}

impl OpenBuffer {
    /// Appends a batch.
    pub(super) fn append(
        &mut self,
        connection: ConnectionId,
        partition: PartitionId,
        batch: Buffered,
        now: Monotonic,
    ) {
        let contents = &mut self.contents;
        contents.bytes += u64::try_from(batch.batch.bytes.len()).expect("lengths fit 64 bits");
        contents.batches += 1;
        contents.keys.insert((connection, partition));
        contents.runs.entry(partition).or_default().push(batch);
        let first = self.times.map_or(now, |(first, _)| first);
        self.times = Some((first, now));
    }

    /// Takes over the share of the agent's bound that a request's batches have.
    pub(super) fn hold(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.contents.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
    }

    /// Notes that a connection with bytes in the buffer can send no more before it gets an answer.
    pub(super) fn note_full_window(&mut self) {
        self.full_window = true;
    }

    /// What the flush policy looks at; None = empty.
    pub(super) fn state(&self) -> Option<BufferState> {
        self.times.map(|(first_at, last_at)| BufferState {
            bytes: self.contents.bytes,
            first_at,
            last_at,
            sealed_at: self.sealed_at,
            full_window: self.full_window,
        })
    }

    /// Takes the contents out; None = empty.
    pub(super) fn seal(&mut self, reason: FlushReason, now: Monotonic) -> Option<Sealed> {
        let (first_at, _) = self.times.take()?;
        self.sealed_at = Some(now);
        self.full_window = false;
        Some(Sealed {
            contents: std::mem::take(&mut self.contents),
            reason,
            first_at,
            sealed_at: now,
        })
    }
}

/// What the leader must know of a batch.
pub(super) fn summary(batch: &RecordBatch) -> BatchSummary {
    let header = &batch.header;
    // Every negative id stands for none, and then epoch and sequence mean nothing.
    let (producer_id, producer_epoch, first_sequence) = if header.has_producer() {
        (
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
        )
    } else {
        (ProducerId::NONE, ProducerEpoch::NONE, Sequence::NONE)
    };
    BatchSummary {
        producer_id,
        producer_epoch,
        first_sequence,
        records: header.offsets(),
        bytes: u32::try_from(batch.bytes.len()).expect("a batch's length field has 32 bits"),
        max_timestamp: header.max_timestamp,
    }
}
