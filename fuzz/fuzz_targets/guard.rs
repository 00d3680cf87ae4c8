#![no_main]

use aquifer_agent::{
    api::versions::SERVED,
    guard::{self, walk_body},
};
use bytes::Bytes;
use kafka_protocol::{messages::*, protocol::Decodable};
use libfuzzer_sys::fuzz_target;

// Two bytes choose API and version, the rest is a body. Run with `-malloc_limit_mb=64`: what the guard
// accepts must not make the decoder ask for more.
fuzz_target!(|data: &[u8]| {
    let [api, version, body @ ..] = data else {
        return;
    };
    let served = &SERVED[usize::from(*api) % SERVED.len()];
    let versions = served.max - served.min + 1;
    let version = served.min + i16::from(*version) % versions;
    let _ = guard::check(body, served.shape, version);
    if walk_body(body, served.shape, version).is_err() {
        return;
    }
    let left = match served.api {
        ApiKey::Produce => decode::<ProduceRequest>(body, version),
        ApiKey::Fetch => decode::<FetchRequest>(body, version),
        ApiKey::ListOffsets => decode::<ListOffsetsRequest>(body, version),
        ApiKey::Metadata => decode::<MetadataRequest>(body, version),
        ApiKey::FindCoordinator => decode::<FindCoordinatorRequest>(body, version),
        ApiKey::ApiVersions => decode::<ApiVersionsRequest>(body, version),
        ApiKey::CreateTopics => decode::<CreateTopicsRequest>(body, version),
        ApiKey::DeleteTopics => decode::<DeleteTopicsRequest>(body, version),
        ApiKey::InitProducerId => decode::<InitProducerIdRequest>(body, version),
        ApiKey::OffsetForLeaderEpoch => decode::<OffsetForLeaderEpochRequest>(body, version),
        ApiKey::DescribeCluster => decode::<DescribeClusterRequest>(body, version),
        ApiKey::DescribeTopicPartitions => decode::<DescribeTopicPartitionsRequest>(body, version),
        ApiKey::ListGroups => decode::<ListGroupsRequest>(body, version),
        ApiKey::DeleteRecords => decode::<DeleteRecordsRequest>(body, version),
        ApiKey::DescribeAcls => decode::<DescribeAclsRequest>(body, version),
        ApiKey::CreateAcls => decode::<CreateAclsRequest>(body, version),
        ApiKey::DeleteAcls => decode::<DeleteAclsRequest>(body, version),
        ApiKey::DescribeConfigs => decode::<DescribeConfigsRequest>(body, version),
        ApiKey::AlterConfigs => decode::<AlterConfigsRequest>(body, version),
        ApiKey::DescribeLogDirs => decode::<DescribeLogDirsRequest>(body, version),
        ApiKey::CreatePartitions => decode::<CreatePartitionsRequest>(body, version),
        ApiKey::ElectLeaders => decode::<ElectLeadersRequest>(body, version),
        ApiKey::IncrementalAlterConfigs => decode::<IncrementalAlterConfigsRequest>(body, version),
        ApiKey::AlterPartitionReassignments => {
            decode::<AlterPartitionReassignmentsRequest>(body, version)
        }
        ApiKey::ListPartitionReassignments => {
            decode::<ListPartitionReassignmentsRequest>(body, version)
        }
        ApiKey::DescribeClientQuotas => decode::<DescribeClientQuotasRequest>(body, version),
        ApiKey::DescribeUserScramCredentials => {
            decode::<DescribeUserScramCredentialsRequest>(body, version)
        }
        ApiKey::DescribeQuorum => decode::<DescribeQuorumRequest>(body, version),
        ApiKey::UpdateFeatures => decode::<UpdateFeaturesRequest>(body, version),
        ApiKey::DescribeProducers => decode::<DescribeProducersRequest>(body, version),
        ApiKey::GetTelemetrySubscriptions => {
            decode::<GetTelemetrySubscriptionsRequest>(body, version)
        }
        ApiKey::PushTelemetry => decode::<PushTelemetryRequest>(body, version),
        ApiKey::ListConfigResources => decode::<ListConfigResourcesRequest>(body, version),
        other => panic!("{other:?} is served and not fuzzed: add it here"),
    };
    // Text that is not UTF-8 is left for the decoder to refuse.
    assert!(
        matches!(left, Some(0) | None),
        "{:?} v{version}: {left:?} bytes left",
        served.api
    );
});

fn decode<T: Decodable>(body: &[u8], version: i16) -> Option<usize> {
    let mut body = Bytes::copy_from_slice(body);
    match T::decode(&mut body, version) {
        Ok(_) => Some(body.len()),
        Err(error) => {
            assert!(error.to_string().contains("utf-8"), "{error}");
            None
        }
    }
}
