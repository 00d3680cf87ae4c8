//! The metadata service over gRPC: serves whoever this process is at the moment, leader or standby.
//!
//! Connections and streams are tasks of the node. A connection must show the cluster secret with every
//! call, and with its first within a time limit.

mod sealed;
mod service;
mod streams;
#[cfg(test)]
mod tests;
mod upkeep;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aquifer_format::limits::{METADATA_MESSAGE_BYTES_MAX, METADATA_REQUEST_BYTES_MAX};
use aquifer_metadata_api::{
    grpc::{
        CONNECTION_WINDOW_BYTES, HEADER_BYTES_MAX, STREAM_WINDOW_BYTES, Spawner,
        proto::{metadata_server::MetadataServer, upkeep_server::UpkeepServer},
    },
    secret::ClusterSecret,
};
use aquifer_store::Ports;
use http::header::AUTHORIZATION;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};
use tower_service::Service as _;

use self::{sealed::SealedFrames, service::Service};
use crate::role::Role;

/// Calls of one connection that were cancelled before they were looked at: more than this, and it counts as an
/// attack and is closed. An agent whose fetches end at once may cancel some hundred.
const CANCELLED_CALLS_MAX: usize = 1_024;
/// Pause after a connection could not be accepted (no file descriptor is free, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of the server.
#[derive(Clone, Debug)]
pub struct GrpcServerSettings {
    /// Most connections at once; further ones wait to be accepted. Default 4,096: some per agent.
    pub connections_max: usize,
    /// Most calls at once on one connection. Default 16,384: an agent lets up to 8,192 members of groups wait,
    /// on a connection of their own; what it still cancels of an earlier sending counts, too.
    pub calls_per_connection_max: u32,
    /// Silence after which an agent is asked for a sign of life. Default 1 s; with
    /// [`Self::keep_alive_timeout`] the watch of an agent that stands still ends within 3 s, which takes
    /// it out of discovery.
    pub keep_alive_interval: Duration,
    /// How long that sign may take. Default 2 s.
    pub keep_alive_timeout: Duration,
    /// How long a connection may take to show the secret for the first time. Default 10 s.
    pub admission_timeout: Duration,
}

impl Default for GrpcServerSettings {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            calls_per_connection_max: 16_384,
            keep_alive_interval: Duration::from_secs(1),
            keep_alive_timeout: Duration::from_secs(2),
            admission_timeout: Duration::from_secs(10),
        }
    }
}

/// A server that serves. Dropping it does not stop it.
#[derive(Debug)]
pub struct GrpcServer {
    address: SocketAddr,
    ports: Ports,
    /// No new calls; streams end.
    stopping: CancellationToken,
    /// Connections are cut.
    cut: CancellationToken,
    /// Closed when the last connection is.
    connections: Arc<Semaphore>,
    connections_max: usize,
    sealed: Arc<SealedFrames>,
}

/// Serves the metadata service on `listener`, as whoever `role` says this process is.
///
/// # Errors
/// The listener has no address.
pub fn serve(
    ports: &Ports,
    listener: TcpListener,
    role: watch::Receiver<Role>,
    secret: ClusterSecret,
    settings: GrpcServerSettings,
) -> io::Result<GrpcServer> {
    let address = listener.local_addr()?;
    let stopping = CancellationToken::new();
    let cut = CancellationToken::new();
    let connections = Arc::new(Semaphore::new(settings.connections_max));
    let sealed = Arc::new(SealedFrames::default());
    let connections_max = settings.connections_max;
    let service = Service::new(ports.clone(), role, stopping.clone(), Arc::clone(&sealed));
    let acceptor = Acceptor {
        ports: ports.clone(),
        settings,
        secret,
        service,
        stopping: stopping.clone(),
        cut: cut.clone(),
        connections: Arc::clone(&connections),
    };
    ports.tasks.spawn(acceptor.run(listener));
    Ok(GrpcServer {
        address,
        ports: ports.clone(),
        stopping,
        cut,
        connections,
        connections_max,
        sealed,
    })
}

impl GrpcServer {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many common frames were encoded so far: each once, however many watch.
    #[must_use]
    pub fn frames_encoded(&self) -> u64 {
        self.sealed.encoded()
    }

