//! Flags.

use std::str::FromStr;

use clap::Parser;

const EXAMPLES: &str = "\
Examples:
  aquifer-bench --rate max                                  how much goes through
  aquifer-bench --rate 10,50 --seconds 60                   latency at 10 and at 50 MB/s
  aquifer-bench --rate max,25%,50% --metrics 127.0.0.1:9644 shares of the maximum, and where the time goes";

/// Latency and throughput of a Kafka cluster under an open load.
#[derive(Clone, Debug, Parser)]
#[command(name = "aquifer-bench", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where to connect
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "ADDR")]
    pub(crate) bootstrap: String,

    /// Topic to use; it is created if it isn't there, and kept
    #[arg(long, default_value = "aquifer-bench", value_name = "NAME")]
    pub(crate) topic: String,

    /// Partitions of the topic if it is created
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub(crate) partitions: i32,

    /// Producers, each with connections of its own
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) producers: u32,

    /// Consumers that read everything as it comes; 0 = none
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=64))]
    pub(crate) consumers: u32,

    /// Bytes of a record's value
    #[arg(long, default_value_t = 1024, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=900_000))]
    pub(crate) record_bytes: u32,

    /// What to offer, one run each: MB/s (10^6 bytes of values), max (as much as goes), or a share of the
    /// maximum (25%)
    #[arg(
        long,
        default_value = "max,25%",
        value_delimiter = ',',
        value_name = "RATE"
    )]
    pub(crate) rate: Vec<Rate>,

    /// How long each run is measured
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,

    /// How long each run goes before it is measured
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=3_600))]
    pub(crate) warm_up: u64,

    /// Setting of the producers (librdkafka's names); can be repeated. Without any they are stock, with
    /// idempotence on as the Java client has it
    #[arg(short = 'X', long, value_name = "NAME=VALUE")]
    pub(crate) producer_setting: Vec<String>,

    /// Client ids, in turn over producers and consumers: agents read zones from them
    #[arg(
        long,
        value_delimiter = ' ',
        default_value = "aquifer-bench",
        value_name = "ID"
    )]
    pub(crate) client_id: Vec<String>,

    /// HTTP address of an agent, to read what its acknowledgements waited for; can be repeated
    #[arg(long, value_delimiter = ',', value_name = "ADDR")]
    pub(crate) metrics: Vec<String>,

    /// One JSON object per run
    #[arg(long)]
    pub(crate) json: bool,
}

/// What one run offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// 10^6 bytes of values per second.
    Megabytes(f64),
    /// As much as goes.
    Max,
    /// Percent of the maximum.
    Percent(f64),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let number: f64 = text.trim().parse().map_err(|_| wrong(text))?;
            let sane = number > 0.0 && number < 1e6;
            if sane { Ok(number) } else { Err(wrong(text)) }
        };
        match (text, text.strip_suffix('%')) {
            ("max", _) => Ok(Self::Max),
            (_, Some(percent)) => number(percent).map(Self::Percent),
            (plain, None) => number(plain).map(Self::Megabytes),
        }
    }
}

fn wrong(text: &str) -> String {
    format!("{text} is no rate: it is MB/s such as 25, a share of the maximum such as 25%, or max")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn rates_are_read() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("2.5".parse(), Ok(Rate::Megabytes(2.5)));
        assert_eq!("25%".parse(), Ok(Rate::Percent(25.0)));
        for wrong in ["", "0", "-1", "x", "1e9", "%", "nan", "inf"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_flags_are_consistent() {
        Arguments::command().debug_assert();
    }
}
