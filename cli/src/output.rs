//! What commands print: tables and lines for people, JSON for machines, one object per line.
//!
//! stdout belongs to this; logs, progress and errors go to stderr. A reader that went away has seen what it
//! wanted: nothing more is written then, and that is no error.

use std::io::{self, StdoutLock, Write};

use anyhow::Result;
use serde_json::Value;

use crate::arguments::{Output, OutputForm};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
}

/// A column of text.
pub(crate) const fn text(title: &'static str) -> Column {
    Column {
        title,
        right: false,
    }
}

/// A column of numbers.
pub(crate) const fn number(title: &'static str) -> Column {
    Column { title, right: true }
}

/// A line of a table for people, and the same for machines, which may say more.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) cells: Vec<String>,
    pub(crate) json: Value,
}

/// Prints in the form that was asked for.
#[derive(Debug)]
pub(crate) struct Printer<W> {
    form: OutputForm,
    out: W,
    /// Nobody reads on.
    closed: bool,
}

impl Printer<StdoutLock<'static>> {
    /// To stdout.
    pub(crate) fn stdout(output: Output) -> Self {
        Self::new(output.output, io::stdout().lock())
    }
}

impl<W: Write> Printer<W> {
    pub(crate) fn new(form: OutputForm, out: W) -> Self {
        Self {
            form,
            out,
            closed: false,
        }
    }

    /// Whether nobody reads on: what is still to be printed need not be looked up.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether machines read it.
    pub(crate) fn is_json(&self) -> bool {
        self.form == OutputForm::Json
    }

    /// A table. Without records people see its titles.
    pub(crate) fn table(&mut self, columns: &[Column], records: &[Record]) -> Result<()> {
        if self.is_json() {
            return records
                .iter()
                .try_for_each(|record| self.json(&record.json));
        }
        let cells: Vec<Vec<String>> = records
            .iter()
            .map(|record| record.cells.iter().map(|cell| printable(cell)).collect())
            .collect();
        let width = |index: usize, column: &Column| {
            let cells = cells.iter().filter_map(|row| row.get(index));
            let widest = cells.map(|cell| cell.chars().count()).max();
            widest.unwrap_or(0).max(column.title.chars().count())
        };
        let widths: Vec<usize> = columns
            .iter()
            .enumerate()
            .map(|(index, column)| width(index, column))
            .collect();
        let titles: Vec<String> = columns.iter().map(|c| c.title.to_uppercase()).collect();
        for row in std::iter::once(&titles).chain(&cells) {
            self.line(&aligned(columns, &widths, row))?;
        }
        Ok(())
    }

    /// Facts about one thing: a line each for people, one object for machines.
    pub(crate) fn facts(&mut self, facts: &[(&str, String)], json: &Value) -> Result<()> {
        if self.is_json() {
            return self.json(json);
        }
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        facts.iter().try_for_each(|(name, value)| {
            let line = format!("{name:<width$}  {}", printable(value));
            self.line(line.trim_end())
        })
    }

    /// One line.
    pub(crate) fn say(&mut self, text: &str, json: &Value) -> Result<()> {
        if self.is_json() {
            self.json(json)
        } else {
            self.line(&printable(text))
        }
    }

    /// A line for people alone: what separates parts of an answer.
    pub(crate) fn heading(&mut self, text: &str) -> Result<()> {
        if self.is_json() {
            return Ok(());
        }
        self.line(text)
    }

    fn json(&mut self, value: &Value) -> Result<()> {
        let text = value.to_string();
        self.line(&text)
    }

    fn line(&mut self, text: &str) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        match writeln!(self.out, "{text}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            written => Ok(written?),
        }
    }
}

fn aligned(columns: &[Column], widths: &[usize], row: &[String]) -> String {
    let mut line = String::new();
    for ((column, width), cell) in columns.iter().zip(widths).zip(row) {
        if !line.is_empty() {
            line.push_str("  ");
        }
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
        let (before, after) = if column.right {
            (padding.as_str(), "")
        } else {
            ("", padding.as_str())
        };
        line.push_str(before);
        line.push_str(cell);
        line.push_str(after);
    }
    line.trim_end().to_owned()
}

/// Text from elsewhere, without what would move a terminal's cursor or end the line.
fn printable(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Fields of an object as `name=value`, in one line: numbers and texts as they are, lists counted, objects in
/// braces. What machines get in full.
pub(crate) fn summary(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null()).map(
                |(name, value)| match value {
                    Value::Object(_) => format!("{name}={{{}}}", summary(value)),
                    value => format!("{name}={}", summary(value)),
                },
            );
            fields.collect::<Vec<_>>().join(" ")
        }
        Value::Array(values) => format!("[{}]", values.len()),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed(form: OutputForm, print: impl FnOnce(&mut Printer<&mut Vec<u8>>)) -> String {
        let mut out = Vec::new();
        print(&mut Printer::new(form, &mut out));
        String::from_utf8(out).unwrap()
    }

    fn records() -> [Record; 2] {
        [("a", 1), ("longer\n", 1_000)].map(|(name, count)| Record {
            cells: vec![name.to_owned(), count.to_string(), String::new()],
            json: json!({ "name": name, "count": count }),
        })
    }

    const COLUMNS: [Column; 3] = [text("name"), number("count"), text("why")];

    #[test]
    fn tables_are_aligned_and_keep_to_their_lines() {
        let table = printed(OutputForm::Text, |printer| {
            printer.table(&COLUMNS, &records()).unwrap();
        });
        assert_eq!(
            table,
            "NAME      COUNT  WHY\n\
             a             1\n\
             longer\\n   1000\n"
        );
        let empty = printed(OutputForm::Text, |printer| {
            printer.table(&COLUMNS, &[]).unwrap();
        });
        assert_eq!(empty, "NAME  COUNT  WHY\n");
    }

    #[test]
    fn machines_get_an_object_per_line_and_nothing_else() {
        let lines = printed(OutputForm::Json, |printer| {
            printer.heading("records").unwrap();
            printer.table(&COLUMNS, &records()).unwrap();
            printer
                .facts(&[("a", "b".to_owned())], &json!({ "a": "b" }))
                .unwrap();
            printer.say("done", &json!({ "done": true })).unwrap();
        });
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                json!({ "name": "a", "count": 1 }),
                json!({ "name": "longer\n", "count": 1_000 }),
                json!({ "a": "b" }),
                json!({ "done": true }),
            ]
        );
    }

    #[test]
    fn facts_stand_below_each_other() {
        let facts = [("cluster", "x".to_owned()), ("a", "\u{1b}[2J".to_owned())];
        let shown = printed(OutputForm::Text, |printer| {
            printer.facts(&facts, &Value::Null).unwrap();
        });
        assert_eq!(shown, "cluster  x\na        \\u{1b}[2J\n");
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut printer = Printer::new(OutputForm::Text, Gone);
        printer.heading("a").unwrap();
        assert!(printer.is_closed());
        printer.table(&COLUMNS, &records()).unwrap();
    }

    #[test]
    fn summaries_count_lists_and_leave_out_what_is_not_there() {
        let value = json!({ "at": null, "id": { "a": 1, "b": "x" }, "n": 3, "runs": [1, 2] });
        assert_eq!(summary(&value), "id={a=1 b=x} n=3 runs=[2]");
    }
}
