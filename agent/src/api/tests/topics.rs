//! What is said of topics that are there, are not, and cannot be.

use std::time::Duration;

use kafka_protocol::messages::{
    ApiKey, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, MetadataRequest,
    MetadataResponse, describe_topic_partitions_request as describe,
    metadata_request::MetadataRequestTopic,
};
use uuid::Uuid;

use super::{name, named};
use crate::testing::{Client, broker, settings};

/// Every operation on a topic, and "not asked for".
const ALL: i32 = 3576;
const NOT_ASKED: i32 = i32::MIN;

#[tokio::test]
async fn regression_operations_are_named_for_topics_that_are_not_there() {
    let (broker, fake) = broker(settings()).await;
    fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    for version in 8..=13 {
        for asked in [false, true] {
            let request = named(&["", "a/b", "missing", "t"])
                .with_allow_auto_topic_creation(false)
                .with_include_topic_authorized_operations(asked);
            let answer: MetadataResponse = client.call(ApiKey::Metadata, version, &request).await;
            let found: Vec<_> = answer
                .topics
                .iter()
                .map(|topic| (topic.error_code, topic.topic_authorized_operations))
                .collect();
            let operations = if asked { ALL } else { NOT_ASKED };
            assert_eq!(
                found,
                [17, 17, 3, 0].map(|code| (code, operations)),
                "v{version}"
            );
        }
    }
    let by_id = MetadataRequestTopic::default()
        .with_name(None)
        .with_topic_id(Uuid::from_u128(5));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![by_id]))
        .with_include_topic_authorized_operations(true);
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 12, &request).await;
    let topic = &answer.topics[0];
    assert_eq!(
        (topic.error_code, topic.topic_authorized_operations),
        (100, NOT_ASKED)
    );
}

#[tokio::test]
async fn regression_requests_that_name_topics_wrongly_are_refused_as_a_whole() {
    let (broker, fake) = broker(settings()).await;
    let id = fake.create_topic("t", 1, &[]).0;
    let mut client = Client::connect(&broker);
    let topic = |text: Option<&str>, id: Uuid| {
        MetadataRequestTopic::default()
            .with_name(text.map(name))
            .with_topic_id(id)
    };
    for (version, topics, refused) in [
        (10, vec![topic(None, id)], true),
        (11, vec![topic(Some("t"), id)], true),
        (11, vec![topic(Some("t"), Uuid::nil())], false),
        (12, vec![topic(None, id)], false),
        (12, vec![topic(Some("t"), id)], false),
        (12, vec![topic(None, Uuid::nil())], true),
        (
            13,
            vec![topic(Some("t"), Uuid::nil()), topic(None, Uuid::nil())],
            true,
        ),
        (13, vec![topic(None, id), topic(None, Uuid::nil())], false),
    ] {
        let request = MetadataRequest::default().with_topics(Some(topics.clone()));
        let answer: MetadataResponse = client.call(ApiKey::Metadata, version, &request).await;
        let what = format!("v{version} {topics:?}");
        assert_eq!(answer.brokers.is_empty(), refused, "{what}");
        assert_eq!(answer.cluster_id.is_none(), refused, "{what}");
        assert_eq!(answer.controller_id.0 == -1, refused, "{what}");
        let top = if refused && version >= 13 { 42 } else { 0 };
        assert_eq!(answer.error_code, top, "{what}");
        let codes: Vec<_> = answer.topics.iter().map(|topic| topic.error_code).collect();
        let expected = if refused {
            vec![42; topics.len()]
        } else {
            vec![0]
        };
        assert_eq!(codes, expected, "{what}");
    }
}

#[tokio::test]
async fn regression_topics_are_internal_by_their_names() {
    let (broker, fake) = broker(settings()).await;
    let names = ["__consumer_offsets", "__mine", "t"];
    for text in names {
        fake.create_topic(text, 1, &[]);
    }
    let mut client = Client::connect(&broker);
    let request = named(&names);
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 9, &request).await;
    let internal: Vec<_> = answer.topics.iter().map(|t| t.is_internal).collect();
    assert_eq!(internal, [true, false, false]);
    let answer = described(&mut client, &names, 2_000, None).await;
    let internal: Vec<_> = answer.topics.iter().map(|t| t.is_internal).collect();
    assert_eq!(internal, [true, false, false]);
}

fn description(
    topics: &[&str],
    limit: i32,
    cursor: Option<(&str, i32)>,
) -> DescribeTopicPartitionsRequest {
    let topics = topics
        .iter()
        .map(|text| describe::TopicRequest::default().with_name(name(text)));
    let cursor = cursor.map(|(text, partition)| {
        describe::Cursor::default()
            .with_topic_name(name(text))
            .with_partition_index(partition)
    });
    DescribeTopicPartitionsRequest::default()
        .with_topics(topics.collect())
        .with_response_partition_limit(limit)
        .with_cursor(cursor)
}

