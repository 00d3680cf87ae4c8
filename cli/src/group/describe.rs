//! `aquifer group describe`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{
    Failures, age,
    cluster::{Cluster, TopicPartition},
    describe_group,
    lag::{Unread, timestamps},
    members::{Described, Member},
    no_group,
    offsets::{self, Committed, CommittedOffset, EARLIEST, Found, LATEST},
};
use crate::{
    arguments::group::GroupDescribe,
    output::{Column, Printer, Record, number, text},
    usage::usage,
};

/// Runs the command.
pub(super) fn run(arguments: &GroupDescribe) -> Result<()> {
    let wants_more = arguments.members || arguments.offsets;
    if arguments.only_state && wants_more {
        return Err(usage(
            "--only-state shows neither members nor offsets: leave --members and --offsets out",
        ));
    }
    let mut cluster = Cluster::open(&arguments.bootstrap)?;
    let mut printer = Printer::stdout(arguments.output);
    let mut failures = Failures::default();
    for (index, name) in arguments.groups.iter().enumerate() {
        match look_at(&mut cluster, arguments, name) {
            Ok(report) => {
                if index > 0 {
                    printer.heading("")?;
                }
                report.print(&mut printer)?;
            }
            Err(error) => failures.add(error),
        }
    }
    failures.result()
}

/// What is shown of a group.
struct Report {
    name: String,
    group: Described,
    /// None = not asked for.
    partitions: Option<Vec<Row>>,
    members: bool,
}

/// A partition that the group committed or was assigned.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    at: TopicPartition,
    committed: Option<CommittedOffset>,
    first: Option<i64>,
    next: Option<i64>,
    /// Records that are not read.
    lag: Option<u64>,
    /// Age of the first of them in milliseconds.
    age: Option<u64>,
    /// The member that has the partition, and its client and host.
    owner: Option<[String; 3]>,
}

fn look_at(cluster: &mut Cluster<'_>, arguments: &GroupDescribe, name: &str) -> Result<Report> {
    let group = describe_group(cluster, name)?.ok_or_else(|| no_group(name))?;
    let offsets = arguments.offsets || !(arguments.members || arguments.only_state);
    let partitions = if offsets {
        Some(partitions(cluster, name, &group)?)
    } else {
        None
    };
    Ok(Report {
        name: name.to_owned(),
        group,
        partitions,
        members: arguments.members,
    })
}

fn partitions(cluster: &mut Cluster<'_>, name: &str, group: &Described) -> Result<Vec<Row>> {
    let committed = offsets::committed(cluster, name)?;
    let owners = owners(&group.members);
    let all: BTreeSet<&TopicPartition> = committed.keys().chain(owners.keys().copied()).collect();
    let topics: BTreeSet<String> = all.iter().map(|at| at.topic.clone()).collect();
    let leaders = cluster.leaders(&topics)?;
    let first = offsets::at_time(cluster, &leaders, all.iter().copied(), EARLIEST)?;
    let next = offsets::at_time(cluster, &leaders, all.iter().copied(), LATEST)?;
    let row = |at: &&TopicPartition| row(at, &committed, &first, &next, &owners);
    let mut rows: Vec<Row> = all.iter().map(row).collect();
    let unread: Vec<Unread> = rows
        .iter()
        .filter(|row| row.lag.is_some_and(|lag| lag > 0))
        .filter_map(|row| {
            let committed = row.committed.as_ref()?;
            Some(Unread {
                at: row.at.clone(),
                from: committed.offset.max(row.first?),
                leader: leaders.get(&row.at)?.clone()?,
            })
        })
        .collect();
    let timestamps = timestamps(&unread, cluster.timeout());
    let now = cluster.unix_millis();
    for row in &mut rows {
        row.age = match row.lag {
            Some(0) => Some(0),
            Some(_) => timestamps.get(&row.at).map(|timestamp| {
                // a clock that is ahead of ours
                u64::try_from(now.saturating_sub(*timestamp)).unwrap_or(0)
            }),
            None => None,
        };
    }
    Ok(rows)
}

/// Who has which partition.
fn owners(members: &[Member]) -> BTreeMap<&TopicPartition, &Member> {
    let mut owners = BTreeMap::new();
    for member in members {
        for at in member.assigned.iter().flatten() {
            owners.insert(at, member);
        }
    }
    owners
}

fn row(
    at: &TopicPartition,
    committed: &Committed,
    first: &Found,
    next: &Found,
    owners: &BTreeMap<&TopicPartition, &Member>,
) -> Row {
    let known = |found: &Found| {
        found
            .get(at)
            .and_then(|offset| offset.as_ref().ok())
            .copied()
    };
    let (first, next) = (known(first), known(next));
    let committed = committed.get(at).cloned();
    let owner = owners.get(at).map(|member| {
        let Member {
            id, client, host, ..
        } = *member;
        [id.clone(), client.clone(), host.clone()]
    });
    Row {
        lag: lag(
            committed.as_ref().map(|committed| committed.offset),
            first,
            next,
        ),
        at: at.clone(),
        committed,
        first,
        next,
        age: None,
        owner,
    }
}

/// Records from the committed offset, or the first one that is still there, to the end.
fn lag(committed: Option<i64>, first: Option<i64>, next: Option<i64>) -> Option<u64> {
    let from = committed?.max(first?);
    Some(u64::try_from(next?.saturating_sub(from)).unwrap_or(0))
}

