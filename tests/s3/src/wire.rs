//! HTTP around the service: latencies and faults, counters, answers that get lost.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use parking_lot::Mutex;
use s3s::service::S3Service;
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    counters::Counters,
    faults::{Fate, Fault, Faults, Plan},
    latency::Latency,
    operation::Call,
    random::Random,
};

/// Largest request: more than any object of the project.
const REQUEST_BYTES_MAX: usize = 1 << 30;

pub(crate) type StdError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type OutBody = UnsyncBoxBody<Bytes, StdError>;

/// The connection is to be closed without an answer.
#[derive(Debug)]
pub(crate) struct Cut(&'static str);

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Cut {}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) service: S3Service,
    pub(crate) faults: Arc<Mutex<Faults>>,
    pub(crate) latency: Mutex<Latency>,
    pub(crate) random: Mutex<Random>,
    pub(crate) counters: Mutex<Counters>,
    pub(crate) closed: CancellationToken,
}

impl Front {
    /// Answers one request. What a request does goes on when its client has gone.
    pub(crate) async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<OutBody>, Cut> {
        let (head, body) = request.into_parts();
        let call = Call::of(&head);
        self.counters.lock().arrived(&call);
        let Ok(body) = Limited::new(body, REQUEST_BYTES_MAX).collect().await else {
            return Err(Cut("the request's body did not arrive"));
        };
        let request = Request::from_parts(head, s3s::Body::from(body.to_bytes()));
        let closed = self.closed.clone();
        let work = async move {
            tokio::select! {
                biased;
                () = closed.cancelled() => Err(Cut("the server was stopped")),
                answered = self.carry_out(call, request) => answered,
            }
        };
        match clock::spawn(work).await {
            Ok(answered) => answered,
            Err(_) => Err(Cut("the request's task ended without an answer")),
        }
    }

    async fn carry_out(
        &self,
        call: Call,
        request: Request<s3s::Body>,
    ) -> Result<Response<OutBody>, Cut> {
        let (plan, before, after, place) = self.draw(&call);
        for (fault, wait) in [(Fault::HangPuts, plan.hang), (Fault::Stall, plan.stall)] {
            if !wait.is_zero() {
                self.counters.lock().faulted(fault);
                clock::sleep(wait).await;
            }
        }
        clock::sleep(before).await;
        let refused = match plan.fate {
            Fate::Denied => Some((StatusCode::FORBIDDEN, "AccessDenied")),
            Fate::SlowDown => Some((StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
            Fate::Conflict => Some((StatusCode::CONFLICT, "ConditionalRequestConflict")),
            Fate::Error { done: false } => {
                Some((StatusCode::INTERNAL_SERVER_ERROR, "InternalError"))
            }
            _ => None,
        };
        let answer = match refused {
            Some((status, code)) => Ok(error(status, code, call.action)),
            None => self.answer(request).await,
        };
        clock::sleep(after).await;
        let (mut head, mut bytes) = answer?;
        let fault = plan
            .fate
            .fault(head.status.is_success() && !bytes.is_empty());
        if let Some(fault) = fault {
            self.counters.lock().faulted(fault);
        }
        let mut sent = bytes.len();
        match (plan.fate, fault) {
            (Fate::LostReply, _) => return Err(Cut("this answer is lost, as the test wanted")),
            (Fate::Error { done: true }, _) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                (head, bytes) = error(status, "InternalError", call.action);
            }
            (Fate::Torn, Some(_)) => sent = index(bytes.len(), place),
            (Fate::Flipped, Some(_)) => bytes = flipped(&bytes, place),
            _ => {}
        }
        let ok = head.status.is_success();
        let length = u64::try_from(sent).unwrap_or(u64::MAX);
        self.counters.lock().answered(&call, ok, length);
        Ok(match fault {
            Some(Fault::TornBody) => torn(head, &bytes, sent),
            _ => whole(head, bytes),
        })
    }

    /// What happens to a request: its plan, its latency before and after it takes effect, and a number
    /// from 0 to 1.
    fn draw(&self, call: &Call) -> (Plan, std::time::Duration, std::time::Duration, f64) {
        let mut random = self.random.lock();
        let plan = self.faults.lock().plan(call, &mut random);
        let latency = self.latency.lock().of(call.operation).sample(&mut random);
        let before = latency.mul_f64(random.unit());
        let place = random.unit();
        (plan, before, latency.saturating_sub(before), place)
    }

    async fn answer(
        &self,
        request: Request<s3s::Body>,
    ) -> Result<(hyper::http::response::Parts, Bytes), Cut> {
        let Ok(response) = self.service.call(request).await else {
            return Err(Cut("the request is not one of S3"));
        };
        let (head, body) = response.into_parts();
        let Ok(body) = BodyExt::collect(body).await else {
            return Err(Cut("the answer could not be made"));
        };
        Ok((head, body.to_bytes()))
    }
}

/// An error as S3 writes it.
fn error(status: StatusCode, code: &str, action: &str) -> (hyper::http::response::Parts, Bytes) {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code>\
         <Message>{action}: as the test wanted</Message></Error>"
    );
    let mut response = Response::new(());
    *response.status_mut() = status;
    let content_type = hyper::header::HeaderValue::from_static("application/xml");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    (response.into_parts().0, Bytes::from(text))
}

