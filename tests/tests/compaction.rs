//! Compactors in whole clusters: nobody who reads or writes sees anything of them, whoever dies or stands still, and
//! in the end the bucket has what is referenced and nothing else.
//!
//! `AQUIFER_TEST_COMPACTION_SECONDS` sets how long there is load (default 20), `AQUIFER_TEST_COMPACTION_KILLS` how
//! often an agent or a compactor is killed meanwhile (default 6).

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

#[path = "compaction/amplification.rs"]
mod amplification;
#[path = "compaction/budget.rs"]
mod budget;
#[path = "compaction/churn.rs"]
mod churn;
#[path = "compaction/deaths.rs"]
mod deaths;
#[path = "compaction/disaster.rs"]
mod disaster;
#[path = "compaction/readers.rs"]
mod readers;

use std::time::{Duration, Instant};

use aquifer_format::ids::ObjectLevel;
use aquifer_tests::{
    bucket_state::wait_until_exact,
    clients::Client,
    cluster::Member,
    compactor::{compactor, prepare},
    load::Load,
};

use self::{churn::Churn, readers::Readers};

/// Deleted topics go at once, retention is looked at often.
const CONFIGS: [&str; 2] = [
    "--broker-config=topic.soft.delete.ttl.ms=0",
    "--broker-config=log.retention.check.interval.ms=1000",
];
/// What the bucket does while there is load.
const TROUBLE: &str =
    r#"{"error": 0.02, "slow_down": 0.02, "lost_reply": 0.02, "stall": 0.1, "stall_ms": 300}"#;
/// An orphan is swept after 60 upload epochs, that is half a minute; the sweeper and compactors take turns after.
const QUIET: Duration = Duration::from_secs(100);
/// Objects of level 0 that may be left: fewer than are merged by age, and what came to nothing and rests.
const SMALL_LEFT: usize = 16;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

#[test]
fn readers_see_the_same_records_while_objects_are_merged_and_the_bucket_ends_exact() {
    let seconds = number("AQUIFER_TEST_COMPACTION_SECONDS", 20);
    let kills = number("AQUIFER_TEST_COMPACTION_KILLS", 6);
    // Agents 0 and 1 live on: readers of the test's own are connected to them.
    let mut cluster = prepare(&["a", "b", "c"], 2, &CONFIGS);
    cluster.start_all();
    let mut compactors: Vec<Member> = (0..2)
        .map(|i| compactor(&cluster, &format!("compactor {i}")))
        .collect();

    let stale = readers::Stale::write(&cluster);
    let stopped = deaths::stop_in_mid_upload(&cluster, &mut compactors[0]);
    compactors[1].start();
    let clients = [(Client::Python, "a"), (Client::Java, "c")];
    let load = Load::start(&cluster, "merged", &clients, seconds, &[]);
    let readers = Readers::start(&cluster, &load.runs[1].topic);
    let churn = Churn::start(&cluster);
    cluster.s3.set_faults(TROUBLE);
    let until = Instant::now() + Duration::from_secs(seconds);
    deaths::strike(&mut cluster, &mut compactors[1], until, kills);
    cluster.s3.set_faults("{}");

    // Both clients read everything, and what each producer was told holds.
    let _ = load.check(&cluster);
    let read = readers.end();
    let churned = churn.end();
    stopped.go_on(&cluster, &compactors[0]);
    let exact = wait_until_exact(&cluster, QUIET);
    let merged = exact.of_level(ObjectLevel::L1) + exact.of_level(ObjectLevel::L2);
    let small = exact.of_level(ObjectLevel::L0);
    println!(
        "{read} records read again and again, {churned} topics deleted, {kills} kills; {merged} merged and {small} \
         small objects are left, and nothing else"
    );
    assert!(merged > 0 && small <= SMALL_LEFT, "{:#?}", exact.known);
    let again = deaths::done_ranges(&cluster);
    assert!(again > 0.0, "no range was ever swapped");

    // After everything that was replaced is gone.
    stale.check(&cluster);
}
