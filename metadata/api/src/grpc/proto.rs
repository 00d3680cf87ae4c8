//! The messages of `proto/`, generated.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

include!(concat!(env!("OUT_DIR"), "/aquifer.metadata.v1.rs"));
