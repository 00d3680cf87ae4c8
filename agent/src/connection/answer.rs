//! Writing answers: in the order of the requests, several in one vectored write where they are ready.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{Arc, OnceLock},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesOrdered};
use kafka_protocol::messages::ApiKey;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, mpsc},
};

use super::{ConnectionHandle, end::End, traffic::Traffic};
use crate::api::{Close, Reply};
use aquifer_store::Clock;

/// Answers that are ready are gathered up to this size before they are written.
const GATHER_BYTES: usize = 1024 * 1024;
/// Pieces per vectored write (Linux takes up to 1,024).
const SLICES_MAX: usize = 64;

/// What a request still holds while it waits for its answer.
#[derive(Debug)]
pub(super) struct Held {
    /// Its place among the connection's requests.
    pub(super) _request: OwnedSemaphorePermit,
    /// Its share of the connection's bytes.
    pub(super) _bytes: OwnedSemaphorePermit,
    /// Its share of all connections' memory.
    pub(super) _memory: Option<OwnedSemaphorePermit>,
    /// The connection's right to a large answer, where the answer is one.
    pub(super) _large: Option<Arc<OnceLock<OwnedSemaphorePermit>>>,
}

/// A request on its way.
pub(super) struct InFlight {
    /// Response header.
    pub(super) correlation_id: i32,
    /// The API, for the response header's version.
    pub(super) api: ApiKey,
    /// The version of the request (0 where a v0 body answers an unknown ApiVersions version).
    pub(super) version: i16,
    /// True = a stopping agent waits for its answer (not so for what waits for others).
    pub(super) awaited_at_drain: bool,
    /// The answer.
    pub(super) answer: BoxFuture<'static, Result<Reply, End>>,
    /// Released when the answer was written; None for what is no request.
    pub(super) held: Option<Held>,
}

struct Answered {
    correlation_id: i32,
    flexible_header: bool,
    awaited_at_drain: bool,
    reply: Result<Reply, End>,
    held: Option<Held>,
}

impl InFlight {
    /// Ends the connection, once everything before it was answered.
    pub(super) fn end(end: End) -> Self {
        Self {
            correlation_id: 0,
            api: ApiKey::ApiVersions,
            version: 0,
            awaited_at_drain: false,
            answer: Box::pin(std::future::ready(Err(end))),
            held: None,
        }
    }

    async fn answered(self) -> Answered {
        Answered {
            correlation_id: self.correlation_id,
            flexible_header: self.api.response_header_version(self.version) >= 1,
            awaited_at_drain: self.awaited_at_drain,
            reply: self.answer.await,
            held: self.held,
        }
    }
}

/// Writes answers until the connection ends.
pub(super) struct Responder<'a, W> {
    pub(super) io: W,
    pub(super) handle: &'a ConnectionHandle,
    pub(super) clock: &'a dyn Clock,
    traffic: &'a Traffic,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    held: Vec<Option<Held>>,
    awaited: usize,
    draining: bool,
}

impl<'a, W: AsyncWrite + Unpin> Responder<'a, W> {
    pub(super) fn new(
        io: W,
        handle: &'a ConnectionHandle,
        clock: &'a dyn Clock,
        traffic: &'a Traffic,
    ) -> Self {
        Self {
            io,
            handle,
            clock,
            traffic,
            output: VecDeque::new(),
            output_bytes: 0,
            held: Vec::new(),
            awaited: 0,
            draining: false,
        }
    }

    /// Runs until the connection ends. When `requests` is closed the agent is stopping: it ends once
    /// nothing that has to be answered is left.
    pub(super) async fn run(mut self, mut requests: mpsc::UnboundedReceiver<InFlight>) -> End {
        let mut waiting = FuturesOrdered::new();
        loop {
            if self.draining && self.awaited == 0 {
                return End::Drained;
            }
            tokio::select! {
                biased;
                Some(answered) = waiting.next(), if !waiting.is_empty() => {
                    let mut end = self.take(answered);
                    while end.is_none() && self.output_bytes < GATHER_BYTES {
                        match waiting.next().now_or_never() {
                            Some(Some(answered)) => end = self.take(answered),
                            _ => break,
                        }
                    }
                    if let Err(error) = self.write().await {
                        return End::Io(error);
                    }
                    if let Some(end) = end {
                        return end;
                    }
                }
                request = requests.recv(), if !self.draining => match request {
                    Some(request) => {
                        self.awaited += usize::from(request.awaited_at_drain);
                        waiting.push_back(request.answered());
                    }
                    None => self.draining = true,
                },
            }
        }
    }

    fn take(&mut self, answered: Answered) -> Option<End> {
        self.awaited -= usize::from(answered.awaited_at_drain);
        let end = match answered.reply {
            Ok(Reply::Body(body)) => {
                self.push(answered.correlation_id, answered.flexible_header, body)
            }
            Ok(Reply::Nothing) => None,
            Err(end) => Some(end),
        };
        self.held.push(answered.held);
        end
    }

    fn push(&mut self, correlation_id: i32, flexible: bool, body: Vec<Bytes>) -> Option<End> {
        let body_bytes: usize = body.iter().map(Bytes::len).sum();
        let Ok(length) = i32::try_from(4 + usize::from(flexible) + body_bytes) else {
            let reason = format!("it has {body_bytes} bytes");
            return Some(End::Handler(Close::Unencodable { reason }));
        };
        let mut header = BytesMut::with_capacity(9);
        header.put_i32(length);
        header.put_i32(correlation_id);
        if flexible {
            header.put_u8(0); // no tagged fields
        }
        self.output_bytes += header.len() + body_bytes;
        self.output.push_back(header.freeze());
        self.output
            .extend(body.into_iter().filter(|b| !b.is_empty()));
        None
    }

    async fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.output) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            let written = self.io.write_vectored(&slices[..count]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.handle.touch(self.clock.now());
            self.traffic.sent(self.handle.relation(), written);
            advance(&mut self.output, written);
        }
        self.output_bytes = 0;
        self.held.clear();
        Ok(())
    }
}

fn advance(output: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(front) = output.front_mut() {
        if front.len() > written {
            front.advance(written);
            return;
        }
        written -= front.len();
        output.pop_front();
    }
}
