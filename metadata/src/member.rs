//! A metadata process' life, as a loop: it looks whether journal and bucket agree, stands by with a state
//! that follows the journal, takes the lease when that is free, leads, and when it was deposed or lost the
//! journal it drops its state and begins again. Outages of journal and bucket never end it.

use std::{sync::Arc, time::Duration};

use aquifer_format::{ids::LeaderTerm, mark::JournalMark, witness::Witness};
use aquifer_store::{
    Monotonic, ObjectStore, Ports,
    witness::{Which, put_witness},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    bucket::Remembered,
    follower::{FollowError, Follower},
    hashes::Verdict,
    journal::{Journal, LeaseOutcome},
    leader::{Election, Leader, LeaderSettings, StartError},
    lease::{self, LeaseView},
    role::Role,
};

mod next;
#[cfg(test)]
pub(crate) mod tests;

use next::{Next, bucket_next, journal_next, lost_rows, recovery_next, stopped_next};

/// How long a step of a standby may take before it is tried again on another connection.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a member that was given the lease tries to read bucket and journal before it gives the lease
/// up: another one may reach them.
const TAKE_OVER_PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a failure of journal or bucket.
const RETRY: Duration = Duration::from_millis(500);

/// How a metadata process is set up.
#[derive(Clone, Debug)]
pub struct MemberSettings {
    /// Of the times when it leads. Its holder is made unique per process: a random suffix is added.
    pub leader: LeaderSettings,
    /// How often a standby tries to take the lease and reads the journal. Default 200 ms: a lease that
    /// is given up is taken within that, for five small transactions a second.
    pub poll: Duration,
    /// How often a process that refuses looks again whether the loss was accepted. Default 5 s: it
    /// loads the whole state each time.
    pub look_again: Duration,
    /// How long a leader that stops may take to write what was decided. Default 5 s: below the grace
    /// that container platforms give.
    pub stop_patience: Duration,
}

impl Default for MemberSettings {
    fn default() -> Self {
        Self {
            leader: LeaderSettings::default(),
            poll: Duration::from_millis(200),
            look_again: Duration::from_secs(5),
            stop_patience: Duration::from_secs(5),
        }
    }
}

/// A metadata process.
#[derive(Debug)]
pub struct Member {
    role: watch::Receiver<Role>,
    stopping: CancellationToken,
    ended: CancellationToken,
    holder: String,
}

impl Member {
    /// Starts it. It lives until [`Self::stop`], or its node's tasks are killed.
    #[must_use]
    pub fn start(
        journal: Arc<dyn Journal>,
        store: Arc<dyn ObjectStore>,
        ports: &Ports,
        mut settings: MemberSettings,
    ) -> Self {
        let writer = ports.rand.next_u64();
        settings.leader.holder = format!("{}-{writer:016x}", settings.leader.holder);
        let (tell, role) = watch::channel(Role::Standby { leader: None });
        let stopping = CancellationToken::new();
        let ended = CancellationToken::new();
        let member = Self {
            role,
            stopping: stopping.clone(),
            ended: ended.clone(),
            holder: settings.leader.holder.clone(),
        };
        // also where the task is killed with its node
        let over = ended.drop_guard();
        let life = Life {
            journal,
            store,
            ports: ports.clone(),
            settings,
            role: tell,
            stopping,
            writer,
            memory: None,
            written: None,
            troubled: None,
        };
        ports.tasks.spawn(async move {
            life.live().await;
            drop(over);
        });
        member
    }

    /// What it is doing.
    #[must_use]
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// Its name in the lease.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Stops it. A leader writes and answers what was decided, then gives its lease up, so that a
    /// standby takes over at once.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.ended.cancelled().await;
    }
}

/// A lease that was just given to this process.
struct Held {
    term: LeaderTerm,
    until: Monotonic,
}

