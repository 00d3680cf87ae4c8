//! The cluster: access rules, quotas, quorum, features, what has configs, metrics of clients.

use kafka_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse,
    DescribeAclsRequest, DescribeAclsResponse, DescribeClientQuotasRequest,
    DescribeClientQuotasResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
    ListConfigResourcesRequest, ListConfigResourcesResponse, PushTelemetryRequest,
    PushTelemetryResponse, UpdateFeaturesRequest, UpdateFeaturesResponse,
    create_acls_request::AclCreation,
    delete_acls_request::DeleteAclsFilter,
    describe_client_quotas_request::ComponentData,
    describe_quorum_request::{PartitionData, TopicData},
    describe_user_scram_credentials_request::UserName,
    list_config_resources_response::ConfigResource,
    update_features_request::FeatureUpdateKey,
};

use super::*;
use crate::testing::groups;
use aquifer_store::Ports;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[tokio::test]
async fn access_rules_need_an_authorizer() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    for version in versions_of(ApiKey::DescribeAcls) {
        let request = DescribeAclsRequest::default()
            .with_resource_type_filter(1)
            .with_pattern_type_filter(1)
            .with_operation(1)
            .with_permission_type(1);
        let answer: DescribeAclsResponse =
            client.call(ApiKey::DescribeAcls, version, &request).await;
        assert_eq!((answer.error_code, answer.resources.len()), (54, 0));
        let creation = AclCreation::default()
            .with_resource_type(2)
            .with_resource_pattern_type(3)
            .with_operation(3)
            .with_permission_type(3);
        let request = CreateAclsRequest::default().with_creations(vec![creation; 2]);
        let answer: CreateAclsResponse = client.call(ApiKey::CreateAcls, version, &request).await;
        let codes: Vec<_> = answer.results.iter().map(|r| r.error_code).collect();
        assert_eq!(codes, [54, 54]);
        let filter = DeleteAclsFilter::default()
            .with_resource_type_filter(2)
            .with_pattern_type_filter(3)
            .with_operation(1)
            .with_permission_type(1);
        let request = DeleteAclsRequest::default().with_filters(vec![filter; 2]);
        let answer: DeleteAclsResponse = client.call(ApiKey::DeleteAcls, version, &request).await;
        let codes: Vec<_> = answer.filter_results.iter().map(|r| r.error_code).collect();
        assert_eq!(codes, [54, 54]);
    }
    // What its own client does not know is not asked for.
    let unknown = DescribeAclsRequest::default().with_pattern_type_filter(1);
    client.send(ApiKey::DescribeAcls, 3, &unknown).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn there_are_no_quotas_and_no_credentials() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    let of = |kind: &str, how, name: Option<&str>| {
        ComponentData::default()
            .with_entity_type(text(kind))
            .with_match_type(how)
            .with_match(name.map(text))
    };
    for version in versions_of(ApiKey::DescribeClientQuotas) {
        for (components, code) in [
            (vec![], 0),
            (vec![of("user", 0, Some("a")), of("client-id", 1, None)], 0),
            (vec![of("ip", 2, None)], 0),
            (vec![of("user", 0, None)], 42),
            (vec![of("user", 1, Some("a"))], 42),
            (vec![of("user", 2, Some("a"))], 42),
            (vec![of("user", 3, None)], 42),
            (vec![of("", 2, None)], 42),
            (vec![of("user", 2, None), of("user", 2, None)], 42),
            (vec![of("user", 2, None), of("ip", 2, None)], 42),
            (vec![of("group", 2, None)], 35),
        ] {
            let request = DescribeClientQuotasRequest::default().with_components(components);
            let api = ApiKey::DescribeClientQuotas;
            let answer: DescribeClientQuotasResponse = client.call(api, version, &request).await;
            assert_eq!(answer.error_code, code, "v{version}: {request:?}");
            let entries = answer.entries.map(|entries| entries.len());
            assert_eq!(entries, (code == 0).then_some(0));
        }
    }
    for (users, codes) in [
        (None, vec![]),
        (Some(vec!["b", "a", "b"]), vec![("a", 91), ("b", 92)]),
    ] {
        let user = |name| UserName::default().with_name(text(name));
        let users = users.map(|users| users.into_iter().map(user).collect());
        let request = DescribeUserScramCredentialsRequest::default().with_users(users);
        let api = ApiKey::DescribeUserScramCredentials;
        let answer: DescribeUserScramCredentialsResponse = client.call(api, 0, &request).await;
        assert_eq!(answer.error_code, 0);
        let results = answer
            .results
            .iter()
            .map(|r| (r.user.as_str(), r.error_code));
        assert_eq!(results.collect::<Vec<_>>(), codes);
    }
}

