//! The one task that owns [`State`].
//!
//! Requests are decided and applied in the order of their arrival. While a row is on its way to the
//! journal, what arrives is collected; once the row is durable its answers leave, watchers are told, and
//! the next row goes (group commit). Reads wait in the same order, so nothing is shown that is not
//! durable. The state is never rolled back: a row that is in doubt is tried again until its fate is
//! known, and a leader that was deposed drops everything.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use aquifer_format::{
    ids::{JournalSeq, LeaderTerm, SessionId, UploadEpoch},
    witness::Witness,
};
use aquifer_metadata_api::{MetadataError, commit::CommitAnswer};
use aquifer_store::{Monotonic, Ports};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    group::{Group, Surface},
    groups::Waiting,
    lag::{GroupLagMetrics, GroupMetrics},
    request::{Answers, Departure, Request, StreamId},
    timers::Timers,
    upkeep::Upkeep,
};
use crate::{
    coordinator::{At, Coordinator},
    event::Event,
    follower,
    hashes::Hashes,
    hub::{Hub, Publication},
    journal_writer::{JournalWriter, Work, Written},
    leader::{Ended, StopReason},
    lease::LeaseView,
    local::LeaderFacts,
    pager::{Pager, Progress, Put},
    planner::{Planner, PlannerSettings},
    state::{
        Changes, State,
        decide::{Decided, HoldOutcome},
    },
};

mod gauges;
mod group;
mod groups;
mod handle;
mod kafka;
pub(crate) mod lag;
mod memory;
pub(crate) mod request;
mod timers;
mod upkeep;

/// Requests that are taken from the queue before the journal is looked at again.
const BURST_MAX: usize = 512;

/// A group on its way.
struct Departing {
    departures: Vec<Departure>,
    publication: Option<Publication>,
    wait: Wait,
}

/// What a group waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Its row to be durable.
    Row,
    /// It has no row: the lease to be held at a moment after the state was read.
    Lease,
}

/// A session's open stream of commits.
#[derive(Debug)]
struct Stream {
    id: StreamId,
    answers: Answers,
    /// Dropping it breaks the stream.
    _broken: DropGuard,
}

/// What the sequencer is started with.
pub(crate) struct Parts {
    pub(crate) ports: Ports,
    pub(crate) state: State,
    pub(crate) term: LeaderTerm,
    /// Of the rows that are there.
    pub(crate) hashes: Hashes,
    pub(crate) writer: JournalWriter,
    pub(crate) lease: LeaseView,
    pub(crate) pager: Pager,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) stopping: CancellationToken,
    pub(crate) facts: Arc<LeaderFacts>,
    /// Where the tips of the journal go, if anywhere.
    pub(crate) tips: Option<watch::Sender<Option<Witness>>>,
    /// How finely is told how far groups are behind.
    pub(crate) group_lag_metrics: GroupLagMetrics,
    /// How compactors' work is planned.
    pub(crate) planner: PlannerSettings,
    /// Length of an upload epoch.
    pub(crate) upload_epoch: Duration,
}

/// The sequencer.
pub(crate) struct Sequencer {
    ports: Ports,
    state: State,
    term: LeaderTerm,
    /// The last row that was closed (handed to the journal).
    closed: JournalSeq,
    /// Of the rows that are durable.
    hashes: Hashes,
    group: Group,
    /// Groups on their way, in order: some that have no row, then at most one that has.
    departing: VecDeque<Departing>,
    hub: Hub,
    streams: BTreeMap<SessionId, Stream>,
    next_stream: u64,
    /// Upload epoch in which each session was last heard of.
    heard: BTreeMap<SessionId, UploadEpoch>,
    timers: Timers,
    coordinator: Coordinator<Waiting>,
    group_metrics: GroupMetrics,
    planner: Planner,
    upkeep: Upkeep,
    pager: Pager,
    writer: JournalWriter,
    lease: LeaseView,
    requests: mpsc::Receiver<Request>,
    stopping: CancellationToken,
    throttle_shown: bool,
    facts: Arc<LeaderFacts>,
    tips: Option<watch::Sender<Option<Witness>>>,
    /// The upload epoch of the last tip.
    tip_epoch: UploadEpoch,
    /// Since when, and why, this leader must know whether it still leads: a caller was shown a row that
    /// is not here by a later leader, or by nobody that can have been.
    doubt: Option<(Monotonic, String)>,
    /// Why it stops after this burst.
    ending: Option<StopReason>,
}

