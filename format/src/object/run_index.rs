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

use std::ops::Range;

use bytes::Bytes;
use thiserror::Error;

use super::footer::count;
use super::input::Input;
use crate::block::{BlockCodec, BlockHeader};
use crate::ids::{Offset, ProducerId};
use crate::limits::{
    BLOCK_HEADER_BYTES, BLOCK_RAW_BYTES_MAX, RUN_EXPANDED_BYTES_MAX, RUN_INDEX_BYTES_MAX,
};
use crate::varint;

/// Bytes behind the fields that say how long the payload is.
const LENGTH_BYTES: usize = 4;
/// Flag: keys were compacted.
const CLEANED: u64 = 1;

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
    /// The block that ends a run: header and payload. Nobody reads one that is larger than [`RUN_INDEX_BYTES_MAX`].
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        varint::write_u64(&mut out, flags(self.cleaned));
        varint::write_u64(&mut out, count(self.blocks.len()));
        let (mut end_offset, mut first_timestamp) = (0i64, 0i64);
        for block in &self.blocks {
            varint::write_u64(&mut out, u64::from(block.stored_bytes));
            varint::write_u64(&mut out, u64::from(block.expanded_bytes));
            varint::write_u64(&mut out, u64::from(block.batches));
            let (base, end) = (block.base_offset.0, block.end_offset.0);
            varint::write_i64(&mut out, base.wrapping_sub(end_offset));
            varint::write_i64(&mut out, end.wrapping_sub(base));
            let (first, max) = (block.first_timestamp, block.max_timestamp);
            varint::write_i64(&mut out, first.wrapping_sub(first_timestamp));
            varint::write_i64(&mut out, max.wrapping_sub(first));
            (end_offset, first_timestamp) = (end, first);
        }
        write_aborted(&self.aborted, &mut out);
        let length = u32::try_from(out.len() + LENGTH_BYTES).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        let payload = Bytes::from(out);
        let header = BlockHeader::of_index(&payload, length);
        [&header.encode()[..], &payload[..]].concat().into()
    }

    /// Reads the index from a run's last bytes. `tail` ends where the run does; `run_bytes` is the run's
    /// length as stored, index included. Blocks that do not lie one after the other from the run's first
    /// byte to the index are malformed.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn read(tail: &Bytes, run_bytes: u32) -> Result<Self, IndexError> {
        let malformed = |what| IndexError::Malformed { what };
        let Some(length) = tail.last_chunk::<LENGTH_BYTES>() else {
            return Err(if count(tail.len()) < u64::from(run_bytes) {
                IndexError::NeedMore {
                    tail_bytes: u64::from(run_bytes).min(count(LENGTH_BYTES)),
                }
            } else {
                malformed("the run is shorter than any index")
            });
        };
        let length = u32::from_le_bytes(*length);
        let index_bytes = u64::from(length) + count(BLOCK_HEADER_BYTES);
        if index_bytes > count(RUN_INDEX_BYTES_MAX) {
            return Err(malformed("it is longer than it can be"));
        }
        let blocks_bytes = u64::from(run_bytes)
            .checked_sub(index_bytes)
            .ok_or(malformed("it is longer than the run"))?;
        let start = usize::try_from(index_bytes)
            .ok()
            .and_then(|bytes| tail.len().checked_sub(bytes));
        let Some(start) = start else {
            return Err(IndexError::NeedMore {
                tail_bytes: index_bytes,
            });
        };
        let payload = payload(&tail.slice(start..), length)?;
        Self::decode(payload, blocks_bytes).map_err(malformed)
    }

    /// Reads the payload; `blocks_bytes` are in front of the index.
    fn decode(payload: Bytes, blocks_bytes: u64) -> Result<Self, &'static str> {
        let fields = payload.len().saturating_sub(LENGTH_BYTES);
        let mut input = Input(payload.slice(..fields));
        let cleaned = read_flags(&mut input)?;
        let mut blocks: Vec<IndexEntry> = Vec::new();
        let mut expanded = 0u64;
        for _ in 0..input.u64()? {
            let block = IndexEntry::decode(&mut input, blocks.last())?;
            expanded += u64::from(block.expanded_bytes);
            if expanded > count(RUN_EXPANDED_BYTES_MAX) {
                return Err("the run is larger than a run can be");
            }
            blocks.push(block);
        }
        let end = blocks.last().ok_or("the run has no blocks")?.range().end;
        if end != blocks_bytes {
            return Err("its blocks do not end where it begins");
        }
        let aborted = read_aborted(&mut input)?;
        if input.has_remaining() {
            return Err("bytes are left behind its fields");
        }
        Ok(Self {
            cleaned,
            blocks,
            aborted,
        })
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

