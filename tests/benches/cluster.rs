//! Latency of a cluster on S3 Standard and S3 Express by load, and where the time goes, printed: two agents,
//! Postgres, the project's own S3 server with each latency model. Release build:
//! `cargo build --release --workspace && cargo bench -p aquifer-tests --bench cluster`
//!
//! `AQUIFER_BENCH_SECONDS` (default 20) is how long each load runs. Arguments choose parts: standard, express,
//! stock, window.
//!
//! Everything shares one machine, so each line says how many of its cores were busy and with what: latencies
//! of a machine that is busy throughout are those of its scheduler. The generator has low priority, as clients
//! have machines of their own.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    collections::BTreeMap,
    fs,
    ops::Sub,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use aquifer_tests::{
    cluster::{Cluster, Member},
    process::binary,
};
use serde_json::Value;

/// The longest that records wait before an object is written.
const MODELS: [(&str, &str); 2] = [("standard", "250ms"), ("express", "10ms")];

/// Producers: a name for the command line, what it means, and librdkafka's settings.
///
/// A stock idempotent one has a single request per partition under way (`rktp_msgs_inflight`): a record that
/// comes meanwhile waits for that answer and then for its own, and the client's threads spin as long as one
/// waits. The Java client has five requests per connection, idempotent or not, which here only works
/// without idempotence.
const PRODUCERS: [(&str, &str, &[&str]); 2] = [
    ("stock", "librdkafka, stock, idempotent", &[]),
    (
        "window",
        "librdkafka, five requests per connection as the Java client has, not idempotent",
        &["enable.idempotence=false", "max.in.flight=5"],
    ),
];

/// Shares of the maximum.
const SHARES: [f64; 3] = [0.10, 0.25, 0.50];

/// How long each load runs before it is measured: longer than the tokens last that were saved up before.
const WARM_UP_SECONDS: &str = "6";

/// `cutime` among the fields of `/proc/self/stat` behind the name.
const CHILDREN: usize = 13;

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wanted = |names: &[&str], name: &str| {
        let said = |name: &str| chosen.iter().any(|c| c == name);
        said(name) || !names.iter().any(|other| said(other))
    };
    let seconds = std::env::var("AQUIFER_BENCH_SECONDS").unwrap_or_else(|_| "20".to_owned());
    for (model, interval) in MODELS {
        if !wanted(&MODELS.map(|m| m.0), model) {
            continue;
        }
        for (name, meaning, settings) in PRODUCERS {
            if wanted(&PRODUCERS.map(|p| p.0), name) {
                println!("S3 {model}, flush interval {interval}; {meaning}:");
                loads(model, interval, settings, &seconds);
            }
        }
    }
}

/// The maximum, and shares of it, on a cluster of their own.
fn loads(model: &str, interval: &str, settings: &[&str], seconds: &str) {
    let mut cluster = Cluster::prepare(&["a", "a"], 1, model);
    for agent in &mut cluster.agents {
        agent.process.argue(&format!("--flush-interval={interval}"));
    }
    cluster.start_all();
    println!(
        "  offered MB/s | acked | ack p50 / p95 / p99 ms | end to end p50 / p99 ms | failed, unread"
    );
    let maximum = load(&cluster, "max", settings, seconds);
    for share in SHARES {
        load(
            &cluster,
            &format!("{:.3}", maximum * share),
            settings,
            seconds,
        );
    }
}

/// One load; what was acknowledged, in MB/s.
fn load(cluster: &Cluster, rate: &str, settings: &[&str], seconds: &str) -> f64 {
    let metrics: Vec<String> = cluster
        .agents
        .iter()
        .map(|agent| format!("127.0.0.1:{}", agent.http))
        .collect();
    let mut generator = Command::new("nice");
    generator
        .args(["-n", "10"])
        .arg(binary("aquifer-bench"))
        .args(["--bootstrap", &cluster.bootstrap()])
        .args(["--rate", rate, "--seconds", seconds, "--json"])
        .args(["--warm-up", WARM_UP_SECONDS])
        .args(["--client-id", "bench,zone=a"])
        .args(["--metrics", &metrics.join(",")])
        .stderr(Stdio::inherit());
    for setting in settings {
        generator.args(["--producer-setting", setting]);
    }
    let (before, began) = (Counts::read(cluster), Instant::now());
    let output = generator.output().expect("the generator can be run");
    let (took, counts) = (began.elapsed(), &Counts::read(cluster) - &before);
    assert!(
        output.status.success(),
        "the generator ended with {}",
        output.status
    );
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("an outcome as JSON");
    let number = |path: &str| outcome.pointer(path).and_then(Value::as_f64);
    let shown = |path: &str| number(path).map_or_else(|| "-".to_owned(), |n| format!("{n:.1}"));
    let whole = |path: &str| number(path).map_or_else(|| "-".to_owned(), |n| format!("{n:.0}"));
    let acked = number("/megabytes_per_second").expect("a throughput");
    println!(
        "  {rate} | {acked:.1} | {} / {} / {} | {} / {} | {}, {}",
        shown("/acks/p50_ms"),
        shown("/acks/p95_ms"),
        shown("/acks/p99_ms"),
        shown("/end_to_end/p50_ms"),
        shown("/end_to_end/p99_ms"),
        whole("/failed"),
        whole("/unread"),
    );
    let stages: Vec<String> = ["buffer", "build", "put", "order_wait", "commit", "ack"]
        .iter()
        .map(|stage| format!("{stage} {}", shown(&format!("/shares/{stage}"))))
        .collect();
    println!("    in the agents, mean ms: {}", stages.join(", "));
    counts.print(took, cluster.agents.len());
    acked
}