enum Woken {
    Written(Option<Written>),
    Lease,
    Pages(Option<Put>),
    Stopping,
    Timer,
    Request(Option<Request>),
}

impl Sequencer {
    pub(crate) fn new(parts: Parts) -> Self {
        let now = parts.ports.clock.now();
        let epoch = parts.state.upload_epoch();
        let heard = parts.state.sessions().map(|(id, ..)| (id, epoch));
        let heard = heard.collect();
        let interval = parts.state.broker_config().log_retention_check_interval;
        let mut timers = Timers::new(now, interval, parts.upload_epoch);
        let held: Vec<_> = parts.state.held().map(|h| (h.session, h.batch)).collect();
        timers.hold(now, held);
        parts.facts.note_durable(parts.hashes.tail());
        let at = At {
            now,
            unix_millis: parts.ports.clock.unix_millis(),
        };
        let coordinator = Coordinator::recovered(&parts.state, at);
        Self {
            ports: parts.ports,
            state: parts.state,
            term: parts.term,
            closed: parts.hashes.tail(),
            hashes: parts.hashes,
            group: Group::default(),
            departing: VecDeque::new(),
            hub: Hub::new(now),
            streams: BTreeMap::new(),
            next_stream: 0,
            heard,
            timers,
            coordinator,
            group_metrics: GroupMetrics::new(now, parts.group_lag_metrics),
            planner: Planner::new(parts.term, now, parts.planner),
            upkeep: Upkeep::new(now),
            pager: parts.pager,
            writer: parts.writer,
            lease: parts.lease,
            requests: parts.requests,
            stopping: parts.stopping,
            throttle_shown: false,
            facts: parts.facts,
            tips: parts.tips,
            tip_epoch: epoch,
            doubt: None,
            ending: None,
        }
    }

    /// Runs until it is stopped or may not lead any more; whoever still waits is told so.
    pub(crate) async fn run(mut self) -> Ended {
        let reason = self.serve().await;
        self.refuse_all(&reason);
        let memory = match reason {
            StopReason::Requested => None,
            // what it has decided and not appended was shown to nobody; higher watermarks do no harm
            _ => follower::witness(&self.state, self.place()),
        };
        Ended {
            reason,
            memory: memory.map(Arc::new),
        }
    }

    async fn serve(&mut self) -> StopReason {
        loop {
            if let Some(reason) = self.depart().await {
                return reason;
            }
            // right after a group was closed, the state shows whole rows
            self.pager_step();
            let stopping = self.stopping.is_cancelled();
            if stopping && self.departing.is_empty() && self.group.is_empty() {
                return StopReason::Requested;
            }
            let waits_for_row = self.last_wait() == Some(Wait::Row);
            let takes = self.takes();
            let puts_pages = self.pager.is_writing();
            self.hub.settle(self.ports.clock.now());
            let silence = self.hub.registry.next_check();
            let due = self.pager.next_at(self.group.events.is_empty());
            let due = silence.map_or(due, |at| at.min(due));
            let groups = self.coordinator.next_due().filter(|_| takes);
            let due = groups.map_or(due, |at| at.min(due));
            let due = due.min(self.group_metrics.due());
            let due = if takes {
                due.min(self.planner.due())
            } else {
                due
            };
            let deadline = self.timers.next(due, takes);
            let woken = tokio::select! {
                biased;
                written = self.writer.written.recv(), if waits_for_row => Woken::Written(written),
                changed = self.lease.standing.changed() => {
                    // a task that ended without a word was killed with its node
                    if changed.is_err() && self.lease.ends(self.term).is_none() {
                        return StopReason::Requested;
                    }
                    Woken::Lease
                }
                put = self.pager.done.recv(), if puts_pages => Woken::Pages(put),
                () = self.stopping.cancelled(), if !stopping => Woken::Stopping,
                () = self.ports.clock.sleep_until(deadline) => Woken::Timer,
                request = self.requests.recv(), if takes => Woken::Request(request),
            };
            if let Some(reason) = self.wake(woken) {
                return reason;
            }
        }
    }

