//! What groups cost: 200 groups of 50 members each, half of them classic and half of KIP-848, whose members
//! heartbeat every 3 s and commit 10,000 partitions a second together. Latencies are counted from when a request
//! was due. Once on SQLite (`aquifer dev`), once on Postgres (a metadata process and an agent). Release build:
//! `cargo build --release --workspace && cargo bench -p aquifer-tests --bench groups`
//!
//! `AQUIFER_BENCH_SECONDS` (default 20) is how long each load runs. Arguments choose journals: sqlite, postgres.
//!
//! Requests are the bench's own, over some hundred connections: a client library would need one per member.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

#[path = "groups/members.rs"]
mod members;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use aquifer_tests::{broker::DevBroker, cluster::Cluster, wire::Connection};

use self::members::{Kind, MEMBERS, Member, PARTITIONS, TOPIC, form_groups};

/// Groups of each kind.
const GROUPS: usize = 100;
/// Connections that the members share.
const CONNECTIONS: usize = 400;
/// Time between two heartbeats of a member (Kafka's `heartbeat.interval.ms`).
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Time between two commits of a member (Kafka's `auto.commit.interval.ms`), of five partitions each: 10,000 a
/// second of all.
const COMMIT: Duration = Duration::from_secs(5);
/// What members need longer than they are given while all groups are formed.
const BROKER_CONFIGS: &str =
    "group.initial.rebalance.delay.ms=1000;group.consumer.session.timeout.ms=60000";

/// Who is measured.
struct Target<'a> {
    address: SocketAddr,
    /// CPU seconds so far, by process.
    cpu: &'a dyn Fn() -> Vec<(&'static str, f64)>,
    /// A metric of the process that leads.
    metric: &'a dyn Fn(&str) -> f64,
}

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|c| c == part);
    if wanted("sqlite") {
        println!("SQLite, one process:");
        let broker = DevBroker::start_with(&[("AQUIFER_BROKER_CONFIG", BROKER_CONFIGS)]);
        measure(&Target {
            address: broker.address(),
            cpu: &|| vec![("aquifer dev", broker.cpu().as_secs_f64())],
            metric: &|name| value(&broker.metrics(), name),
        });
    }
    if wanted("postgres") {
        println!("Postgres, a metadata process and an agent:");
        let mut cluster = Cluster::prepare(&["a"], 1, "none");
        for member in cluster.metadata.iter_mut().chain(&mut cluster.agents) {
            member
                .process
                .argue(&format!("--broker-config={BROKER_CONFIGS}"));
        }
        cluster.start_all();
        let (metadata, agent) = (&cluster.metadata[0], &cluster.agents[0]);
        measure(&Target {
            address: SocketAddr::from(([127, 0, 0, 1], agent.port)),
            cpu: &|| {
                vec![
                    ("metadata", metadata.process.cpu().as_secs_f64()),
                    ("agent", agent.process.cpu().as_secs_f64()),
                ]
            },
            metric: &|name| metadata.metric(name, ""),
        });
    }
}

/// The sum of a metric over all its labels.
fn value(metrics: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let ours = rest.starts_with([' ', '{']);
        ours.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    };
    metrics.lines().filter_map(value).sum()
}

fn measure(target: &Target<'_>) {
    let mut connection = Connection::open(target.address);
    connection.create_topic(TOPIC, PARTITIONS, &[]);
    let begun = Instant::now();
    let mut members = form_groups(target.address, GROUPS);
    println!(
        "  {} members in {} groups, after {:.1?}",
        members.len(),
        2 * GROUPS,
        begun.elapsed()
    );
    members = load(target, members, false);
    load(target, members, true);
}

/// What a connection does next: heartbeats, or commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Heartbeat,
    Commit,
}

/// How long requests took, and how many were refused.
#[derive(Debug, Default)]
struct Times {
    classic: Vec<Duration>,
    consumer: Vec<Duration>,
    commits: Vec<Duration>,
    refused: Vec<i16>,
}

