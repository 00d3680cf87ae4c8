//! The footer: what an object holds, and where.
//!
//! | what | how |
//! |---|---|
//! | cluster | 16 bytes |
//! | object: incarnation, upload epoch, writer, level, unique | unsigned varints |
//! | number of runs | unsigned varint |
//! | per run: topic | 16 bytes |
//! | per run: partition, position, number of blocks | unsigned varints |
//! | per block: codec, stored bytes, expanded bytes, batches | unsigned varints |
//! | per block: CRC | 4 bytes, little endian |
//! | per block: base offset, offsets, first timestamp, span to the max timestamp | zigzag varints |
//!
//! Version 2 has more of each run:
//!
//! | what | how |
//! |---|---|
//! | behind the partition: flags (1 = keys were compacted) | unsigned varint |
//! | behind the blocks: number of aborted transactions | unsigned varint |
//! | per transaction: producer id, first offset, last offset less the first | zigzag varints |
//! | behind them: stored bytes of the run's index | unsigned varint |
//!
//! The trailer: footer length (4), object length (8), CRC32C of footer and these 12 bytes (4), magic
//! (8), all little endian.

use std::ops::Range;

use bytes::Bytes;
use thiserror::Error;

use super::builder::BuiltRun;
use super::input::Input;
use super::run_index::{self, AbortedTransaction, IndexEntry, RunIndex};
use super::{
    MERGED_OBJECT_MAGIC, MERGED_TRAILER_MAGIC, OBJECT_MAGIC, TRAILER_BYTES, TRAILER_MAGIC,
};
use crate::block::{BlockCodec, BlockHeader};
use crate::crc::Crc32c;
use crate::ids::{
    ClusterId, Incarnation, ObjectId, ObjectLevel, Offset, PartitionId, PartitionIndex, TopicId,
    UploadEpoch, WriterSlot,
};
use crate::limits::{BLOCK_HEADER_BYTES, FOOTER_BYTES_MAX};
use crate::varint;

/// The versions of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Runs of agents.
    V1,
    /// Runs with an index, of compactors.
    V2,
}

impl Version {
    /// First bytes of an object.
    pub(super) fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::V1 => &OBJECT_MAGIC,
            Self::V2 => &MERGED_OBJECT_MAGIC,
        }
    }

    /// Last bytes of one.
    pub(super) fn trailer_magic(self) -> &'static [u8; 8] {
        match self {
            Self::V1 => &TRAILER_MAGIC,
            Self::V2 => &MERGED_TRAILER_MAGIC,
        }
    }

    fn of_trailer(magic: &[u8]) -> Option<Self> {
        [Self::V1, Self::V2]
            .into_iter()
            .find(|version| version.trailer_magic() == magic)
    }
}

/// What an object holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The cluster that wrote it.
    pub cluster: ClusterId,
    /// The object.
    pub id: ObjectId,
    /// Its runs, sorted by partition; in version 2 several runs of a partition may follow one another, in
    /// order of their offsets.
    pub runs: Vec<RunEntry>,
}

/// A run in the footer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEntry {
    /// Its partition.
    pub partition: PartitionId,
    /// Byte position of its first block in the object.
    pub position: u64,
    /// Bytes of its blocks as stored, headers and index included.
    pub stored_bytes: u32,
    /// Bytes of the index at its end; 0 in version 1, which has none.
    pub index_bytes: u32,
    /// Whether keys were compacted in it.
    pub cleaned: bool,
    /// Its blocks, which lie one after the other; the index is none of them.
    pub blocks: Vec<BlockEntry>,
    /// Transactions that were aborted, as its index has them.
    pub aborted: Vec<AbortedTransaction>,
}

/// A block in the footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// The block's header, repeated.
    pub header: BlockHeader,
    /// How many batches it holds.
    pub batches: u32,
    /// Offset of its first record: counted from the run's start in L0, real in L1 and up.
    pub base_offset: Offset,
    /// One past the offset of its last record, counted likewise.
    pub end_offset: Offset,
    /// Lowest base timestamp of its batches.
    pub first_timestamp: i64,
    /// Largest timestamp of its batches.
    pub max_timestamp: i64,
}

