//! Real clients share a topic: Java, librdkafka (Python), kafkajs and kcat, in groups of both protocols, of several
//! assignors, static, mixed. Members join, are killed, are stopped past their session, leave and come back. After each
//! change every partition has one owner, who never shares it; every record is processed, and twice only where a
//! member was killed or stopped.
//!
//! All groups go through it side by side, in a process per client and generation of members.
//! `AQUIFER_TEST_GROUP_ROUNDS` (default 1) sets how often members come and go.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use aquifer_tests::{
    batches::{PLAIN, batch},
    broker::DevBroker,
    groups::{group_id, text},
    members::{Host, Kind, Log, Member, Said, violations},
    wire::Connection,
};
use kafka_protocol::messages::{
    IncrementalAlterConfigsRequest, ListGroupsRequest,
    incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
};

const TOPIC: &str = "shared";
const PARTITIONS: i32 = 6;
/// How long a change may take: a session of 6 s, heartbeats, a rebalance, and a client's start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(45);
/// Sessions as short as Kafka's defaults let classic members have them, for consumer groups too.
const BROKER: &str = "group.initial.rebalance.delay.ms=0;\
    group.consumer.min.session.timeout.ms=6000;group.consumer.session.timeout.ms=6000;\
    group.consumer.min.heartbeat.interval.ms=1000;group.consumer.heartbeat.interval.ms=1000";

const CLASSIC: [&str; 2] = ["session.timeout.ms=6000", "heartbeat.interval.ms=1000"];
/// Members that come back before anybody misses them.
const STATIC: [&str; 2] = ["session.timeout.ms=40000", "heartbeat.interval.ms=1000"];
const MODERN: &[&str] = &["group.protocol=consumer"];
const JAVA_RANGE: &str =
    "partition.assignment.strategy=org.apache.kafka.clients.consumer.RangeAssignor";
const JAVA_COOPERATIVE: &str =
    "partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
const RANGE: &str = "partition.assignment.strategy=range";
const COOPERATIVE: &str = "partition.assignment.strategy=cooperative-sticky";

/// What becomes of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// They are there from the beginning to the end.
    Stays,
    /// They are killed.
    Killed,
    /// They take the place of those that were killed, are stopped, go on, and leave.
    Stopped,
    /// They are the static ones of those that left.
    Again,
}

/// The members of a client with a role: two of each group that stay, one that comes and goes.
fn members(kind: Kind, role: Role, round: usize) -> Vec<Member> {
    let classic = |more: &'static str| [&CLASSIC[..], &[more]].concat();
    let fixed = |more: &'static str| [&STATIC[..], &[more]].concat();
    let groups: Vec<(&str, Vec<&str>)> = match kind {
        Kind::Java => {
            let changing = |a: Vec<&'static str>, others: Vec<&'static str>| {
                if role == Role::Stays { a } else { others }
            };
            vec![
                ("java-range", classic(JAVA_RANGE)),
                ("java-cooperative", classic(JAVA_COOPERATIVE)),
                ("java-uniform", MODERN.to_vec()),
                (
                    "java-server-range",
                    [MODERN, &["group.remote.assignor=range"]].concat(),
                ),
                ("java-regex", [MODERN, &["test.regex=sha.*"]].concat()),
                ("upgraded", changing(classic(JAVA_RANGE), MODERN.to_vec())),
                ("joined", changing(MODERN.to_vec(), classic(JAVA_RANGE))),
                ("everyone", classic(JAVA_RANGE)),
                ("java-static", fixed(JAVA_RANGE)),
                ("java-modern-static", MODERN.to_vec()),
            ]
        }
        Kind::Python => vec![
            ("python-range", classic(RANGE)),
            ("python-cooperative", classic(COOPERATIVE)),
            ("python-uniform", MODERN.to_vec()),
            ("everyone", classic(RANGE)),
            ("python-static", fixed(RANGE)),
        ],
        Kind::Kafkajs => vec![(
            "kafkajs",
            vec![
                "sessionTimeout=6000",
                "heartbeatInterval=1000",
                "rebalanceTimeout=10000",
            ],
        )],
        Kind::Kcat => vec![("kcat", CLASSIC.to_vec())],
    };
    let mut members = Vec::new();
    for (group, settings) in groups {
        // one that is killed must not come back before its session is over (UNRELEASED_INSTANCE_ID)
        if is_modern_static(group) && role == Role::Killed {
            continue;
        }
        if role == Role::Again && !group.ends_with("static") {
            continue;
        }
        let two = role == Role::Stays && group != "everyone";
        let count = if two { 2 } else { 1 };
        for index in 0..count {
            let mut settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
            if group.ends_with("static") {
                // all that come and go are the same member
                let who = if role == Role::Stays {
                    "stays"
                } else {
                    "comes"
                };
                settings.push(format!("group.instance.id={group}-{who}-{index}"));
            }
            members.push(Member {
                name: format!("{group}-{kind:?}-{role:?}{round}-{index}"),
                group: group.to_owned(),
                settings,
            });
        }
    }
    members
}