/// Heartbeats, with commits or without, for a while; prints what it took.
fn load(target: &Target<'_>, members: Vec<Member>, commits: bool) -> Vec<Member> {
    let seconds = std::env::var("AQUIFER_BENCH_SECONDS");
    let seconds = seconds.map_or(20, |text| text.parse().expect("a number"));
    let mut shares: Vec<Vec<Member>> = (0..CONNECTIONS).map(|_| Vec::new()).collect();
    for (index, member) in members.into_iter().enumerate() {
        shares[index % CONNECTIONS].push(member);
    }
    let journal = |name: &str| (target.metric)(name);
    let (bytes, rows) = (
        journal("aquifer_metadata_journal_bytes_total"),
        journal("aquifer_metadata_journal_rows_total"),
    );
    let cpu = (target.cpu)();
    let address = target.address;
    // all are connected by then
    let begin = Instant::now() + Duration::from_secs(1);
    let end = begin + Duration::from_secs(seconds);
    let threads: Vec<_> = shares
        .into_iter()
        .enumerate()
        .map(|(index, share)| {
            thread::spawn(move || drive(address, share, index, (begin, end), commits))
        })
        .collect();
    let mut all = Times::default();
    let mut members = Vec::new();
    for thread in threads {
        let (share, times) = thread.join().expect("no panic");
        members.extend(share);
        all.classic.extend(times.classic);
        all.consumer.extend(times.consumer);
        all.commits.extend(times.commits);
        all.refused.extend(times.refused);
    }
    let took = begin.elapsed().as_secs_f64();
    let what = if commits {
        "with commits"
    } else {
        "heartbeats alone"
    };
    println!("  {what}, {took:.0} s:");
    show("classic heartbeats", &mut all.classic, took, "20 ms");
    show("KIP-848 heartbeats", &mut all.consumer, took, "20 ms");
    show("commits", &mut all.commits, took, "50 ms");
    let shares: Vec<String> = (target.cpu)()
        .iter()
        .zip(&cpu)
        .map(|((name, after), (_, before))| {
            format!("{name} {:.0} %", (after - before) / took * 100.0)
        })
        .collect();
    let bytes = journal("aquifer_metadata_journal_bytes_total") - bytes;
    let rows = journal("aquifer_metadata_journal_rows_total") - rows;
    println!(
        "    of a core: {}; {:.1} rows/s",
        shares.join(", "),
        rows / took
    );
    if commits {
        let requests = number(all.commits.len());
        let partitions = requests * number(members::OWNED);
        println!(
            "    {:.0} partitions/s committed; {:.1} journal bytes each, {:.0} per request (aim: at most 200)",
            partitions / took,
            bytes / partitions,
            bytes / requests
        );
    }
    if !all.refused.is_empty() {
        let codes: BTreeSet<i16> = all.refused.iter().copied().collect();
        println!(
            "    {} requests were refused: error codes {codes:?}",
            all.refused.len()
        );
    }
    members
}

/// One connection: each request when it is due, one at a time. What waits behind another one is late, and counts
/// as such.
fn drive(
    address: SocketAddr,
    mut members: Vec<Member>,
    index: usize,
    (begin, end): (Instant, Instant),
    commits: bool,
) -> (Vec<Member>, Times) {
    let mut connection = Connection::open(address);
    let mut times = Times::default();
    let mut due: BTreeSet<(Instant, usize, Task)> = BTreeSet::new();
    let all = number(MEMBERS * 2 * GROUPS);
    for at in 0..members.len() {
        // spread over the interval, also between connections
        let share = number(at * CONNECTIONS + index) / all;
        due.insert((begin + HEARTBEAT.mul_f64(share), at, Task::Heartbeat));
        if commits {
            due.insert((begin + COMMIT.mul_f64(share), at, Task::Commit));
        }
    }
    while let Some((when, at, task)) = due.pop_first() {
        if when >= end {
            break;
        }
        thread::sleep(when.saturating_duration_since(Instant::now()));
        let member = &mut members[at];
        let (code, interval) = match task {
            Task::Heartbeat => (member.heartbeat(&mut connection), HEARTBEAT),
            Task::Commit => (member.commit(&mut connection), COMMIT),
        };
        let took = when.elapsed();
        if code != 0 {
            times.refused.push(code);
        }
        match (task, member.kind()) {
            (Task::Commit, _) => times.commits.push(took),
            (Task::Heartbeat, Kind::Classic) => times.classic.push(took),
            (Task::Heartbeat, Kind::Consumer) => times.consumer.push(took),
        }
        due.insert((when + interval, at, task));
    }
    (members, times)
}

fn number(of: usize) -> f64 {
    f64::from(u32::try_from(of).expect("some thousand"))
}

fn show(what: &str, times: &mut [Duration], took: f64, aim: &str) {
    if times.is_empty() {
        return;
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "    {what}: {:.0}/s, p50 {:.2?}, p99 {:.2?} (aim: {aim}), slowest {:.2?}",
        number(times.len()) / took,
        at(50),
        at(99),
        at(100)
    );
}
