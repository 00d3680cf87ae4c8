//! Raw requests in every version that is served.

use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsRequest, ApiVersionsResponse, BrokerId, CreateTopicsRequest,
        CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, DescribeClusterRequest,
        DescribeClusterResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
        FetchRequest, FindCoordinatorRequest, FindCoordinatorResponse, InitProducerIdRequest,
        InitProducerIdResponse, ListOffsetsRequest, MetadataRequest, MetadataResponse,
        OffsetForLeaderEpochRequest, ProduceRequest, ProducerId, TopicName, TransactionalId,
        create_topics_request::CreatableTopic, delete_topics_request::DeleteTopicState,
        describe_topic_partitions_request as describe, metadata_request::MetadataRequestTopic,
    },
    protocol::{Request, StrBytes},
};
use uuid::Uuid;

use super::versions::{self, SERVED, wire_key};
use crate::testing::{Client, broker, settings};

mod advertised;
mod cluster;
mod groups;
mod partitions;
mod readme;
mod topics;
mod zones;

fn versions_of(api: ApiKey) -> std::ops::RangeInclusive<i16> {
    let served = versions::find(wire_key(api)).expect("it is served");
    served.min..=served.max
}

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

fn named(names: &[&str]) -> MetadataRequest {
    let topics = names
        .iter()
        .map(|text| MetadataRequestTopic::default().with_name(Some(name(text))))
        .collect();
    MetadataRequest::default().with_topics(Some(topics))
}

#[test]
fn keys_are_unique_and_versions_are_those_of_the_crate() {
    let mut keys: Vec<_> = SERVED.iter().map(versions::Served::key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), SERVED.len());
    for served in SERVED {
        let crates = served.api.valid_versions();
        assert!(
            crates.min <= served.min && served.max <= crates.max,
            "{served:?}"
        );
        for version in served.min..=served.max {
            let flexible = served.api.request_header_version(version) == 2;
            assert_eq!(
                served.shape.is_flexible(version),
                flexible,
                "{served:?} v{version}"
            );
        }
    }
}

/// Sends a request of one API in each version and decodes the answer to its end.
async fn answered<Q: Request + Default>(client: &mut Client, request: impl Fn(Q) -> Q) {
    let api = ApiKey::try_from(Q::KEY).expect("the crate knows its own keys");
    // The crate has requests of version 10 of no API of groups.
    let of_request = Q::VERSIONS.min..=Q::VERSIONS.max;
    for version in versions_of(api).filter(|version| of_request.contains(version)) {
        let _: Q::Response = client.call(api, version, &request(Q::default())).await;
    }
}

#[tokio::test]
async fn every_advertised_version_has_a_handler() {
    let (broker, _fake) = broker(settings()).await;
    let client = &mut Client::connect(&broker);
    for served in SERVED {
        match served.api {
            ApiKey::Produce => {
                let acknowledged =
                    |request: ProduceRequest| request.with_transactional_id(None).with_acks(-1);
                answered(client, acknowledged).await;
            }
            ApiKey::Fetch => answered::<FetchRequest>(client, |r| r).await,
            ApiKey::ListOffsets => answered::<ListOffsetsRequest>(client, |r| r).await,
            ApiKey::Metadata => answered::<MetadataRequest>(client, |r| r).await,
            ApiKey::FindCoordinator => answered::<FindCoordinatorRequest>(client, |r| r).await,
            ApiKey::ApiVersions => answered::<ApiVersionsRequest>(client, |r| r).await,
            ApiKey::CreateTopics => answered::<CreateTopicsRequest>(client, |r| r).await,
            ApiKey::DeleteTopics => answered::<DeleteTopicsRequest>(client, |r| r).await,
            ApiKey::InitProducerId => answered::<InitProducerIdRequest>(client, |r| r).await,
            ApiKey::OffsetForLeaderEpoch => {
                answered::<OffsetForLeaderEpochRequest>(client, |r| r).await;
            }
            ApiKey::DescribeCluster => answered::<DescribeClusterRequest>(client, |r| r).await,
            ApiKey::DescribeTopicPartitions => {
                answered::<DescribeTopicPartitionsRequest>(client, |r| r).await;
            }
            other => advertised::answers(client, other).await,
        }
    }
}

