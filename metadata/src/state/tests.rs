//! Tests of the state as a whole; those of decisions are beside them.

mod group_ops;
mod groups;
mod hostile;
pub(crate) mod merger;
mod merging;
mod pages;
mod player;
mod projection;
mod recovery;
mod trash;
pub(crate) mod world;
