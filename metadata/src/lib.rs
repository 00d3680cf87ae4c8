//! The metadata service: a deterministic state machine, sequenced in memory by one leader and
//! journaled.
//!
//! [`leader::Leader`] takes the lease, recovers [`state::State`] from the [`journal`] and serves it as
//! [`local::LocalMetadata`]; one task owns the state and commits requests in groups.

pub mod accept_loss;
pub mod backup;
pub mod bucket;
mod coordinator;
pub mod event;
mod follower;
pub mod grpc;
mod hashes;
mod hub;
pub mod inspect;
pub mod journal;
mod journal_writer;
pub mod leader;
mod lease;
pub mod local;
pub mod member;
mod pager;
pub mod planner;
pub mod projection;
mod recovery;
mod registry;
pub mod restore;
pub mod role;
mod sequencer;
pub mod state;
pub mod status;
mod tip_writer;
mod varint;

#[doc(hidden)]
pub use coordinator::fuzz_consumer_protocol;
pub use leader::{Leader, LeaderSettings, StartError, StopReason};
pub use local::LocalMetadata;
pub use member::{Member, MemberSettings};
pub use recovery::RecoveryError;
pub use role::Role;
pub use sequencer::lag::GroupLagMetrics;
