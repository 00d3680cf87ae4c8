//! The project's own S3 server, for tests and benches: real signatures (SigV4), objects in memory,
//! atomic conditional puts, and a bucket that is as slow and as unreliable as wanted.
//!
//! - [`Server::start`] runs it inside a test; the binary `aquifer-s3-server` runs it as a process, whose
//!   admin port takes and shows the same things as JSON: see [`admin`].
//! - [`faults::Faults`] says what goes wrong, [`latency::Latency`] how long requests take,
//!   [`counters::Counters`] what was asked.
//!
//! It speaks the part of S3 that an S3 client of this project uses. Versions of objects are not kept:
//! `PutBucketVersioning` is remembered and told, nothing else.

pub mod admin;
mod clock;
pub mod counters;
pub mod faults;
pub mod latency;
mod objects;
mod operation;
mod random;
mod s3;
mod server;
mod wire;

pub use operation::Operation;
pub use server::{Server, Settings};
