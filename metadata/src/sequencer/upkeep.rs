//! Calls of compactors and operators, and the planner's time.

use std::{collections::BTreeSet, time::Duration};

use aquifer_format::{
    ids::ObjectId,
    limits::{DELETE_OBJECTS_MAX, JOB_PARTITIONS_MAX},
};
use aquifer_metadata_api::{
    MetadataError,
    upkeep::{
        Finish, InputsReply, InputsRequest, JobKind, JobOutcome, RangeOutcome, RestoreTopic,
        RestoredTopic, SwapReply, SwapRequest,
    },
};
use aquifer_store::Monotonic;

use super::{Sequencer, gauges, request::UpkeepCall};
use crate::{
    planner::{Backlog, PlanTime, Planner, kind_name},
    state::decide,
};

/// Topics that one step purges at most.
const PURGED_TOPICS_MAX: usize = 64;
/// Time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// How old small objects may become before it is said, in upload epochs.
const WARN_AGE_EPOCHS: u32 = 30;
/// How long no worker may ask before it is said.
const WARN_SILENCE: Duration = Duration::from_secs(5 * 60);

/// What the sequencer remembers of its upkeep.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// The last purge found something: there may be more.
    purging: bool,
    warned: Monotonic,
    /// Small objects that waited when there were fewest since they became old.
    fewest: u64,
}

impl Upkeep {
    pub(super) fn new(now: Monotonic) -> Self {
        Self {
            purging: false,
            warned: now,
            fewest: u64::MAX,
        }
    }

    /// Says, once a minute, that nobody merges, or not as much as comes in.
    fn warn(&mut self, now: Monotonic, planner: &Planner) {
        let Backlog {
            small_objects,
            small_age_epochs,
            ..
        } = planner.backlog();
        if small_age_epochs <= WARN_AGE_EPOCHS {
            self.fewest = u64::MAX;
            return;
        }
        let grows = small_objects > self.fewest;
        self.fewest = self.fewest.min(small_objects);
        if now < self.warned.plus(WARN_EVERY) {
            return;
        }
        if now >= planner.asked().plus(WARN_SILENCE) {
            tracing::warn!(
                small_objects,
                small_age_epochs,
                "no compactor works: start one (aquifer compactor), or the leader's memory and the bucket's objects go on growing"
            );
        } else if grows {
            tracing::warn!(
                small_objects,
                small_age_epochs,
                "more is ingested than is compacted: start more compactors, or give them more jobs"
            );
        } else {
            return;
        }
        self.warned = now;
    }
}

impl Sequencer {
    pub(super) fn upkeep(&mut self, call: UpkeepCall) {
        let time = self.plan_time();
        match call {
            UpkeepCall::Lease(request, reply) => {
                let leased = self.planner.lease(&self.state, time, request);
                self.answer(reply, Ok(leased));
            }
            UpkeepCall::Renew(renewal, reply) => {
                let renewed = self.planner.renew(&self.state, time, &renewal);
                self.answer(reply, Ok(renewed));
            }
            UpkeepCall::Inputs(request, reply) => {
                let found = self.inputs(&request);
                self.answer(reply, found);
            }
            UpkeepCall::Swap(request, reply) => {
                let swapped = self.swap(&request);
                self.answer(reply, swapped);
            }
            UpkeepCall::Finish(finish, reply) => {
                self.finish(&finish);
                self.answer(reply, Ok(()));
            }
            UpkeepCall::Objects(request, reply) => {
                let page = self.state.objects_page(&request);
                let page = page.ok_or_else(|| MetadataError::Unavailable {
                    reason: "the cluster has not begun".to_owned(),
                    may_have_happened: false,
                });
                self.answer(reply, page);
            }
            UpkeepCall::DeletedTopics(reply) => {
                let topics = self.state.deleted_topics();
                self.answer(reply, Ok(topics));
            }
            UpkeepCall::RestoreTopic(request, reply) => {
                let restored = self.restore_topic(&request);
                self.answer(reply, restored);
            }
        }
    }

    fn plan_time(&self) -> PlanTime {
        PlanTime {
            now: self.now(),
            unix_millis: self.ports.clock.unix_millis(),
        }
    }

    fn inputs(&self, request: &InputsRequest) -> Result<InputsReply, MetadataError> {
        let wanted = request.partitions.len();
        if wanted > JOB_PARTITIONS_MAX {
            return Err(MetadataError::Refused {
                reason: format!(
                    "extents of {wanted} partitions were asked for at once; at most {JOB_PARTITIONS_MAX} can be"
                ),
            });
        }
        let job = self.planner.admit(request.token)?;
        Ok(self.state.job_inputs(&job.kind, request))
    }

