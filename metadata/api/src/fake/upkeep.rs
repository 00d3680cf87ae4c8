//! Jobs, swaps and the trash of the fake: one job at a time, of all small objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use aquifer_format::{
    ids::{ObjectId, ObjectLevel, Offset, PartitionId, TopicId, UploadEpoch},
    limits::{JOB_EXTENTS_MAX, JOB_OBJECTS_MAX, LIVE_OBJECTS_MAX},
};
use async_trait::async_trait;

use super::{
    Fake,
    core::{Core, INCARNATION, TERM},
    log::Log,
};
use crate::{
    error::MetadataError,
    extent::Extent,
    upkeep::{
        DeletedTopic, DeletedTopics, Finish, Inputs, InputsReply, InputsRequest, Job, JobKind,
        JobToken, LeaseReply, LeaseRequest, ListedObject, MergedExtent, ObjectsReply,
        ObjectsRequest, RangeOutcome, Renewal, Renewed, RestoreTopic, RestoredTopic, SwapRange,
        SwapReply, SwapRequest, Upkeep, WorkerId,
    },
    watch::TopicView,
};

/// How long its leases last without a renewal; it never takes one away.
const LEASE: Duration = Duration::from_secs(30);
/// How long deleted topics can be restored.
const TRASH_MS: i64 = 86_400_000;

/// What it remembers of jobs and deleted topics.
#[derive(Debug, Default)]
pub(super) struct Work {
    leased: Option<(WorkerId, Job)>,
    jobs: u64,
    released: BTreeMap<ObjectId, UploadEpoch>,
    trash: BTreeMap<TopicId, Trashed>,
}

#[derive(Debug)]
struct Trashed {
    view: Arc<TopicView>,
    logs: BTreeMap<PartitionId, Log>,
    deleted_at_ms: i64,
}

impl Core {
    /// Keeps a deleted topic that has records.
    pub(super) fn trash(&mut self, view: Arc<TopicView>, logs: BTreeMap<PartitionId, Log>) {
        if logs.values().any(|log| !log.extents.is_empty()) {
            let deleted_at_ms = self.unix_millis();
            let trashed = Trashed {
                view,
                logs,
                deleted_at_ms,
            };
            self.work.trash.insert(trashed.view.id, trashed);
        }
    }

    fn any_log(&self, id: PartitionId) -> Option<&Log> {
        let trashed = || self.work.trash.get(&id.topic)?.logs.get(&id);
        self.logs.get(&id).or_else(trashed)
    }

    fn any_log_mut(&mut self, id: PartitionId) -> Option<&mut Log> {
        match self.logs.get_mut(&id) {
            Some(log) => Some(log),
            None => self.work.trash.get_mut(&id.topic)?.logs.get_mut(&id),
        }
    }

    /// How many extents each object has.
    fn references(&self) -> BTreeMap<ObjectId, u32> {
        let trashed = self.work.trash.values().flat_map(|topic| &topic.logs);
        let logs = self.logs.iter().chain(trashed);
        let mut references: BTreeMap<ObjectId, u32> = BTreeMap::new();
        for extent in logs.flat_map(|(_, log)| &log.extents) {
            *references.entry(extent.object).or_default() += 1;
        }
        references
    }

    /// Its size, as far as the log knows.
    fn size(&self, object: ObjectId) -> u64 {
        let extents = self.logs.values().flat_map(|log| &log.extents);
        let of_object = extents.filter(|extent| extent.object == object);
        let end = |e: &Extent| e.run_position.saturating_add(u64::from(e.run_bytes));
        of_object.map(end).max().unwrap_or(0)
    }

    fn lease(&mut self, request: LeaseRequest) -> Option<Job> {
        if let Some((worker, job)) = &self.work.leased {
            return (*worker == request.worker).then(|| job.clone());
        }
        let references = self.references();
        let small = references.keys().filter(|id| id.level == ObjectLevel::L0);
        let small: Vec<ObjectId> = small.copied().take(JOB_OBJECTS_MAX).collect();
        if small.len() < 2 || !request.kinds.merge {
            return None;
        }
        let objects = small.into_iter().map(|id| (id, self.size(id))).collect();
        let job = self.job(JobKind::MergeObjects {
            objects,
            object_bytes: 1 << 30,
        });
        self.work.leased = Some((request.worker, job.clone()));
        Some(job)
    }

    fn job(&mut self, kind: JobKind) -> Job {
        self.work.jobs += 1;
        Job {
            token: JobToken {
                term: TERM,
                number: self.work.jobs,
            },
            lease: LEASE,
            cluster: self.cluster,
            incarnation: INCARNATION,
            upload_epoch: self.upload_epoch,
            kind,
        }
    }

