//! Real clients that are members of groups, several in each process (`tests/clients/members.*`, kcat), and what must
//! be true of what they did.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    clients::{SHORT_LIVED, class_path, node, python},
    process::signal,
};

/// How long clients may take to leave.
const PATIENCE: Duration = Duration::from_secs(40);
/// kcat's lines have no times; they are read this much later at most.
const READ_LATE_MS: i64 = 1_000;

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// org.apache.kafka:kafka-clients.
    Java,
    /// confluent-kafka, that is librdkafka.
    Python,
    /// kafkajs.
    Kafkajs,
    /// kcat, a member per process.
    Kcat,
}

/// A member as it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, which no other one has; also its client id.
    pub name: String,
    /// Its group.
    pub group: String,
    /// The client's own settings, `name=value` each.
    pub settings: Vec<String>,
}

/// What a member said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It has these partitions from now on.
    Owns(BTreeSet<i32>),
    /// It processed a record, and commits it next.
    Processed(i32, i64),
    /// Its generation or epoch, and its member id.
    Generation(String),
    /// A commit failed.
    Failed(String),
    /// What should not be.
    Wrong(String),
    /// Nobody knows any more what it has: it was killed, or stopped.
    Struck,
    /// It is kcat and was told to leave: the record that it polls next, if one comes, is committed and not printed
    /// (`consume_cb` in kcat.c looks whether it still runs only then).
    DropsOne,
}

/// Something that a member said, and when (milliseconds since 1970).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The member's name.
    pub member: String,
    /// When.
    pub at: i64,
    /// What.
    pub said: Said,
}

/// All that members said.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<Event>>>);

/// A process with members.
#[derive(Debug)]
pub struct Host {
    /// Its members.
    pub members: Vec<Member>,
    kind: Kind,
    child: Child,
    stdin: Option<ChildStdin>,
    readers: Vec<JoinHandle<()>>,
    log: Log,
}

/// Milliseconds since 1970.
///
/// # Panics
/// If the clock stands before that.
#[must_use]
pub fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.expect("a clock of our days").as_millis()).expect("not that late")
}

