//! The LZ4 frame format, in the dialect that Kafka's `Lz4BlockInputStream` reads: blocks of at most
//! 64 KiB that do not depend on each other.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Codec, CodecError, read_capped};

pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    let frame = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(frame, Vec::new());
    encoder
        .write_all(bytes)
        .map_err(|_| CodecError::Failed { codec: Codec::Lz4 })?;
    encoder
        .finish()
        .map_err(|_| CodecError::Failed { codec: Codec::Lz4 })
}

pub(super) fn expand(bytes: &[u8], expanded_max: usize) -> Result<Vec<u8>, CodecError> {
    let decoder = FrameDecoder::new(bytes);
    read_capped(Codec::Lz4, decoder, bytes.len(), expanded_max)
}
