//! The broker: everything that one agent is made of, its start and its end.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use aquifer_format::ids::WriterSlot;
use aquifer_metadata_api::{Metadata, MetadataError, register::RegisterRequest};
use aquifer_store::{ObjectStore, Ports};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, Semaphore, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    broker_configs::{applied, of_settings},
    connection::{
        self, ConnectionId, EndLog, Traffic,
        zone::{ClientHints, ClientZone},
    },
    fence::{Fence, Readiness, WatchedBucket},
    fetch::{FetchPath, cache::FreshRun, run::Run},
    group_calls::WAITING_MAX,
    peers::{PeerService, ZonePeers},
    produce::{ProduceParts, ProducePath},
    session::AgentSession,
    settings::AgentSettings,
    telemetry::Telemetry,
    view::{View, ViewSettings},
    witness,
};

/// How long clients have to move to other agents, if there are any, before a draining one stops
/// reading.
const OTHERS_TAKE_OVER: Duration = Duration::from_secs(5);

/// Why an agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The metadata service does not take it.
    #[error("the metadata service does not register this agent: {0}")]
    Register(#[from] MetadataError),
}

/// One agent.
#[derive(Debug)]
pub struct Broker {
    /// What it was told.
    pub settings: AgentSettings,
    /// Time, randomness, tasks.
    pub ports: Ports,
    /// The metadata service.
    pub metadata: Arc<dyn Metadata>,
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// Its registration.
    pub session: Arc<AgentSession>,
    /// What it knows of the cluster.
    pub view: Arc<View>,
    /// Whether it may serve.
    pub fence: Arc<Fence>,
    /// What clients read.
    pub fetch: Arc<FetchPath>,
    /// What clients write.
    pub produce: Arc<ProducePath>,
    /// What clients say of themselves.
    pub telemetry: Telemetry,
    connections: Connections,
    traffic: Traffic,
    request_memory: Arc<Semaphore>,
    waiting_calls: Semaphore,
    draining: CancellationToken,
    closing: CancellationToken,
}

/// Connections that are open.
#[derive(Debug, Default)]
struct Connections {
    next_id: AtomicU64,
    open: AtomicUsize,
    one_ended: Notify,
    ends: EndLog,
}

impl Broker {
    /// Registers the agent and starts what runs in the background. Returns once it knows the cluster's
    /// state; waits for the metadata service as long as it takes. With `peers` it shares what it reads
    /// with the other agents of its zone; `settings.address.peer` says where they reach it.
    ///
    /// # Errors
    /// The metadata service refuses it.
    pub async fn start(
        settings: AgentSettings,
        ports: Ports,
        metadata: Arc<dyn Metadata>,
        store: Arc<dyn ObjectStore>,
        peers: Option<PeerService>,
    ) -> Result<Arc<Self>, StartError> {
        let settings = applied(settings);
        let request = RegisterRequest {
            previous_slot: None,
            agent: settings.address.clone(),
            seen: None,
        };
        let session = AgentSession::register(Arc::clone(&metadata), ports.clone(), request).await?;
        let view = View::start(
            Arc::clone(&metadata),
            Arc::clone(&session),
            ports.clone(),
            ViewSettings {
                broker_configs: of_settings(&settings),
                ..settings.view.clone()
            },
        );
        view.ready().await;
        let bucket = WatchedBucket::new(store, &ports);
        let store = Arc::clone(&bucket.store);
        let fence = Fence::start(
            ports.clone(),
            settings.fence,
            Arc::clone(&view),
            Arc::clone(&session),
            &bucket,
        );
        let zone = peers.map(|service| {
            let (view, session) = (Arc::clone(&view), Arc::clone(&session));
            ZonePeers::new(
                service,
                view,
                session,
                settings.address.clone(),
                ports.clone(),
            )
        });
        ports.tasks.spawn(witness::keep(
            ports.clone(),
            Arc::clone(&store),
            Arc::clone(&session),
            Arc::clone(&view),
        ));
        let fetch = FetchPath::start(
            Arc::clone(&metadata),
            Arc::clone(&store),
            &session,
            Arc::clone(&view),
            ports.clone(),
            settings.fetch,
            zone.clone(),
        );
        if let Some(zone) = zone {
            zone.serve(Arc::clone(fetch.cache()));
        }
        let produce = start_produce(
            &settings, &ports, &metadata, &store, &session, &view, &fetch,
        );
        let telemetry = Telemetry::new(settings.telemetry.clone(), &ports);
        let memory = settings.connections.request_bytes_total_max;
        Ok(Arc::new(Self {
            settings,
            ports,
            metadata,
            store,
            session,
            view,
            fence,
            fetch,
            produce,
            telemetry,
            connections: Connections::default(),
            traffic: Traffic::default(),
            request_memory: Arc::new(Semaphore::new(memory.min(Semaphore::MAX_PERMITS))),
            waiting_calls: Semaphore::new(WAITING_MAX),
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
        }))
    }

