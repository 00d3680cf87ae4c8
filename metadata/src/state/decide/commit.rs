//! Deciding a commit: each batch is appended, a duplicate, rejected or held.

use aquifer_format::{
    ids::{
        CommitNumber, ObjectLevel, Offset, ProducerEpoch, ProducerId, Sequence, SessionId, TopicId,
    },
    limits::COMMIT_AGE_EPOCHS_MAX,
};
use aquifer_metadata_api::commit::{BatchRef, BatchSummary, Commit, Rejection, Run};

use super::{
    CommitError, Decided, HoldOutcome, Now, Outcomes,
    draft::{Draft, Pending, duplicate},
    hold::HoldDecisions,
    idempotence::Verdict,
};
use crate::{
    event::{Committed, CommittedBatch, CommittedRun, Decision, Event, Moment, ObjectInfo},
    state::{
        entity::State,
        session::{Session, result_cost},
        topic::Topic,
    },
};

/// Most batches that one partition may hold; one more ends the wait of the newcomer at once. Stock
/// producers have at most five under way.
const HOLDS_PER_PARTITION_MAX: usize = 1_024;
/// Most locations of an object.
const LOCATIONS_MAX: usize = 16;

/// Decides a commit of `session`. A commit that was decided before gets its remembered outcomes, those
/// of its batches that were held and decided since included, before anything else about it is looked
/// at; no event then.
///
/// # Errors
/// See [`CommitError`]; the commit's number is not used up by them.
pub fn commit(
    state: &State,
    now: &Now,
    session: SessionId,
    commit: &Commit,
) -> Result<Decided<Outcomes>, CommitError> {
    let known = state
        .sessions
        .get(&session)
        .ok_or(CommitError::UnknownSession(session))?;
    if commit.number <= known.last {
        return earlier(known, commit).map(Decided::only);
    }
    let expected = known.last.0.saturating_add(1);
    if commit.number.0 != expected {
        return Err(CommitError::Gap {
            expected,
            got: commit.number.0,
        });
    }
    check(state, known, commit)?;
    let answered_through = commit.answered_through.min(known.last);
    make_room(state, known, commit, answered_through)?;
    let mut drafting = Drafting::new(state, now, session, commit);
    if is_too_old(state, commit) {
        drafting.reject_all(Rejection::TooOld);
    } else {
        drafting.decide_all();
    }
    Ok(drafting.finish(answered_through))
}

fn earlier(session: &Session, commit: &Commit) -> Result<Outcomes, CommitError> {
    let number = commit.number.0;
    let remembered = session
        .remembered
        .get(&commit.number)
        .ok_or(CommitError::AnsweredBefore { number })?;
    if remembered.object != commit.object {
        return Err(CommitError::ContentDiffers { number });
    }
    Ok(remembered.named(commit.number))
}

/// An object of an earlier incarnation is too old, whatever its epoch says.
fn is_too_old(state: &State, commit: &Commit) -> bool {
    let age = state
        .counters
        .upload_epoch
        .0
        .saturating_sub(commit.object.upload_epoch.0);
    age > COMMIT_AGE_EPOCHS_MAX || commit.object.incarnation < state.counters.incarnation
}

fn check(state: &State, session: &Session, commit: &Commit) -> Result<(), CommitError> {
    let object = &commit.object;
    let fault = if object.writer != session.slot {
        Some("the object's writer is not the session's slot")
    } else if object.level != ObjectLevel::L0 {
        Some("the object is not of level 0")
    } else if object.incarnation > state.counters.incarnation
        || object.upload_epoch > state.counters.upload_epoch
    {
        Some("the object is of an upload epoch that has not begun")
    } else if commit.locations.len() > LOCATIONS_MAX {
        Some("the object has too many locations")
    } else if state.objects.find(object).is_some() || state.released.contains(object) {
        Some("the object was committed before")
    } else if !commit.runs.is_sorted_by(|a, b| a.partition < b.partition) {
        Some("runs are not sorted by partition, or a partition has two")
    } else {
        None
    };
    if let Some(fault) = fault {
        return Err(CommitError::Malformed(fault));
    }
    commit.runs.iter().try_for_each(check_run)
}

fn check_run(run: &Run) -> Result<(), CommitError> {
    let mut bytes = 0u32;
    if run.batches.is_empty() {
        return Err(CommitError::Malformed("a run has no batch"));
    }
    if run
        .position
        .checked_add(u64::from(run.stored_bytes))
        .is_none()
    {
        return Err(CommitError::Malformed("a run ends beyond 2^64 bytes"));
    }
    for batch in &run.batches {
        let idempotent = batch.producer_id.0 >= 0;
        let fault = if batch.records == 0 || i32::try_from(batch.records - 1).is_err() {
            Some("a batch has no record, or more than 2^31")
        } else if batch.producer_id < ProducerId::NONE {
            Some("a batch has a negative producer id other than -1")
        } else if idempotent && (batch.producer_epoch.0 < 0 || batch.first_sequence.0 < 0) {
            Some("a batch has a producer id without epoch or sequence")
        } else {
            None
        };
        if let Some(fault) = fault {
            return Err(CommitError::Malformed(fault));
        }
        bytes = bytes
            .checked_add(batch.bytes)
            .ok_or(CommitError::Malformed(
                "a run expands to 2^32 bytes or more",
            ))?;
    }
    Ok(())
}

