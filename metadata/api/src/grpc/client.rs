//! The client trait over the wire.

use std::{future::Future, sync::Arc, time::Duration};

use aquifer_format::{
    ids::{JournalSeq, LeaderTerm, ObjectId, SessionId},
    limits::METADATA_REQUEST_BYTES_MAX,
};
use aquifer_store::{Monotonic, Ports};
use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use tonic::{Response, Status};

use super::{
    GrpcSettings,
    connection::{Connection, TermsSeen},
    finder::Finder,
    proto,
    status::{Failure, failure_of},
    streams, wire,
};
mod upkeep;

use crate::{
    client::{CommitChannel, Metadata, WatchChannel},
    error::MetadataError,
    kafka::KafkaCall,
    live::LiveObjects,
    locate::{LocateReply, LocateRequest, OffsetsReply, OffsetsRequest},
    mark::JournalMark,
    register::{RegisterRequest, Registration},
};

/// First pause before a call is made again, doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Longest one.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Whether a call that may have happened can be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// It changes nothing, or nothing more.
    Always,
    /// Only where it surely did not happen.
    IfNotHappened,
}

/// The client of the metadata service over the network.
#[derive(Debug)]
pub struct GrpcMetadata {
    ports: Ports,
    settings: Arc<GrpcSettings>,
    finder: Finder,
    /// For calls that the leader lets wait, on a connection of their own: thousands of them take no places
    /// for streams away from the calls that do not.
    waiting: Finder,
}

impl GrpcMetadata {
    /// A client. It connects with its first call, and once more with the first that waits.
    #[must_use]
    pub fn new(ports: Ports, settings: GrpcSettings) -> Self {
        let settings = Arc::new(settings);
        let terms = TermsSeen::default();
        let finder = || Finder::new(ports.clone(), Arc::clone(&settings), terms.clone());
        Self {
            finder: finder(),
            waiting: finder(),
            ports,
            settings,
        }
    }

    /// Makes a call at the leader, whoever that is, and again while that is harmless and there is time.
    async fn call<T, F>(
        &self,
        repeat: Repeat,
        timeout: Duration,
        make: impl FnMut(Connection) -> F,
    ) -> Result<T, MetadataError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.call_over(&self.finder, repeat, timeout, make).await
    }

    /// The same on the connection of one finder.
    async fn call_over<T, F>(
        &self,
        finder: &Finder,
        repeat: Repeat,
        timeout: Duration,
        mut make: impl FnMut(Connection) -> F,
    ) -> Result<T, MetadataError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let until = self.ports.clock.now().plus(timeout);
        let mut pause = PAUSE_MIN;
        loop {
            let found = self.until(until, finder.leader()).await;
            let connection = found.unwrap_or_else(|| Err(finder.in_vain()))?;
            let made = self.until(until, make(connection.clone())).await;
            let status = match made {
                Some(Ok(value)) => return Ok(value),
                Some(Err(status)) => status,
                None => {
                    let reason = format!("{} did not answer in time", connection.endpoint());
                    return Err(unavailable(reason, true));
                }
            };
            let error = match failure_of(&status) {
                Failure::NotLeader { leader, reason } => {
                    connection.retire(leader);
                    unavailable(
                        format!("{} does not lead {reason}", connection.endpoint()),
                        false,
                    )
                }
                Failure::Error(error) => error,
            };
            if let MetadataError::Unavailable { .. } | MetadataError::LostRows { .. } = error {
                // another process may lead by the next call
                connection.retire(None);
            }
            let MetadataError::Unavailable {
                may_have_happened, ..
            } = &error
            else {
                return Err(error);
            };
            let again = repeat == Repeat::Always || !may_have_happened;
            if !again || self.ports.clock.now().plus(pause) >= until {
                return Err(error);
            }
            self.ports.sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn until<F: Future>(&self, until: Monotonic, future: F) -> Option<F::Output> {
        let left = until.since(self.ports.clock.now());
        self.ports.timeout(left, future).await
    }

    /// A call whose answer is read; one that cannot be read is refused.
    async fn ask<Q, A, T, F>(
        &self,
        repeat: Repeat,
        request: &Q,
        make: impl Fn(Connection, Q) -> F,
        read: impl Fn(A) -> Result<T, wire::Malformed>,
    ) -> Result<T, MetadataError>
    where
        Q: Clone + Message,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        fits(request)?;
        let timeout = self.settings.call_timeout;
        let made = |connection| make(connection, request.clone());
        let answer = self.call(repeat, timeout, made).await?;
        Ok(read(answer.into_inner())?)
    }
}

