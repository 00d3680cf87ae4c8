//! Sessions and commits of the fake.

use std::{collections::BTreeMap, time::Duration};

use aquifer_format::{
    ids::{CommitNumber, ObjectId, SessionId, WriterSlot},
    limits::{COMMIT_AGE_EPOCHS_MAX, HOLD_MS_MAX},
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    core::{Core, INCARNATION, instant},
    log::{Candidate, Owner},
    stream::CommitStream,
};
use crate::{
    commit::{BatchOutcome, BatchRef, Commit, CommitAnswer, CommitCall, Rejection, Run},
    error::MetadataError,
    register::{AgentAddress, RegisterRequest, Registration},
};

/// The session of what tests append directly.
const NO_SESSION: SessionId = SessionId(0);

/// An answer and when it may leave.
pub(super) type Delayed = (Instant, Result<CommitAnswer, MetadataError>);

#[derive(Debug)]
pub(super) struct Session {
    pub(super) slot: WriterSlot,
    pub(super) address: AgentAddress,
    /// Whether it wants to be among the live agents.
    pub(super) named: bool,
    last: CommitNumber,
    results: BTreeMap<CommitNumber, BTreeMap<BatchRef, BatchOutcome>>,
    stream: Option<Stream>,
}

#[derive(Debug)]
pub(super) struct Stream {
    id: u64,
    answers: mpsc::UnboundedSender<Delayed>,
    /// Dropped with the stream, which tells the task that reads calls.
    _alive: watch::Sender<()>,
}

impl Core {
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
            named: true,
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

    pub(super) fn session(&mut self, session: SessionId) -> Result<&mut Session, MetadataError> {
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
        self.known.insert(object);
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
    pub(super) fn settle(&mut self, outcomes: Vec<(Owner, BatchOutcome)>) {
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
}
