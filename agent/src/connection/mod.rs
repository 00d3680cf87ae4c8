//! Kafka connections.

mod handle;

pub use handle::{ConnectionHandle, ConnectionId};
