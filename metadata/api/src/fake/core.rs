//! The state of the fake: every call is one group commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use aquifer_format::{
    ids::{
        ClusterId, CommitNumber, Incarnation, JournalSeq, LeaderEpoch, LeaderTerm, ObjectId,
        Offset, PartitionId, PartitionIndex, ProducerId, SessionId, TopicId, UploadEpoch,
        WriterSlot,
    },
    limits::{COMMIT_AGE_EPOCHS_MAX, HOLD_MS_MAX, LOCATE_EXTENTS_MAX},
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use uuid::Uuid;

use super::{
    FAKE_START_UNIX_MILLIS,
    log::{Candidate, Log, Owner},
    stream::CommitStream,
};
use crate::{
    commit::{BatchOutcome, BatchRef, Commit, CommitAnswer, CommitCall, Rejection, Run},
    error::MetadataError,
    extent::Extent,
    locate::{
        LocatePartition, LocateReply, LocateRequest, Located, OffsetSpec, OffsetsFound,
        OffsetsReply, OffsetsRequest,
    },
    register::{AgentAddress, RegisterRequest, Registration},
    watch::{AgentView, CommonFrame, ExtentsFrame, Frame, InterestChange, TopicView},
};

/// The fake never changes its leader.
pub(super) const TERM: LeaderTerm = LeaderTerm(1);
/// The session of what tests append directly.
const NO_SESSION: SessionId = SessionId(0);
const INCARNATION: Incarnation = Incarnation(1);

/// An answer and when it may leave.
pub(super) type Delayed = (Instant, Result<CommitAnswer, MetadataError>);

#[derive(Debug)]
struct Session {
    slot: WriterSlot,
    address: AgentAddress,
    last: CommitNumber,
    results: BTreeMap<CommitNumber, BTreeMap<BatchRef, BatchOutcome>>,
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    id: u64,
    answers: mpsc::UnboundedSender<Delayed>,
    /// Dropped with the stream, which tells the task that reads calls.
    _alive: watch::Sender<()>,
}

#[derive(Debug)]
struct Watcher {
    session: SessionId,
    frames: mpsc::UnboundedSender<Frame>,
    waiting: Vec<Frame>,
    interests: BTreeMap<PartitionId, Offset>,
}

/// Everything that the fake knows.
#[derive(Debug)]
pub(super) struct Core {
    start: Instant,
    pub(super) cluster: ClusterId,
    pub(super) seq: JournalSeq,
    pub(super) upload_epoch: UploadEpoch,
    pub(super) topics: BTreeMap<TopicId, Arc<TopicView>>,
    pub(super) logs: BTreeMap<PartitionId, Log>,
    sessions: BTreeMap<SessionId, Session>,
    watchers: BTreeMap<u64, Watcher>,
    holds: BTreeMap<Owner, (PartitionId, Instant)>,
    counter: u64,
    slots: u32,
    changed_topics: BTreeSet<TopicId>,
    changed_logs: BTreeSet<PartitionId>,
    agents_changed: bool,
    frames_held: bool,
    pub(super) answer_delay: Duration,
    pub(super) lose_answers: bool,
    pub(super) unavailable: Option<bool>,
    pub(super) throttle_produce: bool,
    pub(super) over_budget: bool,
}

#[allow(
    clippy::disallowed_methods,
    reason = "a fake for tests; this crate does not know the Clock port, and a paused runtime has virtual time"
)]
fn instant() -> Instant {
    Instant::now()
}

impl Core {
    pub(super) fn new() -> Self {
        Self {
            start: instant(),
            cluster: ClusterId(Uuid::from_u128(0x0a71_f3e5)),
            seq: JournalSeq(1),
            upload_epoch: UploadEpoch(1),
            topics: BTreeMap::new(),
            logs: BTreeMap::new(),
            sessions: BTreeMap::new(),
            watchers: BTreeMap::new(),
            holds: BTreeMap::new(),
            counter: 0,
            slots: 0,
            changed_topics: BTreeSet::new(),
            changed_logs: BTreeSet::new(),
            agents_changed: false,
            frames_held: false,
            answer_delay: Duration::ZERO,
            lose_answers: false,
            unavailable: None,
            throttle_produce: false,
            over_budget: false,
        }
    }

    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(super) fn now(&self) -> Instant {
        instant()
    }

