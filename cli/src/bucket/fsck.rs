//! `aquifer bucket fsck`: what is in the bucket, and what the metadata says of it.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use aquifer_compaction::fsck::{FsckReport, fsck};
use aquifer_format::key::object_name;
use aquifer_metadata_api::{
    Upkeep,
    grpc::{Endpoint, GrpcMetadata, GrpcSettings},
};
use aquifer_store::{Ports, location::Wrapping};
use clap::{Args, builder::BoolishValueParser};
use serde_json::{Value, json};

use crate::{
    arguments::{Output, cluster, topic::MetadataService},
    output::{Column, Printer, Record, number, text},
    runtime::wait,
    secret,
    usage::usage,
};

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
    let report = wait(Box::pin(compare(arguments)))??;
    show(&report, &mut Printer::stdout(arguments.output))?;
    match damage(&report).as_slice() {
        [] => Ok(()),
        damage => bail!("{}", damage.join("; ")),
    }
}

async fn compare(arguments: &BucketFsck) -> Result<FsckReport> {
    let ports = Ports::system();
    let secret = secret::read(&arguments.service.secret)?;
    let endpoints = arguments
        .service
        .metadata
        .iter()
        .map(|text| {
            text.parse::<Endpoint>()
                .map_err(|error| usage(error.to_string()))
        })
        .collect::<Result<Vec<_>>>()?;
    let metadata = GrpcMetadata::new(ports.clone(), GrpcSettings::new(endpoints, secret));
    let metadata: Arc<dyn Upkeep> = Arc::new(metadata);
    let url = &arguments.bucket.bucket;
    let store = aquifer_store::open(url, &ports, Wrapping::default()).await?;
    fsck(store, metadata, arguments.repair)
        .await
        .with_context(|| format!("{url} was not compared with the metadata"))
}

/// What is wrong, and what to do about it.
fn damage(report: &FsckReport) -> Vec<String> {
    let mut damage = Vec::new();
    if report.missing_objects > 0 {
        damage.push(format!(
            "{} objects are missing: their records cannot be read; is it the right bucket? If so, bring them back \
             (versions, a copy), or accept the loss",
            report.missing_objects
        ));
    }
    if !report.resized.is_empty() {
        damage.push(format!(
            "{} objects have another size than they were written with",
            report.resized.len()
        ));
    }
    let left = report.leaked.0.saturating_sub(report.repaired);
    if left > 0 {
        damage.push(format!(
            "{left} objects are leaks; the sweeper deletes those of this incarnation, --repair all"
        ));
    }
    damage
}

fn show<W: std::io::Write>(report: &FsckReport, printer: &mut Printer<W>) -> Result<()> {
    const COLUMNS: [Column; 4] = [
        text("problem"),
        text("object"),
        number("bytes"),
        number("expected bytes"),
    ];
    let (facts, json) = facts(report);
    printer.facts(&facts, &json)?;
    let records = problems(report);
    if records.is_empty() {
        return Ok(());
    }
    printer.heading("")?;
    printer.table(&COLUMNS, &records)
}

fn facts(report: &FsckReport) -> (Vec<(&'static str, String)>, Value) {
    let sum = |(objects, bytes): (u64, u64)| format!("{objects} objects, {bytes} bytes");
    let facts = vec![
        ("incarnation", report.incarnation.to_string()),
        ("upload epoch", report.upload_epoch.to_string()),
        ("live", sum(report.live)),
        ("released", sum(report.released)),
        ("young", sum(report.young)),
        ("leaked", sum(report.leaked)),
        ("missing", report.missing_objects.to_string()),
        ("resized", report.resized.len().to_string()),
        ("unfinished uploads", report.uploads.to_string()),
        ("own keys", report.own.to_string()),
        ("foreign keys", report.foreign.to_string()),
        ("repaired", report.repaired.to_string()),
    ];
    let json = json!({
        "kind": "fsck",
        "clean": report.is_clean(),
        "incarnation": report.incarnation.0,
        "upload_epoch": report.upload_epoch.0,
        "live_objects": report.live.0,
        "live_bytes": report.live.1,
        "released_objects": report.released.0,
        "released_bytes": report.released.1,
        "young_objects": report.young.0,
        "young_bytes": report.young.1,
        "leaked_objects": report.leaked.0,
        "leaked_bytes": report.leaked.1,
        "missing_objects": report.missing_objects,
        "resized_objects": report.resized.len(),
        "unfinished_uploads": report.uploads,
        "own_keys": report.own,
        "foreign_keys": report.foreign,
        "repaired_objects": report.repaired,
    });
    (facts, json)
}

/// A line for each object with which something is wrong, as far as they are named.
fn problems(report: &FsckReport) -> Vec<Record> {
    let record = |problem: &str, object: String, bytes: Option<u64>, expected: Option<u64>| {
        let cell = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
        Record {
            json: json!({
                "kind": "problem", "problem": problem, "object": object, "bytes": bytes,
                "expected_bytes": expected,
            }),
            cells: vec![problem.to_owned(), object, cell(bytes), cell(expected)],
        }
    };
    let missing = report.missing.iter();
    let missing = missing.map(|id| record("missing", object_name(id), None, None));
    let resized = report.resized.iter();
    let resized = resized.map(|(id, expected, bytes)| {
        record("resized", object_name(id), Some(*bytes), Some(*expected))
    });
    let leaks = report.leaks.iter();
    let leaks = leaks.map(|(key, bytes)| record("leaked", key.clone(), Some(*bytes), None));
    missing.chain(resized).chain(leaks).collect()
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{Incarnation, ObjectId, ObjectLevel, UploadEpoch, WriterSlot};

    use super::*;
    use crate::arguments::OutputForm;

    fn id() -> ObjectId {
        ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(7),
            writer: WriterSlot(2),
            level: ObjectLevel::L1,
            unique: 4,
        }
    }

    fn printed(report: &FsckReport, form: OutputForm) -> String {
        let mut out = Vec::new();
        let mut printer = Printer::new(form, &mut out);
        show(report, &mut printer).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_clean_bucket_has_facts_and_no_problems() {
        let report = FsckReport {
            live: (3, 300),
            young: (1, 5),
            ..FsckReport::default()
        };
        assert!(damage(&report).is_empty());
        let text = printed(&report, OutputForm::Text);
        assert!(text.contains("3 objects, 300 bytes"), "{text}");
        assert!(!text.to_lowercase().contains("expected bytes"), "{text}");
    }

    #[test]
    fn each_problem_is_named_and_counted() {
        let report = FsckReport {
            leaked: (2, 9),
            leaks: vec![("ab/c".to_owned(), 4), ("cd/e".to_owned(), 5)],
            missing_objects: 1,
            missing: vec![id()],
            resized: vec![(id(), 10, 8)],
            repaired: 1,
            ..FsckReport::default()
        };
        let said = damage(&report).join("\n");
        for part in [
            "1 objects are missing",
            "another size",
            "1 objects are leaks",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let lines = printed(&report, OutputForm::Json);
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0]["clean"], json!(false));
        assert_eq!(lines[2]["problem"], json!("resized"));
        assert_eq!(lines[2]["expected_bytes"], json!(10));
        assert_eq!(lines[4]["object"], json!("cd/e"));
    }
}
