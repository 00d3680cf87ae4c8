//! The metadata service: a deterministic state machine, sequenced in memory by one leader and
//! journaled.

pub mod journal;
