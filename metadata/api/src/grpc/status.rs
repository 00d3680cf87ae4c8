//! Errors as gRPC statuses: the code for people and proxies, the exact error in the details.

use aquifer_format::ids::SessionId;
use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

use super::{
    proto::{self, error::Kind},
    wire::Malformed,
};
use crate::error::MetadataError;

/// Reasons travel in headers, where a byte may take three, so they are cut.
const REASON_BYTES_MAX: usize = 1_000;

/// The status of an error.
#[must_use]
pub fn status_of(error: &MetadataError) -> Status {
    let (code, kind) = match error {
        MetadataError::Unavailable {
            reason,
            may_have_happened,
        } => (
            Code::Unavailable,
            Kind::Unavailable(proto::Unavailable {
                reason: cut(reason),
                may_have_happened: *may_have_happened,
            }),
        ),
        MetadataError::UnknownSession { session } => (
            Code::NotFound,
            Kind::UnknownSession(proto::UnknownSession { session: session.0 }),
        ),
        MetadataError::LostRows { reason } => (
            Code::DataLoss,
            Kind::LostRows(proto::LostRows {
                reason: cut(reason),
            }),
        ),
        MetadataError::Refused { reason } => (
            Code::InvalidArgument,
            Kind::Refused(proto::Refused {
                reason: cut(reason),
            }),
        ),
    };
    with_details(code, &cut(&error.to_string()), kind)
}

/// The status of a message that cannot be read.
#[must_use]
pub fn malformed(malformed: Malformed) -> Status {
    status_of(&MetadataError::from(malformed))
}

/// The status of a process that does not lead: who does, as far as it knows (an endpoint), and where
/// nobody may, why.
#[must_use]
pub fn not_leader(leader: Option<&str>, reason: &str) -> Status {
    let message = match (leader, reason) {
        (_, reason) if !reason.is_empty() => cut(reason),
        (Some(leader), _) => format!("a standby; the metadata leader is {leader}"),
        (None, _) => "a standby, which knows of no metadata leader".to_owned(),
    };
    let kind = Kind::NotLeader(proto::NotLeader {
        leader: leader.unwrap_or_default().to_owned(),
        reason: cut(reason),
    });
    with_details(Code::FailedPrecondition, &message, kind)
}

fn with_details(code: Code, message: &str, kind: Kind) -> Status {
    let details = proto::Error { kind: Some(kind) }.encode_to_vec();
    Status::with_details(code, message, Bytes::from(details))
}

fn cut(reason: &str) -> String {
    let ends = reason.char_indices().map(|(at, char)| at + char.len_utf8());
    let end = ends.take_while(|end| *end <= REASON_BYTES_MAX).last();
    reason[..end.unwrap_or_default()].to_owned()
}

/// What a status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The call has this error.
    Error(MetadataError),
    /// The call did not happen: the process does not lead.
    NotLeader {
        /// Who does.
        leader: Option<String>,
        /// Why nobody may.
        reason: String,
    },
}

/// What a status says. One without details comes from the wire or from a library on either side, and the
/// call may have happened.
pub(super) fn failure_of(status: &Status) -> Failure {
    let details = proto::Error::decode(status.details());
    let kind = details.ok().and_then(|error| error.kind);
    let error = match kind {
        Some(Kind::Unavailable(unavailable)) => MetadataError::Unavailable {
            reason: unavailable.reason,
            may_have_happened: unavailable.may_have_happened,
        },
        Some(Kind::UnknownSession(unknown)) => MetadataError::UnknownSession {
            session: SessionId(unknown.session),
        },
        Some(Kind::Refused(refused)) => MetadataError::Refused {
            reason: refused.reason,
        },
        Some(Kind::LostRows(lost)) => MetadataError::LostRows {
            reason: lost.reason,
        },
        None => plain(status),
        Some(Kind::NotLeader(not_leader)) => {
            return Failure::NotLeader {
                leader: Some(not_leader.leader).filter(|leader| !leader.is_empty()),
                reason: not_leader.reason,
            };
        }
    };
    Failure::Error(error)
}

fn plain(status: &Status) -> MetadataError {
    let reason = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        // Not admitted, not known, or too large: the call, or the answer to one that happened. Codes that
        // HTTP/2 errors are translated to (ResourceExhausted, PermissionDenied) refuse nothing.
        Code::Unauthenticated | Code::Unimplemented | Code::OutOfRange => {
            MetadataError::Refused { reason }
        }
        _ => MetadataError::Unavailable {
            reason,
            may_have_happened: true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_travel_exactly() {
        let unavailable = |may_have_happened| MetadataError::Unavailable {
            reason: "the journal is slow".to_owned(),
            may_have_happened,
        };
        for error in [
            unavailable(true),
            unavailable(false),
            MetadataError::UnknownSession {
                session: SessionId(u64::MAX),
            },
            MetadataError::LostRows {
                reason: "the tip is ahead".to_owned(),
            },
            MetadataError::Refused {
                reason: "a gap — in the numbers".to_owned(),
            },
        ] {
            let failure = failure_of(&status_of(&error));
            assert_eq!(failure, Failure::Error(error));
        }
    }

    #[test]
    fn a_standby_names_the_leader() {
        for (leader, reason) in [
            (Some("metadata-1:7700"), ""),
            (None, ""),
            (None, "lost rows"),
        ] {
            let failure = failure_of(&not_leader(leader, reason));
            let expected = Failure::NotLeader {
                leader: leader.map(str::to_owned),
                reason: reason.to_owned(),
            };
            assert_eq!(failure, expected);
        }
    }

    #[test]
    fn what_the_wire_says_may_have_happened_unless_it_cannot_have() {
        for (status, may_have_happened) in [
            (Status::unavailable("connection reset"), Some(true)),
            (Status::unknown("h2"), Some(true)),
            (Status::internal("broken"), Some(true)),
            (Status::cancelled("cancelled"), Some(true)),
            (Status::deadline_exceeded("late"), Some(true)),
            (Status::resource_exhausted("ENHANCE_YOUR_CALM"), Some(true)),
            (Status::permission_denied("INADEQUATE_SECURITY"), Some(true)),
            (Status::unauthenticated("who?"), None),
            (Status::unimplemented("what?"), None),
            (Status::out_of_range("too large"), None),
            (
                Status::with_details(Code::Internal, "", Bytes::from_static(b"\xff\xff")),
                Some(true),
            ),
        ] {
            let failure = failure_of(&status);
            match may_have_happened {
                Some(expected) => assert!(
                    matches!(
                        failure,
                        Failure::Error(MetadataError::Unavailable { may_have_happened, .. })
                            if may_have_happened == expected
                    ),
                    "{status:?}: {failure:?}"
                ),
                None => assert!(
                    matches!(failure, Failure::Error(MetadataError::Refused { .. })),
                    "{status:?}: {failure:?}"
                ),
            }
        }
    }

    #[test]
    fn long_reasons_fit_into_headers() {
        for text in ["a", "ä", "🦀", "\n"] {
            let error = MetadataError::Refused {
                reason: text.repeat(100_000),
            };
            let mut headers = http::HeaderMap::new();
            let added = status_of(&error).add_header(&mut headers);
            added.expect("a status is headers");
            let bytes: usize = headers.values().map(http::HeaderValue::len).sum();
            assert!((1_500..8_000).contains(&bytes), "{text:?}: {bytes}");
        }
    }
}
