//! The real server and client, over 127.0.0.1.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use aquifer_format::{
    ids::{ObjectLevel, WriterSlot},
    key::object_key,
};
use aquifer_metadata_api::secret::ClusterSecret;
use aquifer_store::Ports;
use futures::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::bed::{Bed, Written};
use crate::{
    peers::{GetCause, HttpPeerSettings, HttpPeers, PeerNetwork, PeerService},
    testing::patience,
};

const SECRET: &str = "the-secret-of-this-cluster";

fn secret(text: &str) -> ClusterSecret {
    ClusterSecret::new(text).unwrap()
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn service(
    listener: Option<TcpListener>,
    shown: &str,
    settings: HttpPeerSettings,
    ports: &Ports,
) -> PeerService {
    let peers = HttpPeers::new(listener, secret(shown), settings, ports);
    PeerService::new(peers as Arc<dyn PeerNetwork>)
}

/// Starts an agent that listens; where.
async fn start(bed: &mut Bed, shown: &str, settings: HttpPeerSettings) -> SocketAddr {
    let (listener, address) = listener().await;
    let ports = bed.ports.another_node();
    let service = service(Some(listener), shown, settings, &ports);
    bed.start_with("a", &address.to_string(), service, ports)
        .await;
    address
}

async fn agents(count: usize) -> Bed {
    let mut bed = Bed::on_sockets();
    for _ in 0..count {
        start(&mut bed, SECRET, HttpPeerSettings::default()).await;
    }
    bed.settle().await;
    bed
}

/// An agent, and one more that registered with `address` and never serves itself.
async fn agent_and(address: SocketAddr) -> Bed {
    let mut bed = Bed::on_sockets();
    let ports = bed.ports.another_node();
    let service = service(None, SECRET, HttpPeerSettings::default(), &ports);
    bed.start_with("a", &address.to_string(), service, ports)
        .await;
    start(&mut bed, SECRET, HttpPeerSettings::default()).await;
    bed.settle().await;
    bed
}

async fn timed_read(bed: &Bed, written: &Written) -> Duration {
    let began = bed.ports.clock.now();
    patience(bed.read(1, &written.1[0])).await.unwrap();
    bed.ports.clock.now().since(began)
}

#[tokio::test]
async fn a_zone_of_three_reads_each_unit_once() {
    let bed = agents(3).await;
    bed.bucket.set_latency(Duration::from_millis(120));
    let mut extents = Vec::new();
    for n in 0..8 {
        extents.extend(bed.write_cold().await.1);
        extents.push(bed.produce(n % 3, 2).await);
    }
    bed.settle().await;
    let agents = (0..3).flat_map(|agent| [agent; 5]);
    let reads = agents.flat_map(|agent| extents.iter().map(move |e| (agent, e)));
    let reads = reads.map(|(agent, extent)| bed.read(agent, extent));
    patience(try_join_all(reads)).await.unwrap();
    assert_eq!(
        bed.bucket.gets(),
        [1; 8],
        "and none of what was just written"
    );
    let counts = bed.agents.iter().map(|a| a.fetch.cache().counts());
    let (sent, received) = counts.fold((0, 0), |(sent, received), c| {
        (sent + c.bytes_sent, received + c.bytes_received)
    });
    assert_eq!(sent, received);
}

#[tokio::test]
async fn large_units_arrive_whole() {
    let bed = agents(2).await;
    let extent = bed.produce_bytes(0, 0, 9_000_000).await;
    bed.settle().await;
    patience(bed.read(1, &extent)).await.unwrap();
    let counts = bed.agents[1].fetch.cache().counts();
    assert_eq!((counts.peer_hits, counts.all_gets()), (1, 0));
    assert!(counts.bytes_received > 9_000_000);
}

#[tokio::test]
async fn a_stopped_process_costs_its_budget_once() {
    // The operating system takes connections for it.
    let (_stopped, address) = listener().await;
    let bed = agent_and(address).await;
    let written = bed.write_owned_by(0).await;
    let took = timed_read(&bed, &written).await;
    assert!(took >= Duration::from_millis(50), "{took:?}");
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(bed.gets(1, GetCause::PeerTimeout), 1);
    let next = bed.write_owned_by(0).await;
    timed_read(&bed, &next).await;
    assert_eq!(bed.gets(1, GetCause::PeerPaused), 1);
}

#[tokio::test]
async fn nobody_listens() {
    let (listener, address) = listener().await;
    drop(listener);
    let bed = agent_and(address).await;
    let written = bed.write_owned_by(0).await;
    timed_read(&bed, &written).await;
    assert_eq!(bed.gets(1, GetCause::PeerUnreachable), 1);
}

#[tokio::test]
async fn another_secret_is_refused_and_the_bucket_is_read() {
    let mut bed = Bed::on_sockets();
    start(&mut bed, SECRET, HttpPeerSettings::default()).await;
    let other = "another-secret-as-long-as-any";
    start(&mut bed, other, HttpPeerSettings::default()).await;
    bed.settle().await;
    let written = bed.write_owned_by(0).await;
    timed_read(&bed, &written).await;
    assert_eq!(bed.gets(1, GetCause::PeerRefused), 1);
    assert_eq!(bed.agents[0].fetch.cache().counts().refused, 1);
    assert_eq!(bed.bucket.all_gets(), 1, "the owner read nothing for it");
}

/// An agent that answers every request with these bytes and closes.
async fn answering(answer: &'static [u8]) -> Bed {
    let (listener, address) = listener().await;
    let bed = agent_and(address).await;
    bed.agents[0].ports.tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 2048];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer).await;
        }
    });
    bed
}

