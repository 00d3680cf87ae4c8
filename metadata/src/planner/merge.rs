//! Which ranges are merged and which logs are compacted next.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use aquifer_format::{
    ids::{ObjectId, ObjectLevel, Offset, PartitionId, TopicId},
    limits::{JOB_OBJECTS_MAX, RUN_EXPANDED_BYTES_MAX},
};
use aquifer_metadata_api::{
    config::TopicConfig,
    upkeep::{Clean, MergeRange},
};

use super::{
    Looked, PlanTime, PlannerSettings, STEP_PARTITIONS,
    clean::{self, CleanBounds, CleanLog, LogExtent},
    runs::{Bounds, Candidate, Runs},
};
use crate::state::{PlannedExtent, PlannedPartition, State};

/// Extents that one step looks at.
pub(super) const STEP_EXTENTS: usize = 16_384;
/// Most ranges that are remembered: the longest.
const RANGES_MAX: usize = 65_536;
/// Most logs that are remembered.
const LOGS_MAX: usize = 65_536;
/// Logs that are looked at for one job: those that the last look found and that are not due any more.
const LOGS_TRIED_MAX: usize = 64;
/// Ranges that are looked at for one job.
const JOB_RANGES_MAX: usize = 4_096;
/// An upload epoch, about.
const EPOCH_MS: i64 = 60_000;

/// What the last look at all partitions found, bounded: the worst ones.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Where the look goes on; None = with the first partition.
    from: Option<PartitionId>,
    /// Within which partition, if it is a large one.
    within: Option<Within>,
    /// Numbers the looks.
    round: u64,
    /// Ranges worth merging, by partition, so that neighbours go into one job.
    ranges: BTreeMap<(PartitionId, Offset), Found>,
    /// The same, the longest first, of equal ones those of the first partition: a job takes what lies behind it, too.
    by_length: BTreeSet<(Reverse<usize>, PartitionId, Offset)>,
    /// Logs that are due for compaction.
    logs: BTreeMap<PartitionId, (CleanLog, u64)>,
}

/// A large partition that is looked at in several steps.
#[derive(Clone, Copy, Debug)]
struct Within {
    partition: PartitionId,
    from: Offset,
    /// Merged extents from there on.
    left: usize,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    candidate: Candidate,
    round: u64,
}

/// What of a topic's configs matters.
#[derive(Clone, Debug)]
struct Topic {
    id: TopicId,
    config: TopicConfig,
    run_bytes_max: u32,
    /// Whether its records stay for long enough to be merged twice.
    stays: bool,
}

impl Topic {
    fn of(partition: &PlannedPartition<'_>, settings: &PlannerSettings) -> Self {
        let config = partition.config();
        let twice = i64::from(settings.merged_age_epochs).saturating_mul(2 * EPOCH_MS);
        let goes = config.cleanup_delete && config.retention_ms.is_some_and(|ms| ms < twice);
        let run_bytes_max = u32::try_from(RUN_EXPANDED_BYTES_MAX).unwrap_or(u32::MAX);
        Self {
            id: partition.id.topic,
            run_bytes_max: config.segment_bytes.min(run_bytes_max),
            stays: !goes,
            config,
        }
    }

    fn bounds(&self, partition: &PlannedPartition<'_>, state: &State) -> Bounds {
        Bounds {
            partition: partition.id,
            run_bytes_max: self.run_bytes_max,
            last_stable: partition.last_stable(),
            epoch: state.upload_epoch(),
        }
    }

    /// Whether the log is due for compaction; counts the extents that it looks at.
    fn dirty(
        &self,
        partition: &PlannedPartition<'_>,
        time: PlanTime,
        looked: &mut usize,
    ) -> Option<CleanLog> {
        if !self.config.cleanup_compact || partition.is_deleted() {
            return None;
        }
        let bounds = CleanBounds {
            min_dirty_ratio: self.config.min_cleanable_dirty_ratio,
            min_lag_ms: self.config.min_compaction_lag_ms,
            max_lag_ms: self.config.max_compaction_lag_ms,
            now_ms: time.unix_millis,
            cleaned_through: partition.cleaned_through(),
            last_stable: partition.last_stable(),
        };
        let extents = partition.extents();
        let extents = extents.inspect(|_| *looked = looked.saturating_add(1));
        clean::due(extents.map(log_extent), &bounds)
    }
}

fn log_extent(extent: PlannedExtent) -> LogExtent {
    LogExtent {
        base_offset: extent.base_offset,
        end_offset: extent.end_offset,
        bytes: u64::from(extent.raw_bytes),
        max_timestamp: extent.max_timestamp,
        merged: extent.object.level != ObjectLevel::L0,
    }
}

