//! The database under a cluster fails in every way that managed ones do: it is killed, stands still,
//! becomes read-only, comes back without its last rows, or is the wrong one.
//!
//! `AQUIFER_TEST_OUTAGE_SECONDS` sets how long it stands still and is read-only (default 5).

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aquifer_s3_server::Operation;
use aquifer_tests::{
    clients::Client,
    cluster::{Cluster, agent, metadata_process},
    gaps::longest,
    history::{Log, check_stable},
    load::{Load, RATE, read_topic},
    process::http_get,
    records::{TestRecord, records_of, text_files, write_records},
};

const BOTH: [(Client, &str); 2] = [(Client::Python, ""), (Client::Java, "")];
const PATIENCE: Duration = Duration::from_secs(60);

fn outage() -> Duration {
    let seconds = std::env::var("AQUIFER_TEST_OUTAGE_SECONDS")
        .map_or(5, |text| text.parse().expect("a number"));
    Duration::from_secs(seconds)
}

#[track_caller]
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn producers_with_stock_settings_outlive_outages_of_the_database() {
    let outage = outage();
    let mut cluster = Cluster::start(&["a", "b"], 2, "none");
    let seconds = outage.as_secs() * 7 / 3 + 20;
    // Java's stock time-out; librdkafka's is longer.
    let stock = [("delivery.timeout.ms", "120000")];
    let load = Load::start(&cluster, "outage", &BOTH, seconds, &stock);
    std::thread::sleep(Duration::from_secs(4));
    // What was buffered in one outage is through before the next one begins: all of it is not yet 120 s old.
    let what_follows = |cluster: &mut Cluster, load: &Load, outage: Duration, what: &str| {
        let since = Instant::now();
        let buffered = RATE * usize::try_from(outage.as_secs()).expect("a short outage");
        for (producer, before) in load.settled().into_iter().enumerate() {
            for (said, more) in [
                ("goes on in every partition", 50),
                ("has caught up", buffered + 50),
            ] {
                wait_for(what, || load.settled()[producer] > before + more);
                println!(
                    "{what}: {} {said}, {:.1?} after its end",
                    load.runs[producer].name,
                    since.elapsed()
                );
            }
        }
        cluster.wait_for_leader();
    };
    let killed = Duration::from_secs(1);
    cluster.postgres.crash();
    std::thread::sleep(killed);
    cluster.postgres.restart();
    what_follows(&mut cluster, &load, killed, "the server was killed");

    cluster.postgres.pause();
    std::thread::sleep(outage);
    cluster.postgres.resume();
    what_follows(
        &mut cluster,
        &load,
        outage,
        &format!("the server stood still for {outage:?}"),
    );

    cluster.postgres.set("default_transaction_read_only", "on");
    std::thread::sleep(outage);
    cluster.postgres.set("default_transaction_read_only", "off");
    what_follows(
        &mut cluster,
        &load,
        outage,
        &format!("the server was read-only for {outage:?}"),
    );
    for one in load.check(&cluster) {
        println!(
            "{}: nothing lost, {:.1?} without an acknowledgement at most",
            one.name,
            longest(&one.gaps)
        );
    }
}

/// What anybody was shown: lines by place.
fn shown(told: &[(String, Vec<TestRecord>, aquifer_tests::history::Acks)]) -> Vec<(String, Log)> {
    told.iter()
        .map(|(topic, records, acks)| {
            let lines = acks.acked.iter();
            let log = lines.map(|(index, place)| (*place, records[*index].line()));
            (topic.clone(), log.collect())
        })
        .collect()
}