async fn described(
    client: &mut Client,
    topics: &[&str],
    limit: i32,
    cursor: Option<(&str, i32)>,
) -> DescribeTopicPartitionsResponse {
    let request = description(topics, limit, cursor);
    client
        .call(ApiKey::DescribeTopicPartitions, 0, &request)
        .await
}

#[tokio::test]
async fn regression_cursors_name_one_of_the_topics() {
    let (broker, fake) = broker(settings()).await;
    for (text, partitions) in [("a", 1), ("c", 3)] {
        fake.create_topic(text, partitions, &[]);
    }
    let mut client = Client::connect(&broker);
    type Pages<'a> = (&'a [&'a str], i32, Option<(&'a str, i32)>);
    type Page<'a> = (&'a [(&'a str, i16, usize)], Option<(&'a str, i32)>);
    let cases: [(Pages<'_>, Page<'_>); 10] = [
        ((&["c", "a"], 9, Some(("c", 1))), (&[("c", 0, 2)], None)),
        ((&["c", "a"], 9, Some(("c", 7))), (&[("c", 0, 0)], None)),
        // A cursor at none of them, and one that is nowhere.
        (
            (&["c", "a"], 9, Some(("b", 0))),
            (&[("c", 42, 0), ("a", 42, 0)], None),
        ),
        ((&["c"], 9, Some(("c", -1))), (&[("c", 42, 0)], None)),
        // All topics: the cursor's may be gone.
        ((&[], 9, Some(("b", 2))), (&[("c", 0, 3)], None)),
        // The page is full: what comes next begins the next one, though it is not there.
        (
            (&["a", "b", "c"], 1, None),
            (&[("a", 0, 1)], Some(("b", 0))),
        ),
        (
            (&["a", "b", "c"], 2, None),
            (&[("a", 0, 1), ("b", 3, 0), ("c", 0, 1)], Some(("c", 1))),
        ),
        (
            (&["a", "b", "c"], 1, Some(("b", 0))),
            (&[("b", 3, 0), ("c", 0, 1)], Some(("c", 1))),
        ),
        ((&["a"], 1, None), (&[("a", 0, 1)], None)),
        ((&["b"], 1, Some(("b", 5))), (&[("b", 3, 0)], None)),
    ];
    // The agent has heard of all topics.
    let _: MetadataResponse = client.call(ApiKey::Metadata, 9, &named(&["a", "c"])).await;
    for ((topics, limit, cursor), (expected, next)) in cases {
        let answer = described(&mut client, topics, limit, cursor).await;
        let what = format!("{topics:?}, {limit}, {cursor:?}");
        let found: Vec<_> = answer
            .topics
            .iter()
            .map(|topic| {
                let text = topic.name.as_ref().map_or("", |name| name.as_str());
                (text, topic.error_code, topic.partitions.len())
            })
            .collect();
        assert_eq!(found, expected, "{what}");
        let found = answer.next_cursor.as_ref();
        let found = found.map(|next| (next.topic_name.as_str(), next.partition_index));
        assert_eq!(found, next, "{what}");
        for topic in &answer.topics {
            let operations = match topic.error_code {
                42 => NOT_ASKED,
                _ => ALL,
            };
            assert_eq!(topic.topic_authorized_operations, operations, "{what}");
        }
    }
}

#[tokio::test]
async fn regression_a_description_calls_no_topic_unknown_while_nobody_can_be_asked() {
    let (broker, fake) = broker(settings()).await;
    fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    let heard = described(&mut client, &["t"], 9, None).await;
    assert_eq!(heard.topics[0].error_code, 0);
    fake.set_unavailable(Some(false));
    for cursor in [None, Some(("a b", 0))] {
        let answer = described(&mut client, &["a b", "t", "u"], 9, cursor).await;
        let codes: Vec<_> = answer.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [17, 0, 5], "{cursor:?}");
    }
}

#[tokio::test]
async fn regression_a_description_shows_what_was_done_through_another_agent() {
    let (broker, fake) = broker(settings()).await;
    let id = fake.create_topic("t", 1, &[]);
    broker.view.catch_up().await.unwrap();
    let mut client = Client::connect(&broker);
    fake.set_frames_held(true);
    fake.delete_topic(id);
    let api = ApiKey::DescribeTopicPartitions;
    let sent = client.send(api, 0, &description(&["t"], 9, None)).await;
    broker.ports.sleep(Duration::from_millis(50)).await;
    fake.set_frames_held(false);
    let (received, answer): (i32, DescribeTopicPartitionsResponse) = client.receive(api, 0).await;
    assert_eq!(received, sent);
    assert_eq!(answer.topics[0].error_code, 3);
}
