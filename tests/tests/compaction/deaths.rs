//! Agents and compactors that die and stand still.

use std::time::{Duration, Instant};

use aquifer_format::{batch::BatchBuilder, codec::Codec};
use aquifer_s3_server::{Operation, faults::Fault};
use aquifer_store::{Rand, SeededRand};
use aquifer_tests::{
    batches::now,
    cluster::{Cluster, Member},
    wire::Connection,
};
use bytes::Bytes;

/// How long a lease lasts that is not renewed, and a little more for somebody else to get the job.
const PAST_THE_LEASE: Duration = Duration::from_secs(36);
const PATIENCE: Duration = Duration::from_secs(60);
/// More than the fan-in, and with it more than one part of an upload.
const BALLAST_BATCHES: u64 = 24;
const BALLAST_BYTES: usize = 900_000;

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A compactor that was stopped in the middle of an upload in parts: only compactors upload so.
pub(crate) struct Stopped {
    since: Instant,
}

/// Writes so much that a merge is uploaded in parts, starts the compactor and stops it in the upload of its first.
pub(crate) fn stop_in_mid_upload(cluster: &Cluster, compactor: &mut Member) -> Stopped {
    write_ballast(&mut cluster.agents[0].connect());
    cluster
        .s3
        .set_faults(r#"{"operations": ["multipart"], "stall": 1.0, "stall_ms": 2000}"#);
    compactor.start();
    wait_for("a part is under way", || {
        let counters = cluster.s3.counters();
        // the upload's begin is one, too
        counters.of(Operation::Multipart).requests >= 2 && counters.happened(Fault::Stall) >= 1
    });
    compactor.process.pause();
    cluster.s3.set_faults("{}");
    Stopped {
        since: Instant::now(),
    }
}

impl Stopped {
    /// Lets it go on once its job was given to another one: it is told so by its lease or by its swap, or gives up
    /// since its upload took too long.
    pub(crate) fn go_on(self, cluster: &Cluster, compactor: &Member) {
        std::thread::sleep(PAST_THE_LEASE.saturating_sub(self.since.elapsed()));
        compactor.process.resume();
        wait_for("the stopped compactor learns that its job is lost", || {
            let jobs = |outcome: &str| {
                let label = format!("outcome=\"{outcome}\"");
                compactor.metric("aquifer_compactor_jobs_total", &label)
            };
            jobs("lost") + jobs("failed") + ranges(cluster, "fenced") >= 1.0
        });
    }
}

/// Batches that nothing compresses, each in an object of its own.
fn write_ballast(connection: &mut Connection) {
    connection.create_topic("ballast", 1, &[]);
    for seed in 0..BALLAST_BATCHES {
        let random = SeededRand::new(seed);
        let value: Vec<u8> = std::iter::repeat_with(|| random.next_u64())
            .flat_map(u64::to_le_bytes)
            .take(BALLAST_BYTES)
            .collect();
        let mut builder = BatchBuilder::new(Codec::None);
        builder.append(now(), None, Some(&value), &[]);
        let batch: Bytes = builder.build().expect("a batch below the bound").bytes;
        let (error, ..) = connection.produce("ballast", 0, batch);
        assert_eq!(error, 0, "ballast {seed}");
    }
}

/// Ranges that were swapped, or not, as the leader of the moment counts them.
fn ranges(cluster: &Cluster, outcome: &str) -> f64 {
    let label = format!("outcome=\"{outcome}\"");
    let of = |member: &Member| member.metric("aquifer_compaction_ranges_total", &label);
    cluster.metadata.iter().map(of).sum()
}

/// Ranges that were swapped.
pub(crate) fn done_ranges(cluster: &Cluster) -> f64 {
    ranges(cluster, "done")
}

/// Kills the compactor and the last agent in turns, spread until then.
pub(crate) fn strike(cluster: &mut Cluster, compactor: &mut Member, until: Instant, kills: u64) {
    for kill in 0..kills {
        let left = until.saturating_duration_since(Instant::now());
        let rounds = u32::try_from(kills - kill).expect("few");
        // Not in step with anything that happens every so often.
        let pause = left / rounds + Duration::from_millis(37 * kill % 100);
        std::thread::sleep(pause);
        let victim = if kill.is_multiple_of(2) {
            &mut *compactor
        } else {
            cluster.agents.last_mut().expect("there are agents")
        };
        victim.process.kill();
        std::thread::sleep(Duration::from_millis(300));
        victim.start();
    }
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
}
