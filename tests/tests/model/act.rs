//! What can happen, and what follows from it.

use super::{
    Cluster,
    ledger::{Held, Ledger},
    world::{Batch, CommitId, Event, Role, World},
};

/// One step. In brackets: the code that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A client sends a batch (again) to an agent, which begins an upload [agent `produce::accept`,
    /// `upload::attempt`].
    Produce { batch: Batch, agent: usize },
    /// The PUT takes effect [`ObjectStore::put`], a paused agent's however late; the object gets its
    /// commit number [`Commits::push`].
    Put(usize),
    /// The commit reaches a leader, for the first time or again [`Sequencer::commit`,
    /// `decide::commit`].
    Deliver { object: usize, member: usize },
    /// The journal executes the append, and the leader hears of it [`Journal::append`,
    /// `chain::standing`, `journal_writer::append`].
    Append(usize),
    /// The same, and the answer is lost [`JournalError::InDoubt`].
    AppendInDoubt(usize),
    /// A leader's answer to a commit reaches the agent, with the watch frame of its row
    /// [`Sequencer::deliver`, `Commits::answer`].
    Answer { object: usize, member: usize },
    /// A held batch has waited long enough [`Sequencer::tick`, `decide::release_holds`]. Assumed: the
    /// 2 s are longer than what is under way at a live agent takes.
    Release { commit: CommitId, member: usize },
    /// An upload epoch begins [`Sequencer::advance_upload_epoch`].
    Advance(usize),
    /// The leader writes the tip object of its upload epoch.
    PutTip(usize),
    /// A watch frame or reset reaches an agent [`Hub::publish`, `View`].
    Watch { agent: usize, member: usize },
    /// Somebody asks for the end of the partition [`Metadata::offsets`].
    Ask,
    /// A leader answers that [`Sequencer::depart`, `LeaseView::is_sure`].
    AnswerQuestion(usize),
    /// A member takes the lease, raises the fence and loads the rows [`Journal::lease`, `recover`].
    TakeOver(usize),
    /// It begins to serve, or finds that it must not.
    Serve(usize),
    /// A member restarts and has forgotten everything.
    Crash(usize),
    /// An agent dies; its clients go to the other one.
    Die(usize),
    /// The sweeper hears from a leader that nothing refers to an old object
    /// [`Metadata::live_objects`].
    Doom { object: usize, member: usize },
    /// It deletes the object, however much later.
    Sweep(usize),
    /// The database goes back in time: a failover or restore without the last rows.
    LoseRows { keep: usize, fence_too: bool },
    /// The operator accepts that [`aquifer metadata accept-loss`].
    AcceptLoss,
    /// Time passes; one member's clock may lose a tick.
    Tick { lagging: Option<usize> },
    /// A renewal of the lease is sent ...
    Renew(usize),
    /// ... executed ...
    Renewing(usize),
    /// ... and answered [`lease::renew`].
    Renewed(usize),
}

impl World {
    /// Everything that can happen next; some of it may turn out to change nothing.
    pub(crate) fn actions(&self, model: &Cluster, actions: &mut Vec<Action>) {
        let bounds = &model.bounds;
        self.client_actions(model, actions);
        for object in 0..self.objects.len() {
            self.object_actions(model, object, actions);
        }
        for member in 0..2 {
            self.member_actions(model, member, actions);
        }
        if self.spent.deaths < bounds.deaths {
            actions.extend([Action::Die(0), Action::Die(1)]);
        }
        if self.spent.acceptances < bounds.acceptances {
            actions.push(Action::AcceptLoss);
        }
        if self.spent.losses < bounds.losses {
            for keep in 0..self.database.rows.len() {
                for fence_too in [false, true] {
                    actions.push(Action::LoseRows { keep, fence_too });
                }
            }
        }
        if bounds.questions > 0 {
            self.time_actions(actions);
        }
    }

    fn object_actions(&self, model: &Cluster, object: usize, actions: &mut Vec<Action>) {
        let known = &self.objects[object];
        if !known.in_bucket && !known.deleted {
            actions.push(Action::Put(object));
        }
        if known.doomed && !known.deleted {
            actions.push(Action::Sweep(object));
        }
        for member in 0..2 {
            let leader = &self.members[member];
            if leader.role != Role::Leading {
                continue;
            }
            if known.commit.is_some() && !known.answered {
                if leader.pending.is_none() {
                    actions.push(Action::Deliver { object, member });
                }
                actions.push(Action::Answer { object, member });
            }
            if model.bounds.sweeper && known.in_bucket && !known.doomed {
                actions.push(Action::Doom { object, member });
            }
        }
    }

