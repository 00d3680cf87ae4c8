//! The guard against the protocol crate: whatever the crate encodes is walked to exactly its end, and
//! what the guard accepts the crate decodes without asking for more memory than it may.

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsRequest, BrokerId, CreateTopicsRequest, DeleteTopicsRequest,
        DescribeClusterRequest, DescribeTopicPartitionsRequest, FetchRequest,
        FindCoordinatorRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
        OffsetForLeaderEpochRequest, ProduceRequest, ProducerId, RequestHeader, TopicName,
        TransactionalId, create_topics_request as create, delete_topics_request as delete,
        describe_topic_partitions_request as describe, fetch_request as fetch,
        list_offsets_request as list, metadata_request as metadata,
        offset_for_leader_epoch_request as epoch, produce_request as produce,
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use proptest::{collection::vec, option, prelude::*};
use std::collections::BTreeMap;
use uuid::Uuid;

mod admin;
mod groups;

use super::{GuardError, Header, check, walk_body};
use crate::api::versions::{SERVED, Served, find, wire_key};

fn text() -> impl Strategy<Value = StrBytes> {
    "[a-zA-Zäß0-9._-]{0,12}".prop_map(StrBytes::from_string)
}

fn long_text() -> impl Strategy<Value = StrBytes> {
    prop_oneof![9 => text().boxed(), 1 => "[a-z]{120,300}".prop_map(StrBytes::from_string).boxed()]
}