/// What was counted so far.
#[derive(Debug)]
struct Counts {
    /// CPU seconds, by whom.
    cpu: BTreeMap<&'static str, f64>,
    /// CPU seconds of the whole machine.
    machine: f64,
    /// Objects of the agents, and their bytes.
    objects: f64,
    object_bytes: f64,
    /// Flushes by the rule that sealed them.
    flushes: BTreeMap<&'static str, f64>,
}

impl Counts {
    fn read(cluster: &Cluster) -> Self {
        let all = |members: &[Member]| -> f64 {
            let of = |member: &Member| member.process.cpu().as_secs_f64();
            members.iter().map(of).sum()
        };
        let metric = |name: &str, label: &str| -> f64 {
            let of = |agent: &Member| agent.metric(name, label);
            cluster.agents.iter().map(of).sum()
        };
        let reasons = [
            "bytes",
            "soft_bytes",
            "full_window",
            "quiet",
            "interval",
            "steady",
        ];
        let flushes = |reason: &'static str| {
            let label = format!("reason=\"{reason}\"");
            (reason, metric("aquifer_produce_flushes_total", &label))
        };
        Self {
            cpu: BTreeMap::from([
                // Of the children that ended, only generators come between two readings.
                ("generator", cpu_in("/proc/self/stat", CHILDREN)),
                ("agents", all(&cluster.agents)),
                ("metadata", all(&cluster.metadata)),
                ("S3", cluster.s3.process.cpu().as_secs_f64()),
            ]),
            machine: machine_cpu(),
            objects: metric("aquifer_produce_objects_total", ""),
            object_bytes: metric("aquifer_produce_object_bytes_total", ""),
            flushes: reasons.into_iter().map(flushes).collect(),
        }
    }

    fn print(&self, took: Duration, agents: usize) {
        let seconds = took.as_secs_f64();
        let flushes: Vec<String> = self
            .flushes
            .iter()
            .filter(|(_, count)| **count > 0.0)
            .map(|(reason, count)| format!("{reason} {count:.0}"))
            .collect();
        println!(
            "    PUTs per second and agent {:.1}, of {:.0} KiB; sealed by {}",
            self.objects / seconds / count(agents),
            self.object_bytes / self.objects.max(1.0) / 1024.0,
            flushes.join(", ")
        );
        let cores: Vec<String> = self
            .cpu
            .iter()
            .map(|(who, cpu)| format!("{who} {:.2}", cpu / seconds))
            .collect();
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        println!(
            "    cores busy {:.2} of {all}: {}",
            self.machine / seconds,
            cores.join(", ")
        );
    }
}

impl Sub for &Counts {
    type Output = Counts;

    fn sub(self, before: Self) -> Counts {
        let since = |now: &BTreeMap<&'static str, f64>, before: &BTreeMap<&'static str, f64>| {
            let one = |(name, n): (&&'static str, &f64)| {
                (*name, n - before.get(name).copied().unwrap_or(0.0))
            };
            now.iter().map(one).collect()
        };
        Counts {
            cpu: since(&self.cpu, &before.cpu),
            machine: self.machine - before.machine,
            objects: self.objects - before.objects,
            object_bytes: self.object_bytes - before.object_bytes,
            flushes: since(&self.flushes, &before.flushes),
        }
    }
}

/// Two neighbouring fields of a stat file of `/proc`, in seconds: user and system time.
fn cpu_in(path: &str, first: usize) -> f64 {
    let text = fs::read_to_string(path).expect("Linux has it");
    let fields = text.rsplit(')').next().expect("a last part");
    ticks(fields.split_whitespace().skip(first).take(2))
}

/// What all cores did but wait, in seconds.
fn machine_cpu() -> f64 {
    let text = fs::read_to_string("/proc/stat").expect("Linux has it");
    let all = text.lines().next().expect("the line of all cores");
    // cpu user nice system idle iowait irq softirq steal
    let fields: Vec<&str> = all.split_whitespace().collect();
    let busy = [1, 2, 3, 6, 7];
    ticks(busy.iter().filter_map(|at| fields.get(*at).copied()))
}

fn ticks<'a>(fields: impl Iterator<Item = &'a str>) -> f64 {
    let number = |field: &str| field.parse::<f64>().expect("a number of ticks");
    fields.map(number).sum::<f64>() / 100.0
}

fn count(of: usize) -> f64 {
    f64::from(u32::try_from(of).expect("a few"))
}