    fn unix_millis(&self) -> i64 {
        let passed = instant().duration_since(self.start).as_millis();
        FAKE_START_UNIX_MILLIS + i64::try_from(passed).unwrap_or(0)
    }

    pub(super) fn next_producer_id(&mut self) -> ProducerId {
        ProducerId(i64::try_from(self.next()).unwrap_or(i64::MAX))
    }

    // Topics

    pub(super) fn create_topic(
        &mut self,
        name: &str,
        partitions: u32,
        configs: BTreeMap<String, String>,
    ) -> Option<TopicId> {
        if self.topics.values().any(|t| t.name == name) {
            return None;
        }
        let number = self.next();
        let id = TopicId(Uuid::from_u128(0xf0 << 64 | u128::from(number)));
        let leader_epoch = LeaderEpoch(i32::try_from(number).unwrap_or(i32::MAX));
        let append_time = configs
            .get("message.timestamp.type")
            .is_some_and(|v| v == "LogAppendTime");
        for partition in 0..partitions {
            let partition = PartitionIndex(i32::try_from(partition).unwrap_or(i32::MAX));
            let id = PartitionId::new(id, partition);
            self.logs.insert(id, Log::new(leader_epoch, append_time));
            self.changed_logs.insert(id);
        }
        let view = TopicView {
            id,
            name: name.to_owned(),
            partitions,
            leader_epoch,
            configs,
        };
        self.topics.insert(id, Arc::new(view));
        self.changed_topics.insert(id);
        Some(id)
    }

    pub(super) fn delete_topic(&mut self, topic: TopicId) {
        if self.topics.remove(&topic).is_none() {
            return;
        }
        self.changed_topics.insert(topic);
        let gone: Vec<PartitionId> = self
            .logs
            .keys()
            .copied()
            .filter(|p| p.topic == topic)
            .collect();
        for partition in gone {
            let log = self.logs.remove(&partition).expect("listed just above");
            self.changed_logs.remove(&partition);
            let unknown = BatchOutcome::Rejected(Rejection::UnknownPartition);
            let outcomes = log
                .held()
                .into_iter()
                .map(|owner| (owner, unknown))
                .collect();
            self.settle(outcomes);
        }
    }

    pub(super) fn set_log_start(&mut self, partition: PartitionId, offset: Offset) {
        if let Some(log) = self.logs.get_mut(&partition) {
            log.log_start = log.log_start.max(offset.min(log.end));
            let before = log.extents.len();
            log.extents.retain(|e| e.end_offset > log.log_start);
            log.published = log.published.saturating_sub(before - log.extents.len());
            self.changed_logs.insert(partition);
        }
    }

    // Sessions and commits

    pub(super) fn register(&mut self, request: RegisterRequest) -> Registration {
        let had = |slot: &WriterSlot| self.sessions.values().any(|s| s.slot == *slot);
        let slot = request.previous_slot.filter(had).unwrap_or_else(|| {
            self.slots += 1;
            WriterSlot(self.slots)
        });
        let session = SessionId(self.next());
        let new = Session {
            slot,
            address: request.agent,
            last: CommitNumber(0),
            results: BTreeMap::new(),
            stream: None,
        };
        self.sessions.insert(session, new);
        self.seq.0 += 1;
        Registration {
            slot,
            session,
            cluster: self.cluster,
            incarnation: INCARNATION,
            upload_epoch: self.upload_epoch,
        }
    }

    pub(super) fn end_session(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.watchers.retain(|_, w| w.session != session);
        self.agents_changed = true;
    }

    fn session(&mut self, session: SessionId) -> Result<&mut Session, MetadataError> {
        self.sessions
            .get_mut(&session)
            .ok_or(MetadataError::UnknownSession { session })
    }

    pub(super) fn open_commits(
        &mut self,
        session: SessionId,
    ) -> Result<CommitStream, MetadataError> {
        let id = self.next();
        let known = self.session(session)?;
        let (to_agent, answers) = mpsc::unbounded_channel();
        let (alive, broken) = watch::channel(());
        known.stream = Some(Stream {
            id,
            answers: to_agent,
            _alive: alive,
        });
        Ok(CommitStream {
            id,
            answers,
            broken,
        })
    }

    pub(super) fn break_commit_streams(&mut self) {
        for session in self.sessions.values_mut() {
            session.stream = None;
        }
    }

