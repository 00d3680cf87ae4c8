//! `aquifer group reset-offsets`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow, bail};
use aquifer_store::Ports;
use kafka_protocol::{
    ResponseError,
    messages::{
        GroupId, OffsetCommitRequest, TopicName,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    },
};
use serde_json::json;

use super::{
    Failures, check_topics,
    cluster::{Cluster, Leaders, TopicPartition},
    describe_group,
    members::Described,
    of_committed,
    offsets::{self, Committed, EARLIEST, Found, LATEST},
};
use crate::{
    arguments::group::{GroupReset, OfTopics},
    output::{Column, Printer, Record, number, text},
    protocol::{refusal, string},
    usage::usage,
};

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Earliest,
    Latest,
    Offset(i64),
    /// The first record at or after this time, in milliseconds since 1970.
    Time(i64),
    /// So far from what is committed.
    Shift(i64),
}

/// What becomes of a partition's offset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    before: Option<i64>,
    after: i64,
    /// What was asked for, where the log does not reach as far.
    wanted: Option<i64>,
}

/// Runs the command.
pub(super) fn run(reset: &GroupReset) -> Result<()> {
    let name = &reset.group;
    check_topics(&reset.of)?;
    let to = target(reset, Ports::system().clock.unix_millis())?;
    let mut cluster = Cluster::open(&reset.bootstrap)?;
    check_idle(name, describe_group(&mut cluster, name)?.as_ref())?;
    let committed = offsets::committed(&mut cluster, name)?;
    let (meant, leaders) = meant(&mut cluster, name, &reset.of, &committed)?;
    let plan = plan(&mut cluster, to, &meant, &leaders, &committed)?;
    let mut failures = Failures::default();
    let mut done = plan.clone();
    if reset.execute {
        let codes = commit(&mut cluster, name, &plan)?;
        done.retain(|at, _| match check(name, at, codes.get(at).copied()) {
            Ok(()) => true,
            Err(error) => {
                failures.add(error);
                false
            }
        });
    }
    print(reset, &done)?;
    failures.result()
}

/// The one place that was said.
fn target(reset: &GroupReset, unix_millis: i64) -> Result<To> {
    let ago = reset.by_duration.map(|span| {
        let span = i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX);
        To::Time(unix_millis.saturating_sub(span).max(0))
    });
    let said = [
        reset.to_earliest.then_some(To::Earliest),
        reset.to_latest.then_some(To::Latest),
        reset.to_offset.map(To::Offset),
        reset.to_datetime.map(To::Time),
        ago,
        reset.shift_by.map(To::Shift),
    ];
    let mut said = said.into_iter().flatten();
    match (said.next(), said.next()) {
        (Some(to), None) => Ok(to),
        _ => Err(usage(
            "say where to, by one of --to-earliest, --to-latest, --to-offset, --to-datetime, --by-duration and \
             --shift-by",
        )),
    }
}

/// Members would go on from where they are, and commit that.
fn check_idle(name: &str, group: Option<&Described>) -> Result<()> {
    let Some(group) = group else {
        return Ok(());
    };
    if group.members.is_empty() && group.state == "Empty" {
        return Ok(());
    }
    bail!(
        "offsets of group {name} cannot be set: it is {} and has {} members; stop them first",
        group.state,
        group.members.len()
    )
}

/// The partitions that are meant, and the leaders of all partitions of their topics.
fn meant(
    cluster: &mut Cluster<'_>,
    name: &str,
    of: &OfTopics,
    committed: &Committed,
) -> Result<(BTreeSet<TopicPartition>, Leaders)> {
    if of.all_topics {
        let meant: BTreeSet<_> = of_committed(name, of, committed)?.into_iter().collect();
        let topics = meant.iter().map(|at| at.topic.clone()).collect();
        return Ok((meant, cluster.leaders(&topics)?));
    }
    let topics = of.topic.iter().map(|spec| spec.topic.clone()).collect();
    let leaders = cluster.leaders(&topics)?;
    let mut meant = BTreeSet::new();
    for spec in &of.topic {
        let there = leaders.keys().filter(|at| at.topic == spec.topic);
        let there: BTreeSet<&TopicPartition> = there.collect();
        if there.is_empty() {
            bail!("there is no topic {}", spec.topic);
        }
        for partition in &spec.partitions {
            if there.iter().all(|at| at.partition != *partition) {
                bail!(
                    "topic {} has no partition {partition}; it has {}",
                    spec.topic,
                    there.len()
                );
            }
        }
        let all = spec.partitions.is_empty();
        let chosen = there.into_iter();
        let chosen = chosen.filter(|at| all || spec.partitions.contains(&at.partition));
        meant.extend(chosen.cloned());
    }
    Ok((meant, leaders))
}

