//! Partitions: more of them, their records, sizes, writers and replicas.

use aquifer_format::{batch::BatchBuilder, codec::Codec};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    CreatePartitionsRequest, CreatePartitionsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeProducersRequest,
    DescribeProducersResponse, ElectLeadersRequest, ElectLeadersResponse, ListOffsetsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, ProduceResponse,
    alter_partition_reassignments_request,
    create_partitions_request::CreatePartitionsTopic,
    delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
    describe_log_dirs_request::DescribableLogDirTopic,
    describe_producers_request, elect_leaders_request,
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    list_partition_reassignments_request::ListPartitionReassignmentsTopics,
    produce_request::{PartitionProduceData, TopicProduceData},
};

use super::*;

/// Appends so many records to partition 0.
async fn append(client: &mut Client, topic: &str, records: usize) {
    let mut builder = BatchBuilder::new(Codec::None);
    for i in 0..records {
        builder.append(
            1_700_000_000_000,
            None,
            Some(format!("{i}").as_bytes()),
            &[],
        );
    }
    let data = TopicProduceData::default()
        .with_name(name(topic))
        .with_partition_data(vec![
            PartitionProduceData::default().with_records(Some(builder.build().unwrap().bytes)),
        ]);
    let request = ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![data]);
    let answer: ProduceResponse = client.call(ApiKey::Produce, 9, &request).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

async fn earliest(client: &mut Client, topic: &str) -> i64 {
    let wanted = ListOffsetsTopic::default()
        .with_name(name(topic))
        .with_partitions(vec![ListOffsetsPartition::default().with_timestamp(-2)]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![wanted]);
    let answer: ListOffsetsResponse = client.call(ApiKey::ListOffsets, 8, &request).await;
    answer.topics[0].partitions[0].offset
}

#[tokio::test]
async fn partitions_are_added_and_seen_at_once() {
    let (broker, fake) = broker(settings()).await;
    fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    let wanted = |topic: &str, count| {
        let topic = CreatePartitionsTopic::default()
            .with_name(name(topic))
            .with_count(count)
            .with_assignments(None);
        CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(5_000)
    };
    let mut count = 1;
    for version in versions_of(ApiKey::CreatePartitions) {
        let mut create = async |request: CreatePartitionsRequest| {
            let api = ApiKey::CreatePartitions;
            let answer: CreatePartitionsResponse = client.call(api, version, &request).await;
            assert_eq!(answer.results[0].name, request.topics[0].name);
            answer.results[0].error_code
        };
        count += 2;
        let dry = wanted("t", count).with_validate_only(true);
        assert_eq!(create(dry).await, 0, "v{version}");
        assert_eq!(create(wanted("t", count)).await, 0, "v{version}");
        assert_eq!(create(wanted("t", count)).await, 37, "v{version}");
        assert_eq!(create(wanted("t", 1)).await, 37, "v{version}");
        assert_eq!(create(wanted("nowhere", 5)).await, 3, "v{version}");
        let topic = broker.view.topic_by_name("t").unwrap();
        assert_eq!(
            i32::try_from(topic.view.partitions),
            Ok(count),
            "v{version}"
        );
    }
    fake.set_unavailable(Some(false));
    let request = wanted("t", 99).with_timeout_ms(50);
    let answer: CreatePartitionsResponse = client.call(ApiKey::CreatePartitions, 3, &request).await;
    assert_eq!(answer.results[0].error_code, 7);
}

#[tokio::test]
async fn records_are_deleted_up_to_an_offset() {
    let (broker, fake) = broker(settings()).await;
    fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    for version in versions_of(ApiKey::DeleteRecords) {
        append(&mut client, "t", 4).await;
        let start = i64::from(version) * 4;
        for (topic, index, offset, expected) in [
            ("t", 0, start + 2, (0, start + 2)),
            ("t", 0, start + 1, (0, start + 2)),
            ("t", 0, start + 5, (1, -1)),
            ("t", 0, -2, (1, -1)),
            ("t", 1, 0, (3, -1)),
            ("nowhere", 0, 0, (3, -1)),
            ("t", 0, -1, (0, start + 4)),
        ] {
            let partition = DeleteRecordsPartition::default()
                .with_partition_index(index)
                .with_offset(offset);
            let wanted = DeleteRecordsTopic::default()
                .with_name(name(topic))
                .with_partitions(vec![partition]);
            let request = DeleteRecordsRequest::default()
                .with_topics(vec![wanted])
                .with_timeout_ms(5_000);
            let api = ApiKey::DeleteRecords;
            let answer: DeleteRecordsResponse = client.call(api, version, &request).await;
            let partition = &answer.topics[0].partitions[0];
            assert_eq!(
                (partition.error_code, partition.low_watermark),
                expected,
                "v{version}: {topic} {index} {offset}"
            );
        }
        assert_eq!(earliest(&mut client, "t").await, start + 4);
    }
}

