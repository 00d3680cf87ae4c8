//! Steps of clients, agents and the leader on the way from a batch to its answer.

use std::sync::Arc;

use super::{
    Cluster,
    ledger::{Delivered, Entry, Ledger},
    world::{
        Batch, Broken, CommitId, Event, Fence, Mark, Object, Outcome, Refusal, Role, Row, World,
        incarnation, lost,
    },
};

impl World {
    pub(crate) fn produce(&mut self, model: &Cluster, batch: Batch, agent: usize) -> bool {
        if !self.agents[agent].alive || self.acknowledged.iter().any(|(_, b)| *b == batch) {
            return false;
        }
        let known = Ledger::of(&self.agents[agent].seen.rows);
        self.objects.push(Object {
            agent,
            batch,
            incarnation: known.incarnation,
            epoch: known.epoch,
            in_bucket: false,
            doomed: false,
            deleted: false,
            commit: None,
            answered: false,
        });
        // how long it takes matters to the sweeper only
        model.bounds.sweeper || self.put(self.objects.len() - 1)
    }

    pub(crate) fn put(&mut self, object: usize) -> bool {
        self.objects[object].in_bucket = true;
        let agent = self.objects[object].agent;
        for at in 0..self.objects.len() {
            if self.objects[at].agent == agent && !self.number(at) {
                break;
            }
        }
        true
    }

    /// Flush n + 1 gets its number after flush n, since one client's batches are in both. False = it
    /// waits for its upload.
    pub(crate) fn number(&mut self, at: usize) -> bool {
        let object = &self.objects[at];
        let agent = object.agent;
        if object.commit.is_some() {
            return true;
        }
        if !object.in_bucket || !self.agents[agent].alive {
            return false;
        }
        let of_agent = |object: &&Object| object.agent == agent;
        let incarnation = incarnation(&self.agents[agent].seen.rows);
        let numbered = self.objects.iter().filter(of_agent).filter_map(|object| {
            let (id, _) = object.commit?;
            (id.incarnation == incarnation).then_some((id.number, object.answered))
        });
        let mut numbered: Vec<_> = numbered.collect();
        numbered.sort_unstable();
        let answered = numbered
            .iter()
            .take_while(|(_, answered)| *answered)
            .count();
        let number = u8::try_from(numbered.len() + 1).expect("few");
        let id = CommitId {
            incarnation,
            agent,
            number,
        };
        let answered = u8::try_from(answered).expect("few");
        self.objects[at].commit = Some((id, answered));
        true
    }

    pub(crate) fn deliver(&mut self, model: &Cluster, at: usize, member: usize) -> bool {
        let object = &self.objects[at];
        let leader = &self.members[member];
        if object.answered
            || object.commit.is_none()
            || !self.agents[object.agent].alive
            || leader.role != Role::Leading
            || leader.pending.is_some()
        {
            return false;
        }
        let ledger = Ledger::of(&leader.rows);
        let Delivered::New(event) = ledger.commit(model, leader.term, at, object) else {
            return false;
        };
        self.check_refusal(&ledger, &event);
        self.decide(model, member, event)
    }

    /// On a partition that has records, nothing is refused for its order while its predecessor is under
    /// way.
    pub(crate) fn check_refusal(&mut self, ledger: &Ledger, event: &Event) {
        let Event::Committed { batch, outcome, .. } = event else {
            return;
        };
        let Batch::Sequence(sequence) = *batch else {
            return;
        };
        if *outcome == Outcome::Rejected(Refusal::OutOfOrder)
            && !ledger.entries.is_empty()
            && ledger.expected().is_none_or(|expected| expected < sequence)
            && self.is_under_way(sequence)
        {
            self.break_promise(Broken::NeedlessRefusal);
        }
    }

    /// Whether a batch before `sequence` is on its way through a live agent.
    pub(crate) fn is_under_way(&self, sequence: u8) -> bool {
        self.objects.iter().any(|object| {
            matches!(object.batch, Batch::Sequence(other) if other < sequence)
                && !object.answered
                && self.agents[object.agent].alive
        })
    }

    pub(crate) fn decide(&mut self, model: &Cluster, member: usize, event: Event) -> bool {
        let leader = &mut self.members[member];
        if leader.role != Role::Leading || leader.pending.is_some() {
            return false;
        }
        let term = leader.term;
        leader.pending = Some(Row { term, event });
        !model.bounds.at_once || self.append(model, member, true)
    }

