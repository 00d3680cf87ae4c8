//! The frame guard: nothing that a client sends reaches a decoder before its counts and lengths were
//! checked against the bytes that remain.
//!
//! The protocol crate reserves memory by the array counts that it reads, so a request of five bytes
//! can ask for 154 GB and abort the process. [`shapes`] describes every request that is served, by API
//! key and version, in a notation of our own; [`walk`] follows such a description over a frame without
//! allocating. What it accepts has exactly the elements that it announces.
//!
//! Stricter than Kafka in these points, none of which a client uses: a tag that the version does not
//! know may not use the number of one that a later version knows, a frame has at most
//! [`aquifer_format::limits::REQUEST_ELEMENTS_MAX`] array elements and unknown tags.

mod header;
pub mod shapes;
mod walk;

#[cfg(test)]
mod tests;

pub use header::{Header, HeaderStart};
pub use shapes::Shape;
pub use walk::{Walk, walk_body};

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// It ends before the field that should come next, or inside it.
    #[error("the frame ends {missing} bytes before its field does")]
    Truncated {
        /// How many bytes more the field needs, as far as that is known.
        missing: u64,
    },
    /// A count of elements that the remaining bytes cannot hold.
    #[error("{count} elements are announced and {remain} bytes remain")]
    Count {
        /// The count.
        count: u64,
        /// Bytes that remain.
        remain: usize,
    },
    /// A negative length or count other than null.
    #[error("a length is negative ({length})")]
    Negative {
        /// The length.
        length: i64,
    },
    /// A text that is longer than Kafka takes. Only flexible versions can announce one.
    #[error("a text has {bytes} bytes, at most {max} are taken")]
    TextTooLong {
        /// Its length.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Null where the version allows none.
    #[error("a field that must be there is null")]
    Null,
    /// A variable-length integer of more than 32 bits.
    #[error("a variable-length integer has more than 32 bits")]
    Varint,
    /// A tagged field whose content does not have the announced size, or whose tag belongs to another
    /// version.
    #[error("tagged field {tag} does not have its size or its version")]
    Tag {
        /// The tag.
        tag: u32,
    },
    /// The byte before a nullable structure is neither 1 nor -1.
    #[error("the presence byte of a structure is {byte}")]
    Presence {
        /// The byte.
        byte: u8,
    },
    /// More array elements and unknown tags than a frame may have.
    #[error("the frame has more than {max} elements")]
    TooManyElements {
        /// The limit.
        max: usize,
    },
    /// Bytes after the end of the body.
    #[error("{bytes} bytes follow the body")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The client id is not UTF-8.
    #[error("the client id is not utf-8")]
    ClientId,
}

/// Checks a whole frame (without its length prefix): header and body. Bytes after the body are left
/// alone, as Kafka does: librdkafka 2.12 sends three after a Metadata request for all topics.
///
/// # Errors
/// What is wrong with it; the connection is then closed.
pub fn check<'a>(frame: &'a [u8], shape: &Shape, version: i16) -> Result<Header<'a>, GuardError> {
    let header = Header::read(frame, shape.is_flexible(version))?;
    match walk_body(&frame[header.body_at..], shape, version) {
        Ok(()) | Err(GuardError::Trailing { .. }) => Ok(header),
        Err(error) => Err(error),
    }
}