impl Report {
    fn print<W: Write>(&self, printer: &mut Printer<W>) -> Result<()> {
        if printer.is_json() {
            return printer.say("", &self.json());
        }
        printer.facts(&self.facts(), &Value::Null)?;
        if let Some(rows) = self.partitions.as_ref().filter(|rows| !rows.is_empty()) {
            const COLUMNS: [Column; 9] = [
                text("topic"),
                number("partition"),
                number("committed"),
                number("next offset"),
                number("behind"),
                number("by time"),
                text("member"),
                text("host"),
                text("client"),
            ];
            let records: Vec<Record> = rows.iter().map(Row::record).collect();
            printer.heading("")?;
            printer.table(&COLUMNS, &records)?;
        }
        if self.members && !self.group.members.is_empty() {
            const COLUMNS: [Column; 7] = [
                text("member"),
                text("instance"),
                text("host"),
                text("client"),
                number("epoch"),
                number("partitions"),
                text("assigned"),
            ];
            let records: Vec<Record> = self.group.members.iter().map(member_record).collect();
            printer.heading("")?;
            printer.table(&COLUMNS, &records)?;
        }
        Ok(())
    }

    /// Records that are not read, and the age of the oldest of them.
    fn behind(&self) -> Option<(u64, Option<u64>)> {
        let rows = self.partitions.as_ref()?;
        let records = rows.iter().filter_map(|row| row.lag);
        let records = records.fold(0u64, u64::saturating_add);
        Some((records, rows.iter().filter_map(|row| row.age).max()))
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let group = &self.group;
        let node = &group.coordinator;
        let mut facts = vec![
            ("group", self.name.clone()),
            ("type", group.kind.to_owned()),
            ("state", group.state.clone()),
            (
                "coordinator",
                format!("node {} at {}", node.id, node.address),
            ),
        ];
        for (name, shown) in [("protocol", &group.protocol), ("assignor", &group.assignor)] {
            if !shown.is_empty() {
                facts.push((name, shown.clone()));
            }
        }
        if let Some((epoch, assignment)) = group.epochs {
            let shown = format!("{epoch}, of the assignment {assignment}");
            facts.push(("epoch", shown));
        }
        facts.push(("members", group.members.len().to_string()));
        if let Some((records, oldest)) = self.behind() {
            let shown = match oldest {
                Some(oldest) if records > 0 => {
                    format!("{records} records, the oldest {} old", age::shown(oldest))
                }
                _ => format!("{records} records"),
            };
            facts.push(("behind", shown));
        }
        facts
    }

    fn json(&self) -> Value {
        let group = &self.group;
        let mut json = Map::new();
        let mut field = |name: &str, value: Value| json.insert(name.to_owned(), value);
        field("group", json!(self.name));
        field("type", json!(group.kind));
        field("state", json!(group.state));
        let node = &group.coordinator;
        field(
            "coordinator",
            json!({ "node": node.id, "address": node.address }),
        );
        field("protocol", json!(group.protocol));
        field("assignor", json!(group.assignor));
        field("epoch", json!(group.epochs.map(|(epoch, _)| epoch)));
        field(
            "assignment_epoch",
            json!(group.epochs.map(|(_, epoch)| epoch)),
        );
        field("member_count", json!(group.members.len()));
        if let Some((records, oldest)) = self.behind() {
            field("lag", json!(records));
            field("lag_ms", json!(oldest));
        }
        if let Some(rows) = &self.partitions {
            field("offsets", rows.iter().map(Row::json).collect());
        }
        if self.members {
            field("members", group.members.iter().map(Member::json).collect());
        }
        Value::Object(json)
    }
}

/// A number, or that there is none.
fn shown<T: ToString>(number: Option<T>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

impl Row {
    fn record(&self) -> Record {
        let owner = self.owner.clone().unwrap_or_default();
        let [member, client, host] = owner;
        Record {
            cells: vec![
                self.at.topic.clone(),
                self.at.partition.to_string(),
                shown(self.committed.as_ref().map(|committed| committed.offset)),
                shown(self.next),
                shown(self.lag),
                shown(self.age.map(age::shown)),
                member,
                host,
                client,
            ],
            json: self.json(),
        }
    }

    fn json(&self) -> Value {
        let committed = self.committed.as_ref();
        let owner = |index: usize| self.owner.as_ref().and_then(|owner| owner.get(index));
        json!({
            "topic": self.at.topic,
            "partition": self.at.partition,
            "committed_offset": committed.map(|committed| committed.offset),
            "leader_epoch": committed.map(|c| c.leader_epoch).filter(|epoch| *epoch >= 0),
            "metadata": committed.map(|committed| &committed.metadata),
            "first_offset": self.first,
            "next_offset": self.next,
            "lag": self.lag,
            "lag_ms": self.age,
            "member": owner(0),
            "client": owner(1),
            "host": owner(2),
        })
    }
}

fn member_record(member: &Member) -> Record {
    let assigned = member.assigned.as_ref().map(|all| {
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        all.join(", ")
    });
    Record {
        cells: vec![
            member.id.clone(),
            member.instance.clone().unwrap_or_default(),
            member.host.clone(),
            member.client.clone(),
            shown(member.epoch),
            shown(member.assigned.as_ref().map(Vec::len)),
            assigned.unwrap_or_else(|| "-".to_owned()),
        ],
        json: member.json(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_can_still_be_read() {
        for (committed, first, next, expected) in [
            (Some(3), Some(0), Some(10), Some(7)),
            (Some(10), Some(0), Some(10), Some(0)),
            (Some(3), Some(5), Some(10), Some(5)),
            (Some(11), Some(0), Some(10), Some(0)),
            (None, Some(0), Some(10), None),
            (Some(3), None, Some(10), None),
            (Some(3), Some(0), None, None),
        ] {
            assert_eq!(lag(committed, first, next), expected);
        }
    }
}