impl Log {
    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.lock().expect("no panic holds the log")
    }

    /// Everything so far.
    #[must_use]
    pub fn so_far(&self) -> Vec<Event> {
        self.events().clone()
    }

    fn note(&self, member: &str, at: i64, said: Said) {
        let member = member.to_owned();
        self.events().push(Event { member, at, said });
    }

    /// What each member has now.
    #[must_use]
    pub fn owned(&self) -> BTreeMap<String, BTreeSet<i32>> {
        let mut owned = BTreeMap::new();
        for event in &*self.events() {
            match &event.said {
                Said::Owns(partitions) => owned.insert(event.member.clone(), partitions.clone()),
                Said::Struck => owned.remove(&event.member),
                _ => None,
            };
        }
        owned
    }

    /// Waits until in each group of these members every partition has exactly one owner and nobody has more than their
    /// share; how long that took, by group.
    ///
    /// # Panics
    /// If it does not come about in time.
    #[must_use]
    pub fn wait_balanced(
        &self,
        live: &[Member],
        partitions: usize,
        patience: Duration,
    ) -> BTreeMap<String, Duration> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for member in live {
            let group = groups.entry(&member.group).or_default();
            group.push(&member.name);
        }
        let begun = Instant::now();
        let mut since = BTreeMap::new();
        loop {
            let owned = self.owned();
            for (group, members) in &groups {
                if is_balanced(&owned, members, partitions) {
                    let took = begun.elapsed();
                    since.entry((*group).to_owned()).or_insert(took);
                } else {
                    since.remove(*group);
                }
            }
            if since.len() == groups.len() {
                return since;
            }
            if begun.elapsed() > patience {
                let mut text = String::new();
                for (group, members) in groups.iter().filter(|(g, _)| !since.contains_key(**g)) {
                    let has = members.iter().map(|m| (*m, owned.get(*m)));
                    let _ = writeln!(text, "{group}: {:?}", has.collect::<Vec<_>>());
                }
                panic!("not balanced after {patience:?}:\n{text}{}", self.tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn tail(&self) -> String {
        let events = self.events();
        let wrong = |e: &&Event| matches!(e.said, Said::Wrong(_) | Said::Failed(_));
        let wrong: Vec<_> = events.iter().filter(wrong).collect();
        let last = &wrong[wrong.len().saturating_sub(20)..];
        last.iter().map(|e| format!("{e:?}\n")).collect()
    }

    /// Waits until every record is processed in each of the groups: partitions end at `ends`.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn wait_processed(&self, groups: &BTreeMap<String, String>, ends: &[i64]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let missing = missing(&self.so_far(), groups, ends);
            if missing.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not processed by anybody: {:?}, of {}\n{}",
                &missing[..missing.len().min(20)],
                missing.len(),
                self.tail()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn is_balanced(
    owned: &BTreeMap<String, BTreeSet<i32>>,
    members: &[&str],
    partitions: usize,
) -> bool {
    let has = members.iter().filter_map(|member| owned.get(*member));
    let sets: Vec<&BTreeSet<i32>> = has.collect();
    let all: BTreeSet<i32> = sets.iter().copied().flatten().copied().collect();
    let count: usize = sets.iter().map(|set| set.len()).sum();
    let share = partitions.div_ceil(members.len());
    count == partitions && all.len() == partitions && sets.iter().all(|set| set.len() <= share)
}

/// Records that no member of a group processed: (group, partition, offset).
fn missing(
    events: &[Event],
    groups: &BTreeMap<String, String>,
    ends: &[i64],
) -> Vec<(String, i32, i64)> {
    let mut seen: BTreeSet<(&str, i32, i64)> = BTreeSet::new();
    for event in events {
        if let (Said::Processed(partition, offset), Some(group)) =
            (&event.said, groups.get(&event.member))
        {
            seen.insert((group, *partition, *offset));
        }
    }
    let names: BTreeSet<&str> = groups.values().map(String::as_str).collect();
    let mut missing = Vec::new();
    for group in names {
        for (partition, end) in (0..).zip(ends) {
            let unseen = (0..*end).filter(|offset| !seen.contains(&(group, partition, *offset)));
            missing.extend(unseen.map(|offset| (group.to_owned(), partition, offset)));
        }
    }
    for event in events {
        if event.said == Said::DropsOne {
            forgive_one(
                &mut missing,
                &event.member,
                groups,
                &seen_by(events, &event.member),
            );
        }
    }
    missing
}

/// What a member processed: (partition, offset).
fn seen_by(events: &[Event], member: &str) -> BTreeSet<(i32, i64)> {
    let own = events.iter().filter(|event| event.member == member);
    own.filter_map(|event| match event.said {
        Said::Processed(partition, offset) => Some((partition, offset)),
        _ => None,
    })
    .collect()
}

/// Takes the record out that this member dropped: the one behind the last that it processed of a partition.
fn forgive_one(
    missing: &mut Vec<(String, i32, i64)>,
    member: &str,
    groups: &BTreeMap<String, String>,
    seen: &BTreeSet<(i32, i64)>,
) {
    let group = groups.get(member);
    let dropped = missing.iter().position(|(of, partition, offset)| {
        let behind_its_last = offset.checked_sub(1);
        Some(of) == group && behind_its_last.is_some_and(|last| seen.contains(&(*partition, last)))
    });
    if let Some(dropped) = dropped {
        missing.remove(dropped);
    }
}

/// All that is wrong with what members did: records that nobody processed or that two members did of which neither
/// was struck, partitions that two had at once, errors of members that were not struck. `groups` says of which group each member is, `ends` where
/// partitions end.
#[must_use]
pub fn violations(
    events: &[Event],
    groups: &BTreeMap<String, String>,
    ends: &[i64],
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (group, partition, offset) in missing(events, groups, ends) {
        wrong.push(format!(
            "lost: {group} never processed {partition}/{offset}"
        ));
    }
    let struck: BTreeSet<&str> = events
        .iter()
        .filter(|event| event.said == Said::Struck)
        .map(|event| event.member.as_str())
        .collect();
    let mut by: BTreeMap<(&str, i32, i64), Vec<&str>> = BTreeMap::new();
    for event in events {
        let member = event.member.as_str();
        match &event.said {
            Said::Processed(partition, offset) if !struck.contains(member) => {
                let group = groups.get(member).map_or("?", String::as_str);
                by.entry((group, *partition, *offset))
                    .or_default()
                    .push(member);
            }
            Said::Wrong(text) if !struck.contains(member) => {
                wrong.push(format!("{member}: {text}"));
            }
            _ => {}
        }
    }
    for ((group, partition, offset), members) in by {
        if members.len() > 1 {
            wrong.push(format!(
                "twice: {group} processed {partition}/{offset} in {members:?}"
            ));
        }
    }
    wrong.extend(shared(events, groups, &struck));
    wrong
}

/// Partitions that two members of a group had at once, neither of which was struck.
fn shared(
    events: &[Event],
    groups: &BTreeMap<String, String>,
    struck: &BTreeSet<&str>,
) -> Vec<String> {
    let mut order: Vec<&Event> = events
        .iter()
        .filter(|event| !struck.contains(event.member.as_str()))
        .collect();
    // stable: what was said in one millisecond stays in the order in which it was read
    order.sort_by_key(|event| event.at);
    let mut owned: BTreeMap<&str, &BTreeSet<i32>> = BTreeMap::new();
    let mut found = Vec::new();
    for event in order {
        let Said::Owns(partitions) = &event.said else {
            continue;
        };
        let group = groups.get(&event.member);
        for (other, theirs) in &owned {
            if *other != event.member && groups.get(*other) == group {
                let both: Vec<_> = partitions.intersection(theirs).collect();
                if !both.is_empty() {
                    let member = &event.member;
                    found.push(format!("shared: {member} has {both:?}, as {other} has"));
                }
            }
        }
        owned.insert(&event.member, partitions);
    }
    found
}

impl Host {
    /// Starts members of a topic.
    ///
    /// # Panics
    /// If they cannot be started, or kcat is to have several.
    #[must_use]
    pub fn start(
        kind: Kind,
        bootstrap: &str,
        topic: &str,
        members: Vec<Member>,
        log: &Log,
    ) -> Self {
        let mut command = match kind {
            Kind::Java => {
                let mut command = Command::new("java");
                command.args(["-cp", &class_path()]).args(SHORT_LIVED);
                command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=off");
                command.arg("Members");
                command
            }
            Kind::Python => python("members.py"),
            Kind::Kafkajs => node("members.mjs"),
            Kind::Kcat => kcat(bootstrap, topic, &members),
        };
        if kind != Kind::Kcat {
            command.args([bootstrap, topic]);
            command.args(members.iter().map(|m| {
                let words = [m.name.as_str(), m.group.as_str()].into_iter();
                let all: Vec<&str> = words.chain(m.settings.iter().map(String::as_str)).collect();
                all.join(";")
            }));
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client can be started (tests/run --deps installs it)");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("its output is a pipe");
        let stderr = child.stderr.take().expect("its errors are a pipe");
        let readers = if kind == Kind::Kcat {
            let name = members[0].name.clone();
            vec![
                reader(stdout, log, name.clone(), kcat_record),
                reader(stderr, log, name, kcat_rebalance),
            ]
        } else {
            vec![
                reader(stdout, log, String::new(), line),
                reader(stderr, log, String::new(), |_, _| None),
            ]
        };
        Self {
            members,
            kind,
            child,
            stdin,
            readers,
            log: log.clone(),
        }
    }

    /// SIGKILL. What its members did last may be done again by others.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
        self.end();
        self.strike();
    }

    /// SIGSTOP, as for [`Self::kill`].
    pub fn pause(&mut self) {
        signal(self.child.id(), "STOP");
        self.strike();
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        signal(self.child.id(), "CONT");
    }

    fn strike(&self) {
        for member in &self.members {
            self.log.note(&member.name, unix_millis(), Said::Struck);
        }
    }

    /// Lets all members leave, and waits for their end.
    ///
    /// # Panics
    /// If that takes too long or goes wrong.
    pub fn leave(mut self) {
        if self.kind == Kind::Kcat {
            for member in &self.members {
                self.log.note(&member.name, unix_millis(), Said::DropsOne);
            }
            signal(self.child.id(), "TERM");
        } else {
            let stdin = self.stdin.as_mut().expect("its input is a pipe");
            stdin.write_all(b"leave\n").expect("it reads orders");
        }
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "{:?} does not leave", self.kind);
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{:?}: {status}", self.kind);
        self.end();
        for member in &self.members {
            let gone = Said::Owns(BTreeSet::new());
            self.log.note(&member.name, unix_millis(), gone);
        }
    }

    /// Waits until all that it said is in the log.
    fn end(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().expect("reading does not panic");
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kcat(bootstrap: &str, topic: &str, members: &[Member]) -> Command {
    let [member] = members else {
        panic!("kcat is one member");
    };
    let mut command = Command::new("kcat");
    command.args(["-b", bootstrap, "-u", "-f", "%p %o\n"]);
    let client_id = format!("client.id={}", member.name);
    let own = ["auto.offset.reset=earliest", client_id.as_str()];
    for setting in own
        .into_iter()
        .chain(member.settings.iter().map(String::as_str))
    {
        command.args(["-X", setting]);
    }
    // -E: without it kcat ends as soon as all its connections are down
    command.args(["-E", "-G", &member.group, topic]);
    command
}

type Parse = fn(&str, &str) -> Option<Event>;

fn reader(
    from: impl Read + Send + 'static,
    log: &Log,
    name: String,
    parse: Parse,
) -> JoinHandle<()> {
    let log = log.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if let Some(event) = parse(&name, &line) {
                log.events().push(event);
            }
        }
    })
}

/// A line of `members.py` and its siblings.
fn line(_: &str, line: &str) -> Option<Event> {
    let mut words = line.splitn(4, ' ');
    let kind = words.next()?;
    let member = words.next()?.to_owned();
    let at = words.next()?.parse().ok()?;
    let rest = words.next()?;
    let said = match kind {
        "O" => Said::Owns(
            rest.split(',')
                .filter_map(|word| word.parse().ok())
                .collect(),
        ),
        "M" => {
            let (partition, offset) = rest.split_once(' ')?;
            Said::Processed(partition.parse().ok()?, offset.parse().ok()?)
        }
        "G" => Said::Generation(rest.to_owned()),
        "F" => Said::Failed(rest.to_owned()),
        "E" => Said::Wrong(rest.to_owned()),
        _ => return None,
    };
    Some(Event { member, at, said })
}

fn kcat_record(name: &str, line: &str) -> Option<Event> {
    let (partition, offset) = line.split_once(' ')?;
    Some(Event {
        member: name.to_owned(),
        at: unix_millis(),
        said: Said::Processed(partition.parse().ok()?, offset.parse().ok()?),
    })
}

/// `% Group g rebalanced (memberid m): assigned: t [0], t [1]`
fn kcat_rebalance(name: &str, line: &str) -> Option<Event> {
    let (head, list) = line.strip_prefix("% Group ")?.split_once("): ")?;
    let member = name.to_owned();
    if !head.contains(" rebalanced (") {
        return None;
    }
    let (what, list) = list.split_once(": ")?;
    let partitions = list.split(['[', ']']).filter_map(|word| word.parse().ok());
    let (at, owned) = match what {
        "assigned" => (unix_millis(), partitions.collect()),
        // it was said before the others could get them, and is read later
        "revoked" => (unix_millis() - READ_LATE_MS, BTreeSet::new()),
        _ => return None,
    };
    let said = Said::Owns(owned);
    Some(Event { member, at, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owns(member: &str, at: i64, partitions: &[i32]) -> Event {
        let said = Said::Owns(partitions.iter().copied().collect());
        let member = member.to_owned();
        Event { member, at, said }
    }

    fn processed(member: &str, partition: i32, offset: i64) -> Event {
        Event {
            member: member.to_owned(),
            at: 50,
            said: Said::Processed(partition, offset),
        }
    }

    fn check(events: &[Event], expected: &[&str]) {
        let groups = ["a", "b"].map(|name| (name.to_owned(), "g".to_owned()));
        let found = violations(events, &BTreeMap::from(groups), &[2]);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn bad_runs_are_found() {
        let good = [processed("a", 0, 0), processed("b", 0, 1)];
        check(&good, &[]);
        check(&good[..1], &["lost: g never processed 0/1"]);
        let twice = [good.to_vec(), vec![processed("a", 0, 1)]].concat();
        check(&twice, &["twice: g processed 0/1"]);
        let struck = Event {
            member: "a".to_owned(),
            at: 9,
            said: Said::Struck,
        };
        check(&[twice, vec![struck]].concat(), &[]);
        let shared = [owns("a", 1, &[0, 1]), owns("b", 2, &[1])];
        check(&[&good[..], &shared].concat(), &["shared: b has [1]"]);
        let handed = [
            owns("b", 3, &[1]),
            owns("a", 2, &[0]),
            owns("a", 1, &[0, 1]),
        ];
        check(&[&good[..], &handed].concat(), &[]);
    }

    #[test]
    fn kcat_drops_one_record_when_it_is_told_to_leave() {
        let groups = BTreeMap::from([("a".to_owned(), "g".to_owned())]);
        let leaves = Event {
            member: "a".to_owned(),
            at: 9,
            said: Said::DropsOne,
        };
        for (seen, expected) in [
            (&[processed("a", 0, 0)][..], 0),
            // more than one, and one that it cannot have had
            (&[processed("a", 0, 1)], 1),
        ] {
            let events = [seen, std::slice::from_ref(&leaves)].concat();
            let lost = missing(&events, &groups, &[2]);
            assert_eq!(lost.len(), expected, "{lost:?}");
        }
    }

    #[test]
    fn lines_are_read() {
        let read = |text: &str| line("", text);
        assert_eq!(read("O a 1 3,1"), Some(owns("a", 1, &[1, 3])));
        assert_eq!(read("O a 1 -"), Some(owns("a", 1, &[])));
        assert_eq!(read("M a 50 2 7"), Some(processed("a", 2, 7)));
        assert_eq!(read("nothing of ours"), None);
        let event = kcat_rebalance(
            "a",
            "% Group g rebalanced (memberid m): assigned: t [2], t [0]",
        );
        assert_eq!(event.map(|e| e.said), Some(owns("a", 0, &[0, 2]).said));
        assert_eq!(kcat_rebalance("a", "% Waiting for group rebalance"), None);
    }

    #[test]
    fn every_partition_has_one_owner_and_nobody_too_many() {
        let set = |partitions: &[i32]| partitions.iter().copied().collect::<BTreeSet<i32>>();
        for (a, b, expected) in [
            (&[0, 1][..], &[2][..], true),
            (&[0, 1, 2], &[], false),
            (&[0, 1], &[1], false),
            (&[0], &[2], false),
        ] {
            let owned = BTreeMap::from([("a".to_owned(), set(a)), ("b".to_owned(), set(b))]);
            assert_eq!(is_balanced(&owned, &["a", "b"], 3), expected, "{a:?} {b:?}");
        }
    }
}