    fn swap(&mut self, request: &SwapRequest) -> Result<SwapReply, MetadataError> {
        if !self.planner.is_held_by(request.token, request.worker) {
            let outcomes = vec![RangeOutcome::Fenced; request.ranges.len()];
            count_ranges(&outcomes);
            return Ok(SwapReply { outcomes });
        }
        let decided = decide::swap(&self.state, request)?;
        let (reply, holds) = self.accept(decided);
        self.settle(holds);
        self.planner.swapped(&self.state, request.token);
        let ranges = request.ranges.iter();
        let touched: usize = ranges.map(|range| range.extents.len().max(1)).sum();
        self.group.batches = self.group.batches.saturating_add(touched);
        count_ranges(&reply.outcomes);
        Ok(reply)
    }

    /// A job of nobody, or of another, ends nothing.
    fn finish(&mut self, finish: &Finish) {
        if !self.planner.is_held_by(finish.token, finish.worker) {
            return;
        }
        let Ok(job) = self.planner.admit(finish.token) else {
            return;
        };
        let outcome = match &finish.outcome {
            JobOutcome::Done => "done",
            JobOutcome::Failed { reason } => {
                let kind = kind_name(&job.kind);
                tracing::warn!(kind, reason, "a compactor's job failed; it is tried again");
                "failed"
            }
        };
        count_job(kind_name(&job.kind), outcome, finish);
        if let JobKind::Delete { objects } = &job.kind {
            let of_job: BTreeSet<&ObjectId> = objects.iter().collect();
            let deleted = finish.deleted.iter().take(DELETE_OBJECTS_MAX);
            let deleted = deleted.filter(|id| of_job.contains(id)).copied();
            let deleted: Vec<ObjectId> = deleted.collect();
            let decided = decide::delete_objects(&self.state, &deleted);
            let ((), holds) = self.accept(decided);
            self.settle(holds);
            self.group.batches = self.group.batches.saturating_add(deleted.len());
        }
        self.planner.finish(&self.state, finish);
    }

    fn restore_topic(&mut self, request: &RestoreTopic) -> Result<RestoredTopic, MetadataError> {
        let decided = decide::restore_topic(&self.state, request)?;
        let (restored, holds) = self.accept(decided);
        self.settle(holds);
        tracing::info!(topic = restored.name, id = %restored.id, "a deleted topic was restored");
        Ok(restored)
    }

    /// Does a step of planning, and purges topics, when that is due.
    pub(super) fn upkeep_tick(&mut self, now: Monotonic) {
        if self.planner.due() > now || !self.takes() {
            return;
        }
        let time = self.plan_time();
        let backlog = self.planner.step(&self.state, time);
        // between two looks at everything, or as long as there is more
        let is_between = self.planner.is_between_looks();
        if is_between || self.upkeep.purging {
            self.purge();
        }
        if is_between {
            gauges::upkeep(&backlog, &self.planner.jobs(now));
            self.facts.note_backlog(backlog);
            gauges::levels(&self.planner.levels());
            self.upkeep.warn(now, &self.planner);
        }
    }

    fn purge(&mut self) {
        let decided = decide::purge(&self.state, &self.wall_clock(), PURGED_TOPICS_MAX);
        let (purged, holds) = self.accept(decided);
        self.settle(holds);
        for topic in &purged {
            tracing::info!(%topic, "a deleted topic is gone for good");
        }
        self.group.batches = self.group.batches.saturating_add(purged.len());
        self.upkeep.purging = !purged.is_empty();
    }
}

fn count_ranges(outcomes: &[RangeOutcome]) {
    for outcome in outcomes {
        let outcome = match outcome {
            RangeOutcome::Done => "done",
            RangeOutcome::Gone => "gone",
            RangeOutcome::Changed => "changed",
            RangeOutcome::Fenced => "fenced",
            RangeOutcome::TooOld => "too_old",
            RangeOutcome::Useless => "useless",
        };
        metrics::counter!("aquifer_compaction_ranges_total", "outcome" => outcome).increment(1);
    }
}

fn count_job(kind: &'static str, outcome: &'static str, finish: &Finish) {
    metrics::counter!("aquifer_compaction_jobs_total", "kind" => kind, "outcome" => outcome)
        .increment(1);
    metrics::counter!("aquifer_compaction_read_bytes_total", "kind" => kind)
        .increment(finish.read_bytes);
    metrics::counter!("aquifer_compaction_written_bytes_total", "kind" => kind)
        .increment(finish.written_bytes);
}
