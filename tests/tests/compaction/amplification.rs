//! What a reader of history pays before and after merges; the bench of the same name is the long form.

use std::sync::Arc;

use aquifer_store::memory::MemoryStore;
use aquifer_tests::amplification::{Shape, measure};

#[tokio::test(start_paused = true)]
async fn history_costs_far_fewer_requests_once_it_is_merged() {
    let shape = Shape {
        partitions: 50,
        flushes: 768,
        record_bytes: 1_000,
        fan_in: 64,
        read_partitions: 4,
    };
    let measured = Box::pin(measure(shape, Arc::new(MemoryStore::new()))).await;
    println!("{measured}");
    let gets = |level: usize| measured.rows[level].gets_per_gb;
    assert!(gets(1) * 25.0 <= gets(0), "{measured}");
    assert!(gets(2) * 250.0 <= gets(0), "{measured}");
    assert!(measured.written_per_byte() <= 2.0, "{measured}");
    let extents = |level: usize| measured.rows[level].extents;
    assert!(extents(0) > 700.0, "{measured}");
    assert!(extents(1) < 15.0 && extents(2) < 2.0, "{measured}");
}