#[tokio::test]
async fn api_versions_names_what_is_served_and_which_features_work() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    for version in versions_of(ApiKey::ApiVersions) {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request = request
                .with_client_software_name(StrBytes::from_static_str("apache-kafka-java"))
                .with_client_software_version(StrBytes::from_static_str("4.1.0"));
        }
        let answer: ApiVersionsResponse = client.call(ApiKey::ApiVersions, version, &request).await;
        assert_eq!(answer.error_code, 0);
        assert_eq!(answer.api_keys.len(), SERVED.len());
        let finalized = answer.finalized_features.iter();
        let finalized = finalized.map(|f| (f.name.as_str(), f.max_version_level));
        let expected = if version >= 3 {
            vec![("group.version", 1)]
        } else {
            vec![]
        };
        assert_eq!(finalized.collect::<Vec<_>>(), expected, "v{version}");
        // Older clients refuse features whose lowest level is 0.
        let supported = usize::from(version >= 4);
        assert_eq!(answer.supported_features.len(), supported, "v{version}");
        let produce = answer.api_keys.iter().find(|api| api.api_key == 0).unwrap();
        assert_eq!((produce.min_version, produce.max_version), (0, 13));
    }
    for (software, error) in [("a b", 42), ("", 42), ("-a", 42), ("a-1.b", 0)] {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(software))
            .with_client_software_version(StrBytes::from_static_str("1"));
        let answer: ApiVersionsResponse = client.call(ApiKey::ApiVersions, 3, &request).await;
        assert_eq!(answer.error_code, error, "{software:?}");
    }
}

#[tokio::test]
async fn metadata_creates_a_topic_and_describes_it_at_once() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    for version in versions_of(ApiKey::Metadata) {
        let text = format!("auto-{version}");
        let answer: MetadataResponse = client
            .call(ApiKey::Metadata, version, &named(&[&text, &text]))
            .await;
        assert_eq!(answer.brokers.len(), 1, "v{version}");
        assert_eq!(answer.brokers[0].host.as_str(), "agent.test");
        assert_eq!(answer.brokers[0].port, 9092);
        let node = answer.brokers[0].node_id;
        assert_eq!(
            answer.topics.len(),
            1,
            "v{version}: duplicates are described once"
        );
        let topic = &answer.topics[0];
        assert_eq!(topic.error_code, 0, "v{version}");
        assert_eq!(topic.partitions[0].leader_id, node);
        assert_eq!(topic.partitions[0].replica_nodes, [node]);
        assert_eq!(topic.partitions[0].isr_nodes, [node]);
        assert_eq!(topic.topic_id.is_nil(), version < 10);
        if version >= 1 {
            assert_eq!(answer.controller_id, node);
            assert_eq!(answer.brokers[0].rack.as_deref(), Some("a"));
        }
        if version >= 2 {
            assert_eq!(answer.cluster_id.as_deref().map(str::len), Some(22));
        }
    }
}

