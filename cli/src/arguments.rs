//! Flags of every command. Each is also an environment variable and a key of the settings file, of the same
//! name. The exceptions are `--listen` and `--advertise` of `aquifer metadata`: they are metadata-listen and
//! metadata-advertise there, as `aquifer server` has them, since an agent's are others.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, builder::BoolishValueParser};

use crate::{
    address::{Advertised, Listen, host_only},
    bucket::Bucket,
    start_position::From,
    units::{Bytes, Span, above_zero},
};

pub(crate) mod cluster;

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
  compression = \"zstd\"";

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
    Server(cluster::Server),
    /// Runs an agent: it serves Kafka clients and keeps nothing
    ///
    /// SIGTERM drains: clients move to other agents, what was accepted is finished.
    Agent(cluster::Agent),
    /// Runs a metadata process: one leads, the others stand by; or looks after its database
    Metadata(cluster::Metadata),
    /// Creates, lists, describes and deletes topics
    Topic(Topic),
    /// Sends lines of a file or of stdin as records
    ///
    /// Idempotent, with acks=all: each line is in the topic once, in order per partition, or reported
    /// with its number and an exit code that is not 0.
    Produce(Produce),
    /// Prints the records of a topic
    Consume(Consume),
    /// Tries whether a bucket is fit for a cluster
    Bucket(Bucket),
}

impl Command {
    /// Whether it runs a server, whose log is of interest.
    pub(crate) fn serves(&self) -> bool {
        match self {
            Self::Dev(_) | Self::Server(_) | Self::Agent(_) => true,
            Self::Metadata(metadata) => metadata.action.is_none(),
            Self::Topic(_) | Self::Produce(_) | Self::Consume(_) | Self::Bucket(_) => false,
        }
    }
}

#[derive(Debug, Args)]
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
    pub(crate) tuning: Tuning,
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
    /// folder (250ms in a bucket, where each request costs money)
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
    pub(crate) client_setting: Vec<String>,

    /// How long to wait for the cluster
    #[arg(
        long,
        env = "AQUIFER_TIMEOUT",
        value_name = "TIME",
        default_value = "10s"
    )]
    pub(crate) timeout: Span,
}

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
    /// Shows a topic's partitions: leader, first and next offset, number of records
    Describe(TopicDescribe),
    /// Deletes topics with all their records
    Delete(TopicDelete),
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
    pub(crate) topic_config: Vec<String>,

    /// No error where it exists already
    #[arg(long, env = "AQUIFER_IF_NOT_EXISTS", value_parser = BoolishValueParser::new())]
    pub(crate) if_not_exists: bool,

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
    pub(crate) bootstrap: Bootstrap,
}

#[derive(Debug, Args)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aquifer produce lines < /var/log/syslog
  aquifer produce users --key-separator : --file /etc/passwd --compression zstd
  echo hello | aquifer produce greetings --header from=me --header lang=en --partition 0")]
pub(crate) struct Produce {
    /// Name of the topic; it is created if the cluster does that
    pub(crate) topic: String,

    /// File to read lines from; the default, or -, is stdin
    #[arg(short, long, env = "AQUIFER_FILE", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// What is between key and value in a line. A line without it has a value only
    #[arg(short, long, env = "AQUIFER_KEY_SEPARATOR", value_name = "TEXT")]
    pub(crate) key_separator: Option<String>,

    /// A value that is exactly this text is sent as null (a tombstone)
    #[arg(long, env = "AQUIFER_NULL_MARKER", value_name = "TEXT")]
    pub(crate) null_marker: Option<String>,

    /// Header for each record; can be repeated, with equal names too
    #[arg(
        short = 'H',
        long,
        env = "AQUIFER_HEADER",
        value_name = "NAME=VALUE",
        value_delimiter = ';'
    )]
    pub(crate) header: Vec<String>,

    /// Partition for each record; the default is by key, as the Java client does
    #[arg(short, long, env = "AQUIFER_PARTITION", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: Option<i32>,

    /// Compression of batches
    #[arg(
        short = 'z',
        long,
        env = "AQUIFER_COMPRESSION",
        value_name = "CODEC",
        default_value = "lz4"
    )]
    pub(crate) compression: Codec,

    /// How long a record may take to be written before it is reported as failed
    #[arg(
        long,
        env = "AQUIFER_DELIVERY_TIMEOUT",
        value_name = "TIME",
        default_value = "1m"
    )]
    pub(crate) delivery_timeout: Span,

    /// No progress bar and no summary
    #[arg(short, long, env = "AQUIFER_QUIET", value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aquifer consume lines --exit-at-end > copy.txt
  aquifer consume lines --from end                          follow what is new
  aquifer consume lines --from -10                          the last ten of each partition, then follow
  aquifer consume lines --from 15m                          what came in the last 15 minutes, then follow
  aquifer consume lines --from 2026-11-22T17:00:00Z --count 100
  aquifer consume users --format '{partition}/{offset} {time} {key}={value} {headers}'
  aquifer consume users -o json --exit-at-end | jq .value")]
pub(crate) struct Consume {
    /// Name of the topic
    pub(crate) topic: String,

    /// Where to begin: beginning, end, an offset, -N (the last N of each partition), a time
    /// (2026-11-22T17:00:00Z, or milliseconds as @1795366800000) or how long ago (15m)
    #[arg(
        long,
        env = "AQUIFER_FROM",
        value_name = "WHERE",
        default_value = "beginning",
        allow_hyphen_values = true
    )]
    pub(crate) from: From,

    /// Stop after this many records
    #[arg(short = 'n', long, env = "AQUIFER_COUNT", value_name = "N")]
    pub(crate) count: Option<u64>,

    /// Stop where the topic ended when the command began
    #[arg(short, long, env = "AQUIFER_EXIT_AT_END", value_parser = BoolishValueParser::new())]
    pub(crate) exit_at_end: bool,

    /// Only this partition; can be repeated
    #[arg(
        short,
        long,
        env = "AQUIFER_PARTITION",
        value_name = "N",
        value_delimiter = ','
    )]
    pub(crate) partition: Vec<i32>,

    /// What to print for each record: {topic}, {partition}, {offset}, {time}, {timestamp} (milliseconds),
    /// {key}, {value}, {headers}; \n and \t are known, the line ends by itself
    #[arg(
        short,
        long,
        env = "AQUIFER_FORMAT",
        value_name = "TEXT",
        default_value = "{value}"
    )]
    pub(crate) format: String,

    #[command(flatten)]
    pub(crate) output: Output,

    /// No progress bar
    #[arg(short, long, env = "AQUIFER_QUIET", value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}
