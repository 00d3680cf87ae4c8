//! The session's stream of commits: opened, kept open, opened again.

use std::{fmt, sync::Arc, time::Duration};

use aquifer_format::ids::SessionId;
use aquifer_metadata_api::{
    CommitChannel, Metadata, MetadataError,
    commit::{CommitAnswer, CommitCall},
};
use aquifer_store::Ports;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

/// Pause before a broken stream is opened again, doubled up to [`BACK_OFF_MAX`] while it fails.
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
/// A third of the leader's lease: a new leader is found soon after its take-over.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// The stream.
pub(super) struct CommitStream {
    metadata: Arc<dyn Metadata>,
    ports: Ports,
    state: State,
    back_off: Duration,
}

enum State {
    /// Waits for another session.
    Ended,
    Opening(BoxFuture<'static, Result<CommitChannel, MetadataError>>),
    Open(CommitChannel),
}

/// What happened on the stream.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// It is open: send everything unanswered again.
    Opened,
    Answer(CommitAnswer),
    /// It broke, and is being opened again.
    Broke(String),
    /// The session is of no use any more: register anew.
    SessionLost(MetadataError),
    /// There is room for a call: see [`CommitStream::send`].
    Ready,
}

impl fmt::Debug for CommitStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Ended => "CommitStream(ended)",
            State::Opening(_) => "CommitStream(opening)",
            State::Open(_) => "CommitStream(open)",
        })
    }
}

impl CommitStream {
    /// The stream of `session`, being opened.
    pub(super) fn new(metadata: Arc<dyn Metadata>, ports: Ports, session: SessionId) -> Self {
        let mut stream = Self {
            metadata,
            ports,
            state: State::Ended,
            back_off: Duration::ZERO,
        };
        stream.open(session);
        stream
    }

    /// Opens the stream of another session.
    pub(super) fn restart(&mut self, session: SessionId) {
        self.back_off = Duration::ZERO;
        self.open(session);
    }

    /// Sends a call; only right after [`StreamEvent::Ready`].
    pub(super) fn send(&mut self, call: CommitCall) {
        if let State::Open(channel) = &self.state {
            // The room was there a moment ago and this is the only sender; where the stream broke
            // meanwhile, the call is sent again on the next one.
            let _ = channel.calls.try_send(call);
        }
    }

    /// Waits for the next event; for room to send only if `sending`. Cancel safe.
    pub(super) async fn next(&mut self, session: SessionId, sending: bool) -> StreamEvent {
        let event = match &mut self.state {
            State::Ended => std::future::pending().await,
            State::Opening(opening) => match opening.await {
                Ok(channel) => {
                    self.state = State::Open(channel);
                    return StreamEvent::Opened;
                }
                Err(error) => self.failed(error),
            },
            State::Open(channel) => {
                let CommitChannel { calls, answers } = channel;
                tokio::select! {
                    biased;
                    answer = answers.recv() => match answer {
                        Some(Ok(answer)) => {
                            self.back_off = Duration::ZERO;
                            StreamEvent::Answer(answer)
                        }
                        Some(Err(error)) => self.failed(error),
                        None => StreamEvent::Broke("the stream ended".to_owned()),
                    },
                    room = room(calls), if sending => match room {
                        true => StreamEvent::Ready,
                        false => StreamEvent::Broke("the stream takes no calls".to_owned()),
                    },
                }
            }
        };
        match &event {
            StreamEvent::Broke(_) => self.open(session),
            StreamEvent::SessionLost(_) => self.state = State::Ended,
            StreamEvent::Opened | StreamEvent::Answer(_) | StreamEvent::Ready => {}
        }
        event
    }

    fn failed(&self, error: MetadataError) -> StreamEvent {
        match error {
            // After lost rows were accepted the session has ended; that will be said then.
            MetadataError::Unavailable { reason, .. } | MetadataError::LostRows { reason } => {
                StreamEvent::Broke(reason)
            }
            error => StreamEvent::SessionLost(error),
        }
    }

    fn open(&mut self, session: SessionId) {
        let (metadata, ports) = (Arc::clone(&self.metadata), self.ports.clone());
        let pause = self.back_off;
        self.back_off = (pause * 2).clamp(BACK_OFF_MIN, BACK_OFF_MAX);
        self.state = State::Opening(Box::pin(async move {
            if !pause.is_zero() {
                ports.sleep(pause).await;
            }
            metadata.commits(session).await
        }));
    }
}

/// Waits until the channel has room; false = it is closed.
async fn room(calls: &mpsc::Sender<CommitCall>) -> bool {
    calls.reserve().await.is_ok()
}