fn topic() -> impl Strategy<Value = TopicName> {
    long_text().prop_map(TopicName)
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

/// Unknown tagged fields, with numbers that no version of a served request knows.
fn tags() -> impl Strategy<Value = BTreeMap<i32, Bytes>> {
    proptest::collection::btree_map(
        prop_oneof![10..200i32, Just(i32::MAX)],
        vec(any::<u8>(), 0..200).prop_map(Bytes::from),
        0..3,
    )
}

/// A request as the crate encodes it at `version`: clears what the version does not have.
fn encoded<T: Encodable>(request: &T, version: i16) -> Vec<u8> {
    let mut body = BytesMut::new();
    request
        .encode(&mut body, version)
        .unwrap_or_else(|e| panic!("version {version}: {e}"));
    body.to_vec()
}

fn produce_request(version: i16) -> BoxedStrategy<Vec<u8>> {
    let partition = (
        any::<i32>(),
        option::of(vec(any::<u8>(), 0..300).prop_map(Bytes::from)),
        tags(),
    )
        .prop_map(move |(index, records, tags)| {
            produce::PartitionProduceData::default()
                .with_index(index)
                .with_records(records)
                .with_unknown_tagged_fields(if version >= 9 { tags } else { BTreeMap::new() })
        });
    let data = (topic(), uuid(), vec(partition, 0..4)).prop_map(move |(name, id, partitions)| {
        let data = produce::TopicProduceData::default().with_partition_data(partitions);
        if version >= 13 {
            data.with_topic_id(id)
        } else {
            data.with_name(name)
        }
    });
    (
        option::of(text().prop_map(TransactionalId)),
        any::<i16>(),
        any::<i32>(),
        vec(data, 0..4),
    )
        .prop_map(move |(id, acks, timeout, topics)| {
            let request = ProduceRequest::default()
                .with_transactional_id(id)
                .with_acks(acks)
                .with_timeout_ms(timeout)
                .with_topic_data(topics);
            encoded(&request, version)
        })
        .boxed()
}

fn fetch_partition(version: i16) -> impl Strategy<Value = fetch::FetchPartition> {
    (
        any::<i32>(),
        any::<i64>(),
        any::<i32>(),
        uuid(),
        any::<i64>(),
    )
        .prop_map(move |(partition, offset, epoch, directory, high)| {
            let mut wanted = fetch::FetchPartition::default()
                .with_partition(partition)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(epoch);
            if version >= 5 {
                wanted = wanted.with_log_start_offset(high);
            }
            if version >= 9 {
                wanted = wanted.with_current_leader_epoch(epoch);
            }
            if version >= 12 {
                wanted = wanted.with_last_fetched_epoch(epoch);
            }
            if version >= 17 {
                wanted = wanted.with_replica_directory_id(directory);
            }
            if version >= 18 {
                wanted = wanted.with_high_watermark(high);
            }
            wanted
        })
}

fn fetch_request(version: i16) -> BoxedStrategy<Vec<u8>> {
    let wanted = (topic(), uuid(), vec(fetch_partition(version), 0..4)).prop_map(
        move |(name, id, partitions)| {
            let wanted = fetch::FetchTopic::default().with_partitions(partitions);
            if version >= 13 {
                wanted.with_topic_id(id)
            } else {
                wanted.with_topic(name)
            }
        },
    );
    let forgotten =
        (topic(), uuid(), vec(any::<i32>(), 0..5)).prop_map(move |(name, id, partitions)| {
            let forgotten = fetch::ForgottenTopic::default().with_partitions(partitions);
            if version >= 13 {
                forgotten.with_topic_id(id)
            } else {
                forgotten.with_topic(name)
            }
        });
    (
        vec(wanted, 0..4),
        vec(forgotten, 0..4),
        any::<i32>(),
        option::of(text()),
        text(),
        tags(),
    )
        .prop_map(move |(topics, forgotten, number, cluster, rack, tags)| {
            let mut request = FetchRequest::default()
                .with_max_wait_ms(number)
                .with_topics(topics);
            if version >= 7 {
                request = request
                    .with_session_id(number)
                    .with_session_epoch(number)
                    .with_forgotten_topics_data(forgotten);
            }
            if version >= 11 {
                request = request.with_rack_id(rack);
            }
            if version >= 12 {
                request = request
                    .with_cluster_id(cluster)
                    .with_unknown_tagged_fields(tags);
            }
            if version >= 15 {
                request = request.with_replica_state(
                    fetch::ReplicaState::default()
                        .with_replica_id(BrokerId(number))
                        .with_replica_epoch(7),
                );
            }
            encoded(&request, version)
        })
        .boxed()
}

fn list_offsets_request(version: i16) -> BoxedStrategy<Vec<u8>> {
    let partition = (any::<i32>(), any::<i64>()).prop_map(move |(index, timestamp)| {
        let wanted = list::ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_timestamp(timestamp);
        if version >= 4 {
            wanted.with_current_leader_epoch(index)
        } else {
            wanted
        }
    });
    let topics = (topic(), vec(partition, 0..4)).prop_map(|(name, partitions)| {
        list::ListOffsetsTopic::default()
            .with_name(name)
            .with_partitions(partitions)
    });
    (vec(topics, 0..4), any::<i8>())
        .prop_map(move |(topics, isolation)| {
            let mut request = ListOffsetsRequest::default().with_topics(topics);
            if version >= 2 {
                request = request.with_isolation_level(isolation);
            }
            if version >= 10 {
                request = request.with_timeout_ms(5);
            }
            encoded(&request, version)
        })
        .boxed()
}

fn metadata_request(version: i16) -> BoxedStrategy<Vec<u8>> {
    let wanted = (option::of(topic()), uuid()).prop_map(move |(name, id)| {
        let wanted = metadata::MetadataRequestTopic::default();
        if version >= 10 {
            wanted.with_name(name).with_topic_id(id)
        } else {
            wanted.with_name(Some(name.unwrap_or_default()))
        }
    });
    (option::of(vec(wanted, 0..6)), any::<bool>())
        .prop_map(move |(topics, flag)| {
            let topics = if version == 0 {
                Some(topics.unwrap_or_default())
            } else {
                topics
            };
            let mut request = MetadataRequest::default().with_topics(topics);
            if version >= 4 {
                request = request.with_allow_auto_topic_creation(flag);
            }
            if version >= 8 {
                request = request.with_include_topic_authorized_operations(flag);
            }
            encoded(&request, version)
        })
        .boxed()
}

fn create_topics_request(version: i16) -> BoxedStrategy<Vec<u8>> {
    let assignment = (any::<i32>(), vec(any::<i32>(), 0..4)).prop_map(|(index, brokers)| {
        create::CreatableReplicaAssignment::default()
            .with_partition_index(index)
            .with_broker_ids(brokers.into_iter().map(BrokerId).collect())
    });
    let config = (text(), option::of(long_text())).prop_map(|(name, value)| {
        create::CreatableTopicConfig::default()
            .with_name(name)
            .with_value(value)
    });
    let wanted = (topic(), vec(assignment, 0..3), vec(config, 0..3)).prop_map(
        |(name, assignments, configs)| {
            create::CreatableTopic::default()
                .with_name(name)
                .with_num_partitions(-1)
                .with_assignments(assignments)
                .with_configs(configs)
        },
    );
    (vec(wanted, 0..4), any::<bool>())
        .prop_map(move |(topics, validate)| {
            let request = CreateTopicsRequest::default()
                .with_topics(topics)
                .with_validate_only(validate);
            encoded(&request, version)
        })
        .boxed()
}

fn delete_topics_request(version: i16) -> BoxedStrategy<Vec<u8>> {
    vec((option::of(topic()), uuid()), 0..5)
        .prop_map(move |topics| {
            let request = DeleteTopicsRequest::default();
            let request = if version >= 6 {
                request.with_topics(
                    topics
                        .into_iter()
                        .map(|(name, id)| {
                            delete::DeleteTopicState::default()
                                .with_name(name)
                                .with_topic_id(id)
                        })
                        .collect(),
                )
            } else {
                request.with_topic_names(
                    topics
                        .into_iter()
                        .map(|(name, _)| name.unwrap_or_default())
                        .collect(),
                )
            };
            encoded(&request, version)
        })
        .boxed()
}

fn epoch_request(version: i16) -> BoxedStrategy<Vec<u8>> {
    let topics = (topic(), vec(any::<i32>(), 0..5)).prop_map(|(name, partitions)| {
        epoch::OffsetForLeaderTopic::default()
            .with_topic(name)
            .with_partitions(
                partitions
                    .into_iter()
                    .map(|p| epoch::OffsetForLeaderPartition::default().with_partition(p))
                    .collect(),
            )
    });
    vec(topics, 0..4)
        .prop_map(move |topics| {
            encoded(
                &OffsetForLeaderEpochRequest::default().with_topics(topics),
                version,
            )
        })
        .boxed()
}

fn small_request(api: ApiKey, version: i16) -> BoxedStrategy<Vec<u8>> {
    (text(), vec(long_text(), 0..4), any::<bool>(), any::<i16>())
        .prop_map(move |(name, names, flag, number)| match api {
            ApiKey::FindCoordinator => {
                let mut request = FindCoordinatorRequest::default();
                if version >= 1 {
                    request = request.with_key_type(1);
                }
                request = if version >= 4 {
                    request.with_coordinator_keys(names)
                } else {
                    request.with_key(name)
                };
                encoded(&request, version)
            }
            ApiKey::ApiVersions => {
                let mut request = ApiVersionsRequest::default();
                if version >= 3 {
                    request = request
                        .with_client_software_name(name.clone())
                        .with_client_software_version(name);
                }
                encoded(&request, version)
            }
            ApiKey::InitProducerId => {
                let mut request = InitProducerIdRequest::default()
                    .with_transactional_id(flag.then_some(TransactionalId(name)));
                if version >= 3 {
                    request = request
                        .with_producer_id(ProducerId(77))
                        .with_producer_epoch(number);
                }
                encoded(&request, version)
            }
            ApiKey::DescribeCluster => {
                let mut request = DescribeClusterRequest::default()
                    .with_include_cluster_authorized_operations(flag);
                if version >= 2 {
                    request = request.with_include_fenced_brokers(flag);
                }
                encoded(&request, version)
            }
            ApiKey::DescribeTopicPartitions => {
                let cursor = describe::Cursor::default()
                    .with_topic_name(TopicName(name))
                    .with_partition_index(3);
                let topics = names
                    .into_iter()
                    .map(|name| describe::TopicRequest::default().with_name(TopicName(name)))
                    .collect();
                encoded(
                    &DescribeTopicPartitionsRequest::default()
                        .with_topics(topics)
                        .with_cursor(flag.then_some(cursor)),
                    version,
                )
            }
            other => panic!("{other:?} has no generator here"),
        })
        .boxed()
}

/// A body of the API at the version, as the crate encodes it.
fn body(api: ApiKey, version: i16) -> BoxedStrategy<Vec<u8>> {
    match api {
        ApiKey::Produce => produce_request(version),
        ApiKey::Fetch => fetch_request(version),
        ApiKey::ListOffsets => list_offsets_request(version),
        ApiKey::Metadata => metadata_request(version),
        ApiKey::CreateTopics => create_topics_request(version),
        ApiKey::DeleteTopics => delete_topics_request(version),
        ApiKey::OffsetForLeaderEpoch => epoch_request(version),
        other => admin::body(other, version)
            .or_else(|| groups::body(other, version))
            .unwrap_or_else(|| small_request(other, version)),
    }
}

/// Any served (api, version) with a body of it.
fn any_request() -> impl Strategy<Value = (&'static Served, i16, Vec<u8>)> {
    (0..SERVED.len()).prop_flat_map(|i| {
        let served = &SERVED[i];
        (served.min..=served.max)
            .prop_flat_map(move |version| (Just(served), Just(version), body(served.api, version)))
    })
}

fn any_version() -> impl Strategy<Value = (&'static Served, i16)> {
    (0..SERVED.len()).prop_flat_map(|i| (Just(&SERVED[i]), SERVED[i].min..=SERVED[i].max))
}

/// Decodes with the crate; the outcome may be an error, never an abort. Returns the bytes that are left.
fn decode_as<T: Decodable>(bytes: &[u8], version: i16) -> Result<usize, String> {
    let mut body = Bytes::copy_from_slice(bytes);
    T::decode(&mut body, version)
        .map(|_| body.len())
        .map_err(|e| e.to_string())
}

fn decode(api: ApiKey, version: i16, bytes: &[u8]) -> Result<usize, String> {
    match api {
        ApiKey::Produce => decode_as::<ProduceRequest>(bytes, version),
        ApiKey::Fetch => decode_as::<FetchRequest>(bytes, version),
        ApiKey::ListOffsets => decode_as::<ListOffsetsRequest>(bytes, version),
        ApiKey::Metadata => decode_as::<MetadataRequest>(bytes, version),
        ApiKey::FindCoordinator => decode_as::<FindCoordinatorRequest>(bytes, version),
        ApiKey::ApiVersions => decode_as::<ApiVersionsRequest>(bytes, version),
        ApiKey::CreateTopics => decode_as::<CreateTopicsRequest>(bytes, version),
        ApiKey::DeleteTopics => decode_as::<DeleteTopicsRequest>(bytes, version),
        ApiKey::InitProducerId => decode_as::<InitProducerIdRequest>(bytes, version),
        ApiKey::OffsetForLeaderEpoch => decode_as::<OffsetForLeaderEpochRequest>(bytes, version),
        ApiKey::DescribeCluster => decode_as::<DescribeClusterRequest>(bytes, version),
        ApiKey::DescribeTopicPartitions => {
            decode_as::<DescribeTopicPartitionsRequest>(bytes, version)
        }
        other => admin::decode(other, version, bytes)
            .or_else(|| groups::decode(other, version, bytes))
            .unwrap_or_else(|| panic!("{other:?} is served and not decoded here")),
    }
}

/// Only an error that text brings about may be left for the decoder to find.
fn check_decodable(served: &Served, version: i16, bytes: &[u8]) {
    match decode(served.api, version, bytes) {
        Ok(left) => assert_eq!(left, 0, "{:?} v{version}", served.api),
        Err(reason) => assert!(
            reason.contains("utf-8"),
            "{:?} v{version}: the guard accepted {bytes:02x?}, the decoder says {reason}",
            served.api
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_crate_encodes_is_walked_to_exactly_its_end(
        (served, version, body) in any_request()
    ) {
        prop_assert_eq!(walk_body(&body, served.shape, version), Ok(()));
        let mut longer = body.clone();
        longer.push(0);
        prop_assert!(walk_body(&longer, served.shape, version).is_err());
        for end in 0..body.len() {
            prop_assert!(walk_body(&body[..end], served.shape, version).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_decoded(
        (served, version) in any_version(),
        bytes in vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(0xff), any::<u8>()], 0..80),
    ) {
        if walk_body(&bytes, served.shape, version).is_ok() {
            check_decodable(served, version, &bytes);
        }
    }

    #[test]
    fn changed_requests_are_refused_or_decoded(
        (served, version, mut body) in any_request(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for (at, byte) in changes {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        if walk_body(&body, served.shape, version).is_ok() {
            check_decodable(served, version, &body);
        }
    }

    #[test]
    fn headers_are_read_as_the_crate_writes_them(
        (served, version, body) in any_request(),
        client in option::of(text()),
        correlation in any::<i32>(),
        tags in tags(),
    ) {
        let flexible = served.shape.is_flexible(version);
        let header = RequestHeader::default()
            .with_request_api_key(served.key())
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(client.clone())
            .with_unknown_tagged_fields(if flexible { tags } else { BTreeMap::new() });
        let mut frame = encoded(&header, served.api.request_header_version(version));
        let body_at = frame.len();
        frame.extend_from_slice(&body);
        prop_assert_eq!(check(&frame, served.shape, version), Ok(Header {
            api_key: served.key(),
            api_version: version,
            correlation_id: correlation,
            client_id: client.as_deref(),
            body_at,
        }));
    }

    #[test]
    fn arbitrary_frames_never_panic(
        (served, version) in any_version(),
        bytes in vec(any::<u8>(), 0..64),
    ) {
        let _ = check(&bytes, served.shape, version);
    }
}

#[test]
fn the_five_byte_request_is_refused() {
    let metadata = find(wire_key(ApiKey::Metadata)).expect("it is served");
    assert_eq!(
        walk_body(&[0x7f, 0xff, 0xff, 0xff, 0], metadata.shape, 0),
        Err(GuardError::Count {
            count: 0x7fff_ffff,
            remain: 1
        })
    );
}

#[test]
fn huge_counts_are_refused_in_every_version() {
    for served in SERVED {
        for version in served.min..=served.max {
            for announced in [
                &[0x7f, 0xff, 0xff, 0xff][..],
                &[0xff, 0xff, 0xff, 0xff, 0x0f],
            ] {
                for at in 0..40 {
                    let mut bytes = vec![0u8; at];
                    bytes.extend_from_slice(announced);
                    bytes.extend_from_slice(&[0; 8]);
                    if walk_body(&bytes, served.shape, version).is_ok() {
                        check_decodable(served, version, &bytes);
                    }
                }
            }
        }
    }
}

#[test]
fn elements_of_a_frame_are_bounded() {
    let metadata = find(wire_key(ApiKey::Metadata)).expect("it is served");
    for (elements, accepted) in [(100_000u32, true), (100_001, false)] {
        let mut bytes = elements.to_be_bytes().to_vec();
        bytes.resize(4 + 2 * usize::try_from(elements).unwrap(), 0);
        assert_eq!(
            walk_body(&bytes, metadata.shape, 0).is_ok(),
            accepted,
            "{elements}"
        );
    }
}

#[test]
fn regression_texts_are_as_long_as_kafkas_at_most() {
    let shape = find(wire_key(ApiKey::Metadata))
        .expect("it is served")
        .shape;
    let refused = |bytes, max| Err(GuardError::TextTooLong { bytes, max });
    for (chars, expected) in [
        (32_767, Ok(())),
        (32_768, refused(32_768, 32_767)),
        (1 << 20, refused(1 << 20, 32_767)),
    ] {
        let name = TopicName(StrBytes::from_string("x".repeat(chars)));
        let topic = metadata::MetadataRequestTopic::default().with_name(Some(name));
        let request = MetadataRequest::default().with_topics(Some(vec![topic]));
        let walked = walk_body(&encoded(&request, 9), shape, 9);
        assert_eq!(walked, expected, "{chars}");
    }
}

#[test]
fn unknown_tags_are_bounded_too() {
    let cluster = find(wire_key(ApiKey::DescribeCluster)).expect("it is served");
    let mut bytes = vec![0u8];
    bytes.extend_from_slice(&[0xc1, 0x9a, 0x0c]); // 200,001 tags
    for tag in 0..200_001u32 {
        let tag = tag + 1000;
        bytes.extend_from_slice(&[
            u8::try_from(tag & 0x7f).unwrap() | 0x80,
            u8::try_from((tag >> 7) & 0x7f).unwrap() | 0x80,
            u8::try_from(tag >> 14).unwrap(),
            0,
        ]);
    }
    assert_eq!(
        walk_body(&bytes, cluster.shape, 0),
        Err(GuardError::TooManyElements { max: 100_000 })
    );
}

#[test]
fn tags_that_the_decoder_knows_must_have_their_size() {
    let fetch = find(wire_key(ApiKey::Fetch)).expect("it is served");
    let request = FetchRequest::default().with_cluster_id(Some(StrBytes::from_static_str("abc")));
    let good = encoded(&request, 12);
    assert_eq!(walk_body(&good, fetch.shape, 12), Ok(()));
    let size_at = good.len() - 5;
    let mut bad = good.clone();
    assert_eq!(bad[size_at], 4);
    bad[size_at] = 3;
    assert_eq!(
        walk_body(&bad, fetch.shape, 12),
        Err(GuardError::Tag { tag: 0 })
    );
}

#[test]
fn regression_bytes_after_the_body_are_left_alone() {
    // What librdkafka 2.12.1 sends for `topic list`: header, body, three bytes more.
    let mut frame = vec![0, 3, 0, 13, 0, 0, 0, 3, 0, 11];
    frame.extend_from_slice(b"aquifer-cli\0");
    frame.extend_from_slice(&[0; 7]);
    let metadata = find(wire_key(ApiKey::Metadata)).expect("it is served");
    assert_eq!(
        walk_body(&frame[22..], metadata.shape, 13),
        Err(GuardError::Trailing { bytes: 3 })
    );
    assert!(check(&frame, metadata.shape, 13).is_ok());
}
