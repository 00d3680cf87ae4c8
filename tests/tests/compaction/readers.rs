//! Readers of every kind, all the while: each sees each offset with one content, whatever it is stored in.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use aquifer_format::{
    batch::{self, BatchBuilder},
    codec::Codec,
    record,
};
use aquifer_tests::{batches::now, cluster::Cluster, fetch::Ask, wire::Connection};
use bytes::Bytes;

const PATIENCE: Duration = Duration::from_secs(30);
/// Partitions of the topics of loads.
const PARTITIONS: i32 = 3;
/// What a reader may be told while the bucket fails: UNKNOWN_TOPIC_OR_PARTITION (a new topic), LEADER_NOT_AVAILABLE,
/// NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR. Stock clients ask again.
const AGAIN: [i16; 4] = [3, 5, 6, 56];

/// Timestamp, key and value.
type Content = (i64, Option<Bytes>, Option<Bytes>);

/// What was read so far.
#[derive(Debug, Default)]
struct Seen(Mutex<BTreeMap<(i32, i64), Content>>);

impl Seen {
    fn note(&self, who: &str, partition: i32, offset: i64, content: Content) {
        let mut seen = self.0.lock().expect("no panic holds it");
        let known = seen.entry((partition, offset)).or_insert(content.clone());
        let same = *known == content;
        drop(seen);
        assert!(same, "{who}: {partition}/{offset} has another content now");
    }

    /// A record of a partition and the first one with a timestamp as large, as far as all before them were seen.
    fn by_time(&self, partition: i32, place: usize) -> Option<(i64, i64)> {
        let seen = self.0.lock().expect("no panic holds it");
        let of_partition = seen.range((partition, 0)..(partition + 1, 0));
        let gapless: Vec<i64> = (0..)
            .zip(of_partition)
            .take_while(|(expected, ((_, offset), _))| expected == offset)
            .map(|(_, (_, (timestamp, ..)))| *timestamp)
            .collect();
        let wanted = *gapless.get(place.checked_rem(gapless.len())?)?;
        let first = gapless.iter().position(|timestamp| *timestamp >= wanted)?;
        Some((wanted, i64::try_from(first).ok()?))
    }
}

/// Reads from an offset to what is the end now; every offset must come. Returns the end.
fn read(
    connection: &mut Connection,
    (topic, partition): (&str, i32),
    from: i64,
    isolation: i8,
    mut note: impl FnMut(i64, Content),
) -> i64 {
    let ask = Ask {
        isolation,
        max_wait_ms: 200,
        partition_max_bytes: 64 << 10,
        ..Ask::default()
    };
    let end = connection.end_offset(topic, partition);
    let mut position = from;
    let mut moved = Instant::now();
    while position < end {
        let data = connection.fetch(topic, partition, position, ask);
        let error = data.error_code;
        assert!(
            error == 0 || AGAIN.contains(&error),
            "{topic}-{partition} at {position} of {end}: error {error}"
        );
        let begin = position;
        let bytes = data.records.unwrap_or_default();
        for batch in batch::split(bytes).expect("whole batches") {
            batch.validate_integrity().expect("a right checksum");
            for record in record::records(&batch, 1 << 24).expect("records") {
                let record = record.expect("a readable record");
                let offset = batch.header.base_offset.0 + i64::from(record.offset_delta);
                if offset >= position {
                    assert_eq!(offset, position, "{topic}-{partition}: records are skipped");
                    note(offset, (record.timestamp, record.key, record.value));
                    position = offset + 1;
                }
            }
        }
        if position > begin {
            moved = Instant::now();
        }
        assert!(
            moved.elapsed() < PATIENCE,
            "{topic}-{partition}: a reader is stuck at {position} of {end}, error {error}"
        );
    }
    position
}

