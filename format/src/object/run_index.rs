//! The index at the end of a run of level 1 and up: where each block lies, which offsets and times it holds,
//! and which transactions in it were aborted.
//!
//! It is stored as the run's last block, of a codec of its own, so that its header and CRC are like every
//! block's. Its payload:
//!
//! | what | how |
//! |---|---|
//! | flags: 1 = keys were compacted: offsets may be missing | unsigned varint |
//! | number of blocks | unsigned varint |
//! | per block: stored bytes (header included), expanded bytes, batches | unsigned varints |
//! | per block: base offset less the end of the one before, offsets, first timestamp less the one before, span to the max timestamp | zigzag varints |
//! | number of aborted transactions | unsigned varint |
//! | per transaction: producer id, first offset, last offset less the first | zigzag varints |
//! | length of the payload | 4 bytes, little endian |
//!
//! So the run's last 4 bytes say where the index begins.

use bytes::Bytes;
use thiserror::Error;

use crate::ids::{Offset, ProducerId};

/// Where a block of a run lies and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Byte position of the block, counted from the run's first byte.
    pub position: u32,
    /// Its bytes as stored, header included.
    pub stored_bytes: u32,
    /// Bytes of its batches.
    pub expanded_bytes: u32,
    /// How many batches it holds.
    pub batches: u32,
    /// Offset of its first record (the base offset of its first batch).
    pub base_offset: Offset,
    /// One past the last offset of its last batch.
    pub end_offset: Offset,
    /// Lowest base timestamp of its batches.
    pub first_timestamp: i64,
    /// Largest timestamp of its batches.
    pub max_timestamp: i64,
}

/// A transaction of which aborted records are in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbortedTransaction {
    /// Offset of its first record in the partition.
    pub first_offset: Offset,
    /// Its producer.
    pub producer_id: ProducerId,
    /// Offset of its marker.
    pub last_offset: Offset,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunIndex {
    /// Whether keys were compacted in it: offsets between and within batches may be missing.
    pub cleaned: bool,
    /// Its blocks, in order.
    pub blocks: Vec<IndexEntry>,
    /// Transactions that were aborted, by first offset.
    pub aborted: Vec<AbortedTransaction>,
}

/// Why bytes are not the index of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IndexError {
    /// It begins before the bytes that were given: read this many from the run's end.
    #[error("the run's index takes its last {tail_bytes} bytes")]
    NeedMore {
        /// Bytes to be read.
        tail_bytes: u64,
    },
    /// The checksum does not match.
    #[error("the run's index is corrupt: stored crc {stored:#010x}, computed {computed:#010x}")]
    Crc {
        /// From its header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// It does not fit the run or its own rules.
    #[error("the run's index is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
}

impl RunIndex {
    /// The block that ends a run: header and payload.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        todo!("builder A")
    }

    /// Reads the index from a run's last bytes. `tail` ends where the run does; `run_bytes` is the run's
    /// length as stored, index included. Blocks that do not lie one after the other from the run's first
    /// byte to the index are malformed.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn read(tail: &Bytes, run_bytes: u32) -> Result<Self, IndexError> {
        let _ = (tail, run_bytes);
        todo!("builder A")
    }

    /// The blocks from the first one that ends behind `from` on.
    #[must_use]
    pub fn from_offset(&self, from: Offset) -> &[IndexEntry] {
        let first = self
            .blocks
            .partition_point(|block| block.end_offset <= from);
        &self.blocks[first..]
    }
}
