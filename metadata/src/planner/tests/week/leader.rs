//! The leader: its state and its planner, and what each of its calls takes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aquifer_format::ids::{JournalSeq, LeaderTerm, PartitionId, SessionId};
use aquifer_metadata_api::{
    commit::Commit,
    upkeep::{
        Finish, InputsReply, InputsRequest, Job, LeaseRequest, RangeOutcome, Renewal, Renewed,
        SwapRequest,
    },
};
use aquifer_store::{Clock, Monotonic, Ports};

use crate::{
    event::Event,
    planner::{Level, PlanTime, Planner, PlannerSettings, STEP_PARTITIONS, levels, merge, release},
    state::{
        State,
        decide::{self, Now},
    },
};

/// What a planner's step is called among [`Costs`].
pub(super) const STEP: &str = "planner's step";
/// How much of the state a step of retention looks at, as in the service.
const RETENTION_STEP: usize = 2_048;

/// What calls of one kind took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) count: u64,
    total: Duration,
    largest: Duration,
}

/// By kind.
pub(super) type Costs = BTreeMap<&'static str, Cost>;

impl Cost {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.total += took;
        self.largest = self.largest.max(took);
    }

    pub(super) fn mean_micros(&self) -> f64 {
        self.total.as_secs_f64() * 1e6 / self.count.max(1) as f64
    }

    pub(super) fn largest_micros(&self) -> f64 {
        self.largest.as_secs_f64() * 1e6
    }
}

/// See the module.
pub(super) struct Leader {
    pub(super) state: State,
    /// Simulated, as is the time of day.
    pub(super) now: Monotonic,
    pub(super) unix_millis: i64,
    planner: Planner,
    rows: JournalSeq,
    /// The machine's own.
    clock: Arc<dyn Clock>,
    costs: Costs,
}

impl Leader {
    /// Of a state that so many rows led to.
    pub(super) fn new(state: State, rows: JournalSeq, unix_millis: i64) -> Self {
        let now = Monotonic(Duration::from_secs(1_000));
        let settings = PlannerSettings {
            waits_for_backup: true,
            ..PlannerSettings::default()
        };
        Self {
            state,
            now,
            unix_millis,
            planner: Planner::new(LeaderTerm(1), now, settings),
            rows,
            clock: Ports::system().clock,
            costs: Costs::new(),
        }
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self.unix_millis += i64::try_from(seconds * 1_000).expect("seconds");
    }

    /// What calls took since this was asked the last time.
    pub(super) fn take_costs(&mut self) -> Costs {
        std::mem::take(&mut self.costs)
    }

    fn timed<T>(&mut self, call: &'static str, act: impl FnOnce(&mut Self) -> T) -> T {
        let began = self.clock.now();
        let done = act(self);
        let took = self.clock.now().since(began);
        self.costs.entry(call).or_default().add(took);
        done
    }

    /// Events of one row.
    fn apply(&mut self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        self.rows.0 += 1;
        for event in events {
            self.state.apply(self.rows, event);
        }
    }

    fn time(&self) -> PlanTime {
        PlanTime {
            now: self.now,
            unix_millis: self.unix_millis,
        }
    }

    pub(super) fn commit(&mut self, session: SessionId, commit: &Commit) {
        let now = Now {
            unix_millis: self.unix_millis,
        };
        self.timed("commit", |leader| {
            let decided = decide::commit(&leader.state, &now, session, commit);
            let decided = decided.expect("it is well formed");
            leader.apply(&decided.events);
        });
    }

    /// A minute passed.
    pub(super) fn advance_upload_epoch(&mut self) {
        let advanced = decide::advance_upload_epoch(&self.state);
        self.apply(&[advanced]);
    }

    /// All that happened until now is in a backup.
    pub(super) fn back_up(&mut self) {
        self.planner.backed_up(self.state.upload_epoch());
        // somebody writes them
        drop(self.state.take_dirty());
    }

    /// Retention of all partitions, in steps.
    pub(super) fn retain(&mut self) {
        let now = Now {
            unix_millis: self.unix_millis,
        };
        let mut from: Option<PartitionId> = None;
        loop {
            let next = self.timed("retention's step", |leader| {
                let decided = decide::retention(&leader.state, &now, from, RETENTION_STEP);
                leader.apply(&decided.events);
                decided.reply.next
            });
            if next.is_none() {
                return;
            }
            from = next;
        }
    }

    /// The planner looks at everything, in steps that each have an end.
    pub(super) fn look(&mut self) {
        let time = self.time();
        loop {
            self.timed(STEP, |leader| {
                leader.planner.step(&leader.state, time);
            });
            let last = self.planner.looked();
            assert!(last.partitions <= STEP_PARTITIONS, "{last:?}");
            assert!(last.extents <= merge::STEP_EXTENTS, "{last:?}");
            assert!(last.released <= release::STEP_OBJECTS, "{last:?}");
            assert!(last.objects <= levels::STEP_OBJECTS, "{last:?}");
            if self.planner.is_between_looks() {
                return;
            }
        }
    }

    /// As the last look saw them.
    pub(super) fn levels(&self) -> [Level; 3] {
        self.planner.levels()
    }

    pub(super) fn lease(&mut self, request: LeaseRequest) -> Option<Job> {
        let time = self.time();
        let reply = self.timed("lease", |leader| {
            leader.planner.lease(&leader.state, time, request)
        });
        reply.job
    }

    pub(super) fn renew(&mut self, renewal: &Renewal) -> Renewed {
        let time = self.time();
        self.timed("renew", |leader| {
            leader.planner.renew(&leader.state, time, renewal)
        })
    }

    pub(super) fn inputs(&mut self, request: &InputsRequest) -> InputsReply {
        self.timed("inputs", |leader| {
            let job = leader.planner.admit(request.token);
            let job = job.expect("it was leased just now");
            leader.state.job_inputs(&job.kind, request)
        })
    }

    /// None = the token is fenced.
    pub(super) fn swap(&mut self, request: &SwapRequest) -> Option<Vec<RangeOutcome>> {
        if !self.planner.is_held_by(request.token, request.worker) {
            return None;
        }
        self.timed("swap", |leader| {
            let decided = decide::swap(&leader.state, request);
            let decided = decided.expect("it is well formed");
            leader.apply(&decided.events);
            Some(decided.reply.outcomes)
        })
    }

    pub(super) fn finish(&mut self, finish: &Finish) {
        self.timed("finish", |leader| {
            if leader.planner.is_held_by(finish.token, finish.worker) {
                let decided = decide::delete_objects(&leader.state, &finish.deleted);
                leader.apply(&decided.events);
            }
            leader.planner.finish(&leader.state, finish);
        });
    }
}