fn is_modern_static(group: &str) -> bool {
    group.ends_with("modern-static")
}

fn is_static(member: &Member) -> bool {
    member.group.ends_with("static")
}

fn is_classic_static(member: &Member) -> bool {
    is_static(member) && !is_modern_static(&member.group)
}

/// A generation of members of all clients.
#[derive(Default)]
struct Generation(Vec<Host>);

impl Generation {
    fn start(broker: &DevBroker, role: Role, round: usize, log: &Log) -> Self {
        let mut hosts = Vec::new();
        for kind in &ALL {
            let members = members(*kind, role, round);
            let at_once = if *kind == Kind::Kcat {
                1
            } else {
                members.len().max(1)
            };
            for some in members.chunks(at_once) {
                let bootstrap = broker.bootstrap();
                hosts.push(Host::start(*kind, &bootstrap, TOPIC, some.to_vec(), log));
            }
        }
        Self(hosts)
    }

    fn members(&self) -> Vec<Member> {
        self.0
            .iter()
            .flat_map(|host| host.members.clone())
            .collect()
    }

    fn leave(self) {
        for host in self.0 {
            host.leave();
        }
    }
}

const ALL: [Kind; 4] = [Kind::Java, Kind::Python, Kind::Kafkajs, Kind::Kcat];

