//! Flags of `aquifer config`.

use clap::{Args, Subcommand, builder::BoolishValueParser};

use super::{Bootstrap, Output};
use crate::key_value::KeyValue;

/// What is done to configs.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) action: ConfigAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Shows configs: value, where it comes from, the default, and whether it does something here
    ///
    /// Those that do something and those that were set; --all shows the rest too. Without --topic they are
    /// those of a broker.
    Describe(ConfigDescribe),
    /// Sets configs of a topic, or of all brokers; they hold at once
    Set(ConfigSet),
    /// Sets configs back to what they are without having been set
    Delete(ConfigDelete),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aquifer config describe --topic logs
  aquifer config describe --topic logs retention.ms cleanup.policy
  aquifer config describe --all -o json | jq 'select(.source == \"static\")'")]
pub(crate) struct ConfigDescribe {
    /// Names of configs; the default is all that do something or were set
    pub(crate) names: Vec<String>,

    /// Of this topic
    #[arg(short, long, env = "AQUIFER_TOPIC", value_name = "NAME")]
    pub(crate) topic: Option<String>,

    /// Of this node, by its id (without --topic). The default is the controller: all nodes have the same
    /// configs, but for those that each was started with
    #[arg(long, env = "AQUIFER_BROKER", value_name = "ID")]
    pub(crate) broker: Option<i32>,

    /// Also those that do nothing here and were not set
    #[arg(short, long, env = "AQUIFER_ALL", value_parser = BoolishValueParser::new())]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aquifer config set --topic logs retention.ms=86400000 cleanup.policy=compact,delete
  aquifer config set log.retention.ms=86400000     what topics have that set no retention.ms")]
pub(crate) struct ConfigSet {
    /// Configs
    #[arg(required = true, value_name = "KEY=VALUE")]
    pub(crate) configs: Vec<KeyValue>,

    /// Of this topic; the default is all brokers
    #[arg(short, long, env = "AQUIFER_TOPIC", value_name = "NAME")]
    pub(crate) topic: Option<String>,

    /// Only says whether it could be done
    #[arg(long, env = "AQUIFER_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigDelete {
    /// Names of configs
    #[arg(required = true, value_name = "KEY")]
    pub(crate) configs: Vec<String>,

    /// Of this topic; the default is all brokers
    #[arg(short, long, env = "AQUIFER_TOPIC", value_name = "NAME")]
    pub(crate) topic: Option<String>,

    /// Only says whether it could be done
    #[arg(long, env = "AQUIFER_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
}
