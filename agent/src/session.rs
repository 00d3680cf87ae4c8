//! The agent's registration with the metadata service and its commit session.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::SessionId;
use aquifer_metadata_api::{
    Metadata, MetadataError,
    mark::JournalMark,
    register::{RegisterRequest, Registration},
};
use aquifer_store::{Monotonic, Ports};
use parking_lot::Mutex;
use tokio::sync::watch;

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
    lost: watch::Sender<Option<SessionId>>,
    memory: Arc<Memory>,
}

/// What the agent remembers of the metadata journal.
#[derive(Debug)]
struct Memory {
    seen: Mutex<Option<JournalMark>>,
    lost_rows: watch::Sender<Option<String>>,
}

impl Memory {
    /// Notes how a call ended that shows the leader what this agent remembers.
    fn note<T>(&self, called: &Result<T, MetadataError>) {
        let now = match called {
            Ok(_) => None,
            Err(MetadataError::LostRows { reason }) => Some(reason.clone()),
            Err(_) => return,
        };
        self.lost_rows.send_if_modified(|before| {
            let turned = before.is_some() != now.is_some();
            match &now {
                Some(reason) if turned => {
                    tracing::error!(reason, "the metadata journal lost rows; this agent serves nobody until the loss is accepted");
                }
                None if turned => tracing::warn!("the loss of metadata journal rows was accepted"),
                _ => {}
            }
            *before = now;
            turned
        });
    }
}

impl AgentSession {
    /// Registers; asks again while the metadata service is unavailable.
    ///
    /// # Errors
    /// [`MetadataError::Refused`]: the request itself is wrong, or this agent is not admitted.
    pub async fn register(
        metadata: Arc<dyn Metadata>,
        ports: Ports,
        request: RegisterRequest,
    ) -> Result<Arc<Self>, MetadataError> {
        let memory = Arc::new(Memory {
            seen: Mutex::new(request.seen),
            lost_rows: watch::Sender::new(None),
        });
        let registration = register(&metadata, &ports, &request, &memory).await?;
        let (lost, losses) = watch::channel(None);
        let session = Arc::new(Self {
            current: watch::Sender::new(registration),
            lost,
            memory: Arc::clone(&memory),
        });
        let current = session.current.clone();
        let tasks = ports.tasks.clone();
        tasks.spawn(follow(metadata, ports, request, current, losses, memory));
        Ok(session)
    }

    /// The newest row of the metadata journal that this agent was shown.
    #[must_use]
    pub fn seen(&self) -> Option<JournalMark> {
        *self.memory.seen.lock()
    }

    /// Why nobody is served: the journal lost rows that this agent or another one was shown. None = as
    /// far as is known, it did not. An agent is not ready while it did.
    #[must_use]
    pub fn lost_rows(&self) -> watch::Receiver<Option<String>> {
        self.memory.lost_rows.subscribe()
    }

    /// Remembers a row that the watch showed.
    pub(crate) fn saw(&self, mark: JournalMark) {
        *self.memory.seen.lock() = Some(mark);
    }

    /// Notes how opening a watch ended, which shows the leader what this agent remembers.
    pub(crate) fn note_watch<T>(&self, opened: &Result<T, MetadataError>) {
        self.memory.note(opened);
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
        self.lost.send_if_modified(|lost| {
            let is_current = self.current.borrow().session == session;
            if is_current {
                *lost = Some(session);
            }
            is_current
        });
    }
}

async fn follow(
    metadata: Arc<dyn Metadata>,
    ports: Ports,
    mut request: RegisterRequest,
    current: watch::Sender<Registration>,
    mut losses: watch::Receiver<Option<SessionId>>,
    memory: Arc<Memory>,
) {
    let mut registered_at: Option<Monotonic> = None;
    while losses.changed().await.is_ok() {
        let lost = *losses.borrow_and_update();
        let (session, slot) = {
            let now = current.borrow();
            (now.session, now.slot)
        };
        if lost != Some(session) {
            continue;
        }
        tracing::warn!(%session, "the commit session has ended; registering anew");
        // A session that ends again and again must not become a flood of registrations.
        if let Some(at) = registered_at {
            ports.clock.sleep_until(at.plus(BACK_OFF_MAX)).await;
        }
        request.previous_slot = Some(slot);
        let registration = loop {
            match register(&metadata, &ports, &request, &memory).await {
                Ok(registration) => break registration,
                Err(error) => {
                    tracing::error!(%error, retry_in = ?BACK_OFF_MAX, "the metadata service refuses this agent, which cannot produce until it is admitted again");
                }
            }
            ports.sleep(BACK_OFF_MAX).await;
        };
        tracing::info!(session = %registration.session, slot = %registration.slot, "registered anew");
        registered_at = Some(ports.clock.now());
        current.send_replace(registration);
    }
}

async fn register(
    metadata: &Arc<dyn Metadata>,
    ports: &Ports,
    request: &RegisterRequest,
    memory: &Memory,
) -> Result<Registration, MetadataError> {
    let mut back_off = BACK_OFF_MIN;
    loop {
        let request = RegisterRequest {
            seen: *memory.seen.lock(),
            ..request.clone()
        };
        let registered = metadata.register(request).await;
        memory.note(&registered);
        match registered {
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

#[cfg(test)]
mod tests {
    use aquifer_metadata_api::{
        fake::{FAKE_START_UNIX_MILLIS, Fake},
        register::AgentAddress,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn regression_an_agent_that_was_refused_registers_once_it_is_admitted() {
        let fake = Fake::new();
        let ports = Ports::simulated(1, FAKE_START_UNIX_MILLIS);
        let request = RegisterRequest::new(AgentAddress {
            host: "a".to_owned(),
            port: 1,
            node_ids: 1,
            zone: String::new(),
            peer: String::new(),
        });
        let session = AgentSession::register(fake.clone(), ports.clone(), request).await;
        let session = session.unwrap();
        let before = session.registration();
        fake.end_session(before.session);
        fake.set_refusing(true);
        session.report_lost(before.session);
        ports.sleep(Duration::from_secs(60)).await;
        assert_eq!(session.registration(), before);
        fake.set_refusing(false);
        ports.sleep(2 * BACK_OFF_MAX).await;
        assert_ne!(session.registration().session, before.session);
    }
}