struct Life {
    journal: Arc<dyn Journal>,
    store: Arc<dyn ObjectStore>,
    ports: Ports,
    settings: MemberSettings,
    role: watch::Sender<Role>,
    stopping: CancellationToken,
    writer: u64,
    /// What this process was the last to know of, until it is seen that the journal has it.
    memory: Option<Arc<Witness>>,
    /// The newest place of which its witness is in the bucket.
    written: Option<JournalMark>,
    /// Since when something does not answer.
    troubled: Option<Monotonic>,
}

impl Life {
    async fn live(mut self) {
        while !self.stopping.is_cancelled() {
            match self.round().await {
                Next::End => return,
                Next::Look => {}
                Next::Lost(seen) => {
                    self.refuse(lost_rows(&seen));
                    self.leave_witness().await;
                    self.pause(self.settings.look_again).await;
                }
                Next::Refuse(reason) => {
                    self.refuse(reason);
                    self.pause(self.settings.look_again).await;
                }
                Next::Retry(reason) => {
                    self.trouble(&reason);
                    // what was refused goes on being refused until a look says otherwise
                    if !matches!(&*self.role.borrow(), Role::Refusing { .. }) {
                        self.publish_standby(None);
                    }
                    self.pause(RETRY).await;
                }
            }
        }
    }

    /// Looks, stands by until the lease is free, and leads until that is over.
    async fn round(&mut self) -> Next {
        let stopping = self.stopping.clone();
        let waiting = async {
            let follower = self.look().await?;
            self.stand_by(follower).await
        };
        let waited = tokio::select! {
            biased;
            () = stopping.cancelled() => Err(Next::End),
            waited = waiting => waited,
        };
        match waited {
            Ok((follower, held)) => self.lead(follower, held).await,
            Err(next) => next,
        }
    }

    fn trouble(&mut self, reason: &str) {
        if self.troubled.is_none() {
            tracing::warn!(
                reason,
                "the metadata journal or the bucket does not answer; trying until it does"
            );
            self.troubled = Some(self.ports.clock.now());
        }
    }

    fn recover_from_trouble(&mut self) {
        if let Some(since) = self.troubled.take() {
            let after = self.ports.clock.now().since(since);
            tracing::info!(?after, "journal and bucket answer again");
        }
    }

