//! Raw Kafka connections: typed requests, and bytes as they are.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiVersionsRequest, CreateTopicsRequest, InitProducerIdRequest, MetadataRequest,
        MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
        TopicName,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        metadata_request::MetadataRequestTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    correlation: i32,
}

/// What a connection answered to bytes that it may not like.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// A whole frame, without its length.
    Frame(Vec<u8>),
    /// It closed the connection.
    Closed,
    /// Neither within the time-out.
    Silence,
}

impl Connection {
    /// Connects; reads time out after 30 s.
    ///
    /// # Panics
    /// If nobody listens.
    #[must_use]
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).expect("the broker listens")
    }

    /// Connects, if somebody listens.
    #[must_use]
    pub fn try_open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .ok()?;
        Some(Self {
            stream,
            correlation: 0,
        })
    }

    /// Sends a request and does not wait; returns its correlation id.
    ///
    /// # Panics
    /// If it can't be encoded or sent.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.correlation += 1;
        self.send_bytes(&encode(self.correlation, version, request));
        self.correlation
    }

    /// Receives the next response, which must be that of `correlation`.
    ///
    /// # Panics
    /// If the connection is closed or the answer is another one.
    pub fn receive<R: Request>(&mut self, version: i16, correlation: i32) -> R::Response {
        let Answer::Frame(frame) = self.answer(Duration::from_secs(30)) else {
            panic!(
                "no answer to request {correlation} (key {}, version {version})",
                R::KEY
            )
        };
        let mut frame = Bytes::from(frame);
        let header_version = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut frame, header_version).expect("a response header");
        assert_eq!(
            header.correlation_id, correlation,
            "answers keep their order"
        );
        let response = R::Response::decode(&mut frame, version).expect("a response body");
        assert!(frame.is_empty(), "{} bytes after the response", frame.len());
        response
    }

    /// Sends a request and waits for its response.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let correlation = self.send(version, request);
        self.receive::<R>(version, correlation)
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If they cannot be sent.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(bytes)
            .expect("the connection takes bytes");
    }

    /// Sends bytes as they are; false if the other side has closed.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Ends the sending direction.
    pub fn finish_sending(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// The next frame, or that there is none.
    ///
    /// # Panics
    /// If a frame is announced with a negative length.
    pub fn answer(&mut self, wait: Duration) -> Answer {
        self.stream
            .set_read_timeout(Some(wait))
            .expect("a socket option");
        let mut length = [0; 4];
        if let Err(error) = self.stream.read_exact(&mut length) {
            return match error.kind() {
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Answer::Silence,
                _ => Answer::Closed,
            };
        }
        let length = usize::try_from(i32::from_be_bytes(length)).expect("lengths are not negative");
        let mut frame = vec![0; length];
        match self.stream.read_exact(&mut frame) {
            Ok(()) => Answer::Frame(frame),
            Err(_) => Answer::Closed,
        }
    }
}

/// A whole frame with its length: header and body of a request.
///
/// # Panics
/// If the request can't be encoded in this version.
#[must_use]
pub fn encode<R: Request>(correlation: i32, version: i16, request: &R) -> Bytes {
    try_encode(correlation, version, request).expect("a request of this version")
}

/// The same, or nothing if the version lacks a field that the request has.
///
/// # Panics
/// If the request is too large.
#[must_use]
pub fn try_encode<R: Request>(correlation: i32, version: i16, request: &R) -> Option<Bytes> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("aquifer-tests")));
    let mut body = BytesMut::new();
    header.encode(&mut body, R::header_version(version)).ok()?;
    request.encode(&mut body, version).ok()?;
    let mut frame = BytesMut::new();
    frame.extend_from_slice(
        &i32::try_from(body.len())
            .expect("a small frame")
            .to_be_bytes(),
    );
    frame.extend_from_slice(&body);
    Some(frame.freeze())
}

/// A topic name as the protocol crate has it.
#[must_use]
pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// An ApiVersions request as clients send it: from version 3 on it names the software.
#[must_use]
pub fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("aquifer-tests"))
        .with_client_software_version(StrBytes::from_static_str("1"))
}

impl Connection {
    /// Creates a topic with configs; panics if that fails.
    ///
    /// # Panics
    /// If the broker refuses.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*name).to_owned()))
                .with_value(Some(StrBytes::from_string((*value).to_owned())))
        });
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(-1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(30_000);
        let response = self.call(7, &request);
        assert_eq!(
            response.topics[0].error_code, 0,
            "{:?}",
            response.topics[0].error_message
        );
    }

    /// Metadata of one topic, at version 12.
    pub fn topic_metadata(&mut self, name: &str) -> MetadataResponse {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        self.call(12, &request)
    }

    /// A new producer id.
    ///
    /// # Panics
    /// If the broker gives none.
    pub fn producer_id(&mut self) -> (i64, i16) {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
            .with_transaction_timeout_ms(60_000);
        let response = self.call(4, &request);
        assert_eq!(response.error_code, 0, "InitProducerId");
        (response.producer_id.0, response.producer_epoch)
    }

    /// Produces to one partition with acks=-1 at version 9 and returns (error code, base offset, log
    /// append time).
    pub fn produce(&mut self, topic: &str, partition: i32, records: Bytes) -> (i16, i64, i64) {
        let response = self.call(9, &produce_request(topic, partition, -1, records));
        first_result(&response)
    }
}

/// A Produce request with one partition.
#[must_use]
pub fn produce_request(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic])
}

/// (error code, base offset, log append time) of the first partition in a response.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn first_result(response: &ProduceResponse) -> (i16, i64, i64) {
    let partition = &response.responses[0].partition_responses[0];
    (
        partition.error_code,
        partition.base_offset,
        partition.log_append_time_ms,
    )
}
