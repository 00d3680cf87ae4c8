//! The metadata service's state as rows make it (`aquifer_metadata::state`), and the decisions that are
//! made of it (`state::decide::commit`, `hold`, `idempotence`).

use std::collections::BTreeMap;

use super::{
    Cluster,
    world::{Batch, COMMIT_AGE_MAX, CommitId, Event, Fence, Object, Outcome, Refusal, Row},
};

/// A record of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) offset: u8,
    pub(crate) batch: Batch,
    pub(crate) object: usize,
}

/// A batch that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) commit: CommitId,
    pub(crate) batch: Batch,
    pub(crate) object: usize,
}

/// A commit session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub(crate) last: u8,
    /// Results above what the agent has, with the term of the row that has them.
    pub(crate) results: BTreeMap<u8, (Outcome, u8)>,
}

/// `State`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) incarnation: u8,
    pub(crate) epoch: u8,
    pub(crate) next: u8,
    pub(crate) entries: Vec<Entry>,
    pub(crate) holds: Vec<Held>,
    pub(crate) sessions: [Session; 2],
    /// Commits whose held batch was decided though it was not held.
    pub(crate) decided_twice: bool,
    /// Commits that were decided anew with another outcome.
    pub(crate) other_answer: bool,
    /// A batch stands before its predecessor.
    pub(crate) reordered: bool,
}

/// What is known of a commit that is delivered.
pub(crate) enum Delivered {
    /// It was decided before.
    Known,
    /// It cannot be decided now: a number before it is missing, or its session ended.
    No,
    /// It is decided.
    New(Event),
}

impl Ledger {
    /// Replays rows.
    pub(crate) fn of(rows: &[Row]) -> Self {
        let mut ledger = Self::default();
        for row in rows {
            ledger.apply(row);
        }
        ledger
    }

    fn apply(&mut self, row: &Row) {
        match &row.event {
            Event::Committed {
                id,
                answered,
                object,
                batch,
                outcome,
                holds,
            } => {
                let session = &mut self.sessions[id.agent];
                if let Some((before, _)) = session.results.get(&id.number) {
                    self.other_answer |= before != outcome;
                } else if id.number <= session.last {
                    self.other_answer = true;
                }
                session.last = session.last.max(id.number);
                session.results.retain(|number, _| *number > *answered);
                session.results.insert(id.number, (*outcome, row.term));
                match outcome {
                    Outcome::Appended(offset) => self.append(*offset, *batch, *object),
                    Outcome::Held => self.holds.push(Held {
                        commit: *id,
                        batch: *batch,
                        object: *object,
                    }),
                    Outcome::Duplicate(_) | Outcome::Rejected(_) => {}
                }
                self.decide_holds(holds, row.term);
            }
            Event::HoldsDecided(holds) => self.decide_holds(holds, row.term),
            Event::EpochAdvanced => self.epoch += 1,
            Event::LossAccepted { next, epoch } => {
                self.incarnation += 1;
                self.next = *next;
                self.epoch = *epoch;
                self.sessions = Default::default();
                self.holds.clear();
            }
        }
    }

    fn decide_holds(&mut self, holds: &[(CommitId, Outcome)], term: u8) {
        for (commit, outcome) in holds {
            let Some(at) = self.holds.iter().position(|held| held.commit == *commit) else {
                self.decided_twice = true;
                continue;
            };
            let held = self.holds.remove(at);
            if let Outcome::Appended(offset) = outcome {
                self.append(*offset, held.batch, held.object);
            }
            let results = &mut self.sessions[commit.agent].results;
            results.insert(commit.number, (*outcome, term));
        }
    }

    fn append(&mut self, offset: u8, batch: Batch, object: usize) {
        if let Batch::Sequence(sequence) = batch {
            // on a partition that has records, an unknown producer's batch is taken as it is, as Kafka
            // does once its predecessor had its time
            let first = self.entries.is_empty().then_some(0);
            let due = self.expected().or(first);
            self.reordered |= due.is_some_and(|due| due != sequence) && self.incarnation == 0;
        }
        self.next = offset + 1;
        self.entries.push(Entry {
            offset,
            batch,
            object,
        });
    }

    /// The sequence that the idempotent producer must go on with; None = it is unknown.
    pub(crate) fn expected(&self) -> Option<u8> {
        let sequence = |entry: &Entry| match entry.batch {
            Batch::Sequence(sequence) => Some(sequence + 1),
            Batch::Plain => None,
        };
        self.entries.iter().filter_map(sequence).max()
    }

    fn find(&self, batch: Batch) -> Option<u8> {
        let entry = self.entries.iter().find(|entry| entry.batch == batch);
        entry.map(|entry| entry.offset)
    }

