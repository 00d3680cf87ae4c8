//! The state machine: everything that the metadata service knows, in memory.
//!
//! Plain, synchronous and deterministic. [`decide`] checks requests against a `&State` and answers with
//! events; [`State::apply`] carries them out and cannot fail. Whoever owns a `State` (the sequencer)
//! decides and applies in one go, so that a decision always sees every earlier one, and journals the
//! events afterwards; nothing leaves before they are durable.
//!
//! # Pages
//!
//! The state is made of *entities*: counters, registrations, sessions, topics, partition heads, extent
//! pages, released objects, broker configs, groups, chunks of committed offsets, configs of groups. Each
//! remembers the [`Position`] (row and event within it) of the last event that touched it and skips events
//! up to there. So a recovered state may start from pages of different ages, as long as the replay begins
//! before the oldest change that no page has.

mod apply;
mod broker_configs;
pub mod budget;
pub mod decide;
mod entity;
mod extents;
pub(crate) mod group;
mod held;
mod merged;
mod object;
pub mod page;
mod partition;
mod producer;
mod query;
mod released;
mod session;
#[cfg(test)]
pub(crate) mod tests;
mod topic;
mod upkeep;
mod walk;

pub use apply::Changes;
pub use budget::{Budgets, Pressure, Usage};
pub use entity::{Position, Slot, State};
pub use held::HeldBatch;
pub use page::{PageError, PageKind};
pub use query::TopicRef;
pub(crate) use upkeep::{PlannedExtent, PlannedPartition};
pub use walk::{ObjectRow, PartitionRow, StateSlice, WalkFrom, WalkRequest};
