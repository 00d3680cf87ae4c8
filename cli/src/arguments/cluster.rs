//! Flags of the processes of a cluster: `server`, `metadata`, `agent`.

use std::path::PathBuf;

use aquifer_metadata::projection::SchemaName;
use clap::{Args, Subcommand, builder::BoolishValueParser};

use super::{
    BrokerConfigs, Clients, Output,
    compactor::{Beside, Upkeep},
    group::GroupMetrics,
};
use crate::{
    address::{Advertised, Listen},
    units::{Span, above_zero},
};

pub(super) const POSTGRES: &str = "Postgres database of the metadata service: \
    postgres://user:password@host:5432/database. The primary, not through a pooler in transaction mode";
pub(super) const BUCKET: &str = "Where objects are: s3://bucket/prefix (credentials and region as the AWS command line \
    finds them; ?endpoint=http://host:port for other servers), gs://bucket/prefix, az://container/prefix (account in \
    AZURE_STORAGE_ACCOUNT_NAME), or file:///folder";

/// What admits processes to the cluster: one of the two.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Secret {
    /// Shared secret of the cluster's processes, at least 16 characters (openssl rand -base64 32)
    #[arg(
        long,
        env = "AQUIFER_CLUSTER_SECRET",
        value_name = "TEXT",
        hide_env_values = true
    )]
    pub(crate) cluster_secret: Option<String>,

    /// File with the shared secret, in place of --cluster-secret
    #[arg(long, env = "AQUIFER_CLUSTER_SECRET_FILE", value_name = "FILE")]
    pub(crate) cluster_secret_file: Option<PathBuf>,
}

/// The database of the metadata service.
#[derive(Debug, Args)]
pub(crate) struct Postgres {
    #[arg(
        long,
        help = POSTGRES,
        env = "AQUIFER_POSTGRES",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) postgres: String,
}

/// The bucket.
#[derive(Debug, Args)]
pub(crate) struct Bucket {
    #[arg(long, help = BUCKET, env = "AQUIFER_BUCKET", value_name = "URL")]
    pub(crate) bucket: String,
}

/// How Kafka clients are served.
#[derive(Debug, Args)]
pub(crate) struct Serving {
    /// Where Kafka clients connect; each node id has a port of its own from here upward
    #[arg(
        long,
        env = "AQUIFER_KAFKA_LISTEN",
        value_name = "ADDR",
        default_value = "0.0.0.0:9092"
    )]
    pub(crate) kafka_listen: Listen,

    /// What clients are told to connect to (port: of the first node id); the default is the address of
    /// --kafka-listen, or this machine's name
    #[arg(long, env = "AQUIFER_ADVERTISE", value_name = "HOST[:PORT]")]
    pub(crate) advertise: Option<Advertised>,

    /// How many node ids to show (1 to 16): a stock producer has five requests under way per node id
    #[arg(
        long,
        env = "AQUIFER_NODE_IDS",
        value_name = "N",
        default_value_t = 4,
        value_parser = clap::value_parser!(u8).range(1..=16)
    )]
    pub(crate) node_ids: u8,

    /// Where agents of the same zone get what this one has in memory
    #[arg(
        long,
        env = "AQUIFER_CACHE_LISTEN",
        value_name = "ADDR",
        default_value = "0.0.0.0:9646"
    )]
    pub(crate) cache_listen: Listen,

    /// What agents of the same zone are told to connect to for that; the default is the host of
    /// --advertise and the port of --cache-listen
    #[arg(long, env = "AQUIFER_CACHE_ADVERTISE", value_name = "HOST[:PORT]")]
    pub(crate) cache_advertise: Option<Advertised>,

    #[command(flatten)]
    pub(crate) clients: Clients,
}

/// Where health and metrics are.
#[derive(Debug, Args)]
pub(crate) struct Http {
    /// Where health (/health/live, /health/ready) and metrics (/metrics) are served
    #[arg(
        long,
        env = "AQUIFER_HTTP_LISTEN",
        value_name = "ADDR",
        default_value = "0.0.0.0:9644"
    )]
    pub(crate) http_listen: Listen,
}

