//! The network between one agent and the rest fails: what it sends is held, or thrown away without a word,
//! its connections are closed or reset. It sends its clients away, says so, and comes back by itself; nothing
//! acknowledged is lost, doubled or reordered.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::time::{Duration, Instant};

use aquifer_tests::{
    clients::Client,
    cluster::{Cluster, agent},
    gaps::longest,
    load::Load,
    process::{http_get, http_status},
    proxy::{Admission, Conditions, Flow, Proxy},
};

/// An agent fences itself after 10 s without a sign of the bucket or the leader; a busy machine is slower.
const NOTICED: Duration = Duration::from_secs(40);
const BACK: Duration = Duration::from_secs(40);

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
