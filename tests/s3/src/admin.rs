//! The admin endpoint: what the library's methods do, over HTTP with JSON.
//!
//! | request | what |
//! |---|---|
//! | `GET /ready` | 200 |
//! | `GET /faults`, `PUT /faults` | [`crate::faults::Faults`]; a PUT replaces all of them |
//! | `GET /latency`, `PUT /latency` | [`crate::latency::Latency`], or `"none"`, `"standard"`, `"express"` |
//! | `GET /counters?prefix=P` | [`crate::counters::Counters`] with the keys that begin with P |
//! | `DELETE /counters` | counts from 0 again |
//! | `PUT /buckets/NAME` | makes a bucket (201; 200 = it was there) |
//! | `GET /buckets/NAME` | `{"objects": n, "bytes": n}` |
//!
//! What is not understood is answered with 400 or 404 and a line of text.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    latency::Latency,
    server::Control,
    wire::{OutBody, StdError},
};

/// Largest request.
const BYTES_MAX: usize = 1 << 20;

type Outcome = Result<(StatusCode, String), (StatusCode, String)>;

pub(crate) async fn answer(control: &Control, request: Request<Incoming>) -> Response<OutBody> {
    let (head, body) = request.into_parts();
    let outcome = match Limited::new(body, BYTES_MAX).collect().await {
        Ok(body) => {
            let query = head.uri.query().unwrap_or_default();
            act(
                control,
                &head.method,
                head.uri.path(),
                query,
                &body.to_bytes(),
            )
        }
        Err(_) => Err((
            StatusCode::BAD_REQUEST,
            "the body did not arrive".to_owned(),
        )),
    };
    let (status, text) = outcome.unwrap_or_else(|refused| refused);
    let body = Full::new(Bytes::from(text)).map_err(|never| -> StdError { match never {} });
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}

fn act(control: &Control, method: &Method, path: &str, query: &str, body: &[u8]) -> Outcome {
    let bucket = path
        .strip_prefix("/buckets/")
        .filter(|name| !name.is_empty());
    match (method, path, bucket) {
        (&Method::GET, "/ready", _) => Ok((StatusCode::OK, "ready\n".to_owned())),
        (&Method::GET, "/faults", _) => shown(&control.faults()),
        (&Method::PUT, "/faults", _) => {
            control.set_faults(understood(body)?);
            shown(&control.faults())
        }
        (&Method::GET, "/latency", _) => shown(&control.latency()),
        (&Method::PUT, "/latency", _) => {
            let latency = match understood::<String>(body) {
                Ok(name) => name.parse::<Latency>().map_err(bad)?,
                Err(_) => understood(body)?,
            };
            control.set_latency(latency);
            shown(&control.latency())
        }
        (&Method::GET, "/counters", _) => {
            let prefix = query.strip_prefix("prefix=").unwrap_or_default();
            let prefix = percent_encoding::percent_decode_str(prefix).decode_utf8_lossy();
            shown(&control.counters(&prefix))
        }
        (&Method::DELETE, "/counters", _) => {
            control.reset_counters();
            Ok((StatusCode::OK, String::new()))
        }
        (&Method::PUT, _, Some(name)) => Ok(match control.create_bucket(name) {
            true => (StatusCode::CREATED, String::new()),
            false => (StatusCode::OK, String::new()),
        }),
        (&Method::GET, _, Some(name)) => match control.totals(name) {
            Some((objects, bytes)) => {
                shown(&serde_json::json!({ "objects": objects, "bytes": bytes }))
            }
            None => Err((
                StatusCode::NOT_FOUND,
                "there is no such bucket\n".to_owned(),
            )),
        },
        _ => Err((
            StatusCode::NOT_FOUND,
            "there is no such endpoint\n".to_owned(),
        )),
    }
}

fn bad(reason: String) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, format!("{reason}\n"))
}

fn understood<T: DeserializeOwned>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(body).map_err(|error| bad(error.to_string()))
}

fn shown<T: Serialize>(value: &T) -> Outcome {
    serde_json::to_string(value)
        .map(|text| (StatusCode::OK, text))
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
