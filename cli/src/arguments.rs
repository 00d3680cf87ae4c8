//! Flags of every command. Each is also an environment variable and a key of the settings file, of the same
//! name. The exceptions are `--listen` and `--advertise` of `aquifer metadata`: they are metadata-listen and
//! metadata-advertise there, as `aquifer server` has them, since an agent's are others.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, builder::BoolishValueParser};

use crate::{
    address::{Advertised, Listen, host_only},
    broker_configs::broker_config,
    bucket::Bucket,
    key_value::KeyValue,
    units::{Bytes, Span, above_zero},
};

pub(crate) mod cluster;
pub(crate) mod compactor;
pub(crate) mod configs;
pub(crate) mod group;
pub(crate) mod inspect;
pub(crate) mod records;
pub(crate) mod status;
pub(crate) mod topic;

const EXAMPLES: &str = "\
Try it:
  aquifer dev                                     start a broker, data in ./aquifer-data
  aquifer produce services --file /etc/services   send each line as a record
  aquifer consume services --count 5              print the first five records
  kcat -b 127.0.0.1:9092 -L                       any Kafka client works

Settings:
  A flag wins over its environment variable (shown with each flag), that over
  the file of --config, that over the default. The file is TOML: a key is a
  flag's name, at the top for every command, or in a table for one command
  (at the top, the two addresses of `aquifer metadata` are metadata-listen and
  metadata-advertise, as their variables are):

  kafka-listen = \"0.0.0.0:9092\"
  [produce]
  compression = \"zstd\"

Output and exit codes:
  Every command that prints has -o json: one JSON object per line.
  0 = done; 1 = failed, or what was looked at is not healthy; 2 = arguments or
  settings that cannot be. What went wrong is one line on stderr.";

/// A Kafka-compatible broker whose only disk is a bucket.
#[derive(Debug, Parser)]
#[command(name = "aquifer", version, after_help = EXAMPLES, subcommand_required = true)]
pub(crate) struct Arguments {
    /// Settings file (TOML)
    #[arg(long, global = true, env = "AQUIFER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// What to log, to stderr: error, warn, info, debug, trace, or a filter such as
    /// aquifer_agent=debug,info. The default is info for servers, warn for other commands
    #[arg(long, global = true, env = "AQUIFER_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs everything in one process, on a folder: for development and tests
    ///
    /// Metadata goes to SQLite in DIR/metadata, records go to objects in DIR/bucket. Both survive being
    /// killed. SIGTERM and Ctrl-C finish what was accepted; a second one stops at once.
    Dev(Dev),
    /// Runs everything in one process, on Postgres and a bucket
    ///
    /// A metadata process and an agent in one. Several of them on one database and bucket are a cluster:
    /// one leads the metadata service, the others stand by. SIGTERM drains: clients move, what was
    /// accepted is finished.
    Server(Box<cluster::Server>),
    /// Runs an agent: it serves Kafka clients and keeps nothing
    ///
    /// SIGTERM drains: clients move to other agents, what was accepted is finished.
    Agent(cluster::Agent),
    /// Runs a compactor: it merges and deletes objects as the metadata leader plans it
    ///
    /// Any number of them on one cluster. SIGTERM ends the jobs under way, for up to 30 s; being killed harms
    /// nothing.
    Compactor(compactor::Compactor),
    /// Runs a metadata process: one leads, the others stand by; or looks after its database
    Metadata(cluster::Metadata),
    /// Creates, lists, describes, alters and deletes topics
    Topic(topic::Topic),
    /// Shows and changes the configs of topics and brokers
    Config(configs::Config),
    /// Lists and describes groups of consumers, sets and deletes what they committed
    Group(group::Group),
    /// Sends lines of a file or of stdin as records
    ///
    /// Idempotent, with acks=all: each line is in the topic once, in order per partition, or reported
    /// with its number and an exit code that is not 0.
    Produce(records::Produce),
    /// Prints the records of a topic
    Consume(records::Consume),
    /// Shows whether a cluster is healthy
    Cluster(status::Cluster),
    /// Tries whether a bucket is fit for a cluster
    Bucket(Bucket),
    /// Shows what objects, the metadata journal and its pages hold
    Inspect(inspect::Inspect),
    /// Prints the completions of a shell, to be loaded by it
    ///
    /// For bash: aquifer completions bash > ~/.local/share/bash-completion/completions/aquifer
    Completions(Completions),
}

