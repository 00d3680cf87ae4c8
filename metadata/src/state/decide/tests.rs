//! Table tests of the decisions.

mod administration;
mod commits;
mod configs;
mod holds;
mod idempotence;
mod loss;
mod partitions;
mod records;
mod registration;
mod retention;
