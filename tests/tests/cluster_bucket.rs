//! A bucket that misbehaves: errors, SlowDown, lost replies, stalls, a PUT that hangs, truncated and
//! bit-flipped reads. Nothing acknowledged is lost, doubled or reordered, and it is over soon after the
//! bucket is well again.
//!
//! `AQUIFER_TEST_BUCKET_SECONDS` sets how long each kind of trouble lasts (default 5).

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aquifer_s3_server::faults::Fault;
use aquifer_tests::{
    clients::Client,
    cluster::Cluster,
    gaps::{Gap, longest},
    history::read_log,
    load::Load,
    records::TestRecord,
};

/// What it is, what the server is told, and what must have happened.
const TROUBLES: [(&str, &str, &[Fault]); 5] = [
    (
        "5 % errors, 10 % SlowDown",
        r#"{"error": 0.05, "slow_down": 0.1}"#,
        &[Fault::Error, Fault::SlowDown],
    ),
    (
        "10 % lost replies",
        r#"{"lost_reply": 0.1}"#,
        &[Fault::LostReply],
    ),
    (
        "10 % stalls of 3 s",
        r#"{"stall": 0.1, "stall_ms": 3000}"#,
        &[Fault::Stall],
    ),
    (
        "one PUT hangs for 30 s",
        r#"{"hang_puts": 1, "hang_ms": 30000}"#,
        &[Fault::HangPuts],
    ),
    (
        "10 % truncated and 10 % bit-flipped reads",
        r#"{"torn_body": 0.1, "flipped_bit": 0.1}"#,
        &[Fault::TornBody, Fault::FlippedBit],
    ),
];
/// How many seconds longer a kind of trouble may last until it was met.
const MET: u64 = 15;
/// How long after trouble everything must be normal again.
const RECOVERY: Duration = Duration::from_secs(30);

#[test]
fn a_bucket_that_misbehaves_costs_time_and_nothing_else() {
    let each = std::env::var("AQUIFER_TEST_BUCKET_SECONDS")
        .map_or(5, |text| text.parse().expect("a number"));
    let mut cluster = Cluster::start(&["a", "b"], 1, "none");
    let clients = [(Client::Python, "a"), (Client::Java, "b")];
    let troubles = u64::try_from(TROUBLES.len()).expect("few");
    let seconds = each * troubles + MET + 10;
    let load = Load::start(&cluster, "bucket", &clients, seconds, &[]);
    std::thread::sleep(Duration::from_secs(3));
    // Everything that comes through zone a is read through zone b meanwhile.
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let out = folder.path().join("reader.log");
    let read = &load.runs[0];
    let in_zone_b = [("client.id", "reader,zone=b")];
    let count = read.records.len();
    let bootstrap = cluster.bootstrap_in("b");
    let mut reader = Client::Python.consume(&bootstrap, &read.topic, count, &in_zone_b, &out);
    let mut windows = Vec::new();
    for (what, faults, expected) in TROUBLES {
        let begin = Instant::now();
        let before = cluster.s3.counters();
        cluster.s3.set_faults(faults);
        std::thread::sleep(Duration::from_secs(each));
        // With few requests a rare fault takes its time.
        loop {
            let now = cluster.s3.counters();
            let met = |fault: &Fault| now.happened(*fault) > before.happened(*fault);
            if expected.iter().all(met) {
                break;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(each + MET),
                "{what}: {:?} after {:?}",
                now.faults,
                before.faults
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        cluster.s3.set_faults("{}");
        windows.push((what, begin, Instant::now()));
    }
    let healed = Instant::now();
    for agent in &mut cluster.agents {
        agent.wait_ready();
    }
    let lines = load.runs[0].records.iter().map(TestRecord::line);
    let sent: BTreeSet<String> = lines.collect();
    let endured = load.check(&cluster);
    assert!(reader.wait().expect("it can be waited for").success());
    let seen: BTreeSet<String> = read_log(&out).into_values().collect();
    assert_eq!(seen, sent, "the reader read everything as it was sent");
    for (what, begin, end) in windows {
        for one in &endured {
            let during = |gap: &&Gap| gap.begin < end && gap.begin + gap.length > begin;
            let gaps: Vec<Gap> = one.gaps.iter().filter(during).copied().collect();
            println!(
                "{what}: {} went {:.2?} without an acknowledgement at most",
                one.name,
                longest(&gaps)
            );
        }
    }
    for one in &endured {
        let late = one.gaps.iter().map(|gap| gap.begin + gap.length).max();
        let late = late.map_or(Duration::ZERO, |end| end.saturating_duration_since(healed));
        assert!(
            late < RECOVERY,
            "{}: a gap ended {late:?} after the trouble",
            one.name
        );
    }
}