/// The payload of an index block.
fn payload(block: &Bytes, length: u32) -> Result<Bytes, IndexError> {
    let no_index = IndexError::Malformed {
        what: "the run does not end with one",
    };
    let header = block
        .first_chunk::<BLOCK_HEADER_BYTES>()
        .and_then(BlockHeader::decode)
        .filter(|header| {
            header.codec == BlockCodec::Index
                && header.stored_bytes == length
                && header.expanded_bytes == length
        })
        .ok_or(no_index)?;
    let payload = block.slice(BLOCK_HEADER_BYTES..);
    let computed = header.computed_crc(&payload);
    if computed == header.crc {
        Ok(payload)
    } else {
        Err(IndexError::Crc {
            stored: header.crc,
            computed,
        })
    }
}

impl IndexEntry {
    /// The block's bytes, counted from the run's first byte.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        let start = u64::from(self.position);
        start..start + u64::from(self.stored_bytes)
    }

    /// The block behind `last`.
    fn decode(input: &mut Input, last: Option<&Self>) -> Result<Self, &'static str> {
        let (stored_bytes, expanded_bytes, batches) = (input.u32()?, input.u32()?, input.u32()?);
        let (end, timestamp) =
            last.map_or((0, 0), |last| (last.end_offset.0, last.first_timestamp));
        let gap = input.i64()?;
        let base = end.checked_add(gap).filter(|_| gap >= 0);
        let base = base.ok_or("its blocks are not in order of their offsets")?;
        let offsets = input.i64()?;
        let end = base.checked_add(offsets).filter(|_| offsets > 0);
        let first_timestamp = timestamp.wrapping_add(input.i64()?);
        let entry = Self {
            position: last.map_or(0, |last| last.position + last.stored_bytes),
            stored_bytes,
            expanded_bytes,
            batches,
            base_offset: Offset(base),
            end_offset: Offset(end.ok_or("a block has no offsets")?),
            first_timestamp,
            max_timestamp: first_timestamp.wrapping_add(input.i64()?),
        };
        let least = u32::try_from(BLOCK_HEADER_BYTES).expect("16");
        if stored_bytes <= least || entry.range().end > u64::from(u32::MAX) || batches == 0 {
            return Err("a block is none");
        }
        if !usize::try_from(expanded_bytes).is_ok_and(|bytes| bytes <= BLOCK_RAW_BYTES_MAX) {
            return Err("a block is larger than a block can be");
        }
        Ok(entry)
    }
}

pub(super) fn flags(cleaned: bool) -> u64 {
    if cleaned { CLEANED } else { 0 }
}

pub(super) fn read_flags(input: &mut Input) -> Result<bool, &'static str> {
    match input.u64()? {
        0 => Ok(false),
        CLEANED => Ok(true),
        _ => Err("it has unknown flags"),
    }
}

pub(super) fn write_aborted(aborted: &[AbortedTransaction], out: &mut Vec<u8>) {
    varint::write_u64(out, count(aborted.len()));
    for transaction in aborted {
        let (first, last) = (transaction.first_offset.0, transaction.last_offset.0);
        varint::write_i64(out, transaction.producer_id.0);
        varint::write_i64(out, first);
        varint::write_i64(out, last.wrapping_sub(first));
    }
}

pub(super) fn read_aborted(input: &mut Input) -> Result<Vec<AbortedTransaction>, &'static str> {
    let mut aborted: Vec<AbortedTransaction> = Vec::new();
    for _ in 0..input.u64()? {
        let producer_id = ProducerId(input.i64()?);
        let first = input.i64()?;
        let span = input.i64()?;
        let last = first.checked_add(span).filter(|_| span >= 0);
        let transaction = AbortedTransaction {
            first_offset: Offset(first),
            producer_id,
            last_offset: Offset(last.ok_or("an aborted transaction ends before it begins")?),
        };
        if aborted.last().is_some_and(|before| *before >= transaction) {
            return Err("its aborted transactions are not in order");
        }
        aborted.push(transaction);
    }
    Ok(aborted)
}
