//! Kafka requests that the metadata leader answers, in an envelope.

use bytes::Bytes;

pub mod tags;

/// Kafka api keys of calls that go to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaderApi {
    /// CreateTopics; also what a Metadata request that creates topics automatically sends.
    CreateTopics,
    /// DeleteTopics.
    DeleteTopics,
    /// InitProducerId.
    InitProducerId,
    /// CreatePartitions.
    CreatePartitions,
    /// AlterConfigs: replaces all configs of a resource.
    AlterConfigs,
    /// IncrementalAlterConfigs: changes single configs of a resource.
    IncrementalAlterConfigs,
    /// DeleteRecords.
    DeleteRecords,
    /// DescribeProducers: only the leader knows who wrote.
    DescribeProducers,
    /// DescribeLogDirs: only the leader knows how large partitions are.
    DescribeLogDirs,
    /// OffsetCommit. Topic ids and the retention time travel as [`tags`].
    OffsetCommit,
    /// OffsetFetch; always with a list of groups. Topic ids travel as [`tags`].
    OffsetFetch,
    /// JoinGroup. The leader lets it wait.
    JoinGroup,
    /// Heartbeat.
    Heartbeat,
    /// LeaveGroup; always with a list of members.
    LeaveGroup,
    /// SyncGroup. The leader lets it wait.
    SyncGroup,
    /// DescribeGroups.
    DescribeGroups,
    /// ListGroups.
    ListGroups,
    /// DescribeConfigs, of groups only: agents know the other configs.
    DescribeConfigs,
    /// DeleteGroups.
    DeleteGroups,
    /// OffsetDelete.
    OffsetDelete,
    /// ConsumerGroupHeartbeat.
    ConsumerGroupHeartbeat,
    /// ConsumerGroupDescribe.
    ConsumerGroupDescribe,
    /// ListConfigResources, of groups only.
    ListConfigResources,
}

impl LeaderApi {
    /// Every call that goes to the leader.
    pub const ALL: [Self; 23] = [
        Self::CreateTopics,
        Self::DeleteTopics,
        Self::InitProducerId,
        Self::CreatePartitions,
        Self::AlterConfigs,
        Self::IncrementalAlterConfigs,
        Self::DeleteRecords,
        Self::DescribeProducers,
        Self::DescribeLogDirs,
        Self::OffsetCommit,
        Self::OffsetFetch,
        Self::JoinGroup,
        Self::Heartbeat,
        Self::LeaveGroup,
        Self::SyncGroup,
        Self::DescribeGroups,
        Self::ListGroups,
        Self::DescribeConfigs,
        Self::DeleteGroups,
        Self::OffsetDelete,
        Self::ConsumerGroupHeartbeat,
        Self::ConsumerGroupDescribe,
        Self::ListConfigResources,
    ];

    /// The api key by which Kafka knows it.
    #[must_use]
    pub fn api_key(self) -> i16 {
        match self {
            Self::OffsetCommit => 8,
            Self::OffsetFetch => 9,
            Self::JoinGroup => 11,
            Self::Heartbeat => 12,
            Self::LeaveGroup => 13,
            Self::SyncGroup => 14,
            Self::DescribeGroups => 15,
            Self::ListGroups => 16,
            Self::CreateTopics => 19,
            Self::DeleteTopics => 20,
            Self::DeleteRecords => 21,
            Self::InitProducerId => 22,
            Self::DescribeConfigs => 32,
            Self::AlterConfigs => 33,
            Self::DescribeLogDirs => 35,
            Self::CreatePartitions => 37,
            Self::DeleteGroups => 42,
            Self::IncrementalAlterConfigs => 44,
            Self::OffsetDelete => 47,
            Self::DescribeProducers => 61,
            Self::ConsumerGroupHeartbeat => 68,
            Self::ConsumerGroupDescribe => 69,
            Self::ListConfigResources => 74,
        }
    }

    /// Whether the leader may let the call wait for other members of a group. Such a call has its own time:
    /// [`Envelope::deadline_ms`] and nothing else.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, Self::JoinGroup | Self::SyncGroup)
    }

    /// Whether a call that may have happened may be made again with the same [`Envelope::call_id`]: it then
    /// does nothing more, and is answered as if it were the first.
    #[must_use]
    pub fn repeats(self) -> bool {
        matches!(
            self,
            Self::JoinGroup
                | Self::SyncGroup
                | Self::Heartbeat
                | Self::ConsumerGroupHeartbeat
                | Self::OffsetCommit
                | Self::OffsetFetch
                | Self::DescribeGroups
                | Self::ListGroups
                | Self::DescribeConfigs
                | Self::ConsumerGroupDescribe
                | Self::ListConfigResources
                | Self::DescribeProducers
                | Self::DescribeLogDirs
        )
    }
}

/// The version at which a call's request and response bodies are encoded between agent and leader,
/// whatever version the client used.
#[must_use]
pub fn pinned_version(api: LeaderApi) -> i16 {
    match api {
        LeaderApi::OffsetCommit | LeaderApi::OffsetFetch | LeaderApi::JoinGroup => 9,
        LeaderApi::CreateTopics => 7,
        LeaderApi::DeleteTopics | LeaderApi::DescribeGroups => 6,
        LeaderApi::InitProducerId
        | LeaderApi::LeaveGroup
        | LeaderApi::SyncGroup
        | LeaderApi::ListGroups => 5,
        LeaderApi::Heartbeat | LeaderApi::DescribeConfigs => 4,
        LeaderApi::CreatePartitions => 3,
        LeaderApi::AlterConfigs | LeaderApi::DeleteRecords | LeaderApi::DeleteGroups => 2,
        LeaderApi::IncrementalAlterConfigs
        | LeaderApi::ConsumerGroupHeartbeat
        | LeaderApi::ConsumerGroupDescribe
        | LeaderApi::ListConfigResources => 1,
        LeaderApi::DescribeProducers | LeaderApi::OffsetDelete => 0,
        LeaderApi::DescribeLogDirs => 4,
    }
}

/// Who asks, and how: rules that depend on the client's version or identity need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The api key that the client used (a Metadata request may become CreateTopics).
    pub client_api_key: i16,
    /// The version that the client used.
    pub client_api_version: i16,
    /// The authenticated principal (`User:ANONYMOUS` where there is no authentication).
    pub principal: String,
    /// The client's `client.id`.
    pub client_id: String,
    /// The client's address.
    pub host: String,
    /// The client's zone; empty = unknown.
    pub zone: String,
    /// Name of the listener.
    pub listener: String,
    /// How long the caller waits, in milliseconds.
    pub deadline_ms: u32,
    /// Names the client's request, however often it is passed on: whoever joins a group without a member id
    /// gets one made of it. 0 where [`LeaderApi::repeats`] says no.
    pub call_id: u128,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaCall {
    /// What is called.
    pub api: LeaderApi,
    /// Who calls.
    pub envelope: Envelope,
    /// The request body at the pinned version.
    pub body: Bytes,
}