#[tokio::test]
async fn the_quorum_is_the_controller_and_the_journal() {
    let (broker, fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    let asked = |topics: &[(&str, &[i32])]| {
        let topics = topics.iter().map(|(topic, partitions)| {
            let partition = |index: &i32| PartitionData::default().with_partition_index(*index);
            TopicData::default()
                .with_topic_name(name(topic))
                .with_partitions(partitions.iter().map(partition).collect())
        });
        DescribeQuorumRequest::default().with_topics(topics.collect())
    };
    let metadata = "__cluster_metadata";
    for version in versions_of(ApiKey::DescribeQuorum) {
        let mut describe = async |request: &DescribeQuorumRequest| -> DescribeQuorumResponse {
            client.call(ApiKey::DescribeQuorum, version, request).await
        };
        let before = describe(&asked(&[(metadata, &[0])])).await;
        assert_eq!(before.error_code, 0, "v{version}");
        let partition = &before.topics[0].partitions[0];
        assert_eq!(partition.error_code, 0);
        let cluster: DescribeClusterResponse = {
            let request = DescribeClusterRequest::default();
            Client::connect(&broker)
                .call(ApiKey::DescribeCluster, 0, &request)
                .await
        };
        assert_eq!(partition.leader_id, cluster.controller_id);
        assert_eq!(partition.current_voters.len(), 1);
        assert_eq!(
            partition.current_voters[0].replica_id,
            cluster.controller_id
        );
        assert_eq!(
            partition.current_voters[0].log_end_offset,
            partition.high_watermark
        );
        assert!(partition.leader_epoch > 0);
        if version >= 2 {
            let listener = &before.nodes[0].listeners[0];
            assert_eq!(before.nodes[0].node_id, cluster.controller_id);
            assert_eq!(
                (listener.host.as_str(), listener.port),
                ("agent.test", 9092)
            );
        }
        fake.create_topic(&format!("one-more-{version}"), 1, &[]);
        let after = describe(&asked(&[(metadata, &[0])])).await;
        let end = after.topics[0].partitions[0].high_watermark;
        assert!(end > partition.high_watermark, "v{version}");
        for others in [
            vec![("t", &[0][..])],
            vec![(metadata, &[1][..])],
            vec![(metadata, &[0, 1][..])],
            vec![(metadata, &[0][..]), ("t", &[0][..])],
        ] {
            let answer = describe(&asked(&others)).await;
            let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            assert!(partitions.all(|p| p.error_code == 3 && p.current_voters.is_empty()));
        }
        assert!(describe(&asked(&[])).await.topics.is_empty());
    }
    fake.set_unavailable(Some(false));
    let answer: DescribeQuorumResponse = client
        .call(ApiKey::DescribeQuorum, 2, &asked(&[(metadata, &[0])]))
        .await;
    assert_eq!(answer.error_code, 41);
}

#[tokio::test]
async fn features_are_those_of_the_release() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    for version in versions_of(ApiKey::UpdateFeatures) {
        for (updates, code) in [
            (vec![], 0),
            (vec!["group.version"], 0),
            (vec!["metadata.version"], 95),
            (vec!["a", "b"], 95),
        ] {
            let update = |name| {
                FeatureUpdateKey::default()
                    .with_feature(text(name))
                    .with_max_version_level(1)
            };
            // Up to version 1 each feature has a result.
            let results = if code == 0 && version <= 1 {
                updates.len()
            } else {
                0
            };
            let updates = updates.into_iter().map(update).collect();
            let request = UpdateFeaturesRequest::default().with_feature_updates(updates);
            let answer: UpdateFeaturesResponse =
                client.call(ApiKey::UpdateFeatures, version, &request).await;
            assert_eq!(answer.error_code, code, "v{version}");
            assert_eq!(answer.results.len(), results, "v{version}");
            let message = answer.error_message.unwrap_or_default();
            assert_eq!(message.contains("does not support this feature"), code != 0);
        }
    }
}

#[tokio::test]
async fn what_has_configs_is_listed() {
    let mut settings = settings();
    settings.address.node_ids = 2;
    let (broker, leader) = groups::broker(settings, Ports::system(), |_, call| {
        let named = |name| {
            ConfigResource::default()
                .with_resource_type(32)
                .with_resource_name(text(name))
        };
        let listed = ["g", "h"].map(named).to_vec();
        let listed = ListConfigResourcesResponse::default().with_config_resources(listed);
        groups::answer(call.api, &listed)
    })
    .await;
    let fake = leader.fake();
    fake.create_topic("u", 1, &[]);
    fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    let first = broker.session.registration().slot.0 * 16;
    let nodes = [first.to_string(), (first + 1).to_string()];
    let of = |kind: i8, names: &[&str]| -> Vec<(i8, String)> {
        names
            .iter()
            .map(|name| (kind, (*name).to_owned()))
            .collect()
    };
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let of_groups = of(32, &["g", "h"]);
    let others = [of(8, &nodes), of(4, &nodes), of(2, &["t", "u"])].concat();
    let all = [of_groups.clone(), others].concat();
    for (version, types, code, expected) in [
        (0, vec![], 0, vec![]),
        (1, vec![], 0, all),
        (1, vec![2, 2], 0, of(2, &["t", "u"])),
        (1, vec![4], 0, of(4, &nodes)),
        (1, vec![16, 32], 0, of_groups),
        (1, vec![16], 0, vec![]),
        (1, vec![2, 3], 35, vec![]),
        (1, vec![0], 35, vec![]),
    ] {
        let request = ListConfigResourcesRequest::default().with_resource_types(types);
        let api = ApiKey::ListConfigResources;
        let answer: ListConfigResourcesResponse = client.call(api, version, &request).await;
        assert_eq!(answer.error_code, code, "{request:?}");
        let found = answer.config_resources.iter();
        let found = found.map(|r| (r.resource_type, r.resource_name.to_string()));
        assert_eq!(found.collect::<Vec<_>>(), expected, "{request:?}");
    }
}

