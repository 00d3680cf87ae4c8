//! A leader's life: take the lease, recover the state, serve, stop.

use std::{sync::Arc, time::Duration};

use aquifer_format::{
    ids::{ClusterId, Incarnation, JournalSeq, LeaderTerm, UploadEpoch},
    witness::Witness,
};
use aquifer_metadata_api::config::Configs;
use aquifer_store::{ObjectStore, Ports, Rand, witness::Which};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    backup::BackupSettings,
    bucket::{BucketError, Marker, Remembered, Tips},
    event::encode_row,
    follower::{self, Follower},
    hashes::Verdict,
    journal::{Journal, JournalError, Row},
    journal_writer::{self, Written},
    lease::{self, LeaseTerms, LeaseView},
    local::{LeaderFacts, LocalMetadata},
    pager::Pager,
    planner::PlannerSettings,
    recovery::RecoveryError,
    sequencer::{Parts, Sequencer, lag::GroupLagMetrics, request::Request},
    state::{Budgets, decide},
    tip_writer,
};

#[cfg(test)]
pub(crate) mod tests;

/// Requests that wait for the sequencer; more wait at their senders.
const QUEUE_REQUESTS: usize = 8_192;

/// A new cluster's.
const FIRST_INCARNATION: Incarnation = Incarnation(1);

/// How a leader is set up.
#[derive(Clone, Debug)]
pub struct LeaderSettings {
    /// Name of this process, unique among those that share the journal; a restart under the same name
    /// need not wait for its own old lease.
    pub holder: String,
    /// Where others reach it.
    pub endpoint: String,
    /// How long the lease lasts without a renewal. Default 3 s: a take-over after a crash takes about
    /// that long, and a renewal every second costs nothing.
    pub lease_ttl: Duration,
    /// How long a caller waits for an answer. Default 20 s: below the 25 s after which agents answer
    /// their clients.
    pub call_timeout: Duration,
    /// What the state may cost in memory.
    pub budgets: Budgets,
    /// Id of the cluster if the journal is empty; None = a random one.
    pub cluster: Option<ClusterId>,
    /// Broker configs that this server was started with, below those that administrators set while it runs.
    pub broker_configs: Configs,
    /// How finely the metrics tell how far groups are behind. Default: by group, as there are seldom more
    /// than some thousand.
    pub group_lag_metrics: GroupLagMetrics,
    /// How compactors' work is planned.
    pub planner: PlannerSettings,
    /// How metadata is backed up into the bucket; None = not at all, and then nothing waits for it.
    pub backup: Option<BackupSettings>,
    /// Length of an upload epoch. Default a minute. Tests make it shorter: all ages of objects and sessions are counted in it.
    pub upload_epoch: Duration,
}

impl LeaderSettings {
    pub(crate) fn lease_terms(&self) -> LeaseTerms {
        LeaseTerms {
            holder: self.holder.clone(),
            endpoint: self.endpoint.clone(),
            ttl: self.lease_ttl,
        }
    }
}

impl Default for LeaderSettings {
    fn default() -> Self {
        Self {
            holder: "aquifer".to_owned(),
            endpoint: String::new(),
            lease_ttl: Duration::from_secs(3),
            call_timeout: Duration::from_secs(20),
            budgets: Budgets::default(),
            cluster: None,
            broker_configs: Configs::new(),
            group_lag_metrics: GroupLagMetrics::default(),
            planner: PlannerSettings::default(),
            backup: None,
            upload_epoch: Duration::from_secs(60),
        }
    }
}

/// Why a leader could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The lease could not be taken.
    #[error("cannot take the metadata lease: {0}")]
    Lease(JournalError),
    /// There is no usable state.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The bucket belongs to another journal, or needs an operator.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The bucket says that somebody was shown what the journal does not have.
    #[error(
        "the metadata journal lost rows ({seen}); nobody may serve from it until the loss is accepted (aquifer metadata accept-loss)"
    )]
    LostRows {
        /// What was seen.
        seen: String,
    },
    /// It may not lead any more before it ever served.
    #[error(transparent)]
    Stopped(StopReason),
}

