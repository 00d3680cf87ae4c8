//! Test data: real text, turned into records with every shape that a record can have.

use std::path::{Path, PathBuf};

/// A record as the test clients write it: a field is None (null) or bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TestRecord {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order, with duplicates.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

fn encode(field: Option<&Vec<u8>>) -> String {
    match field {
        None => "-".to_owned(),
        Some(bytes) if bytes.is_empty() => "=".to_owned(),
        Some(bytes) => hex(bytes),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl TestRecord {
    /// The line that client.py and Client.java read and write.
    #[must_use]
    pub fn line(&self) -> String {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| format!("{}:{}", hex(name.as_bytes()), encode(value.as_ref())))
            .collect();
        let headers = if headers.is_empty() {
            "-".to_owned()
        } else {
            headers.join(",")
        };
        format!(
            "{} {} {headers}",
            encode(self.key.as_ref()),
            encode(self.value.as_ref())
        )
    }
}

/// Real text files: those of the shared folder where it is present, and one that any Debian machine has.
#[must_use]
pub fn text_files() -> Vec<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/logs");
    let mut files: Vec<PathBuf> = std::fs::read_dir(shared)
        .map(|entries| {
            let paths = entries.filter_map(|e| e.ok().map(|e| e.path()));
            paths
                .filter(|p| p.extension().is_some_and(|e| e == "log"))
                .collect()
        })
        .unwrap_or_default();
    files.sort();
    files.push(PathBuf::from("/usr/share/common-licenses/GPL-3"));
    files
}

/// Writes records as client.py and Client.java read them.
///
/// # Panics
/// If the file cannot be written.
pub fn write_records(file: &Path, records: &[TestRecord]) {
    let lines: Vec<String> = records.iter().map(|r| r.line() + "\n").collect();
    std::fs::write(file, lines.concat()).expect("a written file");
}

/// The first `count` lines of a file (over again if it has fewer), as records: every fifth without key,
/// every fifth with an empty one; some null and some empty values; some with duplicate header names and
/// null header values. A header `i` tells the records apart.
///
/// # Panics
/// If the file cannot be read or is empty.
#[must_use]
pub fn records_of(file: &Path, count: usize) -> Vec<TestRecord> {
    let text = std::fs::read(file).expect("a readable text file");
    let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
    (0..count)
        .map(|i| record(i, lines[i % lines.len()]))
        .collect()
}

fn record(i: usize, line: &[u8]) -> TestRecord {
    let key = match i % 5 {
        0 => None,
        1 => Some(Vec::new()),
        _ => Some(format!("key-{}", i % 7).into_bytes()),
    };
    let value = match i % 50 {
        // A record without key and value can be sent, too.
        10 => None,
        20 => Some(Vec::new()),
        _ => Some(line.to_vec()),
    };
    let mut headers = vec![("i".to_owned(), Some(i.to_string().into_bytes()))];
    if i % 10 == 3 {
        headers.push(("twice".to_owned(), Some(b"first".to_vec())));
        headers.push(("twice".to_owned(), None));
        headers.push(("twice".to_owned(), Some(Vec::new())));
    }
    TestRecord {
        key,
        value,
        headers,
    }
}