    /// `chain::standing`, and its effect.
    pub(crate) fn append(&mut self, model: &Cluster, member: usize, told: bool) -> bool {
        let leader = &mut self.members[member];
        let Some(row) = leader.pending.clone() else {
            return false;
        };
        // Its lease is over if another one leads. It looks before each try: a statement does not outlive
        // the database process that it was sent to.
        let losses = model.bounds.losses > 0;
        if losses && model.has(Fence::Lapse) && self.tip.term > row.term {
            leader.pending = None;
            leader.role = Role::Standby;
            return true;
        }
        let rows = &mut self.database.rows;
        let at = leader.rows.len();
        let chained = rows.starts_with(&leader.rows[..]);
        let there = chained && rows.get(at) == Some(&row) && model.has(Fence::Again);
        let fence = self.database.fence;
        if !there {
            if model.has(Fence::Term) && fence > row.term {
                // it drops its state and loads again
                if told {
                    leader.pending = None;
                    leader.role = Role::Standby;
                }
                return told;
            }
            let lost_rows = fence < row.term || !chained || rows.len() != at;
            let looks = model.has(Fence::Chain) && (model.has(Fence::Again) || !chained);
            if lost_rows && looks {
                if told {
                    let mark = self.members[member].mark();
                    self.refuse(member, mark);
                }
                return told;
            }
            let deposed = fence > row.term && self.spent.losses == 0;
            Arc::make_mut(rows).push(row.clone());
            if deposed {
                self.break_promise(Broken::DeposedAppend);
            }
            if !chained {
                self.break_promise(Broken::Unnoticed);
            }
        }
        if told {
            let leader = &mut self.members[member];
            leader.pending = None;
            Arc::make_mut(&mut leader.rows).push(row);
        }
        self.check_log();
        true
    }

    /// The log is what was promised.
    pub(crate) fn check_log(&mut self) {
        let ledger = Ledger::of(&self.database.rows);
        let known = self.spent.losses == 0;
        for (offset, batch) in &self.acknowledged {
            let found = ledger.entries.iter().find(|entry| entry.batch == *batch);
            if known && found.is_none_or(|entry| entry.offset != *offset) {
                self.broken.get_or_insert(Broken::Acknowledged);
            }
        }
        let twice = |(at, entry): (usize, &Entry)| {
            ledger.entries[..at]
                .iter()
                .any(|other| other.batch == entry.batch)
        };
        if ledger.entries.iter().enumerate().any(twice) {
            self.break_promise(Broken::Acknowledged);
        }
        let deleted = |entry: &Entry| self.objects[entry.object].deleted;
        if ledger.entries.iter().any(deleted) {
            self.break_promise(Broken::Deleted);
        }
        if ledger.decided_twice {
            self.break_promise(Broken::DecidedTwice);
        }
        if ledger.other_answer {
            self.break_promise(Broken::OtherAnswer);
        }
        if ledger.reordered {
            self.break_promise(Broken::Reordered);
        }
    }

    pub(crate) fn answer(&mut self, model: &Cluster, at: usize, member: usize) -> bool {
        let object = &self.objects[at];
        let leader = &self.members[member];
        let (Some((id, _)), agent) = (object.commit, object.agent) else {
            return false;
        };
        // agents drop what comes from lower terms
        if object.answered
            || !self.agents[agent].alive
            || leader.role != Role::Leading
            || leader.term < self.agents[agent].seen.term
            || (lost(&self.agents[agent].seen.rows, &leader.rows) && model.has(Fence::Seen))
        {
            return false;
        }
        let mut mark = leader.mark();
        if !model.has(Fence::Durable) {
            Arc::make_mut(&mut mark.rows).extend(leader.pending.clone());
        }
        let ledger = Ledger::of(&mark.rows);
        let Some(outcome) = ledger.result(model, mark.term, id) else {
            return false;
        };
        let batch = object.batch;
        match outcome {
            Outcome::Held => return false,
            Outcome::Appended(offset) | Outcome::Duplicate(offset) => {
                self.acknowledge(offset, batch);
            }
            Outcome::Rejected(_) => {}
        }
        self.objects[at].answered = true;
        self.agent_sees(model, agent, mark, &ledger);
        self.check_log();
        true
    }

    pub(crate) fn acknowledge(&mut self, offset: u8, batch: Batch) {
        if self.spent.losses == 0 {
            let other = |(o, b): &(u8, Batch)| *b == batch && *o != offset;
            if self.acknowledged.iter().any(other) {
                self.break_promise(Broken::Acknowledged);
            }
        }
        if !self.acknowledged.iter().any(|(_, b)| *b == batch) {
            self.acknowledged.push((offset, batch));
            self.acknowledged.sort_unstable();
        }
    }

    /// An agent hears from a leader, and shows it.
    pub(crate) fn agent_sees(
        &mut self,
        model: &Cluster,
        agent: usize,
        mark: Mark,
        ledger: &Ledger,
    ) {
        if lost(&self.agents[agent].seen.rows, &mark.rows) {
            self.break_promise(Broken::Unnoticed);
        }
        if model.bounds.questions > 0 {
            self.answered_rows = self.answered_rows.max(mark.rows.len());
        }
        self.show(ledger);
        self.agents[agent].seen = mark;
    }

    pub(crate) fn release(&mut self, model: &Cluster, commit: CommitId, member: usize) -> bool {
        let ledger = Ledger::of(&self.members[member].rows);
        let Some(held) = ledger.holds.iter().find(|held| held.commit == commit) else {
            return false;
        };
        let under_way = matches!(held.batch, Batch::Sequence(s) if self.is_under_way(s));
        !under_way && self.decide(model, member, ledger.release(held))
    }
}
