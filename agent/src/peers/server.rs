//! Answers other agents of the zone: from this agent's memory, or from the bucket, which is then read
//! once for all who ask, and never from another agent. So there are no loops, whatever the views of the
//! agents are.

use std::sync::Arc;

use aquifer_format::ids::ClusterId;
use aquifer_store::Payload;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    counts::{Counters, Direction},
    network::{PeerError, UnitAnswer, UnitRequest},
};
use crate::fetch::cache::ObjectCache;

/// Answers are handed to the network in pieces of this size, so that a slow reader holds its place, and
/// is noticed, for as long as it reads.
const PIECE_BYTES: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub struct UnitServer {
    cache: Arc<ObjectCache>,
    counters: Arc<Counters>,
    cluster: ClusterId,
    zone: String,
    answers: Arc<Semaphore>,
}

impl UnitServer {
    pub(super) fn new(
        cache: Arc<ObjectCache>,
        counters: Arc<Counters>,
        cluster: ClusterId,
        zone: String,
        answers_max: usize,
    ) -> Self {
        Self {
            cache,
            counters,
            cluster,
            zone,
            answers: Arc::new(Semaphore::new(answers_max)),
        }
    }

    /// Begins an answer; what is not in memory is read while it goes on.
    ///
    /// # Errors
    /// [`PeerError::Refused`] for agents of other clusters and zones, [`PeerError::Busy`] past the most
    /// answers at a time.
    pub fn answer(&self, request: &UnitRequest) -> Result<UnitAnswer, PeerError> {
        let refused = |label, reason: &str| {
            self.counters.refused(label);
            PeerError::Refused {
                reason: reason.to_owned(),
            }
        };
        if request.cluster != self.cluster {
            return Err(refused("cluster", "this agent is of another cluster"));
        }
        if request.zone != self.zone {
            return Err(refused("zone", "this agent is of another zone"));
        }
        let Ok(permit) = Arc::clone(&self.answers).try_acquire_owned() else {
            self.counters.refused("busy");
            return Err(PeerError::Busy);
        };
        let sending = Sending {
            counters: Arc::clone(&self.counters),
            _permit: permit,
        };
        if let Some(payload) = self.cache.held(&request.unit) {
            self.counters.served(true);
            let bytes = payload.iter().map(Bytes::len).sum::<usize>();
            return Ok(UnitAnswer {
                bytes: u64::try_from(bytes).ok(),
                body: pieces(payload, sending).boxed(),
            });
        }
        self.counters.served(false);
        let (cache, unit) = (Arc::clone(&self.cache), request.unit);
        let body = stream::once(async move {
            match cache.read_for_peer(unit).await {
                Ok(payload) => pieces(payload, sending).boxed(),
                Err(error) => {
                    let reason = error.to_string();
                    stream::once(async { Err(PeerError::Cut { reason }) }).boxed()
                }
            }
        });
        Ok(UnitAnswer {
            bytes: None,
            body: body.flatten().boxed(),
        })
    }

    /// Notes a request that was refused before it came here.
    pub(super) fn refused(&self, reason: &'static str) {
        self.counters.refused(reason);
    }
}

/// An answer under way.
struct Sending {
    counters: Arc<Counters>,
    _permit: OwnedSemaphorePermit,
}

fn pieces(
    payload: Payload,
    sending: Sending,
) -> impl futures::Stream<Item = Result<Bytes, PeerError>> + Send + 'static {
    let state = (payload.into_iter(), Bytes::new(), sending);
    stream::unfold(state, |(mut rest, mut piece, sending)| async move {
        while piece.is_empty() {
            piece = rest.next()?;
        }
        let next = piece.split_to(piece.len().min(PIECE_BYTES));
        let bytes = u64::try_from(next.len()).expect("usize fits");
        sending.counters.bytes(Direction::Sent, bytes);
        Some((Ok(next), (rest, piece, sending)))
    })
}
