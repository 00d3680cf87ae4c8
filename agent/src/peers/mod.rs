//! The zone cache: agents of one zone read each unit from the bucket once, and get it from each other.
//!
//! Each unit has an owner in each zone ([`ownership`]). Who needs a unit and is not its owner asks the
//! owner, which has it in memory (it wrote it, or somebody asked before) or reads the bucket. An owner
//! that does not begin to answer in 50 ms, cannot be reached, or sends what is wrong costs that
//! time once and then nothing: the bucket is read instead, and the peer is left alone for a while.
//!
//! Whole objects of level 0 are checked against their checksums and their name when they come from a
//! peer; of larger ones every block that is used is.

mod breaker;
mod counts;
mod http;
mod log;
mod memory;
mod network;
pub mod ownership;
mod server;
mod unit;

use std::{fmt, sync::Arc, time::Duration};

use aquifer_format::{ids::ClusterId, object::check_sums};
use aquifer_metadata_api::{register::AgentAddress, watch::AgentView};
use aquifer_store::Ports;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::Semaphore;

pub(crate) use self::counts::{Counters, Direction};
use self::{
    breaker::{Breakers, Ticket},
    log::LogLimit,
};
pub use self::{
    counts::{CacheCounts, GetCause},
    http::{HttpPeerSettings, HttpPeers},
    memory::{MemoryNetwork, MemoryPeers, PeerFault},
    network::{PeerError, PeerNetwork, UnitAnswer, UnitRequest},
    server::UnitServer,
    unit::{PART_BYTES, Unit},
};
use crate::{fetch::cache::ObjectCache, session::AgentSession, view::View};

/// Bounds of an agent's part in the zone cache.
#[derive(Clone, Copy, Debug)]
pub struct PeerSettings {
    /// How long an owner may take to begin its answer, connecting included. 50 ms: much longer than a
    /// healthy agent of the same zone takes, and about what the bucket would take instead.
    pub first_byte_max: Duration,
    /// How long an answer may stand still. The owner may be reading the bucket meanwhile, so it is longer
    /// than a slow GET (S3: p99 250 ms).
    pub stall_max: Duration,
    /// How long a whole answer may take. 5 s: the usual 8 MiB come at 2 MB/s, and a reader waits no longer
    /// for an owner that never quite stands still.
    pub answer_max: Duration,
    /// Most units asked of others at a time; one more is read from the bucket at once.
    pub asks_max: usize,
    /// Most answers to others at a time; one more is refused at once, and the bucket is read by who asked.
    /// 64 answers keep a 10 Gbit/s link busy.
    pub answers_max: usize,
    /// Largest unit taken from a peer: an object of level 0 is one flush, which is larger than the flush
    /// size only if a single request is (100 MiB at most).
    pub unit_bytes_max: u64,
    /// How long a peer is left alone after a failure; doubles up to `pause_max`.
    pub pause_min: Duration,
    /// Longest pause, and that of a peer which sent what is wrong. An agent that is gone leaves the view
    /// about as quickly.
    pub pause_max: Duration,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            first_byte_max: Duration::from_millis(50),
            stall_max: Duration::from_secs(1),
            answer_max: Duration::from_secs(5),
            asks_max: 64,
            answers_max: 64,
            unit_bytes_max: 256 * 1024 * 1024,
            pause_min: Duration::from_millis(250),
            pause_max: Duration::from_secs(10),
        }
    }
}

/// What a broker needs to share with the agents of its zone. `AgentAddress::peer` must name where
/// `network` listens.
#[derive(Clone, Debug)]
pub struct PeerService {
    /// How other agents are reached, and reach this one.
    pub network: Arc<dyn PeerNetwork>,
    /// Bounds.
    pub settings: PeerSettings,
}

impl PeerService {
    /// A service with the default bounds.
    #[must_use]
    pub fn new(network: Arc<dyn PeerNetwork>) -> Self {
        Self {
            network,
            settings: PeerSettings::default(),
        }
    }
}

/// Where a unit is to be got from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// This agent reads it from the bucket: it is the owner, or there is none.
    Here(GetCause),
    /// Another agent of the zone owns it.
    At(AgentView),
}

