//! Steps of the members, the lease, the sweeper and the operator.

use std::sync::Arc;

use super::{
    Cluster,
    ledger::Ledger,
    world::{
        Agent, Broken, Event, Fence, GAP, MARGIN, Mark, Member, Renewal, Role, Row, SWEEP_AGE_MAX,
        TTL, World, incarnation, lost,
    },
};

impl World {
    /// Conditional: the tip never goes back.
    pub(crate) fn put_tip(&mut self, member: usize) -> bool {
        let leader = &self.members[member];
        let key = |mark: &Mark| (incarnation(&mark.rows), mark.term, mark.rows.len());
        let mark = leader.mark();
        let epoch = |mark: &Mark| Ledger::of(&mark.rows).epoch;
        if leader.role != Role::Leading
            || epoch(&mark) <= epoch(&self.tip)
            || key(&mark) <= key(&self.tip)
        {
            return false;
        }
        self.tip = mark;
        true
    }

    pub(crate) fn watch(&mut self, model: &Cluster, agent: usize, member: usize) -> bool {
        let leader = &self.members[member];
        let seen = &self.agents[agent].seen;
        if !self.agents[agent].alive || leader.role != Role::Leading || leader.term < seen.term {
            return false;
        }
        if model.has(Fence::Seen) && lost(&seen.rows, &leader.rows) {
            let witness = seen.clone();
            self.refuse(member, witness);
            return true;
        }
        let mark = leader.mark();
        if mark == *seen {
            return false;
        }
        let ledger = Ledger::of(&mark.rows);
        self.agent_sees(model, agent, mark, &ledger);
        true
    }

    pub(crate) fn ask(&mut self, model: &Cluster) -> bool {
        self.spent.questions += 1;
        let asks = self.question.is_none() && self.spent.questions <= model.bounds.questions;
        self.question = Some(self.answered_rows);
        asks
    }

    pub(crate) fn answer_question(&mut self, model: &Cluster, member: usize) -> bool {
        let leader = &self.members[member];
        let sure = leader.sure > 0 || !model.has(Fence::Lease);
        if leader.role != Role::Leading || !sure {
            return false;
        }
        let Some(floor) = self.question.take() else {
            return false;
        };
        let rows = self.members[member].rows.len();
        if rows < floor {
            self.break_promise(Broken::StaleRead);
        }
        self.answered_rows = self.answered_rows.max(rows);
        true
    }

    pub(crate) fn take_over(&mut self, model: &Cluster, member: usize) -> bool {
        self.spent.take_overs += 1;
        let timed = model.bounds.questions > 0;
        let free = !timed || self.database.lease_left == 0;
        let loaded = self.database.rows.clone();
        let me = &self.members[member];
        let may = match me.role {
            Role::Standby => true,
            // an operator starts it again once the loss was accepted
            Role::Refusing => incarnation(&me.rows) < incarnation(&loaded),
            Role::Loaded | Role::Leading => false,
        };
        if self.spent.take_overs > model.bounds.take_overs || !free || !may {
            return false;
        }
        self.database.fence += 1;
        self.database.holder = member;
        self.database.lease_left = TTL;
        if lost(&me.rows, &loaded) {
            if model.has(Fence::Memory) {
                let mark = me.mark();
                self.refuse(member, mark);
                return true;
            }
            self.break_promise(Broken::Unnoticed);
        }
        let me = &mut self.members[member];
        me.role = Role::Loaded;
        me.term = self.database.fence;
        me.rows = loaded;
        me.pending = None;
        me.sure = model.sure(0);
        me.renewal = None;
        me.lagged = false;
        // what happens in between matters to losses only
        model.bounds.losses > 0 || self.serve(model, member)
    }

    /// Compares with the tip, the witnesses and with everybody who remembers, writes the tip, serves.
    pub(crate) fn serve(&mut self, model: &Cluster, member: usize) -> bool {
        if self.members[member].role != Role::Loaded {
            return false;
        }
        let mark = self.members[member].mark();
        let ahead = |seen: &Mark| lost(&seen.rows, &mark.rows);
        let tip = ahead(&self.tip)
            || (incarnation(&self.tip.rows) == incarnation(&mark.rows)
                && self.tip.term >= mark.term);
        let witness = self.witnesses.iter().any(ahead);
        if (tip && model.has(Fence::Tip)) || (witness && model.has(Fence::Witness)) {
            self.members[member].role = Role::Refusing;
            return true;
        }
        let heard = |agent: &&Agent| agent.alive && model.has(Fence::Seen);
        let rememberers = self.agents.iter().filter(heard);
        let mut seen: Vec<Mark> = rememberers.map(|agent| agent.seen.clone()).collect();
        seen.push(self.members[1 - member].mark());
        if model.has(Fence::RollCall) {
            if let Some(seen) = seen.into_iter().find(ahead) {
                self.refuse(member, seen);
                return true;
            }
            for agent in &mut self.agents {
                agent.seen.term = agent.seen.term.max(mark.term);
            }
        }
        if ahead(&self.tip) || witness {
            self.break_promise(Broken::Unnoticed);
        }
        self.tip = mark;
        self.members[member].role = Role::Leading;
        true
    }

    /// A member that learned of lost rows serves no more; what was seen of them goes to the bucket.
    pub(crate) fn refuse(&mut self, member: usize, witness: Mark) {
        self.members[member].role = Role::Refusing;
        self.members[member].pending = None;
        if !self.witnesses.contains(&witness) {
            self.witnesses.push(witness);
            self.witnesses.sort_unstable();
        }
    }