    /// Serves one connection until it ends. `node_index`: which of the agent's node ids the client
    /// connected to. Past the limit of connections it is closed at once.
    pub async fn serve<IO>(self: &Arc<Self>, io: IO, node_index: u8, peer: SocketAddr)
    where
        IO: AsyncRead + AsyncWrite + Send + 'static,
    {
        let connections = &self.connections;
        let max = self.view.broker_configs().effective().max_connections;
        // Of none, nobody could ever take that back: configs are altered through connections.
        let max = usize::try_from(max).unwrap_or(usize::MAX).max(1);
        let open = OpenConnection::new(self);
        if connections.open.load(Ordering::Relaxed) > max {
            drop(io);
            connections.ends.too_many(&*self.ports.clock, peer, max);
            return;
        }
        let end = connection::serve(Arc::clone(self), io, node_index, peer).await;
        drop(open);
        connections.ends.ended(&*self.ports.clock, peer, &end);
    }

    /// Stops: at once the agent names itself no longer, others hear that they must not either, and it
    /// takes no connection; what it accepted it answers, then it closes. While other agents live, it goes
    /// on taking requests for some seconds, so that clients can move. Ends after [`crate::settings::ConnectionSettings::drain_max`] at the
    /// latest.
    pub async fn drain(&self) {
        let drain_max = self.settings.connections.drain_max;
        self.draining.cancel();
        self.fence.drain();
        let drained = async {
            if self.others_live() {
                let handing_over = OTHERS_TAKE_OVER.min(drain_max / 2);
                self.ports.timeout(handing_over, self.no_connection()).await;
            }
            self.closing.cancel();
            self.no_connection().await;
        };
        if self.ports.timeout(drain_max, drained).await.is_none() {
            tracing::warn!(
                open = self.connections.open.load(Ordering::Relaxed),
                "connections with unanswered requests are cut off after {drain_max:?}"
            );
        }
        self.closing.cancel();
    }

    async fn no_connection(&self) {
        loop {
            let ended = self.connections.one_ended.notified();
            if self.connections.open.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }

    fn others_live(&self) -> bool {
        let own = self.session.registration().slot;
        self.view.agents().iter().any(|agent| agent.slot != own)
    }

    /// Cancelled when the agent begins to stop.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when no further request is taken.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// The agent's own slot while it must not be named to clients.
    pub(crate) fn unnamed(&self) -> Option<WriterSlot> {
        let named = self.fence.is_named();
        (!named).then(|| self.session.registration().slot)
    }

    /// Whether clients should be sent to this agent (for a health check), and why not: while it stops, or
    /// has fenced itself.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.fence.readiness()
    }

    /// Bytes to and from clients, by zone.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The zone of a client.
    pub(crate) fn zone_of(&self, hints: &ClientHints, rack: &str, peer: IpAddr) -> ClientZone {
        let zones = &self.settings.zones;
        zones.zone_of(hints, rack, peer, &self.settings.address.zone)
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.connections.open.load(Ordering::Relaxed)
    }

    pub(crate) fn next_connection_id(&self) -> ConnectionId {
        ConnectionId(self.connections.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Memory for requests that are being read or wait for their answer.
    pub(crate) fn request_memory(&self) -> Arc<Semaphore> {
        Arc::clone(&self.request_memory)
    }

    /// Places for calls that wait at the metadata leader.
    pub(crate) fn waiting_calls(&self) -> &Semaphore {
        &self.waiting_calls
    }
}

/// The produce path, which hands what it uploaded to the fetch path's cache.
fn start_produce(
    settings: &AgentSettings,
    ports: &Ports,
    metadata: &Arc<dyn Metadata>,
    store: &Arc<dyn ObjectStore>,
    session: &Arc<AgentSession>,
    view: &Arc<View>,
    fetch: &Arc<FetchPath>,
) -> Arc<ProducePath> {
    let view = Arc::clone(view);
    let fetch = Arc::clone(fetch);
    ProducePath::start(ProduceParts {
        ports: ports.clone(),
        metadata: Arc::clone(metadata),
        store: Arc::clone(store),
        session: Arc::clone(session),
        epoch: Arc::new(move || view.upload_epoch()),
        on_upload: Arc::new(move |object, runs, payload| {
            let fresh = runs
                .iter()
                .map(|run| FreshRun {
                    position: run.position,
                    run: Run::of_batches(&run.batches),
                })
                .collect();
            fetch.cache().insert(object, fresh, payload);
        }),
        settings: settings.produce.clone(),
    })
}

/// Counts a connection as long as it lives.
struct OpenConnection<'a> {
    broker: &'a Broker,
}

impl<'a> OpenConnection<'a> {
    fn new(broker: &'a Broker) -> Self {
        broker.connections.open.fetch_add(1, Ordering::AcqRel);
        metrics::gauge!("aquifer_connections").increment(1);
        Self { broker }
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.broker.connections.open.fetch_sub(1, Ordering::AcqRel);
        self.broker.connections.one_ended.notify_waiters();
        metrics::gauge!("aquifer_connections").decrement(1);
    }
}