    /// Waits, or ends early when it is to stop.
    async fn pause(&self, duration: Duration) {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => {}
            () = self.ports.sleep(duration) => {}
        }
    }

    fn publish_standby(&self, leader: Option<String>) {
        self.role.send_if_modified(|role| {
            let same = matches!(role, Role::Standby { leader: known } if *known == leader);
            if !same {
                *role = Role::Standby { leader };
            }
            !same
        });
    }

    fn refuse(&self, reason: String) {
        self.role.send_if_modified(|role| {
            let same = matches!(role, Role::Refusing { reason: known } if *known == reason);
            if !same {
                tracing::error!(reason, "this metadata process neither leads nor stands by");
                metrics::counter!("aquifer_metadata_refusals_total").increment(1);
                *role = Role::Refusing { reason };
            }
            !same
        });
    }

    /// Loads the state and compares it with what the bucket and this process remember.
    async fn look(&mut self) -> Result<Follower, Next> {
        let remembered = self.read_bucket(STEP_TIMEOUT).await?;
        let budgets = self.settings.leader.budgets;
        let loaded = Follower::load(&*self.journal, budgets).await;
        let follower = loaded.map_err(recovery_next)?;
        self.recover_from_trouble();
        let owner = remembered.check_owner(follower.state.cluster(), &*self.store);
        owner.map_err(bucket_next)?;
        let incarnation = follower.state.incarnation();
        if let Some(memory) = &self.memory {
            match follower.hashes.judge(incarnation, &memory.mark) {
                Verdict::Holds => self.memory = None,
                Verdict::Missing { seen } => return Err(Next::Lost(seen)),
            }
        }
        match remembered.judge(incarnation, &follower.hashes) {
            Verdict::Holds => Ok(follower),
            Verdict::Missing { seen } => Err(Next::Lost(seen)),
        }
    }

    async fn read_bucket(&self, limit: Duration) -> Result<Remembered, Next> {
        let reading = Remembered::read(&*self.store, Which::Newest);
        match self.ports.timeout(limit, reading).await {
            Some(read) => read.map_err(bucket_next),
            None => Err(Next::Retry(format!(
                "no answer from the bucket in {limit:?}"
            ))),
        }
    }

    /// Keeps what is known of the journal when `follower` is dropped: loaded again, it may have less.
    fn remember(&mut self, follower: &Follower) {
        self.memory = follower.witness().map(Arc::new);
    }

    /// Leaves in the bucket what this process remembers, once.
    async fn leave_witness(&mut self) {
        let Some(memory) = &self.memory else { return };
        if self.written == Some(memory.mark) {
            return;
        }
        let writing = put_witness(&*self.store, self.writer, memory);
        match self.ports.timeout(STEP_TIMEOUT, writing).await {
            Some(Ok(key)) => {
                tracing::error!(key, mark = %memory.mark, "what this process remembers of the journal is in the bucket");
                self.written = Some(memory.mark);
            }
            Some(Err(error)) => {
                tracing::error!(%error, "the witness could not be written; trying again");
            }
            None => tracing::error!(
                "the bucket did not take the witness in {STEP_TIMEOUT:?}; trying again"
            ),
        }
    }

    /// Follows the journal until the lease is free.
    async fn stand_by(&mut self, mut follower: Follower) -> Result<(Follower, Held), Next> {
        loop {
            match self.step(&mut follower).await {
                Ok(Some(held)) => return Ok((follower, held)),
                Ok(None) => self.recover_from_trouble(),
                Err(Next::Retry(reason)) => self.trouble(&reason),
                Err(next) => {
                    self.remember(&follower);
                    return Err(next);
                }
            }
            self.pause(self.settings.poll).await;
        }
    }

    /// Asks for the lease and, where another one has it, reads what came since.
    async fn step(&self, follower: &mut Follower) -> Result<Option<Held>, Next> {
        match self.ask_for_lease().await? {
            Asked::Held(held) => return Ok(Some(held)),
            Asked::HeldBy(endpoint) => self.publish_standby(endpoint),
        }
        self.follow(follower).await?;
        if follower.is_worn() {
            tracing::info!("loading the metadata state anew, after a long time of following it");
            return Err(Next::Look);
        }
        Ok(None)
    }

    async fn ask_for_lease(&self) -> Result<Asked, Next> {
        let terms = self.settings.leader.lease_terms();
        let asked = self.ports.clock.now();
        let asking = self
            .journal
            .lease(None, &terms.holder, &terms.endpoint, terms.ttl);
        match self.ports.timeout(STEP_TIMEOUT, asking).await {
            Some(Ok(LeaseOutcome::Held(lease))) => Ok(Asked::Held(Held {
                term: lease.term,
                until: lease::sure_until(asked, terms.ttl),
            })),
            Some(Ok(LeaseOutcome::HeldBy(other))) => {
                let known = !other.holder.is_empty() && !other.endpoint.is_empty();
                Ok(Asked::HeldBy(known.then_some(other.endpoint)))
            }
            Some(Err(error)) => Err(journal_next(&error)),
            None => Err(Next::Retry(no_answer())),
        }
    }

    async fn follow(&self, follower: &mut Follower) -> Result<(), Next> {
        let advancing = follower.advance(&*self.journal);
        match self.ports.timeout(STEP_TIMEOUT, advancing).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(FollowError::Trimmed)) => Err(Next::Look),
            Some(Err(FollowError::LostRows { seen })) => Err(Next::Lost(seen)),
            Some(Err(FollowError::Recovery(error))) => Err(recovery_next(error)),
            None => Err(Next::Retry(no_answer())),
        }
    }

    /// Leads, from the last rows of those who led before until it is over.
    async fn lead(&mut self, follower: Follower, held: Held) -> Next {
        let Held { term, until } = held;
        let started = self.ports.clock.now();
        let terms = self.settings.leader.lease_terms();
        let journal = Arc::clone(&self.journal);
        let view = lease::keep(&self.ports, journal, terms, term, until);
        let stopping = self.stopping.clone();
        let taken = tokio::select! {
            biased;
            () = stopping.cancelled() => Err(Next::End),
            taken = self.take_over(follower, term, view) => taken,
        };
        let leader = match taken {
            Ok(leader) => leader,
            Err(next) => return self.give_up(term, next).await,
        };
        let took = self.ports.clock.now().since(started);
        metrics::histogram!("aquifer_metadata_take_over_seconds").record(took.as_secs_f64());
        tracing::info!(%term, ?took, "took over");
        self.recover_from_trouble();
        self.role.send_replace(Role::Leader(leader.metadata()));
        let ended = tokio::select! {
            biased;
            () = stopping.cancelled() => leader.end(self.settings.stop_patience).await,
            ended = leader.ended() => Some(ended),
        };
        self.publish_standby(None);
        let Some(ended) = ended else {
            return Next::End;
        };
        self.memory = ended.memory;
        self.give_up(term, stopped_next(ended.reason)).await
    }

    /// Gives the lease up. What was lost is told before: whoever is given the lease next may know nothing of it.
    async fn give_up(&mut self, term: LeaderTerm, next: Next) -> Next {
        if let Next::Lost(seen) = &next {
            self.refuse(lost_rows(seen));
            self.leave_witness().await;
        }
        let ttl = self.settings.leader.lease_ttl;
        lease::release(&self.ports, &*self.journal, term, ttl).await;
        next
    }

    /// Holds the lease: reads what the bucket says and then the last rows, and serves if they agree.
    async fn take_over(
        &mut self,
        mut follower: Follower,
        term: LeaderTerm,
        lease: LeaseView,
    ) -> Result<Leader, Next> {
        let caught_up = self.catch_up(&mut follower, term, &lease).await;
        self.remember(&follower);
        let remembered = caught_up?;
        let election = Election {
            ports: &self.ports,
            journal: Arc::clone(&self.journal),
            store: Some(Arc::clone(&self.store)),
            settings: &self.settings.leader,
            term,
            lease,
        };
        let started = Leader::serve(election, follower, &remembered).await;
        started.map_err(|error| match error {
            StartError::LostRows { seen } => Next::Lost(seen),
            StartError::Stopped(reason) => stopped_next(reason),
            StartError::Bucket(error) => bucket_next(error),
            StartError::Recovery(error) => recovery_next(error),
            StartError::Lease(error) => journal_next(&error),
        })
    }

    /// Reads what the bucket says and then the last rows.
    async fn catch_up(
        &mut self,
        follower: &mut Follower,
        term: LeaderTerm,
        lease: &LeaseView,
    ) -> Result<Remembered, Next> {
        let until = self.ports.clock.now().plus(TAKE_OVER_PATIENCE);
        loop {
            let reason = match self.read_both(follower, until).await {
                Err(Next::Retry(reason)) => reason,
                other => return other,
            };
            if self.ports.clock.now().plus(RETRY) >= until {
                return Err(Next::Retry(reason));
            }
            self.trouble(&reason);
            self.ports.sleep(RETRY).await;
            if let Some(reason) = lease.ends(term) {
                return Err(stopped_next(reason));
            }
        }
    }

    async fn read_both(
        &self,
        follower: &mut Follower,
        until: Monotonic,
    ) -> Result<Remembered, Next> {
        let left = until.since(self.ports.clock.now());
        let remembered = self.read_bucket(left).await?;
        self.follow(follower).await?;
        Ok(remembered)
    }
}

/// What became of a request for the lease.
enum Asked {
    Held(Held),
    HeldBy(Option<String>),
}

fn no_answer() -> String {
    format!("no answer from the journal in {STEP_TIMEOUT:?}")
}
