//! Workers that keep the bucket in order. They read and delete objects, ask the metadata leader, and share no
//! state with agents.

pub mod sweep;

pub use sweep::{Approval, SweepSettings, SweepState, Sweeper};
