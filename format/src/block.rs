//! Blocks: what an object is made of.
//!
//! A block holds whole record batches of one partition, as the producers made them, perhaps compressed
//! once more. Its header makes it self-describing, so that a ranged read of a run can be verified and
//! expanded without the object's footer:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | magic, `0xb1` |
//! | 1 | codec: 0 none, 1 zstd, 2 index |
//! | 2 | 0 |
//! | 4 | stored length of the payload, little endian |
//! | 4 | expanded length of the payload, little endian |
//! | 4 | CRC32C of the 12 bytes before it and of the payload as stored, little endian |
//!
//! A block of codec 2 is the [index](crate::object::RunIndex) at the end of a run of level 1 and up: it holds no
//! batches, and nothing comes behind it.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use thiserror::Error;

use crate::codec::{BlockCompressor, CodecError, expand_zstd_block};
use crate::crc::Crc32c;
use crate::limits::{BLOCK_HEADER_BYTES, BLOCK_RAW_BYTES_MAX, RUN_EXPANDED_BYTES_MAX};

const MAGIC: u8 = 0xb1;
/// Bytes of the header in front of its CRC.
const COVERED_BYTES: usize = 12;

/// How a block's payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockCodec {
    /// As it is.
    None,
    /// One zstd frame.
    Zstd,
    /// No batches but the index of the blocks before it, as it is.
    Index,
}

impl BlockCodec {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Zstd => 1,
            Self::Index => 2,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Zstd),
            2 => Some(Self::Index),
            _ => None,
        }
    }
}

/// Whether and how blocks of batches that came uncompressed are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockCompression {
    /// Never.
    Off,
    /// With zstd of this level, where that saves at least a tenth.
    Zstd {
        /// 1 (agents) to 22.
        level: i32,
    },
}

impl Default for BlockCompression {
    /// zstd 1: what an agent can afford on the produce path.
    fn default() -> Self {
        Self::Zstd { level: 1 }
    }
}

/// A block's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// How the payload is stored.
    pub codec: BlockCodec,
    /// Bytes of the payload as stored.
    pub stored_bytes: u32,
    /// Bytes of the payload when expanded.
    pub expanded_bytes: u32,
    /// CRC32C of the other header fields and of the payload as stored.
    pub crc: u32,
}

/// Why bytes are not a block, or a run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    /// The bytes end inside a block.
    #[error(
        "block at byte {position} of the run is cut short: needs {needed} bytes, has {available}"
    )]
    Truncated {
        /// Where the block begins.
        position: usize,
        /// Bytes of the block, or of its header where not even that is there.
        needed: usize,
        /// Bytes that there are.
        available: usize,
    },
    /// No block header is there.
    #[error("no block at byte {position} of the run")]
    NotABlock {
        /// Where one should begin.
        position: usize,
    },
    /// The checksum does not match.
    #[error(
        "block at byte {position} of the run is corrupt: stored crc {stored:#010x}, computed {computed:#010x}"
    )]
    Crc {
        /// Where the block begins.
        position: usize,
        /// From the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// The payload does not expand to what the header says.
    #[error(
        "block at byte {position} of the run does not expand to the {expanded_bytes} bytes it says"
    )]
    Expansion {
        /// Where the block begins.
        position: usize,
        /// What its header says.
        expanded_bytes: u32,
    },
    /// More expanded bytes than a block or a run may have.
    #[error(
        "block at byte {position} of the run goes over the limit of {expanded_max} expanded bytes"
    )]
    TooLarge {
        /// Where the block begins.
        position: usize,
        /// The limit.
        expanded_max: usize,
    },
}

impl BlockHeader {
    fn covered(&self) -> [u8; COVERED_BYTES] {
        let mut bytes = [0; COVERED_BYTES];
        bytes[0] = MAGIC;
        bytes[1] = self.codec.code();
        bytes[4..8].copy_from_slice(&self.stored_bytes.to_le_bytes());
        bytes[8..].copy_from_slice(&self.expanded_bytes.to_le_bytes());
        bytes
    }

    /// The header's 16 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        bytes[..COVERED_BYTES].copy_from_slice(&self.covered());
        bytes[COVERED_BYTES..].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// The header at the front of `bytes`; `None` if no block begins there. The CRC is not checked.
    #[must_use]
    pub fn decode(bytes: &[u8; BLOCK_HEADER_BYTES]) -> Option<Self> {
        let [
            magic,
            codec,
            zero_0,
            zero_1,
            s0,
            s1,
            s2,
            s3,
            e0,
            e1,
            e2,
            e3,
            crc @ ..,
        ] = *bytes;
        if (magic, zero_0, zero_1) != (MAGIC, 0, 0) {
            return None;
        }
        Some(Self {
            codec: BlockCodec::from_code(codec)?,
            stored_bytes: u32::from_le_bytes([s0, s1, s2, s3]),
            expanded_bytes: u32::from_le_bytes([e0, e1, e2, e3]),
            crc: u32::from_le_bytes(crc),
        })
    }

