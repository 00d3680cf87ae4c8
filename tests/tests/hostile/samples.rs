//! One request of each API with one element in each array, to be damaged.

use aquifer_tests::{
    batches::{PLAIN, batch},
    broker::DevBroker,
    fetch::{Ask, request},
    wire::{Connection, api_versions, produce_request, topic_name, try_encode},
};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        AlterConfigsRequest, AlterPartitionReassignmentsRequest, BrokerId,
        ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, CreateAclsRequest,
        CreatePartitionsRequest, CreateTopicsRequest, DeleteAclsRequest, DeleteGroupsRequest,
        DeleteRecordsRequest, DeleteTopicsRequest, DescribeAclsRequest,
        DescribeClientQuotasRequest, DescribeClusterRequest, DescribeConfigsRequest,
        DescribeGroupsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
        DescribeQuorumRequest, DescribeTopicPartitionsRequest, DescribeUserScramCredentialsRequest,
        ElectLeadersRequest, FetchRequest, FindCoordinatorRequest,
        GetTelemetrySubscriptionsRequest, GroupId, HeartbeatRequest,
        IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
        ListConfigResourcesRequest, ListGroupsRequest, ListOffsetsRequest,
        ListPartitionReassignmentsRequest, MetadataRequest, OffsetCommitRequest,
        OffsetDeleteRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest,
        PushTelemetryRequest, SyncGroupRequest, UpdateFeaturesRequest, alter_configs_request,
        alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic},
        create_acls_request::AclCreation,
        create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic},
        create_topics_request::CreatableTopic,
        delete_acls_request::DeleteAclsFilter,
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        describe_client_quotas_request::ComponentData,
        describe_configs_request::DescribeConfigsResource,
        describe_log_dirs_request::DescribableLogDirTopic,
        describe_producers_request, describe_quorum_request,
        describe_topic_partitions_request::TopicRequest,
        describe_user_scram_credentials_request::UserName,
        elect_leaders_request::TopicPartitions,
        incremental_alter_configs_request,
        join_group_request::JoinGroupRequestProtocol,
        leave_group_request::MemberIdentity,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        list_partition_reassignments_request::ListPartitionReassignmentsTopics,
        metadata_request::MetadataRequestTopic,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic},
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
        sync_group_request::SyncGroupRequestAssignment,
        update_features_request::FeatureUpdateKey,
    },
    protocol::{Request, StrBytes},
};

/// An api key, and what encodes its sample in a version; nothing if the version lacks a field of it.
type Sample = (i16, Box<dyn Fn(i16) -> Option<Bytes>>);

fn sample<R: Request + 'static>(request: R) -> Sample {
    (
        R::KEY,
        Box::new(move |version| try_encode(1, version, &request)),
    )
}

const fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

const TOPIC: i8 = 2;

fn samples() -> Vec<Sample> {
    let mut samples = of_data();
    samples.extend(of_topics());
    samples.extend(of_configs());
    samples.extend(of_clusters());
    samples.extend(of_groups());
    samples
}

fn of_data() -> Vec<Sample> {
    let name = || topic_name("target");
    let asked = Ask {
        max_wait_ms: 0,
        ..Ask::default()
    };
    let times = ListOffsetsTopic::default()
        .with_name(name())
        .with_partitions(vec![ListOffsetsPartition::default()]);
    let epochs = OffsetForLeaderTopic::default()
        .with_topic(name())
        .with_partitions(vec![OffsetForLeaderPartition::default()]);
    let deleted = DeleteRecordsTopic::default()
        .with_name(name())
        .with_partitions(vec![DeleteRecordsPartition::default()]);
    let produced = describe_producers_request::TopicRequest::default()
        .with_name(name())
        .with_partition_indexes(vec![0]);
    vec![
        sample::<ProduceRequest>(produce_request("target", 0, -1, batch(PLAIN, 1))),
        sample::<FetchRequest>(request("target", &[(0, 0)], asked)),
        sample(ListOffsetsRequest::default().with_topics(vec![times])),
        sample(OffsetForLeaderEpochRequest::default().with_topics(vec![epochs])),
        sample(DeleteRecordsRequest::default().with_topics(vec![deleted])),
        sample(DescribeProducersRequest::default().with_topics(vec![produced])),
        sample(InitProducerIdRequest::default().with_transaction_timeout_ms(1)),
    ]
}

