//! Flags of `aquifer cluster`.

use clap::{Args, Subcommand};

use super::{
    Bootstrap, Output,
    cluster::{BUCKET, POSTGRES, Secret},
};

/// What is asked of a cluster.
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    #[command(subcommand)]
    pub(crate) action: ClusterAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterAction {
    /// Shows the cluster's agents, controller, topics and, where it can, its metadata service
    ///
    /// Asks the cluster as any Kafka client would, and every node that it names whether it answers; with
    /// --metadata each metadata process for its role; with --postgres the database for lease and journal,
    /// and with --bucket whether both agree. Changes nothing. The exit code is 1, and the reasons are on
    /// stderr, if something of that is not as it should be.
    Status(ClusterStatus),
}

#[derive(Debug, Args)]
pub(crate) struct ClusterStatus {
    /// Metadata processes, HOST:PORT, separated by commas; with the cluster's secret
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
        help = POSTGRES,
        env = "AQUIFER_POSTGRES",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) postgres: Option<String>,

    #[arg(long, help = BUCKET, env = "AQUIFER_BUCKET", value_name = "URL")]
    pub(crate) bucket: Option<String>,

    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}
