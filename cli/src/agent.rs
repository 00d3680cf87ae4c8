//! `aquifer agent`: from start to stop.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, anyhow, bail};
use aquifer_agent::{
    broker::Broker,
    fence::Readiness as AgentReadiness,
    listener::Listener,
    peers::{HttpPeerSettings, HttpPeers, PeerService},
    settings::AgentSettings,
};
use aquifer_metadata::bucket::Marker;
use aquifer_metadata_api::{
    grpc::{Endpoint, GrpcMetadata, GrpcSettings},
    register::AgentAddress,
    secret::ClusterSecret,
};
use aquifer_store::{ObjectStore, Ports, location::Wrapping};
use tokio::{net::TcpListener, sync::watch};
use tracing::info;

use crate::{
    address::{Advertised, authority},
    arguments::cluster::{Agent, Serving},
    compose::agent_settings,
    http::{self, Readiness},
    open_files, secret,
    signals::{Stop, on_threads},
};

/// Runs until a signal ends it.
pub(crate) fn run(arguments: &Agent) -> Result<()> {
    on_threads(|stop| serve(arguments, stop))
}

async fn serve(arguments: &Agent, mut stop: Stop) -> Result<()> {
    let serving = &arguments.serving;
    open_files::raise(serving.clients.tuning.connections_max);
    let ports = Ports::system();
    let secret = secret::read(&arguments.secret)?;
    let endpoints = arguments
        .metadata
        .iter()
        .map(|text| text.parse::<Endpoint>().map_err(|error| anyhow!(error)))
        .collect::<Result<Vec<_>>>()?;
    let sockets = Sockets::open(serving).await?;
    let (readiness, http_address) = http::start(&ports, arguments.http.http_listen).await?;
    let starting = async {
        let bucket = &arguments.bucket.bucket;
        let store = aquifer_store::open(bucket, &ports, Wrapping::default()).await?;
        let settings = sockets.settings(serving, &*store)?;
        readiness.say(Err(format!(
            "waiting for the metadata service at {}",
            arguments.metadata.join(", ")
        )));
        ServedAgent::start(&ports, settings, sockets, endpoints, &secret, store).await
    };
    let Some(agent) = stop.unless_asked(starting).await.transpose()? else {
        info!("stopped before it was ready");
        return Ok(());
    };
    agent.announce(http_address);
    ports
        .tasks
        .spawn(follow_fence(agent.broker.readiness(), readiness.clone()));
    stop.asked().await;
    info!("stopping: clients move, what was accepted is finished; once more stops at once");
    stop.finish(agent.stop()).await?;
    info!("stopped");
    Ok(())
}

/// Says whether the agent serves.
pub(crate) async fn follow_fence(mut fence: watch::Receiver<AgentReadiness>, readiness: Readiness) {
    loop {
        readiness.say(match &*fence.borrow_and_update() {
            AgentReadiness::Ready => Ok("serving"),
            AgentReadiness::Unready { reason } => Err(reason.clone()),
        });
        if fence.changed().await.is_err() {
            return;
        }
    }
}

/// The addresses of an agent, open but not served yet.
pub(crate) struct Sockets {
    kafka: Listener,
    cache: TcpListener,
}

impl Sockets {
    pub(crate) async fn open(serving: &Serving) -> Result<Self> {
        let kafka = Listener::bind(serving.kafka_listen.0, serving.node_ids)
            .map_err(|error| anyhow!("{error}; Kafka's address is set with --kafka-listen"))?;
        let cache = TcpListener::bind(serving.cache_listen.0)
            .await
            .map_err(|error| {
                anyhow!(
                    "cannot listen on {} for agents of the zone: {error}; choose another address with \
                     --cache-listen",
                    serving.cache_listen
                )
            })?;
        Ok(Self { kafka, cache })
    }

    /// The settings of the agent that is to serve them.
    pub(crate) fn settings(
        &self,
        serving: &Serving,
        store: &dyn ObjectStore,
    ) -> Result<AgentSettings> {
        let address = self.address(serving)?;
        agent_settings(address, &serving.clients, store.priced_per_request())
    }

    fn address(&self, serving: &Serving) -> Result<AgentAddress> {
        let advertised = serving.advertise.as_ref();
        let (host, port) = Advertised::resolve(advertised, self.kafka.address(), "--advertise");
        let host_only = Advertised {
            host: host.clone(),
            port: None,
        };
        let peer = serving.cache_advertise.as_ref().unwrap_or(&host_only);
        let bound = self.cache.local_addr()?;
        let (peer_host, peer_port) = Advertised::resolve(Some(peer), bound, "--cache-advertise");
        Ok(AgentAddress {
            host,
            port,
            node_ids: serving.node_ids,
            zone: serving.clients.zone.clone(),
            peer: authority(&peer_host, peer_port),
        })
    }
}

/// An agent of a cluster that serves.
pub(crate) struct ServedAgent {
    pub(crate) broker: Arc<Broker>,
    ports: Ports,
    shown: String,
}

impl ServedAgent {
    /// Registers with the metadata service (waiting for it as long as it takes) and serves.
    pub(crate) async fn start(
        ports: &Ports,
        settings: AgentSettings,
        sockets: Sockets,
        endpoints: Vec<Endpoint>,
        secret: &ClusterSecret,
        store: Arc<dyn ObjectStore>,
    ) -> Result<Self> {
        let shown = authority(&settings.address.host, settings.address.port);
        let ports = ports.another_node();
        let metadata =
            GrpcMetadata::new(ports.clone(), GrpcSettings::new(endpoints, secret.clone()));
        let cache = Some(sockets.cache);
        let network = HttpPeers::new(cache, secret.clone(), HttpPeerSettings::default(), &ports);
        let peers = PeerService::new(network);
        let broker = Broker::start(
            settings,
            ports.clone(),
            Arc::new(metadata),
            Arc::clone(&store),
            Some(peers),
        )
        .await
        .context("the agent cannot start")?;
        // The metadata service marks the bucket before it serves.
        let cluster = broker.session.registration().cluster;
        let marker = Marker::read(&*store).await;
        match marker.context("the bucket's marker cannot be read")? {
            Some(marker) => marker.check(cluster, &*store)?,
            None => bail!(
                "bucket {} is not that of cluster {cluster}: it has no marker; give agents and metadata \
                 processes the same --bucket",
                store.describe()
            ),
        }
        sockets.kafka.start(&broker);
        Ok(Self {
            broker,
            ports,
            shown,
        })
    }

    /// Says where to connect.
    pub(crate) fn announce(&self, http: SocketAddr) {
        let registration = self.broker.session.registration();
        info!(
            cluster = %registration.cluster,
            slot = %registration.slot,
            kafka = self.shown,
            %http,
            "ready"
        );
    }

    /// Finishes what was accepted.
    pub(crate) async fn stop(&self) {
        self.broker.drain().await;
        self.ports.tasks.kill();
    }
}
