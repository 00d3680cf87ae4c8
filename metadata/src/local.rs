//! The client of callers in the leader's own process: no encoding, the same rules.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aquifer_format::ids::{ClusterId, Incarnation, JournalSeq, LeaderTerm, ObjectId, SessionId};
use aquifer_metadata_api::{
    CommitChannel, Metadata, MetadataError, WatchChannel,
    commit::CommitCall,
    kafka::KafkaCall,
    live::{self, LiveObjects},
    locate::{LocateReply, LocateRequest, OffsetsReply, OffsetsRequest},
    mark::JournalMark,
    register::{RegisterRequest, Registration},
    watch::{Frame, InterestChange},
};
use aquifer_store::Ports;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::{
    backup::NotedPages,
    planner::Backlog,
    sequencer::request::{OpenedCommits, OpenedWatch, Reply, Request},
    state::{StateSlice, WalkRequest},
};

#[cfg(test)]
mod tests;
mod upkeep;

/// Calls of one stream that wait for the sequencer's queue.
const CALLS: usize = 64;
/// Answers that wait for an agent; one that takes none for so long is cut, and sends again.
const ANSWERS: usize = 4_096;
/// Frames between a watcher's queue and the agent.
const FRAMES: usize = 4;
const INTERESTS: usize = 1_024;

/// What a leader says of itself.
#[derive(Debug)]
pub struct LeaderFacts {
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's incarnation.
    pub incarnation: Incarnation,
    /// The leader's term.
    pub term: LeaderTerm,
    /// Where others reach it.
    pub endpoint: String,
    durable: AtomicU64,
    /// The pages that it writes.
    pages: Arc<NotedPages>,
    /// What compactors are behind with, once it was looked at.
    backlog: Mutex<Option<Backlog>>,
}

impl LeaderFacts {
    pub(crate) fn new(
        cluster: ClusterId,
        incarnation: Incarnation,
        term: LeaderTerm,
        endpoint: String,
        pages: Arc<NotedPages>,
    ) -> Self {
        Self {
            cluster,
            incarnation,
            term,
            endpoint,
            durable: AtomicU64::new(0),
            pages,
            backlog: Mutex::new(None),
        }
    }

    /// What compactors are behind with, as of a moment ago; None = nobody has looked yet.
    #[must_use]
    pub fn backlog(&self) -> Option<Backlog> {
        *self.backlog.lock()
    }

    pub(crate) fn note_backlog(&self, backlog: Backlog) {
        *self.backlog.lock() = Some(backlog);
    }

    /// The pages that it writes, for backups.
    pub(crate) fn pages(&self) -> &NotedPages {
        &self.pages
    }

    /// The last durable row, as of a moment ago. For people and probes: exact is only
    /// [`Metadata::barrier`].
    #[must_use]
    pub fn durable(&self) -> JournalSeq {
        JournalSeq(self.durable.load(Ordering::Relaxed))
    }

    pub(crate) fn note_durable(&self, seq: JournalSeq) {
        self.durable.store(seq.0, Ordering::Relaxed);
    }
}

/// The in-process client of a [`crate::leader::Leader`].
#[derive(Clone, Debug)]
pub struct LocalMetadata {
    requests: mpsc::Sender<Request>,
    ports: Ports,
    call_timeout: Duration,
    facts: Arc<LeaderFacts>,
}

impl LocalMetadata {
    pub(crate) fn new(
        requests: mpsc::Sender<Request>,
        ports: Ports,
        call_timeout: Duration,
        facts: Arc<LeaderFacts>,
    ) -> Self {
        Self {
            requests,
            ports,
            call_timeout,
            facts,
        }
    }

    /// What the leader says of itself.
    #[must_use]
    pub fn facts(&self) -> &LeaderFacts {
        &self.facts
    }

    /// A slice of the state, exact as every read: none of it is told before it is durable.
    pub(crate) async fn walk(&self, request: WalkRequest) -> Result<StateSlice, MetadataError> {
        self.call(|reply| Request::Walk(request, reply)).await
    }

    async fn call<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, MetadataError> {
        self.call_within(self.call_timeout, request).await
    }

    async fn call_within<T>(
        &self,
        timeout: Duration,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, MetadataError> {
        let until = self.ports.clock.now().plus(timeout);
        let (reply, answer) = oneshot::channel();
        let sent = tokio::select! {
            biased;
            sent = self.requests.send(request(reply)) => sent,
            () = self.ports.clock.sleep_until(until) => {
                return Err(unavailable("the leader's queue is full", false));
            }
        };
        if sent.is_err() {
            return Err(unavailable("the leader stopped", false));
        }
        tokio::select! {
            biased;
            answered = answer => {
                answered.unwrap_or_else(|_| Err(unavailable("the leader stopped", true)))
            }
            () = self.ports.clock.sleep_until(until) => {
                Err(unavailable("the leader did not answer in time", true))
            }
        }
    }
}

fn unavailable(reason: &str, may_have_happened: bool) -> MetadataError {
    MetadataError::Unavailable {
        reason: reason.to_owned(),
        may_have_happened,
    }
}

#[async_trait]
impl Metadata for LocalMetadata {
    async fn register(&self, request: RegisterRequest) -> Result<Registration, MetadataError> {
        self.call(|reply| Request::Register(request, reply)).await
    }