/// An agent.
#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// Metadata processes, HOST:PORT, separated by commas; any of them, the leader is found from there
    #[arg(
        long,
        env = "AQUIFER_METADATA",
        value_name = "URL",
        value_delimiter = ',',
        required = true
    )]
    pub(crate) metadata: Vec<String>,
    #[command(flatten)]
    pub(crate) bucket: Bucket,
    #[command(flatten)]
    pub(crate) serving: Serving,
    #[command(flatten)]
    pub(crate) http: Http,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// How objects that were never committed are deleted.
#[derive(Debug, Args)]
pub(crate) struct Sweeping {
    /// Time between two sweeps of the bucket for objects that were never committed; the leader does it
    #[arg(
        long,
        env = "AQUIFER_SWEEP_INTERVAL",
        value_name = "TIME",
        default_value = "1h",
        value_parser = above_zero::<Span>
    )]
    pub(crate) sweep_interval: Span,

    /// Lets a sweep that stopped and asked delete up to so many objects (the log names the number); it is no
    /// approval of later ones
    #[arg(long, env = "AQUIFER_SWEEP_APPROVE", value_name = "N")]
    pub(crate) sweep_approve: Option<u64>,
}

/// Tables for people, in the database of the metadata service.
#[derive(Debug, Args)]
pub(crate) struct SqlProjection {
    /// Keeps tables of topics, partitions and objects in the database, for queries; whoever leads writes
    /// them, and nothing depends on them
    #[arg(long, env = "AQUIFER_SQL_PROJECTION", value_parser = BoolishValueParser::new())]
    pub(crate) sql_projection: bool,

    /// Schema that these tables are in, which is made if it isn't there; of its own for each cluster
    #[arg(
        long,
        env = "AQUIFER_SQL_PROJECTION_SCHEMA",
        value_name = "NAME",
        default_value_t = SchemaName::default()
    )]
    pub(crate) sql_projection_schema: SchemaName,

    /// Time between two refreshes of these tables
    #[arg(
        long,
        env = "AQUIFER_SQL_PROJECTION_INTERVAL",
        value_name = "TIME",
        default_value = "5s",
        value_parser = above_zero::<Span>
    )]
    pub(crate) sql_projection_interval: Span,
}

/// A metadata process, or a command about its state.
#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true)]
pub(crate) struct Metadata {
    #[command(subcommand)]
    pub(crate) action: Option<MetadataAction>,
    #[command(flatten)]
    pub(crate) process: MetadataProcess,
}

/// A metadata process. Database and bucket are needed unless there is a subcommand, which has its own.
#[derive(Debug, Args)]
pub(crate) struct MetadataProcess {
    #[arg(
        long,
        help = POSTGRES,
        env = "AQUIFER_POSTGRES",
        value_name = "URL",
        hide_env_values = true,
        required = true
    )]
    pub(crate) postgres: Option<String>,
    #[arg(
        long,
        help = BUCKET,
        env = "AQUIFER_BUCKET",
        value_name = "URL",
        required = true
    )]
    pub(crate) bucket: Option<String>,

    /// Where agents connect
    #[arg(
        long,
        env = "AQUIFER_METADATA_LISTEN",
        value_name = "ADDR",
        default_value = "0.0.0.0:9645"
    )]
    pub(crate) listen: Listen,

    /// What agents and the other metadata processes are told to connect to; the default is the address
    /// of --listen, or this machine's name
    #[arg(long, env = "AQUIFER_METADATA_ADVERTISE", value_name = "HOST[:PORT]")]
    pub(crate) advertise: Option<Advertised>,
    #[command(flatten)]
    pub(crate) broker_configs: BrokerConfigs,
    #[command(flatten)]
    pub(crate) groups: GroupMetrics,
    #[command(flatten)]
    pub(crate) sweeping: Sweeping,
    #[command(flatten)]
    pub(crate) upkeep: Upkeep,
    #[command(flatten)]
    pub(crate) projection: SqlProjection,
    #[command(flatten)]
    pub(crate) http: Http,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// A metadata process and an agent in one.
