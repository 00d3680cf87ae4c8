//! Groups' part of the events: who is in them, what they consume, how far they are.
//!
//! Only what clients can see is here. When a session ends, who waits for an answer and how long a rebalance
//! may take is known to the leader alone, and begins anew with the next one.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::ids::{Offset, PartitionId};
use bytes::Bytes;

mod partitions;

pub use partitions::TopicPartitions;

/// Names a group in the journal: short, and never given to another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupNumber(pub u64);

/// Id of a member.
pub type MemberId = Arc<str>;

/// By which protocol a group is coordinated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupKind {
    /// JoinGroup and SyncGroup; also a group that only has offsets.
    #[default]
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

/// What happens to a group. The changes of an event are carried out in their order; one that does not fit
/// the group (of the other kind, a member that is not there) does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// It is of this kind from now on, at its beginning: without members, generation or epoch 0.
    Kind(GroupKind),
    /// Classic: how its generation stands.
    Phase(ClassicPhase),
    /// Classic: a member joins, or joins again with what is said here; its assignment stays.
    Member(ClassicMember),
    /// A member is gone, of whatever kind.
    Removed(MemberId),
    /// Classic: what each member is assigned, by its leader; members that are not named have nothing.
    Assigned(Vec<(MemberId, Bytes)>),
    /// Consumer: a member joins, or its subscription changes; target and current assignment stay.
    ConsumerMember(Box<ConsumerMember>),
    /// Consumer: something changed that asks for another target assignment.
    Epoch {
        /// The group epoch.
        epoch: i32,
        /// Hash of the topics that it is subscribed to, as of this epoch.
        metadata_hash: u64,
    },
    /// Consumer: the target assignment of an epoch. Members that are not named keep theirs.
    Target {
        /// The group epoch that it is for.
        epoch: i32,
        /// Members whose target differs, sorted.
        members: Vec<(MemberId, TopicPartitions)>,
    },
    /// Consumer: a member moves towards its target.
    Current {
        /// The member.
        member: MemberId,
        /// Where it stands.
        assignment: CurrentAssignment,
    },
}

impl GroupChange {
    /// About how many bytes it takes in a row.
    pub(crate) fn bytes(&self) -> usize {
        let protocols = |all: &[Protocol]| {
            let one = |protocol: &Protocol| protocol.name.len() + protocol.metadata.len() + 8;
            all.iter().map(one).sum::<usize>()
        };
        match self {
            Self::Kind(_) | Self::Epoch { .. } => 16,
            Self::Phase(_) | Self::Removed(_) => 128,
            Self::Member(member) => 128 + protocols(&member.protocols),
            Self::Assigned(all) => all.iter().map(|(id, to)| id.len() + to.len() + 8).sum(),
            Self::ConsumerMember(member) => {
                let topics: usize = member.topics.iter().map(|name| name.len() + 2).sum();
                let classic = member.classic.as_ref();
                256 + topics + classic.map_or(0, |classic| protocols(&classic.protocols))
            }
            Self::Target { members, .. } => {
                let one = |(id, to): &(MemberId, TopicPartitions)| id.len() + 4 * to.len() + 32;
                members.iter().map(one).sum()
            }
            Self::Current { assignment, .. } => {
                128 + 4 * (assignment.assigned.len() + assignment.revoking.len())
            }
        }
    }
}

/// How the generation of a classic group stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicPhase {
    /// Its state.
    pub state: ClassicState,
    /// The generation; 0 before the first one.
    pub generation: i32,
    /// Protocol type, once a member said one ("consumer", "connect", ...).
    pub protocol_type: Option<String>,
    /// The protocol that was chosen for the generation.
    pub protocol: Option<String>,
    /// The member that assigns.
    pub leader: Option<MemberId>,
    /// Since when it is in this state, milliseconds since 1970: offsets of an empty group expire by it.
    pub since_ms: i64,
}

/// States of a classic group. One that is dead is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClassicState {
    /// No members; perhaps offsets.
    #[default]
    Empty,
    /// Members are to join.
    PreparingRebalance,
    /// All joined; the leader is to assign.
    CompletingRebalance,
    /// Assigned.
    Stable,
}

impl ClassicState {
    /// As Kafka names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A protocol that a classic member supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name ("range", "cooperative-sticky", ...).
    pub name: String,
    /// What the member says in it; for clients, seldom looked at.
    pub metadata: Bytes,
}

/// A member of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMember {
    /// Its id.
    pub id: MemberId,
    /// `group.instance.id` of a static member.
    pub instance: Option<Arc<str>>,
    /// Its client's id.
    pub client_id: Arc<str>,
    /// Its client's address as Kafka shows it ("/10.0.0.1").
    pub client_host: Arc<str>,
    /// Session timeout in milliseconds.
    pub session_timeout_ms: i32,
    /// Rebalance timeout in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// What it supports, best first.
    pub protocols: Vec<Protocol>,
}

/// A member of a consumer group, as it described itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerMember {
    /// Its id.
    pub id: MemberId,
    /// `group.instance.id` of a static member.
    pub instance: Option<Arc<str>>,
    /// Its rack.
    pub rack: Option<Arc<str>>,
    /// Its client's id.
    pub client_id: Arc<str>,
    /// Its client's address as Kafka shows it ("/10.0.0.1").
    pub client_host: Arc<str>,
    /// How long it may take to give partitions up, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// Topics that it names, sorted, each once.
    pub topics: Vec<Arc<str>>,
    /// Regular expression that it subscribes by.
    pub regex: Option<Arc<str>>,
    /// The assignor that it prefers.
    pub assignor: Option<Arc<str>>,
    /// Set where it speaks the classic protocol.
    pub classic: Option<ClassicSubscription>,
}

/// What a member of a consumer group says in the classic protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicSubscription {
    /// Session timeout in milliseconds.
    pub session_timeout_ms: i32,
    /// What it supports, best first.
    pub protocols: Vec<Protocol>,
}

/// Where a member of a consumer group stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// Its epoch.
    pub epoch: i32,
    /// The one before.
    pub previous_epoch: i32,
    /// What it has to do.
    pub state: MemberState,
    /// What it has, or is told to take.
    pub assigned: TopicPartitions,
    /// What it is told to give up, until it says that it did.
    pub revoking: TopicPartitions,
}

/// What a member of a consumer group has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberState {
    /// Nothing: it has what its epoch gives it.
    #[default]
    Stable,
    /// It must give partitions up before it gets the epoch's others.
    UnrevokedPartitions,
    /// It waits for partitions that others have yet.
    UnreleasedPartitions,
}

/// Offsets that were committed at once. Their group, at the latest, began in the same row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsCommitted {
    /// The group.
    pub group: GroupNumber,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// When they expire, where the client said so (OffsetCommit up to version 4), milliseconds since 1970.
    pub expires_at_ms: Option<i64>,
    /// The offsets, sorted by partition, each partition once.
    pub offsets: Vec<(PartitionId, OffsetCommit)>,
}

/// What a client commits of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// The offset.
    pub offset: Offset,
    /// Leader epoch of the record before; -1 = none.
    pub leader_epoch: i32,
    /// What the client keeps with it; mostly empty.
    pub metadata: Arc<str>,
}

/// Configs of groups, by group.
pub type GroupConfigs = BTreeMap<String, BTreeMap<String, String>>;
