//! Kafka requests that the metadata leader answers, in an envelope.

use bytes::Bytes;

/// Kafka api keys of calls that go to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaderApi {
    /// CreateTopics; also what a Metadata request that creates topics automatically sends.
    CreateTopics,
    /// DeleteTopics.
    DeleteTopics,
    /// InitProducerId.
    InitProducerId,
}

/// The version at which a call's request and response bodies are encoded between agent and leader,
/// whatever version the client used.
#[must_use]
pub fn pinned_version(api: LeaderApi) -> i16 {
    match api {
        LeaderApi::CreateTopics => 7,
        LeaderApi::DeleteTopics => 6,
        LeaderApi::InitProducerId => 5,
    }
}

/// Who asks, and how: rules that depend on the client's version or identity need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The api key that the client used (a Metadata request may become CreateTopics).
    pub client_api_key: i16,
    /// The version that the client used.
    pub client_api_version: i16,
    /// The authenticated principal (`User:ANONYMOUS` where there is no authentication).
    pub principal: String,
    /// The client's `client.id`.
    pub client_id: String,
    /// The client's address.
    pub host: String,
    /// The client's zone; empty = unknown.
    pub zone: String,
    /// Name of the listener.
    pub listener: String,
    /// How long the caller waits, in milliseconds.
    pub deadline_ms: u32,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaCall {
    /// What is called.
    pub api: LeaderApi,
    /// Who calls.
    pub envelope: Envelope,
    /// The request body at the pinned version.
    pub body: Bytes,
}
