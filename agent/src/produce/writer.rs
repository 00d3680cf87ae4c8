//! The one task that owns the open buffer, the flushes under way and the commits: it decides, others
//! do the waiting.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_metadata_api::{
    commit::{BatchOutcome, CommitAnswer},
    register::Registration,
};
use aquifer_store::{Monotonic, Ports};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::{
    ProduceBatch,
    buffer::{Buffered, OpenBuffer, Sealed},
    commits::{Commits, Upload},
    flights::{FlightId, Flights},
    metrics,
    policy::{FlushDecision, FlushPolicy, FlushReason, Tokens},
    requests::{BatchResult, BatchTag, RequestId, RequestResult, Requests},
    settings::FlushSettings,
    stream::{CommitStream, StreamEvent},
    upload::{UploadError, Uploader},
};
use crate::{connection::ConnectionHandle, session::AgentSession};

/// Requests taken in at one go, so that a burst is one flush and not many.
const REQUESTS_AT_ONCE: usize = 256;

/// A request on its way into the buffer.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) connection: Arc<ConnectionHandle>,
    pub(super) batches: Vec<ProduceBatch>,
    pub(super) deadline: Monotonic,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) reply: oneshot::Sender<RequestResult>,
}

type UploadDone = (FlightId, Result<Upload, UploadError>);

/// What the task waits for.
#[derive(Debug)]
enum Event {
    Stream(StreamEvent),
    Upload(UploadDone),
    Registration,
    Request(Box<Incoming>),
    Timer,
    /// Nobody can send a request any more.
    End,
}

/// The task's state.
#[derive(Debug)]
pub(super) struct Writer {
    ports: Ports,
    session: Arc<AgentSession>,
    registrations: watch::Receiver<Registration>,
    registration: Arc<Registration>,
    incoming: mpsc::UnboundedReceiver<Incoming>,
    uploads: (
        mpsc::UnboundedSender<UploadDone>,
        mpsc::UnboundedReceiver<UploadDone>,
    ),
    uploads_max: usize,
    uploader: Arc<Uploader>,
    policy: FlushPolicy,
    tokens: Tokens,
    buffer: OpenBuffer,
    requests: Requests,
    flights: Flights<(FlightId, Upload)>,
    /// The requests of each flush that has not been committed.
    sealed: BTreeMap<FlightId, Vec<RequestId>>,
    commits: Commits,
    stream: CommitStream,
    /// When the flush policy wants to be asked again.
    flush_at: Option<Monotonic>,
    /// Nobody can send a request any more.
    ended: bool,
}

/// What a writer is made of.
pub(super) struct WriterParts {
    pub(super) ports: Ports,
    pub(super) session: Arc<AgentSession>,
    pub(super) stream: CommitStream,
    pub(super) uploader: Uploader,
    pub(super) incoming: mpsc::UnboundedReceiver<Incoming>,
    pub(super) flush: FlushSettings,
    pub(super) uploads_max: usize,
    pub(super) requests_per_connection: usize,
}

impl Writer {
    pub(super) fn new(parts: WriterParts) -> Self {
        let mut registrations = parts.session.subscribe();
        let registration = Arc::new(registrations.borrow_and_update().clone());
        let now = parts.ports.clock.now();
        Self {
            ports: parts.ports,
            session: parts.session,
            registrations,
            registration,
            incoming: parts.incoming,
            uploads: mpsc::unbounded_channel(),
            uploads_max: parts.uploads_max.max(1),
            uploader: Arc::new(parts.uploader),
            policy: FlushPolicy::new(parts.flush),
            tokens: Tokens::new(parts.flush.budget, now),
            buffer: OpenBuffer::default(),
            requests: Requests::new(parts.requests_per_connection),
            flights: Flights::new(),
            sealed: BTreeMap::new(),
            commits: Commits::default(),
            stream: parts.stream,
            flush_at: None,
            ended: false,
        }
    }

