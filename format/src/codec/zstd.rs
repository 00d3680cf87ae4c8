//! Zstandard, for record batches and for blocks.

use std::cell::RefCell;

use zstd::zstd_safe::{self, DCtx};

use super::{Codec, CodecError};
use crate::limits::BLOCK_BYTES;

const CORRUPT: CodecError = CodecError::Corrupt { codec: Codec::Zstd };
const FAILED: CodecError = CodecError::Failed { codec: Codec::Zstd };
/// Kafka's `compression.zstd.level` by default.
const BATCH_LEVEL: i32 = 3;
/// First guess at the expanded size, as a multiple of the compressed one.
const FIRST_GUESS: usize = 8;
const FIRST_GUESS_BYTES_MIN: usize = 16 * 1024;
/// How much larger each further guess is.
const NEXT_GUESS: usize = 4;

thread_local! {
    /// A context takes about 150 KiB and longer to set up than a small batch takes to expand.
    static EXPANDER: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    zstd::bulk::compress(bytes, BATCH_LEVEL).map_err(|_| FAILED)
}

/// Expands to at most `expanded_max` bytes.
///
/// All at once, so that the output itself is the window: a streaming decoder would have to reserve the
/// window that the frame asks for, up to 128 MiB. The price is to begin again with more room where
/// the guess was too low (Java's producer does not write the size into the frame).
pub(super) fn expand(bytes: &[u8], expanded_max: usize) -> Result<Vec<u8>, CodecError> {
    let room = bytes.len().saturating_mul(FIRST_GUESS);
    expand_from(bytes, room.max(FIRST_GUESS_BYTES_MIN), expanded_max)
}

/// Expands to `expected` bytes, or fewer. That number was read, so only as much of it is reserved at
/// once as a block normally has.
pub(crate) fn expand_block(bytes: &[u8], expected: usize) -> Result<Vec<u8>, CodecError> {
    expand_from(bytes, 2 * BLOCK_BYTES, expected)
}

fn expand_from(
    bytes: &[u8],
    first_room: usize,
    expanded_max: usize,
) -> Result<Vec<u8>, CodecError> {
    let mut room = first_room.min(expanded_max);
    EXPANDER.with_borrow_mut(|context| {
        loop {
            let mut out = Vec::with_capacity(room);
            let Err(code) = context.decompress(&mut out, bytes) else {
                return if out.len() > expanded_max {
                    Err(too_large(expanded_max))
                } else {
                    Ok(out)
                };
            };
            if !is_out_of_room(code) {
                return Err(CORRUPT);
            }
            if room >= expanded_max {
                return Err(too_large(expanded_max));
            }
            room = room.saturating_mul(NEXT_GUESS).min(expanded_max);
        }
    })
}

fn too_large(expanded_max: usize) -> CodecError {
    CodecError::TooLarge {
        codec: Codec::Zstd,
        expanded_max,
    }
}

fn is_out_of_room(code: usize) -> bool {
    zstd_safe::get_error_name(code) == "Destination buffer is too small"
}

/// Compresses blocks, one after the other, with one context.
pub(crate) struct BlockCompressor {
    context: zstd::bulk::Compressor<'static>,
}

impl BlockCompressor {
    /// A compressor of this level (1 to 22); `None` if the library cannot make one.
    pub(crate) fn new(level: i32) -> Option<Self> {
        let context = zstd::bulk::Compressor::new(level).ok()?;
        Some(Self { context })
    }

    /// The compressed block, if it is at most `room` bytes.
    pub(crate) fn compress(&mut self, bytes: &[u8], room: usize) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(room);
        self.context.compress_to_buffer(bytes, &mut out).ok()?;
        (out.len() <= room).then_some(out)
    }
}
