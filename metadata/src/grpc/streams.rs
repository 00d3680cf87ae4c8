//! The server's side of the two streams: one task each, between the wire and the leader.

use std::{collections::VecDeque, pin::pin, sync::Arc};

use aquifer_metadata_api::{
    CommitChannel, MetadataError, WatchChannel,
    commit::{CommitAnswer, CommitCall},
    grpc::{
        malformed,
        proto::{self, watch_call, watch_frame},
        status_of, wire,
    },
    watch::{Frame, InterestChange},
};
use aquifer_store::Ports;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::sealed::SealedFrames;

/// Answers between the leader and the wire; more wait in the leader's queue of the stream.
const ANSWERS: usize = 64;
/// Frames between the leader and the wire; more wait in the watcher's queue.
const FRAMES: usize = 4;

type Out<T> = mpsc::Sender<Result<T, Status>>;

/// Serves a stream of commits until either side ends it, or `ended`.
pub(super) fn commits(
    ports: &Ports,
    calls: Streaming<proto::CommitsCall>,
    channel: CommitChannel,
    ended: impl Future<Output = Status> + Send + 'static,
) -> mpsc::Receiver<Result<proto::CommitAnswer, Status>> {
    let (out, answers) = mpsc::channel(ANSWERS);
    ports.tasks.spawn(async move {
        if let Some(status) = serve_commits(calls, channel, &out, ended).await {
            // an agent that is gone needs no reason
            let _ = out.send(Err(status)).await;
        }
    });
    answers
}

/// Some = what to tell the agent at the end.
async fn serve_commits(
    mut inbound: Streaming<proto::CommitsCall>,
    channel: CommitChannel,
    out: &Out<proto::CommitAnswer>,
    ended: impl Future<Output = Status>,
) -> Option<Status> {
    let CommitChannel { calls, mut answers } = channel;
    let mut calls = Some(calls);
    let mut ended = pin!(ended);
    let mut call: Option<CommitCall> = None;
    let mut answer: Option<Result<CommitAnswer, MetadataError>> = None;
    loop {
        tokio::select! {
            biased;
            () = out.closed() => return None,
            permit = out.reserve(), if answer.is_some() => match (permit, answer.take()) {
                (Ok(permit), Some(Ok(answer))) => permit.send(Ok(wire::answer_to(&answer))),
                (Ok(_), Some(Err(error))) => return Some(status_of(&error)),
                _ => return None,
            },
            next = answers.recv(), if answer.is_none() => match next {
                Some(next) => answer = Some(next),
                // broken: by another stream of the session, or the leader stopped
                None => return Some(broke("the leader ended the stream of commits")),
            },
            status = ended.as_mut() => return Some(status),
            permit = room(calls.clone()), if call.is_some() => match (permit, call.take()) {
                (Some(permit), Some(call)) => {
                    permit.send(call);
                }
                _ => return Some(broke("the leader takes no more commits")),
            },
            next = inbound.message(), if calls.is_some() && call.is_none() => match next {
                Ok(Some(next)) => match wire::call_from(next) {
                    Ok(next) => call = Some(next),
                    Err(wrong) => return Some(malformed(wrong)),
                },
                // the agent ends the stream; the leader's side ends with it
                Ok(None) => calls = None,
                Err(status) => return Some(unreadable(&status)),
            },
        }
    }
}

/// Waits for room in the channel; None = it is closed.
async fn room<T>(calls: Option<mpsc::Sender<T>>) -> Option<mpsc::OwnedPermit<T>> {
    calls?.reserve_owned().await.ok()
}

fn broke(reason: &str) -> Status {
    status_of(&MetadataError::Unavailable {
        reason: reason.to_owned(),
        may_have_happened: true,
    })
}

/// What an agent is told whose message cannot be read. (Where its connection broke, nobody is told.)
fn unreadable(status: &Status) -> Status {
    status_of(&MetadataError::Refused {
        reason: format!("a message of a stream cannot be read: {}", status.message()),
    })
}

/// Serves a watch until either side ends it, or `ended`.
pub(super) fn watch(
    ports: &Ports,
    calls: Streaming<proto::WatchCall>,
    channel: WatchChannel,
    sealed: Arc<SealedFrames>,
    ended: impl Future<Output = Status> + Send + 'static,
) -> mpsc::Receiver<Result<proto::WatchFrame, Status>> {
    let (out, frames) = mpsc::channel(FRAMES);
    ports.tasks.spawn(async move {
        if let Some(status) = serve_watch(calls, channel, &sealed, &out, ended).await {
            // an agent that is gone needs no reason
            let _ = out.send(Err(status)).await;
        }
    });
    frames
}

/// Some = what to tell the agent at the end.
async fn serve_watch(
    mut inbound: Streaming<proto::WatchCall>,
    channel: WatchChannel,
    sealed: &SealedFrames,
    out: &Out<proto::WatchFrame>,
    ended: impl Future<Output = Status>,
) -> Option<Status> {
    let WatchChannel {
        interests,
        mut frames,
    } = channel;
    let mut ended = pin!(ended);
    let mut listening = true;
    let mut changes: VecDeque<InterestChange> = VecDeque::new();
    let mut frame: Option<proto::WatchFrame> = None;
    loop {
        tokio::select! {
            biased;
            () = out.closed() => return None,
            permit = out.reserve(), if frame.is_some() => match (permit, frame.take()) {
                (Ok(permit), Some(frame)) => permit.send(Ok(frame)),
                _ => return None,
            },
            status = ended.as_mut() => return Some(status),
            permit = interests.reserve(), if !changes.is_empty() => match (permit, changes.pop_front()) {
                (Ok(permit), Some(change)) => permit.send(change),
                _ => return Some(broke("the leader ended the watch")),
            },
            next = inbound.message(), if listening && changes.is_empty() => match next {
                Ok(Some(next)) => match changes_of(next) {
                    Ok(next) => changes = next,
                    Err(wrong) => return Some(malformed(wrong)),
                },
                // no more interests; the watch goes on
                Ok(None) => listening = false,
                Err(status) => return Some(unreadable(&status)),
            },
            next = frames.recv(), if frame.is_none() => match next {
                Some(next) => frame = Some(encode(sealed, next).await),
                // cut because it was too slow, or the leader stopped
                None => return Some(broke("the leader ended the watch")),
            },
        }
    }
}

fn changes_of(call: proto::WatchCall) -> Result<VecDeque<InterestChange>, wire::Malformed> {
    match call.kind {
        Some(watch_call::Kind::Interests(changes)) => {
            wire::interests_from(changes).map(VecDeque::from)
        }
        Some(watch_call::Kind::Open(_)) => Err(wire::Malformed("a watch is opened twice")),
        None => Err(wire::Malformed("a call on a watch is of no kind")),
    }
}

async fn encode(sealed: &SealedFrames, frame: Frame) -> proto::WatchFrame {
    let kind = match frame {
        Frame::Common(common) => watch_frame::Kind::Common(sealed.seal(&common).await),
        Frame::Extents(extents) => watch_frame::Kind::Extents(wire::watch_extents_to(&extents)),
    };
    metrics::counter!("aquifer_metadata_watch_frames_sent_total").increment(1);
    proto::WatchFrame { kind: Some(kind) }
}