    /// Sets the CRC for this payload.
    fn seal(mut self, payload: &[Bytes]) -> Self {
        let mut digest = Crc32c::new();
        digest.update(&self.covered());
        for piece in payload {
            digest.update(piece);
        }
        self.crc = digest.finish();
        self
    }

    /// The header of a run's index.
    pub(crate) fn of_index(payload: &Bytes, bytes: u32) -> Self {
        let header = Self {
            codec: BlockCodec::Index,
            stored_bytes: bytes,
            expanded_bytes: bytes,
            crc: 0,
        };
        header.seal(std::slice::from_ref(payload))
    }

    /// The CRC that this payload asks for.
    pub(crate) fn computed_crc(self, payload: &Bytes) -> u32 {
        self.seal(std::slice::from_ref(payload)).crc
    }

    /// Bytes of the block as stored, the header's included.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        let header = u64::try_from(BLOCK_HEADER_BYTES).expect("16");
        header + u64::from(self.stored_bytes)
    }
}

/// Writes blocks; holds the compressor and its buffers for the next one.
pub(crate) struct BlockWriter {
    compressor: Option<BlockCompressor>,
    scratch: Vec<u8>,
}

impl BlockWriter {
    pub(crate) fn new(compression: BlockCompression) -> Self {
        let compressor = match compression {
            BlockCompression::Off => None,
            BlockCompression::Zstd { level } => BlockCompressor::new(level),
        };
        Self {
            compressor,
            scratch: Vec::new(),
        }
    }

    /// Makes a block of `pieces` (together `expanded_bytes`) and appends it to `out`. Where it is not
    /// compressed, the pieces themselves go out.
    pub(crate) fn write(
        &mut self,
        pieces: Vec<Bytes>,
        expanded_bytes: u32,
        compress: bool,
        out: &mut Vec<Bytes>,
    ) -> BlockHeader {
        let packed = if compress { self.pack(&pieces) } else { None };
        let (codec, payload) = match packed {
            Some(packed) => (BlockCodec::Zstd, vec![packed]),
            None => (BlockCodec::None, pieces),
        };
        let stored_bytes = match codec {
            BlockCodec::None | BlockCodec::Index => expanded_bytes,
            // It is smaller than what fits.
            BlockCodec::Zstd => payload
                .first()
                .and_then(|packed| u32::try_from(packed.len()).ok())
                .unwrap_or(expanded_bytes),
        };
        let header = BlockHeader {
            codec,
            stored_bytes,
            expanded_bytes,
            crc: 0,
        }
        .seal(&payload);
        out.push(Bytes::copy_from_slice(&header.encode()));
        out.extend(payload);
        header
    }

    /// The pieces compressed, if that saves at least a tenth.
    fn pack(&mut self, pieces: &[Bytes]) -> Option<Bytes> {
        let compressor = self.compressor.as_mut()?;
        let bytes = match pieces {
            [piece] => &piece[..],
            pieces => {
                self.scratch.clear();
                pieces
                    .iter()
                    .for_each(|piece| self.scratch.extend_from_slice(piece));
                &self.scratch
            }
        };
        let room = bytes.len() - bytes.len().div_ceil(10);
        let mut packed = compressor.compress(bytes, room)?;
        packed.shrink_to_fit();
        Some(packed.into())
    }
}

/// A block of a run, verified and expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpandedBlock {
    /// Where the block begins in the run as stored.
    pub position: usize,
    /// Its header.
    pub header: BlockHeader,
    /// Its batches; a slice of what was stored where that is not compressed.
    pub bytes: Bytes,
}

/// Iterates over the blocks of a run as stored; verifies and expands each when it comes to it. Ends
/// after the first error, or before the index at the run's end, which is verified, too.
#[derive(Clone, Debug)]
pub struct Blocks {
    rest: Bytes,
    position: usize,
}

impl Blocks {
    /// The blocks that lie one after the other in `stored`.
    #[must_use]
    pub fn new(stored: Bytes) -> Self {
        Self {
            rest: stored,
            position: 0,
        }
    }

    /// The next block's position, header and payload as stored, its checksum verified; None at the end, or
    /// before the index there.
    pub(crate) fn next_stored(
        &mut self,
    ) -> Option<Result<(usize, BlockHeader, Bytes), BlockError>> {
        if self.rest.is_empty() {
            return None;
        }
        let block = self.step();
        match &block {
            Err(_) => self.rest.clear(),
            Ok((_, header, _)) if header.codec == BlockCodec::Index => return None,
            Ok(_) => {}
        }
        Some(block)
    }

