//! The network between agents over HTTP/1.1: `GET /v1/units/{object key}?part={n}`, with the cluster's
//! secret as bearer and the asking agent's zone in `x-aquifer-zone`. The answer's head is sent before the
//! bucket is read; a body that cannot be completed is broken off, so that nobody takes it for whole.

mod stall;

use std::{fmt, sync::Arc, time::Duration};

use aquifer_format::key::{object_key, parse_object_key};
use aquifer_metadata_api::secret::ClusterSecret;
use aquifer_store::{Ports, Tasks};
use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{
        HeaderMap, HeaderValue, Request, StatusCode, Uri,
        header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use futures::StreamExt;
use hyper::server::conn::http1;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::Semaphore};

use self::stall::NoStall;
use super::{
    network::{PeerError, PeerNetwork, UnitAnswer, UnitRequest},
    server::UnitServer,
    unit::Unit,
};

/// The zone of the agent that asks.
const ZONE_HEADER: &str = "x-aquifer-zone";
/// Most bytes that a connection buffers: the head of a request is much smaller, and of an answer one piece
/// waits at a time.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Pause after the operating system could not accept a connection (no file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of [`HttpPeers`].
#[derive(Clone, Copy, Debug)]
pub struct HttpPeerSettings {
    /// Most connections from others; one more is closed at once. Each agent of the zone opens as many as
    /// it asks at a time, 64 at most by default.
    pub connections_max: usize,
    /// How long a connection may be silent between requests, or take to send a request's head.
    pub idle_max: Duration,
    /// How long a connection may take no byte of an answer.
    pub write_stall_max: Duration,
    /// Connections to each peer that are kept for the next request.
    pub idle_per_peer_max: usize,
}

impl Default for HttpPeerSettings {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            idle_max: Duration::from_secs(60),
            write_stall_max: Duration::from_secs(10),
            idle_per_peer_max: 64,
        }
    }
}

/// The network of one agent: its listener, and its connections to others.
pub struct HttpPeers {
    listener: Mutex<Option<TcpListener>>,
    client: Client<HttpConnector, Body>,
    authorization: HeaderValue,
    secret: ClusterSecret,
    settings: HttpPeerSettings,
}

impl fmt::Debug for HttpPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpPeers")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// Runs the client's connections as tasks of the node.
#[derive(Clone, Debug)]
struct NodeTasks(Tasks);

impl<F> hyper::rt::Executor<F> for NodeTasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

impl HttpPeers {
    /// Asks others with `secret`, and answers those that show it on `listener`. Without a listener (and
    /// with an empty `AgentAddress::peer`) the agent only asks.
    #[must_use]
    pub fn new(
        listener: Option<TcpListener>,
        secret: ClusterSecret,
        settings: HttpPeerSettings,
        ports: &Ports,
    ) -> Arc<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(NodeTasks(ports.tasks.clone()))
            .pool_timer(TokioTimer::new())
            // Given up before the other side gives it up.
            .pool_idle_timeout(settings.idle_max / 2)
            .pool_max_idle_per_host(settings.idle_per_peer_max)
            .build(connector);
        let mut authorization =
            HeaderValue::from_str(&secret.bearer()).expect("a secret is visible ASCII");
        authorization.set_sensitive(true);
        Arc::new(Self {
            listener: Mutex::new(listener),
            client,
            authorization,
            secret,
            settings,
        })
    }

    fn request(&self, peer: &str, request: &UnitRequest) -> Option<Request<Body>> {
        let key = object_key(request.cluster, &request.unit.object());
        let part = request.unit.part();
        let zone = HeaderValue::from_bytes(request.zone.as_bytes()).ok()?;
        Request::get(format!("http://{peer}/v1/units/{key}?part={part}"))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ZONE_HEADER, zone)
            .body(Body::empty())
            .ok()
    }
}

