//! Uploads in parts of Google's XML API, which the emulator does not have: the proxy holds the parts, and sends the
//! whole object once it is complete.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Response, StatusCode, header::ETAG, http::request::Parts};
use parking_lot::Mutex;

type Answer = Response<Full<Bytes>>;

#[derive(Debug, Default)]
struct State {
    begun: u64,
    uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
}

/// Uploads under way.
#[derive(Debug, Default)]
pub(super) struct Uploads(Mutex<State>);

/// What becomes of a request.
pub(super) enum Step {
    /// This is its answer.
    Answer(Answer),
    /// It completes this object.
    Whole(Bytes),
}

impl Uploads {
    /// None = the request is about no upload in parts.
    pub(super) fn step(&self, head: &Parts, body: &Bytes) -> Option<Step> {
        let query = head.uri.query()?;
        let value = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(key, value)| (key == name).then(|| value.to_owned()))
        };
        let state = &mut *self.0.lock();
        if head.method == Method::POST && value("uploads").is_some() {
            state.begun += 1;
            let id = format!("upload-{}", state.begun);
            state.uploads.insert(id.clone(), BTreeMap::new());
            let said = format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            );
            return Some(Step::Answer(answer(StatusCode::OK, said)));
        }
        let id = value("uploadId")?;
        if !state.uploads.contains_key(&id) {
            let said = "<Error><Code>NoSuchUpload</Code></Error>".to_owned();
            return Some(Step::Answer(answer(StatusCode::NOT_FOUND, said)));
        }
        let number = value("partNumber").and_then(|number| number.parse().ok());
        Some(match number {
            Some(number) if head.method == Method::PUT => {
                let parts = state.uploads.entry(id).or_default();
                parts.insert(number, body.clone());
                Step::Answer(part_answer(number))
            }
            _ => {
                let parts = state.uploads.remove(&id).unwrap_or_default();
                if head.method == Method::DELETE {
                    Step::Answer(answer(StatusCode::NO_CONTENT, String::new()))
                } else {
                    Step::Whole(whole(&parts, body))
                }
            }
        })
    }
}

/// The parts that the request names, one after the other.
fn whole(parts: &BTreeMap<u32, Bytes>, named: &Bytes) -> Bytes {
    let named = String::from_utf8_lossy(named);
    let numbers = named.split("<PartNumber>").skip(1);
    let numbers = numbers.filter_map(|rest| rest.split('<').next()?.parse::<u32>().ok());
    let parts: Vec<Bytes> = numbers
        .filter_map(|number| parts.get(&number).cloned())
        .collect();
    parts.concat().into()
}

fn answer(status: StatusCode, said: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(said)));
    *answer.status_mut() = status;
    answer
}

fn part_answer(number: u32) -> Answer {
    let mut answer = answer(StatusCode::OK, String::new());
    let headers = answer.headers_mut();
    let tag = format!("\"part-{number}\"");
    headers.insert(ETAG, tag.parse().unwrap());
    headers.insert("x-goog-generation", "1".parse().unwrap());
    answer
}