    pub(crate) fn crash(&mut self, model: &Cluster, member: usize) -> bool {
        self.spent.crashes += 1;
        if self.spent.crashes > model.bounds.crashes {
            return false;
        }
        let member = &mut self.members[member];
        member.role = Role::Standby;
        member.term = 0;
        member.rows = Arc::default();
        member.pending = None;
        member.sure = 0;
        member.renewal = None;
        member.lagged = false;
        self.forget();
        true
    }

    pub(crate) fn die(&mut self, model: &Cluster, agent: usize) -> bool {
        self.spent.deaths += 1;
        let dies = self.spent.deaths <= model.bounds.deaths;
        let agent = &mut self.agents[agent];
        agent.seen.rows = Arc::default();
        let dies = dies && std::mem::replace(&mut agent.alive, false);
        self.forget();
        dies
    }

    pub(crate) fn doom(&mut self, model: &Cluster, at: usize, member: usize) -> bool {
        let leader = &self.members[member];
        let object = &self.objects[at];
        if leader.role != Role::Leading || !object.in_bucket || object.doomed {
            return false;
        }
        let ledger = Ledger::of(&leader.rows);
        // Between the two ages lie 50 epochs in the product, so that as many tips would have to be missing
        // for a lost epoch to matter; here the tip is asked instead.
        let epoch = if model.bounds.losses > 0 {
            ledger.epoch.min(Ledger::of(&self.tip.rows).epoch)
        } else {
            ledger.epoch
        };
        let old = epoch.saturating_sub(object.epoch) > SWEEP_AGE_MAX;
        let doomed = object.incarnation == ledger.incarnation
            && (old || !model.has(Fence::SweepAge))
            && !ledger.refers(model, at);
        self.objects[at].doomed = doomed;
        doomed && (!model.bounds.at_once || self.sweep(at))
    }

    pub(crate) fn sweep(&mut self, at: usize) -> bool {
        let object = &mut self.objects[at];
        if !object.doomed || object.deleted {
            return false;
        }
        object.in_bucket = false;
        object.deleted = true;
        self.check_log();
        true
    }

    pub(crate) fn lose_rows(&mut self, model: &Cluster, keep: usize, fence_too: bool) -> bool {
        self.spent.losses += 1;
        if self.spent.losses > model.bounds.losses {
            return false;
        }
        Arc::make_mut(&mut self.database.rows).truncate(keep);
        if fence_too {
            let last = self.database.rows.last();
            self.database.fence = last.map_or(1, |row| row.term);
            self.database.lease_left = 0;
        }
        self.forget();
        true
    }

    /// Needs the journal and the bucket only.
    pub(crate) fn accept_loss(&mut self, model: &Cluster) -> bool {
        self.spent.acceptances += 1;
        let noticed = |member: &Member| {
            member.role == Role::Refusing
                && incarnation(&member.rows) >= incarnation(&self.database.rows)
        };
        if self.spent.acceptances > model.bounds.acceptances || !self.members.iter().any(noticed) {
            return false;
        }
        let own = Ledger::of(&self.database.rows);
        let (mut next, mut epoch, mut term) = (own.next, own.epoch, self.database.fence);
        for mark in self.witnesses.iter().chain([&self.tip]) {
            let ledger = Ledger::of(&mark.rows);
            epoch = epoch.max(ledger.epoch);
            term = term.max(mark.term);
        }
        for witness in &self.witnesses {
            next = next.max(Ledger::of(&witness.rows).next);
        }
        if model.has(Fence::Gap) {
            next += GAP;
        }
        self.database.fence = term + 1;
        self.database.lease_left = 0;
        Arc::make_mut(&mut self.database.rows).push(Row {
            term: term + 1,
            event: Event::LossAccepted {
                next,
                epoch: epoch + 1,
            },
        });
        true
    }

    pub(crate) fn tick(&mut self, lagging: Option<usize>) -> bool {
        let before = self.clone();
        self.database.lease_left = self.database.lease_left.saturating_sub(1);
        for (at, member) in self.members.iter_mut().enumerate() {
            if lagging == Some(at) {
                if member.lagged || member.role != Role::Leading {
                    return false;
                }
                member.lagged = true;
                continue;
            }
            member.sure = member.sure.saturating_sub(1);
            if let Some(renewal) = &mut member.renewal {
                renewal.age = (renewal.age + 1).min(TTL);
            }
        }
        *self != before
    }

    pub(crate) fn renew(&mut self, member: usize) -> bool {
        let member = &mut self.members[member];
        let sends = member.role == Role::Leading && member.renewal.is_none();
        let done = false;
        member.renewal = Some(Renewal { age: 0, done });
        sends
    }

    pub(crate) fn renewing(&mut self, member: usize) -> bool {
        let term = self.members[member].term;
        let Some(renewal) = &mut self.members[member].renewal else {
            return false;
        };
        // nobody took the lease since this term did
        if renewal.done || self.database.fence != term {
            return false;
        }
        renewal.done = true;
        self.database.lease_left = TTL;
        true
    }

    pub(crate) fn renewed(&mut self, model: &Cluster, member: usize) -> bool {
        let member = &mut self.members[member];
        let Some(renewal) = member.renewal.take_if(|renewal| renewal.done) else {
            return false;
        };
        let age = if model.has(Fence::CountedFromSending) {
            renewal.age
        } else {
            0
        };
        member.sure = model.sure(age);
        true
    }
}

impl Member {
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            term: self.term,
            rows: self.rows.clone(),
        }
    }
}

impl Cluster {
    /// Ticks for which a leader is sure of a lease that it asked for so long ago.
    pub(crate) fn sure(&self, age: u8) -> u8 {
        let margin = if self.has(Fence::Margin) { MARGIN } else { 0 };
        TTL.saturating_sub(margin).saturating_sub(age)
    }
}
