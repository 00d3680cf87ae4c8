//! Latency of a cluster on S3 Standard and S3 Express by load, and where the time goes, printed: two agents,
//! Postgres, the project's own S3 server with each latency model. Release build:
//! `cargo build --release --workspace && cargo bench -p aquifer-tests --bench cluster`
//!
//! `AQUIFER_BENCH_SECONDS` (default 20) is how long each load runs. Arguments choose parts: standard, express.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::process::Command;

use aquifer_tests::{cluster::Cluster, process::binary};

/// The longest that records wait before an object is written.
const MODELS: [(&str, &str); 2] = [("standard", "250ms"), ("express", "10ms")];

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let seconds = std::env::var("AQUIFER_BENCH_SECONDS").unwrap_or_else(|_| "20".to_owned());
    for (model, interval) in MODELS {
        if !chosen.is_empty() && !chosen.iter().any(|c| c == model) {
            continue;
        }
        let mut cluster = Cluster::prepare(&["a", "a"], 1, model);
        for agent in &mut cluster.agents {
            agent.process.argue(&format!("--flush-interval={interval}"));
        }
        cluster.start_all();
        println!("S3 {model}, flush interval {interval}:");
        let metrics: Vec<String> = cluster
            .agents
            .iter()
            .map(|agent| format!("127.0.0.1:{}", agent.http))
            .collect();
        let status = Command::new(binary("aquifer-bench"))
            .args(["--bootstrap", &cluster.bootstrap()])
            .args(["--rate", "max,10%,25%,50%", "--seconds", &seconds])
            .args(["--client-id", "bench,zone=a"])
            .args(["--metrics", &metrics.join(",")])
            .status()
            .expect("the generator can be run");
        assert!(status.success(), "the generator ended with {status}");
        let counters = cluster.s3.counters();
        for (operation, count) in counters.operations {
            println!(
                "  {operation:?}: {} requests, {} bytes",
                count.requests, count.bytes
            );
        }
    }
}