fn of_topics() -> Vec<Sample> {
    let name = || topic_name("target");
    let topic = MetadataRequestTopic::default().with_name(Some(name()));
    let described = TopicRequest::default().with_name(name());
    let created = CreatableTopic::default()
        .with_name(name())
        .with_num_partitions(1);
    let assigned = CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(0)]);
    let grown = CreatePartitionsTopic::default()
        .with_name(name())
        .with_count(2)
        .with_assignments(Some(vec![assigned]));
    let elected = TopicPartitions::default()
        .with_topic(name())
        .with_partitions(vec![0]);
    let replicas = ReassignablePartition::default().with_replicas(Some(vec![BrokerId(0)]));
    let moved = ReassignableTopic::default()
        .with_name(name())
        .with_partitions(vec![replicas]);
    let moving = ListPartitionReassignmentsTopics::default()
        .with_name(name())
        .with_partition_indexes(vec![0]);
    vec![
        sample(MetadataRequest::default().with_topics(Some(vec![topic]))),
        sample(DescribeTopicPartitionsRequest::default().with_topics(vec![described])),
        sample(CreateTopicsRequest::default().with_topics(vec![created])),
        sample(DeleteTopicsRequest::default()),
        sample(CreatePartitionsRequest::default().with_topics(vec![grown])),
        sample(ElectLeadersRequest::default().with_topic_partitions(Some(vec![elected]))),
        sample(AlterPartitionReassignmentsRequest::default().with_topics(vec![moved])),
        sample(ListPartitionReassignmentsRequest::default().with_topics(Some(vec![moving]))),
    ]
}

fn of_configs() -> Vec<Sample> {
    let described = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text("target"))
        .with_configuration_keys(Some(vec![text("flush.ms")]));
    let config = alter_configs_request::AlterableConfig::default()
        .with_name(text("flush.ms"))
        .with_value(Some(text("1")));
    let altered = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text("target"))
        .with_configs(vec![config]);
    let config = incremental_alter_configs_request::AlterableConfig::default()
        .with_name(text("flush.ms"))
        .with_value(Some(text("1")));
    let changed = incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text("target"))
        .with_configs(vec![config]);
    vec![
        sample(DescribeConfigsRequest::default().with_resources(vec![described])),
        sample(AlterConfigsRequest::default().with_resources(vec![altered])),
        sample(IncrementalAlterConfigsRequest::default().with_resources(vec![changed])),
        sample(ListConfigResourcesRequest::default()),
        sample(ListConfigResourcesRequest::default().with_resource_types(vec![TOPIC])),
    ]
}

fn of_clusters() -> Vec<Sample> {
    let name = || topic_name("target");
    let states = || vec![text("Stable")];
    let types = vec![text("classic")];
    let component = ComponentData::default().with_entity_type(text("user"));
    let user = UserName::default().with_name(text("somebody"));
    let folder = DescribableLogDirTopic::default()
        .with_topic(name())
        .with_partitions(vec![0]);
    let voted = describe_quorum_request::TopicData::default()
        .with_topic_name(topic_name("__cluster_metadata"))
        .with_partitions(vec![describe_quorum_request::PartitionData::default()]);
    let feature = FeatureUpdateKey::default().with_feature(text("group.version"));
    let filter = DeleteAclsFilter::default();
    vec![
        sample(api_versions()),
        sample(FindCoordinatorRequest::default()),
        sample(DescribeClusterRequest::default()),
        sample(ListGroupsRequest::default()),
        sample(ListGroupsRequest::default().with_states_filter(states())),
        sample(
            ListGroupsRequest::default()
                .with_states_filter(states())
                .with_types_filter(types),
        ),
        sample(DescribeAclsRequest::default()),
        sample(CreateAclsRequest::default().with_creations(vec![AclCreation::default()])),
        sample(DeleteAclsRequest::default().with_filters(vec![filter])),
        sample(DescribeClientQuotasRequest::default().with_components(vec![component])),
        sample(DescribeUserScramCredentialsRequest::default().with_users(Some(vec![user]))),
        sample(DescribeLogDirsRequest::default().with_topics(Some(vec![folder]))),
        sample(DescribeQuorumRequest::default().with_topics(vec![voted])),
        sample(UpdateFeaturesRequest::default().with_feature_updates(vec![feature])),
        sample(GetTelemetrySubscriptionsRequest::default()),
        sample(PushTelemetryRequest::default().with_metrics(Bytes::from_static(b"metrics"))),
    ]
}

