//! Request headers, versions 1 and 2 (the latter adds tagged fields, in flexible requests).

use super::{GuardError, Walk};

/// The first bytes of a frame: enough to know what it is, before the rest has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderStart {
    /// API key.
    pub api_key: i16,
    /// Version of the request.
    pub api_version: i16,
}

impl HeaderStart {
    /// How many bytes of a frame it takes.
    pub const BYTES: usize = 4;

    /// Reads it, once enough bytes are there.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let start: &[u8; 4] = frame.first_chunk()?;
        Some(Self {
            api_key: i16::from_be_bytes([start[0], start[1]]),
            api_version: i16::from_be_bytes([start[2], start[3]]),
        })
    }
}

/// A request header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// API key.
    pub api_key: i16,
    /// Version of the request.
    pub api_version: i16,
    /// Sent back with the answer.
    pub correlation_id: i32,
    /// The client's name for itself; never in compact form, in any version.
    pub client_id: Option<&'a str>,
    /// Where the body begins.
    pub body_at: usize,
}

impl<'a> Header<'a> {
    /// Reads and checks the header of `frame`. `flexible`: version 2 (not so for an ApiVersions request
    /// of an unknown version, of which only the part that every version shares is read).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(frame: &'a [u8], flexible: bool) -> Result<Self, GuardError> {
        let truncated = |needed: usize| GuardError::Truncated {
            missing: u64::try_from(needed.saturating_sub(frame.len())).unwrap_or(u64::MAX),
        };
        let start = HeaderStart::read(frame).ok_or_else(|| truncated(4))?;
        let correlation: &[u8; 4] = frame
            .get(4..)
            .and_then(<[u8]>::first_chunk)
            .ok_or_else(|| truncated(8))?;
        let length: &[u8; 2] = frame
            .get(8..)
            .and_then(<[u8]>::first_chunk)
            .ok_or_else(|| truncated(10))?;
        let length = i16::from_be_bytes(*length);
        let client_end = match usize::try_from(length) {
            Ok(length) => 10 + length,
            Err(_) if length == -1 => 10,
            Err(_) => {
                return Err(GuardError::Negative {
                    length: i64::from(length),
                });
            }
        };
        let client_id = frame
            .get(10..client_end)
            .ok_or_else(|| truncated(client_end))?;
        let client_id = std::str::from_utf8(client_id).map_err(|_| GuardError::ClientId)?;
        let mut walk = Walk::new(&frame[client_end..], start.api_version, flexible);
        if flexible {
            walk.tags(&[])?;
        }
        Ok(Self {
            api_key: start.api_key,
            api_version: start.api_version,
            correlation_id: i32::from_be_bytes(*correlation),
            client_id: (length >= 0).then_some(client_id),
            body_at: frame.len() - walk.rest().len(),
        })
    }
}
