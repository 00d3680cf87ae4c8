//! One HTTP/2 connection to one metadata process.
//!
//! It is ours rather than a library's pool because the caller must know whether a request was handed to
//! the connection at all: that is what `may_have_happened` says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use aquifer_format::{ids::LeaderTerm, limits::METADATA_MESSAGE_BYTES_MAX};
use aquifer_store::Ports;
use futures::future::BoxFuture;
use http::{HeaderValue, header::AUTHORIZATION};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tonic::{Status, body::Body};

use super::{
    CONNECTION_WINDOW_BYTES, Endpoint, GrpcSettings, HEADER_BYTES_MAX, STREAM_WINDOW_BYTES,
    Spawner, TERM_HEADER,
    proto::{metadata_client::MetadataClient, upkeep_client::UpkeepClient},
    status_of,
};
use crate::error::MetadataError;

/// The highest term that any answer had. Answers of lower terms come from a leader that was deposed.
#[derive(Clone, Debug, Default)]
pub(super) struct TermsSeen(Arc<AtomicU64>);

impl TermsSeen {
    /// Notes a term; false = a higher one was seen.
    pub(super) fn see(&self, term: LeaderTerm) -> bool {
        self.0.fetch_max(term.0, Ordering::AcqRel) <= term.0
    }
}

/// A connection. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    endpoint: Endpoint,
    origin: http::Uri,
    authorization: HeaderValue,
    requests: http2::SendRequest<Body>,
    terms: TermsSeen,
    retired: Arc<Retired>,
}

#[derive(Debug, Default)]
struct Retired {
    is: AtomicBool,
    leader: Mutex<Option<String>>,
}

impl Connection {
    /// Connects; bounded by the caller.
    pub(super) async fn open(
        ports: &Ports,
        settings: &GrpcSettings,
        endpoint: &Endpoint,
        terms: &TermsSeen,
    ) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot reach {endpoint}: {error}");
        let origin = endpoint.origin().map_err(|e| failed(&e))?;
        let mut authorization =
            HeaderValue::try_from(settings.secret.bearer()).map_err(|e| failed(&e))?;
        authorization.set_sensitive(true);
        let stream = TcpStream::connect(endpoint.authority())
            .await
            .map_err(|e| failed(&e))?;
        stream.set_nodelay(true).map_err(|e| failed(&e))?;
        let handshake = http2::Builder::new(Spawner(ports.tasks.clone()))
            .timer(TokioTimer::new())
            .keep_alive_interval(settings.keep_alive_interval)
            .keep_alive_timeout(settings.keep_alive_timeout)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEADER_BYTES_MAX)
            .handshake(TokioIo::new(stream));
        let (requests, driver) = handshake.await.map_err(|e| failed(&e))?;
        let of = endpoint.clone();
        ports.tasks.spawn(async move {
            if let Err(error) = driver.await {
                let error = chain(&error);
                tracing::debug!(endpoint = %of, error, "a connection to the metadata service broke");
            }
        });
        Ok(Self {
            endpoint: endpoint.clone(),
            origin,
            authorization,
            requests,
            terms: terms.clone(),
            retired: Arc::default(),
        })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The generated client on this connection.
    pub(super) fn client(&self) -> MetadataClient<Self> {
        MetadataClient::with_origin(self.clone(), self.origin.clone())
            .max_decoding_message_size(METADATA_MESSAGE_BYTES_MAX)
    }

    /// The same for compactors' and operators' calls.
    pub(super) fn upkeep_client(&self) -> UpkeepClient<Self> {
        UpkeepClient::with_origin(self.clone(), self.origin.clone())
            .max_decoding_message_size(METADATA_MESSAGE_BYTES_MAX)
    }

    /// No further call is made on it; `leader` may be the one to ask instead. Streams that are open on
    /// it go on.
    pub(super) fn retire(&self, leader: Option<String>) {
        if leader.is_some() {
            *self.retired.leader.lock() = leader;
        }
        self.retired.is.store(true, Ordering::Release);
    }

    /// Whether calls can be made on it.
    pub(super) fn is_usable(&self) -> bool {
        !self.retired.is.load(Ordering::Acquire) && !self.requests.is_closed()
    }

    /// Who was said to lead when it was retired.
    pub(super) fn leader_told(&self) -> Option<String> {
        self.retired.leader.lock().take()
    }

    /// Refuses what a leader of this term says if a later one has answered meanwhile.
    pub(super) fn check_term(&self, term: Option<LeaderTerm>) -> Result<(), Status> {
        if term.is_none_or(|term| self.terms.see(term)) {
            return Ok(());
        }
        self.retire(None);
        let reason = format!("{} answers as a leader that was deposed", self.endpoint);
        Err(unavailable(reason, true))
    }
}

/// The term of the leader that sent these headers, if it says one.
pub(super) fn term_in(headers: &http::HeaderMap) -> Option<LeaderTerm> {
    let term = headers.get(TERM_HEADER)?.to_str().ok()?;
    term.parse().ok().map(LeaderTerm)
}

fn unavailable(reason: String, may_have_happened: bool) -> Status {
    status_of(&MetadataError::Unavailable {
        reason,
        may_have_happened,
    })
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl tower_service::Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let endpoint = &self.endpoint;
        self.requests.poll_ready(cx).map_err(|error| {
            unavailable(
                format!("the connection to {endpoint} is closed: {error}"),
                false,
            )
        })
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        let sent = self.requests.try_send_request(request);
        let connection = self.clone();
        Box::pin(async move {
            match sent.await {
                Ok(response) => {
                    connection.check_term(term_in(response.headers()))?;
                    Ok(response)
                }
                Err(mut error) => {
                    // what comes back was never handed to the connection
                    let may_have_happened = error.take_message().is_none();
                    let error = chain(error.error());
                    let reason = format!("lost {}: {error}", connection.endpoint);
                    Err(unavailable(reason, may_have_happened))
                }
            }
        })
    }
}
