//! Snappy, in the two forms that Kafka's clients write: bare blocks, and the framing of Java's
//! `SnappyOutputStream` (xerial): a header of 16 bytes, then blocks with a length in front of each.

use super::{Codec, CodecError};

/// Magic, version and lowest compatible version of the framing.
const XERIAL_HEADER: [u8; 16] = [
    0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
];
const XERIAL_MAGIC_BYTES: usize = 8;
/// Block size that Kafka's producer sets.
const BLOCK_BYTES: usize = 32 * 1024;
/// Snappy's densest element makes 64 bytes of 3; a claim beyond this factor is a lie.
const EXPANSION_MAX: usize = 32;

const CORRUPT: CodecError = CodecError::Corrupt {
    codec: Codec::Snappy,
};

/// Writes the framed form, which every client reads.
pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    let failed = CodecError::Failed {
        codec: Codec::Snappy,
    };
    let mut encoder = snap::raw::Encoder::new();
    let mut block = vec![0; snap::raw::max_compress_len(BLOCK_BYTES)];
    let mut out = XERIAL_HEADER.to_vec();
    for chunk in bytes.chunks(BLOCK_BYTES) {
        let length = encoder.compress(chunk, &mut block).map_err(|_| failed)?;
        let written = block.get(..length).ok_or(failed)?;
        let length = u32::try_from(length).map_err(|_| failed)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(written);
    }
    Ok(out)
}

pub(super) fn expand(bytes: &[u8], expanded_max: usize) -> Result<Vec<u8>, CodecError> {
    let mut decoder = snap::raw::Decoder::new();
    let mut out = Vec::new();
    if !bytes.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC_BYTES]) {
        expand_block(&mut decoder, bytes, &mut out, expanded_max)?;
        return Ok(out);
    }
    let mut rest = bytes.get(XERIAL_HEADER.len()..).ok_or(CORRUPT)?;
    while !rest.is_empty() {
        // Streams that were written one after the other: a header where a length would be.
        if rest.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC_BYTES]) {
            rest = rest.get(XERIAL_HEADER.len()..).ok_or(CORRUPT)?;
            continue;
        }
        let (length, behind) = rest.split_first_chunk::<4>().ok_or(CORRUPT)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| CORRUPT)?;
        let (block, behind) = behind.split_at_checked(length).ok_or(CORRUPT)?;
        expand_block(&mut decoder, block, &mut out, expanded_max)?;
        rest = behind;
    }
    Ok(out)
}

fn expand_block(
    decoder: &mut snap::raw::Decoder,
    block: &[u8],
    out: &mut Vec<u8>,
    expanded_max: usize,
) -> Result<(), CodecError> {
    let length = snap::raw::decompress_len(block).map_err(|_| CORRUPT)?;
    let start = out.len();
    if length > expanded_max - start {
        return Err(CodecError::TooLarge {
            codec: Codec::Snappy,
            expanded_max,
        });
    }
    if length > block.len().saturating_mul(EXPANSION_MAX) {
        return Err(CORRUPT);
    }
    out.resize(start + length, 0);
    let written = decoder
        .decompress(block, &mut out[start..])
        .map_err(|_| CORRUPT)?;
    if written == length {
        Ok(())
    } else {
        Err(CORRUPT)
    }
}
