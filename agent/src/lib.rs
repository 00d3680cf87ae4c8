//! The agent: speaks the Kafka protocol, batches what producers send into objects, and serves what
//! consumers ask for.
//!
//! A connection's bytes pass [`guard`] first: no decoder sees a frame whose counts and lengths were
//! not checked against the bytes that remain. Then each API has one file in [`api`].

pub mod api;
pub mod broker;
pub mod broker_configs;
pub mod connection;
pub mod fence;
pub mod fetch;
mod group_calls;
pub mod guard;
mod leader;
pub mod listener;
pub mod peers;
pub mod placement;
pub mod produce;
pub mod session;
pub mod settings;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod view;
mod witness;
