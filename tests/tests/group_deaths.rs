//! Groups outlive what coordinates them. An agent that dies moves no member: others pass its calls on. A leader that
//! dies in any phase of a rebalance leaves groups to its successor that become stable without losing a member, a
//! partition or a committed offset; one that was deposed answers no older offset.
//!
//! `AQUIFER_TEST_GROUP_DEATHS` (default 1) sets how many leaders die or are stopped in each test.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aquifer_metadata_api::{
    Metadata, MetadataError,
    kafka::{Envelope, KafkaCall, LeaderApi, pinned_version},
};
use aquifer_tests::{
    batches::{PLAIN, batch},
    cluster::{Cluster, Member as Process, agent, client_of, metadata_process_behind},
    groups::{Classic, code, commit, offset_fetch},
    members::{Host, Kind, Log, Member, Said},
    proxy::{Conditions, Proxy},
    wire::Connection,
};
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{LeaveGroupRequest, OffsetCommitRequest, OffsetFetchResponse},
    protocol::{Decodable, Encodable},
};

use phases::{Phases, group, march};

#[path = "group_deaths/phases.rs"]
mod phases;

const TOPIC: &str = "phases";
const PARTITIONS: i32 = 6;
const PATIENCE: Duration = Duration::from_secs(60);
/// Codes after which clients ask again: the coordinator loads, is not available, is another one.
const AGAIN: [i16; 3] = [14, 15, 16];

/// Ends what goes on in another thread, also where a test fails.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn rounds() -> usize {
    std::env::var("AQUIFER_TEST_GROUP_DEATHS").map_or(1, |text| text.parse().expect("a number"))
}

// An agent dies.

fn clients() -> [(Kind, Vec<Member>); 2] {
    let member = |group: &str, index: usize, settings: &[&str]| Member {
        name: format!("{group}-{index}"),
        group: group.to_owned(),
        settings: settings.iter().map(|s| (*s).to_owned()).collect(),
    };
    let two = |group: &str, settings: &[&str]| [0, 1].map(|index| member(group, index, settings));
    let classic = ["session.timeout.ms=10000", "heartbeat.interval.ms=1000"];
    let modern = ["group.protocol=consumer"];
    [
        (
            Kind::Java,
            [two("java", &classic), two("java-modern", &modern)].concat(),
        ),
        (
            Kind::Python,
            [two("python", &classic), two("python-modern", &modern)].concat(),
        ),
    ]
}

/// How often members were told what they have, or came into another generation.
fn moves(log: &Log) -> usize {
    let events = log.so_far();
    let moves = events
        .iter()
        .filter(|event| matches!(event.said, Said::Owns(_) | Said::Generation(_)));
    moves.count()
}