fn never(never: Infallible) -> StdError {
    match never {}
}

fn whole(head: hyper::http::response::Parts, bytes: Bytes) -> Response<OutBody> {
    Response::from_parts(head, Full::new(bytes).map_err(never).boxed_unsync())
}

/// The head announces everything; the body ends after `sent` bytes of it with a broken connection.
fn torn(mut head: hyper::http::response::Parts, bytes: &Bytes, sent: usize) -> Response<OutBody> {
    head.headers.insert(CONTENT_LENGTH, bytes.len().into());
    let part = bytes.slice(..sent);
    let frames = futures::stream::iter([
        Ok(Frame::data(part)),
        Err(StdError::from("this body is torn, as the test wanted")),
    ]);
    // what was written must leave before the connection breaks
    let frames = frames.then(|frame| async move {
        if frame.is_err() {
            clock::sleep(std::time::Duration::from_millis(5)).await;
        }
        frame
    });
    let body: OutBody = BodyExt::boxed_unsync(StreamBody::new(Box::pin(frames)));
    Response::from_parts(head, body)
}

fn flipped(bytes: &Bytes, place: f64) -> Bytes {
    let mut copy = bytes.to_vec();
    let at = index(copy.len(), place);
    if let Some(byte) = copy.get_mut(at) {
        *byte ^= 1 << (at % 8);
    }
    Bytes::from(copy)
}

/// An index below `length`, at `place` (0 to 1) of it.
fn index(length: usize, place: f64) -> usize {
    let steps = 1 << 16;
    // exact enough, and without a cast of a float
    let step = (0..16).rev().fold(0_usize, |step, bit| {
        let next = step | (1 << bit);
        let fraction = f64::from(u32::try_from(next).unwrap_or(0)) / 65_536.0;
        if fraction <= place { next } else { step }
    });
    (length / steps * step + length % steps * step / steps).min(length.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_inside() {
        for length in [1, 2, 7, 70_000, 8 << 20] {
            assert_eq!(index(length, 0.0), 0);
            assert!(index(length, 0.999_999) < length);
            let middle = index(length, 0.5);
            assert!(middle.abs_diff(length / 2) <= 1, "{length}: {middle}");
        }
    }

    #[test]
    fn one_bit_is_flipped() {
        let bytes = Bytes::from(vec![0; 1_000]);
        for place in [0.0, 0.3, 0.99] {
            let wrong = flipped(&bytes, place);
            let ones: u32 = wrong.iter().map(|byte| byte.count_ones()).sum();
            assert_eq!((wrong.len(), ones), (1_000, 1));
        }
    }
}
