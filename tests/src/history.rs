//! What clients saw, and the checks that are made of it.

use std::{collections::BTreeMap, path::Path};

use crate::records::TestRecord;

/// What a consumer printed: (partition, offset) -> the record's line.
pub type Log = BTreeMap<(i32, i64), String>;

/// What a producer printed: index of the record -> (partition, offset).
#[derive(Clone, Debug, Default)]
pub struct Acks {
    /// Acknowledged records.
    pub acked: BTreeMap<usize, (i32, i64)>,
    /// Failed records, with the client's words.
    pub failed: BTreeMap<usize, String>,
}

/// Reads a producer's output.
///
/// # Panics
/// If a line is not of the format.
#[must_use]
pub fn read_acks(file: &Path) -> Acks {
    let mut acks = Acks::default();
    for line in std::fs::read_to_string(file)
        .expect("a producer's output")
        .lines()
    {
        if let Some(failure) = line.strip_prefix("E ") {
            let (index, message) = failure.split_once(' ').expect("an index and a message");
            acks.failed
                .insert(index.parse().expect("an index"), message.to_owned());
            continue;
        }
        let numbers: Vec<i64> = line
            .split(' ')
            .map(|n| n.parse().expect("a number"))
            .collect();
        let index = usize::try_from(numbers[0]).expect("an index");
        let place = (i32::try_from(numbers[1]).expect("a partition"), numbers[2]);
        let before = acks.acked.insert(index, place);
        assert_eq!(before, None, "record {index} was acknowledged twice");
    }
    acks
}

/// Reads a consumer's output; a last line without its end (the consumer was killed) is left out.
///
/// # Panics
/// If an offset comes twice with different content, or offsets of a partition go back.
#[must_use]
pub fn read_log(file: &Path) -> Log {
    let text = std::fs::read_to_string(file).expect("a consumer's output");
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut log = Log::new();
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    for line in whole.lines() {
        let mut parts = line.splitn(3, ' ');
        let partition: i32 = parts
            .next()
            .and_then(|p| p.parse().ok())
            .expect("a partition");
        let offset: i64 = parts
            .next()
            .and_then(|o| o.parse().ok())
            .expect("an offset");
        let record = parts.next().expect("a record").to_owned();
        if let Some(before) = last.insert(partition, offset) {
            assert!(
                offset > before,
                "partition {partition} went from {before} back to {offset}"
            );
        }
        log.insert((partition, offset), record);
    }
    log
}

/// Checks a topic that one idempotent producer wrote: every acknowledged record stands at its offset,
/// no record stands twice, nothing else is there, offsets have no gap, and records of one key (and of one
/// partition) are in the order in which they were sent.
///
/// # Panics
/// If any of this does not hold.
pub fn check_one_producer(name: &str, sent: &[TestRecord], acks: &Acks, log: &Log) {
    assert!(
        acks.failed.is_empty(),
        "{name}: {} sends failed: {:?}",
        acks.failed.len(),
        acks.failed
    );
    let lines: Vec<String> = sent.iter().map(TestRecord::line).collect();
    for (index, place) in &acks.acked {
        let found = log.get(place);
        assert_eq!(
            found,
            Some(&lines[*index]),
            "{name}: record {index} acknowledged at {place:?}"
        );
    }
    check_contiguous(name, log);
    // Lines are distinct (each has its index), so a line tells which record it is.
    let index_of: BTreeMap<&str, usize> = lines
        .iter()
        .enumerate()
        .map(|(i, line)| (line.as_str(), i))
        .collect();
    assert_eq!(
        index_of.len(),
        lines.len(),
        "{name}: the test's records must differ"
    );
    let mut seen: BTreeMap<usize, (i32, i64)> = BTreeMap::new();
    let mut last: BTreeMap<i32, usize> = BTreeMap::new();
    for (place, line) in log {
        let index = *index_of
            .get(line.as_str())
            .unwrap_or_else(|| panic!("{name}: alien {line}"));
        let before = seen.insert(index, *place);
        assert_eq!(
            before, None,
            "{name}: record {index} stands twice, also at {place:?}"
        );
        if let Some(before) = last.insert(place.0, index) {
            assert!(
                before < index,
                "{name}: {before} before {index} in partition {}",
                place.0
            );
        }
    }
}

/// Checks that each partition's offsets begin at 0 and have no gap.
///
/// # Panics
/// If they don't.
pub fn check_contiguous<V>(name: &str, log: &BTreeMap<(i32, i64), V>) {
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    for (partition, offset) in log.keys() {
        let expected = next.entry(*partition).or_insert(0);
        assert_eq!(offset, expected, "{name}: gap in partition {partition}");
        *expected += 1;
    }
}

/// Checks that what was read earlier stands where it stood.
///
/// # Panics
/// If it doesn't.
pub fn check_stable(name: &str, earlier: &Log, later: &Log) {
    for (place, line) in earlier {
        assert_eq!(
            later.get(place),
            Some(line),
            "{name}: what was read at {place:?} changed"
        );
    }
}
