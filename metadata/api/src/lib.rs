//! The seam between agents (and compactors) and the metadata service: messages, errors and the
//! client trait. Every implementation (in process, over the network, the fake) runs the conformance
//! suite beside it.
//!
//! Two kinds of calls: *native* ones (registration, commits, locating, watching), whose messages are
//! defined here, and *Kafka* ones, which carry Kafka's own request at one pinned version inside an
//! [`kafka::Envelope`].

pub mod client;
pub mod commit;
pub mod config;
pub mod conformance;
pub mod error;
pub mod extent;
pub mod fake;
pub mod grpc;
pub mod kafka;
pub mod live;
pub mod locate;
pub mod mark;
pub mod register;
pub mod secret;
pub mod topic_name;
pub mod upkeep;
pub mod watch;

pub use client::{CommitChannel, Metadata, WatchChannel};
pub use error::MetadataError;
pub use upkeep::Upkeep;
