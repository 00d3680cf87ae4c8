//! Tests of the state as a whole; those of decisions are beside them.

mod hostile;
mod pages;
mod recovery;
pub(super) mod world;