#[derive(Debug, Args)]
pub(crate) struct Server {
    #[command(flatten)]
    pub(crate) postgres: Postgres,
    #[command(flatten)]
    pub(crate) bucket: Bucket,
    #[command(flatten)]
    pub(crate) serving: Serving,

    /// Where agents of other processes reach the metadata service in this one
    #[arg(
        long,
        env = "AQUIFER_METADATA_LISTEN",
        value_name = "ADDR",
        default_value = "0.0.0.0:9645"
    )]
    pub(crate) metadata_listen: Listen,

    /// What they are told to connect to; the default is the address of --metadata-listen, or this
    /// machine's name
    #[arg(long, env = "AQUIFER_METADATA_ADVERTISE", value_name = "HOST[:PORT]")]
    pub(crate) metadata_advertise: Option<Advertised>,
    #[command(flatten)]
    pub(crate) groups: GroupMetrics,
    #[command(flatten)]
    pub(crate) sweeping: Sweeping,
    #[command(flatten)]
    pub(crate) upkeep: Upkeep,
    #[command(flatten)]
    pub(crate) compaction: Beside,
    #[command(flatten)]
    pub(crate) projection: SqlProjection,
    #[command(flatten)]
    pub(crate) http: Http,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// What can be done to the metadata service's state.
#[derive(Debug, Subcommand)]
pub(crate) enum MetadataAction {
    /// Creates or updates the tables in the database
    ///
    /// A process that starts does the same; this is for databases where only another user may. Nothing
    /// that runs is disturbed.
    Migrate(MetadataMigrate),
    /// Shows what database and bucket say, and whether they agree
    ///
    /// Changes nothing. The exit code is not 0 if nobody may serve from the two.
    Status(MetadataStatus),
    /// Goes on after the database lost rows
    ///
    /// Everything that was acknowledged after the database's newest row is gone for readers. Each
    /// partition goes on above every offset that anybody remembers, so none is ever used twice, and the
    /// cluster begins a new incarnation. Let agents and metadata processes run some seconds before: they
    /// leave what they remember in the bucket. Running ones notice by themselves that it was accepted.
    AcceptLoss(AcceptLoss),
    /// Brings a cluster back from its bucket into an empty database
    ///
    /// For when the database is gone for good. The newest backup is read, and what compactors merged since; each
    /// partition says up to which offset its records are those that were acknowledged, and goes on above every offset that
    /// anybody remembers. The cluster begins a new incarnation. No process of it may run meanwhile.
    Restore(MetadataRestore),
}

/// Where a cluster comes back.
#[derive(Debug, Args)]
pub(crate) struct MetadataRestore {
    #[command(flatten)]
    pub(crate) postgres: Postgres,
    #[command(flatten)]
    pub(crate) bucket: Bucket,

    /// Offsets that each partition leaves out above the highest that anybody remembers
    #[arg(
        long,
        env = "AQUIFER_GAP",
        value_name = "N",
        default_value_t = 1_000_000
    )]
    pub(crate) gap: u32,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// The database whose tables are created or updated.
#[derive(Debug, Args)]
pub(crate) struct MetadataMigrate {
    #[command(flatten)]
    pub(crate) postgres: Postgres,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Database and bucket of a cluster.
#[derive(Debug, Args)]
pub(crate) struct MetadataStatus {
    #[command(flatten)]
    pub(crate) postgres: Postgres,
    #[command(flatten)]
    pub(crate) bucket: Bucket,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// How a loss is accepted.
#[derive(Debug, Args)]
pub(crate) struct AcceptLoss {
    #[command(flatten)]
    pub(crate) postgres: Postgres,
    #[command(flatten)]
    pub(crate) bucket: Bucket,

    /// Offsets that each partition leaves out above the highest that anybody remembers
    #[arg(
        long,
        env = "AQUIFER_GAP",
        value_name = "N",
        default_value_t = 1_000_000
    )]
    pub(crate) gap: u32,

    /// Also where nothing says that rows were lost: after a restore that nobody can have noticed
    #[arg(long, env = "AQUIFER_EVEN_IF_NOTHING_IS_MISSING", value_parser = BoolishValueParser::new())]
    pub(crate) even_if_nothing_is_missing: bool,

    #[command(flatten)]
    pub(crate) output: Output,
}
