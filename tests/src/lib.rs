//! What the whole-cluster tests stand on: starting and killing the real binary, real clients behind one
//! text format, raw Kafka connections, test data, and the checks that are made of what clients saw.

pub mod amplification;
pub mod batches;
pub mod broker;
pub mod bucket_state;
pub mod clients;
pub mod cluster;
pub mod compactor;
pub mod debug_text;
pub mod differences;
pub mod fetch;
pub mod gaps;
pub mod groups;
pub mod history;
pub mod kafka;
pub mod load;
pub mod members;
#[path = "../../metadata/tests/support/postgres.rs"]
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod records;
pub mod sim;
pub mod tools;
pub mod tree;
pub mod virtual_cluster;
pub mod wire;