#[tokio::test]
async fn regression_topics_are_not_listed_while_nobody_can_be_asked() {
    let (broker, fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    fake.set_unavailable(Some(false));
    for (types, code) in [(vec![], 41), (vec![2], 41), (vec![4], 0)] {
        let request = ListConfigResourcesRequest::default().with_resource_types(types);
        let api = ApiKey::ListConfigResources;
        let answer: ListConfigResourcesResponse = client.call(api, 1, &request).await;
        assert_eq!(answer.error_code, code, "{request:?}");
        assert_eq!(answer.config_resources.is_empty(), code != 0, "{request:?}");
    }
}

#[tokio::test]
async fn regression_the_longest_types_of_quotas_are_answered() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    let component = ComponentData::default()
        .with_entity_type(text(&"x".repeat(32_767)))
        .with_match_type(2)
        .with_match(None);
    for version in versions_of(ApiKey::DescribeClientQuotas) {
        let request =
            DescribeClientQuotasRequest::default().with_components(vec![component.clone()]);
        let api = ApiKey::DescribeClientQuotas;
        let answer: DescribeClientQuotasResponse = client.call(api, version, &request).await;
        assert_eq!(answer.error_code, 35, "v{version}");
    }
}

#[tokio::test]
async fn clients_are_asked_for_metrics_where_these_are_kept() {
    for kept in [false, true] {
        let mut settings = settings();
        settings.telemetry.kept = kept;
        settings.broker_configs = [("telemetry.max.bytes".to_owned(), "100".to_owned())].into();
        let (broker, _fake) = broker(settings).await;
        let mut client = Client::connect(&broker);
        let mut ask = async |id: Uuid| -> GetTelemetrySubscriptionsResponse {
            let request = GetTelemetrySubscriptionsRequest::default().with_client_instance_id(id);
            client
                .call(ApiKey::GetTelemetrySubscriptions, 0, &request)
                .await
        };
        let told = ask(Uuid::nil()).await;
        let id = told.client_instance_id;
        assert!(!id.is_nil());
        assert_eq!((told.error_code, told.push_interval_ms), (0, 300_000));
        assert_eq!(
            (told.telemetry_max_bytes, told.delta_temporality),
            (100, true)
        );
        assert_eq!(told.accepted_compression_types, [4, 3, 1, 2]);
        let metrics: Vec<_> = told.requested_metrics.iter().map(|m| m.as_str()).collect();
        assert_eq!(metrics, if kept { vec!["*"] } else { vec![] });
        assert_eq!(ask(id).await.error_code, 89);
        for (instance, subscription, codec, bytes, terminating, code) in [
            (Uuid::nil(), told.subscription_id, 0, 1, false, 42),
            (id, told.subscription_id, 0, 1, false, 0),
            (id, told.subscription_id, 0, 1, false, 89),
            (id, !told.subscription_id, 0, 1, true, 117),
            (id, told.subscription_id, 0, 1, false, 42),
            (id, told.subscription_id, 5, 1, true, 76),
        ] {
            let request = PushTelemetryRequest::default()
                .with_client_instance_id(instance)
                .with_subscription_id(subscription)
                .with_compression_type(codec)
                .with_terminating(terminating)
                .with_metrics(vec![0; bytes].into());
            let answer: PushTelemetryResponse =
                client.call(ApiKey::PushTelemetry, 0, &request).await;
            assert_eq!(answer.error_code, code, "{kept} {request:?}");
        }
        let large = ask_of_other(&mut client).await;
        let request = PushTelemetryRequest::default()
            .with_client_instance_id(large.client_instance_id)
            .with_subscription_id(large.subscription_id)
            .with_metrics(vec![0; 101].into());
        let answer: PushTelemetryResponse = client.call(ApiKey::PushTelemetry, 0, &request).await;
        assert_eq!(answer.error_code, 118);
    }
}

async fn ask_of_other(client: &mut Client) -> GetTelemetrySubscriptionsResponse {
    let request = GetTelemetrySubscriptionsRequest::default();
    client
        .call(ApiKey::GetTelemetrySubscriptions, 0, &request)
        .await
}