/// Whether the results can be remembered, counting what the commit acknowledges.
fn make_room(
    state: &State,
    session: &Session,
    commit: &Commit,
    answered_through: CommitNumber,
) -> Result<(), CommitError> {
    let batches = commit.runs.iter().map(|run| run.batches.len()).sum();
    let cost = result_cost(commit.runs.len(), batches);
    let freed = session
        .remembered
        .range(..=answered_through)
        .fold(0u64, |sum, (_, earlier)| sum.saturating_add(earlier.cost()));
    let used = state.usage.result_bytes.saturating_sub(freed);
    // A single commit may always be remembered, or a tiny budget would stop everything.
    if used > 0 && used.saturating_add(cost) > state.budgets.result_bytes {
        return Err(CommitError::NoRoom);
    }
    Ok(())
}

/// A commit that is being decided.
struct Drafting<'a> {
    state: &'a State,
    session: SessionId,
    commit: &'a Commit,
    at: Moment,
    /// The extent or producer budget is used up.
    refuse: bool,
    /// What the holds of this decision add to the hold budget.
    hold_bytes: u64,
    /// Extents and holds that keep the object.
    references: u64,
    runs: Vec<CommittedRun>,
    batches: Vec<CommittedBatch>,
    outcomes: Outcomes,
    holds: HoldDecisions,
    draft: Option<Draft<'a>>,
    topic: Option<(TopicId, Option<&'a Topic>)>,
}

impl<'a> Drafting<'a> {
    fn new(state: &'a State, now: &Now, session: SessionId, commit: &'a Commit) -> Self {
        let batches = commit.runs.iter().map(|run| run.batches.len()).sum();
        Self {
            state,
            session,
            commit,
            at: Moment {
                unix_millis: now.unix_millis,
                upload_epoch: state.counters.upload_epoch,
            },
            refuse: state.pressure().refuse,
            hold_bytes: 0,
            references: 0,
            runs: Vec::with_capacity(commit.runs.len()),
            batches: Vec::with_capacity(batches),
            outcomes: Vec::with_capacity(batches),
            holds: HoldDecisions::default(),
            draft: None,
            topic: None,
        }
    }

    fn reject_all(&mut self, rejection: Rejection) {
        for (index, run) in (0u32..).zip(&self.commit.runs) {
            self.reject_run(index, run, rejection);
        }
    }

    fn reject_run(&mut self, index: u32, run: &Run, rejection: Rejection) {
        self.runs.push(committed_run(run, Offset(0), false));
        for (number, batch) in (0u32..).zip(&run.batches) {
            self.push(
                index,
                number,
                *batch,
                Decision::Rejected(rejection),
                None,
                Offset(0),
            );
        }
    }

    fn decide_all(&mut self) {
        for (index, run) in (0u32..).zip(&self.commit.runs) {
            self.decide_run(index, run);
        }
    }

    fn decide_run(&mut self, index: u32, run: &'a Run) {
        let topic = self.topic_of(run.partition.topic);
        let partition = topic.and_then(|topic| topic.partition(run.partition.partition));
        let (Some(topic), Some(partition)) = (topic, partition) else {
            self.reject_run(index, run, Rejection::UnknownPartition);
            return;
        };
        let append_time = topic.log_append_time.then_some(self.at.unix_millis);
        let mut draft = match self.draft.take() {
            Some(mut draft) => {
                draft.begin(run.partition, partition, append_time);
                draft
            }
            None => Draft::new(run.partition, partition, append_time),
        };
        let log_start = draft.log_start();
        self.runs
            .push(committed_run(run, log_start, append_time.is_some()));
        let first_outcome = self.outcomes.len();
        let mut raw_start = 0u32;
        for (number, batch) in (0u32..).zip(&run.batches) {
            let reference = BatchRef {
                number: self.commit.number,
                run: index,
                batch: number,
            };
            let place = (run.position, run.stored_bytes, raw_start);
            let pending = Pending::new(self.session, reference, normal(*batch), place);
            let last = usize::try_from(number).is_ok_and(|at| at + 1 == run.batches.len());
            let decision = self.decide_batch(&mut draft, pending, last);
            self.push(
                index,
                number,
                pending.summary,
                decision,
                append_time,
                log_start,
            );
            raw_start = raw_start.saturating_add(batch.bytes);
        }
        draft.follow_all();
        self.take_decided(&mut draft, append_time, first_outcome);
        self.draft = Some(draft);
    }

