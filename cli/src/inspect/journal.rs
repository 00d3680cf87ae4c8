//! `aquifer inspect journal`: rows, an event per line.

use std::io::Write;

use anyhow::{Context as _, Result, bail};
use aquifer_format::ids::JournalSeq;
use aquifer_metadata::inspect::{Found, Rows};
use aquifer_store::Ports;
use serde_json::{Value, json};

use super::event::event;
use crate::{
    arguments::inspect::InspectJournal,
    journal_source::JournalSource,
    output::{Printer, hex, summary},
    runtime::wait,
};

/// Runs the command.
pub(super) fn run(arguments: &InspectJournal) -> Result<()> {
    let mut printer = Printer::stdout(arguments.output);
    wait(async {
        let of = &arguments.journal;
        let ports = Ports::system();
        let source =
            JournalSource::open(of.postgres.as_deref(), of.data.as_deref(), &ports).await?;
        let from = arguments.from_row.map(JournalSeq);
        let rows = Rows::begin(&*source.journal, from, arguments.limit).await;
        show(rows.context("the journal cannot be read")?, &mut printer).await
    })?
}

async fn show<W: Write>(mut rows: Rows<'_>, printer: &mut Printer<W>) -> Result<()> {
    let mut problems: Vec<String> = Vec::new();
    while let Some(found) = rows.next().await.context("the journal cannot be read")? {
        let problem = show_row(&found, printer)?;
        problems.extend(problem);
        if printer.is_closed() {
            break;
        }
    }
    match problems.first() {
        None => Ok(()),
        Some(first) => bail!("{} rows are not as they should be: {first}", problems.len()),
    }
}

/// Shows a row; returns what is wrong with it.
fn show_row<W: Write>(found: &Found, printer: &mut Printer<W>) -> Result<Option<String>> {
    let (row, events, follows) = match found {
        Found::Row {
            row,
            events,
            follows,
        } => (row, events, *follows),
        Found::Damaged { seq, reason } => {
            let text = format!("{seq:>10}  {reason}");
            printer.say(&text, &json!({ "row": seq.0, "problem": reason }))?;
            return Ok(Some(format!("row {seq}: {reason}")));
        }
    };
    let mut problem = None;
    if !follows {
        problem = Some("it does not follow the row before it".to_owned());
    }
    let place = |name: &str, fields: Value, problem: Option<&String>| {
        json!({
            "row": row.seq.0,
            "term": row.term.0,
            "hash": hex(&row.hash),
            "event": name,
            "fields": fields,
            "problem": problem,
        })
    };
    let line =
        |name: &str, rest: &str| format!("{:>10} {:>6}  {name:<22} {rest}", row.seq, row.term);
    match events {
        Ok(events) => {
            for one in events {
                let (name, fields) = event(one);
                let text = line(name, &summary(&fields));
                printer.say(text.trim_end(), &place(name, fields, problem.as_ref()))?;
            }
        }
        Err(error) => {
            let reason = error.to_string();
            let json = place("unreadable", Value::Null, Some(&reason));
            printer.say(&line("unreadable", &reason), &json)?;
            problem = Some(reason);
        }
    }
    Ok(problem.map(|problem| format!("row {}: {problem}", row.seq)))
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{LeaderTerm, UploadEpoch};
    use aquifer_metadata::{
        event::{Event, encode_row},
        journal::{NO_ROW, Row},
    };
    use bytes::Bytes;

    use super::*;
    use crate::arguments::OutputForm;

    fn shown(form: OutputForm, found: &Found) -> (String, Option<String>) {
        let mut out = Vec::new();
        let problem = show_row(found, &mut Printer::new(form, &mut out)).unwrap();
        (String::from_utf8(out).unwrap(), problem)
    }

    fn row() -> Row {
        let events = [1, 2].map(|epoch| Event::UploadEpochAdvanced {
            upload_epoch: UploadEpoch(epoch),
        });
        Row::new(LeaderTerm(2), JournalSeq(7), NO_ROW, encode_row(&events))
    }

    #[test]
    fn a_row_is_a_line_per_event() {
        let row = row();
        let events = aquifer_metadata::event::decode_row(&row.bytes);
        let mut found = Found::Row {
            row,
            events,
            follows: true,
        };
        let (text, problem) = shown(OutputForm::Text, &found);
        assert_eq!(problem, None);
        assert_eq!(
            text.lines().next(),
            Some("         7      2  upload_epoch_advanced  upload_epoch=1")
        );
        let (lines, _) = shown(OutputForm::Json, &found);
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[1]["row"], &lines[1]["term"]),
            (&json!(7), &json!(2))
        );
        assert_eq!(lines[1]["event"], "upload_epoch_advanced");
        assert_eq!(lines[1]["fields"], json!({ "upload_epoch": 2 }));
        if let Found::Row { follows, .. } = &mut found {
            *follows = false;
        }
        let (_, problem) = shown(OutputForm::Text, &found);
        assert!(problem.unwrap().contains("row 7: it does not follow"));
    }

    #[test]
    fn rows_that_cannot_be_read_are_lines_too() {
        let bytes = Bytes::from_static(b"\xff");
        let events = aquifer_metadata::event::decode_row(&bytes);
        let row = Row::new(LeaderTerm(2), JournalSeq(7), NO_ROW, bytes);
        for found in [
            Found::Row {
                row,
                events,
                follows: true,
            },
            Found::Damaged {
                seq: JournalSeq(7),
                reason: "damaged".to_owned(),
            },
        ] {
            let (line, problem) = shown(OutputForm::Json, &found);
            let line: Value = serde_json::from_str(line.trim()).unwrap();
            assert_eq!(line["row"], 7);
            assert!(
                line["problem"].as_str().unwrap().contains("damaged"),
                "{line}"
            );
            assert!(problem.unwrap().contains("row 7: "));
        }
    }
}
