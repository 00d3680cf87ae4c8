//! Kafka calls.

use std::{collections::BTreeSet, sync::Arc};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{
        CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
        InitProducerIdRequest, InitProducerIdResponse, TopicName,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        create_topics_response::CreatableTopicResult,
        delete_topics_request::DeleteTopicState,
    },
    protocol::{Decodable, Encodable, StrBytes},
};

use super::fixture::topic;
use crate::{
    Metadata,
    kafka::{Envelope, KafkaCall, LeaderApi, pinned_version},
};

pub(super) async fn call<Q: Encodable, R: Decodable>(
    metadata: &dyn Metadata,
    api: LeaderApi,
    request: &Q,
) -> R {
    let version = pinned_version(api);
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("encodes");
    let envelope = Envelope {
        client_api_key: 0,
        client_api_version: version,
        principal: "User:ANONYMOUS".to_owned(),
        client_id: "conformance".to_owned(),
        host: "127.0.0.1".to_owned(),
        zone: String::new(),
        listener: "plain".to_owned(),
        deadline_ms: 30_000,
        call_id: 0,
    };
    let body = body.freeze();
    let call = KafkaCall {
        api,
        envelope,
        body,
    };
    let mut answer: Bytes = metadata.kafka(call).await.expect("the call is answered");
    let response = R::decode(&mut answer, version).expect("decodes");
    assert!(answer.is_empty(), "bytes after the response");
    response
}

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Name, partitions and configs of a topic to be created.
pub(super) type NewTopic<'a> = (&'a str, i32, &'a [(&'a str, &'a str)]);

pub(super) async fn create_topics(
    metadata: &dyn Metadata,
    topics: &[NewTopic<'_>],
) -> Vec<CreatableTopicResult> {
    let creatable = |(name, partitions, configs): &NewTopic<'_>| {
        let config = |(name, value): &(&str, &str)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        };
        CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(*partitions)
            .with_replication_factor(-1)
            .with_configs(configs.iter().map(config).collect())
    };
    let request = CreateTopicsRequest::default()
        .with_timeout_ms(1_000)
        .with_topics(topics.iter().map(creatable).collect());
    let response: CreateTopicsResponse = call(metadata, LeaderApi::CreateTopics, &request).await;
    assert_eq!(response.topics.len(), topics.len());
    response.topics
}

pub(super) async fn delete_topic(metadata: &dyn Metadata, name: &str) -> i16 {
    let state = DeleteTopicState::default().with_name(Some(TopicName(text(name))));
    let request = DeleteTopicsRequest::default()
        .with_timeout_ms(1_000)
        .with_topics(vec![state]);
    let response: DeleteTopicsResponse = call(metadata, LeaderApi::DeleteTopics, &request).await;
    assert_eq!(response.responses.len(), 1);
    response.responses[0].error_code
}

pub(super) async fn topics_are_created_once(metadata: Arc<dyn Metadata>) {
    let first = topic(&*metadata, "orders", 1, &[]).await;
    let results = create_topics(
        &*metadata,
        &[
            ("orders", 1, &[]),
            ("no/slashes", 1, &[]),
            ("payments", 3, &[]),
            ("nothing", 0, &[]),
        ],
    )
    .await;
    let codes: Vec<i16> = results.iter().map(|r| r.error_code).collect();
    let expected = [
        ResponseError::TopicAlreadyExists.code(),
        ResponseError::InvalidTopicException.code(),
        0,
        ResponseError::InvalidPartitions.code(),
    ];
    assert_eq!(codes, expected);
    assert_eq!(results[2].num_partitions, 3);
    assert_ne!(results[2].topic_id, first.0);
}

pub(super) async fn topics_are_deleted(metadata: Arc<dyn Metadata>) {
    topic(&*metadata, "orders", 1, &[]).await;
    assert_eq!(delete_topic(&*metadata, "orders").await, 0);
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    assert_eq!(delete_topic(&*metadata, "orders").await, unknown);
    topic(&*metadata, "orders", 1, &[]).await;
}

pub(super) async fn producer_ids_are_given_once(metadata: Arc<dyn Metadata>) {
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
            .with_transaction_timeout_ms(60_000);
        let response: InitProducerIdResponse =
            call(&*metadata, LeaderApi::InitProducerId, &request).await;
        assert_eq!(response.error_code, 0);
        assert_eq!(response.producer_epoch, 0);
        assert!(response.producer_id.0 >= 0);
        assert!(seen.insert(response.producer_id.0), "an id was given twice");
    }
}
