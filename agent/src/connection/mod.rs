//! Kafka connections: frames in, answers out, in order.
//!
//! Only Produce overlaps Produce on a connection, and a Fetch, JoinGroup or SyncGroup waits beside them; any
//! other request is dispatched after the previous one that is no Produce was answered. Bad input ends the
//! connection after everything before it was answered.

mod answer;
mod end;
mod frame;
mod handle;
#[cfg(test)]
mod tests;
mod traffic;
pub mod zone;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use futures::future::BoxFuture;
use kafka_protocol::messages::ApiKey;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf},
    sync::{Semaphore, mpsc, oneshot},
};

pub(crate) use self::end::{End, EndLog};
use self::{
    answer::{Held, InFlight, Responder},
    end::Refusal,
    frame::{Frame, FrameReader, ReadError},
    traffic::Relation,
    zone::{ClientHints, ClientZone},
};
pub use self::{
    handle::{ConnectionHandle, ConnectionId},
    traffic::Traffic,
};
use crate::{
    api::{self, Close, RequestContext, versions::Served},
    broker::Broker,
    guard::{self, Header, HeaderStart},
};

/// Answers above this size (a description of all topics, say) wait until the one before was written, so
/// that a client that asks and does not read holds little memory.
const LARGE_ANSWER_BYTES: usize = 64 * 1024;

/// Serves a connection until it ends.
pub(crate) async fn serve<IO>(broker: Arc<Broker>, io: IO, node_index: u8, peer: SocketAddr) -> End
where
    IO: AsyncRead + AsyncWrite + Send + 'static,
{
    let handle = Arc::new(ConnectionHandle::new(broker.next_connection_id(), peer));
    handle.touch(broker.ports.clock.now());
    let (read, write) = tokio::io::split(io);
    let mut reader = FrameReader::new(read, broker.request_memory());
    let end = match first_frame(&broker, &handle, &mut reader).await {
        // Boxed, so that a connection that sends nothing stays small.
        Ok(frame) => Box::pin(run(&broker, &handle, node_index, reader, write, frame)).await,
        Err(end) => end,
    };
    handle.close();
    end
}

async fn first_frame<R: AsyncRead + Unpin>(
    broker: &Broker,
    handle: &ConnectionHandle,
    reader: &mut FrameReader<R>,
) -> Result<Frame, End> {
    let ports = &broker.ports;
    let wait_max = broker.settings.connections.first_request_max;
    tokio::select! {
        biased;
        () = broker.closing().cancelled() => Err(End::Drained),
        frame = ports.timeout(wait_max, reader.next(handle, ports)) => match frame {
            Some(frame) => frame.map_err(End::from),
            None => Err(End::Refused(Refusal::FirstRequestOverdue(wait_max))),
        },
    }
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => Self::ByPeer,
            ReadError::Io(error) => Self::Io(error),
            ReadError::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

async fn run<IO: AsyncRead + AsyncWrite + Send>(
    broker: &Arc<Broker>,
    handle: &Arc<ConnectionHandle>,
    node_index: u8,
    reader: FrameReader<ReadHalf<IO>>,
    write: WriteHalf<IO>,
    first: Frame,
) -> End {
    let (requests, answers) = mpsc::unbounded_channel();
    let dispatcher = Dispatcher::new(broker, handle, node_index, requests);
    let responder = Responder::new(write, handle, &*broker.ports.clock, broker.traffic());
    tokio::select! {
        biased;
        () = handle.closed() => End::Ordered,
        end = responder.run(answers) => end,
        end = dispatcher.run(reader, first) => end,
        () = idle(broker, handle) => End::Idle,
    }
}

/// Returns when no byte has moved for too long.
async fn idle(broker: &Broker, handle: &ConnectionHandle) {
    let idle_max = broker.settings.connections.idle_max;
    let clock = &broker.ports.clock;
    loop {
        let until = handle.active_at().plus(idle_max);
        if clock.now() >= until {
            return;
        }
        clock.sleep_until(until).await;
    }
}

/// Takes requests off a connection and starts them.
struct Dispatcher<'a> {
    broker: &'a Arc<Broker>,
    handle: &'a Arc<ConnectionHandle>,
    node_index: u8,
    requests: mpsc::UnboundedSender<InFlight>,
    /// Places for requests in flight.
    places: Arc<Semaphore>,
    /// Bytes of requests in flight.
    bytes: Arc<Semaphore>,
    /// The right to a large answer: one at a time.
    large: Arc<Semaphore>,
    /// The request that waits, if any; ends when it is done.
    waiting: Option<(ApiKey, oneshot::Receiver<()>)>,
    client_id: String,
    hints: ClientHints,
    zone: ClientZone,
    /// The length of the rack that `zone` reflects: it is named at most once.
    rack_chars: usize,
}

