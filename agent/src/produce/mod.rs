//! The produce path: batches of all connections are collected in one buffer, the buffer becomes an
//! object in the bucket, the object is committed, and the requests are answered.
//!
//! Invariant: a batch is acknowledged only after its object is in the bucket and its place in the log
//! is durable at the metadata leader.
//!
//! Invariant: of one (connection, partition), batches reach the leader in the order in which they
//! arrived.

mod buffer;
mod commits;
mod flights;
mod metrics;
pub mod policy;
mod requests;
pub mod settings;
mod stream;
mod upload;
pub(crate) mod validate;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll},
};

use aquifer_format::{batch::RecordBatch, block::BlockCompression, ids::PartitionId};
use aquifer_metadata_api::Metadata;
use aquifer_store::{Monotonic, ObjectStore, Ports};
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::{
    requests::RequestResult,
    settings::FlushSettings,
    stream::CommitStream,
    upload::Uploader,
    writer::{Incoming, Writer, WriterParts},
};
pub use self::{
    requests::{BatchResult, SessionEnded},
    settings::ProduceSettings,
    upload::{CurrentEpoch, OnUpload, UploadedRun},
};
use crate::{connection::ConnectionHandle, session::AgentSession};

/// A validated batch and where it goes.
#[derive(Clone, Debug)]
pub struct ProduceBatch {
    /// The partition.
    pub partition: PartitionId,
    /// The batch.
    pub batch: RecordBatch,
}

/// What the produce path needs of the agent.
pub struct ProduceParts {
    /// Time, randomness, tasks.
    pub ports: Ports,
    /// The metadata service.
    pub metadata: Arc<dyn Metadata>,
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// The registration.
    pub session: Arc<AgentSession>,
    /// The upload epoch, as the view knows it.
    pub epoch: CurrentEpoch,
    /// Is given each object that was uploaded (the fetch cache).
    pub on_upload: OnUpload,
    /// Settings.
    pub settings: ProduceSettings,
}

/// The produce path of an agent.
pub struct ProducePath {
    ports: Ports,
    settings: ProduceSettings,
    incoming: mpsc::UnboundedSender<Incoming>,
    bytes: Arc<Semaphore>,
}

impl fmt::Debug for ProducePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducePath")
            .field("bytes_left", &self.bytes.available_permits())
            .finish_non_exhaustive()
    }
}

impl ProducePath {
    /// Starts the produce path.
    #[must_use]
    pub fn start(parts: ProduceParts) -> Arc<Self> {
        let ProduceParts {
            ports,
            metadata,
            store,
            session,
            epoch,
            on_upload,
            settings,
        } = parts;
        let flush = settings.flush.unwrap_or_else(|| {
            if store.priced_per_request() {
                FlushSettings::priced()
            } else {
                FlushSettings::unpriced()
            }
        });
        let (incoming, requests) = mpsc::unbounded_channel();
        let stream = CommitStream::new(metadata, ports.clone(), session.registration().session);
        let uploader = Uploader {
            store,
            compression: settings
                .block_compression_level
                .map_or(BlockCompression::Off, |level| BlockCompression::Zstd {
                    level,
                }),
            compute: settings.compute,
            settings: settings.upload,
            epoch,
            on_upload,
            next_unique: AtomicU64::new(ports.rand.next_u64()),
            ports: ports.clone(),
        };
        let writer = Writer::new(WriterParts {
            ports: ports.clone(),
            session,
            stream,
            uploader,
            incoming: requests,
            flush,
            uploads_max: settings.uploads_in_flight_max,
            requests_per_connection: settings.requests_per_connection,
        });
        ports.tasks.spawn(writer.run());
        Arc::new(Self {
            bytes: Arc::new(Semaphore::new(usize_of(settings.bytes_in_flight_max))),
            ports,
            settings,
            incoming,
        })
    }

    /// Takes a request's batches, in the order of calls; returns once they are in the buffer, which
    /// takes as long as the agent's bound on bytes is used up. Those who wait are served in turn, and
    /// a connection waits with one request at a time: a busy one starves nobody.
    ///
    /// A request that cannot get in before its deadline is answered [`BatchResult::NotStored`].
    pub async fn accept(
        &self,
        connection: &Arc<ConnectionHandle>,
        batches: Vec<ProduceBatch>,
        deadline: Monotonic,
    ) -> Pending {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { answer };
        if batches.is_empty() {
            let _ = reply.send(Ok(Vec::new()));
            return pending;
        }
        let bytes = batches.iter().map(|b| b.batch.bytes.len()).sum::<usize>();
        let permits = u32::try_from(bytes)
            .unwrap_or(u32::MAX)
            .min(self.settings.bytes_in_flight_max);
        let permit = tokio::select! {
            biased;
            permit = Arc::clone(&self.bytes).acquire_many_owned(permits) => permit.ok(),
            () = self.ports.clock.sleep_until(deadline) => None,
            () = connection.closed() => None,
        };
        let Some(permit) = permit else {
            let _ = reply.send(Ok(vec![BatchResult::NotStored; batches.len()]));
            return pending;
        };
        let connection = Arc::clone(connection);
        // Fails only when the node's tasks have ended; then nobody waits for the answer.
        let _ = self.incoming.send(Incoming {
            connection,
            batches,
            deadline,
            permit,
            reply,
        });
        pending
    }

    /// Bytes that may still be accepted.
    #[must_use]
    pub fn bytes_left(&self) -> usize {
        self.bytes.available_permits()
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &ProduceSettings {
        &self.settings
    }
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A request that was accepted. A future of what became of each of its batches, in their order; the
/// error says that the connection is to be closed without an answer.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<RequestResult>,
}

impl Future for Pending {
    type Output = Result<Vec<BatchResult>, SessionEnded>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The writer is gone only when the node's tasks have ended: the same to the client.
        Pin::new(&mut self.answer)
            .poll(context)
            .map(|result| result.unwrap_or(Err(SessionEnded)))
    }
}
