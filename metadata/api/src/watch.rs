//! Watching the cluster's state.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aquifer_format::ids::{
    Incarnation, JournalSeq, LeaderEpoch, LeaderTerm, Offset, PartitionId, TopicId, UploadEpoch,
    WriterSlot,
};

use crate::{
    extent::{Extent, Watermarks},
    mark::JournalMark,
    register::AgentAddress,
};

/// What a watcher says: changes of what extents it is sent, and that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterestChange {
    /// Extents of `partition` from offset `from` on are wanted from now on. Acknowledged by
    /// [`ExtentsFrame::complete_from`].
    Add {
        /// The partition.
        partition: PartitionId,
        /// First offset of interest.
        from: Offset,
    },
    /// They are no longer wanted.
    Remove {
        /// The partition.
        partition: PartitionId,
    },
    /// The agent lives. Once it has said so it goes on saying so, every [`PRESENCE_EVERY`]: silent for
    /// [`SILENT_AGENT_MAX`] it counts as dead, whether its watch is open or not. One that never says
    /// it counts as live while its watch is open, and that long after.
    Presence {
        /// Whether clients and other agents may be told of it. False = it stops, or cannot serve just
        /// now; it is left out of the live agents at once.
        named: bool,
    },
}

/// How often an agent says that it is present.
pub const PRESENCE_EVERY: Duration = Duration::from_secs(1);
/// After this long without a word an agent is no longer among the live ones. 3 s: a broken connection is
/// back within that, and a client that must find another agent still has most of its 5 s.
pub const SILENT_AGENT_MAX: Duration = Duration::from_secs(3);

/// What a watcher is sent: for each journal position (group commit) exactly one common frame, then at most
/// one extents frame. Between group commits the last position may be shown again, by common frames of what
/// the journal does not have (agents, the throttle flag) and by extents frames that only acknowledge
/// interests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The same for every watcher.
    Common(Arc<CommonFrame>),
    /// For this watcher's interests.
    Extents(ExtentsFrame),
}

/// State that every agent follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonFrame {
    /// The leader's term.
    pub term: LeaderTerm,
    /// The journal position that it shows; everything in it is durable.
    pub seq: JournalSeq,
    /// Hash of the row at that position.
    pub hash: [u8; 32],
    /// The cluster's incarnation.
    pub incarnation: Incarnation,
    /// True = this is the whole state: it replaces topics, configs and agents, clears interests (add
    /// them again), keeps cached extents, and every parked fetch must be looked at again.
    pub reset: bool,
    /// The upload epoch.
    pub upload_epoch: UploadEpoch,
    /// Topics that are new or changed.
    pub topics: Vec<Arc<TopicView>>,
    /// Topics that are gone.
    pub deleted_topics: Vec<TopicId>,
    /// Partitions whose watermarks changed.
    pub watermarks: Vec<(PartitionId, Watermarks)>,
    /// All live agents, where that changed.
    pub agents: Option<Vec<AgentView>>,
    /// False in the first seconds of a leader, while agents that were live before may not have found
    /// it: those that a watcher knew and `agents` does not have stay known. Set in every frame.
    pub agents_complete: bool,
    /// True while the metadata budget is over 80 %: agents throttle producers.
    pub throttle_produce: bool,
    /// The dynamic configs of all brokers, where they changed, and in every reset;
    /// [`crate::config`] interprets them.
    pub broker_configs: Option<Arc<BTreeMap<String, String>>>,
}

impl CommonFrame {
    /// What a watcher remembers of this frame, to present it when it registers or watches again.
    #[must_use]
    pub fn mark(&self) -> JournalMark {
        JournalMark {
            incarnation: self.incarnation,
            term: self.term,
            seq: self.seq,
            hash: self.hash,
        }
    }
}

/// Extents of this watcher's interests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtentsFrame {
    /// The journal position that it shows.
    pub seq: JournalSeq,
    /// Interests that begin with this frame: from this offset on every extent of the partition comes
    /// with this frame or a later one. Before it: ask `locate`.
    pub complete_from: Vec<(PartitionId, Offset)>,
    /// New extents in offset order per partition.
    pub extents: Vec<(PartitionId, Vec<Extent>)>,
}

/// A topic, as agents see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicView {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// Its leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// Configs that were set on it (not the defaults); [`crate::config`] interprets them.
    pub configs: BTreeMap<String, String>,
}

/// A live agent, as agents see each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentView {
    /// Its slot.
    pub slot: WriterSlot,
    /// Where it is.
    pub address: AgentAddress,
}