    fn step(&mut self) -> Result<(usize, BlockHeader, Bytes), BlockError> {
        let position = self.position;
        let available = self.rest.len();
        let truncated = |needed| BlockError::Truncated {
            position,
            needed,
            available,
        };
        let header = self
            .rest
            .first_chunk::<BLOCK_HEADER_BYTES>()
            .ok_or(truncated(BLOCK_HEADER_BYTES))?;
        let header = BlockHeader::decode(header).ok_or(BlockError::NotABlock { position })?;
        let block_bytes = usize::try_from(header.block_bytes()).unwrap_or(usize::MAX);
        if block_bytes > available {
            return Err(truncated(block_bytes));
        }
        let payload = self
            .rest
            .split_to(block_bytes)
            .split_off(BLOCK_HEADER_BYTES);
        self.position += block_bytes;
        let computed = header.computed_crc(&payload);
        if computed != header.crc {
            return Err(BlockError::Crc {
                position,
                stored: header.crc,
                computed,
            });
        }
        if header.codec == BlockCodec::Index && !self.rest.is_empty() {
            return Err(BlockError::NotABlock { position });
        }
        Ok((position, header, payload))
    }
}

impl Iterator for Blocks {
    type Item = Result<ExpandedBlock, BlockError>;

    fn next(&mut self) -> Option<Self::Item> {
        let expanded = self.next_stored()?.and_then(|(position, header, payload)| {
            let bytes = expand(&header, payload, position)?;
            Ok(ExpandedBlock {
                position,
                header,
                bytes,
            })
        });
        if expanded.is_err() {
            self.rest.clear();
        }
        Some(expanded)
    }
}

fn expand(header: &BlockHeader, payload: Bytes, position: usize) -> Result<Bytes, BlockError> {
    let expanded_bytes = header.expanded_bytes;
    let mismatch = BlockError::Expansion {
        position,
        expanded_bytes,
    };
    let too_large = BlockError::TooLarge {
        position,
        expanded_max: BLOCK_RAW_BYTES_MAX,
    };
    let expected = usize::try_from(expanded_bytes)
        .ok()
        .filter(|bytes| *bytes <= BLOCK_RAW_BYTES_MAX)
        .ok_or(too_large)?;
    let bytes = match header.codec {
        BlockCodec::None | BlockCodec::Index => payload,
        BlockCodec::Zstd => match expand_zstd_block(&payload, expected) {
            Ok(bytes) => Bytes::from(bytes),
            Err(
                CodecError::TooLarge { .. }
                | CodecError::Corrupt { .. }
                | CodecError::Failed { .. },
            ) => return Err(mismatch),
        },
    };
    if bytes.len() == expected {
        Ok(bytes)
    } else {
        Err(mismatch)
    }
}

/// The expanded bytes of a run, block by block. A batch never crosses a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpandedRun {
    /// The blocks' expanded bytes, in order.
    pub blocks: Vec<Bytes>,
    /// Their sum.
    pub bytes: usize,
}

impl ExpandedRun {
    /// `length` bytes from `start` on, as an extent names them (raw start, raw bytes), without
    /// copying; `None` if the run does not have them.
    #[must_use]
    pub fn slice(&self, start: usize, length: usize) -> Option<Vec<Bytes>> {
        let end = start.checked_add(length)?;
        if end > self.bytes {
            return None;
        }
        let mut slices = Vec::new();
        let mut position = 0;
        for block in &self.blocks {
            let from = start.clamp(position, position + block.len());
            let to = end.clamp(position, position + block.len());
            if from < to {
                slices.push(block.slice(from - position..to - position));
            }
            position += block.len();
        }
        Some(slices)
    }
}

/// Verifies every block of a run, as stored, and expands it. Uncompressed blocks come back as slices
/// of `stored`.
///
/// # Errors
/// The first block that is not one, is cut short, corrupt, or too large; see also
/// [`RUN_EXPANDED_BYTES_MAX`].
pub fn expand_run(stored: &Bytes) -> Result<ExpandedRun, BlockError> {
    let mut run = ExpandedRun::default();
    for block in Blocks::new(stored.clone()) {
        let block = block?;
        run.bytes += block.bytes.len();
        if run.bytes > RUN_EXPANDED_BYTES_MAX {
            return Err(BlockError::TooLarge {
                position: block.position,
                expanded_max: RUN_EXPANDED_BYTES_MAX,
            });
        }
        run.blocks.push(block.bytes);
    }
    Ok(run)
}