#[tokio::test]
async fn metadata_of_all_of_none_and_of_what_is_not_there() {
    let (broker, fake) = broker(settings()).await;
    let id = fake.create_topic("there", 3, &[]);
    let mut client = Client::connect(&broker);
    // Heard of by name, exactly, though the watch may lag.
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 1, &named(&["there"])).await;
    assert_eq!(answer.topics[0].partitions.len(), 3);
    for version in versions_of(ApiKey::Metadata) {
        let all = MetadataRequest::default().with_topics((version == 0).then(Vec::new));
        let answer: MetadataResponse = client.call(ApiKey::Metadata, version, &all).await;
        assert_eq!(answer.topics.len(), 1, "v{version}");
        if version > 0 {
            let none = MetadataRequest::default().with_topics(Some(Vec::new()));
            let answer: MetadataResponse = client.call(ApiKey::Metadata, version, &none).await;
            assert_eq!(answer.topics.len(), 0, "v{version}");
        }
        let answer: MetadataResponse = client
            .call(ApiKey::Metadata, version, &named(&["bad name"]))
            .await;
        assert_eq!(answer.topics[0].error_code, 17, "v{version}");
        if version >= 4 {
            let only_look = named(&["nowhere"]).with_allow_auto_topic_creation(false);
            let answer: MetadataResponse = client.call(ApiKey::Metadata, version, &only_look).await;
            assert_eq!(answer.topics[0].error_code, 3, "v{version}");
        }
        if version >= 10 {
            let by_id = |id: Uuid| {
                let topic = MetadataRequestTopic::default()
                    .with_name(None)
                    .with_topic_id(id);
                MetadataRequest::default().with_topics(Some(vec![topic]))
            };
            let answer: MetadataResponse =
                client.call(ApiKey::Metadata, version, &by_id(id.0)).await;
            let expected = if version < 12 { 42 } else { 0 };
            assert_eq!(answer.topics[0].error_code, expected, "v{version}");
            if version >= 12 {
                assert_eq!(answer.topics[0].name.as_ref().unwrap().as_str(), "there");
                let unknown = by_id(Uuid::from_u128(5));
                let answer: MetadataResponse =
                    client.call(ApiKey::Metadata, version, &unknown).await;
                assert_eq!(answer.topics[0].error_code, 100);
            }
        }
    }
}

#[tokio::test]
async fn metadata_names_operations_where_asked() {
    let (broker, fake) = broker(settings()).await;
    fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    for version in 8..=10 {
        let request = named(&["t"])
            .with_include_cluster_authorized_operations(true)
            .with_include_topic_authorized_operations(true);
        let answer: MetadataResponse = client.call(ApiKey::Metadata, version, &request).await;
        assert_eq!(answer.cluster_authorized_operations, 8096);
        assert_eq!(answer.topics[0].topic_authorized_operations, 3576);
    }
}

#[tokio::test]
async fn a_topic_is_never_called_unknown_while_nobody_can_be_asked() {
    let (broker, fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    fake.set_unavailable(Some(false));
    let request = named(&["t"]).with_allow_auto_topic_creation(false);
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 9, &request).await;
    assert_eq!(answer.topics[0].error_code, 5);
}

#[tokio::test]
async fn every_node_id_has_its_port_and_clients_may_replace_the_host() {
    let mut settings = settings();
    settings.address.node_ids = 4;
    let (broker, fake) = broker(settings).await;
    fake.create_topic("t", 16, &[]);
    let mut client = Client::connect_as(&broker, "app,zone=a,host_override=proxy.test");
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 12, &named(&["t"])).await;
    let first = answer.brokers[0].node_id.0;
    let nodes: Vec<_> = answer
        .brokers
        .iter()
        .map(|b| (b.node_id.0 - first, b.port, b.host.to_string()))
        .collect();
    let expected: Vec<_> = (0..4)
        .map(|i| (i, 9092 + i, "proxy.test".to_owned()))
        .collect();
    assert_eq!(nodes, expected);
    let mut leaders: Vec<_> = answer.topics[0]
        .partitions
        .iter()
        .map(|p| p.leader_id.0 - first)
        .collect();
    leaders.sort_unstable();
    assert_eq!(leaders, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
}