/// Produces to every partition five times a second until it is told to stop; then says where partitions end.
fn produce(broker: &DevBroker, stop: &Arc<AtomicBool>) -> JoinHandle<Vec<i64>> {
    let (address, stop) = (broker.address(), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut connection = Connection::open(address);
        let mut ends = vec![0; usize::try_from(PARTITIONS).expect("few")];
        while !stop.load(Ordering::Relaxed) {
            for (partition, end) in (0..).zip(&mut ends) {
                let (error, offset, _) = connection.produce(TOPIC, partition, batch(PLAIN, 1));
                assert_eq!((error, offset), (0, *end), "nobody else produces");
                *end += 1;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        ends
    })
}

struct Run {
    broker: DevBroker,
    log: Log,
    staying: Generation,
    /// Static members that came again last.
    again: Generation,
    /// Groups by member, of all that ever were.
    groups: BTreeMap<String, String>,
}

impl Run {
    /// Waits until the groups are balanced; `without`: members that stay away.
    fn balanced(&self, what: &str, come: Option<&Generation>, without: fn(&Member) -> bool) {
        let come = come.map(Generation::members).unwrap_or_default();
        let all = self.staying.members().into_iter().chain(come);
        let live: Vec<Member> = all.filter(|member| !without(member)).collect();
        let partitions = usize::try_from(PARTITIONS).expect("few");
        let took = self.log.wait_balanced(&live, partitions, PATIENCE);
        let last = took.iter().max_by_key(|(_, took)| **took);
        println!("{what}: balanced, the last one was {last:.2?}");
    }

    fn start(&mut self, role: Role, round: usize) -> Generation {
        let started = Generation::start(&self.broker, role, round, &self.log);
        for member in started.members() {
            self.groups.insert(member.name, member.group);
        }
        started
    }

    /// How often members that stay, those of `which` groups, were told what they have.
    fn told(&self, which: fn(&Member) -> bool) -> usize {
        let staying = self.staying.members();
        let names: BTreeSet<&str> = staying
            .iter()
            .filter(|member| which(member))
            .map(|member| member.name.as_str())
            .collect();
        let events = self.log.so_far();
        let told = events.iter().filter(|event| {
            matches!(event.said, Said::Owns(_)) && names.contains(event.member.as_str())
        });
        told.count()
    }

    /// What members of static groups have, by group.
    fn fixed(&self, generation: &Generation) -> BTreeMap<String, BTreeSet<i32>> {
        let owned = self.log.owned();
        let members = generation.members().into_iter();
        let fixed = members.filter(is_static);
        fixed
            .map(|member| {
                let has = owned.get(&member.name).cloned().unwrap_or_default();
                (member.group, has)
            })
            .collect()
    }
}

/// Type and state of a group.
fn listed(broker: &DevBroker, group: &str) -> (String, String) {
    let mut connection = Connection::open(broker.address());
    let answer = connection.call(5, &ListGroupsRequest::default());
    let mut groups = answer.groups.into_iter();
    let found = groups.find(|found| found.group_id == group_id(group));
    let found = found.unwrap_or_else(|| panic!("{group} is not listed"));
    (found.group_type.to_string(), found.group_state.to_string())
}

/// Sets a longer session on a consumer group.
fn set_session(broker: &DevBroker, group: &str) {
    let config = AlterableConfig::default()
        .with_name(text("consumer.session.timeout.ms"))
        .with_value(Some(text("40000")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(32)
        .with_resource_name(text(group))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = Connection::open(broker.address()).call(1, &request);
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

fn rounds() -> usize {
    std::env::var("AQUIFER_TEST_GROUP_ROUNDS").map_or(1, |text| text.parse().expect("a number"))
}

#[test]
fn every_partition_has_one_owner_after_each_change_and_every_record_is_processed() {
    let broker = DevBroker::start_with(&[("AQUIFER_BROKER_CONFIG", BROKER)]);
    Connection::open(broker.address()).create_topic(TOPIC, PARTITIONS, &[]);
    set_session(&broker, "java-modern-static");
    let stop = Arc::new(AtomicBool::new(false));
    let producer = produce(&broker, &stop);
    let mut run = Run {
        broker,
        log: Log::default(),
        staying: Generation::default(),
        again: Generation::default(),
        groups: BTreeMap::new(),
    };
    run.staying = run.start(Role::Stays, 0);
    run.balanced("start", None, |_| false);
    for round in 0..rounds() {
        come_and_go(&mut run, round);
    }
    stop.store(true, Ordering::Relaxed);
    let ends = producer.join().expect("everything is produced");
    let groups = run.groups.clone();
    run.log.wait_processed(&groups, &ends);
    std::mem::take(&mut run.staying).leave();
    std::mem::take(&mut run.again).leave();
    let events = run.log.so_far();
    let failed = events
        .iter()
        .filter(|event| matches!(event.said, Said::Failed(_)))
        .count();
    println!("{} things said, {failed} commits went again", events.len());
    let wrong = violations(&events, &groups, &ends);
    assert!(
        wrong.is_empty(),
        "{} violations: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(30)]
    );
}

fn come_and_go(run: &mut Run, round: usize) {
    std::mem::take(&mut run.again).leave();
    let mut killed = run.start(Role::Killed, round);
    run.balanced("joined", Some(&killed), |member| {
        is_modern_static(&member.group)
    });
    assert_eq!(listed(&run.broker, "upgraded").0, "consumer");
    assert_eq!(listed(&run.broker, "java-range").1, "Stable");
    let (told, had) = (run.told(is_classic_static), run.fixed(&killed));
    killed.0.iter_mut().for_each(Host::kill);
    run.balanced("killed", None, is_static);
    let only_classic = listed(&run.broker, "upgraded").0;
    assert_eq!(only_classic, "classic", "its last modern member is gone");

    let mut back = run.start(Role::Stopped, round);
    run.balanced("back", Some(&back), |_| false);
    assert_eq!(listed(&run.broker, "upgraded").0, "consumer");
    let mut has = run.fixed(&back);
    let moved = run.told(is_classic_static) - told;
    assert_eq!(moved, 0, "static members that come back move nobody");
    has.retain(|group, _| !is_modern_static(group));
    assert_eq!(has, had, "static members get what they had");

    let (told, had) = (run.told(is_static), run.fixed(&back));
    back.0.iter_mut().for_each(Host::pause);
    run.balanced("stopped", None, is_static);
    back.0.iter_mut().for_each(Host::resume);
    // Kafka, too, answers a modern member GROUP_ID_NOT_FOUND whose group was downgraded meanwhile, which ends it.
    run.balanced("went on", Some(&back), |member| {
        is_static(member) || (member.group == "upgraded" && !member.name.contains("Stays"))
    });
    let moved = run.told(is_static) - told;
    assert_eq!(moved, 0, "a stop within the session moves no static member");
    back.leave();
    run.balanced("left", None, is_static);

    run.again = run.start(Role::Again, round);
    run.balanced("static members again", Some(&run.again), |_| false);
    let moved = run.told(is_static) - told;
    assert_eq!(moved, 0, "static members that restart move nobody");
    assert_eq!(run.fixed(&run.again), had, "they get what they had");
}
