//! An agent that cannot serve says so at once, and comes back by itself.
//!
//! Clients of an agent that lost the bucket or the metadata leader would wait for their own time-outs,
//! though another agent could serve them. So it *fences* itself: Produce, Fetch and ListOffsets are
//! answered NOT_LEADER_OR_FOLLOWER before anything is taken in, it names itself to nobody, others stop
//! naming it, and it is not ready. What it accepted before is finished under the usual rules. Every
//! second it tries what failed, and it comes back once that works for a while.

mod policy;
mod reach;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aquifer_format::key::{marker_key, probe_key};
use aquifer_store::{Monotonic, ObjectStore, Ports, PutMode};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

pub use self::policy::{Cause, FenceSettings};
use self::{
    policy::{Change, FencePolicy, Seen},
    reach::{Kind, Reach, WatchedStore},
};
use crate::{session::AgentSession, view::View};

/// How often it is looked whether something is wrong.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a probe may take.
const PROBE_MAX: Duration = Duration::from_secs(3);
/// What a probe writes.
const PROBE: &[u8] = b"aquifer: this object may be deleted at any time\n";

/// Whether clients should be sent to this agent, for a health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They should.
    Ready,
    /// They should not.
    Unready {
        /// Why, for people.
        reason: String,
    },
}

/// The agent has fenced itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent has fenced itself: {cause}")]
pub struct Fenced {
    /// Why.
    pub cause: Cause,
}

/// The fence of an agent.
#[derive(Debug)]
pub struct Fence {
    ports: Ports,
    settings: FenceSettings,
    view: Arc<View>,
    reach: Arc<Reach>,
    lost_rows: watch::Receiver<Option<String>>,
    policy: Mutex<FencePolicy>,
    heard_at: Mutex<Monotonic>,
    state: watch::Sender<Option<Fenced>>,
    draining: AtomicBool,
    readiness: watch::Sender<Readiness>,
}

/// The bucket, watched for whether it answers: what the agent uses of it goes through this.
#[derive(Debug)]
pub(crate) struct WatchedBucket {
    pub(crate) store: Arc<dyn ObjectStore>,
    reach: Arc<Reach>,
}

impl WatchedBucket {
    /// Watches `store`.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, ports: &Ports) -> Self {
        let reach = Reach::new(Arc::clone(&ports.clock));
        Self {
            store: Arc::new(WatchedStore::new(store, Arc::clone(&reach))),
            reach,
        }
    }
}

impl Fence {
    /// Starts to look. The agent serves; `view` has just heard of the leader.
    pub(crate) fn start(
        ports: Ports,
        settings: FenceSettings,
        view: Arc<View>,
        session: Arc<AgentSession>,
        bucket: &WatchedBucket,
    ) -> Arc<Self> {
        let now = ports.clock.now();
        let fence = Arc::new(Self {
            settings,
            view,
            reach: Arc::clone(&bucket.reach),
            lost_rows: session.lost_rows(),
            policy: Mutex::new(FencePolicy::new(settings, now)),
            heard_at: Mutex::new(now),
            state: watch::Sender::new(None),
            draining: AtomicBool::new(false),
            readiness: watch::Sender::new(Readiness::Ready),
            ports,
        });
        let tasks = &fence.ports.tasks;
        tasks.spawn(Arc::clone(&fence).look_on());
        tasks.spawn(Arc::clone(&fence).ask_the_leader());
        let probes = Arc::clone(&fence).probe(Arc::clone(&bucket.store), session);
        tasks.spawn(probes);
        fence
    }

    /// Whether requests may be served.
    ///
    /// # Errors
    /// The agent has fenced itself, or must do so now since the process stood still.
    pub fn check(&self) -> Result<(), Fenced> {
        if self.policy.lock().stood_still(self.ports.clock.now()) {
            self.look();
        }
        match *self.state.borrow() {
            None => Ok(()),
            Some(fenced) => Err(fenced),
        }
    }

