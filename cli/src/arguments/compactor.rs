//! Flags of `aquifer compactor`, and of processes that compact beside what else they do.

use std::path::PathBuf;

use clap::{Args, builder::BoolishValueParser};

use super::cluster::{Bucket, Http, Secret};
use crate::units::{Bytes, Span, above_zero};

/// A compactor.
#[derive(Debug, Args)]
pub(crate) struct Compactor {
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
    pub(crate) work: Work,
    #[command(flatten)]
    pub(crate) http: Http,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// How much a compactor does at once.
#[derive(Debug, Args)]
#[command(next_help_heading = "Compaction")]
pub(crate) struct Work {
    /// Jobs at once
    #[arg(
        long,
        env = "AQUIFER_COMPACTION_JOBS",
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    pub(crate) compaction_jobs: u16,

    /// Memory of each job
    #[arg(
        long,
        env = "AQUIFER_COMPACTION_MEMORY",
        value_name = "BYTES",
        default_value = "448MiB",
        value_parser = memory
    )]
    pub(crate) compaction_memory: Bytes,

    /// Folder for keys of large compacted topics; the default is the system's for temporary files
    #[arg(long, env = "AQUIFER_COMPACTION_SPILL", value_name = "DIR")]
    pub(crate) compaction_spill: Option<PathBuf>,
}

/// Least memory of a job: inputs are read in pieces that are worth a request each.
const MEMORY_MIN: u64 = 64 << 20;

fn memory(text: &str) -> Result<Bytes, String> {
    let bytes: Bytes = text.parse()?;
    if bytes.0 < MEMORY_MIN {
        return Err(format!("it must be at least {}", Bytes(MEMORY_MIN)));
    }
    Ok(bytes)
}

/// Compaction in a process that serves, too.
#[derive(Debug, Args)]
pub(crate) struct Beside {
    /// Compacts in this process, too; switch it off where `aquifer compactor` runs
    #[arg(
        long,
        env = "AQUIFER_COMPACT",
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) compact: bool,
    #[command(flatten)]
    pub(crate) work: Work,
}

/// How the leader looks after bucket and backups.
#[derive(Debug, Args)]
#[command(next_help_heading = "Upkeep")]
pub(crate) struct Upkeep {
    /// Time between two backups of the metadata into the bucket; 0s = none, and deletions wait for none
    #[arg(
        long,
        env = "AQUIFER_BACKUP_INTERVAL",
        value_name = "TIME",
        default_value = "5m"
    )]
    pub(crate) backup_interval: Span,

    /// Age of small objects from which on a few of them are merged, in upload epochs (minutes)
    #[arg(
        long,
        env = "AQUIFER_COMPACTION_AGE",
        value_name = "N",
        default_value_t = 5
    )]
    pub(crate) compaction_age: u32,

    /// How many small objects are merged at once at most, and in any case
    #[arg(
        long,
        env = "AQUIFER_COMPACTION_FAN_IN",
        value_name = "N",
        default_value_t = 128,
        value_parser = clap::value_parser!(u16).range(2..=128)
    )]
    pub(crate) compaction_fan_in: u16,

    /// Length of an upload epoch, for tests: all ages of objects are counted in it
    #[arg(
        long,
        env = "AQUIFER_UPLOAD_EPOCH",
        value_name = "TIME",
        default_value = "60s",
        hide = true,
        value_parser = above_zero::<Span>
    )]
    pub(crate) upload_epoch: Span,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_is_told() {
        assert_eq!(memory("64MiB"), Ok(Bytes(MEMORY_MIN)));
        assert_eq!(memory("63MiB"), Err("it must be at least 64MiB".to_owned()));
        assert!(memory("much").is_err());
    }
}
