//! Kafka requests that the metadata leader answers, in an envelope.

use bytes::Bytes;

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
}

impl LeaderApi {
    /// Every call that goes to the leader.
    pub const ALL: [Self; 9] = [
        Self::CreateTopics,
        Self::DeleteTopics,
        Self::InitProducerId,
        Self::CreatePartitions,
        Self::AlterConfigs,
        Self::IncrementalAlterConfigs,
        Self::DeleteRecords,
        Self::DescribeProducers,
        Self::DescribeLogDirs,
    ];

    /// The api key by which Kafka knows it.
    #[must_use]
    pub fn api_key(self) -> i16 {
        match self {
            Self::CreateTopics => 19,
            Self::DeleteTopics => 20,
            Self::DeleteRecords => 21,
            Self::InitProducerId => 22,
            Self::AlterConfigs => 33,
            Self::DescribeLogDirs => 35,
            Self::CreatePartitions => 37,
            Self::IncrementalAlterConfigs => 44,
            Self::DescribeProducers => 61,
        }
    }
}

/// The version at which a call's request and response bodies are encoded between agent and leader,
/// whatever version the client used.
#[must_use]
pub fn pinned_version(api: LeaderApi) -> i16 {
    match api {
        LeaderApi::CreateTopics => 7,
        LeaderApi::DeleteTopics => 6,
        LeaderApi::InitProducerId => 5,
        LeaderApi::CreatePartitions => 3,
        LeaderApi::AlterConfigs | LeaderApi::DeleteRecords => 2,
        LeaderApi::IncrementalAlterConfigs => 1,
        LeaderApi::DescribeProducers => 0,
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
