//! What the model knows: everything durable, every process, and what the outside was shown.

use std::sync::Arc;

use super::ledger::Ledger;

/// Epochs above an object's own at which its first commit is still taken (10 in the product,
/// `COMMIT_AGE_EPOCHS_MAX`).
pub(crate) const COMMIT_AGE_MAX: u8 = 0;
/// Epochs above an object's own up to which the sweeper leaves it alone (60 in the product).
pub(crate) const SWEEP_AGE_MAX: u8 = 1;
/// Ticks that a lease lasts without a renewal.
pub(crate) const TTL: u8 = 2;
/// Ticks that a leader keeps for clocks that run at other rates (`lease::sure_until`).
pub(crate) const MARGIN: u8 = 1;
/// Offsets that are left out when a loss is accepted; more than were ever handed out unseen (1,000,000
/// in the product).
pub(crate) const GAP: u8 = 4;

/// The fences. Each can be taken away, and then the checker must find what it prevents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// An append needs the fence row to have the leader's own term.
    Term,
    /// An append needs the row before it to be the one that the leader expects.
    Chain,
    /// A row whose append is in doubt is looked for by its hash before it is written again.
    Again,
    /// Replies leave only when what they say is durable.
    Durable,
    /// A read that appends nothing needs the lease.
    Lease,
    /// The leader's lease ends earlier for itself than for others.
    Margin,
    /// A renewal counts from when it was sent.
    CountedFromSending,
    /// A first commit of an old object is refused.
    CommitAge,
    /// The sweeper leaves young objects alone.
    SweepAge,
    /// Objects of held batches count as referenced.
    HoldsRefer,
    /// A leader that is behind the tip does not serve.
    Tip,
    /// A leader that is behind a witness does not serve.
    Witness,
    /// What agents saw is compared: who saw more than the leader has stops it.
    Seen,
    /// A member that takes over compares with what it had replayed itself.
    Memory,
    /// After a take-over, who remembers is heard before anybody is served.
    RollCall,
    /// A leader whose lease has lapsed looks at the tip before it appends again.
    Lapse,
    /// Accepted loss leaves a gap.
    Gap,
    /// Results of commits are journaled with them.
    Remembered,
    /// An earlier result is looked up before the age is.
    LookUpFirst,
    /// A batch whose predecessor is missing waits for it.
    Hold,
    /// A partition that never held a record takes only a first sequence of 0.
    FirstSequence,
}

/// How much of everything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    /// Agents that clients know.
    pub(crate) agents: usize,
    /// Batches of the idempotent producer.
    pub(crate) sequences: u8,
    /// Whether another client without idempotence writes one batch.
    pub(crate) plain: bool,
    /// Whether a request may get lost on its way to an agent.
    pub(crate) lost_requests: bool,
    /// Uploads: first tries and retries of batches.
    pub(crate) uploads: usize,
    /// Take-overs.
    pub(crate) take_overs: u8,
    /// Appends whose answer is lost.
    pub(crate) doubts: u8,
    /// Crashes of members; what they remember is gone.
    pub(crate) crashes: u8,
    /// Deaths of agents.
    pub(crate) deaths: u8,
    /// Upload epochs.
    pub(crate) epochs: u8,
    /// Whether rows are durable as soon as they are decided.
    pub(crate) at_once: bool,
    /// Whether the sweeper runs.
    pub(crate) sweeper: bool,
    /// Losses of rows by the database.
    pub(crate) losses: u8,
    /// Operators who accept them.
    pub(crate) acceptances: u8,
    /// Questions for the end of the partition. If there are any, leases and time are modelled; else
    /// leases may end at any moment and nothing depends on them.
    pub(crate) questions: u8,
}

impl Bounds {
    /// Whether it matters what agents know beside the answers that they get.
    pub(crate) fn watches(&self) -> bool {
        self.epochs > 0 || self.losses > 0
    }
}

/// A batch of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Batch {
    /// Of the idempotent producer.
    Sequence(u8),
    /// Of a client without idempotence.
    Plain,
}

/// Why a batch is not in the log and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Refusal {
    /// Its predecessor is missing.
    OutOfOrder,
    /// Its object is too old.
    TooOld,
}

