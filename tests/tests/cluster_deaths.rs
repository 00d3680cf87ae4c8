//! Three agents in three zones, two metadata processes, Postgres and an S3 server under load from real
//! clients, while agents and the metadata leader are killed, stopped and drained at random: nothing
//! acknowledged is lost, doubled or reordered.
//!
//! `AQUIFER_TEST_CHAOS_SECONDS` sets for how long (default 40), `AQUIFER_TEST_SEED` the order of what happens.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aquifer_tests::{
    clients::Client,
    cluster::Cluster,
    gaps::cause,
    load::{Endured, Load},
};

const ZONES: [&str; 3] = ["a", "b", "c"];
/// Java without a zone goes to whichever agent is named.
const CLIENTS: [(Client, &str); 4] = [
    (Client::Python, "a"),
    (Client::Python, "b"),
    (Client::Java, "c"),
    (Client::Java, ""),
];

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

/// A small generator for what happens when; its seed is printed.
struct Fate(u64);

impl Fate {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// One thing happens to one process, and is over when this returns: its kind, and to whom.
fn strike(cluster: &mut Cluster, fate: &mut Fate, kind: u64) -> (&'static str, String) {
    let agent = usize::try_from(fate.below(3)).expect("small");
    if kind < 3 {
        let agent = &mut cluster.agents[agent];
        let name = agent.process.name().to_owned();
        let pause = fate.millis(500, 8_000);
        return match kind {
            0 => {
                agent.process.kill();
                std::thread::sleep(pause / 3);
                agent.start();
                (
                    "agent killed",
                    format!("{name}, back after {:.1?}", pause / 3),
                )
            }
            1 => {
                agent.process.pause();
                std::thread::sleep(pause);
                agent.process.resume();
                agent.wait_ready();
                ("agent stopped", format!("{name} for {pause:.1?}"))
            }
            _ => {
                assert_eq!(agent.process.terminate(), Some(0), "a drain ends well");
                agent.start();
                ("agent drained", name)
            }
        };
    }
    let leader = cluster.wait_for_leader();
    let member = &mut cluster.metadata[leader];
    let name = member.process.name().to_owned();
    match kind {
        3 => {
            member.process.kill();
            cluster.wait_for_leader();
            cluster.metadata[leader].process.spawn();
            ("leader killed", name)
        }
        4 => {
            assert_eq!(member.process.terminate(), Some(0), "it gives the lease up");
            cluster.wait_for_leader();
            cluster.metadata[leader].process.spawn();
            ("leader terminated", name)
        }
        _ => {
            let pause = fate.millis(500, 8_000);
            member.process.pause();
            std::thread::sleep(pause);
            member.process.resume();
            cluster.wait_for_leader();
            ("leader stopped", format!("{name} for {pause:.1?}"))
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_while_agents_and_leaders_die() {
    let seconds = number("AQUIFER_TEST_CHAOS_SECONDS", 40);
    let seed = number(
        "AQUIFER_TEST_SEED",
        u64::from(std::process::id()) | (1 << 32),
    );
    println!("seed of what happens: {seed}");
    let mut fate = Fate(seed);
    let mut cluster = Cluster::start(&ZONES, 2, "none");
    let load = Load::start(&cluster, "deaths", &CLIENTS, seconds, &[]);
    let begin = Instant::now();
    let (mut kinds, mut times) = (Vec::new(), Vec::new());
    while begin.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(fate.millis(1_000, 3_000));
        times.push(Instant::now());
        let at = begin.elapsed().as_secs_f64();
        // each kind once, then at random
        let count = u64::try_from(kinds.len()).expect("few");
        let kind = if count < 6 { count } else { fate.below(6) };
        let (kind, whom) = strike(&mut cluster, &mut fate, kind);
        println!("{at:6.1} s: {kind}: {whom}");
        kinds.push(kind);
    }
    let endured = load.check(&cluster);
    report(&endured, &kinds, &times);
    println!("{} strikes in {seconds} s", kinds.len());
}

/// The longest time without an acknowledgement by what caused it.
fn report(endured: &[Endured], kinds: &[&'static str], times: &[Instant]) {
    let mut longest: BTreeMap<(&str, &str), Duration> = BTreeMap::new();
    for one in endured {
        for gap in &one.gaps {
            if let Some(cause) = cause(gap, times) {
                let entry = longest.entry((kinds[cause], &one.name)).or_default();
                *entry = (*entry).max(gap.length);
            }
        }
    }
    for ((kind, client), gap) in longest {
        println!("{kind}: {client} went {gap:.2?} without an acknowledgement at most");
    }
}
