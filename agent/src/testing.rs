//! For tests: a broker on the fake metadata service and a bucket in memory, and a client that speaks raw
//! frames over a pipe.

pub(crate) mod groups;
pub(crate) mod v10;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use aquifer_metadata_api::{fake::Fake, register::AgentAddress};
use aquifer_store::{Ports, memory::MemoryStore};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, RequestHeader, ResponseHeader},
    protocol::{Decodable, Encodable, StrBytes},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::{api::versions::wire_key, broker::Broker, settings::AgentSettings};

/// Bytes that a pipe holds.
const PIPE_BYTES: usize = 64 * 1024;

/// Settings of an agent of zone `a` with one node id.
pub(crate) fn settings() -> AgentSettings {
    AgentSettings::new(AgentAddress {
        host: "agent.test".to_owned(),
        port: 9092,
        node_ids: 1,
        zone: "a".to_owned(),
        peer: String::new(),
    })
}

/// A broker and the fake that it runs on.
pub(crate) async fn broker(settings: AgentSettings) -> (Arc<Broker>, Arc<Fake>) {
    let fake = Fake::new();
    let metadata = Arc::clone(&fake);
    let store = Arc::new(MemoryStore::new());
    let broker = Broker::start(settings, Ports::system(), metadata, store, None)
        .await
        .expect("the fake refuses nobody");
    (broker, fake)
}

/// A client's end of a connection.
pub(crate) struct Client {
    pub(crate) io: DuplexStream,
    next_correlation_id: i32,
    client_id: StrBytes,
}

impl Client {
    pub(crate) fn connect(broker: &Arc<Broker>) -> Self {
        Self::connect_as(broker, "test")
    }

    pub(crate) fn connect_as(broker: &Arc<Broker>, client_id: &'static str) -> Self {
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        Self::connect_from(broker, client_id, peer)
    }

    pub(crate) fn connect_from(
        broker: &Arc<Broker>,
        client_id: &'static str,
        peer: SocketAddr,
    ) -> Self {
        Self::open(broker, client_id, peer, 0)
    }

    /// A client that connects to one of the agent's node ids.
    pub(crate) fn connect_at(
        broker: &Arc<Broker>,
        client_id: &'static str,
        node_index: u8,
    ) -> Self {
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        Self::open(broker, client_id, peer, node_index)
    }

    fn open(
        broker: &Arc<Broker>,
        client_id: &'static str,
        peer: SocketAddr,
        node_index: u8,
    ) -> Self {
        let (io, server) = tokio::io::duplex(PIPE_BYTES);
        let serving = Arc::clone(broker);
        broker
            .ports
            .tasks
            .spawn(async move { serving.serve(server, node_index, peer).await });
        Self {
            io,
            next_correlation_id: 1,
            client_id: StrBytes::from_static_str(client_id),
        }
    }

    /// Header and body of a request, with the length before them.
    pub(crate) fn frame<Q: Encodable>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &Q,
    ) -> (i32, Bytes) {
        let mut body = BytesMut::new();
        request
            .encode(&mut body, version)
            .unwrap_or_else(|e| panic!("{api:?} v{version}: {e}"));
        self.frame_of(api, version, &body)
    }

    /// The same of a body that is encoded already.
    pub(crate) fn frame_of(&mut self, api: ApiKey, version: i16, body: &[u8]) -> (i32, Bytes) {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(wire_key(api))
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(self.client_id.clone()));
        let mut frame = BytesMut::new();
        header
            .encode(&mut frame, api.request_header_version(version))
            .expect("headers have every version");
        frame.extend_from_slice(body);
        let mut whole = BytesMut::new();
        whole.put_u32(u32::try_from(frame.len()).expect("small"));
        whole.extend_from_slice(&frame);
        (correlation_id, whole.freeze())
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.io
            .write_all(bytes)
            .await
            .expect("the connection is open");
    }

    pub(crate) async fn send<Q: Encodable>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &Q,
    ) -> i32 {
        let (correlation_id, frame) = self.frame(api, version, request);
        self.send_bytes(&frame).await;
        correlation_id
    }

    /// The next answer, without its length. None = the connection was closed.
    pub(crate) async fn receive_bytes(&mut self) -> Option<Bytes> {
        let read = async {
            let length = self.io.read_u32().await.ok()?;
            let mut body = vec![0; usize::try_from(length).expect("32 bits fit")];
            self.io.read_exact(&mut body).await.ok()?;
            Some(Bytes::from(body))
        };
        patience(read).await
    }

    /// The next answer, decoded to its last byte.
    pub(crate) async fn receive<A: Decodable>(&mut self, api: ApiKey, version: i16) -> (i32, A) {
        let mut bytes = self
            .receive_bytes()
            .await
            .unwrap_or_else(|| panic!("{api:?} v{version}: the connection was closed"));
        let header = ResponseHeader::decode(&mut bytes, api.response_header_version(version))
            .expect("a response header");
        let answer =
            A::decode(&mut bytes, version).unwrap_or_else(|e| panic!("{api:?} v{version}: {e}"));
        assert!(bytes.is_empty(), "{api:?} v{version}: {bytes:?} is left");
        (header.correlation_id, answer)
    }

    pub(crate) async fn call<Q: Encodable, A: Decodable>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &Q,
    ) -> A {
        let sent = self.send(api, version, request).await;
        let (received, answer) = self.receive(api, version).await;
        assert_eq!(sent, received, "{api:?} v{version}");
        answer
    }

    /// The same with a body that is encoded already.
    pub(crate) async fn call_of<A: Decodable>(
        &mut self,
        api: ApiKey,
        version: i16,
        body: &[u8],
    ) -> A {
        let (sent, frame) = self.frame_of(api, version, body);
        self.send_bytes(&frame).await;
        let (received, answer) = self.receive(api, version).await;
        assert_eq!(sent, received, "{api:?} v{version}");
        answer
    }

    /// Whether the broker has closed the connection without sending anything more.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(patience(self.io.read(&mut byte)).await, Ok(0) | Err(_))
    }
}

/// Fails a test that waits for what does not come.
#[allow(
    clippy::disallowed_methods,
    reason = "a test's own patience is not the agent's time"
)]
pub(crate) async fn patience<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("it comes within 10 s")
}