/// Why a leader stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// It was asked to.
    #[error("the metadata leader was stopped")]
    Requested,
    /// Another one took the lease.
    #[error("another metadata leader took over{}", .by.map(|by| format!(" with term {by}")).unwrap_or_default())]
    Deposed {
        /// Its term, where that was seen.
        by: Option<LeaderTerm>,
    },
    /// The database went back in time.
    #[error(
        "the metadata journal lost rows ({seen}); nobody may serve from it until an operator has looked"
    )]
    LostRows {
        /// What was seen.
        seen: String,
    },
    /// The journal cannot be used any more.
    #[error("{reason}")]
    JournalUnusable {
        /// What is wrong.
        reason: String,
    },
}

/// A leader that serves. Dropping it does not stop it while there are clients.
#[derive(Debug)]
pub struct Leader {
    requests: mpsc::Sender<Request>,
    stopping: CancellationToken,
    stopped: watch::Receiver<Option<Ended>>,
    journal: Arc<dyn Journal>,
    ports: Ports,
    settings: LeaderSettings,
    facts: Arc<LeaderFacts>,
}

/// How a leader ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) reason: StopReason,
    /// What it remembers, if that may be needed.
    pub(crate) memory: Option<Arc<Witness>>,
}

/// What a leader is made of.
pub(crate) struct Election<'a> {
    pub(crate) ports: &'a Ports,
    pub(crate) journal: Arc<dyn Journal>,
    /// None = nobody looks after tips and markers (tests).
    pub(crate) store: Option<Arc<dyn ObjectStore>>,
    pub(crate) settings: &'a LeaderSettings,
    pub(crate) term: LeaderTerm,
    pub(crate) lease: LeaseView,
}