    /// Stops: accepts nothing more, ends the streams, refuses further calls with "not the leader", lets
    /// calls that are under way end for at most `patience`, then cuts what is left.
    pub async fn stop(&self, patience: Duration) {
        self.stopping.cancel();
        let all = u32::try_from(self.connections_max).unwrap_or(u32::MAX);
        let ended = self.connections.acquire_many(all);
        if self.ports.timeout(patience, ended).await.is_none() {
            tracing::warn!("cutting connections whose calls did not end in time");
        }
        self.cut.cancel();
    }
}

#[derive(Clone)]
struct Acceptor {
    ports: Ports,
    settings: GrpcServerSettings,
    secret: ClusterSecret,
    service: Service,
    stopping: CancellationToken,
    cut: CancellationToken,
    connections: Arc<Semaphore>,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                accepted = self.accept(&listener) => accepted,
            };
            match accepted {
                Ok((stream, peer, permit)) => {
                    let serving = self.clone().serve(stream, peer, permit);
                    self.ports.tasks.spawn(serving);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the metadata service");
                    self.ports.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.connections).acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, peer, permit))
    }

    async fn serve(self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let admitted = Arc::new(AtomicBool::new(false));
        let service = {
            let (secret, admitted) = (self.secret.clone(), Arc::clone(&admitted));
            let servers = Servers::new(&self.service);
            service_fn(move |request| answer(request, &secret, &admitted, servers.clone()))
        };
        let connection = http2::Builder::new(Spawner(self.ports.tasks.clone()))
            .timer(TokioTimer::new())
            .keep_alive_interval(self.settings.keep_alive_interval)
            .keep_alive_timeout(self.settings.keep_alive_timeout)
            .max_concurrent_streams(self.settings.calls_per_connection_max)
            .max_pending_accept_reset_streams(CANCELLED_CALLS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut admission = pin!(self.ports.sleep(self.settings.admission_timeout));
        let (mut waiting, mut draining) = (true, false);
        loop {
            tokio::select! {
                biased;
                () = self.cut.cancelled() => break,
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "a connection to the metadata service broke");
                    }
                    break;
                }
                () = self.stopping.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = admission.as_mut(), if waiting => {
                    waiting = false;
                    if !admitted.load(Ordering::Relaxed) {
                        tracing::warn!(%peer, "a connection did not show the cluster secret in time");
                        break;
                    }
                }
            }
        }
        drop(permit);
    }
}

/// What calls begin with that compactors and operators make.
const UPKEEP_PREFIX: &str = "/aquifer.metadata.v1.Upkeep/";

/// The services of one connection.
#[derive(Clone)]
struct Servers {
    metadata: MetadataServer<Service>,
    upkeep: UpkeepServer<Service>,
}

impl Servers {
    fn new(service: &Service) -> Self {
        Self {
            metadata: MetadataServer::new(service.clone())
                .max_decoding_message_size(METADATA_REQUEST_BYTES_MAX)
                .max_encoding_message_size(METADATA_MESSAGE_BYTES_MAX),
            upkeep: UpkeepServer::new(service.clone())
                .max_decoding_message_size(METADATA_REQUEST_BYTES_MAX)
                .max_encoding_message_size(METADATA_MESSAGE_BYTES_MAX),
        }
    }

    async fn call(
        mut self,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<Body>, Infallible> {
        if request.uri().path().starts_with(UPKEEP_PREFIX) {
            self.upkeep.call(request).await
        } else {
            self.metadata.call(request).await
        }
    }
}

/// Answers a call that shows the secret.
fn answer(
    request: http::Request<Incoming>,
    secret: &ClusterSecret,
    admitted: &AtomicBool,
    servers: Servers,
) -> impl Future<Output = Result<http::Response<Body>, Infallible>> + Send + use<> {
    let authorization = request.headers().get(AUTHORIZATION);
    let refused = match authorization {
        Some(shown) if secret.admits(shown.as_bytes()) => None,
        Some(_) => Some(
            "the cluster secret is not this cluster's: give all processes of a cluster the same one",
        ),
        None => Some("the call shows no cluster secret: start this process with the cluster's"),
    };
    if refused.is_none() {
        admitted.store(true, Ordering::Relaxed);
    }
    async move {
        match refused {
            Some(reason) => {
                metrics::counter!("aquifer_metadata_calls_unauthenticated_total").increment(1);
                Ok(Status::unauthenticated(reason).into_http())
            }
            None => servers.call(request).await,
        }
    }
}
