//! Flags of `aquifer group`, and of what servers tell of groups.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum, builder::BoolishValueParser};

use super::{Bootstrap, Output};
use crate::{instant, units::Span};

/// What the metadata leader tells of groups.
#[derive(Debug, Args)]
pub(crate) struct GroupMetrics {
    /// How finely /metrics tells how far groups are behind (aquifer_group_lag_records, _seconds): each step
    /// has more series. The leader tells it, so give all metadata processes the same
    #[arg(
        long,
        env = "AQUIFER_GROUP_LAG_METRICS",
        value_name = "DETAIL",
        default_value = "group"
    )]
    pub(crate) group_lag_metrics: LagDetail,
}

/// How finely lag is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LagDetail {
    /// Not at all
    Off,
    /// By group: all its records, and the oldest of them
    Group,
    /// By group and topic
    Topic,
    /// By group, topic and partition
    Partition,
}

impl From<LagDetail> for aquifer_metadata::GroupLagMetrics {
    fn from(detail: LagDetail) -> Self {
        match detail {
            LagDetail::Off => Self::Off,
            LagDetail::Group => Self::Group,
            LagDetail::Topic => Self::Topic,
            LagDetail::Partition => Self::Partition,
        }
    }
}

/// What is done to groups.
#[derive(Debug, Args)]
pub(crate) struct Group {
    #[command(subcommand)]
    pub(crate) action: GroupAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupAction {
    /// Lists the groups
    List(GroupList),
    /// Shows groups: state, members, committed offsets, and how far they are behind in records and in time
    ///
    /// The time is the age of the first record that the group has not read: that record is fetched.
    Describe(GroupDescribe),
    /// Sets the committed offsets of a group without members; without --execute it only shows them
    ///
    /// Where to is one of --to-earliest, --to-latest, --to-offset, --to-datetime, --by-duration and --shift-by;
    /// what lies outside of a partition's log becomes its nearest end. A group that is not there begins with
    /// these offsets.
    ResetOffsets(GroupReset),
    /// Deletes committed offsets of a group, of topics that its members do not consume
    DeleteOffsets(GroupDeleteOffsets),
    /// Deletes groups that have no members, with their committed offsets
    Delete(GroupDelete),
}

#[derive(Debug, Args)]
pub(crate) struct GroupList {
    /// Only groups in this state, such as Stable or Empty; can be repeated
    #[arg(
        long,
        env = "AQUIFER_STATE",
        value_name = "STATE",
        value_delimiter = ',',
        value_parser = state
    )]
    pub(crate) state: Vec<String>,

    /// Only groups of this type; can be repeated
    #[arg(
        long = "type",
        env = "AQUIFER_TYPE",
        value_name = "TYPE",
        value_delimiter = ','
    )]
    pub(crate) kind: Vec<GroupType>,

    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}

/// By which protocol a group is coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupType {
    /// JoinGroup and SyncGroup, or offsets only
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848)
    Consumer,
    /// Of share consumers
    Share,
    /// Of Kafka Streams
    Streams,
}

impl GroupType {
    /// As brokers name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
            Self::Share => "share",
            Self::Streams => "streams",
        }
    }
}

/// States of groups as brokers name them.
const STATES: [&str; 8] = [
    "PreparingRebalance",
    "CompletingRebalance",
    "Stable",
    "Dead",
    "Empty",
    "Assigning",
    "Reconciling",
    "NotReady",
];

/// A state's name, however it is capitalized.
fn state(text: &str) -> Result<String, String> {
    let found = STATES.iter().find(|name| name.eq_ignore_ascii_case(text));
    let found = found.map(|name| (*name).to_owned());
    found.ok_or_else(|| format!("there is no such state; write one of {}", STATES.join(", ")))
}

#[derive(Debug, Args)]
pub(crate) struct GroupDescribe {
    /// Names of groups
    #[arg(required = true, value_name = "GROUP")]
    pub(crate) groups: Vec<String>,

    /// Shows the members, and what each is assigned
    #[arg(short, long, env = "AQUIFER_MEMBERS", value_parser = BoolishValueParser::new())]
    pub(crate) members: bool,

    /// Shows the committed offsets; so does a call without --members
    #[arg(long, env = "AQUIFER_OFFSETS", value_parser = BoolishValueParser::new())]
    pub(crate) offsets: bool,

    /// Shows the state alone
    #[arg(long, env = "AQUIFER_ONLY_STATE", value_parser = BoolishValueParser::new())]
    pub(crate) only_state: bool,

    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}