impl<'a> Dispatcher<'a> {
    fn new(
        broker: &'a Arc<Broker>,
        handle: &'a Arc<ConnectionHandle>,
        node_index: u8,
        requests: mpsc::UnboundedSender<InFlight>,
    ) -> Self {
        let limits = &broker.settings.connections;
        Self {
            broker,
            handle,
            node_index,
            requests,
            places: Arc::new(Semaphore::new(limits.requests_in_flight_max.max(1))),
            bytes: Arc::new(Semaphore::new(limits.request_bytes_in_flight_max.max(1))),
            large: Arc::new(Semaphore::new(1)),
            waiting: None,
            client_id: String::new(),
            hints: ClientHints::default(),
            zone: broker.zone_of(&ClientHints::default(), "", handle.peer().ip()),
            rack_chars: 0,
        }
    }

    /// Runs until the client closes the connection. Other ends are queued behind the answers.
    async fn run<R: AsyncRead + Unpin>(mut self, mut reader: FrameReader<R>, first: Frame) -> End {
        let broker = self.broker;
        let mut next = Ok(first);
        loop {
            let ended = match next {
                Ok(frame) => self.request(frame, &mut reader).await.err(),
                Err(ReadError::Refused(refusal)) => Some(End::Refused(refusal)),
                Err(error) => return error.into(),
            };
            if let Some(End::Drained) = ended {
                drop(self.requests);
                return std::future::pending().await;
            }
            if let Some(end) = ended {
                // The receiver lives as long as this future.
                let _ = self.requests.send(InFlight::end(end));
                return std::future::pending().await;
            }
            tokio::select! {
                biased;
                () = broker.closing().cancelled() => {
                    drop(self.requests);
                    return std::future::pending().await;
                }
                frame = reader.next(self.handle, &broker.ports) => next = frame,
            }
        }
    }

    async fn request<R: AsyncRead + Unpin>(
        &mut self,
        frame: Frame,
        reader: &mut FrameReader<R>,
    ) -> Result<(), End> {
        let short = Refusal::Malformed {
            api: "unknown",
            version: 0,
            error: guard::GuardError::Truncated { missing: 4 },
        };
        let start = HeaderStart::read(&frame.bytes).ok_or(End::Refused(short))?;
        let served = frame::served(start).map_err(End::Refused)?;
        let known = served.answers(start.api_version);
        let checked = if known {
            guard::check(&frame.bytes, served.shape, start.api_version)
        } else {
            // ApiVersions of an unknown version: only what all header versions share is read.
            Header::read(&frame.bytes, false)
        };
        let header = checked.map_err(|error| {
            End::Refused(Refusal::Malformed {
                api: served.shape.name,
                version: start.api_version,
                error,
            })
        })?;
        reader.first_was_valid();
        let context = self.context(&header);
        let relation = self.handle.relation();
        let received = frame.bytes.len() + size_of::<u32>();
        self.broker.traffic().received(relation, received);
        let mut held = self.hold(frame.bytes.len(), frame.memory).await;
        let answered_version = if known { header.api_version } else { 0 };
        let correlation_id = header.correlation_id;
        let body = frame.bytes.slice(header.body_at..);
        let answer = self.start(served, context, body, &mut held).await?;
        let _ = self.requests.send(InFlight {
            correlation_id,
            api: served.api,
            version: answered_version,
            awaited_at_drain: !waits(served.api),
            answer,
            held: Some(held),
        });
        Ok(())
    }