    /// Whether the group takes more.
    fn takes(&self) -> bool {
        !self.stopping.is_cancelled() && !self.group.is_full()
    }

    fn wake(&mut self, woken: Woken) -> Option<StopReason> {
        match woken {
            Woken::Written(Some(Written::Durable(seq, hash))) => {
                self.hashes.push(seq, hash);
                self.facts.note_durable(seq);
                self.deliver();
                self.tell_tip();
            }
            Woken::Written(Some(Written::Stop(reason))) => return Some(reason),
            // the writer's task was killed with its node
            Woken::Written(None) => return Some(StopReason::Requested),
            Woken::Lease => {
                let ends = self.lease.standing.borrow_and_update().ends(self.term);
                if ends.is_some() {
                    return ends;
                }
                self.resolve_doubt();
            }
            Woken::Pages(put) => {
                if self.pager.finished(put, &mut self.state) {
                    return Some(StopReason::Deposed { by: None });
                }
            }
            Woken::Stopping => {}
            Woken::Timer => {
                self.tick();
                // the page writer wants to go on at once; requests must not wait for its end
                if self.takes()
                    && let Ok(request) = self.requests.try_recv()
                {
                    self.burst(request);
                }
            }
            Woken::Request(None) => self.stopping.cancel(),
            Woken::Request(Some(request)) => self.burst(request),
        }
        self.ending.take()
    }

    /// Handles `first` and what waits behind it.
    fn burst(&mut self, first: Request) {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(request) = next.take() {
            if !request.is_abandoned() {
                self.group.requests += 1;
                self.handle(request);
            }
            taken += 1;
            if taken < BURST_MAX && !self.group.is_full() {
                next = self.requests.try_recv().ok();
            }
        }
        gauges::queue(self.requests.len());
    }

    fn last_wait(&self) -> Option<Wait> {
        self.departing.back().map(|departing| departing.wait)
    }

    /// Closes the group and sends it on its way, as far as that goes without waiting.
    async fn depart(&mut self) -> Option<StopReason> {
        loop {
            match self.last_wait() {
                Some(Wait::Row) => return None,
                Some(Wait::Lease) if self.lease.is_sure(self.ports.clock.now()) => {
                    self.deliver();
                    continue;
                }
                // a row that the fence let through says as much as the lease
                Some(Wait::Lease) if self.group.events.is_empty() => {
                    self.lease.want();
                    return None;
                }
                Some(Wait::Lease) => self.lease.want(),
                None if self.nothing_waits() => return None,
                None => {}
            }
            if let Some(work) = self.close()
                && self.writer.work.send(work).await.is_err()
            {
                return Some(StopReason::Requested);
            }
        }
    }

    fn nothing_waits(&self) -> bool {
        let throttle = self.state.pressure().throttle;
        let soft = self.hub.registry.has_changed() || throttle != self.throttle_shown;
        self.group.is_empty() && !(soft && self.hub.len() > 0)
    }

    /// Closes the group: what is decided from now on belongs to the next row.
    fn close(&mut self) -> Option<Work> {
        let group = std::mem::take(&mut self.group);
        let has_row = !group.events.is_empty();
        if has_row {
            self.closed = JournalSeq(self.closed.0 + 1);
            gauges::group(group.requests, &self.state);
        }
        let throttle = self.state.pressure().throttle;
        let agents_changed = self.hub.registry.has_changed();
        let tells = has_row
            || agents_changed
            || !group.new_watchers.is_empty()
            || !group.acknowledgements.is_empty()
            || throttle != self.throttle_shown;
        let publication = tells.then(|| {
            let surface = Surface {
                term: self.term,
                seq: self.closed,
                hash: self.hashes.tail_hash(),
                throttle_produce: throttle,
                agents: self.hub.registry.agents(),
                agents_complete: self.hub.registry.is_complete(),
                agents_changed,
                has_row,
                throttle_changed: throttle != self.throttle_shown,
            };
            group::publication(
                &self.state,
                surface,
                group.changes,
                group.new_watchers,
                group.acknowledgements,
                self.hub.interests(),
            )
        });
        self.throttle_shown = throttle;
        if tells {
            self.hub.registry.told();
        }
        self.departing.push_back(Departing {
            departures: group.departures,
            publication,
            wait: if has_row { Wait::Row } else { Wait::Lease },
        });
        has_row.then_some(Work {
            seq: self.closed,
            events: group.events,
        })
    }