impl Candidates {
    /// Looks at the next partitions. True = these were the last. Counts what it looks at.
    pub(super) fn look(
        &mut self,
        state: &State,
        settings: &PlannerSettings,
        time: PlanTime,
        looked: &mut Looked,
    ) -> bool {
        let mut topic: Option<Topic> = None;
        if let Some(within) = self.within.take()
            && let Some(partition) = state.planned_partition(within.partition)
        {
            let topic = Topic::of(&partition, settings);
            self.look_within(
                state,
                settings,
                &partition,
                &topic,
                within,
                &mut looked.extents,
            );
        }
        for partition in state.planned_partitions(self.from) {
            if looked.partitions >= STEP_PARTITIONS || looked.extents >= STEP_EXTENTS {
                return false;
            }
            looked.partitions = looked.partitions.saturating_add(1);
            self.from = Some(partition.id);
            let merged = partition.merged_count();
            if merged == 0 {
                continue;
            }
            let known = topic
                .take()
                .filter(|topic| topic.id == partition.id.topic)
                .unwrap_or_else(|| Topic::of(&partition, settings));
            if known.config.cleanup_compact {
                let dirty = known.dirty(&partition, time, &mut looked.extents);
                self.note_log(partition.id, dirty);
            }
            if merged > 1 && known.stays {
                let within = Within {
                    partition: partition.id,
                    from: Offset(0),
                    left: merged,
                };
                self.look_within(
                    state,
                    settings,
                    &partition,
                    &known,
                    within,
                    &mut looked.extents,
                );
            }
            topic = Some(known);
        }
        if self.within.is_some() {
            return false;
        }
        self.end_round();
        true
    }

    fn look_within(
        &mut self,
        state: &State,
        settings: &PlannerSettings,
        partition: &PlannedPartition<'_>,
        topic: &Topic,
        mut within: Within,
        looked: &mut usize,
    ) {
        if within.from == Offset(0) {
            self.forget_partition(partition.id);
        }
        let mut runs = Runs::new(settings, topic.bounds(partition, state));
        for extent in partition.extents_from(within.from) {
            if within.left == 0 {
                break;
            }
            if *looked >= STEP_EXTENTS {
                // with the neighbours that are not at their end, which are no more than a job takes
                within.from = extent.base_offset;
                if let Some((from, extents)) = runs.open_from() {
                    within.from = from;
                    within.left = within.left.saturating_add(extents);
                }
                self.within = Some(within);
                return self.note_ranges(runs.into_closed());
            }
            *looked = looked.saturating_add(1);
            if extent.object.level != ObjectLevel::L0 {
                within.left = within.left.saturating_sub(1);
            }
            runs.push(&extent);
        }
        self.note_ranges(runs.into_found());
    }

    fn note_ranges(&mut self, found: Vec<Candidate>) {
        let round = self.round;
        for candidate in found {
            self.forget(candidate.range.partition, candidate.range.from);
            let key = (candidate.range.partition, candidate.range.from);
            self.ranges.insert(key, Found { candidate, round });
            let length = Reverse(candidate.extents);
            self.by_length.insert((length, key.0, key.1));
        }
        while self.ranges.len() > RANGES_MAX {
            let Some((_, partition, from)) = self.by_length.pop_last() else {
                return;
            };
            self.ranges.remove(&(partition, from));
        }
    }

    fn forget(&mut self, partition: PartitionId, from: Offset) {
        if let Some(found) = self.ranges.remove(&(partition, from)) {
            let length = Reverse(found.candidate.extents);
            self.by_length.remove(&(length, partition, from));
        }
    }

    fn forget_partition(&mut self, partition: PartitionId) {
        let all = (partition, Offset(0))..=(partition, Offset(i64::MAX));
        let known: Vec<Offset> = self.ranges.range(all).map(|((_, from), _)| *from).collect();
        for from in known {
            self.forget(partition, from);
        }
    }

    fn note_log(&mut self, partition: PartitionId, log: Option<CleanLog>) {
        match log {
            Some(log) if self.logs.len() < LOGS_MAX || self.logs.contains_key(&partition) => {
                self.logs.insert(partition, (log, self.round));
            }
            Some(_) => {}
            None => {
                self.logs.remove(&partition);
            }
        }
    }

    /// Forgets what was not found again.
    fn end_round(&mut self) {
        let round = self.round;
        self.from = None;
        self.ranges.retain(|_, found| found.round == round);
        let ranges = &self.ranges;
        self.by_length
            .retain(|(_, partition, from)| ranges.contains_key(&(*partition, *from)));
        self.logs.retain(|_, (_, found)| *found == round);
        self.round = round.wrapping_add(1);
    }

