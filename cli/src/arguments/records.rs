//! Flags of `produce` and `consume`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, builder::BoolishValueParser};

use super::{Bootstrap, Output};
use crate::{key_value::KeyValue, record_format::RecordFormat, start_position::From, units::Span};

/// Codec of the batches that are sent.
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
    pub(crate) header: Vec<KeyValue>,

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
    pub(crate) output: Output,

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
        default_value = "{value}",
        value_parser = RecordFormat::template
    )]
    pub(crate) format: RecordFormat,

    #[command(flatten)]
    pub(crate) output: Output,

    /// No progress bar
    #[arg(short, long, env = "AQUIFER_QUIET", value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}
