//! Connections: framing, order, limits, bad input.

use std::time::Duration;

use bytes::Buf;
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse,
        TopicName, metadata_request::MetadataRequestTopic,
    },
    protocol::StrBytes,
};

use crate::{
    settings::AgentSettings,
    testing::{Client, broker, patience, settings},
};

fn metadata_of(name: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))));
    MetadataRequest::default().with_topics(Some(vec![topic]))
}

async fn assert_serves(client: &mut Client) {
    let _: ApiVersionsResponse = client
        .call(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default())
        .await;
}

#[tokio::test]
async fn requests_in_one_write_are_answered_in_their_order() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    let mut bytes = Vec::new();
    let mut sent = Vec::new();
    for n in 0..200 {
        let (id, frame) = if n % 2 == 0 {
            client.frame(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default())
        } else {
            client.frame(ApiKey::Metadata, 1, &metadata_of("pipelined"))
        };
        sent.push(id);
        bytes.extend_from_slice(&frame);
    }
    let (mut read, mut write) =
        tokio::io::split(std::mem::replace(&mut client.io, tokio::io::duplex(1).0));
    let writing = async {
        tokio::io::AsyncWriteExt::write_all(&mut write, &bytes)
            .await
            .expect("it is open");
    };
    let reading = async {
        let mut received = Vec::new();
        while received.len() < sent.len() {
            let length = tokio::io::AsyncReadExt::read_u32(&mut read).await.unwrap();
            let mut body = vec![0; usize::try_from(length).unwrap()];
            tokio::io::AsyncReadExt::read_exact(&mut read, &mut body)
                .await
                .unwrap();
            received.push((&body[..]).get_i32());
        }
        received
    };
    let ((), received) = patience(async { tokio::join!(writing, reading) }).await;
    assert_eq!(received, sent);
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    let (_, frame) = client.frame(ApiKey::Metadata, 9, &metadata_of("slow"));
    for byte in frame {
        client.send_bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    let (_, answer) = client
        .receive::<MetadataResponse>(ApiKey::Metadata, 9)
        .await;
    assert_eq!(answer.brokers.len(), 1);
}

#[tokio::test]
async fn bad_input_closes_its_own_connection_and_no_other() {
    let (broker, _fake) = broker(settings()).await;
    let mut bystander = Client::connect(&broker);
    assert_serves(&mut bystander).await;
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("negative length", vec![0xff, 0xff, 0xff, 0xff]),
        ("2 GiB", vec![0x7f, 0xff, 0xff, 0xff]),
        (
            "over the first request's limit",
            vec![0x00, 0x20, 0x00, 0x01],
        ),
        ("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        (
            "tls",
            vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc],
        ),
        ("empty frame", vec![0, 0, 0, 0]),
        ("short frame", vec![0, 0, 0, 2, 0, 3]),
    ];
    let request = |key: i16, version: i16, rest: &[u8]| {
        let mut frame = vec![];
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
        frame.extend_from_slice(rest);
        let mut whole = u32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
        whole.extend_from_slice(&frame);
        whole
    };
    cases.push(("unknown api", request(999, 0, &[])));
    cases.push(("negative api", request(-1, 0, &[])));
    cases.push((
        "old produce",
        request(0, 2, &[0, 1, 0, 0, 0, 9, 0, 0, 0, 0]),
    ));
    cases.push(("future metadata", request(3, 14, &[])));
    cases.push((
        "the five-byte body that asks for 154 GB",
        request(3, 0, &[0x7f, 0xff, 0xff, 0xff, 0]),
    ));
    cases.push(("not utf-8", request(3, 0, &[0, 0, 0, 1, 0, 1, 0xff])));
    for (what, bytes) in cases {
        let mut client = Client::connect(&broker);
        client.send_bytes(&bytes).await;
        assert!(client.is_closed().await, "{what}");
        assert_serves(&mut bystander).await;
    }
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_gets_a_version_0_body() {
    let (broker, _fake) = broker(settings()).await;
    for version in [5i16, 99, i16::MAX, -1] {
        let mut client = Client::connect(&broker);
        let mut frame = 18i16.to_be_bytes().to_vec();
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 7, 0, 1, b'x', 0xde, 0xad]);
        let mut whole = u32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
        whole.extend_from_slice(&frame);
        client.send_bytes(&whole).await;
        let (id, answer) = client
            .receive::<ApiVersionsResponse>(ApiKey::ApiVersions, 0)
            .await;
        assert_eq!((id, answer.error_code), (7, 35), "{version}");
        let own = &answer.api_keys[..];
        assert_eq!(own.len(), 1);
        assert_eq!(
            (own[0].api_key, own[0].min_version, own[0].max_version),
            (18, 0, 4)
        );
        assert_serves(&mut client).await;
    }
}