/// Which committed offsets.
#[derive(Debug, Args)]
pub(crate) struct OfTopics {
    /// Of this topic, or of some of its partitions: orders, orders:0,1; can be repeated
    #[arg(
        short,
        long,
        env = "AQUIFER_TOPIC",
        value_name = "NAME[:N,...]",
        value_delimiter = ';'
    )]
    pub(crate) topic: Vec<TopicPartitions>,

    /// Of all topics that the group has committed offsets of
    #[arg(long, env = "AQUIFER_ALL_TOPICS", value_parser = BoolishValueParser::new())]
    pub(crate) all_topics: bool,
}

/// A topic and some of its partitions; none = all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicPartitions {
    pub(crate) topic: String,
    pub(crate) partitions: Vec<i32>,
}

impl FromStr for TopicPartitions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "write a topic, or a topic and partitions of it, such as orders:0,1".to_owned();
        let (topic, list) = match text.split_once(':') {
            Some((topic, list)) => (topic, Some(list)),
            None => (text, None),
        };
        let mut partitions = Vec::new();
        for part in list.into_iter().flat_map(|list| list.split(',')) {
            let partition = part
                .trim()
                .parse::<i32>()
                .ok()
                .filter(|partition| *partition >= 0);
            partitions.push(partition.ok_or_else(wrong)?);
        }
        partitions.sort_unstable();
        partitions.dedup();
        if topic.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            topic: topic.to_owned(),
            partitions,
        })
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aquifer group reset-offsets billing --topic orders --to-earliest
  aquifer group reset-offsets billing --all-topics --by-duration 2h --execute
  aquifer group reset-offsets billing --topic orders:0,3 --to-datetime 2026-11-22T17:00:00Z")]
pub(crate) struct GroupReset {
    /// Name of the group
    pub(crate) group: String,

    #[command(flatten)]
    pub(crate) of: OfTopics,

    /// To the first record that is there
    #[arg(long, env = "AQUIFER_TO_EARLIEST", value_parser = BoolishValueParser::new())]
    pub(crate) to_earliest: bool,

    /// Behind the last record
    #[arg(long, env = "AQUIFER_TO_LATEST", value_parser = BoolishValueParser::new())]
    pub(crate) to_latest: bool,

    /// To this offset
    #[arg(long, env = "AQUIFER_TO_OFFSET", value_name = "N")]
    pub(crate) to_offset: Option<i64>,

    /// To the first record at or after this time: 2026-11-22T17:00:00Z, or milliseconds as @1795366800000
    #[arg(
        long,
        env = "AQUIFER_TO_DATETIME",
        value_name = "TIME",
        value_parser = time
    )]
    pub(crate) to_datetime: Option<i64>,

    /// To the first record that is not older than this, such as 15m or 2h
    #[arg(long, env = "AQUIFER_BY_DURATION", value_name = "TIME")]
    pub(crate) by_duration: Option<Span>,

    /// So many records on from what is committed; back where negative
    #[arg(
        long,
        env = "AQUIFER_SHIFT_BY",
        value_name = "N",
        allow_negative_numbers = true
    )]
    pub(crate) shift_by: Option<i64>,

    /// Does it; without it the offsets are only shown
    #[arg(long, env = "AQUIFER_EXECUTE", value_parser = BoolishValueParser::new())]
    pub(crate) execute: bool,

    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}

/// A point in time, in milliseconds since 1970.
fn time(text: &str) -> Result<i64, String> {
    let millis = match text.strip_prefix('@') {
        Some(millis) => millis.parse().ok(),
        None => instant::parse(text),
    };
    // negative ones have a meaning of their own to brokers
    let millis = millis.filter(|millis| *millis >= 0);
    millis.ok_or_else(|| "write a time such as 2026-11-22T17:00:00Z or @1795366800000".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct GroupDeleteOffsets {
    /// Name of the group
    pub(crate) group: String,

    #[command(flatten)]
    pub(crate) of: OfTopics,

    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}

#[derive(Debug, Args)]
pub(crate) struct GroupDelete {
    /// Names of the groups
    #[arg(required = true, value_name = "GROUP")]
    pub(crate) groups: Vec<String>,

    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_their_partitions_are_read() {
        for (text, topic, partitions) in [
            ("orders", "orders", vec![]),
            ("orders:0", "orders", vec![0]),
            ("a.b-c_d:3, 1,3", "a.b-c_d", vec![1, 3]),
        ] {
            let read: TopicPartitions = text.parse().unwrap();
            assert_eq!((read.topic.as_str(), read.partitions), (topic, partitions));
        }
        for wrong in ["", ":0", "a:", "a:x", "a:-1", "a:0,", "a:0:1"] {
            assert!(wrong.parse::<TopicPartitions>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn states_and_times_are_read() {
        assert_eq!(state("stable"), Ok("Stable".to_owned()));
        assert!(state("stabel").unwrap_err().contains("PreparingRebalance"));
        assert_eq!(time("@5"), Ok(5));
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(1_000));
        for wrong in ["5", "@-1", "@x", "1969-12-31", "soon"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