/// What is to become of each partition: of all, or it fails.
fn plan(
    cluster: &mut Cluster<'_>,
    to: To,
    meant: &BTreeSet<TopicPartition>,
    leaders: &Leaders,
    committed: &Committed,
) -> Result<BTreeMap<TopicPartition, Change>> {
    let first = offsets::at_time(cluster, leaders, meant, EARLIEST)?;
    let next = offsets::at_time(cluster, leaders, meant, LATEST)?;
    let timed = match to {
        To::Time(time) => offsets::at_time(cluster, leaders, meant, time)?,
        _ => Found::new(),
    };
    let mut plan = BTreeMap::new();
    for at in meant {
        let known = |found: &Found| match found.get(at) {
            Some(Ok(offset)) => Ok(*offset),
            Some(Err(reason)) => Err(anyhow!("where {at} stands is not known: {reason}")),
            None => Err(anyhow!(
                "where {at} stands is not known: the cluster did not say"
            )),
        };
        let log = (known(&first)?, known(&next)?);
        let by_time = match to {
            To::Time(_) => Some(known(&timed)?),
            _ => None,
        };
        let before = committed.get(at).map(|committed| committed.offset);
        let change = change(to, before, log, by_time);
        let change = change.ok_or_else(|| {
            anyhow!("the offset of {at} cannot be shifted: the group committed none yet")
        })?;
        plan.insert(at.clone(), change);
    }
    Ok(plan)
}

/// None = there is nothing to begin with. `log` is its first and its next offset; `by_time` what is there at the
/// time that was asked for, negative where nothing is as late.
fn change(to: To, before: Option<i64>, log: (i64, i64), by_time: Option<i64>) -> Option<Change> {
    let (first, next) = log;
    let wanted = match to {
        To::Earliest => first,
        To::Latest => next,
        To::Offset(offset) => offset,
        To::Time(_) => by_time.filter(|offset| *offset >= 0).unwrap_or(next),
        To::Shift(by) => before?.saturating_add(by),
    };
    let after = wanted.min(next).max(first);
    Some(Change {
        before,
        after,
        wanted: (wanted != after).then_some(wanted),
    })
}

/// What became of each.
fn commit(
    cluster: &mut Cluster<'_>,
    group: &str,
    plan: &BTreeMap<TopicPartition, Change>,
) -> Result<BTreeMap<TopicPartition, i16>> {
    let all: Vec<(&TopicPartition, &Change)> = plan.iter().collect();
    let topics = all
        .chunk_by(|(a, _), (b, _)| a.topic == b.topic)
        .map(|all| {
            let partitions = all.iter().map(|(at, change)| {
                OffsetCommitRequestPartition::default()
                    .with_partition_index(at.partition)
                    .with_committed_offset(change.after)
            });
            let topic = all.first().map(|(at, _)| at.topic.as_str());
            OffsetCommitRequestTopic::default()
                .with_name(TopicName(string(topic.unwrap_or_default())))
                .with_partitions(partitions.collect())
        });
    // without a member and a generation, as from whoever is in no group
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(string(group)))
        .with_topics(topics.collect());
    let answer = cluster.ask(group, &request, 2..=9, |answer| {
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        partitions
            .next()
            .map_or(0, |partition| partition.error_code)
    })?;
    let mut codes = BTreeMap::new();
    for topic in answer.topics {
        for partition in topic.partitions {
            let at = TopicPartition {
                topic: topic.name.0.to_string(),
                partition: partition.partition_index,
            };
            codes.insert(at, partition.error_code);
        }
    }
    Ok(codes)
}

fn check(group: &str, at: &TopicPartition, code: Option<i16>) -> Result<()> {
    let Some(code) = code else {
        bail!("whether the offset of {at} was set is not known: the cluster did not say");
    };
    let Some(refused) = refusal(code, None) else {
        return Ok(());
    };
    match ResponseError::try_from_code(code) {
        Some(
            ResponseError::UnknownMemberId
            | ResponseError::IllegalGeneration
            | ResponseError::RebalanceInProgress
            | ResponseError::StaleMemberEpoch,
        ) => bail!(
            "the offset of {at} was not set: members joined group {group} meanwhile; stop them first \
             ({refused})"
        ),
        _ => bail!("the offset of {at} was not set: {refused}"),
    }
}

fn print(reset: &GroupReset, done: &BTreeMap<TopicPartition, Change>) -> Result<()> {
    const COLUMNS: [Column; 5] = [
        text("topic"),
        number("partition"),
        number("offset before"),
        number("offset after"),
        text("note"),
    ];
    let records = done.iter().map(|(at, change)| {
        let before = change.before.map(|offset| offset.to_string());
        let note = change
            .wanted
            .map(|wanted| format!("{wanted} is outside of the log"));
        Record {
            cells: vec![
                at.topic.clone(),
                at.partition.to_string(),
                before.unwrap_or_else(|| "-".to_owned()),
                change.after.to_string(),
                note.unwrap_or_default(),
            ],
            json: json!({
                "group": reset.group, "topic": at.topic, "partition": at.partition,
                "before": change.before, "after": change.after, "wanted": change.wanted,
                "executed": reset.execute,
            }),
        }
    });
    let mut printer = Printer::stdout(reset.output);
    printer.table(&COLUMNS, &records.collect::<Vec<_>>())?;
    if !reset.execute {
        printer.heading("")?;
        printer.heading("Nothing was changed: that takes --execute.")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
