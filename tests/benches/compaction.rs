//! What merging is worth and what it costs: 1,000 partitions with an hour of small flushes, read from the beginning
//! as agents wrote them, merged once, merged twice. `cargo bench -p aquifer-tests --bench compaction`
//!
//! `AQUIFER_BENCH_PARTITIONS` (1,000), `AQUIFER_BENCH_FLUSHES` (3,840, about one a second), `AQUIFER_BENCH_RECORD`
//! (500 bytes) say how much there is. Aims: 50 and 500 times fewer GETs than from small objects, at most 2.0 bytes
//! written per byte ingested, at most 1.5 CPU seconds per GB, at most 512 MiB of memory.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]

use std::sync::Arc;

use aquifer_store::folder::FolderStore;
use aquifer_tests::amplification::{Shape, measure};

/// Objects that are merged at once, as by default.
const FAN_IN: usize = 128;

fn number<T: std::str::FromStr>(variable: &str, default: T) -> T {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| match text.parse() {
        Ok(number) => number,
        Err(_) => panic!("{variable} is a number"),
    })
}

fn main() {
    let shape = Shape {
        partitions: number("AQUIFER_BENCH_PARTITIONS", 1_000),
        flushes: number("AQUIFER_BENCH_FLUSHES", 3_840),
        record_bytes: number("AQUIFER_BENCH_RECORD", 500),
        fan_in: FAN_IN,
        read_partitions: 5,
    };
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let bucket = FolderStore::open(folder.path()).expect("a bucket in a folder");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    println!("{shape:?}");
    println!("{}", runtime.block_on(measure(shape, Arc::new(bucket))));
}