/// `BatchOutcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Outcome {
    /// It has this offset.
    Appended(u8),
    /// It had this offset before.
    Duplicate(u8),
    /// It has none.
    Rejected(Refusal),
    /// It waits for its predecessor.
    Held,
}

/// (session, number); every agent has one session per incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CommitId {
    /// The session's incarnation.
    pub(crate) incarnation: u8,
    /// Whose.
    pub(crate) agent: usize,
    /// From 1, dense.
    pub(crate) number: u8,
}

/// `aquifer_metadata::event::Event`: effects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Event {
    /// A commit and what became of its batch, and of held ones that it decided.
    Committed {
        /// Which.
        id: CommitId,
        /// The agent has all answers up to this number.
        answered: u8,
        /// Its object.
        object: usize,
        /// Its batch.
        batch: Batch,
        /// What became of it.
        outcome: Outcome,
        /// Held batches that are decided with it.
        holds: Vec<(CommitId, Outcome)>,
    },
    /// Held batches whose time is up.
    HoldsDecided(Vec<(CommitId, Outcome)>),
    /// The next upload epoch.
    EpochAdvanced,
    /// The operator accepted a loss: a new incarnation.
    LossAccepted {
        /// Where the partition goes on.
        next: u8,
        /// The upload epoch.
        epoch: u8,
    },
}

/// A row. Its hash is a function of all rows up to it; the model compares those instead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Row {
    /// Who wrote it.
    pub(crate) term: u8,
    /// What it says.
    pub(crate) event: Event,
}

/// The journal from its beginning to some row.
pub(crate) type Rows = Arc<Vec<Row>>;

/// A remembered position (`JournalMark`); rows stand for the hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Mark {
    /// Term of the leader that showed it.
    pub(crate) term: u8,
    /// Everything up to it.
    pub(crate) rows: Rows,
}

/// Postgres: the journal, the fence row and the lease row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    pub(crate) rows: Rows,
    pub(crate) fence: u8,
    pub(crate) holder: usize,
    /// Ticks until the lease runs out.
    pub(crate) lease_left: u8,
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// It waits; what it replayed, or led, it remembers.
    Standby,
    /// It has raised the fence and loaded the rows.
    Loaded,
    /// It serves.
    Leading,
    /// It found that rows were lost.
    Refusing,
}

/// A renewal of the lease that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Renewal {
    /// Ticks since it was sent.
    pub(crate) age: u8,
    /// Whether the database has done it.
    pub(crate) done: bool,
}

/// A process of the metadata service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) role: Role,
    pub(crate) term: u8,
    /// What it knows to be durable.
    pub(crate) rows: Rows,
    /// The row that is on its way to the journal.
    pub(crate) pending: Option<Row>,
    /// Ticks for which it is sure of its lease.
    pub(crate) sure: u8,
    pub(crate) renewal: Option<Renewal>,
    /// Its clock has lost a tick.
    pub(crate) lagged: bool,
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Agent {
    pub(crate) alive: bool,
    /// What its watch showed it, and it to consumers.
    pub(crate) seen: Mark,
}

/// An upload of one batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Object {
    pub(crate) agent: usize,
    pub(crate) batch: Batch,
    /// In its key.
    pub(crate) incarnation: u8,
    /// In its key.
    pub(crate) epoch: u8,
    pub(crate) in_bucket: bool,
    /// The sweeper heard that nothing refers to it.
    pub(crate) doomed: bool,
    pub(crate) deleted: bool,
    /// Its commit, and the number up to which the agent had all answers when it was numbered.
    pub(crate) commit: Option<(CommitId, u8)>,
    /// The agent has the answer.
    pub(crate) answered: bool,
}

/// Promises that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Broken {
    /// What was acknowledged is not in the log, at another offset, or not alone.
    Acknowledged,
    /// An offset was shown with two contents.
    Reissued,
    /// A referenced object was deleted.
    Deleted,
    /// A commit that was sent again had another answer.
    OtherAnswer,
    /// A deposed leader appended.
    DeposedAppend,
    /// A read showed less than was answered before it was asked.
    StaleRead,
    /// A held batch was decided twice.
    DecidedTwice,
    /// Somebody who remembers lost rows was served without them.
    Unnoticed,
    /// A batch was refused though its predecessor was under way.
    NeedlessRefusal,
    /// A producer's batches are not in their order.
    Reordered,
}

