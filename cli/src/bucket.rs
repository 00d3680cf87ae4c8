//! `aquifer bucket`: looks at a bucket before a cluster runs on it.

mod fsck;

use anyhow::{Result, bail};
use aquifer_store::{
    Ports,
    administration::{self, Report, Verdict},
};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    arguments::Output,
    output::{Column, Printer, Record, text},
    runtime::wait,
};

#[derive(Debug, Args)]
pub(crate) struct Bucket {
    #[command(subcommand)]
    action: BucketAction,
}

#[derive(Debug, Subcommand)]
enum BucketAction {
    /// Tries whether a bucket is fit for a cluster
    ///
    /// Writes a few small objects, lets two creators race for one, reads, lists and deletes them again; looks
    /// at lifecycle rules and versioning, or says how to where it cannot (gs://, az://). The exit code is not 0 if
    /// a cluster must not run on it.
    Check(BucketCheck),
    /// Compares a bucket with the metadata: leaks, missing objects
    ///
    /// What nobody knows and is too old to be committed is a leak; with --repair leaks are deleted. The exit code
    /// is not 0 if an object is missing, or a leak stays.
    Fsck(fsck::BucketFsck),
}

#[derive(Debug, Args)]
struct BucketCheck {
    /// The bucket: s3://BUCKET/PREFIX (with ?region=.. and ?endpoint=.. where needed), gs://BUCKET/PREFIX,
    /// az://CONTAINER/PREFIX (with ?account=.. where needed), file:///FOLDER
    #[arg(env = "AQUIFER_BUCKET", value_name = "URL")]
    url: String,

    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub(crate) fn run(bucket: &Bucket) -> Result<()> {
    let check = match &bucket.action {
        BucketAction::Check(check) => check,
        BucketAction::Fsck(arguments) => return fsck::run(arguments),
    };
    let ports = Ports::system();
    let report = wait(administration::check(&check.url, &ports, None))??;
    show(&report, check.output)?;
    let refusals: Vec<&str> = report.refusals().map(|(_, reason)| reason).collect();
    if refusals.is_empty() {
        return Ok(());
    }
    bail!(
        "{} is not fit for a cluster: {}",
        report.bucket,
        refusals.join("; ")
    )
}

fn show(report: &Report, output: Output) -> Result<()> {
    const COLUMNS: [Column; 3] = [text("check"), text("verdict"), text("why")];
    let records = report.findings.iter().map(|(subject, verdict)| {
        let (name, why) = match verdict {
            Verdict::Good => ("ok", ""),
            Verdict::Warning(why) => ("warning", why.as_str()),
            Verdict::Refused(why) => ("refused", why.as_str()),
        };
        Record {
            cells: vec![subject.to_string(), name.to_owned(), why.to_owned()],
            json: json!({
                "bucket": report.bucket, "check": subject.to_string(), "verdict": name, "text": why,
            }),
        }
    });
    Printer::stdout(output).table(&COLUMNS, &records.collect::<Vec<_>>())
}