/// Why no footer can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FooterError {
    /// The end of the object is no trailer of a version that is known.
    #[error("no object of a version that this release reads: it has no trailer")]
    NoTrailer,
    /// The trailer speaks of another length than the object has.
    #[error("object is {actual} bytes long but says {stored}")]
    Length {
        /// What it says.
        stored: u64,
        /// What it is.
        actual: u64,
    },
    /// The checksum does not match.
    #[error("footer is corrupt: stored crc {stored:#010x}, computed {computed:#010x}")]
    Crc {
        /// From the trailer.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// The footer does not fit the object or its own rules.
    #[error("footer is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
}

/// What came of reading the end of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FooterRead {
    /// The footer.
    Footer(Footer),
    /// The footer begins before the bytes that were given: read this many from the object's end.
    NeedMore {
        /// Bytes to be read.
        tail_bytes: u64,
    },
}

impl BlockEntry {
    pub(super) fn starting_at(base_offset: Offset) -> Self {
        Self {
            header: BlockHeader {
                codec: BlockCodec::None,
                stored_bytes: 0,
                expanded_bytes: 0,
                crc: 0,
            },
            batches: 0,
            base_offset,
            end_offset: base_offset,
            first_timestamp: i64::MAX,
            max_timestamp: i64::MIN,
        }
    }
}

impl RunEntry {
    /// The run's bytes in the object: what to read of it.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.position..self.position + u64::from(self.stored_bytes)
    }

    pub(super) fn built(&self) -> BuiltRun {
        let expanded = self.blocks.iter().map(|block| block.header.expanded_bytes);
        BuiltRun {
            partition: self.partition,
            position: self.position,
            stored_bytes: self.stored_bytes,
            expanded_bytes: expanded.sum(),
        }
    }
}

impl Footer {
    /// The run of a partition, its first one where it has several.
    #[must_use]
    pub fn run(&self, partition: &PartitionId) -> Option<&RunEntry> {
        self.runs_of(partition).first()
    }

    /// All runs of a partition, in order of their offsets.
    #[must_use]
    pub fn runs_of(&self, partition: &PartitionId) -> &[RunEntry] {
        let first = self.runs.partition_point(|run| run.partition < *partition);
        let behind = self.runs.partition_point(|run| run.partition <= *partition);
        &self.runs[first..behind]
    }

    pub(super) fn encode(&self, version: Version) -> Vec<u8> {
        let mut out = head(self.cluster, &self.id, self.runs.len());
        for run in &self.runs {
            run.encode(version, &mut out);
        }
        out
    }

    fn decode(bytes: Bytes, version: Version) -> Result<Self, &'static str> {
        let mut input = Input(bytes);
        let cluster = ClusterId(input.uuid()?);
        let id = ObjectId {
            incarnation: Incarnation(input.u32()?),
            upload_epoch: UploadEpoch(input.u32()?),
            writer: WriterSlot(input.u32()?),
            level: level(input.u64()?)?,
            unique: input.u64()?,
        };
        if version == Version::V2 && id.level == ObjectLevel::L0 {
            return Err("its level is not one of its version");
        }
        let mut runs: Vec<RunEntry> = Vec::new();
        for _ in 0..input.u64()? {
            let run = RunEntry::decode(version, &mut input)?;
            if runs
                .last()
                .is_some_and(|last| !last.may_precede(&run, version))
            {
                return Err("its runs are not in order");
            }
            runs.push(run);
        }
        if input.has_remaining() {
            return Err("bytes are left behind its runs");
        }
        Ok(Self { cluster, id, runs })
    }
}

/// What comes before the runs.
pub(super) fn head(cluster: ClusterId, id: &ObjectId, runs: usize) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(cluster.0.as_bytes());
    varint::write_u64(&mut out, u64::from(id.incarnation.0));
    varint::write_u64(&mut out, u64::from(id.upload_epoch.0));
    varint::write_u64(&mut out, u64::from(id.writer.0));
    varint::write_u64(&mut out, level_code(id.level));
    varint::write_u64(&mut out, id.unique);
    varint::write_u64(&mut out, count(runs));
    out
}

/// The trailer of an object with this footer, whose blocks end at `position`; and the object's length.
pub(super) fn trailer(version: Version, footer: &[u8], position: u64) -> Option<(Vec<u8>, u64)> {
    if footer.len() > FOOTER_BYTES_MAX {
        return None;
    }
    let footer_bytes = u32::try_from(footer.len()).ok()?;
    let bytes = position + count(footer.len()) + count(TRAILER_BYTES);
    let mut trailer = Vec::with_capacity(TRAILER_BYTES);
    trailer.extend_from_slice(&footer_bytes.to_le_bytes());
    trailer.extend_from_slice(&bytes.to_le_bytes());
    let mut digest = Crc32c::new();
    digest.update(footer);
    digest.update(&trailer);
    trailer.extend_from_slice(&digest.finish().to_le_bytes());
    trailer.extend_from_slice(version.trailer_magic());
    Some((trailer, bytes))
}

