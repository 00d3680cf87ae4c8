//! What a metadata process says of itself.

use aquifer_format::ids::{Incarnation, JournalSeq, LeaderTerm};

use super::{
    super::{
        process::{CompactionBacklog, Leading, ProcessRole, ProcessStatus},
        proto,
    },
    Malformed,
    ids::{cluster_from, cluster_to},
};

const LEADER: u32 = 1;
const STANDBY: u32 = 2;
const REFUSING: u32 = 3;

/// A status.
#[must_use]
pub fn status_to(status: &ProcessStatus) -> proto::StatusReply {
    let mut to = proto::StatusReply {
        leader: status.leader.clone().unwrap_or_default(),
        ..proto::StatusReply::default()
    };
    match &status.role {
        ProcessRole::Leader(leading) => {
            to.role = LEADER;
            to.leading = Some(proto::Leading {
                term: leading.term.0,
                seq: leading.seq.0,
                cluster: cluster_to(leading.cluster),
                incarnation: leading.incarnation.0,
                backlog: leading.backlog.as_ref().map(backlog_to),
            });
        }
        ProcessRole::Standby => to.role = STANDBY,
        ProcessRole::Refusing { reason } => {
            to.role = REFUSING;
            to.reason.clone_from(reason);
        }
    }
    to
}

/// Reads what [`status_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn status_from(from: proto::StatusReply) -> Result<ProcessStatus, Malformed> {
    let role = match from.role {
        LEADER => {
            let leading = from.leading.ok_or(Malformed("a leader has no term"))?;
            ProcessRole::Leader(Leading {
                term: LeaderTerm(leading.term),
                seq: JournalSeq(leading.seq),
                cluster: cluster_from(&leading.cluster)?,
                incarnation: Incarnation(leading.incarnation),
                backlog: leading.backlog.as_ref().map(backlog_from),
            })
        }
        STANDBY => ProcessRole::Standby,
        REFUSING => ProcessRole::Refusing {
            reason: from.reason,
        },
        _ => return Err(Malformed("a process has an unknown role")),
    };
    Ok(ProcessStatus {
        role,
        leader: Some(from.leader).filter(|leader| !leader.is_empty()),
    })
}

fn backlog_to(backlog: &CompactionBacklog) -> proto::CompactionBacklog {
    proto::CompactionBacklog {
        small_objects: backlog.small_objects,
        small_bytes: backlog.small_bytes,
        small_age_epochs: backlog.small_age_epochs,
        ranges: backlog.ranges,
        dirty_logs: backlog.dirty_logs,
        deletable_objects: backlog.deletable_objects,
    }
}

fn backlog_from(from: &proto::CompactionBacklog) -> CompactionBacklog {
    CompactionBacklog {
        small_objects: from.small_objects,
        small_bytes: from.small_bytes,
        small_age_epochs: from.small_age_epochs,
        ranges: from.ranges,
        dirty_logs: from.dirty_logs,
        deletable_objects: from.deletable_objects,
    }
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::ClusterId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_leader_says_what_compactors_are_behind_with() {
        let backlog = CompactionBacklog {
            small_objects: 1,
            small_bytes: 2,
            small_age_epochs: 3,
            ranges: 4,
            dirty_logs: 5,
            deletable_objects: 6,
        };
        for backlog in [None, Some(backlog)] {
            let status = ProcessStatus {
                role: ProcessRole::Leader(Leading {
                    term: LeaderTerm(7),
                    seq: JournalSeq(8),
                    cluster: ClusterId(Uuid::from_u128(9)),
                    incarnation: Incarnation(10),
                    backlog,
                }),
                leader: Some("a:1".to_owned()),
            };
            assert_eq!(status_from(status_to(&status)).unwrap(), status);
        }
    }
}