#[tokio::test]
async fn topics_are_created_and_deleted_in_every_version() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    let creation = |text: &str, partitions: i32| {
        let topic = CreatableTopic::default()
            .with_name(name(text))
            .with_num_partitions(partitions)
            .with_replication_factor(3);
        CreateTopicsRequest::default().with_topics(vec![topic])
    };
    let mut created = Vec::new();
    for version in versions_of(ApiKey::CreateTopics) {
        let text = format!("made-{version}");
        let mut create = async |request: CreateTopicsRequest| {
            let answer: CreateTopicsResponse =
                client.call(ApiKey::CreateTopics, version, &request).await;
            (answer.topics[0].error_code, answer.topics[0].topic_id)
        };
        let dry = creation(&text, 2).with_validate_only(true);
        assert_eq!(create(dry).await.0, 0, "v{version}");
        let (code, id) = create(creation(&text, 2)).await;
        assert_eq!((code, id.is_nil()), (0, version < 7), "v{version}");
        assert_eq!(create(creation(&text, 2)).await.0, 36, "v{version}");
        assert_eq!(create(creation("a/b", 2)).await.0, 17, "v{version}");
        assert_eq!(create(creation("zero", 0)).await.0, 37, "v{version}");
        let answer: MetadataResponse = client.call(ApiKey::Metadata, 12, &named(&[&text])).await;
        assert_eq!(answer.topics[0].partitions.len(), 2, "v{version}");
        created.push((text, answer.topics[0].topic_id));
    }
    for version in versions_of(ApiKey::DeleteTopics) {
        let (text, id) = created.pop().expect("as many as versions");
        let request = if version < 6 {
            DeleteTopicsRequest::default().with_topic_names(vec![name(&text)])
        } else {
            let topic = DeleteTopicState::default().with_topic_id(id);
            DeleteTopicsRequest::default().with_topics(vec![topic])
        };
        for again in [false, true] {
            let answer: DeleteTopicsResponse =
                client.call(ApiKey::DeleteTopics, version, &request).await;
            let expected = match (again, version < 6) {
                (false, _) => 0,
                (true, true) => 3,
                (true, false) => 100,
            };
            assert_eq!(answer.responses[0].error_code, expected, "v{version}");
        }
        let look = named(&[&text]).with_allow_auto_topic_creation(false);
        let answer: MetadataResponse = client.call(ApiKey::Metadata, 9, &look).await;
        assert_eq!(answer.topics[0].error_code, 3, "v{version}");
    }
}

#[tokio::test]
async fn producer_ids_are_given_and_transactional_ids_refused() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    let mut last = -1;
    for version in versions_of(ApiKey::InitProducerId) {
        let mut init = async |request: &InitProducerIdRequest| -> InitProducerIdResponse {
            client.call(ApiKey::InitProducerId, version, request).await
        };
        let plain = InitProducerIdRequest::default().with_transactional_id(None);
        let answer = init(&plain).await;
        assert_eq!(
            (answer.error_code, answer.producer_epoch),
            (0, 0),
            "v{version}"
        );
        assert!(answer.producer_id.0 > last, "v{version}");
        last = answer.producer_id.0;
        for (id, code) in [("", 42), ("tx", 53)] {
            let id = TransactionalId(StrBytes::from_static_str(id));
            let request = InitProducerIdRequest::default().with_transactional_id(Some(id));
            let answer = init(&request).await;
            assert_eq!(answer.error_code, code, "v{version}");
            assert_eq!(answer.producer_id.0, -1);
        }
        if version >= 3 {
            let half = plain.with_producer_id(ProducerId(9));
            assert_eq!(init(&half).await.error_code, 42, "v{version}");
        }
    }
}

#[tokio::test]
async fn coordinators_are_agents_of_the_zone() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    for version in versions_of(ApiKey::FindCoordinator) {
        for key_type in 0..=2i8 {
            if version == 0 && key_type > 0 {
                continue;
            }
            let key = StrBytes::from_static_str("g");
            let mut request = FindCoordinatorRequest::default().with_key_type(key_type);
            request = if version >= 4 {
                request.with_coordinator_keys(vec![key.clone(), key])
            } else {
                request.with_key(key)
            };
            let answer: FindCoordinatorResponse = client
                .call(ApiKey::FindCoordinator, version, &request)
                .await;
            let (code, port) = if version >= 4 {
                assert_eq!(answer.coordinators.len(), 2);
                (
                    answer.coordinators[1].error_code,
                    answer.coordinators[1].port,
                )
            } else {
                (answer.error_code, answer.port)
            };
            let expected = if key_type < 2 { (0, 9092) } else { (42, -1) };
            assert_eq!((code, port), expected, "v{version} type {key_type}");
            let text = match answer.coordinators.first() {
                Some(first) => &first.error_message,
                None => &answer.error_message,
            };
            let text = text.as_ref().map(StrBytes::as_str);
            match (code, version) {
                (0, 1..=3) => assert_eq!(text, Some("NONE"), "v{version}"),
                (0, _) => assert_eq!(text, Some(""), "v{version}"),
                _ => assert_ne!(text, Some(""), "v{version}"),
            }
        }
    }
}

