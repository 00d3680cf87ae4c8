//! Flags of `aquifer topic`.

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::BoolishValueParser};

use super::{
    Bootstrap, Output,
    cluster::{POSTGRES, Secret},
};
use crate::key_value::KeyValue;

/// What is done to topics.
#[derive(Debug, Args)]
pub(crate) struct Topic {
    #[command(subcommand)]
    pub(crate) action: TopicAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicAction {
    /// Creates a topic
    Create(TopicCreate),
    /// Lists the topics
    List(TopicList),
    /// Shows a topic's partitions: leader, log start offset, high watermark, number of records; or its extents
    ///
    /// An extent is a range of offsets and where its bytes are: object, position, length. With --extents one
    /// of --metadata, --postgres and --data says where to look them up; of several that are set the first of
    /// these holds. With --postgres and --data no cluster is needed: the journal itself is read.
    Describe(Box<TopicDescribe>),
    /// Adds partitions to a topic, or changes its configs
    ///
    /// Keys are spread over the partitions that there are when they are sent: with more partitions the same
    /// key goes elsewhere than before.
    Alter(TopicAlter),
    /// Deletes topics with all their records
    ///
    /// They can be restored for as long as the broker config topic.soft.delete.ttl.ms says (a day).
    Delete(TopicDelete),
    /// Lists deleted topics that can be restored
    Deleted(TopicDeleted),
    /// Brings a deleted topic back, with its records and committed offsets
    Restore(TopicRestore),
}

/// Who is asked.
#[derive(Debug, Args)]
pub(crate) struct MetadataService {
    /// Metadata processes, HOST:PORT, separated by commas
    #[arg(
        long,
        env = "AQUIFER_METADATA",
        value_name = "URL",
        value_delimiter = ',',
        required = true
    )]
    pub(crate) metadata: Vec<String>,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

#[derive(Debug, Args)]
pub(crate) struct TopicDeleted {
    #[command(flatten)]
    pub(crate) service: MetadataService,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct TopicRestore {
    /// Its name (of several, the one that was deleted last), or its id
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) service: MetadataService,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct TopicCreate {
    /// Name of the topic: letters, digits, '.', '_' and '-', at most 249
    pub(crate) topic: String,

    /// How many partitions
    #[arg(short, long, env = "AQUIFER_PARTITIONS", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,

    /// Config of the topic, such as retention.ms=3600000; can be repeated
    #[arg(
        short = 'c',
        long,
        env = "AQUIFER_TOPIC_CONFIG",
        value_name = "KEY=VALUE",
        value_delimiter = ';'
    )]
    pub(crate) topic_config: Vec<KeyValue>,

    /// No error where it exists already
    #[arg(long, env = "AQUIFER_IF_NOT_EXISTS", value_parser = BoolishValueParser::new())]
    pub(crate) if_not_exists: bool,

    /// Only says whether it could be done
    #[arg(long, env = "AQUIFER_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}

#[derive(Debug, Args)]
pub(crate) struct TopicList {
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}

#[derive(Debug, Args)]
pub(crate) struct TopicDescribe {
    /// Name of the topic
    pub(crate) topic: String,

    /// Only this partition; can be repeated
    #[arg(
        short,
        long,
        env = "AQUIFER_PARTITION",
        value_name = "N",
        value_delimiter = ','
    )]
    pub(crate) partition: Vec<i32>,

    /// Shows the extents: objects, byte ranges, offsets, timestamps
    #[arg(long, env = "AQUIFER_EXTENTS", value_parser = BoolishValueParser::new())]
    pub(crate) extents: bool,

    /// For --extents: metadata processes, HOST:PORT, separated by commas; with the cluster's secret
    #[arg(
        long,
        env = "AQUIFER_METADATA",
        value_name = "URL",
        value_delimiter = ','
    )]
    pub(crate) metadata: Vec<String>,

    #[command(flatten)]
    pub(crate) secret: Secret,

    #[arg(
        long,
        help = format!("For --extents: {POSTGRES}"),
        env = "AQUIFER_POSTGRES",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) postgres: Option<String>,

    /// For --extents: data folder of an `aquifer dev` that does not run now
    #[arg(long, env = "AQUIFER_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aquifer topic alter logs --new-partitions 12
  aquifer topic alter logs -c retention.ms=86400000 -c cleanup.policy=compact,delete
  aquifer topic alter logs --delete-config retention.ms")]
pub(crate) struct TopicAlter {
    /// Name of the topic
    pub(crate) topic: String,

    // Names of their own: what the environment or a settings file says of new topics is no order to change
    // one that is there.
    /// How many partitions it has from now on: more than before
    #[arg(short = 'p', long, visible_alias = "partitions", env = "AQUIFER_NEW_PARTITIONS",
          value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) new_partitions: Option<i32>,

    /// Config to be set, such as retention.ms=3600000; can be repeated
    #[arg(
        short = 'c',
        long,
        visible_alias = "topic-config",
        env = "AQUIFER_SET_CONFIG",
        value_name = "KEY=VALUE",
        value_delimiter = ';'
    )]
    pub(crate) set_config: Vec<KeyValue>,

    /// Config to be set back to what it is without having been set; can be repeated
    #[arg(
        long,
        env = "AQUIFER_DELETE_CONFIG",
        value_name = "KEY",
        value_delimiter = ','
    )]
    pub(crate) delete_config: Vec<String>,

    /// Only says whether it could be done
    #[arg(long, env = "AQUIFER_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}

#[derive(Debug, Args)]
pub(crate) struct TopicDelete {
    /// Names of the topics
    #[arg(required = true)]
    pub(crate) topics: Vec<String>,

    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}