impl RunEntry {
    /// What the index at its end says.
    #[must_use]
    pub fn index(&self) -> RunIndex {
        let mut position = 0u32;
        let blocks = self.blocks.iter().map(|block| {
            let stored_bytes = block
                .header
                .stored_bytes
                .saturating_add(u32::try_from(BLOCK_HEADER_BYTES).expect("16"));
            let entry = IndexEntry {
                position,
                stored_bytes,
                expanded_bytes: block.header.expanded_bytes,
                batches: block.batches,
                base_offset: block.base_offset,
                end_offset: block.end_offset,
                first_timestamp: block.first_timestamp,
                max_timestamp: block.max_timestamp,
            };
            position = position.saturating_add(stored_bytes);
            entry
        });
        RunIndex {
            cleaned: self.cleaned,
            blocks: blocks.collect(),
            aborted: self.aborted.clone(),
        }
    }

    /// Whether `next` may come behind it.
    fn may_precede(&self, next: &Self, version: Version) -> bool {
        let ordered = match version {
            Version::V1 => self.partition < next.partition,
            Version::V2 if self.partition == next.partition => {
                let end = self.blocks.last().map(|block| block.end_offset);
                let base = next.blocks.first().map(|block| block.base_offset);
                end <= base
            }
            Version::V2 => self.partition < next.partition,
        };
        ordered && self.range().end <= next.position
    }

    pub(super) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        out.extend_from_slice(self.partition.topic.0.as_bytes());
        let partition = u64::from(self.partition.partition.0.cast_unsigned());
        varint::write_u64(out, partition);
        if version == Version::V2 {
            varint::write_u64(out, run_index::flags(self.cleaned));
        }
        varint::write_u64(out, self.position);
        varint::write_u64(out, count(self.blocks.len()));
        for block in &self.blocks {
            block.encode(out);
        }
        if version == Version::V2 {
            run_index::write_aborted(&self.aborted, out);
            varint::write_u64(out, u64::from(self.index_bytes));
        }
    }

    fn decode(version: Version, input: &mut Input) -> Result<Self, &'static str> {
        let topic = TopicId(input.uuid()?);
        let partition = PartitionIndex(input.u32()?.cast_signed());
        let cleaned = match version {
            Version::V1 => false,
            Version::V2 => run_index::read_flags(input)?,
        };
        let position = input.u64()?;
        let mut blocks = Vec::new();
        let mut stored_bytes = 0;
        for _ in 0..input.u64()? {
            let block = BlockEntry::decode(input)?;
            stored_bytes += block.header.block_bytes();
            if stored_bytes > u64::from(u32::MAX) {
                return Err("a run is larger than a run can be");
            }
            blocks.push(block);
        }
        if blocks.is_empty() {
            return Err("a run has no blocks");
        }
        let (mut aborted, mut index_bytes) = (Vec::new(), 0);
        if version == Version::V2 {
            aborted = run_index::read_aborted(input)?;
            index_bytes = input.u32()?;
        }
        let stored_bytes = u32::try_from(stored_bytes + u64::from(index_bytes))
            .map_err(|_| "a run is larger than a run can be")?;
        position
            .checked_add(u64::from(stored_bytes))
            .ok_or("a run ends behind every object")?;
        Ok(Self {
            partition: PartitionId::new(topic, partition),
            position,
            stored_bytes,
            index_bytes,
            cleaned,
            blocks,
            aborted,
        })
    }
}

