//! Records that go while they are merged: by DeleteRecords every moment, by retention, with their topics.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use aquifer_format::{batch::BatchBuilder, codec::Codec, record};
use aquifer_tests::{
    batches::now,
    cluster::Cluster,
    fetch::{Ask, batches},
    wire::{Connection, topic_name},
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteTopicsRequest,
    delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
    delete_topics_request::DeleteTopicState,
};

/// Its records go by DeleteRecords.
const PURGED: &str = "purged";
/// Its records go by retention.
const RETAINED: &str = "retained";
const RETENTION: Duration = Duration::from_secs(2);
/// Time between two DeleteRecords.
const EVERY: Duration = Duration::from_millis(100);
/// Turns after which a topic is deleted, and another one made.
const TURNS_OF_TOPIC: u64 = 8;
/// Records of [`PURGED`] that stay.
const KEPT: usize = 12;

/// The churn under way.
pub(crate) struct Churn {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<Churner>,
}

struct Churner {
    connection: Connection,
    turns: u64,
    deleted_topics: usize,
    /// What was acknowledged of [`PURGED`].
    acked: BTreeMap<i64, String>,
    log_start: i64,
    /// The highest log start of [`RETAINED`] that was seen.
    retained_from: i64,
}

impl Churn {
    /// Starts it, through the first agent.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let mut connection = cluster.agents[0].connect();
        let retention = RETENTION.as_millis().to_string();
        connection.create_topic(PURGED, 1, &[]);
        connection.create_topic(RETAINED, 1, &[("retention.ms", &retention)]);
        let stopping = Arc::<AtomicBool>::default();
        let stop = Arc::clone(&stopping);
        let thread = std::thread::spawn(move || {
            let mut churner = Churner {
                connection,
                turns: 0,
                deleted_topics: 0,
                acked: BTreeMap::new(),
                log_start: 0,
                retained_from: 0,
            };
            while !stop.load(Ordering::Acquire) {
                churner.turn();
                std::thread::sleep(EVERY);
            }
            churner.delete_topic();
            churner
        });
        Self { stopping, thread }
    }

    /// Ends it and checks what is left; says how many topics were deleted.
    pub(crate) fn end(self) -> usize {
        self.stopping.store(true, Ordering::Release);
        let mut churner = self.thread.join().expect("the churn goes well");
        churner.check();
        churner.deleted_topics
    }
}

impl Churner {
    /// Writes a record; None where it was not acknowledged (the bucket fails).
    fn write(&mut self, topic: &str, value: &str) -> Option<i64> {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.append(now(), None, Some(value.as_bytes()), &[]);
        let batch = builder.build().expect("a small batch").bytes;
        let (error, offset, _) = self.connection.produce(topic, 0, batch);
        (error == 0).then_some(offset)
    }

    fn topic(&self) -> String {
        format!("short-lived-{}", self.turns / TURNS_OF_TOPIC)
    }

    fn turn(&mut self) {
        if self.turns.is_multiple_of(TURNS_OF_TOPIC) {
            let topic = self.topic();
            self.connection.create_topic(&topic, 1, &[]);
        }
        let value = format!("record of turn {}", self.turns);
        if let Some(offset) = self.write(PURGED, &value) {
            self.acked.insert(offset, value.clone());
        }
        self.write(RETAINED, &value);
        self.write(&self.topic(), &value);
        self.delete_records();
        let (error, offset, _) = self.connection.list_offset(5, RETAINED, -2);
        if error == 0 {
            assert!(offset >= self.retained_from, "a log start went back");
            self.retained_from = offset;
        }
        if self.turns % TURNS_OF_TOPIC == TURNS_OF_TOPIC - 1 {
            self.delete_topic();
        }
        self.turns += 1;
    }

    fn delete_records(&mut self) {
        let Some((first_kept, _)) = self.acked.iter().rev().nth(KEPT) else {
            return;
        };
        let first_kept = *first_kept;
        let partition = DeleteRecordsPartition::default()
            .with_partition_index(0)
            .with_offset(first_kept);
        let topic = DeleteRecordsTopic::default()
            .with_name(topic_name(PURGED))
            .with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(30_000);
        let response = self.connection.call(2, &request);
        let answer = &response.topics[0].partitions[0];
        if answer.error_code == 0 {
            assert!(answer.low_watermark >= first_kept, "{answer:?}");
            self.log_start = answer.low_watermark;
        }
    }

    /// Deletes the topic of the moment, if it is there.
    fn delete_topic(&mut self) {
        let name = self.topic();
        let state = DeleteTopicState::default().with_name(Some(topic_name(&name)));
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![state])
            .with_timeout_ms(30_000);
        let response = self.connection.call(6, &request);
        let code = response.responses[0].error_code;
        // UNKNOWN_TOPIC_OR_PARTITION: it was deleted a moment ago
        assert!([0, 3].contains(&code), "{name}: error {code}");
        self.deleted_topics += usize::from(code == 0);
    }

    /// Every record that was acknowledged and not deleted is where it was, and retention has done its part.
    fn check(&mut self) {
        assert!(self.log_start > 0, "no records were deleted");
        assert!(self.retained_from > 0, "retention deleted nothing");
        assert!(self.deleted_topics > 0, "no topic was deleted");
        let (error, start, _) = self.connection.list_offset(5, PURGED, -2);
        // an answer may have been lost
        assert!(error == 0 && start >= self.log_start, "the log start");
        let kept: Vec<(i64, String)> = self
            .acked
            .range(start..)
            .map(|(offset, value)| (*offset, value.clone()))
            .collect();
        assert!(!kept.is_empty());
        let mut found = BTreeMap::new();
        let end = self.connection.end_offset(PURGED, 0);
        let (mut position, deadline) = (start, Instant::now() + Duration::from_secs(30));
        while position < end {
            assert!(Instant::now() < deadline, "{position} of {end}");
            let data = self.connection.fetch(PURGED, 0, position, Ask::default());
            assert_eq!(data.error_code, 0, "{PURGED} at {position}");
            for batch in batches(&data) {
                for record in record::records(&batch, 1 << 20).expect("records") {
                    let record = record.expect("a readable record");
                    let offset = batch.header.base_offset.0 + i64::from(record.offset_delta);
                    let value = record.value.unwrap_or_default().to_vec();
                    found.insert(offset, String::from_utf8(value).expect("text"));
                    position = position.max(offset + 1);
                }
            }
        }
        for (offset, value) in kept {
            assert_eq!(found.get(&offset), Some(&value), "{PURGED} at {offset}");
        }
    }
}
