//! Groups in every phase of a rebalance, and members that do what clients do until their group is stable.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aquifer_tests::{
    cluster::Member as Process,
    groups::{
        Classic, Modern, assigned, code, commit, group_id, offset_fetch, settle, share,
        subscription,
    },
    wire::Connection,
};
use bytes::Bytes;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest,
};

use crate::{AGAIN, PARTITIONS, PATIENCE, TOPIC};

/// What members of a group have, with their generation or epoch.
type Table = Mutex<BTreeMap<String, (i32, BTreeSet<i32>)>>;

/// Whether all members are there, in one generation, and have everything once.
fn is_settled(table: &Table, members: usize) -> bool {
    let table = table.lock().expect("no member panics");
    let generations: BTreeSet<i32> = table.values().map(|(generation, _)| *generation).collect();
    let held: Vec<i32> = table.values().flat_map(|(_, has)| has.clone()).collect();
    let all: BTreeSet<i32> = held.iter().copied().collect();
    table.len() == members && generations.len() == 1 && all.len() == 6 && held.len() == 6
}

fn note(table: &Table, member: &str, generation: i32, has: BTreeSet<i32>) {
    let mut table = table.lock().expect("no member panics");
    for (other, (theirs, had)) in &*table {
        let both: Vec<_> = had.intersection(&has).collect();
        let one_time = other == member || (*theirs != generation && generation >= 0);
        assert!(
            one_time || both.is_empty(),
            "{other} and {member} have {both:?}"
        );
    }
    table.insert(member.to_owned(), (generation, has));
}

/// What a classic member does next. A number is that of a request whose answer it waits for.
enum Step {
    /// Heartbeats.
    Beat,
    /// Joins.
    Join(Option<i32>),
    /// Syncs, with the assignments that it makes.
    Sync(Option<i32>, Vec<(String, Bytes)>),
}

