//! The same steps on Apache Kafka's log with its own Cleaner and here: the same batches are left. See `kafka.txt`.

use std::fmt::Write;

use aquifer_format::{
    batch::BatchBuilder,
    codec::Codec,
    ids::{ProducerEpoch, Sequence},
};

use super::*;
use crate::clean::testing::{MemoryLog, MemorySink, NOW, Setup, job, read, rows};

const STEPS: &str = include_str!("kafka.txt");

#[derive(Debug, Default)]
struct Replay {
    log: MemoryLog,
    /// Batches behind the last extent: the active segment.
    tail: Vec<Batch>,
    next: i64,
    now_ms: i64,
    cleaned_through: i64,
    sequences: BTreeMap<i64, i32>,
    /// Where transactions under way begin.
    open: BTreeMap<i64, i64>,
    aborted: Vec<AbortedTransaction>,
    last_records: BTreeMap<ProducerId, LastRecord>,
}

impl Replay {
    fn new() -> Self {
        Self {
            now_ms: NOW,
            ..Self::default()
        }
    }

    /// Returns what is there after a round.
    fn step(&mut self, words: &[&str]) -> Vec<String> {
        let number = || words[1].parse::<i64>().unwrap();
        match words[0] {
            "write" => self.write(number(), false, &words[2..]),
            "transact" => self.write(number(), true, &words[2..]),
            "commit" => self.mark(number(), 1),
            "abort" => self.mark(number(), 0),
            "roll" => self.roll(),
            "wait" => self.now_ms += number(),
            "clean" => {
                self.clean();
                let left = self.log.batches.iter().chain(&self.tail);
                return left.map(told).collect();
            }
            other => panic!("no such step: {other}"),
        }
        Vec::new()
    }

    fn write(&mut self, producer: i64, transactional: bool, records: &[&str]) {
        let base = self.next;
        let count = i32::try_from(records.len()).unwrap();
        let mut batch = BatchBuilder::new(Codec::None).base_offset(Offset(base));
        if producer > 0 {
            let sequence = self.sequences.entry(producer).or_default();
            batch = batch
                .producer(ProducerId(producer), ProducerEpoch(0), Sequence(*sequence))
                .transactional(transactional);
            *sequence += count;
            let last = LastRecord {
                last_offset: Some(Offset(base + i64::from(count) - 1)),
                epoch: ProducerEpoch(0),
            };
            self.last_records.insert(ProducerId(producer), last);
        }
        if transactional {
            self.open.entry(producer).or_insert(base);
        }
        for (timestamp, record) in (base..).zip(records) {
            let (key, value) = record.split_once('=').unwrap();
            let (key, value) = (key.as_bytes(), value.as_bytes());
            batch.append(
                timestamp,
                (!key.is_empty()).then_some(key),
                (!value.is_empty()).then_some(value),
                &[],
            );
        }
        self.add(&batch);
    }

    fn mark(&mut self, producer: i64, kind: u8) {
        let mut batch = BatchBuilder::new(Codec::None)
            .base_offset(Offset(self.next))
            .producer(ProducerId(producer), ProducerEpoch(0), Sequence::NONE)
            .transactional(true)
            .control(true);
        batch.append(0, Some(&[0, 0, 0, kind]), Some(&[0; 6]), &[]);
        let first = self.open.remove(&producer);
        if let Some(first) = first.filter(|_| kind == 0) {
            self.aborted.push(AbortedTransaction {
                first_offset: Offset(first),
                producer_id: ProducerId(producer),
                last_offset: Offset(self.next),
            });
        }
        self.add(&batch);
    }

    fn add(&mut self, batch: &BatchBuilder) {
        let batch = read(&batch.build().unwrap());
        self.next = batch.end_offset.0;
        self.tail.push(batch);
    }

    fn roll(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        if !tail.is_empty() {
            self.log.add(&tail);
        }
    }

    fn clean(&mut self) {
        let (Some(first), Some(last)) = (self.log.extents.first(), self.log.extents.last()) else {
            return;
        };
        let to = last.end_offset;
        if to.0 <= self.cleaned_through {
            return;
        }
        let setup = Setup {
            aborted: self.aborted.clone(),
            last_records: self.last_records.clone(),
            ..Setup::new(Clean {
                from: first.base_offset,
                first_dirty: Offset(self.cleaned_through.max(first.base_offset.0)),
                now_ms: self.now_ms,
                ..job(0, to.0)
            })
        };
        let mut sink = MemorySink::default();
        let ended = setup.run(&self.log, &mut sink).unwrap();
        self.cleaned_through = ended.end.0;
        self.log = sink.log();
        // From then on the runs' indexes name those that are left.
        self.aborted.retain(|aborted| aborted.last_offset >= to);
        let named = sink.runs.iter().flat_map(|(_, aborted)| aborted);
        self.aborted.extend(named);
    }
}

/// A batch as `Cleaning.java` prints it.
fn told(batch: &Batch) -> String {
    let header = &batch.batch.header;
    let mut line = format!(
        "> {}..{} producer {} sequence {} horizon {}",
        header.base_offset,
        header.last_offset(),
        header.producer_id.0.max(0),
        header.base_sequence,
        header.delete_horizon().unwrap_or(0)
    );
    if header.is_control() {
        line.push_str(" marker");
    }
    for (offset, _, key, value) in rows(&batch.batch) {
        write!(line, " {offset}").unwrap();
        if !header.is_control() {
            let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
            write!(line, ":{key}={value}").unwrap();
        }
    }
    line
}

#[test]
fn rounds_leave_what_apache_kafka_leaves() {
    let mut replay = Replay::new();
    let mut lines = (1..).zip(STEPS.lines()).peekable();
    let mut rounds = 0;
    while let Some((number, line)) = lines.next() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "" | "#" => {}
            "log" => replay = Replay::new(),
            step => {
                let left = replay.step(&words);
                let mut expected = Vec::new();
                while let Some((_, told)) = lines.next_if(|(_, line)| line.starts_with('>')) {
                    expected.push(told);
                }
                rounds += usize::from(step == "clean");
                assert_eq!(left, expected, "line {number}: {line}");
            }
        }
    }
    assert!(rounds > 20, "{rounds} rounds were compared");
}
