//! fake-gcs-server, an emulator of Google Cloud Storage in Go.
//!
//! It reads, lists and deletes through Google's XML API, which `object_store` speaks, but uploads only through the
//! JSON API. So a proxy stands before it that turns the one into the other: the emulator keeps the objects and
//! judges their preconditions. Uploads in parts are the proxy's own until they are complete.

#![allow(
    clippy::disallowed_methods,
    reason = "a server for tests, which knows no ports"
)]

mod parts;

use std::{error::Error, process::Command, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_LENGTH, ETAG, HOST, TRANSFER_ENCODING},
    http::request::Parts,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, task::JoinHandle};

use self::parts::{Step, Uploads};
use super::server_process::{Says, ServerProcess, exchange};

type Upstream = Client<HttpConnector, Full<Bytes>>;
type Failed = Box<dyn Error + Send + Sync>;

/// A running server and its proxy.
#[derive(Debug)]
pub(super) struct FakeGcs {
    _process: ServerProcess,
    proxy: JoinHandle<()>,
    pub(super) endpoint: String,
}

impl Drop for FakeGcs {
    fn drop(&mut self) {
        self.proxy.abort();
    }
}

impl FakeGcs {
    /// Starts it with one bucket. None = it is not installed.
    pub(super) async fn start(bucket: &str) -> Option<Self> {
        // It takes port 0, but does not tell which one it got.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut command = Command::new("fake-gcs-server");
        command.args(["-backend", "memory", "-scheme", "http"]);
        command.args(["-host", "127.0.0.1", "-public-host", "127.0.0.1"]);
        command.args(["-port", &port.to_string()]);
        let (process, _) = ServerProcess::start(&mut command, Says::Stderr, "server started")?;

        let address = format!("127.0.0.1:{port}");
        let body = format!("{{\"name\": \"{bucket}\"}}");
        let answer = exchange(
            &address,
            &format!(
                "POST /storage/v1/b?project=test HTTP/1.1\r\nHost: {address}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            ),
        );
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        Some(Self {
            _process: process,
            proxy: tokio::spawn(serve(listener, format!("http://{address}"))),
            endpoint,
        })
    }
}

async fn serve(listener: TcpListener, upstream: String) {
    let client: Upstream = Client::builder(TokioExecutor::new()).build_http();
    let uploads = Arc::new(Uploads::default());
    while let Ok((stream, _)) = listener.accept().await {
        let (client, upstream) = (client.clone(), upstream.clone());
        let uploads = Arc::clone(&uploads);
        tokio::spawn(async move {
            let answer = |request| {
                let uploads = Arc::clone(&uploads);
                answer(client.clone(), upstream.clone(), uploads, request)
            };
            // An error is the client's going away.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
    }
}

async fn answer(
    client: Upstream,
    upstream: String,
    uploads: Arc<Uploads>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Failed> {
    let (mut head, body) = request.into_parts();
    let mut body = body.collect().await?.to_bytes();
    let completes = match uploads.step(&head, &body) {
        Some(Step::Answer(answer)) => return Ok(answer),
        Some(Step::Whole(whole)) => {
            body = whole;
            head.method = Method::PUT;
            head.headers.remove(CONTENT_LENGTH);
            true
        }
        None => false,
    };
    let upload = upload(&head);
    let (method, target) = match &upload {
        Some(target) => (Method::POST, target.clone()),
        None => {
            let target = head.uri.path_and_query().ok_or("no path")?;
            (head.method.clone(), target.to_string())
        }
    };
    head.headers.remove(HOST);
    let mut forwarded = Request::new(Full::new(body));
    *forwarded.method_mut() = method;
    *forwarded.uri_mut() = format!("{upstream}{target}").parse()?;
    *forwarded.headers_mut() = head.headers;

    let (mut head, body) = client.request(forwarded).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    if upload.is_some() && head.status == StatusCode::OK {
        return uploaded(&body, completes);
    }
    head.headers.remove(TRANSFER_ENCODING);
    Ok(Response::from_parts(head, Full::new(body)))
}

/// The JSON API's target for an upload through the XML API; None = it is none.
fn upload(head: &Parts) -> Option<String> {
    if head.method != Method::PUT {
        return None;
    }
    let (bucket, object) = head.uri.path().strip_prefix('/')?.split_once('/')?;
    let condition = match head.headers.get("x-goog-if-generation-match") {
        Some(generation) => format!("&ifGenerationMatch={}", generation.to_str().ok()?),
        None => String::new(),
    };
    Some(format!(
        "/upload/storage/v1/b/{bucket}/o?uploadType=media&name={object}{condition}"
    ))
}

/// What the XML API answers to an upload, or the last request of one in parts, of which the JSON API told this.
fn uploaded(told: &[u8], completes: bool) -> Result<Response<Full<Bytes>>, Failed> {
    let told: serde_json::Value = serde_json::from_slice(told)?;
    let text = |name: &str| {
        told[name]
            .as_str()
            .ok_or("an upload without etag or generation")
    };
    let etag = format!("\"{}\"", text("etag")?);
    let said = if completes {
        format!(
            "<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>"
        )
    } else {
        String::new()
    };
    let response = Response::builder()
        .header(ETAG, etag)
        .header("x-goog-generation", text("generation")?)
        .body(Full::new(Bytes::from(said)))?;
    Ok(response)
}
