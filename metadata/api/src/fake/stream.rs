//! The tasks behind the fake's channels.

use std::{future::Future, sync::Arc, time::Duration};

use aquifer_format::ids::SessionId;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::{core::Core, sessions::Delayed};
use crate::{
    commit::{CommitAnswer, CommitCall},
    error::MetadataError,
    watch::{Frame, InterestChange},
};

/// The agent's side of a stream of commits.
type Answers = mpsc::Sender<Result<CommitAnswer, MetadataError>>;

/// What the core gives for a new stream of commits.
pub(super) struct CommitStream {
    pub(super) id: u64,
    pub(super) answers: mpsc::UnboundedReceiver<Delayed>,
    /// Ends (its sender is dropped) when the stream is broken.
    pub(super) broken: watch::Receiver<()>,
}

#[allow(
    clippy::disallowed_methods,
    reason = "a fake for tests; this crate does not know the Tasks port"
)]
fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(future));
}

#[allow(
    clippy::disallowed_methods,
    reason = "a fake for tests; this crate does not know the Clock port, and a paused runtime has virtual time"
)]
async fn sleep_until(at: tokio::time::Instant) {
    tokio::time::sleep_until(at).await;
}

pub(super) fn spawn_commits(
    core: Arc<Mutex<Core>>,
    session: SessionId,
    stream: CommitStream,
    mut calls: mpsc::Receiver<CommitCall>,
    to_agent: Answers,
) {
    let CommitStream {
        id,
        mut answers,
        mut broken,
    } = stream;
    let gone = to_agent.clone();
    spawn(async move {
        loop {
            let call = tokio::select! {
                biased;
                _ = broken.changed() => break,
                () = gone.closed() => break,
                call = calls.recv() => call,
            };
            let Some(call) = call else { break };
            let holds = core.lock().call(session, id, call);
            if holds {
                spawn(expire_holds(Arc::clone(&core)));
            }
        }
    });
    spawn(async move {
        while let Some((due, answer)) = answers.recv().await {
            sleep_until(due).await;
            if to_agent.send(answer).await.is_err() {
                break;
            }
        }
    });
}

/// Ends the holds that are due two seconds from now.
async fn expire_holds(core: Arc<Mutex<Core>>) {
    let due = core.lock().now() + Duration::from_millis(aquifer_format::limits::HOLD_MS_MAX);
    sleep_until(due).await;
    core.lock().expire_holds();
}

pub(super) fn spawn_watch(
    core: Arc<Mutex<Core>>,
    watcher: u64,
    mut queue: mpsc::UnboundedReceiver<Frame>,
    mut interests: mpsc::Receiver<InterestChange>,
    to_agent: mpsc::Sender<Frame>,
) {
    spawn(async move {
        let mut listening = true;
        loop {
            tokio::select! {
                biased;
                () = to_agent.closed() => break,
                change = interests.recv(), if listening => match change {
                    Some(change) => core.lock().interest(watcher, change),
                    None => listening = false,
                },
                frame = queue.recv() => {
                    let Some(frame) = frame else { break };
                    if to_agent.send(frame).await.is_err() {
                        break;
                    }
                }
            }
        }
        core.lock().close_watch(watcher);
    });
}
