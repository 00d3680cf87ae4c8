//! Tests of the state as a whole; those of decisions are beside them.

mod group_ops;
mod groups;
mod hostile;
mod pages;
mod player;
mod projection;
mod recovery;
pub(crate) mod world;
