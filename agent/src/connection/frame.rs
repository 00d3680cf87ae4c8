//! Reading length-prefixed frames, with buffers that grow as bytes arrive: an announced length alone
//! never takes memory.

use std::{io, sync::Arc, time::Duration};

use aquifer_format::limits::{
    FIRST_REQUEST_BYTES_MAX, REQUEST_BYTES_MAX, REQUEST_BYTES_MAX_WITHOUT_RECORDS,
};
use aquifer_store::Ports;
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{ConnectionHandle, end::Refusal};
use crate::{
    api::versions::{self, Served, wire_key},
    guard::HeaderStart,
};

/// Buffer of a connection that waits for its first request: an ApiVersions request fits.
const WAITING_BYTES_FIRST: usize = 128;
/// Buffer of a connection that waits for a later request: most requests other than Produce fit.
const WAITING_BYTES: usize = 512;
/// Least growth of the buffer of a frame that does not fit, before the first valid request.
const GROWTH_BYTES_FIRST: usize = 4 * 1024;
/// The same for later frames: the size of a socket's receive buffer or so.
const GROWTH_BYTES: usize = 64 * 1024;
/// A buffer of a later frame grows by this many times what has arrived: a large Produce request is
/// moved once or twice while it arrives, not at each doubling (that was a quarter of the CPU time of
/// taking 1 MB batches), and who announces much and sends little still holds little memory.
const GROWTH_FACTOR: usize = 8;
/// Bytes of the length prefix.
const PREFIX_BYTES: usize = 4;
/// How long a frame waits for memory that other requests hold.
const MEMORY_WAIT_MAX: Duration = Duration::from_secs(10);

/// A whole frame without its length prefix.
#[derive(Debug)]
pub(super) struct Frame {
    /// Header and body.
    pub(super) bytes: Bytes,
    /// Its share of the memory for requests; None for small frames.
    pub(super) memory: Option<OwnedSemaphorePermit>,
}

/// Why there is no further frame.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The client closed the connection between two frames.
    Closed,
    /// The connection broke.
    Io(io::Error),
    /// What the client sends is not acceptable.
    Refused(Refusal),
}

impl From<Refusal> for ReadError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Reads frames off a connection.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    io: R,
    buffer: BytesMut,
    memory: Option<OwnedSemaphorePermit>,
    budget: Arc<Semaphore>,
    first: bool,
}

/// What is known of the frame at the front of the buffer.
enum Front {
    /// Not even its length and its first bytes.
    Unknown,
    /// Its length, and that it is acceptable so far.
    Length(usize),
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(io: R, budget: Arc<Semaphore>) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            memory: None,
            budget,
            first: true,
        }
    }

    /// From now on larger frames are taken.
    pub(super) fn first_was_valid(&mut self) {
        self.first = false;
    }

    /// The next frame. Cancel safe.
    pub(super) async fn next(
        &mut self,
        handle: &ConnectionHandle,
        ports: &Ports,
    ) -> Result<Frame, ReadError> {
        loop {
            let front = self.front()?;
            if let Front::Length(length) = front
                && self.buffer.len() >= PREFIX_BYTES + length
            {
                return Ok(self.split(length));
            }
            self.make_room(&front, ports).await?;
            let read = self
                .io
                .read_buf(&mut self.buffer)
                .await
                .map_err(ReadError::Io)?;
            if read == 0 {
                return Err(match self.buffer.len() {
                    0 => ReadError::Closed,
                    bytes => Refusal::EndInFrame { bytes }.into(),
                });
            }
            handle.touch(ports.clock.now());
        }
    }

    fn front(&self) -> Result<Front, Refusal> {
        let Some(prefix) = self.buffer.first_chunk() else {
            return Ok(Front::Unknown);
        };
        let length = i32::from_be_bytes(*prefix);
        let refused = |max: usize| Refusal::Length { length, max };
        let bytes = usize::try_from(length).map_err(|_| refused(REQUEST_BYTES_MAX))?;
        let general_max = if self.first {
            FIRST_REQUEST_BYTES_MAX
        } else {
            REQUEST_BYTES_MAX
        };
        if bytes > general_max {
            return Err(refused(general_max));
        }
        match HeaderStart::read(&self.buffer[PREFIX_BYTES..]) {
            Some(start) => {
                let max = general_max.min(bytes_max(served(start)?));
                if bytes > max {
                    return Err(refused(max));
                }
                Ok(Front::Length(bytes))
            }
            None if bytes < HeaderStart::BYTES => Ok(Front::Length(bytes)),
            None => Ok(Front::Unknown),
        }
    }

    fn split(&mut self, length: usize) -> Frame {
        self.buffer.advance(PREFIX_BYTES);
        let bytes = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // What is left of its capacity would stay with an idle connection.
            self.buffer = BytesMut::new();
        }
        Frame {
            bytes,
            memory: self.memory.take(),
        }
    }

    /// Makes room for at least one more byte, in proportion to what has arrived.
    async fn make_room(&mut self, front: &Front, ports: &Ports) -> Result<(), ReadError> {
        let room = match *front {
            Front::Unknown if self.first => WAITING_BYTES_FIRST,
            Front::Unknown => WAITING_BYTES,
            Front::Length(length) => {
                let missing = PREFIX_BYTES + length - self.buffer.len();
                let growth = if self.first {
                    GROWTH_BYTES_FIRST
                } else {
                    GROWTH_BYTES
                };
                let more = if self.first {
                    self.buffer.len()
                } else {
                    GROWTH_FACTOR * self.buffer.len()
                };
                missing.min(growth.max(more))
            }
        };
        if self.buffer.capacity() - self.buffer.len() >= room {
            return Ok(());
        }
        if room > WAITING_BYTES {
            // Boxed: it is rare, and a waiting connection would hold room for it.
            Box::pin(self.take_memory(room, ports)).await?;
        }
        self.buffer.reserve(room);
        Ok(())
    }

    async fn take_memory(&mut self, bytes: usize, ports: &Ports) -> Result<(), Refusal> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let acquire = Arc::clone(&self.budget).acquire_many_owned(permits);
        let Some(Ok(permit)) = ports.timeout(MEMORY_WAIT_MAX, acquire).await else {
            return Err(Refusal::Memory { bytes });
        };
        match &mut self.memory {
            Some(memory) => memory.merge(permit),
            None => self.memory = Some(permit),
        }
        Ok(())
    }
}

/// The entry of a request that is answered. ApiVersions is answered in any version.
pub(super) fn served(start: HeaderStart) -> Result<&'static Served, Refusal> {
    let HeaderStart {
        api_key,
        api_version,
    } = start;
    let served = versions::find(api_key).ok_or(Refusal::UnknownApi { api_key })?;
    if served.answers(api_version) || api_key == wire_key(ApiKey::ApiVersions) {
        Ok(served)
    } else {
        Err(Refusal::UnsupportedVersion {
            api: served.shape.name,
            version: api_version,
            min: served.min,
            max: served.max,
        })
    }
}

fn bytes_max(served: &Served) -> usize {
    if served.api == ApiKey::Produce {
        REQUEST_BYTES_MAX
    } else {
        REQUEST_BYTES_MAX_WITHOUT_RECORDS
    }
}