    fn renew(&self, renewal: &Renewal) -> Renewed {
        match &self.work.leased {
            Some((worker, job)) if *worker == renewal.worker && job.token == renewal.job.token => {
                Renewed::Held {
                    token: job.token,
                    upload_epoch: self.upload_epoch,
                }
            }
            _ => Renewed::Lost,
        }
    }

    fn inputs(&self, request: &InputsRequest) -> Result<InputsReply, MetadataError> {
        let leased = self.work.leased.as_ref();
        let job = leased.map(|(_, job)| job);
        let job = job.filter(|job| job.token == request.token);
        let job = job.ok_or_else(|| refused("nobody has this job".to_owned()))?;
        let objects: BTreeSet<ObjectId> = match &job.kind {
            JobKind::MergeObjects { objects, .. } => objects.iter().map(|(id, _)| *id).collect(),
            _ => BTreeSet::new(),
        };
        let mut reply = InputsReply::default();
        let mut room = JOB_EXTENTS_MAX;
        for (partition, from) in &request.partitions {
            let Some(log) = self.any_log(*partition) else {
                continue;
            };
            if room == 0 {
                reply.next = Some((*partition, *from));
                break;
            }
            let mut inputs = Inputs {
                partition: *partition,
                watermarks: log.watermarks(),
                extents: Vec::new(),
                breaks: Vec::new(),
                last_records: Vec::new(),
            };
            let mut breaks = true;
            for extent in log.extents.iter().filter(|e| e.end_offset > *from) {
                if !objects.contains(&extent.object) {
                    breaks = true;
                } else if room == 0 {
                    reply.next = Some((*partition, extent.base_offset));
                    break;
                } else {
                    room -= 1;
                    inputs.extents.push(*extent);
                    inputs.breaks.push(breaks);
                    breaks = false;
                }
            }
            reply.partitions.push(inputs);
            if reply.next.is_some() {
                break;
            }
        }
        Ok(reply)
    }

    fn swap(&mut self, request: &SwapRequest) -> SwapReply {
        let leased = self.work.leased.as_ref();
        let holds =
            leased.is_some_and(|(w, job)| *w == request.worker && job.token == request.token);
        let ranges = request.ranges.iter();
        let outcomes = ranges.map(|range| {
            if holds {
                self.swap_range(request, range)
            } else {
                RangeOutcome::Fenced
            }
        });
        let outcomes = outcomes.collect();
        let references = self.references();
        for id in request.inputs.iter().filter(|id| self.known.contains(*id)) {
            if !references.contains_key(id) {
                let released = self.work.released.entry(*id);
                released.or_insert(self.upload_epoch);
            }
        }
        SwapReply { outcomes }
    }

    fn swap_range(&mut self, request: &SwapRequest, range: &SwapRange) -> RangeOutcome {
        let Some(log) = self.any_log_mut(range.partition) else {
            return RangeOutcome::Gone;
        };
        let begin = range.from.max(log.log_start);
        let is_within = |e: &Extent| e.end_offset > begin && e.base_offset < range.to;
        let live: Vec<Extent> = log.extents.iter().copied().filter(is_within).collect();
        let outputs = range.extents.iter().filter_map(|e| output(request, e));
        let outputs: Vec<Extent> = outputs.filter(|e| e.end_offset > log.log_start).collect();
        if live.is_empty() || outputs.is_empty() {
            return RangeOutcome::Gone;
        }
        let is_output = |e: &Extent| {
            let same = |o: &Extent| (o.object, o.run_position) == (e.object, e.run_position);
            outputs.iter().any(same)
        };
        if live.iter().all(is_output) {
            return RangeOutcome::Done;
        }
        let is_input = |e: &Extent| {
            let begins = e.base_offset >= range.from || e.base_offset < log.log_start;
            request.inputs.contains(&e.object) && begins && e.end_offset <= range.to
        };
        if !live.iter().all(is_input) {
            return RangeOutcome::Changed;
        }
        if outputs.len() > live.len() {
            return RangeOutcome::Useless;
        }
        log.extents.retain(|extent| !is_within(extent));
        log.extents.extend(outputs);
        log.extents.sort_by_key(|extent| extent.base_offset);
        // whatever comes next is an extent of its own
        log.published = log.extents.len();
        let objects = request.objects.iter().map(|object| object.id);
        self.known.extend(objects);
        RangeOutcome::Done
    }