fn of_groups() -> Vec<Sample> {
    let group = || GroupId(text("target"));
    let offset = OffsetCommitRequestPartition::default();
    let committed = OffsetCommitRequestTopic::default()
        .with_name(topic_name("target"))
        .with_partitions(vec![offset]);
    let fetched = OffsetFetchRequestTopic::default()
        .with_name(topic_name("target"))
        .with_partition_indexes(vec![0]);
    let of_group = OffsetFetchRequestGroup::default().with_group_id(group());
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let assignment = SyncGroupRequestAssignment::default().with_member_id(text("somebody"));
    let member = MemberIdentity::default().with_member_id(text("somebody"));
    let forgotten = OffsetDeleteRequestTopic::default()
        .with_name(topic_name("target"))
        .with_partitions(vec![OffsetDeleteRequestPartition::default()]);
    vec![
        sample(
            OffsetCommitRequest::default()
                .with_group_id(group())
                .with_topics(vec![committed]),
        ),
        sample(
            OffsetFetchRequest::default()
                .with_group_id(group())
                .with_topics(Some(vec![fetched])),
        ), // 1-7
        sample(OffsetFetchRequest::default().with_groups(vec![of_group])), // 8-9
        sample(
            JoinGroupRequest::default()
                .with_group_id(group())
                .with_protocols(vec![protocol]),
        ),
        sample(HeartbeatRequest::default().with_group_id(group())),
        sample(
            LeaveGroupRequest::default()
                .with_group_id(group())
                .with_member_id(text("somebody")),
        ), // 0-2
        sample(
            LeaveGroupRequest::default()
                .with_group_id(group())
                .with_members(vec![member]),
        ), // 3-5
        sample(
            SyncGroupRequest::default()
                .with_group_id(group())
                .with_assignments(vec![assignment]),
        ),
        sample(DescribeGroupsRequest::default().with_groups(vec![group()])),
        sample(DeleteGroupsRequest::default().with_groups_names(vec![group()])),
        sample(
            OffsetDeleteRequest::default()
                .with_group_id(group())
                .with_topics(vec![forgotten]),
        ),
        sample(ConsumerGroupHeartbeatRequest::default().with_group_id(group())),
        sample(ConsumerGroupDescribeRequest::default().with_group_ids(vec![group()])),
    ]
}

/// The last versions of OffsetCommit and OffsetFetch that the protocol crate can write.
const OFFSETS_MAX: i16 = 9;

/// The frames of all samples in every version that the broker says it serves.
pub(crate) fn served(broker: &DevBroker) -> Vec<(i16, i16, Bytes)> {
    let listed = Connection::open(broker.address()).call(3, &api_versions());
    let samples = samples();
    let mut frames = Vec::new();
    for api in &listed.api_keys {
        let oldest = if api.api_key == 0 { 3 } else { api.min_version };
        let newest = match api.api_key {
            OffsetCommitRequest::KEY | OffsetFetchRequest::KEY => api.max_version.min(OFFSETS_MAX),
            _ => api.max_version,
        };
        for version in oldest..=newest {
            let of_this = samples.iter().filter(|(key, _)| *key == api.api_key);
            let before = frames.len();
            frames.extend(
                of_this.filter_map(|(key, encode)| encode(version).map(|f| (*key, version, f))),
            );
            assert!(
                frames.len() > before,
                "api {} version {version} is served: this test needs a sample",
                api.api_key
            );
        }
    }
    frames
}
