//! `aquifer bucket`: looks at a bucket before a cluster runs on it.

use std::io::{self, Write};

use anyhow::{Context as _, Result, bail};
use aquifer_store::{
    Ports,
    administration::{self, Report, Verdict},
};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::arguments::{Output, OutputForm};

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
    /// at lifecycle rules and versioning. The exit code is not 0 if a cluster must not run on it.
    Check(BucketCheck),
}

#[derive(Debug, Args)]
struct BucketCheck {
    /// The bucket: s3://BUCKET/PREFIX (with ?region=.. and ?endpoint=.. where needed), file:///FOLDER
    #[arg(env = "AQUIFER_BUCKET", value_name = "URL")]
    url: String,

    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub(crate) fn run(bucket: &Bucket) -> Result<()> {
    let BucketAction::Check(check) = &bucket.action;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let ports = Ports::system();
    let looked = administration::check(&check.url, &ports, None);
    let report = runtime.block_on(looked)?;
    show(&report, check.output.output)?;
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

fn show(report: &Report, form: OutputForm) -> Result<()> {
    let mut out = io::stdout().lock();
    for (subject, verdict) in &report.findings {
        let (name, text) = match verdict {
            Verdict::Good => ("ok", ""),
            Verdict::Warning(text) => ("warning", text.as_str()),
            Verdict::Refused(text) => ("refused", text.as_str()),
        };
        let line = match form {
            OutputForm::Text => format!("{subject:<12}{name:<8} {text}").trim_end().to_owned(),
            OutputForm::Json => json!({
                "bucket": report.bucket, "check": subject.to_string(), "verdict": name, "text": text,
            })
            .to_string(),
        };
        match writeln!(out, "{line}") {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