    /// Whether anything refers to the object.
    pub(crate) fn refers(&self, model: &Cluster, object: usize) -> bool {
        let held =
            model.has(Fence::HoldsRefer) && self.holds.iter().any(|held| held.object == object);
        held || self.needs(object)
    }

    /// Whether consumers will need the object.
    pub(crate) fn needs(&self, object: usize) -> bool {
        self.entries.iter().any(|entry| entry.object == object)
    }

    /// The answer to a commit, as far as there is one.
    pub(crate) fn result(&self, model: &Cluster, term: u8, id: CommitId) -> Option<Outcome> {
        if id.incarnation != self.incarnation {
            return None;
        }
        let (outcome, by) = self.sessions[id.agent].results.get(&id.number)?;
        (model.has(Fence::Remembered) || *by == term).then_some(*outcome)
    }

    fn is_too_old(&self, model: &Cluster, object: &Object) -> bool {
        let age = self.epoch.saturating_sub(object.epoch);
        (model.has(Fence::CommitAge) && age > COMMIT_AGE_MAX)
            || object.incarnation < self.incarnation
    }

    /// Decides a commit (`decide::commit`).
    pub(crate) fn commit(
        &self,
        model: &Cluster,
        term: u8,
        index: usize,
        object: &Object,
    ) -> Delivered {
        let Some((id, answered)) = object.commit else {
            return Delivered::No;
        };
        let last = self.sessions[id.agent].last;
        if id.incarnation != self.incarnation || id.number > last + 1 {
            return Delivered::No;
        }
        let too_old = self.is_too_old(model, object);
        let look_up = model.has(Fence::LookUpFirst) || !too_old;
        if id.number <= last && look_up {
            let known = self.result(model, term, id).is_some();
            if known || model.has(Fence::Remembered) {
                return Delivered::Known;
            }
        }
        let outcome = if too_old {
            Outcome::Rejected(Refusal::TooOld)
        } else {
            self.judge(model, object.batch)
        };
        let mut draft = self.clone();
        let mut holds = Vec::new();
        if let Outcome::Appended(offset) = outcome {
            draft.append(offset, object.batch, index);
            draft.follow(&mut holds);
        }
        Delivered::New(Event::Committed {
            id,
            answered,
            object: index,
            batch: object.batch,
            outcome,
            holds,
        })
    }

    /// `idempotence::judge`.
    fn judge(&self, model: &Cluster, batch: Batch) -> Outcome {
        let Batch::Sequence(sequence) = batch else {
            return Outcome::Appended(self.next);
        };
        if let Some(offset) = self.find(batch) {
            return Outcome::Duplicate(offset);
        }
        let refused = Outcome::Rejected(Refusal::OutOfOrder);
        let held = if model.has(Fence::Hold) {
            Outcome::Held
        } else {
            refused
        };
        match self.expected() {
            None if sequence == 0 => Outcome::Appended(self.next),
            None if self.entries.is_empty() && model.has(Fence::FirstSequence) => refused,
            None => held,
            Some(expected) if sequence == expected => Outcome::Appended(self.next),
            Some(expected) if sequence > expected => held,
            Some(_) => refused,
        }
    }

    /// Held batches that have become decidable (`Draft::follow_all`).
    fn follow(&mut self, holds: &mut Vec<(CommitId, Outcome)>) {
        loop {
            let expected = self.expected();
            let next = self.holds.iter().find_map(|held| {
                let Batch::Sequence(sequence) = held.batch else {
                    return None;
                };
                let decided = match self.find(held.batch) {
                    Some(offset) => Outcome::Duplicate(offset),
                    None if Some(sequence) == expected => Outcome::Appended(self.next),
                    None => return None,
                };
                Some((*held, decided))
            });
            let Some((held, outcome)) = next else {
                return;
            };
            self.holds.retain(|other| other.commit != held.commit);
            if let Outcome::Appended(offset) = outcome {
                self.append(offset, held.batch, held.object);
            }
            holds.push((held.commit, outcome));
        }
    }

    /// A held batch's time is up (`decide::release_holds`).
    pub(crate) fn release(&self, held: &Held) -> Event {
        let mut draft = self.clone();
        let mut holds = Vec::new();
        draft.holds.retain(|other| other.commit != held.commit);
        let outcome = if self.expected().is_none() {
            Outcome::Appended(self.next)
        } else {
            Outcome::Rejected(Refusal::OutOfOrder)
        };
        holds.push((held.commit, outcome));
        if let Outcome::Appended(offset) = outcome {
            draft.append(offset, held.batch, held.object);
            draft.follow(&mut holds);
        }
        Event::HoldsDecided(holds)
    }
}