#[tokio::test]
async fn the_cluster_is_described() {
    let (broker, fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    for version in versions_of(ApiKey::DescribeCluster) {
        let request = DescribeClusterRequest::default();
        let answer: DescribeClusterResponse = client
            .call(ApiKey::DescribeCluster, version, &request)
            .await;
        assert_eq!(answer.error_code, 0);
        assert_eq!(answer.cluster_id.as_str(), fake.cluster().to_string());
        assert_eq!(answer.brokers.len(), 1);
        assert_eq!(answer.controller_id, answer.brokers[0].broker_id);
        if version >= 1 {
            for (endpoint, code) in [(2, 114), (0, 115), (3, 115)] {
                let request = DescribeClusterRequest::default().with_endpoint_type(endpoint);
                let answer: DescribeClusterResponse = client
                    .call(ApiKey::DescribeCluster, version, &request)
                    .await;
                assert_eq!((answer.error_code, answer.endpoint_type), (code, 1));
                assert!(answer.error_message.is_some());
            }
        }
    }
}

#[tokio::test]
async fn partitions_are_described_in_pages() {
    let (broker, fake) = broker(settings()).await;
    for (text, partitions) in [("a", 3), ("b", 2), ("c", 4)] {
        fake.create_topic(text, partitions, &[]);
    }
    let mut client = Client::connect(&broker);
    let topics = ["c", "a", "b", "a"].map(|t| describe::TopicRequest::default().with_name(name(t)));
    for (topics, limit) in [
        (topics.to_vec(), 2),
        (Vec::new(), 2),
        (Vec::new(), 3),
        (Vec::new(), 0),
    ] {
        let mut seen = Vec::new();
        let mut cursor = None;
        // Makes sure that the agent has heard of all topics.
        let _: MetadataResponse = client
            .call(ApiKey::Metadata, 9, &named(&["a", "b", "c"]))
            .await;
        loop {
            let request = DescribeTopicPartitionsRequest::default()
                .with_topics(topics.clone())
                .with_response_partition_limit(limit)
                .with_cursor(cursor.take());
            let answer: DescribeTopicPartitionsResponse = client
                .call(ApiKey::DescribeTopicPartitions, 0, &request)
                .await;
            let page: usize = answer.topics.iter().map(|t| t.partitions.len()).sum();
            assert!(page <= usize::try_from(limit.max(1)).unwrap());
            for topic in &answer.topics {
                assert_eq!(topic.error_code, 0);
                let text = topic.name.as_ref().unwrap().to_string();
                seen.extend(topic.partitions.iter().map(|p| {
                    assert!(p.leader_id >= BrokerId(0));
                    format!("{text}{}", p.partition_index)
                }));
            }
            match answer.next_cursor {
                Some(next) => {
                    let next = describe::Cursor::default()
                        .with_topic_name(next.topic_name)
                        .with_partition_index(next.partition_index);
                    cursor = Some(next);
                }
                None => break,
            }
        }
        assert_eq!(
            seen,
            ["a0", "a1", "a2", "b0", "b1", "c0", "c1", "c2", "c3"],
            "{limit}"
        );
    }
    let unknown = ["nowhere", "a b"].map(|t| describe::TopicRequest::default().with_name(name(t)));
    let request = DescribeTopicPartitionsRequest::default().with_topics(unknown.to_vec());
    let answer: DescribeTopicPartitionsResponse = client
        .call(ApiKey::DescribeTopicPartitions, 0, &request)
        .await;
    let codes: Vec<_> = answer.topics.iter().map(|t| t.error_code).collect();
    assert_eq!(codes, [17, 3]);
}