    fn member_actions(&self, model: &Cluster, member: usize, actions: &mut Vec<Action>) {
        let bounds = &model.bounds;
        let me = &self.members[member];
        if self.spent.crashes < bounds.crashes {
            actions.push(Action::Crash(member));
        }
        match me.role {
            Role::Loaded => actions.push(Action::Serve(member)),
            Role::Standby | Role::Refusing => {
                if self.spent.take_overs < bounds.take_overs {
                    actions.push(Action::TakeOver(member));
                }
            }
            Role::Leading => {
                if me.pending.is_some() {
                    actions.push(Action::Append(member));
                    if self.spent.doubts < bounds.doubts {
                        actions.push(Action::AppendInDoubt(member));
                    }
                } else {
                    if self.spent.epochs < bounds.epochs {
                        actions.push(Action::Advance(member));
                    }
                    let ledger = Ledger::of(&me.rows);
                    let release = |held: &Held| Action::Release {
                        commit: held.commit,
                        member,
                    };
                    actions.extend(ledger.holds.iter().map(release));
                }
                if bounds.epochs > 0 && bounds.losses > 0 {
                    actions.push(Action::PutTip(member));
                }
                if bounds.watches() {
                    let watch = |agent| Action::Watch { agent, member };
                    actions.extend((0..bounds.agents).map(watch));
                }
            }
        }
    }

    fn client_actions(&self, model: &Cluster, actions: &mut Vec<Action>) {
        if self.objects.len() >= model.bounds.uploads {
            return;
        }
        // agents are alike: the first one that is used is the first one
        let agents = if self.objects.is_empty() {
            1
        } else {
            model.bounds.agents
        };
        for agent in 0..agents {
            // in order at first; a client without idempotence does not send again
            let sent = |batch| self.objects.iter().any(|object| object.batch == batch);
            for sequence in 0..model.bounds.sequences {
                let batch = Batch::Sequence(sequence);
                let lost = model.bounds.lost_requests;
                if lost || sequence == 0 || sent(Batch::Sequence(sequence - 1)) {
                    actions.push(Action::Produce { batch, agent });
                }
            }
            if model.bounds.plain && !sent(Batch::Plain) {
                let batch = Batch::Plain;
                actions.push(Action::Produce { batch, agent });
            }
        }
    }

    fn time_actions(&self, actions: &mut Vec<Action>) {
        actions.push(Action::Ask);
        actions.push(Action::Tick { lagging: None });
        for member in 0..2 {
            actions.extend([
                Action::AnswerQuestion(member),
                Action::Renew(member),
                Action::Renewing(member),
                Action::Renewed(member),
            ]);
            actions.push(Action::Tick {
                lagging: Some(member),
            });
        }
    }

    /// Carries an action out; false = it cannot happen now, or changes nothing.
    pub(crate) fn act(&mut self, model: &Cluster, action: Action) -> bool {
        match action {
            Action::Produce { batch, agent } => self.produce(model, batch, agent),
            Action::Put(object) => self.put(object),
            Action::Deliver { object, member } => self.deliver(model, object, member),
            Action::Append(member) => self.append(model, member, true),
            Action::AppendInDoubt(member) => {
                self.spent.doubts += 1;
                self.spent.doubts <= model.bounds.doubts && self.append(model, member, false)
            }
            Action::Answer { object, member } => self.answer(model, object, member),
            Action::Release { commit, member } => self.release(model, commit, member),
            Action::Advance(member) => {
                self.spent.epochs += 1;
                self.spent.epochs <= model.bounds.epochs
                    && self.decide(model, member, Event::EpochAdvanced)
            }
            Action::PutTip(member) => self.put_tip(member),
            Action::Watch { agent, member } => self.watch(model, agent, member),
            Action::Ask => self.ask(model),
            Action::AnswerQuestion(member) => self.answer_question(model, member),
            Action::TakeOver(member) => self.take_over(model, member),
            Action::Serve(member) => self.serve(model, member),
            Action::Crash(member) => self.crash(model, member),
            Action::Die(agent) => self.die(model, agent),
            Action::Doom { object, member } => self.doom(model, object, member),
            Action::Sweep(object) => self.sweep(object),
            Action::LoseRows { keep, fence_too } => self.lose_rows(model, keep, fence_too),
            Action::AcceptLoss => self.accept_loss(model),
            Action::Tick { lagging } => self.tick(lagging),
            Action::Renew(member) => self.renew(member),
            Action::Renewing(member) => self.renewing(member),
            Action::Renewed(member) => self.renewed(model, member),
        }
    }
}