    /// Returns when the agent is fenced. Cancel safe.
    pub async fn fenced(&self) -> Fenced {
        let mut state = self.state.subscribe();
        let fenced = state.wait_for(Option::is_some).await.map(|state| *state);
        match fenced {
            Ok(Some(fenced)) => fenced,
            // The sender lives as long as `self`.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Whether this agent may be named to clients.
    pub(crate) fn is_named(&self) -> bool {
        !self.draining.load(Ordering::Acquire) && self.state.borrow().is_none()
    }

    /// From now on the agent is named no longer.
    pub(crate) fn drain(&self) {
        let policy = self.policy.lock();
        self.draining.store(true, Ordering::Release);
        self.publish(&policy);
    }

    /// Whether clients should be sent here; changes are seen by the receiver.
    pub(crate) fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    async fn look_on(self: Arc<Self>) {
        loop {
            self.ports.sleep(LOOK_EVERY).await;
            self.look();
        }
    }

    fn look(&self) {
        let mut policy = self.policy.lock();
        let change = policy.look(&Seen {
            now: self.ports.clock.now(),
            bucket_failing_since: self.reach.failing_since(),
            bucket_answered_at: self.reach.answered_at(),
            metadata_heard_at: *self.heard_at.lock(),
            lost_rows: self.lost_rows.borrow().is_some(),
            watermark_fell: self.view.has_fallen(),
        });
        match change {
            None => return,
            Some(Change::Fenced(cause)) => {
                tracing::warn!(%cause, "this agent fences itself: its clients are sent to others");
                metrics::counter!("aquifer_fences_total", "cause" => cause.name()).increment(1);
                metrics::gauge!("aquifer_fenced").set(1.0);
                self.state.send_replace(Some(Fenced { cause }));
            }
            Some(Change::Back) => {
                tracing::info!("this agent serves again");
                metrics::gauge!("aquifer_fenced").set(0.0);
                self.state.send_replace(None);
            }
        }
        self.publish(&policy);
    }

    /// Tells the health check and the metadata leader, with the policy locked since what is told was
    /// decided: an older state is never told after a newer one.
    fn publish(&self, _policy: &MutexGuard<'_, FencePolicy>) {
        self.view.set_named(self.is_named());
        let reason = if self.draining.load(Ordering::Acquire) {
            Some("the agent is stopping".to_owned())
        } else {
            self.state.borrow().map(|fenced| fenced.to_string())
        };
        let readiness = match reason {
            None => Readiness::Ready,
            Some(reason) => Readiness::Unready { reason },
        };
        self.readiness.send_if_modified(|before| {
            let changed = *before != readiness;
            *before = readiness;
            changed
        });
    }

    /// Catching up is the sign: the leader answers, holds its lease, and its watch reaches this agent.
    async fn ask_the_leader(self: Arc<Self>) {
        loop {
            let asked_at = self.ports.clock.now();
            let caught_up = self.ports.timeout(PROBE_MAX, self.view.catch_up()).await;
            match caught_up {
                Some(Ok(())) => *self.heard_at.lock() = asked_at,
                Some(Err(error)) => tracing::debug!(%error, "no sign of the metadata leader"),
                None => tracing::debug!("no sign of the metadata leader within {PROBE_MAX:?}"),
            }
            self.ports.sleep(self.settings.probe_every).await;
        }
    }

    /// Tries the bucket: with a write or a read where these fail, now and then with a read while nothing
    /// else asks it. What comes of it, [`Reach`] sees.
    async fn probe(self: Arc<Self>, bucket: Arc<dyn ObjectStore>, session: Arc<AgentSession>) {
        loop {
            self.ports.sleep(self.settings.probe_every).await;
            let now = self.ports.clock.now();
            if self.reach.is_suspicious(Kind::Write) {
                let registration = session.registration();
                let key = probe_key(registration.cluster, registration.slot);
                let probe = vec![Bytes::from_static(PROBE)];
                let put = bucket.put(&key, probe, PutMode::Overwrite);
                if let Some(Ok(())) = self.ports.timeout(PROBE_MAX, put).await {
                    // One that stays is overwritten by the next probe of this slot.
                    let keys = [key];
                    let delete = bucket.delete(&keys);
                    let _ = self.ports.timeout(PROBE_MAX, delete).await;
                }
            }
            let idle = now.since(self.reach.answered_at()) >= self.settings.idle_probe_every;
            if idle || self.reach.is_suspicious(Kind::Read) {
                let read = bucket.head(marker_key());
                let _ = self.ports.timeout(PROBE_MAX, read).await;
            }
        }
    }
}