impl BlockEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        varint::write_u64(out, u64::from(self.header.codec.code()));
        varint::write_u64(out, u64::from(self.header.stored_bytes));
        varint::write_u64(out, u64::from(self.header.expanded_bytes));
        varint::write_u64(out, u64::from(self.batches));
        out.extend_from_slice(&self.header.crc.to_le_bytes());
        varint::write_i64(out, self.base_offset.0);
        varint::write_i64(out, self.end_offset.0.wrapping_sub(self.base_offset.0));
        varint::write_i64(out, self.first_timestamp);
        varint::write_i64(out, self.max_timestamp.wrapping_sub(self.first_timestamp));
    }

    fn decode(input: &mut Input) -> Result<Self, &'static str> {
        let codec = u8::try_from(input.u64()?)
            .ok()
            .and_then(BlockCodec::from_code)
            .filter(|codec| *codec != BlockCodec::Index)
            .ok_or("a block has an unknown codec")?;
        let (stored_bytes, expanded_bytes) = (input.u32()?, input.u32()?);
        let batches = input.u32()?;
        let crc = u32::from_le_bytes(input.array()?);
        let base_offset = input.i64()?;
        let end_offset = base_offset.wrapping_add(input.i64()?);
        let first_timestamp = input.i64()?;
        Ok(Self {
            header: BlockHeader {
                codec,
                stored_bytes,
                expanded_bytes,
                crc,
            },
            batches,
            base_offset: Offset(base_offset),
            end_offset: Offset(end_offset),
            first_timestamp,
            max_timestamp: first_timestamp.wrapping_add(input.i64()?),
        })
    }
}

/// Reads the footer from an object's last bytes. `tail` ends where the object ends;
/// [`crate::limits::FOOTER_READ_BYTES`] of it are enough for most.
///
/// # Errors
/// Bytes that are not the end of an object of a known version, or corrupt.
pub fn read_footer(tail: &Bytes, object_bytes: u64) -> Result<FooterRead, FooterError> {
    read_versioned(tail, object_bytes).map(|(_, read)| read)
}

/// The same with the version of the object.
pub(super) fn read_versioned(
    tail: &Bytes,
    object_bytes: u64,
) -> Result<(Version, FooterRead), FooterError> {
    let trailer = tail
        .last_chunk::<TRAILER_BYTES>()
        .ok_or(FooterError::NoTrailer)?;
    let (covered, rest) = trailer.split_at(12);
    let (crc, magic) = rest.split_at(4);
    let version = Version::of_trailer(magic).ok_or(FooterError::NoTrailer)?;
    let (footer_bytes, stored) = covered.split_at(4);
    let stored = u64::from_le_bytes(stored.try_into().expect("8 of 12 bytes"));
    if stored != object_bytes {
        return Err(FooterError::Length {
            stored,
            actual: object_bytes,
        });
    }
    let footer_bytes = u32::from_le_bytes(footer_bytes.try_into().expect("4 of 12 bytes"));
    let footer_bytes = usize::try_from(footer_bytes).expect("32 bits fit");
    let blocks_end = object_bytes
        .checked_sub(count(footer_bytes + TRAILER_BYTES))
        .filter(|end| *end >= count(OBJECT_MAGIC.len()) && footer_bytes <= FOOTER_BYTES_MAX)
        .ok_or(FooterError::Malformed {
            what: "it is longer than it can be",
        })?;
    let Some(start) = tail.len().checked_sub(footer_bytes + TRAILER_BYTES) else {
        let tail_bytes = object_bytes - blocks_end;
        return Ok((version, FooterRead::NeedMore { tail_bytes }));
    };
    let footer = tail.slice(start..start + footer_bytes);
    let mut digest = Crc32c::new();
    digest.update(&footer);
    digest.update(covered);
    let computed = digest.finish();
    let stored = u32::from_le_bytes(crc.try_into().expect("4 bytes"));
    if computed != stored {
        return Err(FooterError::Crc { stored, computed });
    }
    let footer = Footer::decode(footer, version).map_err(|what| FooterError::Malformed { what })?;
    if footer
        .runs
        .first()
        .is_some_and(|run| run.position < count(OBJECT_MAGIC.len()))
        || footer
            .runs
            .last()
            .is_some_and(|run| run.range().end > blocks_end)
    {
        return Err(FooterError::Malformed {
            what: "its runs are not within the object",
        });
    }
    Ok((version, FooterRead::Footer(footer)))
}

fn level_code(level: ObjectLevel) -> u64 {
    match level {
        ObjectLevel::L0 => 0,
        ObjectLevel::L1 => 1,
        ObjectLevel::L2 => 2,
    }
}

fn level(code: u64) -> Result<ObjectLevel, &'static str> {
    match code {
        0 => Ok(ObjectLevel::L0),
        1 => Ok(ObjectLevel::L1),
        2 => Ok(ObjectLevel::L2),
        _ => Err("its level is unknown"),
    }
}

pub(super) fn count(number: usize) -> u64 {
    u64::try_from(number).expect("lengths fit 64 bits")
}
