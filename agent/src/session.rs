//! The agent's registration with the metadata service and its commit session.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::SessionId;
use aquifer_metadata_api::{
    Metadata, MetadataError,
    register::{RegisterRequest, Registration},
};
use aquifer_store::{Monotonic, Ports};
use tokio::sync::{mpsc, watch};

/// Pause after the first failed registration; doubles up to [`BACK_OFF_MAX`].
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause between registrations: the leader's lease is 3 s, so a second is short enough to be
/// there soon after a take-over.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// The agent's registration. When the leader no longer knows the session (it was silent for too
/// long), the agent registers anew and everybody who watches hears of it.
#[derive(Debug)]
pub struct AgentSession {
    current: watch::Sender<Registration>,
    lost: mpsc::UnboundedSender<SessionId>,
}

impl AgentSession {
    /// Registers; asks again while the metadata service is unavailable.
    ///
    /// # Errors
    /// [`MetadataError::Refused`]: the request itself is wrong.
    pub async fn register(
        metadata: Arc<dyn Metadata>,
        ports: Ports,
        request: RegisterRequest,
    ) -> Result<Arc<Self>, MetadataError> {
        let registration = register(&metadata, &ports, &request).await?;
        let (lost, losses) = mpsc::unbounded_channel();
        let session = Arc::new(Self {
            current: watch::Sender::new(registration),
            lost,
        });
        let current = session.current.clone();
        let tasks = ports.tasks.clone();
        tasks.spawn(follow(metadata, ports, request, current, losses));
        Ok(session)
    }

    /// The registration in force.
    #[must_use]
    pub fn registration(&self) -> Registration {
        self.current.borrow().clone()
    }

    /// Follows the registration.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Registration> {
        self.current.subscribe()
    }

    /// Reports that the leader answered UNKNOWN_SESSION for `session`. Reports of sessions that were
    /// replaced already are ignored.
    pub fn report_lost(&self, session: SessionId) {
        // The receiver is gone only when the node's tasks have ended.
        let _ = self.lost.send(session);
    }
}

async fn follow(
    metadata: Arc<dyn Metadata>,
    ports: Ports,
    mut request: RegisterRequest,
    current: watch::Sender<Registration>,
    mut losses: mpsc::UnboundedReceiver<SessionId>,
) {
    let mut registered_at: Option<Monotonic> = None;
    while let Some(lost) = losses.recv().await {
        let (session, slot) = {
            let now = current.borrow();
            (now.session, now.slot)
        };
        if lost != session {
            continue;
        }
        tracing::warn!(%session, "the commit session has ended; registering anew");
        // A session that ends again and again must not become a flood of registrations.
        if let Some(at) = registered_at {
            ports.clock.sleep_until(at.plus(BACK_OFF_MAX)).await;
        }
        request.previous_slot = Some(slot);
        match register(&metadata, &ports, &request).await {
            Ok(registration) => {
                tracing::info!(
                    session = %registration.session,
                    slot = %registration.slot,
                    "registered anew"
                );
                registered_at = Some(ports.clock.now());
                current.send_replace(registration);
            }
            Err(error) => {
                tracing::error!(%error, "the metadata service refuses this agent; it can no longer produce");
            }
        }
    }
}

async fn register(
    metadata: &Arc<dyn Metadata>,
    ports: &Ports,
    request: &RegisterRequest,
) -> Result<Registration, MetadataError> {
    let mut back_off = BACK_OFF_MIN;
    loop {
        match metadata.register(request.clone()).await {
            Ok(registration) => return Ok(registration),
            Err(error @ MetadataError::Refused { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, retry_in = ?back_off, "cannot register with the metadata service");
            }
        }
        ports.sleep(back_off).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}
