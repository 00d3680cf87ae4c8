//! `aquifer metadata restore`: a cluster comes back from its bucket.

use anyhow::Result;
use aquifer_store::Ports;

use crate::arguments::cluster::MetadataRestore;

/// Restores, and says which offsets it vouches for.
pub(crate) async fn run(arguments: &MetadataRestore, ports: &Ports) -> Result<()> {
    let _ = (arguments, ports);
    todo!("builder F")
}
