//! Partitions: watermarks, producers, held batches, extents.

use std::collections::BTreeMap;

use aquifer_format::ids::{LeaderEpoch, Offset, PartitionId, ProducerId, SessionId};
use aquifer_metadata_api::{
    commit::{BatchRef, BatchSummary},
    extent::Watermarks,
};

use super::{
    apply::Changes,
    budget::Usage,
    entity::{Dirty, Position},
    extents::{ExtentLog, Packed, PushContext},
    held::Hold,
    object::{ObjectIndex, Objects},
    page::PageRef,
    producer::{Producer, Producers, Remembered},
};
use crate::event::{CommittedBatch, CommittedRun, Decision, HoldDecided, Moment};

/// One partition; 88 bytes while it is idle.
#[derive(Clone, Debug, Default)]
pub(super) struct Partition {
    /// Of the head: everything but the extents, whose chunks have their own.
    pub(super) at: Position,
    pub(super) dirty: bool,
    /// Whether it ever had a record, even if retention took them all.
    pub(super) ever_held: bool,
    pub(super) log_start: i64,
    pub(super) high_watermark: i64,
    /// Keys were compacted up to here.
    pub(super) cleaned_through: i64,
    pub(super) producers: Option<Box<Producers>>,
    #[allow(
        clippy::box_collection,
        reason = "hardly any partition holds anything: 8 bytes instead of 24"
    )]
    pub(super) holds: Option<Box<Vec<Hold>>>,
    pub(super) extents: ExtentLog,
}

/// The parts of the state that a partition's changes reach into.
pub(super) struct Surroundings<'a> {
    pub(super) at: Position,
    pub(super) objects: &'a mut Objects,
    pub(super) usage: &'a mut Usage,
    pub(super) dirty: &'a mut Dirty,
    pub(super) holds: &'a mut BTreeMap<(SessionId, BatchRef), PartitionId>,
    pub(super) changes: &'a mut Changes,
    /// Reused from run to run.
    pub(super) extents: Vec<Packed>,
}

/// Where a commit's run comes from.
#[derive(Clone, Copy)]
pub(super) struct RunOrigin {
    pub(super) session: SessionId,
    /// Name of the run's first batch.
    pub(super) first: BatchRef,
    pub(super) object: ObjectIndex,
    pub(super) moment: Moment,
}

impl Partition {
    pub(super) fn watermarks(&self, leader_epoch: LeaderEpoch) -> Watermarks {
        Watermarks {
            log_start: Offset(self.log_start),
            high_watermark: Offset(self.high_watermark),
            last_stable: Offset(self.high_watermark),
            leader_epoch,
        }
    }

    /// Leaves offsets out: what follows begins at `offset`, or where the log ends if that is later.
    pub(super) fn go_on_at(&mut self, offset: Offset) {
        if offset.0 > self.high_watermark {
            self.high_watermark = offset.0;
            // a first batch may be among what was lost, and its producer goes on
            self.ever_held = true;
        }
    }

    /// Lets the log begin at `offset`, if that is later than now, and drops what ends at or below it.
    pub(super) fn move_log_start(
        &mut self,
        id: PartitionId,
        offset: Offset,
        around: &mut Surroundings<'_>,
    ) {
        if self.at < around.at {
            self.log_start = self.log_start.max(offset.0.min(self.high_watermark));
            self.touch_head(id, around);
        }
        // by what the event says, not by the head, whose page may be newer than the extents' ones
        let mut context = PushContext {
            at: around.at,
            partition: id,
            objects: around.objects,
            usage: around.usage,
            dirty: around.dirty,
        };
        self.extents.drop_through(offset.0, &mut context);
    }

    pub(super) fn producer(&self, id: ProducerId) -> Option<&Producer> {
        self.producers.as_ref()?.0.get(&id).map(Box::as_ref)
    }

    pub(super) fn holds(&self) -> &[Hold] {
        self.holds.as_ref().map_or(&[], |holds| holds.as_slice())
    }

    pub(super) fn apply_run(
        &mut self,
        run: &CommittedRun,
        batches: &[CommittedBatch],
        origin: RunOrigin,
        around: &mut Surroundings<'_>,
    ) {
        let append_time = run.log_append_time.then_some(origin.moment.unix_millis);
        if self.at < around.at {
            self.run_to_head(run, batches, origin, append_time, around);
        }
        around.extents.clear();
        let mut raw_start = 0u32;
        for batch in batches {
            if let Decision::Appended { base_offset } = batch.decision {
                let place = Place {
                    object: origin.object,
                    run_position: run.position,
                    run_bytes: run.stored_bytes,
                    raw_start,
                };
                add_extent(
                    &mut around.extents,
                    &batch.summary,
                    base_offset,
                    append_time,
                    place,
                );
            }
            raw_start = raw_start.saturating_add(batch.summary.bytes);
        }
        self.push_extents(run.partition, around);
    }

    fn run_to_head(
        &mut self,
        run: &CommittedRun,
        batches: &[CommittedBatch],
        origin: RunOrigin,
        append_time: Option<i64>,
        around: &mut Surroundings<'_>,
    ) {
        let mut changed = false;
        let mut raw_start = 0u32;
        let mut reference = origin.first;
        for batch in batches {
            match batch.decision {
                Decision::Appended { base_offset } => {
                    changed = true;
                    let seen = origin.moment;
                    self.append(&batch.summary, base_offset, append_time, seen, around.usage);
                }
                Decision::Held => {
                    changed = true;
                    let hold = Hold {
                        session: origin.session,
                        batch: reference,
                        summary: batch.summary,
                        object: origin.object,
                        run_position: run.position,
                        run_bytes: run.stored_bytes,
                        raw_start,
                    };
                    self.hold(run.partition, hold, around);
                }
                Decision::Duplicate { .. } | Decision::Rejected(_) => {}
            }
            raw_start = raw_start.saturating_add(batch.summary.bytes);
            reference.batch = reference.batch.saturating_add(1);
        }
        if changed {
            self.touch_head(run.partition, around);
        }
    }