impl Command {
    /// Whether it runs a server, whose log is of interest.
    pub(crate) fn serves(&self) -> bool {
        match self {
            Self::Dev(_) | Self::Server(_) | Self::Agent(_) | Self::Compactor(_) => true,
            Self::Metadata(metadata) => metadata.action.is_none(),
            Self::Topic(_)
            | Self::Config(_)
            | Self::Group(_)
            | Self::Produce(_)
            | Self::Consume(_)
            | Self::Cluster(_)
            | Self::Bucket(_)
            | Self::Inspect(_)
            | Self::Completions(_) => false,
        }
    }
}

#[derive(Debug, Args)]
// A folder that can be copied needs no backups beside it.
#[command(mut_arg("backup_interval", |argument| argument.default_value("0s")))]
pub(crate) struct Dev {
    /// Folder for all data; it is made if it isn't there
    #[arg(
        long,
        env = "AQUIFER_DATA",
        value_name = "DIR",
        default_value = "./aquifer-data"
    )]
    pub(crate) data: PathBuf,

    /// Where Kafka clients connect
    #[arg(
        long,
        env = "AQUIFER_KAFKA_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:9092"
    )]
    pub(crate) kafka_listen: Listen,

    /// Where health (/health/live, /health/ready) and metrics (/metrics) are served
    #[arg(
        long,
        env = "AQUIFER_HTTP_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:9644"
    )]
    pub(crate) http_listen: Listen,

    /// Host name that clients are told to connect to; the default is the address of --kafka-listen
    #[arg(long, env = "AQUIFER_ADVERTISE_HOST", value_name = "HOST", value_parser = host_only)]
    pub(crate) advertise_host: Option<Advertised>,

    /// How many node ids to show, each on a port of its own from --kafka-listen upward (1 to 16)
    #[arg(
        long,
        env = "AQUIFER_NODE_IDS",
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=16)
    )]
    pub(crate) node_ids: u8,

    #[command(flatten)]
    pub(crate) clients: Clients,

    #[command(flatten)]
    pub(crate) groups: group::GroupMetrics,

    #[command(flatten)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) compaction: compactor::Beside,

    #[command(flatten)]
    pub(crate) upkeep: compactor::Upkeep,
}

/// How clients are served, by one process as in a cluster.
#[derive(Debug, Args)]
pub(crate) struct Clients {
    /// Zone of this process; clients that name theirs are sent to agents of the same
    #[arg(long, env = "AQUIFER_ZONE", value_name = "ZONE", default_value = "")]
    pub(crate) zone: String,

    /// Whether topics are created when a client asks for one that isn't there
    #[arg(
        long,
        env = "AQUIFER_AUTO_CREATE_TOPICS",
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) auto_create_topics: bool,

    #[command(flatten)]
    pub(crate) broker_configs: BrokerConfigs,

    /// Whether clients are asked to push their metrics (KIP-714), which are counted
    #[arg(
        long,
        env = "AQUIFER_CLIENT_METRICS",
        value_name = "WHAT",
        default_value = "drop"
    )]
    pub(crate) client_metrics: ClientMetrics,

    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

/// What becomes of the metrics of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientMetrics {
    /// Clients push none
    Drop,
    /// Clients push all that they have
    Keep,
}

