//! Flags of `aquifer inspect`.

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::BoolishValueParser};

use super::{Output, cluster::POSTGRES};

/// What is looked at.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[command(subcommand)]
    pub(crate) action: InspectAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum InspectAction {
    /// Shows an object's runs and blocks, and verifies all its checksums
    ///
    /// The exit code is 1 if anything in it is not as it was written.
    Object(InspectObject),
    /// Shows the rows of the metadata journal, an event per line, and verifies their chain
    ///
    /// Only reads. The exit code is 1 if a row cannot be read or does not follow the one before it.
    Journal(InspectJournal),
    /// Shows the pages of the metadata: packed parts of the state, from which a leader starts
    ///
    /// Only reads. The exit code is 1 if a page cannot be read.
    Pages(InspectPages),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aquifer inspect object s3://my-bucket/my-cluster 3f2a/.../l0-1-00c0ffee00c0ffee
  aquifer inspect object s3://my-bucket/my-cluster/3f2a/.../l0-1-00c0ffee00c0ffee
  aquifer inspect object ./aquifer-data/bucket 3f2a/.../l0-1-00c0ffee00c0ffee
  aquifer topic describe logs --extents        names the objects of a topic")]
pub(crate) struct InspectObject {
    /// A file, or the bucket: s3://BUCKET/PREFIX (gs://, az://), file:///FOLDER, or a folder
    #[arg(value_name = "PATH|URL")]
    pub(crate) place: String,

    /// The object in the bucket
    pub(crate) key: Option<String>,

    /// Shows the record batches of the blocks too
    #[arg(long, env = "AQUIFER_BATCHES", value_parser = BoolishValueParser::new())]
    pub(crate) batches: bool,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// Where the metadata is.
#[derive(Debug, Args)]
pub(crate) struct Journal {
    #[arg(
        long,
        help = POSTGRES,
        env = "AQUIFER_POSTGRES",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) postgres: Option<String>,

    /// Data folder of an `aquifer dev` that does not run now; --postgres goes before it
    #[arg(long, env = "AQUIFER_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InspectJournal {
    #[command(flatten)]
    pub(crate) journal: Journal,

    /// First row; the default shows the newest ones
    #[arg(long, env = "AQUIFER_FROM_ROW", value_name = "ROW")]
    pub(crate) from_row: Option<u64>,

    /// How many rows at most
    #[arg(
        short = 'n',
        long,
        env = "AQUIFER_LIMIT",
        value_name = "N",
        default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(crate) limit: u64,

    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct InspectPages {
    #[command(flatten)]
    pub(crate) journal: Journal,

    /// Only pages of this kind; can be repeated
    #[arg(
        short,
        long,
        env = "AQUIFER_KIND",
        value_name = "KIND",
        value_delimiter = ','
    )]
    pub(crate) kind: Vec<PageKind>,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// Kinds of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PageKind {
    /// Cluster, incarnation, upload epoch, id counters
    Counters,
    /// Registration slots
    Slots,
    /// Commit sessions
    Session,
    /// Topics
    Topic,
    /// Partitions without their extents
    Head,
    /// Extents
    Extents,
    /// Objects whose bytes may go
    Released,
    /// Cluster-wide broker configs
    BrokerConfigs,
    /// Groups without their offsets
    Group,
    /// Committed offsets
    Offsets,
    /// Configs of groups
    GroupConfigs,
    /// Objects that compactors wrote
    Merged,
}
