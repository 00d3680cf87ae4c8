//! Which APIs are served, in which versions.
//!
//! A table of our own: the protocol crate's ranges contain versions that Apache Kafka marks as
//! unstable. The newest version of each API is the newest that is stable in Kafka 4.1 and that the
//! crate has; the oldest is the oldest that Kafka 4.1 serves.

use kafka_protocol::messages::{
    ApiKey,
    api_versions_response::{ApiVersion, ApiVersionsResponse},
};

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
pub const SERVED: &[Served] = &[
    // Advertised from 0, as Kafka does: librdkafka before 2.6 switches compression off where it does
    // not find version 0. Requests below 3 (message sets) close the connection, as with Kafka.
    Served {
        api: ApiKey::Produce,
        min: 3,
        max: 13,
        advertised_min: 0,
        shape: &shapes::PRODUCE,
    },
    served(ApiKey::Fetch, 4, 18, &shapes::FETCH),
    served(ApiKey::ListOffsets, 1, 10, &shapes::LIST_OFFSETS),
    served(ApiKey::Metadata, 0, 13, &shapes::METADATA),
    served(ApiKey::FindCoordinator, 0, 6, &shapes::FIND_COORDINATOR),
    served(ApiKey::ApiVersions, 0, 4, &shapes::API_VERSIONS),
    served(ApiKey::CreateTopics, 2, 7, &shapes::CREATE_TOPICS),
    served(ApiKey::DeleteTopics, 1, 6, &shapes::DELETE_TOPICS),
    served(ApiKey::InitProducerId, 0, 5, &shapes::INIT_PRODUCER_ID),
    served(
        ApiKey::OffsetForLeaderEpoch,
        2,
        4,
        &shapes::OFFSET_FOR_LEADER_EPOCH,
    ),
    served(ApiKey::DescribeCluster, 0, 2, &shapes::DESCRIBE_CLUSTER),
    served(
        ApiKey::DescribeTopicPartitions,
        0,
        0,
        &shapes::DESCRIBE_TOPIC_PARTITIONS,
    ),
];

/// The entry of an API key, if it is served.
#[must_use]
pub fn find(api_key: i16) -> Option<&'static Served> {
    SERVED.iter().find(|served| served.key() == api_key)
}

/// What an ApiVersions request of `version` is told. No feature is finalized: `group.version`,
/// `transaction.version` and the like steer clients to protocols that do not work yet.
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
    if version < 3 {
        return response;
    }
    // The epoch of finalized features is 0 in Kafka where none was ever set; -1 means "unknown".
    response.with_finalized_features_epoch(0)
}