/// Produces to all partitions for some seconds; `ends` are where they end.
fn produce_for(agent: &Process, seconds: u64, ends: &mut [i64]) {
    let mut connection = agent.connect();
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        for (partition, end) in (0..).zip(&mut *ends) {
            let (error, offset, _) = connection.produce("alive", partition, batch(PLAIN, 1));
            assert_eq!((error, offset), (0, *end), "nobody else produces");
            *end += 1;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_agent_that_dies_moves_no_member() {
    let mut cluster = Cluster::start(&["a", "a"], 1, "none");
    cluster.agents[0]
        .connect()
        .create_topic("alive", PARTITIONS, &[]);
    let log = Log::default();
    let bootstrap = cluster.bootstrap();
    let hosts =
        clients().map(|(kind, members)| Host::start(kind, &bootstrap, "alive", members, &log));
    let members: Vec<Member> = hosts.iter().flat_map(|host| host.members.clone()).collect();
    let groups: BTreeMap<String, String> = members
        .iter()
        .map(|member| (member.name.clone(), member.group.clone()))
        .collect();
    let took = log.wait_balanced(&members, 6, PATIENCE);
    println!("balanced: {took:.1?}");
    let mut ends = [0; 6];
    produce_for(&cluster.agents[0], 2, &mut ends);
    log.wait_processed(&groups, &ends);
    // the members' coordinator is one of the two
    let before = moves(&log);
    for dies in [0, 1] {
        cluster.agents[dies].process.kill();
        // longer than a session
        produce_for(&cluster.agents[1 - dies], 13, &mut ends);
        log.wait_processed(&groups, &ends);
        assert_eq!(moves(&log), before, "agent {dies} died, and somebody moved");
        cluster.agents[dies].start();
        // by then clients have heard of it
        produce_for(&cluster.agents[1 - dies], 4, &mut ends);
        println!("agent {dies} died: no member moved, all records were processed");
    }
    let owners = log.owned();
    let held: usize = owners.values().map(BTreeSet::len).sum();
    assert_eq!(held, 24, "four groups have all partitions: {owners:?}");
    hosts.into_iter().for_each(Host::leave);
}

// A leader dies.

#[test]
fn groups_are_stable_after_their_leader_died_in_any_phase_of_a_rebalance() {
    let mut cluster = Cluster::start(&["a"], 2, "none");
    cluster.agents[0]
        .connect()
        .create_topic(TOPIC, PARTITIONS, &[]);
    for round in 0..rounds() {
        let (stop, mut marching) = (AtomicBool::new(false), cluster.agents[0].connect());
        let phases = Phases::begin(&cluster.agents[0], round);
        let last = std::thread::scope(|scope| {
            let marched = scope.spawn(|| march(&mut marching, &group("marching", round), &stop));
            let until = Until(&stop);
            let leader = cluster.wait_for_leader();
            cluster.metadata[leader].process.kill();
            let killed = Instant::now();
            cluster.wait_for_leader();
            cluster.metadata[leader].process.spawn();
            println!(
                "round {round}: another one leads after {:.1?}",
                killed.elapsed()
            );
            phases.end(&cluster.agents[0], round);
            println!(
                "round {round}: every group is stable after {:.1?}",
                killed.elapsed()
            );
            drop(until);
            marched.join().expect("no committed offset went back")
        });
        let found = cluster.agents[0]
            .connect()
            .committed(&group("marching", round), TOPIC, 0);
        assert_eq!(found, last, "what was acknowledged is there");
        println!("round {round}: {last} commits, none lost");
    }
}

// A leader is deposed.

/// An OffsetFetch as agents send it to the leader.
fn fetch_call(group: &str) -> KafkaCall {
    let request = offset_fetch(group, Some((TOPIC, &[0])));
    let api = LeaderApi::OffsetFetch;
    let mut body = BytesMut::new();
    request
        .encode(&mut body, pinned_version(api))
        .expect("a request of that version");
    let envelope = Envelope {
        client_api_key: api.api_key(),
        client_api_version: 9,
        principal: "User:ANONYMOUS".to_owned(),
        client_id: "aquifer-tests".to_owned(),
        host: "127.0.0.1".to_owned(),
        zone: String::new(),
        listener: String::new(),
        deadline_ms: 30_000,
        call_id: 7,
    };
    KafkaCall {
        api,
        envelope,
        body: body.freeze(),
    }
}

fn fetched(mut body: Bytes) -> i64 {
    let answer = OffsetFetchResponse::decode(&mut body, pinned_version(LeaderApi::OffsetFetch));
    let answer = answer.expect("a response of that version");
    let group = &answer.groups[0];
    assert_eq!(group.error_code, 0, "{answer:?}");
    group.topics[0].partitions[0].committed_offset
}

/// Commits through the agent, however often it takes.
fn commit_until_taken(connection: &mut Connection, offset: i64) {
    let begun = Instant::now();
    loop {
        let code = connection.commit(&commit("deposed", ("", -1), TOPIC, &[(0, offset)]));
        if code == 0 {
            return;
        }
        assert!(AGAIN.contains(&code), "a commit: {code}");
        assert!(begun.elapsed() < PATIENCE, "a commit: {code}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Exact reads that wait in the stopped leader's socket.
const READS: usize = 50;

#[test]
fn a_deposed_leader_answers_no_older_offset() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads");
    let mut cluster = Cluster::start(&["a"], 2, "none");
    let mut connection = cluster.agents[0].connect();
    connection.create_topic(TOPIC, 1, &[]);
    for round in 0..i64::try_from(rounds()).expect("few") {
        let old = cluster.wait_for_leader();
        let (before, after) = (2 * round + 1, 2 * round + 2);
        commit_until_taken(&mut connection, before);
        let to_old = Arc::new({
            let _entered = runtime.enter();
            client_of(cluster.metadata[old].port)
        });
        let first = runtime.block_on(to_old.kafka(fetch_call("deposed")));
        assert_eq!(fetched(first.expect("the leader answers")), before);
        cluster.metadata[old].process.pause();
        let paused = Instant::now();
        commit_until_taken(&mut connection, after);
        let took_over = paused.elapsed();
        // These are sent now, over the connection that is open, and answered once it goes on.
        let reads: Vec<_> = (0..READS)
            .map(|_| {
                let to_old = Arc::clone(&to_old);
                runtime.spawn(async move { to_old.kafka(fetch_call("deposed")).await })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        cluster.metadata[old].process.resume();
        let mut refused = 0;
        for read in reads {
            match runtime.block_on(read).expect("a read does not panic") {
                Ok(body) => assert_eq!(fetched(body), after, "an older offset"),
                Err(MetadataError::Unavailable { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        println!("round {round}: taken over after {took_over:.1?}; {refused} of {READS} refused");
    }
}

// A leader that answers late.

#[test]
fn the_last_of_100_pipelined_commits_wins_under_a_leader_with_random_delays() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads");
    let mut cluster = Cluster::prepare(&["a"], 1, "none");
    let port = cluster.metadata[0].port;
    let proxy = runtime.block_on(Proxy::start(([127, 0, 0, 1], port).into()));
    let proxy = proxy.expect("a proxy");
    let (database, bucket) = (cluster.database.url.clone(), cluster.s3.url());
    let behind = proxy.address().port();
    cluster.metadata[0] = metadata_process_behind("metadata 0", &database, &bucket, port, behind);
    cluster.agents[0] = agent("agent 0", "a", &proxy.address().to_string(), &bucket);
    cluster.start_all();
    let mut connection = cluster.agents[0].connect();
    connection.create_topic(TOPIC, 1, &[]);
    let mut member = Classic::new("pipelined", TOPIC);
    connection.alone(&mut member, TOPIC, &[0]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _until = Until(&stop);
        scope.spawn(|| {
            let mut state = 0x9e37_79b9_u64;
            while !stop.load(Ordering::Relaxed) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                proxy.set_both(Conditions {
                    delay: Duration::from_millis(state % 30),
                    ..Conditions::default()
                });
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let sent: Vec<i32> = (1..=100)
            .map(|offset| connection.send(9, &member.commit(TOPIC, 0, offset)))
            .collect();
        for sent in sent {
            let answer = connection.receive::<OffsetCommitRequest>(9, sent);
            assert_eq!(answer.topics[0].partitions[0].error_code, 0, "{answer:?}");
        }
        assert_eq!(connection.committed("pipelined", TOPIC, 0), 100);
        let commits = connection.send(9, &member.commit(TOPIC, 0, 101));
        let leaves = connection.send(5, &member.leave());
        let late = connection.send(9, &member.commit(TOPIC, 0, 102));
        let answer = connection.receive::<OffsetCommitRequest>(9, commits);
        assert_eq!(
            answer.topics[0].partitions[0].error_code, 0,
            "it came first"
        );
        let answer = connection.receive::<LeaveGroupRequest>(5, leaves);
        assert_eq!(answer.members[0].error_code, 0, "{answer:?}");
        let answer = connection.receive::<OffsetCommitRequest>(9, late);
        let code = answer.topics[0].partitions[0].error_code;
        assert_eq!(code, code::UNKNOWN_MEMBER_ID, "it came last");
        assert_eq!(connection.committed("pipelined", TOPIC, 0), 101);
    });
}
