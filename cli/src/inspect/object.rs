//! `aquifer inspect object`: header, runs, blocks and footer of an object, with all checksums verified.

mod runs;
#[cfg(test)]
mod tests;

use std::ops::Range;

use anyhow::{Result, bail};
use aquifer_format::{
    batch::{Batches, RecordBatch},
    block::{BlockCodec, BlockHeader, Blocks},
    ids::{ObjectLevel, PartitionId},
    key::object_key,
    object::{
        BlockEntry, Footer, FooterRead, OBJECT_MAGIC, RunEntry, TRAILER_BYTES, VerifyError,
        read_footer, verify,
    },
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::object_place;
use crate::{
    arguments::inspect::InspectObject,
    instant,
    output::{Column, Printer, Record, number, text},
};

/// Runs the command.
pub(super) fn run(arguments: &InspectObject) -> Result<()> {
    let (bytes, key) = object_place::read(&arguments.place, arguments.key.as_deref())?;
    let mut printer = Printer::stdout(arguments.output);
    let found = Found::of(&bytes, key.as_deref());
    found.print(&mut printer, arguments.batches)?;
    match found.problems.first() {
        None => Ok(()),
        Some(first) => bail!("the object is not as it was written: {first}"),
    }
}

/// What there is of an object.
struct Found {
    bytes: u64,
    footer: Option<Footer>,
    blocks: Vec<Block>,
    /// What is wrong with it.
    problems: Vec<String>,
}

/// A block as the footer names it, and what is there.
struct Block {
    partition: PartitionId,
    /// Byte position in the object.
    position: u64,
    entry: BlockEntry,
    /// Its batches, or why it cannot be read.
    batches: Result<Vec<RecordBatch>, String>,
}

impl Found {
    fn of(bytes: &Bytes, key: Option<&str>) -> Self {
        let length = length(bytes.len());
        let mut problems = Vec::new();
        if let Err(error) = verify(bytes) {
            problems.push(said(&error));
        }
        let footer = match read_footer(bytes, length) {
            Ok(FooterRead::Footer(footer)) => Some(footer),
            // Told above.
            Ok(FooterRead::NeedMore { .. }) | Err(_) => None,
        };
        if let (Some(footer), Some(key)) = (&footer, key) {
            let written = object_key(footer.cluster, &footer.id);
            if written != key {
                problems.push(format!("it was written as {written}"));
            }
        }
        let runs = footer.iter().flat_map(|footer| &footer.runs);
        let blocks: Vec<Block> = runs.flat_map(|run| blocks(bytes, run)).collect();
        for block in &blocks {
            if let Err(reason) = &block.batches {
                let Block {
                    partition,
                    position,
                    ..
                } = block;
                problems.push(format!(
                    "block at byte {position}, of {partition}: {reason}"
                ));
            }
        }
        Self {
            bytes: length,
            footer,
            blocks,
            problems,
        }
    }

    fn print<W: std::io::Write>(&self, printer: &mut Printer<W>, batches: bool) -> Result<()> {
        const COLUMNS: [Column; 12] = [
            text("partition"),
            number("position"),
            text("codec"),
            number("stored"),
            number("expanded"),
            number("batches"),
            number("base offset"),
            number("end offset"),
            text("first timestamp"),
            text("max timestamp"),
            text("crc"),
            text("state"),
        ];
        let (facts, json) = self.facts();
        printer.facts(&facts, &json)?;
        if self.blocks.is_empty() {
            return Ok(());
        }
        self.print_runs(printer)?;
        let records: Vec<Record> = self.blocks.iter().map(Block::record).collect();
        printer.heading("")?;
        printer.table(&COLUMNS, &records)?;
        if batches {
            self.print_batches(printer)?;
        }
        Ok(())
    }

    /// Runs with an index, and the transactions that it names.
    fn print_runs<W: std::io::Write>(&self, printer: &mut Printer<W>) -> Result<()> {
        let Some(footer) = &self.footer else {
            return Ok(());
        };
        for (columns, records) in [
            (&runs::RUN_COLUMNS[..], runs::runs(footer)),
            (&runs::ABORTED_COLUMNS[..], runs::aborted(footer)),
        ] {
            if !records.is_empty() {
                printer.heading("")?;
                printer.table(columns, &records)?;
            }
        }
        Ok(())
    }

    fn print_batches<W: std::io::Write>(&self, printer: &mut Printer<W>) -> Result<()> {
        const COLUMNS: [Column; 11] = [
            text("partition"),
            number("block"),
            number("base offset"),
            number("records"),
            text("codec"),
            number("bytes"),
            text("max timestamp"),
            number("producer"),
            number("epoch"),
            number("sequence"),
            text("state"),
        ];
        let records: Vec<Record> = self.blocks.iter().flat_map(Block::batch_records).collect();
        printer.heading("")?;
        printer.table(&COLUMNS, &records)
    }

    fn facts(&self) -> (Vec<(&'static str, String)>, Value) {
        let mut facts = vec![("bytes", self.bytes.to_string())];
        let mut json = json!({ "kind": "object", "bytes": self.bytes, "problems": self.problems });
        if let Some(footer) = &self.footer {
            let key = object_key(footer.cluster, &footer.id);
            let id = &footer.id;
            let level = level(id.level);
            let expanded = self
                .blocks
                .iter()
                .map(|block| u64::from(block.entry.header.expanded_bytes))
                .fold(0, u64::saturating_add);
            let blocks_end = footer.runs.last().map(|run| run.range().end);
            let blocks_end = blocks_end.unwrap_or(length(OBJECT_MAGIC.len()));
            let footer_bytes = self
                .bytes
                .saturating_sub(blocks_end)
                .saturating_sub(length(TRAILER_BYTES));
            facts.extend([
                ("object", key.clone()),
                ("cluster", footer.cluster.to_string()),
                ("incarnation", id.incarnation.to_string()),
                ("upload epoch", id.upload_epoch.to_string()),
                ("writer", id.writer.to_string()),
                ("level", level.to_owned()),
                ("runs", footer.runs.len().to_string()),
                ("blocks", self.blocks.len().to_string()),
                ("expanded bytes", expanded.to_string()),
                ("footer", format!("{footer_bytes} bytes at {blocks_end}")),
            ]);
            if let Value::Object(fields) = &mut json {
                fields.insert("object".to_owned(), json!(key));
                fields.insert("cluster".to_owned(), json!(footer.cluster.to_string()));
                fields.insert("incarnation".to_owned(), json!(id.incarnation.0));
                fields.insert("upload_epoch".to_owned(), json!(id.upload_epoch.0));
                fields.insert("writer".to_owned(), json!(id.writer.0));
                fields.insert("level".to_owned(), json!(level));
                fields.insert("runs".to_owned(), json!(footer.runs.len()));
                fields.insert("blocks".to_owned(), json!(self.blocks.len()));
                fields.insert("expanded_bytes".to_owned(), json!(expanded));
                fields.insert("footer_position".to_owned(), json!(blocks_end));
                fields.insert("footer_bytes".to_owned(), json!(footer_bytes));
            }
        }
        let state = match self.problems.as_slice() {
            [] => "every checksum is right".to_owned(),
            problems => problems.join("; "),
        };
        facts.push(("state", state));
        (facts, json)
    }
}

impl Block {
    fn state(&self) -> String {
        match &self.batches {
            Ok(_) => "good".to_owned(),
            Err(reason) => reason.clone(),
        }
    }

    fn record(&self) -> Record {
        let entry = &self.entry;
        let BlockHeader {
            codec,
            stored_bytes,
            expanded_bytes,
            crc,
        } = entry.header;
        let codec = match codec {
            BlockCodec::None => "none",
            BlockCodec::Zstd => "zstd",
            BlockCodec::Index => "index",
        };
        let problem = self.batches.as_ref().err();
        Record {
            cells: vec![
                self.partition.to_string(),
                self.position.to_string(),
                codec.to_owned(),
                stored_bytes.to_string(),
                expanded_bytes.to_string(),
                entry.batches.to_string(),
                entry.base_offset.to_string(),
                entry.end_offset.to_string(),
                instant::format(entry.first_timestamp),
                instant::format(entry.max_timestamp),
                format!("{crc:08x}"),
                self.state(),
            ],
            json: json!({
                "kind": "block",
                "topic_id": self.partition.topic.to_string(),
                "partition": self.partition.partition.0,
                "position": self.position,
                "codec": codec,
                "stored_bytes": stored_bytes,
                "expanded_bytes": expanded_bytes,
                "batches": entry.batches,
                "base_offset": entry.base_offset.0,
                "end_offset": entry.end_offset.0,
                "first_timestamp": entry.first_timestamp,
                "max_timestamp": entry.max_timestamp,
                "crc": crc,
                "problem": problem,
            }),
        }
    }

    fn batch_records(&self) -> Vec<Record> {
        let batches = self.batches.as_deref().unwrap_or_default();
        batches
            .iter()
            .map(|batch| self.batch_record(batch))
            .collect()
    }

    fn batch_record(&self, batch: &RecordBatch) -> Record {
        let header = &batch.header;
        let problem = batch
            .validate_integrity()
            .err()
            .map(|error| error.to_string());
        let codec = match header.codec() {
            Ok(codec) => codec.name(),
            Err(_) => "unknown",
        };
        Record {
            cells: vec![
                self.partition.to_string(),
                self.position.to_string(),
                header.base_offset.to_string(),
                header.record_count.to_string(),
                codec.to_owned(),
                batch.bytes.len().to_string(),
                instant::format(header.max_timestamp),
                header.producer_id.to_string(),
                header.producer_epoch.to_string(),
                header.base_sequence.to_string(),
                problem.clone().unwrap_or_else(|| "good".to_owned()),
            ],
            json: json!({
                "kind": "batch",
                "topic_id": self.partition.topic.to_string(),
                "partition": self.partition.partition.0,
                "block": self.position,
                "base_offset": header.base_offset.0,
                "records": header.record_count,
                "codec": codec,
                "bytes": batch.bytes.len(),
                "attributes": header.attributes,
                "max_timestamp": header.max_timestamp,
                "producer_id": header.producer_id.0,
                "producer_epoch": header.producer_epoch.0,
                "base_sequence": header.base_sequence.0,
                "problem": problem,
            }),
        }
    }
}

/// The blocks that the footer has of a run.
fn blocks(object: &Bytes, run: &RunEntry) -> Vec<Block> {
    let mut position = run.position;
    run.blocks
        .iter()
        .map(|entry| {
            let end = position.saturating_add(entry.header.block_bytes());
            let block = Block {
                partition: run.partition,
                position,
                entry: *entry,
                batches: batches(object, position..end, entry),
            };
            position = end;
            block
        })
        .collect()
}

/// The batches of a block: all that the footer says of them holds.
fn batches(
    object: &Bytes,
    range: Range<u64>,
    entry: &BlockEntry,
) -> Result<Vec<RecordBatch>, String> {
    let range = usize::try_from(range.start)
        .ok()
        .zip(usize::try_from(range.end).ok());
    let (start, end) = range
        .filter(|(_, end)| *end <= object.len())
        .ok_or("it ends behind the object")?;
    let block = Blocks::new(object.slice(start..end))
        .next()
        .ok_or("it is empty")?
        .map_err(|error| error.to_string())?;
    if block.header != entry.header {
        return Err("its header is not the one in the footer".to_owned());
    }
    let batches: Result<Vec<RecordBatch>, _> = Batches::new(block.bytes).collect();
    let batches = batches.map_err(|error| error.to_string())?;
    for batch in &batches {
        let checked = batch.validate_integrity();
        checked.map_err(|error| format!("a batch: {error}"))?;
    }
    if u32::try_from(batches.len()) != Ok(entry.batches) {
        return Err(format!(
            "it has {} batches, the footer says {}",
            batches.len(),
            entry.batches
        ));
    }
    Ok(batches)
}

/// What is wrong with the whole, without what is said of its blocks.
fn said(error: &VerifyError) -> String {
    match error {
        VerifyError::Block { partition, .. } => format!("the run of {partition} is damaged"),
        other => other.to_string(),
    }
}

fn level(level: ObjectLevel) -> &'static str {
    match level {
        ObjectLevel::L0 => "l0",
        ObjectLevel::L1 => "l1",
        ObjectLevel::L2 => "l2",
    }
}

fn length(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
