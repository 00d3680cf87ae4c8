//! The client's side of the two streams: what brings their items from the wire to the agent.

use aquifer_format::ids::{LeaderTerm, SessionId};
use aquifer_store::Ports;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, Streaming};

use super::{
    connection::{Connection, term_in},
    proto::{self, commits_call, watch_call},
    status::{Failure, failure_of},
    wire,
};
use crate::{
    client::{CommitChannel, WatchChannel},
    commit::CommitCall,
    error::MetadataError,
    watch::InterestChange,
};

/// Calls that wait for the wire.
const CALLS: usize = 64;
/// Answers that wait for the agent; more wait in the flow-control window.
const ANSWERS: usize = 256;
/// Frames that wait for the agent; more wait in the flow-control window.
const FRAMES: usize = 16;
/// Changes of interests that wait for the wire.
const INTERESTS: usize = 1_024;

/// What comes on a stream, as long as no later leader than the one that opened it has answered.
struct Inbound<T> {
    connection: Connection,
    term: Option<LeaderTerm>,
    messages: Streaming<T>,
}

impl<T> Inbound<T> {
    fn new(connection: &Connection, opened: Response<Streaming<T>>) -> Self {
        Self {
            connection: connection.clone(),
            term: term_in(opened.metadata().as_ref()),
            messages: opened.into_inner(),
        }
    }

    async fn next(&mut self) -> Result<Option<T>, Status> {
        let next = self.messages.message().await;
        self.connection.check_term(self.term)?;
        next
    }
}

/// Opens a stream of commits on a connection.
pub(super) async fn commits(
    ports: &Ports,
    connection: &Connection,
    open: proto::CommitsCall,
) -> Result<CommitChannel, Status> {
    let (calls, of_agent) = mpsc::channel(CALLS);
    let (to_agent, answers) = mpsc::channel(ANSWERS);
    let ended = CancellationToken::new();
    let outbound = outbound_calls(open, of_agent).take_until(ended.clone().cancelled_owned());
    let opened = connection.client().commits(outbound).await?;
    let inbound = Inbound::new(connection, opened);
    let connection = connection.clone();
    ports.tasks.spawn(async move {
        let ending = take_answers(inbound, &to_agent).await;
        // the agent can send nothing more either
        ended.cancel();
        if let Some(status) = ending
            && let Some(error) = ending_of(&connection, "commits", &status)
        {
            // nobody listening is nobody's loss
            let _ = to_agent.send(Err(error)).await;
        }
    });
    Ok(CommitChannel { calls, answers })
}

fn outbound_calls(
    open: proto::CommitsCall,
    of_agent: mpsc::Receiver<CommitCall>,
) -> impl Stream<Item = proto::CommitsCall> + Send + 'static {
    let calls = stream::unfold(of_agent, |mut of_agent| async move {
        let call = of_agent.recv().await?;
        Some((wire::call_to(&call), of_agent))
    });
    stream::iter([open]).chain(calls)
}

/// Brings answers to the agent until either side ends; Some = the stream ended with a status.
async fn take_answers(
    mut inbound: Inbound<proto::CommitAnswer>,
    to_agent: &mpsc::Sender<Result<crate::commit::CommitAnswer, MetadataError>>,
) -> Option<Status> {
    loop {
        let answer = tokio::select! {
            biased;
            () = to_agent.closed() => return None,
            answer = inbound.next() => answer,
        };
        let answer = match answer {
            Ok(Some(answer)) => wire::answer_from(&answer),
            Ok(None) => return None,
            Err(status) => return Some(status),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(malformed) => return Some(super::malformed(malformed)),
        };
        if to_agent.send(Ok(answer)).await.is_err() {
            return None;
        }
    }
}

/// What the agent must be told of the end of a stream; None = that it broke.
fn ending_of(connection: &Connection, stream: &str, status: &Status) -> Option<MetadataError> {
    let endpoint = connection.endpoint();
    match failure_of(status) {
        Failure::NotLeader { leader, .. } => {
            tracing::info!(%endpoint, stream, leader, "the metadata leader does not lead any more");
            connection.retire(leader);
            None
        }
        Failure::Error(MetadataError::Unavailable { reason, .. }) => {
            tracing::info!(%endpoint, stream, reason, "a stream to the metadata leader broke");
            None
        }
        Failure::Error(error) => Some(error),
    }
}

/// Opens a watch on a connection.
pub(super) async fn watch(
    ports: &Ports,
    connection: &Connection,
    open: proto::OpenWatch,
) -> Result<WatchChannel, Status> {
    let (interests, of_agent) = mpsc::channel(INTERESTS);
    let (to_agent, frames) = mpsc::channel(FRAMES);
    let ended = CancellationToken::new();
    let outbound = outbound_interests(open, of_agent).take_until(ended.clone().cancelled_owned());
    let opened = connection.client().watch(outbound).await?;
    let inbound = Inbound::new(connection, opened);
    let connection = connection.clone();
    ports.tasks.spawn(async move {
        let ending = take_frames(inbound, &to_agent).await;
        ended.cancel();
        if let Some(status) = ending
            && let Some(error) = ending_of(&connection, "watch", &status)
        {
            tracing::warn!(endpoint = %connection.endpoint(), %error, "a watch ended");
        }
    });
    Ok(WatchChannel { interests, frames })
}

fn outbound_interests(
    open: proto::OpenWatch,
    of_agent: mpsc::Receiver<InterestChange>,
) -> impl Stream<Item = proto::WatchCall> + Send + 'static {
    let call = |kind| proto::WatchCall { kind: Some(kind) };
    let changes = stream::unfold(of_agent, move |mut of_agent| async move {
        let mut changes = Vec::new();
        if of_agent.recv_many(&mut changes, INTERESTS).await == 0 {
            return None;
        }
        let changes = watch_call::Kind::Interests(wire::interests_to(&changes));
        Some((call(changes), of_agent))
    });
    stream::iter([call(watch_call::Kind::Open(open))]).chain(changes)
}

/// Brings frames to the agent until either side ends; Some = the stream ended with a status.
async fn take_frames(
    mut inbound: Inbound<proto::WatchFrame>,
    to_agent: &mpsc::Sender<crate::watch::Frame>,
) -> Option<Status> {
    loop {
        let frame = tokio::select! {
            biased;
            () = to_agent.closed() => return None,
            frame = inbound.next() => frame,
        };
        let frame = match frame {
            Ok(Some(frame)) => wire::frame_from(frame),
            Ok(None) => return None,
            Err(status) => return Some(status),
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(malformed) => return Some(super::malformed(malformed)),
        };
        if to_agent.send(frame).await.is_err() {
            return None;
        }
    }
}

/// What opens a stream of commits.
pub(super) fn open_commits(session: SessionId) -> proto::CommitsCall {
    proto::CommitsCall {
        kind: Some(commits_call::Kind::Open(session.0)),
    }
}