    /// Carries out decisions on batches that this partition held.
    pub(super) fn apply_holds(
        &mut self,
        id: PartitionId,
        decisions: &[HoldDecided],
        moment: Moment,
        around: &mut Surroundings<'_>,
    ) {
        let head_is_older = self.at < around.at;
        around.extents.clear();
        for decided in decisions {
            let append_time = decided.log_append_time.then_some(moment.unix_millis);
            if let Decision::Appended { base_offset } = decided.decision {
                let place = Place {
                    object: around.objects.intern(&decided.object, around.usage),
                    run_position: decided.run_position,
                    run_bytes: decided.run_bytes,
                    raw_start: decided.raw_start,
                };
                let summary = &decided.summary;
                add_extent(
                    &mut around.extents,
                    summary,
                    base_offset,
                    append_time,
                    place,
                );
                if head_is_older {
                    self.append(summary, base_offset, append_time, moment, around.usage);
                }
            }
        }
        self.push_extents(id, around);
        for decided in decisions {
            if head_is_older {
                self.unhold(decided.session, decided.batch, around);
            }
            if let Some(object) = around.objects.find(&decided.object.id) {
                around.objects.settle(object, around.usage);
            }
        }
        if head_is_older {
            self.touch_head(id, around);
        }
    }

    fn append(
        &mut self,
        summary: &BatchSummary,
        base_offset: Offset,
        append_time: Option<i64>,
        moment: Moment,
        usage: &mut Usage,
    ) {
        self.ever_held = true;
        self.high_watermark = self.high_watermark.max(base_offset.plus(summary.records).0);
        if summary.producer_id.0 >= 0 {
            let batch = Remembered::new(summary, base_offset, append_time);
            self.producers.get_or_insert_default().append(
                summary,
                batch,
                moment.upload_epoch,
                usage,
            );
        }
    }

    fn hold(&mut self, id: PartitionId, hold: Hold, around: &mut Surroundings<'_>) {
        let name = (hold.session, hold.batch);
        if around.holds.contains_key(&name) {
            // Only in a journal that no decision wrote: the same batch held twice.
            return;
        }
        around.holds.insert(name, id);
        around.objects.add(hold.object, 1);
        let bytes = u64::from(hold.summary.bytes);
        around.usage.hold_bytes = around.usage.hold_bytes.saturating_add(bytes);
        self.holds.get_or_insert_default().push(hold);
        around.changes.holds = true;
    }

    fn unhold(&mut self, session: SessionId, batch: BatchRef, around: &mut Surroundings<'_>) {
        let Some(holds) = self.holds.as_mut() else {
            return;
        };
        let Some(index) = holds
            .iter()
            .position(|hold| hold.session == session && hold.batch == batch)
        else {
            return;
        };
        let hold = holds.remove(index);
        if holds.is_empty() {
            self.holds = None;
        }
        around.holds.remove(&(session, batch));
        around.objects.remove(hold.object);
        around.objects.settle(hold.object, around.usage);
        let bytes = u64::from(hold.summary.bytes);
        around.usage.hold_bytes = around.usage.hold_bytes.saturating_sub(bytes);
        around.changes.holds = true;
    }

    fn push_extents(&mut self, id: PartitionId, around: &mut Surroundings<'_>) {
        let Some(first) = around.extents.first() else {
            return;
        };
        around
            .changes
            .appended
            .push((id, Offset(first.base_offset)));
        let mut context = PushContext {
            at: around.at,
            partition: id,
            objects: around.objects,
            usage: around.usage,
            dirty: around.dirty,
        };
        self.extents.push_all(&around.extents, &mut context);
    }

    pub(super) fn touch_head(&mut self, id: PartitionId, around: &mut Surroundings<'_>) {
        self.at = around.at;
        around.dirty.mark(&mut self.dirty, PageRef::Head(id));
        around.changes.partitions.push(id);
    }
}

/// Where an extent's bytes are.
#[derive(Clone, Copy)]
struct Place {
    object: ObjectIndex,
    run_position: u64,
    run_bytes: u32,
    raw_start: u32,
}

/// Adds a batch to the last extent if it continues it in the run and in the log, else as a new one.
fn add_extent(
    extents: &mut Vec<Packed>,
    summary: &BatchSummary,
    base_offset: Offset,
    append_time: Option<i64>,
    place: Place,
) {
    let max_timestamp = append_time.unwrap_or(summary.max_timestamp);
    if let Some(last) = extents.last_mut()
        && last.end() == base_offset.0
        && last.object == place.object
        && last.run_position == place.run_position
        && last.raw_start.checked_add(last.raw_bytes) == Some(place.raw_start)
        && last.log_append_time == append_time.is_some()
        && let Some(records) = last.records.checked_add(summary.records)
        && let Some(raw_bytes) = last.raw_bytes.checked_add(summary.bytes)
    {
        last.records = records;
        last.raw_bytes = raw_bytes;
        last.max_timestamp = last.max_timestamp.max(max_timestamp);
        return;
    }
    extents.push(Packed {
        run_position: place.run_position,
        base_offset: base_offset.0,
        max_timestamp,
        object: place.object,
        run_bytes: place.run_bytes,
        raw_start: place.raw_start,
        raw_bytes: summary.bytes,
        records: summary.records,
        log_append_time: append_time.is_some(),
    });
}