fn with(change: impl FnOnce(&mut AgentSettings)) -> AgentSettings {
    let mut settings = settings();
    change(&mut settings);
    settings
}

#[tokio::test]
async fn silent_connections_are_closed() {
    let quick = Duration::from_millis(50);
    let (broker, _fake) = broker(with(|s| {
        s.connections.first_request_max = quick;
        s.connections.idle_max = quick * 4;
    }))
    .await;
    let mut silent = Client::connect(&broker);
    let mut served = Client::connect(&broker);
    assert_serves(&mut served).await;
    assert!(silent.is_closed().await);
    assert_serves(&mut served).await;
    assert!(served.is_closed().await);
}

#[tokio::test]
async fn regression_connections_without_a_limit_of_idleness_are_served() {
    let forever = ("connections.max.idle.ms".to_owned(), "-1".to_owned());
    let (broker, _fake) = broker(with(|s| s.broker_configs = [forever].into())).await;
    let mut client = Client::connect(&broker);
    for _ in 0..2 {
        assert_serves(&mut client).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connections_are_limited_in_number() {
    let (broker, _fake) = broker(with(|s| s.connections.connections_max = 2)).await;
    let mut first = Client::connect(&broker);
    let mut second = Client::connect(&broker);
    assert_serves(&mut first).await;
    assert_serves(&mut second).await;
    let mut third = Client::connect(&broker);
    assert!(third.is_closed().await);
    drop(second);
    while broker.open_connections() > 1 {
        tokio::task::yield_now().await;
    }
    let mut fourth = Client::connect(&broker);
    assert_serves(&mut fourth).await;
}

#[tokio::test]
async fn connections_end_with_their_node() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    assert_serves(&mut client).await;
    broker.ports.tasks.kill();
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn draining_ends_idle_connections_at_once() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    assert_serves(&mut client).await;
    patience(broker.drain()).await;
    assert!(client.is_closed().await);
    assert_eq!(broker.open_connections(), 0);
}

#[tokio::test]
async fn an_agent_that_drains_no_longer_names_itself() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    let before: MetadataResponse = client.call(ApiKey::Metadata, 1, &metadata_of("t")).await;
    assert_eq!(before.brokers.len(), 1);
    broker.fence.drain();
    let after: MetadataResponse = client.call(ApiKey::Metadata, 1, &metadata_of("t")).await;
    assert_eq!(after.brokers.len(), 0);
    assert_eq!(after.topics[0].partitions[0].leader_id.0, -1);
}

#[tokio::test]
async fn large_answers_that_nobody_reads_at_first_all_come() {
    let (broker, fake) = broker(settings()).await;
    fake.create_topic("wide", 5_000, &[]);
    let mut client = Client::connect(&broker);
    for _ in 0..40 {
        client.send(ApiKey::Metadata, 1, &metadata_of("wide")).await;
    }
    for n in 1..=40 {
        let (id, answer) = client
            .receive::<MetadataResponse>(ApiKey::Metadata, 1)
            .await;
        assert_eq!((id, answer.topics[0].partitions.len()), (n, 5_000));
    }
}

#[tokio::test]
async fn a_connection_that_sends_nothing_is_small() {
    let (broker, _fake) = broker(settings()).await;
    let (_client, io) = tokio::io::duplex(1);
    let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let bytes = std::mem::size_of_val(&broker.serve(io, 0, peer));
    assert!(bytes <= 4096, "{bytes}");
}
