//! What a request asks for, as far as faults, latencies and counters tell requests apart.

use std::borrow::Cow;

use hyper::{Method, http::request::Parts};
use serde::{Deserialize, Serialize};

/// An operation on the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// PutObject.
    Put,
    /// GetObject, whole or a range.
    Get,
    /// HeadObject.
    Head,
    /// ListObjectsV2 and ListMultipartUploads.
    List,
    /// DeleteObject and DeleteObjects.
    Delete,
    /// The calls of a multipart upload.
    Multipart,
    /// Everything about buckets.
    Bucket,
}

impl Operation {
    /// Whether it changes objects.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::Put | Self::Delete | Self::Multipart)
    }
}

/// A request as its head shows it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) operation: Operation,
    /// Empty where the request names none (listings, deletes of many).
    pub(crate) key: String,
    /// It carries If-Match or If-None-Match and writes.
    pub(crate) conditional: bool,
    /// The action that a policy must allow for it.
    pub(crate) action: &'static str,
    /// Bytes of the object that it brings.
    pub(crate) bytes: u64,
}

impl Call {
    pub(crate) fn of(head: &Parts) -> Self {
        let path = head.uri.path().trim_start_matches('/');
        let key = path.split_once('/').map_or("", |(_, key)| key);
        let decode = |text: &str| -> String {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
            Cow::into_owned(decoded)
        };
        let names: Vec<&str> = head
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .map(|pair| pair.split('=').next().unwrap_or_default())
            .collect();
        let has = |name: &str| names.contains(&name);
        let (operation, action) = if key.is_empty() {
            on_bucket(&head.method, &has)
        } else {
            on_object(&head.method, &has)
        };
        let header = |name: &str| head.headers.get(name);
        let conditional = operation.writes()
            && (header("if-none-match").is_some() || header("if-match").is_some());
        let bytes = header("x-amz-decoded-content-length")
            .or_else(|| header("content-length"))
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        Self {
            operation,
            key: decode(key),
            conditional,
            action,
            bytes,
        }
    }
}

fn on_bucket(method: &Method, has: &dyn Fn(&str) -> bool) -> (Operation, &'static str) {
    match *method {
        Method::POST if has("delete") => (Operation::Delete, "s3:DeleteObject"),
        Method::GET if has("lifecycle") => (Operation::Bucket, "s3:GetLifecycleConfiguration"),
        Method::GET if has("versioning") => (Operation::Bucket, "s3:GetBucketVersioning"),
        Method::GET if has("location") => (Operation::Bucket, "s3:GetBucketLocation"),
        Method::GET if has("uploads") => (Operation::List, "s3:ListBucketMultipartUploads"),
        Method::GET => (Operation::List, "s3:ListBucket"),
        Method::HEAD => (Operation::Bucket, "s3:ListBucket"),
        Method::PUT if has("lifecycle") => (Operation::Bucket, "s3:PutLifecycleConfiguration"),
        Method::PUT if has("versioning") => (Operation::Bucket, "s3:PutBucketVersioning"),
        Method::PUT => (Operation::Bucket, "s3:CreateBucket"),
        _ => (Operation::Bucket, "s3:DeleteBucket"),
    }
}

fn on_object(method: &Method, has: &dyn Fn(&str) -> bool) -> (Operation, &'static str) {
    match *method {
        Method::DELETE if has("uploadId") => (Operation::Multipart, "s3:AbortMultipartUpload"),
        _ if has("uploadId") || has("uploads") => (Operation::Multipart, "s3:PutObject"),
        Method::PUT | Method::POST => (Operation::Put, "s3:PutObject"),
        Method::HEAD => (Operation::Head, "s3:GetObject"),
        Method::DELETE => (Operation::Delete, "s3:DeleteObject"),
        _ => (Operation::Get, "s3:GetObject"),
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn requests_are_told_apart_by_their_head() {
        for (method, uri, operation, key, action) in [
            ("PUT", "/b/k", Operation::Put, "k", "s3:PutObject"),
            (
                "GET",
                "/b/a/b%20c?x-id=GetObject",
                Operation::Get,
                "a/b c",
                "s3:GetObject",
            ),
            ("HEAD", "/b/k", Operation::Head, "k", "s3:GetObject"),
            (
                "GET",
                "/b?list-type=2&prefix=x",
                Operation::List,
                "",
                "s3:ListBucket",
            ),
            (
                "GET",
                "/b?uploads&prefix=x",
                Operation::List,
                "",
                "s3:ListBucketMultipartUploads",
            ),
            (
                "GET",
                "/b/?list-type=2",
                Operation::List,
                "",
                "s3:ListBucket",
            ),
            (
                "POST",
                "/b?delete",
                Operation::Delete,
                "",
                "s3:DeleteObject",
            ),
            ("DELETE", "/b/k", Operation::Delete, "k", "s3:DeleteObject"),
            (
                "POST",
                "/b/k?uploads",
                Operation::Multipart,
                "k",
                "s3:PutObject",
            ),
            (
                "PUT",
                "/b/k?partNumber=1&uploadId=2",
                Operation::Multipart,
                "k",
                "s3:PutObject",
            ),
            (
                "DELETE",
                "/b/k?uploadId=2",
                Operation::Multipart,
                "k",
                "s3:AbortMultipartUpload",
            ),
            (
                "GET",
                "/b?versioning",
                Operation::Bucket,
                "",
                "s3:GetBucketVersioning",
            ),
            (
                "GET",
                "/b/?lifecycle",
                Operation::Bucket,
                "",
                "s3:GetLifecycleConfiguration",
            ),
            ("PUT", "/b", Operation::Bucket, "", "s3:CreateBucket"),
        ] {
            let request = Request::builder().method(method).uri(uri);
            let (head, ()) = request
                .header("if-none-match", "*")
                .body(())
                .unwrap()
                .into_parts();
            let call = Call::of(&head);
            assert_eq!(call.operation, operation, "{method} {uri}");
            assert_eq!(call.key, key, "{method} {uri}");
            assert_eq!(call.action, action, "{method} {uri}");
            assert_eq!(call.conditional, operation.writes(), "{method} {uri}");
        }
    }
}
