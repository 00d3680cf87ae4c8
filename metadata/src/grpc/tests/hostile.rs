//! Callers that are not admitted, and messages that no agent sends.

use std::time::Duration;

use aquifer_format::limits::METADATA_REQUEST_BYTES_MAX;
use aquifer_metadata_api::{
    Metadata, MetadataError,
    grpc::{
        GrpcMetadata, GrpcSettings,
        proto::{self, metadata_client::MetadataClient},
    },
    kafka::{Envelope, KafkaCall, LeaderApi},
    secret::ClusterSecret,
};
use aquifer_store::Ports;
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tonic::{Code, Request, transport::Channel};

use super::{Node, client, lead, memory_journal, secret, settings};
use crate::{
    grpc::{GrpcServerSettings, serve},
    role::Role,
};

/// A client that somebody else wrote.
async fn foreign(node: &Node) -> MetadataClient<Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", node.address()));
    let channel = endpoint.expect("a uri").connect().await.expect("connects");
    MetadataClient::new(channel)
}

fn admitted<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = secret().bearer().parse().expect("visible");
    request.metadata_mut().insert("authorization", bearer);
    request
}

#[tokio::test]
async fn only_who_shows_the_secret_is_answered() {
    let leader = lead(&memory_journal()).await;
    let node = Node::leading(&leader).await;
    let mut foreign = foreign(&node).await;
    let status = foreign.status(proto::StatusRequest {}).await;
    let status = status.expect_err("no secret was shown");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("cluster secret"), "{status:?}");
    foreign
        .status(admitted(proto::StatusRequest {}))
        .await
        .expect("admitted");

    let settings = GrpcSettings {
        secret: ClusterSecret::new("a-secret-of-another-cluster").expect("long enough"),
        ..settings(&[&node])
    };
    let refused = GrpcMetadata::new(Ports::system(), settings).barrier().await;
    let Err(MetadataError::Refused { reason }) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("cluster secret"), "{reason}");
}

#[tokio::test]
async fn messages_that_no_agent_sends_are_refused() {
    let leader = lead(&memory_journal()).await;
    let node = Node::leading(&leader).await;
    let mut foreign = foreign(&node).await;
    let uneven = proto::LocateRequest {
        from: vec![1],
        ..proto::LocateRequest::default()
    };
    let status = foreign.locate(admitted(uneven)).await.expect_err("uneven");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let nothing = proto::RegisterRequest::default();
    let status = foreign
        .register(admitted(nothing))
        .await
        .expect_err("empty");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let unknown = proto::KafkaRequest {
        api_key: 4_711,
        ..proto::KafkaRequest::default()
    };
    let status = foreign.kafka(admitted(unknown)).await.expect_err("unknown");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let no_kind = proto::CommitsCall::default();
    let calls = futures::stream::iter([no_kind]);
    let status = foreign.commits(admitted(calls)).await.expect_err("no kind");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let silent = futures::stream::iter(Vec::<proto::WatchCall>::new());
    let status = foreign.watch(admitted(silent)).await.expect_err("silent");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    client(&[&node]).barrier().await.expect("it goes on");
}

#[tokio::test]
async fn a_broken_message_on_an_open_stream_ends_it_with_a_refusal() {
    let leader = lead(&memory_journal()).await;
    let node = Node::leading(&leader).await;
    let agent = proto::AgentAddress {
        host: "agent".to_owned(),
        port: 9092,
        node_ids: 1,
        ..proto::AgentAddress::default()
    };
    let request = proto::RegisterRequest {
        agent: Some(agent),
        ..proto::RegisterRequest::default()
    };
    let mut foreign = foreign(&node).await;
    let registered = foreign
        .register(admitted(request))
        .await
        .expect("registers");
    let open = proto::commits_call::Kind::Open(registered.into_inner().session);
    let uneven = proto::commits_call::Kind::Commit(proto::Commit {
        records: vec![1],
        ..proto::Commit::default()
    });
    let calls = [open, uneven].map(|kind| proto::CommitsCall { kind: Some(kind) });
    // the stream stays open behind them
    let calls = futures::StreamExt::chain(futures::stream::iter(calls), futures::stream::pending());
    let answers = foreign.commits(admitted(calls)).await.expect("opens");
    let status = answers.into_inner().message().await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused() {
    let leader = lead(&memory_journal()).await;
    let node = Node::leading(&leader).await;
    let call = KafkaCall {
        api: LeaderApi::CreateTopics,
        envelope: Envelope {
            client_api_key: 19,
            client_api_version: 7,
            principal: String::new(),
            client_id: String::new(),
            host: String::new(),
            zone: String::new(),
            listener: String::new(),
            deadline_ms: 20_000,
            call_id: 0,
        },
        body: Bytes::from(vec![0; METADATA_REQUEST_BYTES_MAX]),
    };
    let client = client(&[&node]);
    let refused = client.kafka(call).await;
    assert!(
        matches!(refused, Err(MetadataError::Refused { .. })),
        "{refused:?}"
    );
    client.barrier().await.expect("it goes on");
    // whoever sends it all the same is refused by the server
    let large = proto::KafkaRequest {
        body: Bytes::from(vec![0; METADATA_REQUEST_BYTES_MAX]),
        ..proto::KafkaRequest::default()
    };
    let mut foreign = foreign(&node).await;
    let status = foreign.kafka(admitted(large)).await.expect_err("too large");
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
}

#[tokio::test]
async fn bytes_that_are_no_http_harm_nobody_else() {
    let leader = lead(&memory_journal()).await;
    let node = Node::leading(&leader).await;
    let client = client(&[&node]);
    client.barrier().await.expect("connects");
    let mut stranger = TcpStream::connect(node.address()).await.expect("connects");
    stranger.write_all(&[0xA5; 4_096]).await.expect("sends");
    let mut answer = Vec::new();
    // the end, or a reset
    let _ = stranger.read_to_end(&mut answer).await;
    client.barrier().await.expect("it goes on");
}

#[tokio::test]
async fn a_connection_that_shows_no_secret_is_closed() {
    let ports = Ports::system();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (_role, role) = watch::channel(Role::Standby { leader: None });
    let settings = GrpcServerSettings {
        admission_timeout: Duration::from_millis(300),
        ..GrpcServerSettings::default()
    };
    let server = serve(&ports, listener, role, secret(), settings).expect("serves");
    let mut silent = TcpStream::connect(server.address())
        .await
        .expect("connects");
    let mut answer = Vec::new();
    let ended = ports.timeout(Duration::from_secs(5), silent.read_to_end(&mut answer));
    assert!(ended.await.is_some(), "the connection is still open");
}
