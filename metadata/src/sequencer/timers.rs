//! What the sequencer does when time has passed.

use std::{collections::VecDeque, time::Duration};

use aquifer_format::{
    ids::{PartitionId, SessionId, UploadEpoch},
    limits::{HOLD_MS_MAX, SESSION_IDLE_EPOCHS_MAX},
};
use aquifer_metadata_api::commit::BatchRef;
use aquifer_store::Monotonic;

use super::Sequencer;
use crate::state::decide::{self, Now};

/// Shortest upload epoch.
const UPLOAD_EPOCH_MIN: Duration = Duration::from_millis(100);
/// How much of the state a step of retention looks at: some milliseconds of work, between requests.
const RETENTION_STEP: usize = 2_048;
/// Shortest time between two looks at all partitions.
const RETENTION_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Due times.
#[derive(Debug)]
pub(super) struct Timers {
    /// In order of time: every hold lasts as long.
    holds: VecDeque<(Monotonic, Vec<(SessionId, BatchRef)>)>,
    epoch: Monotonic,
    /// Length of an upload epoch.
    upload_epoch: Duration,
    retention: Monotonic,
    /// Where retention goes on; None = with the first partition.
    retention_from: Option<PartitionId>,
}

impl Timers {
    pub(super) fn new(
        now: Monotonic,
        retention_interval: Duration,
        upload_epoch: Duration,
    ) -> Self {
        let upload_epoch = upload_epoch.max(UPLOAD_EPOCH_MIN);
        Self {
            holds: VecDeque::new(),
            epoch: now.plus(upload_epoch),
            upload_epoch,
            retention: now.plus(retention_interval.max(RETENTION_INTERVAL_MIN)),
            retention_from: None,
        }
    }

    /// Batches that are held from now on.
    pub(super) fn hold(&mut self, now: Monotonic, batches: Vec<(SessionId, BatchRef)>) {
        if !batches.is_empty() {
            let due = now.plus(Duration::from_millis(HOLD_MS_MAX));
            self.holds.push_back((due, batches));
        }
    }

    /// The first due time, `other` included. `takes`: whether the group takes more, so that retention may
    /// add to it.
    pub(super) fn next(&self, other: Monotonic, takes: bool) -> Monotonic {
        let hold = self.holds.front().map_or(other, |(due, _)| *due);
        let first = hold.min(other).min(self.epoch);
        if takes {
            first.min(self.retention)
        } else {
            first
        }
    }

    fn due_holds(&mut self, now: Monotonic) -> Vec<(SessionId, BatchRef)> {
        let mut due = Vec::new();
        while self.holds.front().is_some_and(|(at, _)| *at <= now) {
            let (_, batches) = self.holds.pop_front().expect("looked at just above");
            due.extend(batches);
        }
        due
    }
}

impl Sequencer {
    pub(super) fn wall_clock(&self) -> Now {
        Now {
            unix_millis: self.ports.clock.unix_millis(),
        }
    }

    pub(super) fn tick(&mut self) {
        let now = self.now();
        if self.hub.registry.next_check().is_some_and(|at| at <= now) {
            self.hub.registry.check(now);
        }
        let mut due = self.timers.due_holds(now);
        due.retain(|(session, batch)| self.state.is_held(*session, *batch));
        if !due.is_empty() {
            metrics::counter!("aquifer_metadata_holds_expired_total")
                .increment(u64::try_from(due.len()).unwrap_or(0));
            let decided = decide::release_holds(&self.state, &self.wall_clock(), &due);
            let ((), holds) = self.accept(decided);
            self.settle(holds);
        }
        if self.timers.epoch <= now {
            self.timers.epoch = now.plus(self.timers.upload_epoch);
            self.advance_upload_epoch();
        }
        if self.takes() && self.coordinator.next_due().is_some_and(|at| at <= now) {
            self.group_tick();
        }
        if self.timers.retention <= now && self.takes() {
            self.retain(now);
        }
        self.lag_tick(now);
        self.upkeep_tick(now);
    }

    /// A step of retention; the next one follows at once, after the requests that wait, until all
    /// partitions were looked at.
    fn retain(&mut self, now: Monotonic) {
        let from = self.timers.retention_from;
        let decided = decide::retention(&self.state, &self.wall_clock(), from, RETENTION_STEP);
        let (step, holds) = self.accept(decided);
        self.settle(holds);
        self.group.batches += step.extents;
        metrics::counter!("aquifer_metadata_retention_extents_total")
            .increment(u64::try_from(step.extents).unwrap_or(0));
        self.timers.retention_from = step.next;
        if step.next.is_none() {
            let interval = self.state.broker_config().log_retention_check_interval;
            self.timers.retention = now.plus(interval.max(RETENTION_INTERVAL_MIN));
        }
    }

    fn advance_upload_epoch(&mut self) {
        let advanced = decide::advance_upload_epoch(&self.state);
        self.apply(vec![advanced]);
        let epoch = self.state.upload_epoch();
        for session in self.silent_sessions(epoch) {
            tracing::info!(%session, "a commit session was silent for {SESSION_IDLE_EPOCHS_MAX} upload epochs and ends");
            let decided = decide::end_session(&self.state, &self.wall_clock(), session);
            let ((), holds) = self.accept(decided);
            self.settle(holds);
            self.heard.remove(&session);
            self.streams.remove(&session);
            self.hub.close_session(session);
        }
        let expired = decide::expire_producers(&self.state);
        self.apply(expired);
    }

    /// Sessions that are silent for too long. One that has a stream or a watch open is not silent.
    fn silent_sessions(&mut self, epoch: UploadEpoch) -> Vec<SessionId> {
        let mut silent = Vec::new();
        for (session, ..) in self.state.sessions() {
            let present = self.streams.contains_key(&session) || self.hub.watches(session);
            let last = self.heard.entry(session).or_insert(epoch);
            if present {
                *last = epoch;
            } else if last.0.saturating_add(SESSION_IDLE_EPOCHS_MAX) <= epoch.0 {
                silent.push(session);
            }
        }
        silent
    }
}
