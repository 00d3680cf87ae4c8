//! The five compression codecs of Kafka record batches, with a hard cap on what they may expand to.
//!
//! Every expansion stops at the cap that the caller gives, whatever the compressed bytes claim, and no
//! claimed size is reserved for: output grows with what was really written.

mod gzip;
mod lz4;
mod snappy;
#[cfg(test)]
mod tests;
mod zstd;

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

pub(crate) use self::zstd::{BlockCompressor, expand_block as expand_zstd_block};

/// A compression codec of record batches (Kafka's `CompressionType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// As they are.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks, in the framing of Java's `SnappyOutputStream` or bare.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec that the lowest three bits of a batch's attributes name.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Its code in a batch's attributes.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Its name in Kafka's settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of that name in Kafka's settings; `uncompressed` is `none`, too.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "uncompressed" {
            return Some(Self::None);
        }
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Compresses `bytes` at the codec's default level (Kafka's: gzip 6, zstd 3).
    ///
    /// # Errors
    /// [`CodecError::Failed`] if the library cannot, say for want of memory.
    pub fn compress(self, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::None => Ok(bytes.to_vec()),
            Self::Gzip => gzip::compress(bytes),
            Self::Snappy => snappy::compress(bytes),
            Self::Lz4 => lz4::compress(bytes),
            Self::Zstd => zstd::compress(bytes),
        }
    }

    /// Expands `bytes` to at most `expanded_max` bytes; without compression it gives the very same
    /// bytes.
    ///
    /// # Errors
    /// [`CodecError::TooLarge`] at the first byte past the cap, [`CodecError::Corrupt`] for what is
    /// not of this codec or ends too early.
    pub fn expand(self, bytes: &Bytes, expanded_max: usize) -> Result<Bytes, CodecError> {
        let expanded = match self {
            Self::None if bytes.len() > expanded_max => {
                return Err(CodecError::TooLarge {
                    codec: self,
                    expanded_max,
                });
            }
            Self::None => return Ok(bytes.clone()),
            Self::Gzip => gzip::expand(bytes, expanded_max),
            Self::Snappy => snappy::expand(bytes, expanded_max),
            Self::Lz4 => lz4::expand(bytes, expanded_max),
            Self::Zstd => zstd::expand(bytes, expanded_max),
        }?;
        Ok(expanded.into())
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why bytes could not be compressed or expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// They expand to more than the cap.
    #[error("{codec} data expands to more than {expanded_max} bytes")]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The cap.
        expanded_max: usize,
    },
    /// They are not data of the codec, or end too early.
    #[error("corrupt {codec} data")]
    Corrupt {
        /// The codec.
        codec: Codec,
    },
    /// The compressor failed.
    #[error("{codec} compressor failed")]
    Failed {
        /// The codec.
        codec: Codec,
    },
}

/// Reads everything that `reader` gives, but not more than `expanded_max` bytes.
fn read_capped(
    codec: Codec,
    reader: impl std::io::Read,
    compressed: usize,
    expanded_max: usize,
) -> Result<Vec<u8>, CodecError> {
    use std::io::Read;
    // A guess from what is there, not from what is claimed.
    let mut out = Vec::with_capacity(compressed.saturating_mul(4).min(expanded_max));
    let limit = u64::try_from(expanded_max).unwrap_or(u64::MAX);
    reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|_| CodecError::Corrupt { codec })?;
    if out.len() > expanded_max {
        return Err(CodecError::TooLarge {
            codec,
            expanded_max,
        });
    }
    Ok(out)
}