impl Leader {
    /// Takes the lease (and waits for as long as another holds it), loads the state, begins the cluster
    /// if the journal is empty, and serves, without a look at any bucket. Dropping the future leaves the
    /// lease to run out.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        journal: Arc<dyn Journal>,
        ports: Ports,
        settings: LeaderSettings,
    ) -> Result<Self, StartError> {
        Self::start_with(journal, None, ports, settings).await
    }

    /// As [`Self::start`], for a cluster whose objects are in `store`: refuses a bucket of another
    /// cluster, an empty journal on a marked bucket, and a journal that is behind the bucket's tip or
    /// witnesses; marks the bucket and writes its tips.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_on(
        journal: Arc<dyn Journal>,
        store: Arc<dyn ObjectStore>,
        ports: Ports,
        settings: LeaderSettings,
    ) -> Result<Self, StartError> {
        // before the lease, so that a wrong address changes nothing
        let marker = Marker::read(&*store).await?;
        if let Some(marker) = marker {
            let loaded = journal.load().await.map_err(RecoveryError::from)?;
            if loaded.tail.is_none() && loaded.pages.is_empty() {
                return Err(marker.refuse_without_cluster(&*store).into());
            }
        }
        Self::start_with(journal, Some(store), ports, settings).await
    }

    async fn start_with(
        journal: Arc<dyn Journal>,
        store: Option<Arc<dyn ObjectStore>>,
        ports: Ports,
        settings: LeaderSettings,
    ) -> Result<Self, StartError> {
        let terms = settings.lease_terms();
        let (lease, until) = lease::take(&ports, &*journal, &terms)
            .await
            .map_err(StartError::Lease)?;
        let term = lease.term;
        // kept while the state is loaded, however long that takes
        let lease = lease::keep(&ports, Arc::clone(&journal), terms, term, until);
        let started: Result<Self, StartError> = async {
            let remembered = match &store {
                Some(store) => Remembered::read(&**store, Which::Newest).await?,
                None => Remembered::default(),
            };
            let follower = Follower::load(&*journal, settings.budgets).await?;
            let election = Election {
                ports: &ports,
                journal: Arc::clone(&journal),
                store,
                settings: &settings,
                term,
                lease,
            };
            Self::serve(election, follower, &remembered).await
        }
        .await;
        if started.is_err() {
            lease::release(&ports, &*journal, term, settings.lease_ttl).await;
        }
        started
    }

    /// Serves from `follower`, which has every row; `remembered` was read before the last of them.
    pub(crate) async fn serve(
        election: Election<'_>,
        mut follower: Follower,
        remembered: &Remembered,
    ) -> Result<Self, StartError> {
        let Election {
            ports,
            journal,
            store,
            settings,
            term,
            lease,
        } = election;
        if let Some(store) = &store {
            remembered.check_owner(follower.state.cluster(), &**store)?;
            let incarnation = follower.state.incarnation();
            if let Verdict::Missing { seen } = remembered.judge(incarnation, &follower.hashes) {
                return Err(StartError::LostRows { seen });
            }
        }
        let cluster = match follower.state.cluster() {
            Some(cluster) => cluster,
            None => begin(ports, &*journal, settings, term, &mut follower).await?,
        };
        let tips = match store {
            Some(store) => Some(mark(ports, store, term, &follower, remembered, &lease).await?),
            None => None,
        };
        let configs = settings.broker_configs.clone();
        follower.state.set_server_configs(configs);
        tracing::info!(%cluster, %term, tail = %follower.hashes.tail(), "leading the metadata service");
        let (requests, queue) = mpsc::channel(QUEUE_REQUESTS);
        let (tell, stopped) = watch::channel(None);
        let stopping = CancellationToken::new();
        let tail_hash = follower.hashes.tail_hash();
        let writer = journal_writer::start(ports, Arc::clone(&journal), term, tail_hash);
        let pager = Pager::new(ports, Arc::clone(&journal), term, follower.pages_through);
        let incarnation = follower.state.incarnation();
        let endpoint = settings.endpoint.clone();
        let facts = LeaderFacts::new(cluster, incarnation, term, endpoint, pager.noted());
        let facts = Arc::new(facts);
        let sequencer = Sequencer::new(Parts {
            ports: ports.clone(),
            state: follower.state,
            term,
            hashes: follower.hashes,
            writer,
            lease,
            pager,
            requests: queue,
            stopping: stopping.clone(),
            facts: Arc::clone(&facts),
            tips: tips.map(|tips| tip_writer::start(ports, tips)),
            group_lag_metrics: settings.group_lag_metrics,
            planner: PlannerSettings {
                // without backups nothing waits for them
                waits_for_backup: settings.backup.is_some(),
                ..settings.planner
            },
            upload_epoch: settings.upload_epoch,
        });
        ports.tasks.spawn(async move {
            let ended = sequencer.run().await;
            let reason = &ended.reason;
            match reason {
                StopReason::Requested => tracing::info!(%term, "the metadata leader stopped"),
                StopReason::Deposed { .. } => {
                    tracing::warn!(%term, "the metadata leader stopped: {reason}");
                }
                StopReason::LostRows { .. } | StopReason::JournalUnusable { .. } => {
                    tracing::error!(%term, "the metadata leader stopped: {reason}");
                }
            }
            tell.send_replace(Some(ended));
        });
        Ok(Self {
            requests,
            stopping,
            stopped,
            journal,
            ports: ports.clone(),
            settings: settings.clone(),
            facts,
        })
    }

    /// The client of callers in this process.
    #[must_use]
    pub fn metadata(&self) -> Arc<LocalMetadata> {
        Arc::new(LocalMetadata::new(
            self.requests.clone(),
            self.ports.clone(),
            self.settings.call_timeout,
            Arc::clone(&self.facts),
        ))
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.facts.cluster
    }

    /// The leader's term.
    #[must_use]
    pub fn term(&self) -> LeaderTerm {
        self.facts.term
    }

    /// Why it stopped; None = it serves.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        let ended = self.stopped.borrow();
        ended.as_ref().map(|ended| ended.reason.clone())
    }

    /// Returns when it has stopped, for whatever reason.
    pub async fn stopped(&self) -> StopReason {
        self.ended().await.reason
    }

    /// The same, with what it remembers.
    pub(crate) async fn ended(&self) -> Ended {
        let mut stopped = self.stopped.clone();
        let waited = stopped.wait_for(Option::is_some).await;
        let ended = waited.ok().and_then(|ended| ended.clone());
        // a task that ended without a word was killed with its node
        ended.unwrap_or(Ended {
            reason: StopReason::Requested,
            memory: None,
        })
    }

    /// Stops: what was decided becomes durable and is answered, later requests are refused, and the lease
    /// is given up, so that another leader need not wait. A leader that is not done after `patience`,
    /// because the journal does not answer, goes on until it is, and keeps its lease for so long.
    pub async fn stop(&self, patience: Duration) -> StopReason {
        match self.end(patience).await {
            Some(ended) => {
                let term = self.facts.term;
                lease::release(&self.ports, &*self.journal, term, patience).await;
                ended.reason
            }
            None => StopReason::JournalUnusable {
                reason: format!(
                    "the metadata leader was not done within {patience:?}, for the journal does not \
                     answer: what it decided last may be durable or not, and its lease runs out by itself"
                ),
            },
        }
    }

    /// Has it finish. None = it is not done after `patience`: it may still answer reads, so its lease must
    /// not be given up.
    pub(crate) async fn end(&self, patience: Duration) -> Option<Ended> {
        self.stopping.cancel();
        let ended = self.ports.timeout(patience, self.ended()).await;
        if ended.is_none() {
            tracing::warn!(term = %self.facts.term, ?patience, "the metadata leader is not done: the journal does not answer; its lease runs out by itself");
        }
        ended
    }
}

