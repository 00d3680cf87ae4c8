//! A compacted topic on a real broker: of each key the newest record stays, at its offset, and readers get past
//! what is gone.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use aquifer_format::{
    batch::{self, BatchBuilder},
    codec::Codec,
    record,
};
use aquifer_tests::{batches::now, broker::DevBroker, fetch::Ask, wire::Connection};
use bytes::Bytes;

/// Upload epochs, and with them merges, come soon.
const SETTINGS: [(&str, &str); 4] = [
    ("AQUIFER_UPLOAD_EPOCH", "500ms"),
    ("AQUIFER_COMPACTION_AGE", "1"),
    ("AQUIFER_COMPACTION_FAN_IN", "8"),
    ("AQUIFER_BACKUP_INTERVAL", "0s"),
];
/// A log rests for a while between two rounds.
const PATIENCE: Duration = Duration::from_secs(120);
const KEYS: i64 = 5;

/// A record: offset, key, value.
type Row = (i64, String, Option<String>);

/// A batch of these keys; values are the offsets that the records will have.
fn records(codec: Codec, base: i64, keys: &[String], tombstones: bool) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for (offset, key) in (base..).zip(keys) {
        let value = format!("{offset}");
        let value = (!tombstones).then_some(value.as_bytes());
        builder.append(now(), Some(key.as_bytes()), value, &[]);
    }
    builder.build().expect("a small batch").bytes
}

fn keys() -> Vec<String> {
    (0..KEYS).map(|i| format!("key-{i}")).collect()
}

/// Everything that a reader gets who begins at offset 0 and goes on where a batch ends.
fn read(connection: &mut Connection, topic: &str, isolation: i8) -> Vec<Row> {
    let ask = Ask {
        isolation,
        ..Ask::default()
    };
    let end = connection.end_offset(topic, 0);
    let mut rows = Vec::new();
    let mut position = 0;
    while position < end {
        let data = connection.fetch(topic, 0, position, ask);
        assert_eq!(data.error_code, 0, "at {position}");
        let begin = position;
        let bytes = data.records.unwrap_or_default();
        for batch in batch::split(bytes).expect("whole batches") {
            batch.validate_integrity().expect("a right checksum");
            for record in record::records(&batch, 1 << 24).expect("records") {
                let record = record.expect("a readable record");
                let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text");
                let offset = batch.header.base_offset.0 + i64::from(record.offset_delta);
                let key = record.key.map(text).expect("a compacted topic has keys");
                if offset >= begin {
                    rows.push((offset, key, record.value.map(text)));
                }
            }
            position = batch.header.last_offset().0 + 1;
        }
        assert!(position > begin, "a reader is stuck at {begin} of {end}");
    }
    rows
}

/// What a reader ends with.
fn table(rows: &[Row]) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    for (_, key, value) in rows {
        match value {
            Some(value) => table.insert(key.clone(), value.clone()),
            None => table.remove(key),
        };
    }
    table
}

/// Reads again and again until what is there is as wanted; in between every reader must end with `expected`.
fn read_until(
    connection: &mut Connection,
    topic: &str,
    expected: &BTreeMap<String, String>,
    what: &str,
    is_there: impl Fn(&[Row]) -> bool,
) -> Vec<Row> {
    let begin = Instant::now();
    loop {
        let rows = read(connection, topic, 0);
        assert_eq!(table(&rows), *expected, "while waiting for {what}");
        for (offset, _, value) in &rows {
            let stood_at = value.as_ref().map_or(*offset, |value| {
                value.parse().expect("an offset is the value")
            });
            assert_eq!(stood_at, *offset, "records keep their offsets");
        }
        if is_there(&rows) {
            return rows;
        }
        let left = rows.len();
        assert!(
            begin.elapsed() < PATIENCE,
            "{what}: {left} records are left"
        );
        thread::sleep(Duration::from_millis(500));
    }
}

fn produce(connection: &mut Connection, topic: &str, base: i64, batch: Bytes) {
    let (error, offset, _) = connection.produce(topic, 0, batch);
    assert_eq!((error, offset), (0, base), "produced to {topic}");
}

#[test]
fn the_newest_record_of_each_key_stays_at_its_offset() {
    let mut broker = DevBroker::start_with(&SETTINGS);
    let mut connection = Connection::open(broker.address());
    let compact = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
    ];
    connection.create_topic("table", 1, &compact);
    connection.create_topic("log", 1, &[("cleanup.policy", "delete")]);

    let mut next = 0;
    for i in 0..40 {
        let codec = [Codec::None, Codec::Zstd, Codec::Lz4][i % 3];
        for topic in ["table", "log"] {
            produce(
                &mut connection,
                topic,
                next,
                records(codec, next, &keys(), false),
            );
        }
        next += KEYS;
    }
    let newest: BTreeMap<String, String> = keys()
        .into_iter()
        .zip(next - KEYS..)
        .map(|(key, offset)| (key, offset.to_string()))
        .collect();
    // What was written last is not merged as long as it is alone.
    let few = |rows: &[Row]| rows.len() <= 10;
    let rows = read_until(&mut connection, "table", &newest, "the first round", few);
    assert_eq!(connection.end_offset("table", 0), next);
    assert_eq!(connection.list_offset(5, "table", -2).1, 0, "the log start");
    assert_eq!(read(&mut connection, "table", 1), rows, "read_committed");
    let all = read(&mut connection, "log", 0);
    assert_eq!(all.len(), 200, "nothing of other topics is compacted");

    // Everything is deleted; later writes make further rounds due.
    produce(
        &mut connection,
        "table",
        next,
        records(Codec::None, next, &keys(), true),
    );
    next += KEYS;
    let other = ["other".to_owned()];
    let mut expected = BTreeMap::new();
    let gone = |rows: &[Row]| rows.iter().all(|(_, key, _)| key == "other");
    let begin = Instant::now();
    loop {
        for _ in 0..8 {
            produce(
                &mut connection,
                "table",
                next,
                records(Codec::None, next, &other, false),
            );
            expected.insert("other".to_owned(), next.to_string());
            next += 1;
        }
        let rows = read(&mut connection, "table", 0);
        assert_eq!(table(&rows), expected);
        if gone(&rows) {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "tombstones are left: {rows:?}");
        thread::sleep(Duration::from_secs(2));
    }
    assert_eq!(connection.end_offset("table", 0), next);

    broker.kill();
    broker.spawn();
    let mut connection = Connection::open(broker.address());
    let rows = read_until(&mut connection, "table", &expected, "a restart", gone);
    assert_eq!(connection.end_offset("table", 0), next);
    // A reader who begins where everything is gone gets what comes behind it.
    let data = connection.fetch("table", 0, 3, Ask::default());
    assert_eq!(data.error_code, 0);
    let batches = batch::split(data.records.unwrap_or_default()).expect("whole batches");
    let first = batches.first().expect("something is behind the gap");
    assert!(first.header.last_offset().0 >= 3);
    assert!(!rows.is_empty());
}
