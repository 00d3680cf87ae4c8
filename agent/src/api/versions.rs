//! Which APIs are served, in which versions.
//!
//! A table of our own: the protocol crate's ranges contain versions that Apache Kafka marks as
//! unstable. The newest version of each API is the newest that is stable in Kafka 4.1 and that the
//! crate has; the oldest is the oldest that Kafka 4.1 serves.

use kafka_protocol::messages::{
    ApiKey,
    api_versions_response::{ApiVersion, ApiVersionsResponse},
};

use super::features::{FEATURES, add_features};
use crate::guard::{Shape, shapes};

/// An API that is served.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// Its key.
    pub api: ApiKey,
    /// Oldest version that is answered.
    pub min: i16,
    /// Newest version that is answered.
    pub max: i16,
    /// Oldest version that is advertised.
    pub advertised_min: i16,
    /// What its requests look like.
    pub shape: &'static Shape,
}

impl Served {
    /// Whether `version` is answered.
    #[must_use]
    pub fn answers(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// The API key as it is on the wire.
    #[must_use]
    pub fn key(&self) -> i16 {
        wire_key(self.api)
    }
}

/// An API's key as it is on the wire.
#[must_use]
pub const fn wire_key(api: ApiKey) -> i16 {
    api as i16
}

const fn served(api: ApiKey, min: i16, max: i16, shape: &'static Shape) -> Served {
    Served {
        api,
        min,
        max,
        advertised_min: min,
        shape,
    }
}

/// Every API that is served, by key.
#[rustfmt::skip]
pub const SERVED: &[Served] = &[
    // Advertised from 0, as Kafka does: librdkafka before 2.6 switches compression off where it does
    // not find version 0. Requests below 3 (message sets) close the connection, as with Kafka.
    Served { api: ApiKey::Produce, min: 3, max: 13, advertised_min: 0, shape: &shapes::PRODUCE },
    served(ApiKey::Fetch, 4, 18, &shapes::FETCH),
    served(ApiKey::ListOffsets, 1, 10, &shapes::LIST_OFFSETS),
    served(ApiKey::Metadata, 0, 13, &shapes::METADATA),
    // Requests of version 10 are decoded here: the crate has them up to 9, and responses up to 10.
    served(ApiKey::OffsetCommit, 2, 10, &shapes::OFFSET_COMMIT),
    served(ApiKey::OffsetFetch, 1, 10, &shapes::OFFSET_FETCH),
    served(ApiKey::FindCoordinator, 0, 6, &shapes::FIND_COORDINATOR),
    served(ApiKey::JoinGroup, 0, 9, &shapes::JOIN_GROUP),
    served(ApiKey::Heartbeat, 0, 4, &shapes::HEARTBEAT),
    served(ApiKey::LeaveGroup, 0, 5, &shapes::LEAVE_GROUP),
    served(ApiKey::SyncGroup, 0, 5, &shapes::SYNC_GROUP),
    served(ApiKey::DescribeGroups, 0, 6, &shapes::DESCRIBE_GROUPS),
    served(ApiKey::ListGroups, 0, 5, &shapes::LIST_GROUPS),
    served(ApiKey::ApiVersions, 0, 4, &shapes::API_VERSIONS),
    served(ApiKey::CreateTopics, 2, 7, &shapes::CREATE_TOPICS),
    served(ApiKey::DeleteTopics, 1, 6, &shapes::DELETE_TOPICS),
    served(ApiKey::DeleteRecords, 0, 2, &shapes::DELETE_RECORDS),
    served(ApiKey::InitProducerId, 0, 5, &shapes::INIT_PRODUCER_ID),
    served(ApiKey::OffsetForLeaderEpoch, 2, 4, &shapes::OFFSET_FOR_LEADER_EPOCH),
    served(ApiKey::DescribeAcls, 1, 3, &shapes::DESCRIBE_ACLS),
    served(ApiKey::CreateAcls, 1, 3, &shapes::CREATE_ACLS),
    served(ApiKey::DeleteAcls, 1, 3, &shapes::DELETE_ACLS),
    served(ApiKey::DescribeConfigs, 1, 4, &shapes::DESCRIBE_CONFIGS),
    served(ApiKey::AlterConfigs, 0, 2, &shapes::ALTER_CONFIGS),
    served(ApiKey::DescribeLogDirs, 1, 4, &shapes::DESCRIBE_LOG_DIRS),
    served(ApiKey::CreatePartitions, 0, 3, &shapes::CREATE_PARTITIONS),
    served(ApiKey::DeleteGroups, 0, 2, &shapes::DELETE_GROUPS),
    served(ApiKey::ElectLeaders, 0, 2, &shapes::ELECT_LEADERS),
    served(ApiKey::IncrementalAlterConfigs, 0, 1, &shapes::INCREMENTAL_ALTER_CONFIGS),
    served(ApiKey::AlterPartitionReassignments, 0, 1, &shapes::ALTER_PARTITION_REASSIGNMENTS),
    served(ApiKey::ListPartitionReassignments, 0, 0, &shapes::LIST_PARTITION_REASSIGNMENTS),
    served(ApiKey::OffsetDelete, 0, 0, &shapes::OFFSET_DELETE),
    served(ApiKey::DescribeClientQuotas, 0, 1, &shapes::DESCRIBE_CLIENT_QUOTAS),
    served(ApiKey::DescribeUserScramCredentials, 0, 0, &shapes::DESCRIBE_USER_SCRAM_CREDENTIALS),
    served(ApiKey::DescribeQuorum, 0, 2, &shapes::DESCRIBE_QUORUM),
    served(ApiKey::UpdateFeatures, 0, 2, &shapes::UPDATE_FEATURES),
    served(ApiKey::DescribeCluster, 0, 2, &shapes::DESCRIBE_CLUSTER),
    served(ApiKey::DescribeProducers, 0, 0, &shapes::DESCRIBE_PRODUCERS),
    served(ApiKey::ConsumerGroupHeartbeat, 0, 1, &shapes::CONSUMER_GROUP_HEARTBEAT),
    served(ApiKey::ConsumerGroupDescribe, 0, 1, &shapes::CONSUMER_GROUP_DESCRIBE),
    served(ApiKey::GetTelemetrySubscriptions, 0, 0, &shapes::GET_TELEMETRY_SUBSCRIPTIONS),
    served(ApiKey::PushTelemetry, 0, 0, &shapes::PUSH_TELEMETRY),
    served(ApiKey::ListConfigResources, 0, 1, &shapes::LIST_CONFIG_RESOURCES),
    served(ApiKey::DescribeTopicPartitions, 0, 0, &shapes::DESCRIBE_TOPIC_PARTITIONS),
];

/// The entry of an API key, if it is served.
#[must_use]
pub fn find(api_key: i16) -> Option<&'static Served> {
    SERVED.iter().find(|served| served.key() == api_key)
}

/// What an ApiVersions request of `version` is told.
pub(crate) fn advertised(version: i16) -> ApiVersionsResponse {
    let api_keys = SERVED
        .iter()
        .map(|served| {
            ApiVersion::default()
                .with_api_key(served.key())
                .with_min_version(served.advertised_min)
                .with_max_version(served.max)
        })
        .collect();
    let response = ApiVersionsResponse::default().with_api_keys(api_keys);
    add_features(FEATURES, response, version)
}
