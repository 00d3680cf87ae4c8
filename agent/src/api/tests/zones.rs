//! Which agents clients of which zone are told of, in every answer that names any.

use std::{net::SocketAddr, sync::Arc};

use aquifer_metadata_api::{
    Metadata, WatchChannel,
    fake::Fake,
    register::{AgentAddress, RegisterRequest},
};
use kafka_protocol::{
    messages::{
        ApiKey, DescribeClusterRequest, DescribeClusterResponse, DescribeTopicPartitionsRequest,
        DescribeTopicPartitionsResponse, FetchRequest, FetchResponse, FindCoordinatorRequest,
        FindCoordinatorResponse, MetadataRequest, MetadataResponse,
    },
    protocol::StrBytes,
};

use crate::{
    broker::Broker,
    settings::{Advertise, AgentSettings},
    testing::{Client, broker, patience, settings},
};

/// An agent of zone `a` under test, and one of zone `b` that only watches.
struct Bed {
    broker: Arc<Broker>,
    fake: Arc<Fake>,
    _other: WatchChannel,
}

impl Bed {
    async fn new(change: impl FnOnce(&mut AgentSettings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let (broker, fake) = broker(settings).await;
        let request = RegisterRequest {
            previous_slot: None,
            agent: AgentAddress {
                host: "other.test".to_owned(),
                zone: "b".to_owned(),
                ..broker.settings.address.clone()
            },
            seen: None,
        };
        let registration = fake.register(request).await.unwrap();
        let other = fake.watch(registration.session, None).await.unwrap();
        fake.create_topic("t", 8, &[]);
        patience(broker.view.catch_up()).await.unwrap();
        Self {
            broker,
            fake,
            _other: other,
        }
    }

    /// A client that comes from `ip`.
    fn client(&self, client_id: &'static str, ip: [u8; 4]) -> Client {
        Client::connect_from(&self.broker, client_id, SocketAddr::from((ip, 40_000)))
    }
}

/// The hosts that every kind of answer names, once each, in order.
async fn told(client: &mut Client) -> Vec<String> {
    let topics = MetadataRequest::default().with_topics(None);
    let metadata: MetadataResponse = client.call(ApiKey::Metadata, 12, &topics).await;
    let hosts: Vec<_> = metadata
        .brokers
        .iter()
        .map(|b| b.host.to_string())
        .collect();
    let ids: Vec<_> = metadata.brokers.iter().map(|b| b.node_id).collect();
    assert!(ids.contains(&metadata.controller_id));
    for topic in &metadata.topics {
        assert!(topic.partitions.iter().all(|p| ids.contains(&p.leader_id)));
    }
    let request = DescribeClusterRequest::default().with_endpoint_type(1);
    let cluster: DescribeClusterResponse = client.call(ApiKey::DescribeCluster, 1, &request).await;
    let described: Vec<_> = cluster.brokers.iter().map(|b| b.host.to_string()).collect();
    assert_eq!(described, hosts);
    assert_eq!(cluster.controller_id, metadata.controller_id);
    let request = FindCoordinatorRequest::default()
        .with_coordinator_keys(vec![StrBytes::from_static_str("group")]);
    let found: FindCoordinatorResponse = client.call(ApiKey::FindCoordinator, 4, &request).await;
    assert!(ids.contains(&found.coordinators[0].node_id));
    let request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(100);
    let pages: DescribeTopicPartitionsResponse = client
        .call(ApiKey::DescribeTopicPartitions, 0, &request)
        .await;
    for topic in &pages.topics {
        assert!(topic.partitions.iter().all(|p| ids.contains(&p.leader_id)));
    }
    hosts
}

const OWN: &str = "agent.test";
const OTHER: &str = "other.test";
const HERE: [u8; 4] = [127, 0, 0, 1];

#[tokio::test]
async fn clients_are_told_of_the_agents_of_their_zone() {
    let bed = Bed::new(|settings| {
        settings.zones.networks = vec![("10.2.0.0/16".parse().unwrap(), "b".to_owned())];
    })
    .await;
    for (client_id, ip, hosts) in [
        ("app,zone=a", HERE, vec![OWN]),
        ("app,zone=b", HERE, vec![OTHER]),
        ("ws_az=b", HERE, vec![OTHER]),
        ("zone=elsewhere", HERE, vec![OWN, OTHER]),
        ("app", HERE, vec![OWN, OTHER]),
        ("app", [10, 2, 0, 1], vec![OTHER]),
        ("zone=a", [10, 2, 0, 1], vec![OWN]),
        ("zone=b,host_override=proxy", HERE, vec!["proxy"]),
    ] {
        let told = told(&mut bed.client(client_id, ip)).await;
        assert_eq!(told, hosts, "{client_id} from {ip:?}");
    }
}

#[tokio::test]
async fn a_listener_that_is_declared_zonal_is_a_hint() {
    let bed = Bed::new(|settings| settings.zones.listener_is_zonal = true).await;
    assert_eq!(told(&mut bed.client("app", HERE)).await, [OWN]);
    assert_eq!(told(&mut bed.client("zone=b", HERE)).await, [OTHER]);
}

#[tokio::test]
async fn the_rack_of_a_consumer_counts_from_its_first_fetch_on() {
    let bed = Bed::new(|_| {}).await;
    let mut client = bed.client("app", HERE);
    assert_eq!(told(&mut client).await, [OWN, OTHER]);
    let request = FetchRequest::default()
        .with_session_epoch(-1)
        .with_rack_id(StrBytes::from_static_str("b"));
    let _: FetchResponse = client.call(ApiKey::Fetch, 12, &request).await;
    assert_eq!(told(&mut client).await, [OTHER]);
}

#[tokio::test]
async fn a_zone_without_agents_falls_back_to_all() {
    let bed = Bed::new(|_| {}).await;
    bed.broker.fence.drain();
    assert_eq!(told(&mut bed.client("zone=a", HERE)).await, [OTHER]);
    drop(bed.fake);
}

#[tokio::test]
async fn behind_a_load_balancer_only_that_is_named() {
    let bed = Bed::new(|settings| {
        settings.advertise = Advertise::LoadBalancer {
            host: "balancer".to_owned(),
            port: 19_092,
            node_ids: 3,
        };
    })
    .await;
    for client_id in ["app", "zone=a", "zone=b"] {
        let mut client = bed.client(client_id, HERE);
        assert_eq!(told(&mut client).await, ["balancer"; 3]);
        let topics = MetadataRequest::default().with_topics(None);
        let metadata: MetadataResponse = client.call(ApiKey::Metadata, 12, &topics).await;
        let nodes = metadata.brokers.iter().map(|b| (b.node_id.0, b.port));
        let expected = [(0, 19_092), (1, 19_093), (2, 19_094)];
        assert_eq!(nodes.collect::<Vec<_>>(), expected);
        let mut leaders: Vec<_> = metadata.topics[0]
            .partitions
            .iter()
            .map(|p| p.leader_id.0)
            .collect();
        leaders.sort_unstable();
        leaders.dedup();
        assert_eq!(leaders, [0, 1, 2], "partitions spread over its ids");
    }
}

/// The port that FindCoordinator names for each of some groups.
async fn coordinators(client: &mut Client) -> Vec<(String, i32)> {
    let keys = ["", "a", "b", "c", "d", "e", "f", "g"].map(StrBytes::from_static_str);
    let request = FindCoordinatorRequest::default().with_coordinator_keys(keys.to_vec());
    let found: FindCoordinatorResponse = client.call(ApiKey::FindCoordinator, 4, &request).await;
    let found = found.coordinators.iter();
    found.map(|c| (c.host.to_string(), c.port)).collect()
}

#[tokio::test]
async fn an_agent_that_is_asked_for_a_coordinator_names_itself_where_it_may() {
    let bed = Bed::new(|settings| settings.address.node_ids = 2).await;
    for (client_id, node_index, host, port) in [
        ("app", 0, OWN, Some(9092)),
        ("app", 1, OWN, Some(9093)),
        ("zone=a", 1, OWN, Some(9093)),
        // An agent of the client's zone, at the node id that the key chooses.
        ("zone=b", 1, OTHER, None),
    ] {
        let mut client = Client::connect_at(&bed.broker, client_id, node_index);
        for (found, at) in coordinators(&mut client).await {
            assert_eq!(found, host, "{client_id} {node_index}");
            assert!(
                port.is_none_or(|port| port == at),
                "{client_id} {node_index}"
            );
        }
    }
    bed.broker.fence.drain();
    let mut client = Client::connect_at(&bed.broker, "app", 1);
    let found = coordinators(&mut client).await;
    assert!(found.iter().all(|(host, _)| host == OTHER));
}

#[tokio::test]
async fn behind_a_load_balancer_the_node_id_that_is_asked_coordinates() {
    let bed = Bed::new(|settings| {
        settings.advertise = Advertise::LoadBalancer {
            host: "balancer".to_owned(),
            port: 19_092,
            node_ids: 2,
        };
    })
    .await;
    // The third port of the agent is none of the balancer's: the key chooses.
    for (node_index, port) in [(0, 19_092), (1, 19_093), (2, 19_092)] {
        let mut client = Client::connect_at(&bed.broker, "app", node_index);
        let expected = ("balancer".to_owned(), port);
        let found = coordinators(&mut client).await;
        assert!(
            found.iter().all(|one| *one == expected),
            "{node_index}: {found:?}"
        );
    }
}

#[tokio::test]
async fn bytes_are_counted_by_zone() {
    let bed = Bed::new(|_| {}).await;
    let counted = || {
        let traffic = bed.broker.traffic();
        (
            traffic.same_zone_bytes(),
            traffic.other_zone_bytes(),
            traffic.unknown_zone_bytes(),
        )
    };
    assert_eq!(counted(), (0, 0, 0));
    told(&mut bed.client("zone=a", HERE)).await;
    let (same, other, unknown) = counted();
    assert!(same > 500 && other == 0 && unknown == 0);
    told(&mut bed.client("app", HERE)).await;
    assert!(counted().2 > 500 && counted().0 == same && counted().1 == 0);
    told(&mut bed.client("zone=b", HERE)).await;
    assert!(counted().1 > 500 && counted().0 == same);
}
