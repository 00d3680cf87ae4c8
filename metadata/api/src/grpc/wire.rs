//! Between domain types and their messages. Reading is total: what protobuf could read and we cannot
//! becomes [`Malformed`], never a panic, and no count that was read is reserved before its rows are there.

mod columns;
mod commits;
mod frames;
mod ids;
mod kafka;
mod process;
mod reads;
#[cfg(test)]
mod tests;
pub mod upkeep;

pub use commits::{answer_from, answer_to, call_from, call_to};
pub use frames::{
    frame_from, interests_from, interests_to, open_watch_from, open_watch_to, sealed_to,
    watch_extents_to,
};
pub use ids::{
    cluster_from, cluster_to, register_from, register_to, registration_from, registration_to,
};
pub use kafka::{kafka_from, kafka_to};
pub use process::{status_from, status_to};
pub use reads::{
    live_from, live_reply_from, live_reply_to, live_to, locate_from, locate_reply_from,
    locate_reply_to, locate_to, offsets_from, offsets_reply_from, offsets_reply_to, offsets_to,
};

use crate::error::MetadataError;

/// What is wrong with a message that protobuf itself could read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message between agent and metadata service is malformed: {0}")]
pub struct Malformed(pub &'static str);

impl From<Malformed> for MetadataError {
    fn from(malformed: Malformed) -> Self {
        Self::Refused {
            reason: malformed.to_string(),
        }
    }
}

/// Columns of one table that differ in length.
const UNEVEN: Malformed = Malformed("columns differ in length");
