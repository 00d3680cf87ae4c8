//! A request of each API that administrators' tools use, in each version that is advertised.

use kafka_protocol::messages::{
    AlterConfigsRequest, AlterPartitionReassignmentsRequest, ConsumerGroupDescribeRequest,
    ConsumerGroupHeartbeatRequest, CreateAclsRequest, CreatePartitionsRequest, DeleteAclsRequest,
    DeleteGroupsRequest, DeleteRecordsRequest, DescribeAclsRequest, DescribeClientQuotasRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest,
    DescribeProducersRequest, DescribeQuorumRequest, DescribeUserScramCredentialsRequest,
    ElectLeadersRequest, GetTelemetrySubscriptionsRequest, HeartbeatRequest,
    IncrementalAlterConfigsRequest, JoinGroupRequest, LeaveGroupRequest,
    ListConfigResourcesRequest, ListGroupsRequest, ListPartitionReassignmentsRequest,
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetFetchResponse, PushTelemetryRequest, SyncGroupRequest, UpdateFeaturesRequest,
};

use super::*;
use crate::testing::v10;

pub(super) async fn answers(client: &mut Client, api: ApiKey) {
    match api {
        ApiKey::AlterConfigs => answered::<AlterConfigsRequest>(client, |r| r).await,
        ApiKey::AlterPartitionReassignments => {
            answered::<AlterPartitionReassignmentsRequest>(client, |r| r).await;
        }
        ApiKey::CreateAcls => answered::<CreateAclsRequest>(client, |r| r).await,
        ApiKey::CreatePartitions => answered::<CreatePartitionsRequest>(client, |r| r).await,
        ApiKey::DeleteAcls => answered::<DeleteAclsRequest>(client, |r| r).await,
        ApiKey::DeleteRecords => answered::<DeleteRecordsRequest>(client, |r| r).await,
        ApiKey::DescribeAcls => {
            let any = |request: DescribeAclsRequest| {
                request
                    .with_resource_type_filter(1)
                    .with_pattern_type_filter(1)
                    .with_operation(1)
                    .with_permission_type(1)
            };
            answered(client, any).await;
        }
        ApiKey::DescribeClientQuotas => {
            answered::<DescribeClientQuotasRequest>(client, |r| r).await;
        }
        ApiKey::DescribeConfigs => answered::<DescribeConfigsRequest>(client, |r| r).await,
        ApiKey::DescribeLogDirs => answered::<DescribeLogDirsRequest>(client, |r| r).await,
        ApiKey::DescribeProducers => answered::<DescribeProducersRequest>(client, |r| r).await,
        ApiKey::DescribeQuorum => answered::<DescribeQuorumRequest>(client, |r| r).await,
        ApiKey::DescribeUserScramCredentials => {
            answered::<DescribeUserScramCredentialsRequest>(client, |r| r).await;
        }
        ApiKey::ElectLeaders => answered::<ElectLeadersRequest>(client, |r| r).await,
        ApiKey::GetTelemetrySubscriptions => {
            answered::<GetTelemetrySubscriptionsRequest>(client, |r| r).await;
        }
        ApiKey::IncrementalAlterConfigs => {
            answered::<IncrementalAlterConfigsRequest>(client, |r| r).await;
        }
        ApiKey::ListConfigResources => answered::<ListConfigResourcesRequest>(client, |r| r).await,
        ApiKey::ListGroups => answered::<ListGroupsRequest>(client, |r| r).await,
        ApiKey::ListPartitionReassignments => {
            answered::<ListPartitionReassignmentsRequest>(client, |r| r).await;
        }
        ApiKey::PushTelemetry => answered::<PushTelemetryRequest>(client, |r| r).await,
        ApiKey::UpdateFeatures => answered::<UpdateFeaturesRequest>(client, |r| r).await,
        ApiKey::OffsetCommit => {
            answered::<OffsetCommitRequest>(client, |r| r).await;
            let body = v10::offset_commit(&OffsetCommitRequest::default());
            let _: OffsetCommitResponse = client.call_of(api, 10, &body).await;
        }
        ApiKey::OffsetFetch => {
            answered::<OffsetFetchRequest>(client, |r| r).await;
            let body = v10::offset_fetch(&OffsetFetchRequest::default());
            let _: OffsetFetchResponse = client.call_of(api, 10, &body).await;
        }
        ApiKey::JoinGroup => answered::<JoinGroupRequest>(client, |r| r).await,
        ApiKey::SyncGroup => answered::<SyncGroupRequest>(client, |r| r).await,
        ApiKey::LeaveGroup => answered::<LeaveGroupRequest>(client, |r| r).await,
        ApiKey::Heartbeat => answered::<HeartbeatRequest>(client, |r| r).await,
        ApiKey::DescribeGroups => answered::<DescribeGroupsRequest>(client, |r| r).await,
        ApiKey::DeleteGroups => answered::<DeleteGroupsRequest>(client, |r| r).await,
        ApiKey::OffsetDelete => answered::<OffsetDeleteRequest>(client, |r| r).await,
        ApiKey::ConsumerGroupHeartbeat => {
            answered::<ConsumerGroupHeartbeatRequest>(client, |r| r).await;
        }
        ApiKey::ConsumerGroupDescribe => {
            answered::<ConsumerGroupDescribeRequest>(client, |r| r).await;
        }
        other => panic!("{other:?} is advertised and not asked here"),
    }
}
