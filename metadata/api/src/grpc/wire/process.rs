//! What a metadata process says of itself.

use aquifer_format::ids::{Incarnation, JournalSeq, LeaderTerm};

use super::{
    super::{
        process::{Leading, ProcessRole, ProcessStatus},
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
