//! `aquifer bucket fsck`.

use anyhow::Result;
use clap::{Args, builder::BoolishValueParser};

use crate::arguments::{Output, cluster, topic::MetadataService};

#[derive(Debug, Args)]
pub(super) struct BucketFsck {
    #[command(flatten)]
    bucket: cluster::Bucket,
    #[command(flatten)]
    service: MetadataService,

    /// Deletes leaks, and ends uploads that nobody is at any more
    #[arg(long, env = "AQUIFER_REPAIR", value_parser = BoolishValueParser::new())]
    repair: bool,

    #[command(flatten)]
    output: Output,
}

pub(super) fn run(arguments: &BucketFsck) -> Result<()> {
    let _ = (
        &arguments.bucket,
        &arguments.service,
        arguments.repair,
        &arguments.output,
    );
    todo!("builder A")
}