/// The other agents of the zone, as readers of this one see them.
pub(crate) struct ZonePeers {
    service: PeerService,
    view: Arc<View>,
    session: Arc<AgentSession>,
    cluster: ClusterId,
    own: AgentAddress,
    ports: Ports,
    asks: Semaphore,
    breakers: Breakers,
    counters: Arc<Counters>,
    log: LogLimit,
}

impl fmt::Debug for ZonePeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZonePeers")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl ZonePeers {
    pub(crate) fn new(
        service: PeerService,
        view: Arc<View>,
        session: Arc<AgentSession>,
        own: AgentAddress,
        ports: Ports,
    ) -> Arc<Self> {
        let settings = service.settings;
        Arc::new(Self {
            cluster: session.registration().cluster,
            asks: Semaphore::new(settings.asks_max),
            breakers: Breakers::new(settings.pause_min, settings.pause_max),
            counters: Arc::default(),
            log: LogLimit::default(),
            service,
            view,
            session,
            own,
            ports,
        })
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Begins to answer other agents from `cache`.
    pub(crate) fn serve(&self, cache: Arc<ObjectCache>) {
        let server = UnitServer::new(
            cache,
            Arc::clone(&self.counters),
            self.cluster,
            self.own.zone.clone(),
            self.service.settings.answers_max,
        );
        self.service.network.serve(Arc::new(server), &self.ports);
    }

    pub(crate) fn place(&self, unit: &Unit) -> Place {
        let agents = self.view.agents();
        let members = ownership::members(&agents, &self.own.zone);
        match ownership::owner(unit, members, self.view.upload_epoch()) {
            None => Place::Here(GetCause::Alone),
            Some(owner) if self.is_own(owner) => Place::Here(GetCause::Owner),
            Some(owner) => Place::At(owner.clone()),
        }
    }

    /// This agent, also where the view has not heard yet of its new slot.
    fn is_own(&self, agent: &AgentView) -> bool {
        agent.slot == self.session.registration().slot || agent.address.peer == self.own.peer
    }

    /// Gets a unit from its owner. The cause in the error is the one for which the bucket is then read.
    pub(crate) async fn fetch(&self, owner: &AgentView, unit: Unit) -> Result<Bytes, GetCause> {
        let result = self.try_fetch(owner, unit).await;
        match &result {
            Ok(_) => self.counters.peer_hit(),
            Err(cause) => self.counters.peer_miss(*cause),
        }
        result
    }

    async fn try_fetch(&self, owner: &AgentView, unit: Unit) -> Result<Bytes, GetCause> {
        let peer = owner.address.peer.as_str();
        let Ok(_permit) = self.asks.try_acquire() else {
            return Err(GetCause::PeerRefused);
        };
        let Some(ticket) = self.breakers.admit(peer, self.ports.clock.now()) else {
            return Err(GetCause::PeerPaused);
        };
        let request = UnitRequest {
            cluster: self.cluster,
            zone: self.own.zone.clone(),
            unit,
        };
        let settings = &self.service.settings;
        let late = |what: &str| self.failed(peer, ticket, GetCause::PeerTimeout, &what);
        let asking = self.service.network.ask(peer, &request);
        let answer = match self.ports.timeout(settings.first_byte_max, asking).await {
            None => return Err(late("no answer began")),
            Some(Err(error)) => return Err(self.refused(peer, ticket, &error)),
            Some(Ok(answer)) => answer,
        };
        let bytes_max = unit.range().map_or(settings.unit_bytes_max, |_| PART_BYTES);
        let receiving = self.receive(peer, ticket, answer, bytes_max);
        let bytes = match self.ports.timeout(settings.answer_max, receiving).await {
            None => return Err(late("the answer took too long")),
            Some(received) => received?,
        };
        if unit.range().is_none() {
            self.check(peer, unit, &bytes)?;
        }
        self.breakers.succeeded(peer);
        Ok(bytes)
    }

    fn refused(&self, peer: &str, ticket: Ticket, error: &PeerError) -> GetCause {
        match error {
            // It says so at once: asking again costs little.
            PeerError::Busy => {
                self.breakers.succeeded(peer);
                GetCause::PeerRefused
            }
            PeerError::Refused { .. } => self.failed(peer, ticket, GetCause::PeerRefused, error),
            PeerError::Unreachable { .. } => {
                self.failed(peer, ticket, GetCause::PeerUnreachable, error)
            }
            PeerError::Cut { .. } => GetCause::PeerCut,
        }
    }

    fn failed(
        &self,
        peer: &str,
        ticket: Ticket,
        cause: GetCause,
        what: &dyn fmt::Display,
    ) -> GetCause {
        let now = self.ports.clock.now();
        self.breakers.failed(peer, ticket, now);
        if let Some(left_out) = self.log.admit(now) {
            tracing::warn!(
                peer,
                cause = cause.name(),
                left_out,
                "an agent of this zone gives nothing, the bucket is read instead: {what}"
            );
        }
        cause
    }

    async fn receive(
        &self,
        peer: &str,
        ticket: Ticket,
        mut answer: UnitAnswer,
        bytes_max: u64,
    ) -> Result<Bytes, GetCause> {
        let stall_max = self.service.settings.stall_max;
        let announced = answer.bytes;
        let mut received = Received::default();
        loop {
            let piece = match self.ports.timeout(stall_max, answer.body.next()).await {
                None => {
                    let what = "the answer stood still";
                    return Err(self.failed(peer, ticket, GetCause::PeerTimeout, &what));
                }
                Some(Some(Err(error))) => {
                    tracing::debug!(peer, %error, "an answer was cut off");
                    return Err(GetCause::PeerCut);
                }
                Some(None) => break,
                Some(Some(Ok(piece))) => piece,
            };
            let bytes = u64::try_from(piece.len()).expect("usize fits");
            self.counters.bytes(Direction::Received, bytes);
            if announced.unwrap_or(0).max(received.bytes() + bytes) > bytes_max {
                return Err(self.distrust(peer, &"the answer is larger than the unit can be"));
            }
            received.push(&piece, announced);
        }
        if announced.is_some_and(|announced| announced != received.bytes()) {
            return Err(GetCause::PeerCut);
        }
        Ok(received.finish())
    }

    fn check(&self, peer: &str, unit: Unit, bytes: &Bytes) -> Result<(), GetCause> {
        match check_sums(bytes) {
            Err(error) => Err(self.distrust(peer, &error)),
            Ok(footer) if footer.id != unit.object() || footer.cluster != self.cluster => {
                Err(self.distrust(peer, &"it is another object"))
            }
            Ok(_) => Ok(()),
        }
    }

    /// Notes that a peer sent what is wrong.
    pub(crate) fn distrust(&self, peer: &str, what: &dyn fmt::Display) -> GetCause {
        let now = self.ports.clock.now();
        self.breakers.distrust(peer, now);
        metrics::counter!("aquifer_peer_wrong_total").increment(1);
        if let Some(left_out) = self.log.admit(now) {
            tracing::error!(
                peer,
                left_out,
                "an agent of this zone sent wrong bytes, the bucket is read instead: {what}"
            );
        }
        GetCause::PeerWrong
    }
}

/// The bytes of an answer, copied: a piece of the network's keeps the whole buffer that it was read into.
#[derive(Default)]
struct Received {
    all: BytesMut,
}

impl Received {
    fn bytes(&self) -> u64 {
        u64::try_from(self.all.len()).expect("usize fits")
    }

    fn push(&mut self, piece: &[u8], announced: Option<u64>) {
        if self.all.is_empty() {
            let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
            self.all.reserve(announced.unwrap_or(piece.len()));
        }
        self.all.extend_from_slice(piece);
    }

    /// All of them, in no more memory than they need: they are kept.
    fn finish(self) -> Bytes {
        if self.all.capacity() > self.all.len() {
            Bytes::copy_from_slice(&self.all)
        } else {
            self.all.freeze()
        }
    }
}

#[cfg(test)]
mod tests;