    fn list(&self, request: &ObjectsRequest) -> ObjectsReply {
        let references = self.references();
        let behind = self.known.iter().filter(|id| Some(**id) > request.after);
        let limit = request.limit.clamp(1, LIVE_OBJECTS_MAX);
        let objects = behind.take(limit).map(|id| ListedObject {
            id: *id,
            bytes: self.size(*id),
            references: references.get(id).copied().unwrap_or(0),
            released_in: self.work.released.get(id).copied(),
        });
        ObjectsReply {
            cluster: self.cluster,
            incarnation: INCARNATION,
            upload_epoch: self.upload_epoch,
            objects: objects.collect(),
        }
    }

    fn finish(&mut self, finish: &Finish) {
        let leased = self.work.leased.as_ref();
        if leased.is_some_and(|(_, job)| job.token == finish.token) {
            self.work.leased = None;
        }
        for id in &finish.deleted {
            if self.work.released.remove(id).is_some() {
                self.known.remove(id);
            }
        }
    }

    fn deleted_topics(&self) -> DeletedTopics {
        let trash = self.work.trash.values();
        let topics = trash.map(|topic| {
            let extents = topic.logs.values().flat_map(|log| &log.extents);
            DeletedTopic {
                id: topic.view.id,
                name: topic.view.name.clone(),
                partitions: topic.view.partitions,
                bytes: extents.map(|extent| u64::from(extent.raw_bytes)).sum(),
                deleted_at_ms: topic.deleted_at_ms,
                purged_at_ms: topic.deleted_at_ms.saturating_add(TRASH_MS),
            }
        });
        let mut topics: Vec<DeletedTopic> = topics.collect();
        topics.sort_by(|a, b| (&a.name, a.deleted_at_ms).cmp(&(&b.name, b.deleted_at_ms)));
        DeletedTopics { topics }
    }

    fn restore(&mut self, request: &RestoreTopic) -> Result<RestoredTopic, MetadataError> {
        let trash = self.work.trash.values();
        let found = match request {
            RestoreTopic::Id(id) => self.work.trash.get(id),
            RestoreTopic::Name(name) => trash
                .filter(|topic| topic.view.name == *name)
                .max_by_key(|topic| (topic.deleted_at_ms, topic.view.id)),
        };
        let found = found.map(|topic| (topic.view.id, topic.view.name.clone()));
        let (id, name) = found.ok_or_else(|| refused("there is no such topic".to_owned()))?;
        if self.topic_by_name(&name).is_some() {
            return Err(refused(format!("there is another topic '{name}'")));
        }
        if let Some(topic) = self.work.trash.remove(&id) {
            self.changed_logs.extend(topic.logs.keys());
            self.logs.extend(topic.logs);
            self.topics.insert(id, topic.view);
            self.changed_topics.insert(id);
        }
        Ok(RestoredTopic { id, name })
    }
}

fn refused(reason: String) -> MetadataError {
    MetadataError::Refused { reason }
}

/// A merged extent as readers get it.
fn output(request: &SwapRequest, extent: &MergedExtent) -> Option<Extent> {
    let at = usize::try_from(extent.object).ok()?;
    Some(Extent {
        object: request.objects.get(at)?.id,
        run_position: extent.run_position,
        run_bytes: extent.run_bytes,
        raw_start: 0,
        raw_bytes: extent.raw_bytes,
        base_offset: extent.base_offset,
        end_offset: extent.end_offset.max(Offset(0)),
        max_timestamp: extent.max_timestamp,
        log_append_time: None,
    })
}

#[async_trait]
impl Upkeep for Fake {
    async fn lease_job(&self, request: LeaseRequest) -> Result<LeaseReply, MetadataError> {
        let job = self.available()?.lease(request);
        Ok(LeaseReply {
            job,
            again_in: Duration::from_secs(1),
        })
    }

    async fn renew_job(&self, request: Renewal) -> Result<Renewed, MetadataError> {
        Ok(self.available()?.renew(&request))
    }

    async fn job_inputs(&self, request: InputsRequest) -> Result<InputsReply, MetadataError> {
        self.available()?.inputs(&request)
    }

    async fn swap(&self, request: SwapRequest) -> Result<SwapReply, MetadataError> {
        let mut core = self.available()?;
        let reply = core.swap(&request);
        core.publish();
        Ok(reply)
    }

    async fn finish_job(&self, request: Finish) -> Result<(), MetadataError> {
        self.available()?.finish(&request);
        Ok(())
    }

    async fn objects(&self, request: ObjectsRequest) -> Result<ObjectsReply, MetadataError> {
        Ok(self.available()?.list(&request))
    }

    async fn deleted_topics(&self) -> Result<DeletedTopics, MetadataError> {
        Ok(self.available()?.deleted_topics())
    }

    async fn restore_topic(&self, request: RestoreTopic) -> Result<RestoredTopic, MetadataError> {
        let mut core = self.available()?;
        let restored = core.restore(&request)?;
        core.publish();
        Ok(restored)
    }
}