/// Refuses a message that the leader would not take (one that is cut off by a library looks like a lost
/// connection, and would be made again).
fn fits(request: &impl Message) -> Result<(), MetadataError> {
    let bytes = request.encoded_len();
    if bytes <= METADATA_REQUEST_BYTES_MAX {
        return Ok(());
    }
    Err(MetadataError::Refused {
        reason: format!("the call takes {bytes} bytes, more than {METADATA_REQUEST_BYTES_MAX}"),
    })
}

fn unavailable(reason: String, may_have_happened: bool) -> MetadataError {
    MetadataError::Unavailable {
        reason,
        may_have_happened,
    }
}

#[async_trait]
impl Metadata for GrpcMetadata {
    async fn register(&self, request: RegisterRequest) -> Result<Registration, MetadataError> {
        self.ask(
            Repeat::IfNotHappened,
            &wire::register_to(&request),
            |connection, request| async move { connection.client().register(request).await },
            |reply| wire::registration_from(&reply),
        )
        .await
    }

    async fn commits(&self, session: SessionId) -> Result<CommitChannel, MetadataError> {
        let timeout = self.settings.call_timeout;
        let make = |connection: Connection| async move {
            streams::commits(&self.ports, &connection, streams::open_commits(session)).await
        };
        self.call(Repeat::Always, timeout, make).await
    }

    async fn locate(&self, request: LocateRequest) -> Result<LocateReply, MetadataError> {
        self.ask(
            Repeat::Always,
            &wire::locate_to(&request),
            |connection, request| async move { connection.client().locate(request).await },
            wire::locate_reply_from,
        )
        .await
    }

    async fn offsets(&self, request: OffsetsRequest) -> Result<OffsetsReply, MetadataError> {
        self.ask(
            Repeat::Always,
            &wire::offsets_to(&request),
            |connection, request| async move { connection.client().offsets(request).await },
            wire::offsets_reply_from,
        )
        .await
    }

    async fn barrier(&self) -> Result<(LeaderTerm, JournalSeq), MetadataError> {
        self.ask(
            Repeat::Always,
            &proto::BarrierRequest {},
            |connection, request| async move { connection.client().barrier(request).await },
            |reply| Ok((LeaderTerm(reply.term), JournalSeq(reply.seq))),
        )
        .await
    }

    async fn live_objects(&self, objects: Vec<ObjectId>) -> Result<LiveObjects, MetadataError> {
        crate::live::check(&objects)?;
        self.ask(
            Repeat::Always,
            &wire::live_to(&objects),
            |connection, request| async move { connection.client().live_objects(request).await },
            |reply| wire::live_reply_from(reply, objects.len()),
        )
        .await
    }

    async fn watch(
        &self,
        session: SessionId,
        seen: Option<JournalMark>,
    ) -> Result<WatchChannel, MetadataError> {
        let timeout = self.settings.call_timeout;
        let make = |connection: Connection| async move {
            streams::watch(&self.ports, &connection, wire::open_watch_to(session, seen)).await
        };
        self.call(Repeat::Always, timeout, make).await
    }

    async fn kafka(&self, call: KafkaCall) -> Result<Bytes, MetadataError> {
        let timeout = match call.envelope.deadline_ms {
            ms if call.api.waits() => Duration::from_millis(u64::from(ms)),
            0 => self.settings.call_timeout,
            ms => Duration::from_millis(u64::from(ms)).min(self.settings.call_timeout),
        };
        let request = wire::kafka_to(&call);
        fits(&request)?;
        let make = |connection: Connection| {
            let request = request.clone();
            async move { connection.client().kafka(request).await }
        };
        let repeat = if call.api.repeats() {
            Repeat::Always
        } else {
            Repeat::IfNotHappened
        };
        let finder = if call.api.waits() {
            &self.waiting
        } else {
            &self.finder
        };
        let answer = self.call_over(finder, repeat, timeout, make).await?;
        Ok(answer.into_inner().body)
    }
}