#[tokio::test]
async fn writers_and_sizes_are_the_leaders() {
    let (broker, fake) = broker(settings()).await;
    fake.create_topic("t", 2, &[]);
    let mut client = Client::connect(&broker);
    append(&mut client, "t", 3).await;
    let wanted = describe_producers_request::TopicRequest::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0, 9]);
    let request = DescribeProducersRequest::default().with_topics(vec![wanted]);
    let answer: DescribeProducersResponse =
        client.call(ApiKey::DescribeProducers, 0, &request).await;
    let codes = answer.topics[0].partitions.iter().map(|p| p.error_code);
    assert_eq!(codes.collect::<Vec<_>>(), [0, 3]);
    for version in versions_of(ApiKey::DescribeLogDirs) {
        let some = DescribableLogDirTopic::default()
            .with_topic(name("t"))
            .with_partitions(vec![0, 9]);
        for (topics, partitions) in [(None, 2), (Some(vec![some]), 1), (Some(Vec::new()), 0)] {
            let request = DescribeLogDirsRequest::default().with_topics(topics);
            let api = ApiKey::DescribeLogDirs;
            let answer: DescribeLogDirsResponse = client.call(api, version, &request).await;
            assert_eq!(answer.results.len(), 1, "v{version}");
            let described = answer.results[0].topics.iter().flat_map(|t| &t.partitions);
            assert_eq!(described.clone().count(), partitions, "v{version}");
            for partition in described {
                assert_eq!(partition.partition_size > 0, partition.partition_index == 0);
            }
        }
    }
}

#[tokio::test]
async fn every_partition_has_the_leader_that_it_should_have() {
    let (broker, fake) = broker(settings()).await;
    fake.create_topic("t", 2, &[]);
    let mut client = Client::connect(&broker);
    let asked = |topics: &[(&str, &[i32])]| {
        let topics = topics.iter().map(|(topic, partitions)| {
            elect_leaders_request::TopicPartitions::default()
                .with_topic(name(topic))
                .with_partitions(partitions.to_vec())
        });
        ElectLeadersRequest::default().with_topic_partitions(Some(topics.collect()))
    };
    for version in versions_of(ApiKey::ElectLeaders) {
        let mut elect = async |request: ElectLeadersRequest| -> ElectLeadersResponse {
            client.call(ApiKey::ElectLeaders, version, &request).await
        };
        let answer = elect(asked(&[("t", &[1, 2, 1]), ("nowhere", &[0])])).await;
        let results: Vec<_> = answer
            .replica_election_results
            .iter()
            .flat_map(|topic| &topic.partition_result)
            .map(|p| {
                (
                    p.partition_id,
                    p.error_code,
                    p.error_message.as_deref().unwrap(),
                )
            })
            .collect();
        let fine = "Leader election not needed for topic partition.";
        assert_eq!(
            results,
            [
                (1, 84, fine),
                (2, 3, "No such partition as t-2"),
                (1, 84, fine),
                (0, 3, "No such topic as nowhere")
            ],
            "v{version}"
        );
        let all = ElectLeadersRequest::default().with_topic_partitions(None);
        let answer = elect(all.clone()).await;
        assert_eq!(answer.error_code, 0);
        assert_eq!(answer.replica_election_results.len(), 1);
        assert!(
            answer.replica_election_results[0]
                .partition_result
                .is_empty()
        );
        if version >= 1 {
            assert_eq!(elect(all.clone().with_election_type(1)).await.error_code, 0);
            assert_eq!(elect(all.with_election_type(2)).await.error_code, 42);
        }
    }
    // A name that no topic has is not repeated with each partition.
    let long = "x".repeat(10_000);
    let request = asked(&[(&long, &[0, 1])]);
    let answer: ElectLeadersResponse = client.call(ApiKey::ElectLeaders, 2, &request).await;
    for partition in &answer.replica_election_results[0].partition_result {
        assert!(partition.error_message.as_ref().unwrap().len() < 300);
    }
    fake.set_unavailable(Some(false));
    for version in versions_of(ApiKey::ElectLeaders) {
        let request = asked(&[("t", &[0])]);
        let answer: ElectLeadersResponse =
            client.call(ApiKey::ElectLeaders, version, &request).await;
        assert_eq!(answer.error_code, if version == 0 { 0 } else { 41 });
        assert_eq!(
            answer.replica_election_results[0].partition_result[0].error_code,
            41
        );
    }
}

