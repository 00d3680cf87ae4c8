//! Generated from `proto/`; never seen outside `event` and `state::page`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

include!(concat!(env!("OUT_DIR"), "/aquifer.journal.rs"));