#[tokio::test]
async fn answers_that_are_not_the_unit_are_not_used() {
    let cases: [(&'static [u8], GetCause); 6] = [
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            GetCause::PeerWrong,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",
            GetCause::PeerCut,
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            GetCause::PeerCut,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nhello",
            GetCause::PeerWrong,
        ),
        (
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            GetCause::PeerRefused,
        ),
        (b"+PONG\r\n", GetCause::PeerUnreachable),
    ];
    for (answer, cause) in cases {
        let bed = answering(answer).await;
        let written = bed.write_owned_by(0).await;
        timed_read(&bed, &written).await;
        let counts = bed.agents[1].fetch.cache().counts();
        assert_eq!(counts.gets(cause), 1, "{}", answer.escape_ascii());
        bed.agents[0].ports.tasks.kill();
    }
}

#[tokio::test]
async fn a_part_is_never_larger_than_parts_are() {
    let bed = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 4194305\r\n\r\nhello").await;
    let extents = loop {
        let (object, extents) = bed
            .write_as(ObjectLevel::L1, WriterSlot(9_999), 1, 300)
            .await;
        if bed.owner(object) == 0 {
            break extents;
        }
    };
    patience(bed.read(1, &extents[0])).await.unwrap();
    assert_eq!(bed.gets(1, GetCause::PeerWrong), 1);
}

/// The head of the answer to a request of which this is the first line and the rest of the head.
async fn raw(address: SocketAddr, line: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    patience(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn only_well_formed_requests_with_the_secret_are_answered() {
    let mut bed = Bed::on_sockets();
    let address = start(&mut bed, SECRET, HttpPeerSettings::default()).await;
    bed.settle().await;
    let (object, _) = bed.write_cold().await;
    let key = object_key(bed.fake.cluster(), &object);
    let unit = format!("/v1/units/{key}?part=0");
    let bearer = format!("authorization: {}\r\n", secret(SECRET).bearer());
    let zone = "x-aquifer-zone: a\r\n";
    let both = format!("{bearer}{zone}");
    let wrong = format!("authorization: Bearer wrong\r\n{zone}");
    let other_zone = format!("{bearer}x-aquifer-zone: b\r\n");
    for (line, head, status) in [
        (format!("GET {unit}"), &both, "200"),
        (format!("GET {unit}"), &zone.to_owned(), "401"),
        (format!("GET {unit}"), &wrong, "401"),
        (format!("GET {unit}"), &bearer, "400"),
        (format!("GET {unit}"), &other_zone, "403"),
        (format!("GET /v1/units/{key}"), &both, "400"),
        (format!("GET /v1/units/{key}?part=1"), &both, "400"),
        (format!("GET /v1/units/{key}?part=-0"), &both, "400"),
        (format!("GET /v1/units/{key}x?part=0"), &both, "400"),
        ("GET /v1/units/../../secret?part=0".to_owned(), &both, "400"),
        (format!("POST {unit}"), &both, "405"),
        ("GET /".to_owned(), &both, "404"),
    ] {
        let answer = raw(address, &line, head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{line}: {answer}"
        );
    }
    assert_eq!(bed.bucket.all_gets(), 1);
}

#[tokio::test]
async fn connections_are_bounded_and_silent_ones_are_closed() {
    let mut bed = Bed::on_sockets();
    let settings = HttpPeerSettings {
        connections_max: 1,
        idle_max: Duration::from_millis(300),
        ..HttpPeerSettings::default()
    };
    let address = start(&mut bed, SECRET, settings).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    let closed = patience(second.read_to_end(&mut answer)).await;
    assert!(
        closed.is_err() || answer.is_empty(),
        "the second one is not taken"
    );
    // The first one never ends its head.
    let _ = patience(first.read_to_end(&mut answer)).await;
    bed.ports.sleep(Duration::from_millis(50)).await;
    let status = raw(address, "GET /", "").await;
    assert!(status.starts_with("HTTP/1.1 404"), "{status}");
}