    /// Runs until nobody can send a request any more and all are answered.
    pub(super) async fn run(mut self) {
        while !self.ended || self.requests.len() > 0 {
            let event = self.next().await;
            self.handle(event);
            self.flush();
            metrics::under_way(self.requests.len(), self.flights.len(), self.commits.len());
        }
    }

    async fn next(&mut self) -> Event {
        let timer = [self.flush_at, self.requests.next_deadline()]
            .into_iter()
            .flatten()
            .min();
        let clock = &self.ports.clock;
        let sleep = async {
            match timer {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let sending = self.commits.has_outgoing();
        tokio::select! {
            biased;
            event = self.stream.next(self.registration.session, sending) => Event::Stream(event),
            Some(done) = self.uploads.1.recv() => Event::Upload(done),
            Ok(()) = self.registrations.changed() => Event::Registration,
            () = sleep => Event::Timer,
            request = self.incoming.recv(), if !self.ended => match request {
                Some(request) => Event::Request(Box::new(request)),
                None => Event::End,
            },
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.ports.clock.now();
        match event {
            Event::Stream(event) => self.on_stream(event, now),
            Event::Upload((flight, result)) => self.on_upload(flight, result, now),
            Event::Registration => self.on_registration(),
            Event::Request(request) => self.on_requests(*request, now),
            Event::Timer => {
                let expired = self.requests.expire(now);
                if expired > 0 {
                    metrics::timed_out(expired);
                    tracing::warn!(
                        requests = expired,
                        "produce requests were answered REQUEST_TIMED_OUT; their outcome is unknown"
                    );
                }
            }
            Event::End => self.ended = true,
        }
    }

    fn on_stream(&mut self, event: StreamEvent, now: Monotonic) {
        match event {
            StreamEvent::Opened => {
                metrics::stream_opened();
                self.commits.resend_all();
            }
            StreamEvent::Ready => {
                if let Some(call) = self.commits.pop_outgoing() {
                    self.stream.send(call);
                }
            }
            StreamEvent::Answer(answer) => self.on_answer(&answer, now),
            StreamEvent::Broke(reason) => {
                tracing::warn!(%reason, unanswered = self.commits.len(), "the commit stream broke");
            }
            StreamEvent::SessionLost(error) => {
                tracing::warn!(%error, "the commit session cannot go on");
                self.session.report_lost(self.registration.session);
            }
        }
    }

    fn on_answer(&mut self, answer: &CommitAnswer, now: Monotonic) {
        let answers = self.commits.answer(answer);
        if let Some(numbered_at) = answers.complete {
            metrics::committed(now.since(numbered_at));
        }
        let mut connections = Vec::new();
        for (tag, batch, outcome) in answers.outcomes {
            connections.extend(self.requests.connection_of(tag.request));
            let result = match outcome {
                BatchOutcome::Appended(placement) | BatchOutcome::Duplicate(placement) => {
                    BatchResult::Placed(placement)
                }
                BatchOutcome::Rejected(rejection) => BatchResult::Rejected(rejection),
                BatchOutcome::Held => {
                    self.requests.hold(tag, batch);
                    continue;
                }
            };
            if let Some(answered) = self.requests.decide(tag, result) {
                metrics::acked(now.since(answered.accepted));
            }
        }
        connections.sort_unstable();
        connections.dedup();
        for connection in connections {
            let holds = self.requests.holds_to_release(connection);
            if !holds.is_empty() {
                self.commits.release_holds(holds);
            }
        }
    }

    fn on_upload(&mut self, flight: FlightId, result: Result<Upload, UploadError>, now: Monotonic) {
        let ready = match result {
            Ok(upload) => self.flights.uploaded(flight, (flight, upload)),
            Err(error) => {
                metrics::flush_failed();
                tracing::error!(%error, "a flush failed; its requests are answered with a retriable error");
                for request in self.sealed.remove(&flight).unwrap_or_default() {
                    self.requests.answer(request, BatchResult::NotStored);
                }
                self.flights.failed(flight)
            }
        };
        for (flight, upload) in ready {
            self.sealed.remove(&flight);
            metrics::ordered(now.since(upload.uploaded_at));
            self.commits.push(upload, now);
        }
    }

    /// The agent registered anew. What was sent under the old session has an unknown outcome: its
    /// clients find out by asking again on a new connection. What was not sent is surely not in the
    /// log.
    fn on_registration(&mut self) {
        let registration = self.registrations.borrow_and_update().clone();
        if registration.session == self.registration.session {
            return;
        }
        let ended = self.commits.end_session();
        tracing::warn!(
            requests = ended.unknown.len(),
            "a new commit session: closing the connections of requests whose outcome is unknown"
        );
        for request in ended.unknown {
            self.requests.close(request);
        }
        self.flights.clear();
        let sealed = std::mem::take(&mut self.sealed).into_values().flatten();
        for request in ended.not_sent.into_iter().chain(sealed) {
            self.requests.answer(request, BatchResult::NotCommitted);
        }
        self.stream.restart(registration.session);
        self.registration = Arc::new(registration);
    }

    fn on_requests(&mut self, first: Incoming, now: Monotonic) {
        let mut next = Some(first);
        for _ in 0..REQUESTS_AT_ONCE {
            let Some(incoming) = next else { break };
            self.append(incoming, now);
            if self.decision(now) == Some(FlushDecision::Seal(FlushReason::Bytes)) {
                self.seal(FlushReason::Bytes, now);
            }
            next = self.incoming.try_recv().ok();
        }
        if let Some(incoming) = next {
            self.append(incoming, now);
        }
    }

    fn append(&mut self, incoming: Incoming, now: Monotonic) {
        let connection = incoming.connection.id();
        let batches = incoming.batches.len();
        let request = self.requests.insert(
            incoming.connection,
            batches,
            now,
            incoming.deadline,
            incoming.reply,
        );
        let mut bytes = 0;
        for (index, ProduceBatch { partition, batch }) in incoming.batches.into_iter().enumerate() {
            bytes += u64::try_from(batch.bytes.len()).expect("lengths fit 64 bits");
            let tag = BatchTag { request, index };
            self.buffer
                .append(connection, partition, Buffered { tag, batch }, now);
        }
        self.buffer.hold(incoming.permit);
        metrics::accepted(batches, bytes);
        if self.requests.window_is_full(connection) {
            self.buffer.note_full_window();
        }
    }

    fn decision(&self, now: Monotonic) -> Option<FlushDecision> {
        let state = self.buffer.state()?;
        Some(self.policy.decide(now, &state, &self.tokens))
    }

    /// Seals the buffer if it is time, else notes when it will be. Past the most uploads at one time
    /// only a full buffer is sealed: the others grow meanwhile.
    fn flush(&mut self) {
        let now = self.ports.clock.now();
        self.flush_at = match self.decision(now) {
            Some(FlushDecision::Seal(reason)) => {
                let room = self.flights.uploading() < self.uploads_max;
                if room || reason == FlushReason::Bytes {
                    self.seal(reason, now);
                }
                None
            }
            Some(FlushDecision::Wait(at)) => Some(at),
            None => None,
        };
    }

    fn seal(&mut self, reason: FlushReason, now: Monotonic) {
        let Some(sealed) = self.buffer.seal(reason, now) else {
            return;
        };
        metrics::sealed(&sealed);
        let Sealed { contents, .. } = sealed;
        self.tokens.take(now, contents.bytes);
        let flight = self.flights.insert(contents.keys);
        let mut requests: Vec<_> = contents
            .runs
            .values()
            .flatten()
            .map(|batch| batch.tag.request)
            .collect();
        requests.sort_unstable();
        requests.dedup();
        self.sealed.insert(flight, requests);
        let uploader = Arc::clone(&self.uploader);
        let registration = Arc::clone(&self.registration);
        let done = self.uploads.0.clone();
        let (runs, permit) = (contents.runs, contents.permit);
        self.ports.tasks.spawn(async move {
            let result = uploader.upload(&registration, runs).await;
            drop(permit);
            // The writer is gone only when the node's tasks have ended.
            let _ = done.send((flight, result));
        });
    }
}
