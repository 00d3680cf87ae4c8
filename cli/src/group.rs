//! `aquifer group`: list, describe, reset-offsets, delete-offsets, delete. Works with any Kafka cluster of
//! release 3.0 or newer.

use anyhow::{Result, anyhow, bail};

use self::{cluster::TopicPartition, members::describe_group, offsets::Committed};
use crate::{
    arguments::group::{Group, GroupAction, OfTopics},
    usage::usage,
};

mod age;
mod assignment;
mod cluster;
mod delete;
mod delete_offsets;
mod describe;
mod lag;
mod list;
mod members;
mod offsets;
mod reset;

/// Runs the command.
pub(crate) fn run(group: &Group) -> Result<()> {
    match &group.action {
        GroupAction::List(list) => list::run(list),
        GroupAction::Describe(describe) => describe::run(describe),
        GroupAction::ResetOffsets(reset) => reset::run(reset),
        GroupAction::DeleteOffsets(delete) => delete_offsets::run(delete),
        GroupAction::Delete(delete) => delete::run(delete),
    }
}

/// The error of a group that is not there.
fn no_group(name: &str) -> anyhow::Error {
    anyhow!("there is no group {name}; `aquifer group list` shows those that there are")
}

/// Whether all topics of a group are meant, and none is named, or the other way round.
fn check_topics(of: &OfTopics) -> Result<()> {
    match (of.topic.is_empty(), of.all_topics) {
        (false, false) | (true, true) => Ok(()),
        (true, false) => Err(usage("say of which topics: --topic NAME, or --all-topics")),
        (false, true) => Err(usage("say either --topic or --all-topics")),
    }
}

/// Those of the committed offsets that are meant, where only such count.
fn of_committed(group: &str, of: &OfTopics, committed: &Committed) -> Result<Vec<TopicPartition>> {
    let meant = |at: &&TopicPartition| {
        of.all_topics
            || of.topic.iter().any(|spec| {
                let any = spec.partitions.is_empty();
                spec.topic == at.topic && (any || spec.partitions.contains(&at.partition))
            })
    };
    let found: Vec<TopicPartition> = committed.keys().filter(meant).cloned().collect();
    if found.is_empty() {
        bail!("group {group} has no committed offsets of what was named");
    }
    Ok(found)
}

/// Tells errors that come one by one: the first is the command's, the others are lines on stderr.
#[derive(Debug, Default)]
struct Failures(Option<anyhow::Error>);

impl Failures {
    fn add(&mut self, error: anyhow::Error) {
        if self.0.is_none() {
            self.0 = Some(error);
        } else {
            eprintln!("aquifer: {error:#}");
        }
    }

    fn result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;