    /// Everything on its way has arrived.
    fn deliver(&mut self) {
        while let Some(departing) = self.departing.pop_front() {
            for departure in departing.departures {
                self.deliver_one(departure);
            }
            if let Some(mut publication) = departing.publication {
                if departing.wait == Wait::Row {
                    publication.set_hash(self.hashes.tail_hash());
                }
                self.hub.publish(publication);
            }
        }
    }

    fn deliver_one(&mut self, departure: Departure) {
        match departure {
            Departure::Reply(reply) => reply.leave(),
            Departure::Commit {
                session,
                stream,
                to,
                item,
            } => {
                if let Err(mpsc::error::TrySendError::Full(_)) = to.try_send(item) {
                    self.break_stream(session, stream);
                }
            }
            Departure::Hold(outcome) => self.deliver_hold(outcome),
        }
    }

    fn deliver_hold(&mut self, decided: HoldOutcome) {
        let HoldOutcome {
            session,
            batch,
            outcome,
        } = decided;
        // without a stream: the agent sends the commit again and is told then
        let Some(stream) = self.streams.get(&session) else {
            return;
        };
        let answer = CommitAnswer {
            number: batch.number,
            outcomes: vec![(batch, outcome)],
        };
        if stream.answers.try_send(Ok(answer)).is_err() {
            self.streams.remove(&session);
        }
    }

    fn break_stream(&mut self, session: SessionId, stream: StreamId) {
        if self.streams.get(&session).is_some_and(|s| s.id == stream) {
            tracing::warn!(%session, "breaking a stream of commits whose agent does not take answers");
            self.streams.remove(&session);
        }
    }

    /// The row that events decided now belong to.
    fn open_seq(&self) -> JournalSeq {
        JournalSeq(self.closed.0 + 1)
    }

    /// The last row that the state shows something of.
    fn shown_seq(&self) -> JournalSeq {
        if self.group.events.is_empty() {
            self.closed
        } else {
            self.open_seq()
        }
    }

    fn apply(&mut self, events: Vec<Event>) {
        let seq = self.open_seq();
        let changes: &mut Changes = &mut self.group.changes;
        for event in &events {
            self.state.apply_noting(seq, event, changes);
        }
        self.group.events.extend(events);
    }

    /// Applies a decision; its reply is to leave before the outcomes of held batches.
    fn accept<T>(&mut self, decided: Decided<T>) -> (T, Vec<HoldOutcome>) {
        self.apply(decided.events);
        (decided.reply, decided.holds)
    }

    fn settle(&mut self, holds: Vec<HoldOutcome>) {
        let departures = holds.into_iter().map(Departure::Hold);
        self.group.departures.extend(departures);
    }

    fn now(&self) -> Monotonic {
        self.ports.clock.now()
    }

    /// Lets the page writer go on, as far as that goes without waiting.
    fn pager_step(&mut self) {
        let whole = self.group.events.is_empty();
        let progress = Progress {
            closed: whole.then_some(self.closed),
            shown: self.shown_seq(),
            durable: (self.hashes.tail(), self.hashes.tail_hash()),
        };
        let now = self.now();
        self.pager.step(now, &mut self.state, progress);
    }

    /// Tells everybody who waits.
    fn refuse_all(&mut self, reason: &StopReason) {
        let fate = |may_have_happened| match reason {
            StopReason::LostRows { seen } => MetadataError::LostRows {
                reason: seen.clone(),
            },
            _ => MetadataError::Unavailable {
                reason: reason.to_string(),
                may_have_happened,
            },
        };
        for departing in std::mem::take(&mut self.departing) {
            let in_journal = departing.wait == Wait::Row;
            for departure in departing.departures {
                if let Departure::Reply(reply) = departure {
                    reply.fail(fate(in_journal));
                }
            }
        }
        for departure in std::mem::take(&mut self.group).departures {
            if let Departure::Reply(reply) = departure {
                reply.fail(fate(false));
            }
        }
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            request.refuse(fate(false));
        }
    }
}