#[tokio::test]
async fn regression_an_unknown_kind_of_election_is_refused_for_each_partition() {
    let (broker, fake) = broker(settings()).await;
    fake.create_topic("t", 2, &[]);
    let mut client = Client::connect(&broker);
    for version in [1, 2] {
        let topic = elect_leaders_request::TopicPartitions::default()
            .with_topic(name("t"))
            .with_partitions(vec![0, 1]);
        for (asked, count) in [(Some(vec![topic]), 1), (Some(vec![]), 0), (None, 0)] {
            let request = ElectLeadersRequest::default()
                .with_election_type(9)
                .with_topic_partitions(asked);
            let answer: ElectLeadersResponse =
                client.call(ApiKey::ElectLeaders, version, &request).await;
            assert_eq!(answer.error_code, 42);
            assert_eq!(answer.replica_election_results.len(), count);
            for topic in &answer.replica_election_results {
                let results = topic.partition_result.iter();
                let codes: Vec<_> = results.map(|p| (p.partition_id, p.error_code)).collect();
                assert_eq!(codes, [(0, 42), (1, 42)]);
            }
        }
    }
}

#[tokio::test]
async fn partitions_are_not_placed_by_hand() {
    let mut settings = settings();
    settings.address.node_ids = 2;
    let (broker, fake) = broker(settings).await;
    fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 9, &named(&["t"])).await;
    let leader = answer.topics[0].partitions[0].leader_id.0;
    let nodes: Vec<i32> = answer.brokers.iter().map(|b| b.node_id.0).collect();
    let other = *nodes.iter().find(|id| **id != leader).unwrap();
    for version in versions_of(ApiKey::AlterPartitionReassignments) {
        for (topic, index, replicas, code, message) in [
            ("t", 0, None, 85, None),
            ("t", 0, Some(vec![leader]), 0, None),
            ("t", 0, Some(vec![other]), 39, Some("by hand")),
            ("t", 0, Some(vec![leader, other]), 39, Some("by hand")),
            ("t", 0, Some(vec![]), 39, Some("an empty replica list")),
            (
                "t",
                0,
                Some(vec![leader, leader]),
                39,
                Some("more than once"),
            ),
            (
                "t",
                0,
                Some(vec![9999]),
                39,
                Some("broker 9999, but no such"),
            ),
            ("t", 1, None, 3, Some("partition t:1.")),
            ("u", 0, None, 3, Some("a topic named u.")),
        ] {
            use alter_partition_reassignments_request as request;
            let text = format!("v{version}: {topic} {index} {replicas:?}");
            let partition = request::ReassignablePartition::default()
                .with_partition_index(index)
                .with_replicas(replicas.map(|ids| ids.into_iter().map(BrokerId).collect()));
            let wanted = request::ReassignableTopic::default()
                .with_name(name(topic))
                .with_partitions(vec![partition]);
            let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![wanted]);
            let api = ApiKey::AlterPartitionReassignments;
            let answer: AlterPartitionReassignmentsResponse =
                client.call(api, version, &request).await;
            assert_eq!(
                (answer.error_code, answer.error_message),
                (0, None),
                "{text}"
            );
            let result = &answer.responses[0].partitions[0];
            assert_eq!(result.error_code, code, "{text}");
            match (message, &result.error_message) {
                (Some(part), Some(whole)) => assert!(whole.contains(part), "{text}: {whole}"),
                (expected, found) => assert_eq!(expected, found.as_deref(), "{text}"),
            }
        }
    }
    for version in versions_of(ApiKey::AlterPartitionReassignments) {
        let api = ApiKey::AlterPartitionReassignments;
        let nothing = AlterPartitionReassignmentsRequest::default();
        let answer: AlterPartitionReassignmentsResponse = client.call(api, version, &nothing).await;
        // Kafka answers it before its controller is asked, whose answers have a null here.
        assert_eq!(answer.error_message.as_deref(), Some(""), "v{version}");
    }
    let topic = ListPartitionReassignmentsTopics::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0]);
    for topics in [None, Some(vec![topic])] {
        let request = ListPartitionReassignmentsRequest::default().with_topics(topics);
        let api = ApiKey::ListPartitionReassignments;
        let answer: ListPartitionReassignmentsResponse = client.call(api, 0, &request).await;
        assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
    }
}
