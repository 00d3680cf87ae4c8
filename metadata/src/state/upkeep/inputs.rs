//! The extents that a job is about.

use std::collections::BTreeSet;

use aquifer_format::{
    ids::{ObjectLevel, Offset, PartitionId, ProducerId},
    limits::{JOB_EXTENTS_MAX, JOB_PARTITIONS_MAX},
};
use aquifer_metadata_api::upkeep::{Inputs, InputsReply, InputsRequest, JobKind, LastRecord};

use crate::state::{entity::State, extents::Packed, object::ObjectIndex, partition::Partition};

/// Extents of other objects behind one of the job's after which no more of these are looked for: objects are
/// committed about in order.
const OTHERS_MAX: usize = 64;
/// Extents that are looked at for one answer.
const LOOKED_MAX: usize = 65_536;

impl State {
    /// The extents of a job.
    pub(crate) fn job_inputs(&self, kind: &JobKind, request: &InputsRequest) -> InputsReply {
        let mut gathering = Gathering {
            state: self,
            objects: match kind {
                JobKind::MergeObjects { objects, .. } => {
                    let objects = objects.iter();
                    let found = objects.filter_map(|(id, _)| self.objects.find(id));
                    Some(found.collect())
                }
                _ => None,
            },
            room: JOB_EXTENTS_MAX,
            looked: 0,
        };
        let mut reply = InputsReply::default();
        for (count, (id, from)) in request.partitions.iter().enumerate() {
            let is_full = gathering.room == 0 || gathering.looked >= LOOKED_MAX;
            if count >= JOB_PARTITIONS_MAX || is_full {
                reply.next = Some((*id, *from));
                break;
            }
            let spans = spans(kind, *id);
            let topic = self.any_topic(id.topic);
            let partition = topic.and_then(|topic| topic.partition(id.partition));
            let (Some(topic), Some(partition), false) = (topic, partition, spans.is_empty()) else {
                continue;
            };
            let mut inputs = Inputs {
                partition: *id,
                watermarks: partition.watermarks(topic.leader_epoch),
                extents: Vec::new(),
                breaks: Vec::new(),
                last_records: match kind {
                    JobKind::Clean(_) => last_records(partition),
                    _ => Vec::new(),
                },
            };
            let mut stopped = None;
            for span in &spans {
                stopped = gathering.span(partition, span, from.0, &mut inputs);
                if stopped.is_some() {
                    break;
                }
            }
            reply.partitions.push(inputs);
            if let Some(offset) = stopped {
                reply.next = Some((*id, Offset(offset)));
                break;
            }
        }
        reply
    }
}

/// Offsets from the first on, before the second.
type Span = (i64, i64);

fn spans(kind: &JobKind, id: PartitionId) -> Vec<Span> {
    match kind {
        JobKind::MergeObjects { .. } => vec![(0, i64::MAX)],
        JobKind::MergeRanges { ranges, .. } => {
            let begin = ranges.partition_point(|range| range.partition < id);
            let of_partition = ranges.iter().skip(begin);
            of_partition
                .take_while(|range| range.partition == id)
                .map(|range| (range.from.0, range.to.0))
                .collect()
        }
        JobKind::Clean(clean) if clean.partition == id => vec![(clean.from.0, clean.to.0)],
        JobKind::Clean(_) | JobKind::Delete { .. } => Vec::new(),
    }
}

fn last_records(partition: &Partition) -> Vec<(ProducerId, LastRecord)> {
    let producers = partition.producers.as_ref();
    let producers = producers.into_iter().flat_map(|producers| &producers.0);
    producers
        .map(|(id, producer)| {
            let last = producer.batches.last().map(|batch| {
                let end = batch.base_offset.saturating_add(i64::from(batch.records));
                Offset(end.saturating_sub(1))
            });
            let record = LastRecord {
                last_offset: last,
                epoch: producer.epoch,
            };
            (*id, record)
        })
        .collect()
}

struct Gathering<'a> {
    state: &'a State,
    /// The objects of a merge of small ones; None = the job is about merged extents.
    objects: Option<BTreeSet<ObjectIndex>>,
    room: usize,
    looked: usize,
}

impl Gathering<'_> {
    /// Adds what the span has of the job at or behind `from`. Says where to go on if there was no room.
    fn span(
        &mut self,
        partition: &Partition,
        span: &Span,
        from: i64,
        inputs: &mut Inputs,
    ) -> Option<i64> {
        let begin = from.max(span.0);
        if begin >= span.1 {
            return None;
        }
        if self.objects.is_some() {
            // merged extents are no job's of this kind, and may be many: looked up where they matter
            let tail = partition.extents.tail_from(begin);
            self.gather(partition, tail, span, from, inputs)
        } else {
            let all = partition.extents.iter_from(begin);
            self.gather(partition, all, span, from, inputs)
        }
    }

    fn gather<'b>(
        &mut self,
        partition: &Partition,
        extents: impl Iterator<Item = &'b Packed>,
        span: &Span,
        from: i64,
        inputs: &mut Inputs,
    ) -> Option<i64> {
        let last_stable = inputs.watermarks.last_stable.0;
        let mut others = 0usize;
        // the end of the one before
        let mut before: Option<i64> = None;
        for extent in extents.take_while(|extent| extent.base_offset < span.1) {
            if extent.end() > last_stable {
                break;
            }
            self.looked = self.looked.saturating_add(1);
            if !self.is_of_job(extent, span) {
                others = others.saturating_add(1);
                if before.is_some() && others >= OTHERS_MAX {
                    break;
                }
                if before.is_none() && self.looked > LOOKED_MAX {
                    return Some(extent.base_offset);
                }
                continue;
            }
            // from the end of the last one, so that what lies between is seen again
            if self.room == 0 {
                return Some(before.unwrap_or(extent.base_offset));
            }
            let Some(unpacked) = extent.unpack(&self.state.objects) else {
                continue;
            };
            let begins = before.is_none() && from <= span.0;
            let gap = before.unwrap_or(from)..extent.base_offset;
            let broken = begins || others > 0 || partition.extents.is_merged_within(gap);
            inputs.extents.push(unpacked);
            inputs.breaks.push(broken);
            self.room = self.room.saturating_sub(1);
            others = 0;
            before = Some(extent.end());
        }
        None
    }

    fn is_of_job(&self, extent: &Packed, span: &Span) -> bool {
        if let Some(objects) = &self.objects {
            return objects.contains(&extent.object);
        }
        let object = self.state.objects.id(extent.object);
        let merged = object.is_some_and(|id| id.level != ObjectLevel::L0);
        merged && extent.base_offset >= span.0 && extent.end() <= span.1
    }
}
