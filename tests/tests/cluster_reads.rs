//! What one agent acknowledged, another one serves: a fetch right after the acknowledgement never finds
//! the offset out of range, and the record is there soon.
//!
//! `AQUIFER_TEST_READS` sets how many records are followed (default 200).

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::time::{Duration, Instant};

use aquifer_tests::{
    batches::keyless,
    cluster::{Cluster, Member},
    fetch::{Ask, records},
    wire::Connection,
};

/// Kafka's OFFSET_OUT_OF_RANGE.
const OFFSET_OUT_OF_RANGE: i16 = 1;

#[test]
fn what_one_agent_acknowledged_another_serves_at_once() {
    let count = std::env::var("AQUIFER_TEST_READS").map_or(200, |t| t.parse().expect("a number"));
    let cluster = Cluster::start(&["a", "a", "b"], 1, "none");
    let mut connections: Vec<Connection> = cluster.agents.iter().map(Member::connect).collect();
    connections[0].create_topic("reads", 1, &[]);
    // the others hear of the topic a moment later
    for connection in &mut connections[1..] {
        let deadline = Instant::now() + Duration::from_secs(10);
        while connection.topic_metadata("reads").topics[0].error_code != 0 {
            assert!(Instant::now() < deadline, "the topic reaches every agent");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let ask = Ask {
        max_wait_ms: 100,
        ..Ask::default()
    };
    let mut waits = [Vec::new(), Vec::new()];
    for round in 0..count {
        let (error, offset, _) = connections[0].produce("reads", 0, keyless());
        assert_eq!(error, 0);
        let acknowledged = Instant::now();
        let reader = 1 + round % 2;
        loop {
            let data = connections[reader].fetch("reads", 0, offset, ask);
            assert_ne!(data.error_code, OFFSET_OUT_OF_RANGE, "offset {offset}");
            assert_eq!(data.error_code, 0, "offset {offset}");
            let found = records(&data);
            if let Some((first, _)) = found.first() {
                assert_eq!(*first, offset);
                break;
            }
            assert!(
                acknowledged.elapsed() < Duration::from_secs(10),
                "offset {offset}"
            );
        }
        waits[reader - 1].push(acknowledged.elapsed());
    }
    for (waits, zone) in waits.iter_mut().zip(["the same zone", "another zone"]) {
        waits.sort_unstable();
        let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
        println!(
            "from the acknowledgement to the record through another agent of {zone}: p50 {:.2?}, p99 {:.2?}, \
             {} records",
            at(50),
            at(99),
            waits.len()
        );
    }
}
