//! Seeds of the simulation: as many as fit into the time that is given, and at least a number of them.
//!
//! `AQUIFER_SIM_SECONDS` (default 40) is that time, `AQUIFER_SIM_SEEDS` (default 500) that number,
//! `AQUIFER_SIM_FIRST` the first seed (default 1, so that the suite finds what a change broke and nothing by
//! chance; `$(date +%s)000` looks where nobody has). `AQUIFER_SIM_SEED` runs one seed and prints its trace.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::time::{Duration, Instant};

use aquifer_tests::sim::{Plan, run};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().expect(variable))
}

fn check(seed: u64) -> (usize, usize, u64, usize) {
    let outcome = run(Plan::of(seed));
    assert!(
        outcome.violations.is_empty(),
        "seed {seed} (AQUIFER_SIM_SEED={seed} prints its trace): {:#?}",
        outcome.violations
    );
    (
        outcome.acked,
        outcome.commits,
        outcome.kills,
        outcome.merged,
    )
}

#[test]
fn no_seed_finds_a_broken_promise() {
    if let Some(seed) = number("AQUIFER_SIM_SEED") {
        let outcome = run(Plan::of(seed));
        println!("{}", outcome.trace.join("\n"));
        assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
        return;
    }
    let first = number("AQUIFER_SIM_FIRST").unwrap_or(1);
    let begun = Instant::now();
    let end = begun + Duration::from_secs(number("AQUIFER_SIM_SECONDS").unwrap_or(40));
    let least = number("AQUIFER_SIM_SEEDS").unwrap_or(500);
    let (mut seeds, mut acked, mut commits, mut kills, mut merged) = (0, 0, 0, 0, 0);
    while seeds < least || Instant::now() < end {
        let more = check(first + seeds);
        (acked, commits) = (acked + more.0, commits + more.1);
        (kills, merged) = (kills + more.2, merged + more.3);
        seeds += 1;
    }
    // Where nothing happens no promise is broken either.
    assert!(acked > 0 && commits > 0, "{acked}, {commits}");
    assert!(kills > 0 || seeds < 10, "{kills}");
    assert!(merged > 0 || seeds < 10, "{merged}");
    println!(
        "{seeds} seeds from {first} in {:?}: {acked} records and {commits} commits acknowledged, {kills} kills, {merged} merged objects, no violation",
        begun.elapsed()
    );
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2] {
        let (first, second) = (run(Plan::of(seed)), run(Plan::of(seed)));
        for (line, (one, other)) in first.trace.iter().zip(&second.trace).enumerate() {
            assert_eq!(one, other, "seed {seed}, line {line}");
        }
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
        assert!(!first.trace.is_empty());
    }
}

/// Seeds that once found a bug: a damaged read of a tip was taken for a damaged tip; a leader spun while
/// the journal hung.
#[test]
fn regression_seeds_stay_clean() {
    for seed in [1_795_396_482_283, 1_795_396_909_528] {
        check(seed);
    }
}
