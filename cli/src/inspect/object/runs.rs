//! What the footers of merged objects say of runs: objects of level 0 have nothing to add to their blocks.

use aquifer_format::object::{Footer, RunEntry};
use serde_json::json;

use crate::output::{Column, Record, number, text};

pub(super) const RUN_COLUMNS: [Column; 9] = [
    text("run"),
    number("position"),
    number("stored"),
    number("index"),
    number("blocks"),
    number("base offset"),
    number("end offset"),
    text("compacted"),
    number("aborted"),
];

pub(super) const ABORTED_COLUMNS: [Column; 5] = [
    text("run"),
    number("position"),
    number("producer"),
    number("first offset"),
    number("last offset"),
];

/// A line per run that has an index.
pub(super) fn runs(footer: &Footer) -> Vec<Record> {
    let merged = footer.runs.iter().filter(|run| run.index_bytes > 0);
    merged.map(run_record).collect()
}

fn run_record(run: &RunEntry) -> Record {
    let base = run.blocks.first().map_or(0, |block| block.base_offset.0);
    let end = run.blocks.last().map_or(0, |block| block.end_offset.0);
    Record {
        cells: vec![
            run.partition.to_string(),
            run.position.to_string(),
            run.stored_bytes.to_string(),
            run.index_bytes.to_string(),
            run.blocks.len().to_string(),
            base.to_string(),
            end.to_string(),
            if run.cleaned { "yes" } else { "no" }.to_owned(),
            run.aborted.len().to_string(),
        ],
        json: json!({
            "kind": "run",
            "topic_id": run.partition.topic.to_string(),
            "partition": run.partition.partition.0,
            "position": run.position,
            "stored_bytes": run.stored_bytes,
            "index_bytes": run.index_bytes,
            "blocks": run.blocks.len(),
            "base_offset": base,
            "end_offset": end,
            "compacted": run.cleaned,
            "aborted": run.aborted.len(),
        }),
    }
}

/// A line per aborted transaction of each run.
pub(super) fn aborted(footer: &Footer) -> Vec<Record> {
    let of_run = |run: &RunEntry| -> Vec<Record> {
        let records = run.aborted.iter().map(|transaction| Record {
            cells: vec![
                run.partition.to_string(),
                run.position.to_string(),
                transaction.producer_id.to_string(),
                transaction.first_offset.to_string(),
                transaction.last_offset.to_string(),
            ],
            json: json!({
                "kind": "aborted_transaction",
                "topic_id": run.partition.topic.to_string(),
                "partition": run.partition.partition.0,
                "run": run.position,
                "producer_id": transaction.producer_id.0,
                "first_offset": transaction.first_offset.0,
                "last_offset": transaction.last_offset.0,
            }),
        });
        records.collect()
    };
    footer.runs.iter().flat_map(of_run).collect()
}
