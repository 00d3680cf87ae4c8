//! Random logs over several rounds, against Kafka's rules written down once more, record by record.

use std::collections::BTreeMap;

use aquifer_format::{
    batch::BatchBuilder,
    codec::Codec,
    ids::{ProducerEpoch, Sequence},
};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::clean::testing::{MemoryLog, MemorySink, Setup, job, read};

/// What happens to a topic.
#[derive(Clone, Debug)]
enum Step {
    /// A batch: producer, and per record its key (none before the policy was `compact`) and whether it has a value.
    Write(i64, Vec<(Option<u8>, bool)>),
    /// What was written becomes an extent.
    Merge,
    /// Time passes.
    Wait(i64),
    /// A round over all extents but the last so many; the setup as it is given to a worker.
    Clean {
        behind: usize,
        memory_bytes: usize,
        run_bytes_max: u32,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = prop_oneof![1 => Just(None), 12 => (0u8..6).prop_map(Some)];
    let record = (key, prop::bool::weighted(0.7));
    prop_oneof![
        8 => (0i64..3, vec(record, 1..5)).prop_map(|(producer, records)| Step::Write(producer, records)),
        4 => Just(Step::Merge),
        2 => (0i64..1_500).prop_map(Step::Wait),
        3 => (0usize..3, prop_oneof![Just(100usize), Just(1 << 16)], prop_oneof![Just(100u32), Just(u32::MAX)])
            .prop_map(|(behind, memory_bytes, run_bytes_max)| Step::Clean {
                behind,
                memory_bytes,
                run_bytes_max,
            }),
    ]
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ModelRecord {
    offset: i64,
    key: Option<u8>,
    value: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ModelBatch {
    base: i64,
    last: i64,
    producer: i64,
    horizon: Option<i64>,
    records: Vec<ModelRecord>,
}

/// One round of Kafka's rules: every record is compared with every other one.
fn clean(log: &[ModelBatch], bounds: &Clean, last_offsets: &BTreeMap<i64, i64>) -> Vec<ModelBatch> {
    let noted: Vec<&ModelRecord> = log
        .iter()
        .flat_map(|batch| &batch.records)
        .filter(|record| (bounds.first_dirty.0..bounds.to.0).contains(&record.offset))
        .collect();
    let mut left = Vec::new();
    for batch in log {
        if batch.base >= bounds.to.0 {
            left.push(batch.clone());
            continue;
        }
        let waits = batch.horizon.is_none_or(|horizon| bounds.now_ms < horizon);
        let stays = |record: &&ModelRecord| {
            let newer =
                |other: &&ModelRecord| other.key == record.key && other.offset > record.offset;
            record.key.is_some() && !noted.iter().any(newer) && (record.value.is_some() || waits)
        };
        let records: Vec<_> = batch.records.iter().filter(stays).cloned().collect();
        let tombstones = records.iter().any(|record| record.value.is_none());
        let horizon = if records.is_empty() {
            None
        } else if tombstones && batch.horizon.is_none() {
            Some(bounds.now_ms + bounds.delete_retention_ms)
        } else {
            batch.horizon
        };
        let is_last =
            batch.last + 1 == bounds.to.0 || last_offsets.get(&batch.producer) == Some(&batch.last);
        if !records.is_empty() || is_last {
            left.push(ModelBatch {
                horizon,
                records,
                ..batch.clone()
            });
        }
    }
    left
}

/// What a reader of the whole log ends with.
fn table(log: &[ModelBatch]) -> BTreeMap<Option<u8>, i64> {
    let mut table = BTreeMap::new();
    for record in log.iter().flat_map(|batch| &batch.records) {
        match record.value {
            Some(value) => table.insert(record.key, value),
            None => table.remove(&record.key),
        };
    }
    table.remove(&None);
    table
}

fn built(batch: &ModelBatch) -> Batch {
    let mut builder = BatchBuilder::new(if batch.base & 1 == 0 {
        Codec::None
    } else {
        Codec::Lz4
    })
    .base_offset(Offset(batch.base));
    if batch.producer > 0 {
        builder = builder.producer(ProducerId(batch.producer), ProducerEpoch(0), Sequence(0));
    }
    for record in &batch.records {
        let key = record.key.map(|key| [key]);
        let value = record.value.map(i64::to_be_bytes);
        builder.append(
            record.offset,
            key.as_ref().map(|key| &key[..]),
            value.as_ref().map(|value| &value[..]),
            &[],
        );
    }
    read(&builder.build().unwrap())
}

fn seen(batch: &Batch) -> ModelBatch {
    let header = &batch.batch.header;
    let records = open(batch).unwrap().map(|record| {
        let record = record.unwrap();
        ModelRecord {
            offset: batch.base_offset.0 + i64::from(record.offset_delta),
            key: record.key.map(|key| key[0]),
            value: record
                .value
                .map(|value| i64::from_be_bytes(value[..].try_into().unwrap())),
        }
    });
    ModelBatch {
        base: batch.base_offset.0,
        last: batch.end_offset.0 - 1,
        producer: header.producer_id.0.max(0),
        horizon: header.delete_horizon(),
        records: records.collect(),
    }
}

/// A topic, as it is stored and as the model has it.
#[derive(Debug, Default)]
struct Topic {
    log: MemoryLog,
    model: Vec<ModelBatch>,
    /// Batches that are no extent yet.
    tail: Vec<Batch>,
    now_ms: i64,
    next: i64,
    cleaned_through: i64,
    last_offsets: BTreeMap<i64, i64>,
}

impl Topic {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(producer, records) => self.write(*producer, records),
            Step::Merge => {
                let tail = std::mem::take(&mut self.tail);
                if !tail.is_empty() {
                    self.log.add(&tail);
                }
            }
            Step::Wait(ms) => self.now_ms += ms,
            Step::Clean {
                behind,
                memory_bytes,
                run_bytes_max,
            } => {
                let extents = self.log.extents.len().saturating_sub(*behind);
                self.clean(extents, *memory_bytes, *run_bytes_max);
            }
        }
    }

    fn write(&mut self, producer: i64, records: &[(Option<u8>, bool)]) {
        let base = self.next;
        let records: Vec<_> = (base..)
            .zip(records)
            .map(|(offset, (key, has_value))| ModelRecord {
                offset,
                key: *key,
                value: has_value.then_some(offset),
            })
            .collect();
        self.next += i64::try_from(records.len()).unwrap();
        let batch = ModelBatch {
            base,
            last: self.next - 1,
            producer,
            horizon: None,
            records,
        };
        if producer > 0 {
            self.last_offsets.insert(producer, batch.last);
        }
        self.tail.push(built(&batch));
        self.model.push(batch);
    }

    fn clean(&mut self, extents: usize, memory_bytes: usize, run_bytes_max: u32) {
        let read_extents = &self.log.extents[..extents];
        let (Some(first), Some(last)) = (read_extents.first(), read_extents.last()) else {
            return;
        };
        let to = last.end_offset;
        if to.0 <= self.cleaned_through {
            return;
        }
        let bounds = Clean {
            from: first.base_offset,
            first_dirty: Offset(self.cleaned_through.max(first.base_offset.0)),
            to,
            now_ms: self.now_ms,
            run_bytes_max,
            ..job(0, 0)
        };
        let mut setup = Setup {
            memory_bytes,
            ..Setup::new(bounds)
        };
        for (producer, offset) in &self.last_offsets {
            let last = LastRecord {
                last_offset: Some(Offset(*offset)),
                epoch: ProducerEpoch(0),
            };
            setup.last_records.insert(ProducerId(*producer), last);
        }
        let read_log = MemoryLog {
            extents: read_extents.to_vec(),
            batches: self.log.batches.clone(),
        };
        let mut sink = MemorySink::default();
        let ended = setup.run(&read_log, &mut sink).unwrap();
        assert_eq!(ended.end, to);
        let mut log = sink.log();
        assert!(
            log.extents.len() <= extents,
            "a round leaves no more extents"
        );
        for extent in &self.log.extents[extents..] {
            let within = |batch: &&Batch| {
                (extent.base_offset..extent.end_offset).contains(&batch.base_offset)
            };
            let batches: Vec<_> = self.log.batches.iter().filter(within).cloned().collect();
            log.add(&batches);
        }
        self.log = log;

        let before = table(&self.model);
        self.model = clean(&self.model, &bounds, &self.last_offsets);
        assert_eq!(
            table(&self.model),
            before,
            "the model itself lost or woke a key"
        );
        self.cleaned_through = to.0;
        let stored = self.log.batches.iter().chain(&self.tail);
        let stored: Vec<ModelBatch> = stored.map(seen).collect();
        assert_eq!(stored, self.model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn rounds_leave_what_kafka_leaves(steps in vec(any_step(), 1..60)) {
        let mut topic = Topic::default();
        for step in &steps {
            topic.step(step);
        }
        topic.step(&Step::Merge);
        topic.step(&Step::Clean { behind: 0, memory_bytes: 1 << 16, run_bytes_max: u32::MAX });
    }
}