/// A classic member until its group is stable: it does what clients do. It must never be told that it is no member.
fn classic(
    (connection, member): (&mut Connection, &mut Classic),
    mut step: Step,
    table: &Table,
    members: usize,
) {
    let deadline = Instant::now() + PATIENCE;
    while !is_settled(table, members) {
        assert!(
            Instant::now() < deadline,
            "{} does not settle",
            member.group
        );
        let (name, code, next) = match step {
            Step::Beat => {
                let code = connection.call(4, &member.heartbeat()).error_code;
                ("Heartbeat", code, Step::Beat)
            }
            Step::Join(sent) => {
                table.lock().expect("no member panics").remove(&member.id);
                let sent = sent.unwrap_or_else(|| connection.send(9, &member.join()));
                let answer = connection.receive::<JoinGroupRequest>(9, sent);
                if answer.error_code == 0 {
                    member.joined(&answer);
                    step = Step::Sync(None, shares(&answer));
                    continue;
                }
                ("JoinGroup", answer.error_code, Step::Join(None))
            }
            Step::Sync(sent, shares) => {
                let sent = sent.unwrap_or_else(|| connection.send(5, &member.sync(&shares)));
                let answer = connection.receive::<SyncGroupRequest>(5, sent);
                if answer.error_code == 0 {
                    let has = assigned(answer.assignment).into_iter().collect();
                    note(table, &member.id, member.generation, has);
                    step = Step::Beat;
                    continue;
                }
                ("SyncGroup", answer.error_code, Step::Sync(None, shares))
            }
        };
        step = match code {
            code::ILLEGAL_GENERATION | code::REBALANCE_IN_PROGRESS => Step::Join(None),
            code => {
                let fine = code == 0 || AGAIN.contains(&code);
                assert!(fine, "{}: {name} {code}", member.group);
                next
            }
        };
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What the member assigns if it is the leader: only that one is told who the members are.
fn shares(answer: &JoinGroupResponse) -> Vec<(String, Bytes)> {
    let ids = answer.members.iter().map(|m| m.member_id.to_string());
    let ids: Vec<String> = ids.collect();
    if ids.is_empty() {
        return Vec::new();
    }
    share(&ids, TOPIC, PARTITIONS)
}

/// A member of a stable group lives on in its generation.
fn lives_on(connection: &mut Connection, member: &Classic) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let code = connection.call(4, &member.heartbeat()).error_code;
        if code == 0 {
            return;
        }
        assert!(AGAIN.contains(&code), "{}: Heartbeat {code}", member.group);
        assert!(Instant::now() < deadline, "{}: {code}", member.group);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A member of the consumer protocol until its group is stable.
fn modern(connection: &mut Connection, member: &mut Modern, table: &Table, members: usize) {
    let deadline = Instant::now() + PATIENCE;
    let describe =
        ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(&member.group)]);
    loop {
        assert!(
            Instant::now() < deadline,
            "{} does not settle",
            member.group
        );
        let answer = connection.call(1, &member.heartbeat());
        let code = answer.error_code;
        if code == 0 {
            member.heard(&answer);
            // -1: members of a consumer group have what they have whatever their epoch
            let has = member.indexes().into_iter().collect();
            note(table, &member.id, -1, has);
        } else {
            let text = answer.error_message;
            assert!(AGAIN.contains(&code), "{}: {code} {text:?}", member.group);
        }
        let state = connection.call(1, &describe).groups[0]
            .group_state
            .to_string();
        if state == "Stable" && is_settled(table, members) {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Commits ever higher offsets without a group's members until it is told to stop; what was acknowledged is there.
pub(crate) fn march(connection: &mut Connection, group: &str, stop: &AtomicBool) -> i64 {
    let mut offset = 0;
    while !stop.load(Ordering::Relaxed) {
        let request = commit(group, ("", -1), TOPIC, &[(0, offset + 1)]);
        match connection.commit(&request) {
            0 => offset += 1,
            code => assert!(AGAIN.contains(&code), "a commit: {code}"),
        }
        let fetched = connection.call(8, &offset_fetch(group, Some((TOPIC, &[0]))));
        let fetched = &fetched.groups[0];
        if fetched.error_code == 0 {
            let found = fetched.topics[0].partitions[0].committed_offset;
            // one that was answered as not surely done may be done
            let range = offset.max(0)..=offset + 1;
            let nothing = offset == 0 && found == -1;
            assert!(range.contains(&found) || nothing, "{found} after {offset}");
            offset = offset.max(found);
        }
    }
    offset
}

fn members(agent: &Process, group: &str, count: usize) -> Vec<(Connection, Classic)> {
    let one = |_| (agent.connect(), Classic::new(group, TOPIC));
    (0..count).map(one).collect()
}

/// Two members of the consumer protocol: both with their shares, or, if not `done`, the first one told to give some up
/// that the second waits for.
fn pair(agent: &Process, group: &str, done: bool) -> Vec<(Connection, Modern)> {
    let one = |name: &str| (agent.connect(), Modern::new(group, name, TOPIC));
    let (mut first, mut second) = (one("first"), one("second"));
    let beat = |(connection, member): &mut (Connection, Modern)| {
        let answer = connection.call(1, &member.heartbeat());
        assert_eq!(answer.error_code, 0, "{answer:?}");
        member.heard(&answer);
    };
    beat(&mut first);
    beat(&mut first);
    assert_eq!(first.1.indexes().len(), 6, "it is alone");
    beat(&mut second);
    assert_eq!(second.1.indexes().len(), 0, "nothing is free");
    beat(&mut first);
    assert_eq!(first.1.indexes().len(), 3, "it is to give three up");
    if done {
        beat(&mut first);
        beat(&mut second);
        beat(&mut second);
        assert_eq!(second.1.indexes().len(), 3, "three are free");
    }
    vec![first, second]
}

type ClassicMember = (Connection, Classic);

/// Groups in every phase, each as far as it gets before its leader dies.
pub(crate) struct Phases {
    /// By phase: members and what each does next.
    classic: BTreeMap<&'static str, Vec<(ClassicMember, Step)>>,
    stable: Vec<ClassicMember>,
    modern: Vec<Vec<(Connection, Modern)>>,
}

/// The group of a round in a phase.
pub(crate) fn group(phase: &str, round: usize) -> String {
    format!("{phase}-{round}")
}

/// A member waits for the delay before the first generation.
fn delayed(agent: &Process, round: usize) -> Vec<(ClassicMember, Step)> {
    let (mut connection, mut member) = members(agent, &group("delayed", round), 1).remove(0);
    connection.member_id(&mut member);
    let sent = connection.send(9, &member.join());
    vec![((connection, member), Step::Join(Some(sent)))]
}

/// A third member and the first one wait for the second.
fn preparing(agent: &Process, round: usize, two: Vec<ClassicMember>) -> Vec<(ClassicMember, Step)> {
    let (mut connection, mut third) = members(agent, &group("preparing", round), 1).remove(0);
    connection.member_id(&mut third);
    let sent = connection.send(9, &third.join());
    let mut all = vec![((connection, third), Step::Join(Some(sent)))];
    for (place, (mut connection, member)) in two.into_iter().enumerate() {
        let step = if place == 0 {
            Step::Join(Some(connection.send(9, &member.join())))
        } else {
            Step::Beat
        };
        all.push(((connection, member), step));
    }
    all
}

/// Both members joined again; who does not lead waits in SyncGroup for the leader.
fn completing(mut two: Vec<ClassicMember>) -> Vec<(ClassicMember, Step)> {
    let sent = two.iter_mut().map(|(connection, member)| {
        // one that says nothing new would be answered at once
        let new = subscription(&[TOPIC], &[(TOPIC, &[0])]);
        member.protocols = vec![("range".to_owned(), new)];
        connection.send(9, &member.join())
    });
    let sent: Vec<i32> = sent.collect();
    let mut all = Vec::new();
    for ((mut connection, mut member), sent) in two.into_iter().zip(sent) {
        let answer = connection.receive::<JoinGroupRequest>(9, sent);
        assert_eq!(answer.error_code, 0, "{answer:?}");
        member.joined(&answer);
        let shares = shares(&answer);
        let waits = shares.is_empty();
        let sent = waits.then(|| connection.send(5, &member.sync(&[])));
        all.push(((connection, member), Step::Sync(sent, shares)));
    }
    all
}

impl Phases {
    /// Brings groups into their phases.
    pub(crate) fn begin(agent: &Process, round: usize) -> Self {
        // each of these waits for the initial delay
        let [two, joined, stable] = std::thread::scope(|scope| {
            let threads = ["preparing", "completing", "stable"].map(|phase| {
                let mut two = members(agent, &group(phase, round), 2);
                scope.spawn(move || {
                    settle(&mut two, TOPIC, PARTITIONS);
                    for (partition, (connection, member)) in (0..).zip(&mut two) {
                        let request = member.commit(TOPIC, partition, 50);
                        assert_eq!(connection.commit(&request), 0);
                    }
                    two
                })
            });
            threads.map(|thread| thread.join().expect("the group is stable"))
        });
        let modern = [("revoking", false), ("modern", true)];
        let modern = modern.map(|(phase, done)| pair(agent, &group(phase, round), done));
        let classic = BTreeMap::from([
            ("preparing", preparing(agent, round, two)),
            ("completing", completing(joined)),
            ("delayed", delayed(agent, round)),
        ]);
        // those who wait have come that far
        std::thread::sleep(Duration::from_millis(300));
        let mut asks = agent.connect();
        for (phase, state) in [
            ("delayed", "PreparingRebalance"),
            ("preparing", "PreparingRebalance"),
            ("completing", "CompletingRebalance"),
            ("stable", "Stable"),
        ] {
            let described = asks.described(&group(phase, round));
            assert_eq!(described.group_state.as_str(), state, "{phase}");
        }
        Self {
            classic,
            stable,
            modern: modern.into(),
        }
    }

    /// Every group gets stable without losing a member, a partition or an offset.
    pub(crate) fn end(self, agent: &Process, round: usize) {
        std::thread::scope(|scope| {
            for members in self.classic.into_values() {
                let (table, count) = (Arc::new(Table::default()), members.len());
                for ((mut connection, mut member), step) in members {
                    let table = Arc::clone(&table);
                    scope.spawn(move || {
                        classic((&mut connection, &mut member), step, &table, count);
                    });
                }
            }
            for members in self.modern {
                let (table, count) = (Arc::new(Table::default()), members.len());
                for (_, member) in &members {
                    note(
                        &table,
                        &member.id,
                        -1,
                        member.indexes().into_iter().collect(),
                    );
                }
                for (mut connection, mut member) in members {
                    let table = Arc::clone(&table);
                    scope.spawn(move || modern(&mut connection, &mut member, &table, count));
                }
            }
            for (mut connection, member) in self.stable {
                lives_on(&mut connection, &member);
            }
        });
        let mut asks = agent.connect();
        for phase in ["delayed", "preparing", "completing", "stable"] {
            let group = group(phase, round);
            let described = asks.described(&group);
            assert_eq!(described.group_state.as_str(), "Stable", "{group}");
            for partition in (0..2).filter(|_| phase != "delayed") {
                let found = asks.committed(&group, TOPIC, partition);
                assert_eq!(found, 50, "{group}, {partition}");
            }
        }
    }
}