#[test]
fn a_database_that_lost_rows_is_served_by_nobody_until_the_loss_is_accepted() {
    let mut cluster = Cluster::start(&["a", "b"], 2, "none");
    let python = [(Client::Python, ""), (Client::Python, "")];
    let load = Load::start(&cluster, "before", &python, 600, &[]);
    wait_for("load", || load.acknowledged() > 300);
    let (accepted, said) = cluster.metadata_command("accept-loss", true, &[]);
    assert!(!accepted, "nothing is missing yet: {said}");
    // A copy from a moment of the load, and some seconds of load after it.
    cluster.postgres.crash();
    let copy = cluster.postgres.copy();
    cluster.postgres.restart();
    let copied = load.acknowledged();
    wait_for("load after the copy", || load.acknowledged() > copied + 400);
    cluster.postgres.crash();
    cluster.postgres.put_back(&copy);
    cluster.postgres.restart();
    for member in &cluster.metadata {
        wait_for("refusal", || {
            let ready = http_get(member.http, "/health/ready");
            ready.is_some_and(|(status, text)| status == 503 && text.contains("lost rows"))
        });
    }
    let stopped = load.acknowledged();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(load.acknowledged(), stopped, "nobody serves");
    // Also not after a restart of everything, agents included.
    for member in &mut cluster.metadata {
        member.process.kill();
        member.process.spawn();
    }
    for member in &cluster.metadata {
        wait_for("refusal after a restart", || {
            let ready = http_get(member.http, "/health/ready");
            ready.is_some_and(|(status, text)| status == 503 && text.contains("lost rows"))
        });
    }
    assert_eq!(load.acknowledged(), stopped, "nobody serves");
    let told = load.abandon();
    let shown = shown(&told);
    let (accepted, said) = cluster.metadata_command("accept-loss", true, &[]);
    assert!(accepted, "{said}");
    println!("{}", said.lines().next().unwrap_or_default());
    cluster.wait_for_leader();
    for agent in &mut cluster.agents {
        agent.wait_ready();
    }
    let after = Load::start(&cluster, "after", &BOTH, 4, &[]);
    let _ = after.check(&cluster);
    // The old topics too go on, above everything that anybody was shown.
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    for (topic, before) in &shown {
        let input = folder.path().join(format!("{topic}.in"));
        write_records(&input, &records_of(&text_files()[0], 500));
        let acks = folder.path().join(format!("{topic}.acks"));
        let mut more = Client::Python.produce(&cluster.bootstrap(), topic, &input, &[], &acks);
        assert!(more.wait().expect("it can be waited for").success());
        let acks = aquifer_tests::history::read_acks(&acks);
        let mut highest: BTreeMap<i32, i64> = BTreeMap::new();
        for (partition, offset) in before.keys() {
            let known = highest.entry(*partition).or_insert(*offset);
            *known = (*known).max(*offset);
        }
        for (partition, offset) in acks.acked.values() {
            let known = highest.get(partition).copied().unwrap_or(-1);
            assert!(
                *offset > known,
                "{topic}-{partition}: offset {offset} was given after {known} had been shown"
            );
        }
        let idle = [("test.idle", "5")];
        let python = read_topic(
            Client::Python,
            &cluster,
            topic,
            1_000_000,
            &idle,
            folder.path(),
        );
        let java = read_topic(
            Client::Java,
            &cluster,
            topic,
            1_000_000,
            &idle,
            folder.path(),
        );
        assert_eq!(python, java, "{topic}: both clients read the same");
        let kept: Log = before
            .iter()
            .filter(|(place, _)| python.contains_key(place))
            .map(|(place, line)| (*place, line.clone()))
            .collect();
        check_stable(topic, &kept, &python);
        println!(
            "{topic}: {} of {} acknowledged records survived, none has other content, {} more were \
             written above",
            kept.len(),
            before.len(),
            acks.acked.len()
        );
        assert!(kept.len() < before.len(), "the copy lacks some");
    }
}

#[test]
fn an_empty_or_another_clusters_database_is_refused_and_nothing_is_deleted() {
    let mut cluster = Cluster::start(&["a"], 1, "none");
    let load = Load::start(&cluster, "full", &[(Client::Python, "")], 3, &[]);
    let _ = load.check(&cluster);
    cluster.metadata[0].process.kill();
    let deleted = deletes(&cluster);
    let empty = cluster.postgres.create_database();
    let mut wrong = metadata_process(
        "metadata with an empty database",
        &empty.url,
        &cluster.s3.url(),
    );
    wrong.process.spawn();
    wait_for("refusal of an empty database", || {
        let ready = http_get(wrong.http, "/health/ready");
        ready.is_some_and(|(status, text)| status == 503 && text.contains("the metadata is empty"))
    });
    std::thread::sleep(Duration::from_secs(2));
    assert!(wrong.process.is_alive(), "it says why until somebody looks");
    wrong.process.kill();
    let rows = "SELECT (SELECT count(*) FROM journal_a) + (SELECT count(*) FROM journal_b)";
    assert_eq!(cluster.postgres.sql(&empty.name, rows), "0");

    // A cluster of its own, whose database then meets the first one's bucket.
    let other = Cluster::start(&["a"], 1, "none");
    let mut wrong = metadata_process(
        "metadata of another cluster",
        &other.database.url,
        &cluster.s3.url(),
    );
    drop(other.metadata);
    wrong.process.spawn();
    wait_for("refusal of another cluster's bucket", || {
        let ready = http_get(wrong.http, "/health/ready");
        ready.is_some_and(|(status, text)| status == 503 && text.contains("belongs to cluster"))
    });
    wrong.process.kill();
    assert_eq!(deletes(&cluster), deleted, "nothing was deleted");

    // An agent of that cluster on this bucket.
    let endpoints = format!("127.0.0.1:{}", cluster.metadata[0].port);
    cluster.metadata[0].process.spawn();
    cluster.wait_for_leader();
    let mut lost = agent("agent on another bucket", "a", &endpoints, &other.s3.url());
    lost.process.spawn();
    wait_for("the end of an agent on another bucket", || {
        lost.process.said("belongs to cluster") && !lost.process.is_alive()
    });
    cluster.agents[0].wait_ready();
    let again = Load::start(&cluster, "again", &[(Client::Python, "")], 2, &[]);
    let _ = again.check(&cluster);
    println!("empty, another cluster's and a second cluster's database refused; nothing deleted");
}

/// Requests to delete something.
fn deletes(cluster: &Cluster) -> u64 {
    cluster.s3.counters().of(Operation::Delete).requests
}