/// Waits until an agent knows a topic.
fn wait_for_topic(connection: &mut Connection, topic: &str) {
    let deadline = Instant::now() + PATIENCE;
    while connection.topic_metadata(topic).topics[0].error_code != 0 {
        assert!(Instant::now() < deadline, "{topic} reaches every agent");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Readers under way.
pub(crate) struct Readers {
    seen: Arc<Seen>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

/// What a reader does again and again.
type Turn = fn(&mut Connection, &str, &Seen, &mut BTreeMap<i32, i64>);

impl Readers {
    /// Starts them, through the first two agents.
    pub(crate) fn start(cluster: &Cluster, topic: &str) -> Self {
        let (seen, stopping) = (Arc::<Seen>::default(), Arc::<AtomicBool>::default());
        let kinds: [(usize, Turn); 4] = [(0, tail), (1, catch_up), (0, by_time), (1, committed)];
        let start = |(agent, turn): (usize, Turn)| {
            let mut connection = cluster.agents[agent].connect();
            let (seen, stopping) = (Arc::clone(&seen), Arc::clone(&stopping));
            let topic = topic.to_owned();
            std::thread::spawn(move || {
                wait_for_topic(&mut connection, &topic);
                let mut positions = BTreeMap::new();
                let mut turns = 0;
                while !stopping.load(Ordering::Acquire) {
                    turn(&mut connection, &topic, &seen, &mut positions);
                    turns += 1;
                    std::thread::sleep(Duration::from_millis(50));
                }
                turns
            })
        };
        let threads = kinds.into_iter().map(start).collect();
        Self {
            seen,
            stopping,
            threads,
        }
    }

    /// Ends them; says how many records there were. What a reader found wrong is a panic here.
    pub(crate) fn end(self) -> usize {
        self.stopping.store(true, Ordering::Release);
        for reader in self.threads {
            let turns = reader.join().expect("a reader found something wrong");
            assert!(turns > 1, "a reader had one turn only");
        }
        let seen = self.seen.0.lock().expect("no panic holds it");
        assert!(!seen.is_empty(), "nothing was read");
        seen.len()
    }
}

fn tail(connection: &mut Connection, topic: &str, seen: &Seen, positions: &mut BTreeMap<i32, i64>) {
    for partition in 0..PARTITIONS {
        let from = positions.get(&partition).copied().unwrap_or_default();
        let note = |offset, content| seen.note("tail", partition, offset, content);
        let end = read(connection, (topic, partition), from, 0, note);
        positions.insert(partition, end);
    }
}

fn from_the_beginning(connection: &mut Connection, topic: &str, seen: &Seen, isolation: i8) {
    let who = ["catch-up", "read_committed"][usize::from(isolation == 1)];
    for partition in 0..PARTITIONS {
        let note = |offset, content| seen.note(who, partition, offset, content);
        read(connection, (topic, partition), 0, isolation, note);
    }
}

fn catch_up(
    connection: &mut Connection,
    topic: &str,
    seen: &Seen,
    _positions: &mut BTreeMap<i32, i64>,
) {
    from_the_beginning(connection, topic, seen, 0);
}

fn committed(
    connection: &mut Connection,
    topic: &str,
    seen: &Seen,
    _positions: &mut BTreeMap<i32, i64>,
) {
    from_the_beginning(connection, topic, seen, 1);
}

/// Looks for the offset of some record's timestamp, another one each time.
fn by_time(
    connection: &mut Connection,
    topic: &str,
    seen: &Seen,
    positions: &mut BTreeMap<i32, i64>,
) {
    for partition in 0..PARTITIONS {
        let turn = positions.entry(partition).or_default();
        *turn += 1;
        let place = usize::try_from(*turn * 7_919).expect("few turns");
        let Some((wanted, expected)) = seen.by_time(partition, place) else {
            continue;
        };
        let (error, offset, _) = connection.list_offset_of(5, topic, partition, wanted);
        if AGAIN.contains(&error) {
            continue;
        }
        assert_eq!(
            (error, offset),
            (0, expected),
            "{topic}-{partition}: the offset of timestamp {wanted}"
        );
    }
}

/// A topic of which an agent has read the beginning only: what it knows of the rest becomes stale.
pub(crate) struct Stale {
    values: Vec<String>,
}

const STALE: &str = "stale";

impl Stale {
    /// Writes it, an object per batch, and lets agent 1 look at its first record.
    pub(crate) fn write(cluster: &Cluster) -> Self {
        let mut writer = cluster.agents[0].connect();
        writer.create_topic(STALE, 1, &[]);
        let values: Vec<String> = (0..40).map(|i| format!("stale record {i}")).collect();
        for (offset, value) in (0..).zip(&values) {
            let mut builder = BatchBuilder::new(Codec::None);
            builder.append(now(), None, Some(value.as_bytes()), &[]);
            let batch = builder.build().expect("a small batch").bytes;
            assert_eq!(writer.produce(STALE, 0, batch).1, offset);
        }
        let mut reader = cluster.agents[1].connect();
        wait_for_topic(&mut reader, STALE);
        let deadline = Instant::now() + PATIENCE;
        let little = Ask {
            partition_max_bytes: 1,
            ..Ask::default()
        };
        while reader
            .fetch(STALE, 0, 0, little)
            .records
            .is_none_or(|records| records.is_empty())
        {
            assert!(Instant::now() < deadline, "the first record is there");
        }
        Self { values }
    }

    /// Reads all of it through that agent.
    pub(crate) fn check(self, cluster: &Cluster) {
        let mut reader = cluster.agents[1].connect();
        let mut found = Vec::new();
        read(&mut reader, (STALE, 0), 0, 0, |_, (_, _, value)| {
            found.push(String::from_utf8(value.unwrap_or_default().to_vec()).expect("text"));
        });
        assert_eq!(found, self.values, "read by extents that were replaced");
    }
}