/// Begins the cluster: its first row, before anything else.
async fn begin(
    ports: &Ports,
    journal: &dyn Journal,
    settings: &LeaderSettings,
    term: LeaderTerm,
    follower: &mut Follower,
) -> Result<ClusterId, StartError> {
    let cluster = settings.cluster.unwrap_or_else(|| random_id(&*ports.rand));
    tracing::info!(%cluster, "a new cluster begins");
    let genesis = decide::genesis(cluster, FIRST_INCARNATION, UploadEpoch(1));
    let seq = JournalSeq(follower.hashes.tail().0 + 1);
    let bytes = encode_row(std::slice::from_ref(&genesis));
    let row = Row::new(term, seq, follower.hashes.tail_hash(), bytes);
    if let Written::Stop(reason) = journal_writer::append(ports, journal, &row).await {
        return Err(StartError::Stopped(reason));
    }
    match follower.take(&row) {
        Ok(()) => Ok(cluster),
        Err(error) => Err(StartError::Stopped(StopReason::JournalUnusable {
            reason: format!("its first row cannot be read: {error:?}"),
        })),
    }
}

/// Pause before the bucket is tried again.
const BUCKET_PAUSE: Duration = Duration::from_millis(500);
/// How long a leader tries to write into the bucket before it gives up: another one may reach it.
const BUCKET_PATIENCE: Duration = Duration::from_secs(5);

/// Writes marker and tip, before anybody is served.
async fn mark(
    ports: &Ports,
    store: Arc<dyn ObjectStore>,
    term: LeaderTerm,
    follower: &Follower,
    remembered: &Remembered,
    lease: &LeaseView,
) -> Result<Tips, StartError> {
    let mut tips = Tips::new(Arc::clone(&store), remembered);
    let incarnation = follower.state.incarnation();
    let place = follower.hashes.mark(incarnation, term);
    let tip = follower::tip(&follower.state, place).expect("the cluster has begun");
    let marker = Marker {
        cluster: tip.cluster,
        incarnation,
    };
    let until = ports.clock.now().plus(BUCKET_PATIENCE);
    loop {
        let writing = async {
            marker.write(&*store).await?;
            tips.write(&tip).await
        };
        let left = until.since(ports.clock.now());
        let reason = match ports.timeout(left, writing).await {
            Some(Ok(())) => return Ok(tips),
            Some(Err(BucketError::Unreachable { reason })) => reason,
            Some(Err(error)) => return Err(error.into()),
            None => {
                format!("the bucket did not take the tip of the journal in {BUCKET_PATIENCE:?}")
            }
        };
        if ports.clock.now().plus(BUCKET_PAUSE) >= until {
            return Err(BucketError::Unreachable { reason }.into());
        }
        tracing::warn!(
            reason,
            "cannot lead before the bucket takes the tip of the journal; trying again"
        );
        ports.sleep(BUCKET_PAUSE).await;
        if let Some(reason) = lease.ends(term) {
            return Err(StartError::Stopped(reason));
        }
    }
}

/// A random (version 4) id.
fn random_id(rand: &dyn Rand) -> ClusterId {
    let high = u128::from(rand.next_u64()) << 64;
    let bits = high | u128::from(rand.next_u64());
    ClusterId(uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid())
}