    /// Neighbouring ranges for one job: as the log is now, of partitions that are `free`.
    pub(super) fn take_ranges(
        &mut self,
        state: &State,
        settings: &PlannerSettings,
        free: impl Fn(&PartitionId) -> bool,
    ) -> Vec<MergeRange> {
        let longest = self.by_length.iter().take(JOB_RANGES_MAX);
        let first = longest.copied().find(|(_, partition, _)| free(partition));
        let Some((_, partition, from)) = first else {
            return Vec::new();
        };
        let behind = self.ranges.range((partition, from)..);
        let behind: Vec<Candidate> = behind
            .map(|(_, found)| found.candidate)
            .take(JOB_RANGES_MAX)
            .collect();
        let mut ranges: Vec<MergeRange> = Vec::new();
        let mut objects: BTreeSet<ObjectId> = BTreeSet::new();
        let (mut bytes, mut room) = (0u64, STEP_EXTENTS);
        for candidate in behind {
            if bytes >= settings.object_bytes || room == 0 {
                break;
            }
            let range = candidate.range;
            let overlaps = ranges.last().is_some_and(|before| {
                before.partition == range.partition && range.from < before.to
            });
            if overlaps || !free(&range.partition) {
                continue;
            }
            let Some((now, of_range)) = reread(state, settings, range, &mut room) else {
                self.forget(range.partition, range.from);
                continue;
            };
            let new = of_range.difference(&objects).count();
            if objects.len().saturating_add(new) > JOB_OBJECTS_MAX {
                break;
            }
            self.forget(range.partition, range.from);
            objects.extend(of_range);
            bytes = bytes.saturating_add(now.bytes);
            ranges.push(now.range);
        }
        ranges
    }

    /// The dirtiest log of a partition that is `free`, as it is now.
    pub(super) fn take_log(
        &mut self,
        state: &State,
        settings: &PlannerSettings,
        time: PlanTime,
        free: impl Fn(&PartitionId) -> bool,
    ) -> Option<Clean> {
        for _ in 0..LOGS_TRIED_MAX {
            let free = self.logs.iter().filter(|(partition, _)| free(partition));
            let dirtiest = free.max_by(|(_, (a, _)), (_, (b, _))| a.ratio.total_cmp(&b.ratio));
            let id = dirtiest.map(|(partition, _)| *partition)?;
            self.logs.remove(&id);
            let Some(partition) = state.planned_partition(id) else {
                continue;
            };
            let topic = Topic::of(&partition, settings);
            if let Some(log) = topic.dirty(&partition, time, &mut 0) {
                return Some(Clean {
                    partition: id,
                    from: log.from,
                    first_dirty: log.first_dirty,
                    to: log.to,
                    delete_retention_ms: topic.config.delete_retention_ms,
                    now_ms: time.unix_millis,
                    run_bytes_max: topic.run_bytes_max,
                });
            }
        }
        None
    }

    /// Whether a look began and did not end.
    pub(super) fn is_under_way(&self) -> bool {
        self.from.is_some() || self.within.is_some()
    }

    pub(super) fn ranges_count(&self) -> usize {
        self.ranges.len()
    }

    pub(super) fn logs_count(&self) -> usize {
        self.logs.len()
    }
}

/// The first range within `range` that is worth merging now, and the objects that it lies in.
fn reread(
    state: &State,
    settings: &PlannerSettings,
    range: MergeRange,
    room: &mut usize,
) -> Option<(Candidate, BTreeSet<ObjectId>)> {
    let partition = state.planned_partition(range.partition)?;
    let topic = Topic::of(&partition, settings);
    if !topic.stays {
        return None;
    }
    let within = partition.extents_from(range.from);
    let within = within.filter(|extent| extent.base_offset >= range.from);
    let within: Vec<PlannedExtent> = within
        .take_while(|extent| extent.end_offset <= range.to)
        .take(*room)
        .collect();
    *room = room.saturating_sub(within.len());
    let mut runs = Runs::new(settings, topic.bounds(&partition, state));
    for extent in &within {
        runs.push(extent);
    }
    let found = runs.into_found().into_iter().next()?;
    let objects = within
        .iter()
        .filter(|extent| extent.base_offset >= found.range.from)
        .filter(|extent| extent.end_offset <= found.range.to)
        .map(|extent| extent.object)
        .collect();
    Some((found, objects))
}

/// Whether the range is still worth what it was, so that a merge of it did nothing.
pub(super) fn is_unchanged(state: &State, settings: &PlannerSettings, range: MergeRange) -> bool {
    let mut room = STEP_EXTENTS;
    reread(state, settings, range, &mut room).is_some_and(|(now, _)| now.range == range)
}