/// What is left of the bounds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Spent {
    pub(crate) take_overs: u8,
    pub(crate) doubts: u8,
    pub(crate) crashes: u8,
    pub(crate) deaths: u8,
    pub(crate) epochs: u8,
    pub(crate) losses: u8,
    pub(crate) acceptances: u8,
    pub(crate) questions: u8,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) database: Database,
    /// The tip object.
    pub(crate) tip: Mark,
    /// The witness objects.
    pub(crate) witnesses: Vec<Mark>,
    pub(crate) members: [Member; 2],
    pub(crate) agents: [Agent; 2],
    /// Everything that was ever uploaded, in order.
    pub(crate) objects: Vec<Object>,
    /// A question under way: how many rows had been answered from when it was sent.
    pub(crate) question: Option<usize>,
    /// Rows that the newest answer showed.
    pub(crate) answered_rows: usize,
    /// Offsets that somebody was shown.
    pub(crate) shown: Vec<(u8, Batch)>,
    /// Offsets that were acknowledged.
    pub(crate) acknowledged: Vec<(u8, Batch)>,
    pub(crate) broken: Option<Broken>,
    pub(crate) spent: Spent,
}

impl World {
    /// Member 0 leads a cluster that has just begun.
    pub(crate) fn new() -> Self {
        let nothing = || Mark {
            term: 1,
            rows: Rows::default(),
        };
        let member = |role, term| Member {
            role,
            term,
            rows: Rows::default(),
            pending: None,
            sure: 0,
            renewal: None,
            lagged: false,
        };
        let agent = || Agent {
            alive: true,
            seen: nothing(),
        };
        Self {
            database: Database {
                rows: Rows::default(),
                fence: 1,
                holder: 0,
                lease_left: TTL,
            },
            tip: nothing(),
            witnesses: Vec::new(),
            members: [member(Role::Leading, 1), member(Role::Standby, 0)],
            agents: [agent(), agent()],
            objects: Vec::new(),
            question: None,
            answered_rows: 0,
            shown: Vec::new(),
            acknowledged: Vec::new(),
            broken: None,
            spent: Spent::default(),
        }
    }

    /// Notes a broken promise; the first one stays.
    pub(crate) fn break_promise(&mut self, promise: Broken) {
        self.broken.get_or_insert(promise);
    }

    /// What nobody remembers any more is no promise: neither a process, nor the tip or a witness, nor
    /// the journal.
    pub(crate) fn forget(&mut self) {
        let members = self.members.iter().map(|member| &member.rows);
        let agents = self.agents.iter().map(|agent| &agent.seen.rows);
        let marks = self
            .witnesses
            .iter()
            .chain([&self.tip])
            .map(|mark| &mark.rows);
        let all = members
            .chain(agents)
            .chain(marks)
            .chain([&self.database.rows]);
        let known: Vec<(u8, Batch)> = all
            .flat_map(|rows| Ledger::of(rows).entries)
            .map(|entry| (entry.offset, entry.batch))
            .collect();
        self.shown.retain(|shown| known.contains(shown));
    }

    /// Consumers see what stands in `rows`.
    pub(crate) fn show(&mut self, ledger: &Ledger) {
        for entry in &ledger.entries {
            let known = self
                .shown
                .iter()
                .find(|(offset, _)| *offset == entry.offset);
            match known {
                Some((_, batch)) if *batch != entry.batch => self.break_promise(Broken::Reissued),
                Some(_) => {}
                None => {
                    self.shown.push((entry.offset, entry.batch));
                    self.shown.sort_unstable();
                }
            }
        }
    }
}

/// Whether whoever saw `seen` knows of rows that are not in `rows`.
pub(crate) fn lost(seen: &[Row], rows: &[Row]) -> bool {
    let (before, now) = (incarnation(seen), incarnation(rows));
    before > now || (before == now && !rows.starts_with(seen))
}

/// The incarnation that `rows` lead to.
pub(crate) fn incarnation(rows: &[Row]) -> u8 {
    let accepted = rows
        .iter()
        .filter(|row| matches!(row.event, Event::LossAccepted { .. }));
    u8::try_from(accepted.count()).expect("few")
}