    async fn commits(&self, session: SessionId) -> Result<CommitChannel, MetadataError> {
        let (answers, to_agent) = mpsc::channel(ANSWERS);
        let opened = self
            .call(|reply| Request::OpenCommits {
                session,
                answers,
                reply,
            })
            .await?;
        let (calls, of_agent) = mpsc::channel(CALLS);
        let forward = forward_calls(self.requests.clone(), session, opened, of_agent);
        self.ports.tasks.spawn(forward);
        Ok(CommitChannel {
            calls,
            answers: to_agent,
        })
    }

    async fn locate(&self, request: LocateRequest) -> Result<LocateReply, MetadataError> {
        self.call(|reply| Request::Locate(request, reply)).await
    }

    async fn offsets(&self, request: OffsetsRequest) -> Result<OffsetsReply, MetadataError> {
        self.call(|reply| Request::Offsets(request, reply)).await
    }

    async fn barrier(&self) -> Result<(LeaderTerm, JournalSeq), MetadataError> {
        self.call(Request::Barrier).await
    }

    async fn live_objects(&self, objects: Vec<ObjectId>) -> Result<LiveObjects, MetadataError> {
        live::check(&objects)?;
        self.call(|reply| Request::LiveObjects(objects, reply))
            .await
    }

    async fn watch(
        &self,
        session: SessionId,
        seen: Option<JournalMark>,
    ) -> Result<WatchChannel, MetadataError> {
        let opened = self
            .call(|reply| Request::OpenWatch(session, seen, reply))
            .await?;
        let (interests, of_agent) = mpsc::channel(INTERESTS);
        let (to_agent, frames) = mpsc::channel(FRAMES);
        let forward = forward_watch(self.requests.clone(), opened, of_agent, to_agent);
        self.ports.tasks.spawn(forward);
        Ok(WatchChannel { interests, frames })
    }

    async fn kafka(&self, call: KafkaCall) -> Result<Bytes, MetadataError> {
        let timeout = if call.api.waits() {
            Duration::from_millis(u64::from(call.envelope.deadline_ms))
        } else {
            self.call_timeout
        };
        let call = Box::new(call);
        self.call_within(timeout, |reply| Request::Kafka(call, reply))
            .await
    }
}

/// Brings a stream's calls to the sequencer, until either side ends it.
async fn forward_calls(
    requests: mpsc::Sender<Request>,
    session: SessionId,
    opened: OpenedCommits,
    mut calls: mpsc::Receiver<CommitCall>,
) {
    let OpenedCommits { stream, broken } = opened;
    loop {
        let call = tokio::select! {
            biased;
            () = broken.cancelled() => return,
            call = calls.recv() => call,
        };
        let request = match call {
            Some(call) => Request::Call {
                session,
                stream,
                call,
            },
            None => {
                let gone = Request::CloseCommits { session, stream };
                // without a leader there is nothing to close
                let _ = requests.send(gone).await;
                return;
            }
        };
        tokio::select! {
            biased;
            () = broken.cancelled() => return,
            sent = requests.send(request) => if sent.is_err() { return },
        }
    }
}

/// Brings a watcher's frames to the agent and its interests to the sequencer.
async fn forward_watch(
    requests: mpsc::Sender<Request>,
    opened: OpenedWatch,
    mut interests: mpsc::Receiver<InterestChange>,
    to_agent: mpsc::Sender<Frame>,
) {
    let OpenedWatch {
        watcher,
        mut frames,
        queue,
    } = opened;
    let mut listening = true;
    let mut next: Option<Frame> = None;
    loop {
        tokio::select! {
            biased;
            () = to_agent.closed() => break,
            change = interests.recv(), if listening => match change {
                Some(change) => {
                    if requests.send(Request::Interest(watcher, change)).await.is_err() {
                        return;
                    }
                }
                None => listening = false,
            },
            frame = frames.recv(), if next.is_none() => match frame {
                Some(frame) => next = Some(frame),
                // cut, or the leader stopped
                None => break,
            },
            permit = to_agent.reserve(), if next.is_some() => {
                let Ok(permit) = permit else { break };
                if let Some(frame) = next.take() {
                    queue.leave(&frame);
                    permit.send(frame);
                }
            }
        }
    }
    // without a leader there is nothing to close
    let _ = requests.send(Request::CloseWatch(watcher)).await;
}