#[async_trait]
impl PeerNetwork for HttpPeers {
    fn serve(&self, server: Arc<UnitServer>, ports: &Ports) {
        let Some(listener) = self.listener.lock().take() else {
            return;
        };
        let router = Router::new()
            .route("/v1/units/{*key}", get(answer))
            .with_state(Arc::new(Shared {
                server,
                secret: self.secret.clone(),
            }));
        ports
            .tasks
            .spawn(accept(listener, router, self.settings, ports.clone()));
    }

    async fn ask(&self, peer: &str, request: &UnitRequest) -> Result<UnitAnswer, PeerError> {
        let request = self
            .request(peer, request)
            .ok_or_else(|| PeerError::Unreachable {
                reason: "its address or this agent's zone cannot be written in a request"
                    .to_owned(),
            })?;
        let response = self.client.request(request).await;
        let response = response.map_err(|error| PeerError::Unreachable {
            reason: chain(&error),
        })?;
        let status = response.status();
        match status {
            StatusCode::OK => {}
            StatusCode::SERVICE_UNAVAILABLE => return Err(PeerError::Busy),
            _ => {
                return Err(PeerError::Refused {
                    reason: status.to_string(),
                });
            }
        }
        let bytes = response
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let body = Body::new(response.into_body()).into_data_stream();
        let body = body.map(|piece| {
            piece.map_err(|error| PeerError::Cut {
                reason: chain(&error),
            })
        });
        Ok(UnitAnswer {
            bytes,
            body: body.boxed(),
        })
    }
}

/// An error with its causes: the outer ones alone say little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Takes connections until the node's tasks end.
async fn accept(listener: TcpListener, router: Router, settings: HttpPeerSettings, ports: Ports) {
    let places = Arc::new(Semaphore::new(settings.connections_max));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of another agent");
                ports.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            metrics::counter!("aquifer_peer_refused_total", "reason" => "connections").increment(1);
            continue;
        };
        // Answers begin with a small head; latency counts more than packets.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection of another agent broke");
            continue;
        }
        let stalls = NoStall::new(stream, settings.write_stall_max, Arc::clone(&ports.clock));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.idle_max)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(
                TokioIo::new(stalls),
                TowerToHyperService::new(router.clone()),
            );
        ports.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = chain(&error), "a connection of another agent ended");
            }
            drop(place);
        });
    }
}

struct Shared {
    server: Arc<UnitServer>,
    secret: ClusterSecret,
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    if !shown.is_some_and(|shown| shared.secret.admits(shown)) {
        shared.server.refused("secret");
        let close = (CONNECTION, HeaderValue::from_static("close"));
        return (StatusCode::UNAUTHORIZED, [close]).into_response();
    }
    let Some(request) = parse(&key, &uri, &headers) else {
        shared.server.refused("malformed");
        return StatusCode::BAD_REQUEST.into_response();
    };
    match shared.server.answer(&request) {
        Ok(answer) => {
            let mut response = Response::new(Body::from_stream(answer.body));
            if let Some(bytes) = answer.bytes {
                response.headers_mut().insert(CONTENT_LENGTH, bytes.into());
            }
            response
        }
        Err(PeerError::Busy) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Err(PeerError::Refused { .. } | PeerError::Unreachable { .. } | PeerError::Cut { .. }) => {
            StatusCode::FORBIDDEN.into_response()
        }
    }
}

fn parse(key: &str, uri: &Uri, headers: &HeaderMap) -> Option<UnitRequest> {
    let (cluster, object) = parse_object_key(key).ok()?;
    let part = uri.query()?.strip_prefix("part=")?;
    let part = part
        .bytes()
        .all(|digit| digit.is_ascii_digit())
        .then(|| part.parse().ok())??;
    let zone = std::str::from_utf8(headers.get(ZONE_HEADER)?.as_bytes()).ok()?;
    Some(UnitRequest {
        cluster,
        zone: zone.to_owned(),
        unit: Unit::new(object, part)?,
    })
}
