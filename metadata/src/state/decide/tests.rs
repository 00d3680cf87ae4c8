//! Table tests of the decisions.

mod administration;
mod commits;
mod holds;
mod idempotence;
mod loss;
mod registration;