    /// Takes a call of stream `stream`; true if batches are held because of it.
    pub(super) fn call(&mut self, session: SessionId, stream: u64, call: CommitCall) -> bool {
        let current = |s: &Session| s.stream.as_ref().is_some_and(|s| s.id == stream);
        if !self.sessions.get(&session).is_some_and(current) {
            return false;
        }
        let before = self.holds.len();
        match call {
            CommitCall::Commit(commit) => {
                if let Err(error) = self.commit(session, &commit) {
                    self.send(session, Err(error));
                    self.sessions
                        .get_mut(&session)
                        .expect("looked up above")
                        .stream = None;
                }
            }
            CommitCall::ReleaseHolds(batches) => {
                for batch in batches {
                    self.release((session, batch));
                }
            }
        }
        self.publish();
        self.holds.len() > before
    }

    fn commit(&mut self, session: SessionId, commit: &Commit) -> Result<(), MetadataError> {
        let known = self.session(session)?;
        let through = commit.answered_through;
        known.results.retain(|number, _| *number > through);
        let number = commit.number;
        if let Some(results) = known.results.get(&number) {
            let outcomes = results.iter().map(|(r, o)| (*r, *o)).collect();
            self.send(session, Ok(CommitAnswer { number, outcomes }));
            return Ok(());
        }
        if number.0 != known.last.0 + 1 {
            let reason = format!("commit {number} does not follow {}", known.last);
            return Err(MetadataError::Refused { reason });
        }
        known.last = number;
        let (own, others) = self.decide(session, number, commit.object, &commit.runs);
        let results = own.iter().copied().collect();
        self.session(session)?.results.insert(number, results);
        let outcomes = own;
        self.send(session, Ok(CommitAnswer { number, outcomes }));
        self.settle(others);
        Ok(())
    }

    /// Appends for a test; a held batch stays held for ever.
    pub(super) fn append(
        &mut self,
        object: ObjectId,
        runs: &[Run],
    ) -> Vec<(BatchRef, BatchOutcome)> {
        let number = CommitNumber(self.next());
        let (own, others) = self.decide(NO_SESSION, number, object, runs);
        self.settle(others);
        own
    }