    fn context(&mut self, header: &Header<'_>) -> RequestContext {
        let client_id = header.client_id.unwrap_or_default();
        let rack = self.handle.rack();
        if client_id != self.client_id || rack.len() != self.rack_chars {
            client_id.clone_into(&mut self.client_id);
            self.hints = ClientHints::of(client_id);
            self.rack_chars = rack.len();
            let peer = self.handle.peer().ip();
            self.zone = self.broker.zone_of(&self.hints, rack, peer);
        }
        let own = &self.broker.settings.address.zone;
        self.handle.set_relation(Relation::of(&self.zone.name, own));
        RequestContext {
            connection: Arc::clone(self.handle),
            node_index: self.node_index,
            client_id: self.client_id.clone(),
            zone: self.zone.clone(),
            api_key: header.api_key,
            api_version: header.api_version,
            received: self.broker.ports.clock.now(),
        }
    }

    /// Waits until the connection may have one more request in flight.
    async fn hold(
        &self,
        frame_bytes: usize,
        memory: Option<tokio::sync::OwnedSemaphorePermit>,
    ) -> Held {
        let bytes_max = self.broker.settings.connections.request_bytes_in_flight_max;
        let bytes = u32::try_from(frame_bytes.min(bytes_max.max(1))).unwrap_or(u32::MAX);
        let open = "these semaphores are never closed";
        Held {
            _request: Arc::clone(&self.places).acquire_owned().await.expect(open),
            _bytes: Arc::clone(&self.bytes)
                .acquire_many_owned(bytes)
                .await
                .expect(open),
            _memory: memory,
            _large: None,
        }
    }

    /// Starts a request by the pipelining rule.
    async fn start(
        &mut self,
        served: &'static Served,
        context: RequestContext,
        body: bytes::Bytes,
        held: &mut Held,
    ) -> Result<BoxFuture<'static, Result<api::Reply, End>>, End> {
        let broker = Arc::clone(self.broker);
        let answer: BoxFuture<'static, Result<api::Reply, End>> = match served.api {
            ApiKey::Produce => Box::pin(api::start_produce(&broker, &context, body)).await,
            waiting if waits(waiting) => {
                self.waited().await?;
                let (done, when_done) = oneshot::channel::<()>();
                self.waiting = Some((waiting, when_done));
                // A fetch has bounds of its own; the answer to a group's leader lists every member.
                let large = (waiting != ApiKey::Fetch)
                    .then(|| (Arc::clone(&self.large), Arc::new(OnceLock::new())));
                held._large = large.as_ref().map(|(_, right)| Arc::clone(right));
                Box::pin(async move {
                    let reply = Box::pin(api::handle(&broker, &context, waiting, body)).await;
                    if let (true, Some((large, right))) = (is_large(&reply), large) {
                        let acquired = large.acquire_owned().await;
                        // Set once, here.
                        let _ = right.set(acquired.expect("it is never closed"));
                    }
                    drop(done);
                    reply.map_err(End::Handler)
                })
            }
            other => {
                self.waited().await?;
                let reply = Box::pin(api::handle(&broker, &context, other, body)).await;
                if is_large(&reply) {
                    let large = Arc::clone(&self.large).acquire_owned();
                    let right = large.await.expect("it is never closed");
                    held._large = Some(Arc::new(OnceLock::from(right)));
                }
                Box::pin(std::future::ready(reply.map_err(End::Handler)))
            }
        };
        Ok(answer)
    }

    /// Waits until the request that waits is done. A stopping agent waits for a fetch, which is soon over, but
    /// for no member of a group: what was sent behind it is not taken then.
    async fn waited(&mut self) -> Result<(), End> {
        let Some((api, done)) = self.waiting.take() else {
            return Ok(());
        };
        // Dropped without a value when it is done.
        if api == ApiKey::Fetch {
            let _ = done.await;
            return Ok(());
        }
        tokio::select! {
            biased;
            _ = done => Ok(()),
            () = self.broker.closing().cancelled() => Err(End::Drained),
        }
    }
}

/// Whether requests wait for something that happens elsewhere: new data, or the other members of a group. A
/// stopping agent does not wait for them.
fn waits(api: ApiKey) -> bool {
    matches!(api, ApiKey::Fetch | ApiKey::JoinGroup | ApiKey::SyncGroup)
}

fn is_large(reply: &Result<api::Reply, Close>) -> bool {
    let reply = reply.as_ref();
    reply.is_ok_and(|reply| reply.bytes() > LARGE_ANSWER_BYTES)
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Handler(close)
    }
}
