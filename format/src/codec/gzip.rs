//! gzip, as Java's `GZIPOutputStream` and zlib write it.

use std::io::Write;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Codec, CodecError, read_capped};

pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    let failed = |_| CodecError::Failed { codec: Codec::Gzip };
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).map_err(failed)?;
    encoder.finish().map_err(failed)
}

/// Expands one member or several, one after the other, as `GZIPInputStream` does.
pub(super) fn expand(bytes: &[u8], expanded_max: usize) -> Result<Vec<u8>, CodecError> {
    let decoder = MultiGzDecoder::new(bytes);
    read_capped(Codec::Gzip, decoder, bytes.len(), expanded_max)
}
