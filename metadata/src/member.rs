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
    bucket::{BucketError, Remembered},
    follower::{FollowError, Follower},
    hashes::Verdict,
    journal::{Journal, JournalError, LeaseOutcome},
    leader::{Election, Leader, LeaderSettings, StartError, StopReason},
    lease,
    recovery::RecoveryError,
    role::Role,
};

#[cfg(test)]
mod tests;

/// How long a step of a standby may take before it is tried again on another connection.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
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
            ended.cancel();
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

/// What comes next.
enum Next {
    /// Look again, at once.
    Look,
    /// Refuse, for a while.
    Refuse(String),
    /// Something does not answer: try again soon.
    Retry(String),
    /// It was asked to end.
    End,
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
        loop {
            let next = match self.look().await {
                Ok(follower) => self.stand_by(follower).await,
                Err(next) => next,
            };
            if self.stopping.is_cancelled() {
                return;
            }
            match next {
                Next::Look => self.troubled = None,
                Next::End => return,
                Next::Refuse(reason) => {
                    self.refuse(reason);
                    self.pause(self.settings.look_again).await;
                }
                Next::Retry(reason) => {
                    self.trouble(&reason);
                    self.publish_standby(None);
                    self.pause(RETRY).await;
                }
            }
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
        let remembered = self.read_bucket().await?;
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
                Verdict::Missing { seen } => return Err(self.lost(seen).await),
            }
        }
        match remembered.judge(incarnation, &follower.hashes) {
            Verdict::Holds => Ok(follower),
            Verdict::Missing { seen } => Err(Next::Refuse(lost_rows(&seen))),
        }
    }

    async fn read_bucket(&self) -> Result<Remembered, Next> {
        let reading = Remembered::read(&*self.store, Which::Newest);
        match self.ports.timeout(STEP_TIMEOUT, reading).await {
            Some(read) => read.map_err(bucket_next),
            None => Err(Next::Retry(format!(
                "no answer from the bucket in {STEP_TIMEOUT:?}"
            ))),
        }
    }

    /// Rows are gone that this process has read: it leaves its witness and refuses.
    async fn lost(&mut self, seen: String) -> Next {
        if let Some(memory) = &self.memory
            && self.written != Some(memory.mark)
        {
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
        Next::Refuse(lost_rows(&seen))
    }

    /// Follows the journal until the lease is free.
    async fn stand_by(&mut self, mut follower: Follower) -> Next {
        loop {
            if self.stopping.is_cancelled() {
                return Next::End;
            }
            match self.ask_for_lease().await {
                Ok(Asked::Held { term, until }) => return self.lead(follower, term, until).await,
                Ok(Asked::HeldBy(endpoint)) => {
                    self.recover_from_trouble();
                    self.publish_standby(endpoint);
                }
                Err(Next::Retry(reason)) => self.trouble(&reason),
                Err(next) => return next,
            }
            match self.follow(&mut follower).await {
                Ok(()) => {}
                Err(Next::Retry(reason)) => self.trouble(&reason),
                Err(next) => return next,
            }
            self.pause(self.settings.poll).await;
        }
    }

    async fn ask_for_lease(&self) -> Result<Asked, Next> {
        let terms = self.settings.leader.lease_terms();
        let asked = self.ports.clock.now();
        let asking = self
            .journal
            .lease(None, &terms.holder, &terms.endpoint, terms.ttl);
        match self.ports.timeout(STEP_TIMEOUT, asking).await {
            Some(Ok(LeaseOutcome::Held(lease))) => Ok(Asked::Held {
                term: lease.term,
                until: lease::sure_until(asked, terms.ttl),
            }),
            Some(Ok(LeaseOutcome::HeldBy(other))) => {
                let known = !other.holder.is_empty() && !other.endpoint.is_empty();
                Ok(Asked::HeldBy(known.then_some(other.endpoint)))
            }
            Some(Err(error)) => Err(journal_next(&error)),
            None => Err(Next::Retry(no_answer())),
        }
    }

    async fn follow(&mut self, follower: &mut Follower) -> Result<(), Next> {
        let advancing = follower.advance(&*self.journal);
        match self.ports.timeout(STEP_TIMEOUT, advancing).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(FollowError::Trimmed)) => Err(Next::Look),
            Some(Err(FollowError::LostRows { seen })) => {
                self.memory = follower.witness().map(Arc::new);
                Err(self.lost(seen).await)
            }
            Some(Err(FollowError::Recovery(error))) => Err(recovery_next(error)),
            None => Err(Next::Retry(no_answer())),
        }
    }

    /// Leads, from the last rows of those who led before until it is over.
    async fn lead(&mut self, follower: Follower, term: LeaderTerm, until: Monotonic) -> Next {
        let started = self.ports.clock.now();
        let terms = self.settings.leader.lease_terms();
        let journal = Arc::clone(&self.journal);
        let view = lease::keep(&self.ports, journal, terms, term, until);
        let leader = match self.take_over(follower, term, view).await {
            Ok(leader) => leader,
            Err(next) => {
                self.release(term).await;
                return next;
            }
        };
        let took = self.ports.clock.now().since(started);
        metrics::histogram!("aquifer_metadata_take_over_seconds").record(took.as_secs_f64());
        tracing::info!(%term, ?took, "took over");
        self.recover_from_trouble();
        self.role.send_replace(Role::Leader(leader.metadata()));
        let ended = tokio::select! {
            biased;
            () = self.stopping.cancelled() => None,
            ended = leader.ended() => Some(ended),
        };
        let Some(ended) = ended else {
            leader.stop(self.settings.stop_patience).await;
            self.publish_standby(None);
            return Next::End;
        };
        self.memory = ended.memory;
        match ended.reason {
            StopReason::Requested => Next::End,
            StopReason::Deposed { .. } => {
                self.publish_standby(None);
                Next::Look
            }
            StopReason::LostRows { seen } => {
                self.refuse(lost_rows(&seen));
                let next = self.lost(seen).await;
                self.release(term).await;
                next
            }
            StopReason::JournalUnusable { reason } => {
                self.release(term).await;
                Next::Refuse(reason)
            }
        }
    }

    /// Holds the lease: reads what the bucket says and then the last rows, and serves if they agree.
    async fn take_over(
        &mut self,
        mut follower: Follower,
        term: LeaderTerm,
        lease: lease::LeaseView,
    ) -> Result<Leader, Next> {
        let remembered = loop {
            match self.read_bucket().await {
                Ok(remembered) => break remembered,
                Err(Next::Retry(reason)) => self.wait_with_lease(&reason, &lease).await?,
                Err(next) => return Err(next),
            }
        };
        loop {
            match self.follow(&mut follower).await {
                Ok(()) => break,
                Err(Next::Look) => {
                    let budgets = self.settings.leader.budgets;
                    let loaded = Follower::load(&*self.journal, budgets).await;
                    follower = loaded.map_err(recovery_next)?;
                }
                Err(Next::Retry(reason)) => self.wait_with_lease(&reason, &lease).await?,
                Err(next) => return Err(next),
            }
        }
        let own = follower.witness();
        let election = Election {
            ports: &self.ports,
            journal: Arc::clone(&self.journal),
            store: Some(Arc::clone(&self.store)),
            settings: &self.settings.leader,
            term,
            lease,
        };
        let stopping = self.stopping.clone();
        let started = tokio::select! {
            biased;
            () = stopping.cancelled() => return Err(Next::End),
            started = Leader::serve(election, follower, &remembered) => started,
        };
        match started {
            Ok(leader) => Ok(leader),
            Err(StartError::LostRows { seen }) => {
                self.memory = own.map(Arc::new);
                Err(self.lost(seen).await)
            }
            Err(StartError::Stopped(StopReason::LostRows { seen })) => {
                Err(Next::Refuse(lost_rows(&seen)))
            }
            Err(StartError::Stopped(StopReason::JournalUnusable { reason })) => {
                Err(Next::Refuse(reason))
            }
            Err(StartError::Stopped(_)) => Err(Next::Look),
            Err(StartError::Bucket(error)) => Err(bucket_next(error)),
            Err(StartError::Recovery(error)) => Err(recovery_next(error)),
            Err(StartError::Lease(error)) => Err(journal_next(&error)),
        }
    }

    /// Waits a little; an error if there is no point in it any more.
    async fn wait_with_lease(
        &mut self,
        reason: &str,
        lease: &lease::LeaseView,
    ) -> Result<(), Next> {
        self.trouble(reason);
        self.pause(RETRY).await;
        if self.stopping.is_cancelled() {
            return Err(Next::End);
        }
        match &*lease.standing.borrow() {
            lease::Standing::Lost { .. } => Err(Next::Look),
            lease::Standing::HeldUntil(_) => Ok(()),
        }
    }

    async fn release(&self, term: LeaderTerm) {
        let ttl = self.settings.leader.lease_ttl;
        let release = self.journal.release(term);
        if let Some(Err(error)) = self.ports.timeout(ttl, release).await {
            tracing::warn!(%error, "the lease was not given up; it runs out by itself");
        }
    }
}

/// What became of a request for the lease.
enum Asked {
    Held { term: LeaderTerm, until: Monotonic },
    HeldBy(Option<String>),
}

fn no_answer() -> String {
    format!("no answer from the journal in {STEP_TIMEOUT:?}")
}

fn lost_rows(seen: &str) -> String {
    format!(
        "the metadata journal lost rows ({seen}); nobody serves until an operator has run `aquifer \
         metadata accept-loss`"
    )
}

fn journal_next(error: &JournalError) -> Next {
    match error {
        JournalError::InDoubt { .. } | JournalError::Unavailable { .. } => {
            Next::Retry(error.to_string())
        }
        JournalError::Unusable { .. } => Next::Refuse(error.to_string()),
        JournalError::Gap { .. } => Next::Look,
    }
}

fn bucket_next(error: BucketError) -> Next {
    match error {
        BucketError::Unreachable { reason } => Next::Retry(reason),
        BucketError::Refused { reason } => Next::Refuse(reason),
    }
}

fn recovery_next(error: RecoveryError) -> Next {
    match error {
        RecoveryError::Journal(error) => journal_next(&error),
        other => Next::Refuse(other.to_string()),
    }
}