    fn topic_of(&mut self, id: TopicId) -> Option<&'a Topic> {
        match self.topic {
            Some((cached, topic)) if cached == id => topic,
            _ => {
                let topic = self.state.topics.get(&id);
                self.topic = Some((id, topic));
                topic
            }
        }
    }

    fn decide_batch(&mut self, draft: &mut Draft<'a>, batch: Pending, last: bool) -> Decision {
        let verdict = draft.judge(&batch.summary);
        match verdict {
            Verdict::Duplicate(original) => return duplicate(&original),
            Verdict::Reject(rejection) => return Decision::Rejected(rejection),
            _ if self.refuse => return Decision::Rejected(Rejection::OverBudget),
            Verdict::Append => {}
            Verdict::Gap | Verdict::Unknown => {
                let bytes = self
                    .hold_bytes
                    .saturating_add(u64::from(batch.summary.bytes));
                let used = self.state.usage.hold_bytes.saturating_add(bytes);
                if used <= self.state.budgets.hold_bytes
                    && draft.pending.len() < HOLDS_PER_PARTITION_MAX
                {
                    self.hold_bytes = bytes;
                    draft.pending.push(batch);
                    return Decision::Held;
                }
                if verdict == Verdict::Gap {
                    return Decision::Rejected(Rejection::OutOfOrderSequence);
                }
            }
        }
        let followed = !last || !draft.pending.is_empty();
        draft.append(&batch.summary, followed)
    }

    /// Takes over what the draft decided of held batches, this commit's own among them.
    fn take_decided(
        &mut self,
        draft: &mut Draft<'a>,
        append_time: Option<i64>,
        first_outcome: usize,
    ) {
        if draft.decided.is_empty() {
            return;
        }
        for (pending, decision) in &draft.decided {
            let own = pending.session == self.session && pending.batch.number == self.commit.number;
            if !own {
                continue;
            }
            let at = usize::try_from(pending.batch.batch).unwrap_or(usize::MAX);
            if let Some((_, outcome)) = self.outcomes.get_mut(first_outcome.saturating_add(at)) {
                *outcome = decision.outcome(append_time, draft.log_start());
            }
            if !matches!(decision, Decision::Appended { .. }) {
                self.references = self.references.saturating_sub(1);
            }
        }
        let object = self.object();
        let own = (self.session, self.commit.number);
        self.holds
            .take(self.state, draft, append_time, Some((own, &object)));
    }

    fn push(
        &mut self,
        run: u32,
        batch: u32,
        summary: BatchSummary,
        decision: Decision,
        append_time: Option<i64>,
        log_start: Offset,
    ) {
        if matches!(decision, Decision::Appended { .. } | Decision::Held) {
            self.references += 1;
        }
        let reference = BatchRef {
            number: self.commit.number,
            run,
            batch,
        };
        self.outcomes
            .push((reference, decision.outcome(append_time, log_start)));
        self.batches.push(CommittedBatch {
            summary: normal(summary),
            decision,
        });
    }

    fn object(&self) -> ObjectInfo {
        ObjectInfo {
            id: self.commit.object,
            bytes: self.commit.object_bytes,
            locations: self.commit.locations.clone(),
        }
    }

    fn finish(self, answered_through: CommitNumber) -> Decided<Outcomes> {
        let object = self.object();
        let mut released = self.holds.released(self.state);
        if self.references == 0 {
            released.push((object.id, object.bytes));
        }
        let mut events = vec![Event::Committed(Box::new(Committed {
            session: self.session,
            number: self.commit.number,
            answered_through,
            object,
            at: self.at,
            runs: self.runs,
            batches: self.batches,
        }))];
        let holds: Vec<HoldOutcome> = self.holds.outcomes;
        if !self.holds.decisions.is_empty() {
            events.push(Event::HoldsDecided {
                at: self.at,
                decisions: self.holds.decisions,
            });
        }
        if !released.is_empty() {
            events.push(Event::ObjectsReleased {
                since: self.at.upload_epoch,
                objects: released,
            });
        }
        Decided {
            events,
            reply: self.outcomes,
            holds,
        }
    }
}

fn committed_run(run: &Run, log_start: Offset, log_append_time: bool) -> CommittedRun {
    CommittedRun {
        partition: run.partition,
        position: run.position,
        stored_bytes: run.stored_bytes,
        log_start,
        log_append_time,
        batches: u32::try_from(run.batches.len()).unwrap_or(u32::MAX),
    }
}

/// A batch without a producer has no epoch and no sequence either, whatever it says.
fn normal(mut batch: BatchSummary) -> BatchSummary {
    if batch.producer_id.0 < 0 {
        batch.producer_id = ProducerId::NONE;
        batch.producer_epoch = ProducerEpoch::NONE;
        batch.first_sequence = Sequence::NONE;
    }
    batch
}
