//! Workers that keep the bucket in order. They lease jobs of the metadata leader, read, write and delete objects,
//! and share no state with agents.
//!
//! [`worker`] runs jobs: [`merge`], [`clean`] (log compaction), [`delete`]. [`sweep`] deletes what was never
//! committed, in the process that leads. [`fsck`] compares a bucket with the metadata, for people.

pub mod clean;
pub mod delete;
pub mod fsck;
pub mod merge;
pub mod sweep;
pub mod worker;

pub use sweep::{Approval, SweepSettings, SweepState, Sweeper};
pub use worker::{Worker, WorkerSettings};