    /// Decides every batch of an object; also returns outcomes of other commits' held batches.
    #[allow(
        clippy::type_complexity,
        reason = "two lists, named where they are bound"
    )]
    fn decide(
        &mut self,
        session: SessionId,
        number: CommitNumber,
        object: ObjectId,
        runs: &[Run],
    ) -> (Vec<(BatchRef, BatchOutcome)>, Vec<(Owner, BatchOutcome)>) {
        let now = self.unix_millis();
        let mut own = BTreeMap::new();
        let mut others = Vec::new();
        let too_old = object.upload_epoch.0 + COMMIT_AGE_EPOCHS_MAX < self.upload_epoch.0;
        for (run, r) in (0u32..).zip(runs) {
            let mut raw_start = 0;
            for (batch, summary) in (0u32..).zip(&r.batches) {
                let reference = BatchRef { number, run, batch };
                let candidate = Candidate {
                    owner: (session, reference),
                    summary: *summary,
                    object,
                    run_position: r.position,
                    run_bytes: r.stored_bytes,
                    raw_start,
                };
                raw_start += summary.bytes;
                let refusal = match self.logs.contains_key(&r.partition) {
                    _ if too_old => Some(Rejection::TooOld),
                    _ if self.over_budget => Some(Rejection::OverBudget),
                    false => Some(Rejection::UnknownPartition),
                    true => None,
                };
                if let Some(why) = refusal {
                    own.insert(reference, BatchOutcome::Rejected(why));
                    continue;
                }
                let log = self.logs.get_mut(&r.partition).expect("asked just above");
                self.changed_logs.insert(r.partition);
                for (owner, outcome) in log.offer(candidate, now) {
                    if outcome == BatchOutcome::Held {
                        let due = instant() + Duration::from_millis(HOLD_MS_MAX);
                        self.holds.insert(owner, (r.partition, due));
                    }
                    if (owner.0, owner.1.number) == (session, number) {
                        own.insert(owner.1, outcome);
                        if outcome != BatchOutcome::Held {
                            self.holds.remove(&owner);
                        }
                    } else {
                        others.push((owner, outcome));
                    }
                }
            }
        }
        (own.into_iter().collect(), others)
    }

    fn release(&mut self, owner: Owner) {
        let Some((partition, _)) = self.holds.get(&owner).copied() else {
            return;
        };
        let now = self.unix_millis();
        if let Some(log) = self.logs.get_mut(&partition) {
            let outcomes = log.release(owner, now);
            self.changed_logs.insert(partition);
            self.settle(outcomes);
        }
    }

    pub(super) fn expire_holds(&mut self) {
        let now = instant();
        let due = self.holds.iter().filter(|(_, (_, due))| *due <= now);
        let due: Vec<Owner> = due.map(|(owner, _)| *owner).collect();
        for owner in due {
            self.release(owner);
        }
        self.publish();
    }

    /// Records and sends later outcomes of held batches.
    fn settle(&mut self, outcomes: Vec<(Owner, BatchOutcome)>) {
        for ((session, reference), outcome) in outcomes {
            self.holds.remove(&(session, reference));
            let Some(known) = self.sessions.get_mut(&session) else {
                continue;
            };
            let number = reference.number;
            if let Some(results) = known.results.get_mut(&number) {
                results.insert(reference, outcome);
            }
            let outcomes = vec![(reference, outcome)];
            self.send(session, Ok(CommitAnswer { number, outcomes }));
        }
    }

    fn send(&self, session: SessionId, answer: Result<CommitAnswer, MetadataError>) {
        if self.lose_answers {
            return;
        }
        if let Some(stream) = self.sessions.get(&session).and_then(|s| s.stream.as_ref()) {
            // a stream that the agent dropped has nobody to tell
            let _ = stream.answers.send((instant() + self.answer_delay, answer));
        }
    }

    // Reading

    pub(super) fn locate(&self, request: &LocateRequest) -> LocateReply {
        let partitions = request.partitions.iter().map(|p| self.locate_one(p));
        LocateReply {
            partitions: partitions.collect(),
        }
    }

    fn locate_one(&self, wanted: &LocatePartition) -> Option<Located> {
        let log = self.logs.get(&wanted.partition)?;
        let mut bytes = 0;
        let mut extents: Vec<Extent> = Vec::new();
        if wanted.from >= log.log_start {
            for extent in log.extents.iter().filter(|e| e.end_offset > wanted.from) {
                if !extents.is_empty() && bytes >= wanted.max_bytes
                    || extents.len() == LOCATE_EXTENTS_MAX
                {
                    break;
                }
                bytes += u64::from(extent.raw_bytes);
                extents.push(*extent);
            }
        }
        Some(Located {
            watermarks: log.watermarks(),
            extents,
        })
    }

    pub(super) fn offsets(&self, request: &OffsetsRequest) -> OffsetsReply {
        let find = |(partition, spec): &(PartitionId, OffsetSpec)| {
            let log = self.logs.get(partition)?;
            let extent = match *spec {
                OffsetSpec::Watermarks => None,
                OffsetSpec::Timestamp(at) => log.extents.iter().find(|e| e.max_timestamp >= at),
                OffsetSpec::MaxTimestamp => {
                    log.extents.iter().rev().max_by_key(|e| e.max_timestamp)
                }
            };
            Some(OffsetsFound {
                watermarks: log.watermarks(),
                extent: extent.copied(),
            })
        };
        OffsetsReply {
            partitions: request.partitions.iter().map(find).collect(),
        }
    }

    // Watching

    pub(super) fn open_watch(
        &mut self,
        session: SessionId,
    ) -> Result<(u64, mpsc::UnboundedReceiver<Frame>), MetadataError> {
        self.session(session)?;
        let id = self.next();
        let (frames, queue) = mpsc::unbounded_channel();
        self.agents_changed = true;
        let watcher = Watcher {
            session,
            frames,
            waiting: Vec::new(),
            interests: BTreeMap::new(),
        };
        self.watchers.insert(id, watcher);
        let reset = CommonFrame {
            reset: true,
            topics: self.topics.values().cloned().collect(),
            watermarks: self
                .logs
                .iter()
                .map(|(id, log)| (*id, log.watermarks()))
                .collect(),
            agents: Some(self.agents()),
            ..self.common_frame()
        };
        let held = self.frames_held;
        let watcher = self.watchers.get_mut(&id).expect("inserted just above");
        watcher.push(Frame::Common(Arc::new(reset)), held);
        // the others hear of the new agent, the new one hears it twice
        self.publish();
        Ok((id, queue))
    }

    pub(super) fn close_watch(&mut self, id: u64) {
        if self.watchers.remove(&id).is_some() {
            self.agents_changed = true;
            self.publish();
        }
    }

    pub(super) fn break_watches(&mut self) {
        self.watchers.clear();
    }

    pub(super) fn set_frames_held(&mut self, held: bool) {
        self.frames_held = held;
        if !held {
            for watcher in self.watchers.values_mut() {
                for frame in std::mem::take(&mut watcher.waiting) {
                    watcher.push(frame, false);
                }
            }
        }
    }

    pub(super) fn interest(&mut self, id: u64, change: InterestChange) {
        let Some(watcher) = self.watchers.get_mut(&id) else {
            return;
        };
        match change {
            InterestChange::Remove { partition } => {
                watcher.interests.remove(&partition);
            }
            InterestChange::Add { partition, from } => {
                let end = self.logs.get(&partition).map_or(from, |log| log.end);
                watcher.interests.insert(partition, end);
                let acknowledgement = ExtentsFrame {
                    seq: self.seq,
                    complete_from: vec![(partition, end)],
                    extents: Vec::new(),
                };
                watcher.push(Frame::Extents(acknowledgement), self.frames_held);
            }
        }
    }

    fn agents(&self) -> Vec<AgentView> {
        let live: BTreeSet<SessionId> = self.watchers.values().map(|w| w.session).collect();
        let sessions = self.sessions.iter().filter(|(id, _)| live.contains(id));
        let mut agents: Vec<AgentView> = sessions
            .map(|(_, s)| AgentView {
                slot: s.slot,
                address: s.address.clone(),
            })
            .collect();
        agents.sort_by_key(|a| a.slot);
        agents.dedup_by_key(|a| a.slot);
        agents
    }

    fn common_frame(&self) -> CommonFrame {
        CommonFrame {
            term: TERM,
            seq: self.seq,
            incarnation: INCARNATION,
            reset: false,
            upload_epoch: self.upload_epoch,
            topics: Vec::new(),
            deleted_topics: Vec::new(),
            watermarks: Vec::new(),
            agents: None,
            throttle_produce: self.throttle_produce,
        }
    }

    /// Ends a group commit: watchers hear what changed.
    pub(super) fn publish(&mut self) {
        self.seq.0 += 1;
        let topics = std::mem::take(&mut self.changed_topics);
        let changed = std::mem::take(&mut self.changed_logs);
        let mut frame = self.common_frame();
        for topic in topics {
            match self.topics.get(&topic) {
                Some(view) => frame.topics.push(Arc::clone(view)),
                None => frame.deleted_topics.push(topic),
            }
        }
        let mut extents = BTreeMap::new();
        for partition in changed {
            let Some(log) = self.logs.get_mut(&partition) else {
                continue;
            };
            frame.watermarks.push((partition, log.watermarks()));
            extents.insert(partition, log.extents[log.published..].to_vec());
            log.published = log.extents.len();
        }
        if std::mem::take(&mut self.agents_changed) {
            frame.agents = Some(self.agents());
        }
        let frame = Arc::new(frame);
        for watcher in self.watchers.values_mut() {
            watcher.push(Frame::Common(Arc::clone(&frame)), self.frames_held);
            let wanted = |(partition, extents): (&PartitionId, &Vec<Extent>)| {
                let from = *watcher.interests.get(partition)?;
                let new = extents.iter().filter(|e| e.base_offset >= from).copied();
                let new: Vec<Extent> = new.collect();
                (!new.is_empty()).then_some((*partition, new))
            };
            let extents: Vec<_> = extents.iter().filter_map(wanted).collect();
            if !extents.is_empty() {
                let frame = ExtentsFrame {
                    seq: self.seq,
                    complete_from: Vec::new(),
                    extents,
                };
                watcher.push(Frame::Extents(frame), self.frames_held);
            }
        }
    }
}

impl Watcher {
    fn push(&mut self, frame: Frame, held: bool) {
        if held {
            self.waiting.push(frame);
        } else {
            // a watch that the agent dropped is closed by its task
            let _ = self.frames.send(frame);
        }
    }
}