/// Broker configs as Kafka names them, from the start of a process.
#[derive(Debug, Args)]
pub(crate) struct BrokerConfigs {
    /// Broker config of Kafka, such as log.retention.hours=24; can be repeated. What is set while the
    /// cluster runs (aquifer config set) goes before it. Give all processes of a cluster the same
    #[arg(
        long,
        env = "AQUIFER_BROKER_CONFIG",
        value_name = "NAME=VALUE",
        value_delimiter = ';',
        value_parser = broker_config
    )]
    pub(crate) broker_config: Vec<KeyValue>,
}

/// What trades latency, memory and requests for each other.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tuning")]
pub(crate) struct Tuning {
    /// An object is written at this size at the latest: larger ones cost fewer requests per byte and
    /// more memory
    #[arg(
        long,
        env = "AQUIFER_FLUSH_BYTES",
        value_name = "SIZE",
        default_value = "8MiB",
        value_parser = above_zero::<Bytes>
    )]
    pub(crate) flush_bytes: Bytes,

    /// An object is written this long after its first record at the latest. The default is 5ms in a
    /// folder (250ms in a bucket, where each request costs money: an agent with little to do sends one
    /// per interval at most)
    #[arg(long, env = "AQUIFER_FLUSH_INTERVAL", value_name = "TIME")]
    pub(crate) flush_interval: Option<Span>,

    /// Whether records that came uncompressed are compressed in the bucket (clients get them as they
    /// were sent)
    #[arg(
        long,
        env = "AQUIFER_BLOCK_COMPRESSION",
        value_name = "CODEC",
        default_value = "zstd"
    )]
    pub(crate) block_compression: BlockCompression,

    /// Memory for records on their way to the bucket; past it, clients wait
    #[arg(
        long,
        env = "AQUIFER_PRODUCE_MEMORY",
        value_name = "SIZE",
        default_value = "256MiB",
        value_parser = above_zero::<Bytes>
    )]
    pub(crate) produce_memory: Bytes,

    /// Memory for objects that were written or read lately
    #[arg(
        long,
        env = "AQUIFER_CACHE_MEMORY",
        value_name = "SIZE",
        default_value = "256MiB"
    )]
    pub(crate) cache_memory: Bytes,

    /// Most Kafka connections at a time
    #[arg(
        long,
        env = "AQUIFER_CONNECTIONS_MAX",
        value_name = "N",
        default_value_t = 20_000
    )]
    pub(crate) connections_max: usize,

    /// A connection without a request for this long is closed
    #[arg(
        long,
        env = "AQUIFER_IDLE_MAX",
        value_name = "TIME",
        default_value = "10m",
        value_parser = above_zero::<Span>
    )]
    pub(crate) idle_max: Span,

    /// How long a stop may take to finish what was accepted
    #[arg(
        long,
        env = "AQUIFER_DRAIN_MAX",
        value_name = "TIME",
        default_value = "10s"
    )]
    pub(crate) drain_max: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BlockCompression {
    /// zstd, level 1
    Zstd,
    /// As they came
    None,
}

/// How to reach a cluster.
#[derive(Debug, Args)]
pub(crate) struct Bootstrap {
    /// Address of any broker of the cluster; several are separated by commas
    #[arg(
        short,
        long,
        env = "AQUIFER_BOOTSTRAP",
        value_name = "ADDR",
        default_value = "127.0.0.1:9092"
    )]
    pub(crate) bootstrap: String,

    /// Setting of the Kafka client (librdkafka), such as socket.timeout.ms=5000; can be repeated
    #[arg(
        short = 'X',
        long,
        env = "AQUIFER_CLIENT_SETTING",
        value_name = "KEY=VALUE",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub(crate) client_setting: Vec<KeyValue>,

    /// How long to wait for the cluster
    #[arg(
        long,
        env = "AQUIFER_TIMEOUT",
        value_name = "TIME",
        default_value = "10s"
    )]
    pub(crate) timeout: Span,
}

/// In what form a command prints.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// Form of what is printed
    #[arg(
        short,
        long,
        env = "AQUIFER_OUTPUT",
        value_name = "FORM",
        default_value = "text"
    )]
    pub(crate) output: OutputForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputForm {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// Which completions are printed.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}
