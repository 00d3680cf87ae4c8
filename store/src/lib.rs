//! Ports to the outside world: the bucket, time, randomness, task spawning. Real implementations,
//! in-memory ones and wrappers (retry, hedge, metrics, faults) stand side by side, and every implementation
//! of [`ObjectStore`] runs the conformance suite.

pub mod administration;
pub mod conformance;
pub mod faults;
pub mod folder;
pub mod hedge;
mod keys;
pub mod location;
pub mod memory;
pub mod metrics;
mod parts;
pub mod port;
pub mod remote;
pub mod retry;
pub mod runtime;
pub mod witness;

pub use location::open;
pub use port::{
    DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Payload, PutError, PutMode,
    UnfinishedUpload, Upload,
};
pub use runtime::{Clock, Monotonic, Ports, Rand, SeededRand, Tasks, UnixMillis, VirtualClock};
