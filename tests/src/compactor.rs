//! Compactors as processes, and clusters whose upload epochs are short: what takes an hour elsewhere (merges, the
//! grace of released objects, the age of orphans) takes half a minute there.

use crate::{
    cluster::{Cluster, Member, member},
    process::free_port,
};

/// What metadata processes of such clusters are told. Backups are frequent, for deletions wait for them.
const METADATA: [&str; 5] = [
    "--upload-epoch=500ms",
    "--compaction-age=1",
    "--compaction-fan-in=16",
    "--backup-interval=1s",
    "--sweep-interval=2s",
];

/// Such a cluster, prepared as [`Cluster::prepare`] does; metadata processes get `more` flags.
#[must_use]
pub fn prepare(zones: &[&str], metadata: usize, more: &[&str]) -> Cluster {
    let mut cluster = Cluster::prepare(zones, metadata, "none");
    for member in &mut cluster.metadata {
        configure(member, more);
    }
    cluster
}

/// Makes a metadata process one of such a cluster.
pub fn configure(metadata: &mut Member, more: &[&str]) {
    for argument in METADATA.iter().chain(more) {
        metadata.process.argue(argument);
    }
}

/// A compactor, not started.
#[must_use]
pub fn compactor(cluster: &Cluster, name: &str) -> Member {
    let http = free_port();
    let endpoints: Vec<String> = cluster
        .metadata
        .iter()
        .map(|metadata| format!("127.0.0.1:{}", metadata.port))
        .collect();
    let arguments = [
        "compactor".to_owned(),
        format!("--metadata={}", endpoints.join(",")),
        format!("--bucket={}", cluster.s3.url()),
        format!("--http-listen=127.0.0.1:{http}"),
        "--compaction-memory=64MiB".to_owned(),
    ];
    member(name, &arguments, http, http, "")
}
