//! Why connections end, and what is said of it in the log.

use std::{io, net::SocketAddr, time::Duration};

use aquifer_store::{Clock, Monotonic};
use parking_lot::Mutex;

use crate::{api::Close, guard::GuardError};

/// What a client sent that is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a frame of {length} bytes is announced, at most {max} are taken here{}", other_protocol(*length))]
    Length { length: i32, max: usize },
    #[error("the connection ended inside a frame, after {bytes} bytes of it")]
    EndInFrame { bytes: usize },
    #[error("api key {api_key} is not served (is this a Kafka client?)")]
    UnknownApi { api_key: i16 },
    #[error("{api} version {version} is not served, only {min} to {max}")]
    UnsupportedVersion {
        api: &'static str,
        version: i16,
        min: i16,
        max: i16,
    },
    #[error("malformed {api} request, version {version}: {error}")]
    Malformed {
        api: &'static str,
        version: i16,
        error: GuardError,
    },
    #[error("no memory for {bytes} more bytes of a request while others wait for their answers")]
    Memory { bytes: usize },
    #[error("no request came within {0:?}")]
    FirstRequestOverdue(Duration),
}

/// What else the first four bytes can be.
fn other_protocol(length: i32) -> &'static str {
    match &length.to_be_bytes() {
        b"GET " | b"POST" | b"HEAD" | b"PUT " | b"OPTI" | b"PRI " => " (it looks like HTTP)",
        [0x16, 0x03, ..] => " (it looks like TLS, and this listener has none)",
        b"SSH-" => " (it looks like SSH)",
        _ => "",
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The client closed it.
    ByPeer,
    /// It broke.
    Io(io::Error),
    /// No byte moved for too long.
    Idle,
    /// The client sent what is not acceptable.
    Refused(Refusal),
    /// A handler wants it closed.
    Handler(Close),
    /// Somebody called [`super::ConnectionHandle::close`].
    Ordered,
    /// The agent stops, and everything that it had accepted was answered.
    Drained,
}

/// Causes that are logged, each limited in rate on its own.
const CAUSES: [&str; 9] = [
    "frame_length",
    "end_in_frame",
    "unknown_api",
    "unsupported_version",
    "malformed",
    "memory",
    "no_request",
    "handler",
    "too_many_connections",
];

/// At most one line per cause in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    logged_at: Option<Monotonic>,
    unlogged: u64,
}

/// Writes one clear line per ended connection whose end the operator should know, at most one per
/// cause and [`LOG_INTERVAL`], with the number of those that were left out.
#[derive(Debug, Default)]
pub(crate) struct EndLog {
    lines: Mutex<[Line; CAUSES.len()]>,
}

impl EndLog {
    /// Notes how a connection ended.
    pub(crate) fn ended(&self, clock: &dyn Clock, peer: SocketAddr, end: &End) {
        match end {
            End::Refused(refusal) => self.line(clock, peer, refusal_cause(refusal), refusal),
            End::Handler(close) => self.line(clock, peer, "handler", close),
            End::Io(error) => tracing::debug!(%peer, %error, "connection broke"),
            End::ByPeer | End::Idle | End::Ordered | End::Drained => {
                tracing::debug!(%peer, ?end, "connection ended");
            }
        }
    }

    /// Notes that a connection was not taken.
    pub(crate) fn too_many(&self, clock: &dyn Clock, peer: SocketAddr, max: usize) {
        let what = format!("{max} connections are open already");
        self.line(clock, peer, "too_many_connections", &what);
    }

    fn line(
        &self,
        clock: &dyn Clock,
        peer: SocketAddr,
        cause: &'static str,
        what: &dyn std::fmt::Display,
    ) {
        metrics::counter!("aquifer_connections_refused_total", "cause" => cause).increment(1);
        let now = clock.now();
        let index = CAUSES.iter().position(|c| *c == cause).unwrap_or(0);
        let mut lines = self.lines.lock();
        let line = &mut lines[index];
        if line
            .logged_at
            .is_some_and(|at| now.since(at) < LOG_INTERVAL)
        {
            line.unlogged += 1;
            return;
        }
        let left_out = std::mem::take(&mut line.unlogged);
        line.logged_at = Some(now);
        drop(lines);
        tracing::warn!(%peer, cause, left_out, "connection closed: {what}");
    }
}

fn refusal_cause(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Length { .. } => "frame_length",
        Refusal::EndInFrame { .. } => "end_in_frame",
        Refusal::UnknownApi { .. } => "unknown_api",
        Refusal::UnsupportedVersion { .. } => "unsupported_version",
        Refusal::Malformed { .. } => "malformed",
        Refusal::Memory { .. } => "memory",
        Refusal::FirstRequestOverdue(_) => "no_request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_recognized() {
        for (bytes, hint) in [
            (*b"GET ", "HTTP"),
            ([0x16, 3, 1, 2], "TLS"),
            ([0x7f, 0xff, 0xff, 0xff], ""),
        ] {
            let length = i32::from_be_bytes(bytes);
            let text = Refusal::Length { length, max: 1 }.to_string();
            assert!(text.contains(hint), "{text}");
        }
    }
}
