//! What Aquifer keeps in a bucket and how Kafka's record batches look inside: object layout, keys,
//! typed ids, the record-batch view and patching, limits. Sans-IO: no tokio, no object store; every
//! decoder takes bytes and returns values or an error, never panics, and never reserves memory by a
//! number that it read.

pub mod batch;
pub mod block;
pub mod codec;
mod crc;

pub mod ids;
pub mod key;
pub mod limits;
pub mod map;
pub mod mark;
pub mod object;
pub mod record;
#[cfg(test)]
mod samples;
pub mod sealed;
mod varint;
pub mod witness;
