//! The network between one agent and the rest fails: what it sends is held, or thrown away without a word,
//! its connections are closed or reset. It sends its clients away, says so, and comes back by itself; nothing
//! acknowledged is lost, doubled or reordered. And what a leader answered nobody before it died is answered by its
//! successor.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::time::{Duration, Instant};

use aquifer_metadata::event::{Event, decode_row};
use aquifer_tests::{
    batches::batch,
    clients::Client,
    cluster::{Cluster, agent, metadata_process_behind},
    fetch::{Ask, records},
    gaps::longest,
    load::Load,
    process::{http_get, http_status},
    proxy::{Admission, Conditions, Direction, Flow, Proxy},
    wire::{Answer, first_result, produce_request},
};
use kafka_protocol::messages::ProduceRequest;

/// An agent fences itself after 10 s without a sign of the bucket or the leader; a busy machine is slower.
const NOTICED: Duration = Duration::from_secs(40);
const BACK: Duration = Duration::from_secs(40);
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for the agent to be ready, or not to be; how long that took.
fn wait(http: u16, ready: bool, patience: Duration) -> Duration {
    let begun = Instant::now();
    let wanted = if ready { 200 } else { 503 };
    while http_status(http, "/health/ready") != Some(wanted) {
        assert!(
            begun.elapsed() < patience,
            "ready should be {ready}, it says {:?}",
            http_get(http, "/health/ready")
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    begun.elapsed()
}

#[test]
fn an_agent_that_is_cut_off_turns_clients_away_and_comes_back() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads");
    let mut cluster = Cluster::prepare(&["a", "a"], 1, "none");
    let proxy = |port: u16| {
        let server = ([127, 0, 0, 1], port).into();
        runtime.block_on(Proxy::start(server)).expect("a proxy")
    };
    let (leader, bucket) = (proxy(cluster.metadata[0].port), proxy(cluster.s3.port));
    let endpoint = leader.address().to_string();
    let bucket_url = format!("s3://bucket/cluster?endpoint=http://{}", bucket.address());
    cluster.agents[0] = agent("agent 0", "a", &endpoint, &bucket_url);
    cluster.start_all();
    let http = cluster.agents[0].http;
    let clients = [(Client::Python, "a"), (Client::Java, "a")];
    let load = Load::start(&cluster, "network", &clients, 60, &[]);
    std::thread::sleep(Duration::from_secs(3));
    let flow = |flow| Conditions {
        flow,
        ..Conditions::default()
    };
    for (what, proxy, conditions) in [
        (
            "nothing arrives from the leader",
            &leader,
            flow(Flow::Swallow),
        ),
        ("nothing arrives from the bucket", &bucket, flow(Flow::Hold)),
    ] {
        proxy.set_both(conditions);
        proxy.set_admission(Admission::Ignore);
        let noticed = wait(http, false, NOTICED);
        let (_, said) = http_get(http, "/health/ready").expect("it lives");
        proxy.heal();
        let back = wait(http, true, BACK);
        println!(
            "{what}: turned away after {noticed:.1?} ({}), back {back:.1?} after the end",
            said.trim()
        );
    }
    for proxy in [&leader, &bucket] {
        proxy.cut();
        std::thread::sleep(Duration::from_secs(1));
        proxy.reset();
        std::thread::sleep(Duration::from_secs(1));
    }
    for one in load.check(&cluster) {
        println!("{}: {:.2?} at most", one.name, longest(&one.gaps));
    }
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&hexadecimal[at..at + 2], 16);
    let bytes = (0..hexadecimal.len()).step_by(2).map(digits);
    bytes.collect::<Result<_, _>>().expect("digits")
}

/// How many commits in the journal have a producer's batch of this first sequence.
fn journaled(cluster: &Cluster, producer: i64, sequence: i32) -> usize {
    let rows = cluster.postgres.sql(
        &cluster.database.name,
        "SELECT encode(bytes, 'hex') FROM journal_a UNION ALL SELECT encode(bytes, 'hex') FROM journal_b",
    );
    let has_batch = |event: &Event| {
        let Event::Committed(committed) = event else {
            return false;
        };
        let mut summaries = committed.batches.iter().map(|batch| batch.summary);
        summaries.any(|batch| (batch.producer_id.0, batch.first_sequence.0) == (producer, sequence))
    };
    let events = |row| decode_row(&bytes_of(row)).expect("a row of this release");
    rows.lines().flat_map(events).filter(has_batch).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_journaled_but_not_answered_before_its_leader_died_is_in_the_log_once() {
    let mut cluster = Cluster::prepare(&["a"], 2, "none");
    let port = cluster.metadata[0].port;
    let proxy = Proxy::start(([127, 0, 0, 1], port).into()).await;
    let proxy = proxy.expect("a proxy");
    let (database, bucket) = (cluster.database.url.clone(), cluster.s3.url());
    // Also who asks the standby is sent to the proxy.
    let advertised = proxy.address().port();
    cluster.metadata[0] =
        metadata_process_behind("metadata 0", &database, &bucket, port, advertised);
    let endpoints = format!("{},127.0.0.1:{}", proxy.address(), cluster.metadata[1].port);
    cluster.agents[0] = agent("agent 0", "a", &endpoints, &bucket);
    cluster.metadata[0].process.spawn();
    assert_eq!(cluster.wait_for_leader(), 0);
    cluster.metadata[1].start();
    cluster.agents[0].start();

    let mut connection = cluster.agents[0].connect();
    connection.create_topic("once", 1, &[]);
    let (producer, epoch) = connection.producer_id();
    let first = connection.produce("once", 0, batch((producer, epoch, 0), 1));
    assert_eq!(first, (0, 0, -1));
    // The leader hears everything, and nobody hears it.
    let swallowed = Conditions {
        flow: Flow::Swallow,
        ..Conditions::default()
    };
    proxy.set(Direction::ToClient, swallowed);
    let request = produce_request("once", 0, -1, batch((producer, epoch, 1), 3));
    let correlation = connection.send(9, &request);
    let begun = Instant::now();
    while journaled(&cluster, producer, 1) == 0 {
        assert!(begun.elapsed() < PATIENCE, "the leader journals the commit");
    }
    let answer = connection.answer(Duration::from_millis(100));
    assert_eq!(answer, Answer::Silence, "the leader's answer is lost");
    cluster.metadata[0].process.kill();
    let killed = Instant::now();
    assert_eq!(cluster.wait_for_leader(), 1);
    let second = first_result(&connection.receive::<ProduceRequest>(9, correlation));
    assert_eq!(
        second,
        (0, 1, -1),
        "the successor answers for the dead leader"
    );
    println!("answered {:.1?} after the leader's death", killed.elapsed());
    assert_eq!(
        journaled(&cluster, producer, 1),
        1,
        "it is not decided again"
    );

    cluster.agents[0].wait_ready();
    let third = connection.produce("once", 0, batch((producer, epoch, 4), 1));
    assert_eq!(third, (0, 4, -1), "the producer goes on behind it");
    assert_eq!(connection.end_offset("once", 0), 5);
    let mut offsets = Vec::new();
    while offsets.len() < 5 {
        let next = i64::try_from(offsets.len()).expect("few");
        let data = connection.fetch("once", 0, next, Ask::default());
        assert_eq!(data.error_code, 0, "from {next}");
        offsets.extend(records(&data).into_iter().map(|(offset, _)| offset));
        assert!(begun.elapsed() < 2 * PATIENCE, "records after {offsets:?}");
    }
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
}
