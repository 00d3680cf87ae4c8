//! Commit sessions.

use std::collections::BTreeMap;

use aquifer_format::ids::{CommitNumber, ObjectId, WriterSlot};
use aquifer_metadata_api::{
    commit::{BatchOutcome, BatchRef},
    register::AgentAddress,
};

use super::{
    budget::{OUTCOME_BYTES, RESULT_BYTES, RESULT_RUN_BYTES, Usage},
    entity::Position,
};

/// Results of a commit, kept until the session acknowledges them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RememberedCommit {
    pub(super) object: ObjectId,
    /// How many batches each run had.
    pub(super) run_batches: Vec<u32>,
    /// Outcomes of all batches, run by run.
    pub(super) outcomes: Vec<BatchOutcome>,
}

impl RememberedCommit {
    pub(super) fn cost(&self) -> u64 {
        result_cost(self.run_batches.len(), self.outcomes.len())
    }

    /// Outcomes with the names of their batches.
    pub(super) fn named(&self, number: CommitNumber) -> Vec<(BatchRef, BatchOutcome)> {
        let mut named = Vec::with_capacity(self.outcomes.len());
        let mut outcomes = self.outcomes.iter();
        for (run, batches) in (0u32..).zip(&self.run_batches) {
            for batch in 0..*batches {
                let Some(outcome) = outcomes.next() else {
                    return named;
                };
                let reference = BatchRef { number, run, batch };
                named.push((reference, *outcome));
            }
        }
        named
    }

    fn outcome_mut(&mut self, batch: BatchRef) -> Option<&mut BatchOutcome> {
        let run = usize::try_from(batch.run).ok()?;
        if batch.batch >= *self.run_batches.get(run)? {
            return None;
        }
        let before = self.run_batches[..run]
            .iter()
            .fold(0u64, |sum, batches| sum + u64::from(*batches));
        let index = usize::try_from(before + u64::from(batch.batch)).ok()?;
        self.outcomes.get_mut(index)
    }
}

/// What remembering a commit costs, in bytes.
pub(super) fn result_cost(runs: usize, batches: usize) -> u64 {
    let runs = u64::try_from(runs).unwrap_or(u64::MAX);
    let batches = u64::try_from(batches).unwrap_or(u64::MAX);
    RESULT_BYTES
        .saturating_add(runs.saturating_mul(RESULT_RUN_BYTES))
        .saturating_add(batches.saturating_mul(OUTCOME_BYTES))
}

/// A commit session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) at: Position,
    pub(super) dirty: bool,
    pub(super) slot: WriterSlot,
    pub(super) agent: AgentAddress,
    /// The last commit that was decided.
    pub(super) last: CommitNumber,
    /// Results up to here are forgotten.
    pub(super) answered_through: CommitNumber,
    pub(super) remembered: BTreeMap<CommitNumber, RememberedCommit>,
}

impl Session {
    pub(super) fn new(at: Position, slot: WriterSlot, agent: AgentAddress) -> Self {
        Self {
            at,
            dirty: false,
            slot,
            agent,
            last: CommitNumber(0),
            answered_through: CommitNumber(0),
            remembered: BTreeMap::new(),
        }
    }

    pub(super) fn remember(
        &mut self,
        number: CommitNumber,
        answered_through: CommitNumber,
        commit: RememberedCommit,
        usage: &mut Usage,
    ) {
        self.last = self.last.max(number);
        self.answered_through = self.answered_through.max(answered_through);
        if number > self.answered_through {
            usage.result_bytes = usage.result_bytes.saturating_add(commit.cost());
            if let Some(earlier) = self.remembered.insert(number, commit) {
                usage.result_bytes = usage.result_bytes.saturating_sub(earlier.cost());
            }
        }
        while let Some(first) = self.remembered.first_entry() {
            if *first.key() > self.answered_through {
                break;
            }
            usage.result_bytes = usage.result_bytes.saturating_sub(first.remove().cost());
        }
    }

    /// Sets the outcome of a batch that was held; tells whether it is remembered at all.
    pub(super) fn decide(&mut self, batch: BatchRef, outcome: BatchOutcome) -> bool {
        let found = self
            .remembered
            .get_mut(&batch.number)
            .and_then(|commit| commit.outcome_mut(batch));
        match found {
            Some(slot) => {
                *slot = outcome;
                true
            }
            None => false,
        }
    }

    pub(super) fn cost(&self) -> u64 {
        self.remembered
            .values()
            .fold(0, |sum, commit| sum.saturating_add(commit.cost()))
    }
}
