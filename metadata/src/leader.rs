//! A leader's life: take the lease, recover the state, serve, stop.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::{ClusterId, Incarnation, JournalSeq, LeaderTerm, UploadEpoch};
use aquifer_store::{Ports, Rand};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    journal::{Journal, JournalError},
    journal_writer,
    lease::{self, LeaseTerms},
    local::{LeaderFacts, LocalMetadata},
    pager::Pager,
    recovery::{self, RecoveryError},
    sequencer::{Parts, Sequencer, request::Request},
    state::{Budgets, decide},
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
    stopped: watch::Receiver<Option<StopReason>>,
    journal: Arc<dyn Journal>,
    ports: Ports,
    settings: LeaderSettings,
    facts: Arc<LeaderFacts>,
}

impl Leader {
    /// Takes the lease (and waits for as long as another holds it), loads the state, begins the cluster
    /// if the journal is empty, and serves. Dropping the future leaves the lease to run out.
    pub async fn start(
        journal: Arc<dyn Journal>,
        ports: Ports,
        settings: LeaderSettings,
    ) -> Result<Self, StartError> {
        let terms = LeaseTerms {
            holder: settings.holder.clone(),
            endpoint: settings.endpoint.clone(),
            ttl: settings.lease_ttl,
        };
        let (lease, until) = lease::take(&ports, &*journal, &terms)
            .await
            .map_err(StartError::Lease)?;
        let term = lease.term;
        // kept while the state is loaded, however long that takes
        let lease = lease::keep(&ports, Arc::clone(&journal), terms, term, until);
        let recovered = recovery::recover(&*journal, settings.budgets).await?;
        let state = recovered.state;
        let (cluster, first) = match state.cluster() {
            Some(cluster) => (cluster, Vec::new()),
            None => {
                let cluster = settings.cluster.unwrap_or_else(|| random_id(&*ports.rand));
                tracing::info!(%cluster, "a new cluster begins");
                let genesis = decide::genesis(cluster, FIRST_INCARNATION, UploadEpoch(1));
                (cluster, vec![genesis])
            }
        };
        tracing::info!(%cluster, %term, tail = %recovered.hashes.tail(), "leading the metadata service");
        let (requests, queue) = mpsc::channel(QUEUE_REQUESTS);
        let (tell, stopped) = watch::channel(None);
        let stopping = CancellationToken::new();
        let tail_hash = recovered.hashes.tail_hash();
        let writer = journal_writer::start(&ports, Arc::clone(&journal), term, tail_hash);
        let pages_through: JournalSeq = recovered.pages_through;
        let pager = Pager::new(&ports, Arc::clone(&journal), term, pages_through);
        let incarnation = if first.is_empty() {
            state.incarnation()
        } else {
            FIRST_INCARNATION
        };
        let facts = LeaderFacts::new(cluster, incarnation, term, settings.endpoint.clone());
        let facts = Arc::new(facts);
        let sequencer = Sequencer::new(Parts {
            ports: ports.clone(),
            state,
            term,
            hashes: recovered.hashes,
            writer,
            lease,
            pager,
            requests: queue,
            stopping: stopping.clone(),
            first,
            facts: Arc::clone(&facts),
        });
        ports.tasks.spawn(async move {
            let reason = sequencer.run().await;
            match &reason {
                StopReason::Requested => tracing::info!(%term, "the metadata leader stopped"),
                StopReason::Deposed { .. } => {
                    tracing::warn!(%term, "the metadata leader stopped: {reason}");
                }
                StopReason::LostRows { .. } | StopReason::JournalUnusable { .. } => {
                    tracing::error!(%term, "the metadata leader stopped: {reason}");
                }
            }
            tell.send_replace(Some(reason));
        });
        Ok(Self {
            requests,
            stopping,
            stopped,
            journal,
            ports,
            settings,
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
        self.stopped.borrow().clone()
    }

    /// Returns when it has stopped, for whatever reason.
    pub async fn stopped(&self) -> StopReason {
        let mut stopped = self.stopped.clone();
        let waited = stopped.wait_for(Option::is_some).await;
        // a task that ended without a word was killed with its node
        waited
            .ok()
            .and_then(|reason| reason.clone())
            .unwrap_or(StopReason::Requested)
    }

    /// Stops: what was decided becomes durable and is answered (for at most `patience`), later requests
    /// are refused, and the lease is given up, so that another leader need not wait.
    pub async fn stop(&self, patience: Duration) -> StopReason {
        self.stopping.cancel();
        let stopped = self.ports.timeout(patience, self.stopped()).await;
        let reason = stopped.unwrap_or_else(|| StopReason::JournalUnusable {
            reason: format!("the journal took no row for {patience:?}"),
        });
        let release = self.journal.release(self.facts.term);
        if let Some(Err(error)) = self.ports.timeout(patience, release).await {
            tracing::warn!(%error, "the lease was not given up; it runs out by itself");
        }
        reason
    }
}

/// A random (version 4) id.
fn random_id(rand: &dyn Rand) -> ClusterId {
    let high = u128::from(rand.next_u64()) << 64;
    let bits = high | u128::from(rand.next_u64());
    ClusterId(uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid())
}
