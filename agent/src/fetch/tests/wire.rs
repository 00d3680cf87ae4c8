//! Responses against the protocol crate's decoder.

use aquifer_format::{
    codec::Codec,
    ids::{LeaderEpoch, Offset, TopicId},
};
use kafka_protocol::messages::FetchResponse;
use uuid::Uuid;

use super::bed::{batch, batch_of, decode, ranges};
use crate::{
    api::Reply,
    fetch::{
        PartitionAnswer, TopicKey,
        response::{Endpoint, FetchAnswer},
        run::{Patch, Selected},
    },
};

fn selected(base: i64, records: usize, bytes: usize, patched: bool) -> Selected {
    let batch = batch_of(records, bytes);
    Selected {
        base_offset: Offset(base),
        end_offset: Offset(base).plus(batch.header.offsets()),
        bytes: batch.bytes,
        patch: patched.then_some(Patch {
            leader_epoch: LeaderEpoch(9),
            log_append_time: None,
        }),
    }
}

fn answer(version: i16) -> FetchAnswer {
    let topic = |n: u128| {
        if version >= 13 {
            TopicKey::Id(TopicId(Uuid::from_u128(n)))
        } else {
            TopicKey::Name(format!("topic-{n}").into())
        }
    };
    let partition = |n: u128, index: i32, records: Vec<Selected>| PartitionAnswer {
        high_watermark: 100,
        last_stable: 90,
        log_start: 5,
        records_bytes: records.iter().map(|r| r.bytes.len() as u64).sum(),
        records,
        ..PartitionAnswer::error(topic(n), index, 0)
    };
    let mut moved = PartitionAnswer::error(topic(2), 7, 6);
    moved.leader = (version >= 12).then_some((17, 3));
    let endpoint = |node| Endpoint {
        node,
        host: "agent.example".to_owned(),
        port: 9093,
        rack: (node == 17).then(|| "a".to_owned()),
    };
    FetchAnswer {
        throttle_ms: 3,
        error: 0,
        session_id: if version >= 7 { 1234 } else { 0 },
        committed: version % 2 == 0,
        partitions: vec![
            partition(
                1,
                0,
                vec![selected(40, 3, 10, true), selected(43, 1, 5000, true)],
            ),
            partition(1, 1, vec![]),
            moved,
            partition(
                3,
                0,
                vec![selected(0, 2, 10, false), selected(0, 1, 20_000, false)],
            ),
        ],
        endpoints: if version >= 16 {
            vec![endpoint(17), endpoint(33)]
        } else {
            Vec::new()
        },
    }
}

#[test]
fn every_version_is_read_back_to_its_last_byte() {
    for version in 4..=18 {
        let response: FetchResponse = decode(version, Reply::Body(answer(version).encode(version)));
        assert_eq!(response.throttle_time_ms, 3);
        assert_eq!(response.session_id, if version >= 7 { 1234 } else { 0 });
        let topics: Vec<usize> = response
            .responses
            .iter()
            .map(|t| t.partitions.len())
            .collect();
        assert_eq!(topics, [2, 1, 1], "version {version}");
        let first = &response.responses[0].partitions[0];
        assert_eq!(ranges(first), [(40, 42), (43, 43)]);
        assert_eq!((first.high_watermark, first.last_stable_offset), (100, 90));
        assert_eq!(first.log_start_offset, if version >= 5 { 5 } else { -1 });
        assert_eq!(first.preferred_read_replica.0, -1);
        assert_eq!(
            first.aborted_transactions.as_ref().map(Vec::len),
            (version % 2 == 0).then_some(0)
        );
        let empty = &response.responses[0].partitions[1];
        assert_eq!(empty.records.as_ref().map(bytes::Bytes::len), Some(0));
        let moved = &response.responses[1].partitions[0];
        assert_eq!((moved.partition_index, moved.error_code), (7, 6));
        if version >= 12 {
            assert_eq!(moved.current_leader.leader_id.0, 17);
            assert_eq!(moved.current_leader.leader_epoch, 3);
        }
        assert_eq!(
            ranges(&response.responses[2].partitions[0]),
            [(0, 1), (0, 0)]
        );
        let nodes: Vec<i32> = response
            .node_endpoints
            .iter()
            .map(|e| e.node_id.0)
            .collect();
        assert_eq!(nodes, if version >= 16 { vec![17, 33] } else { vec![] });
        if version >= 13 {
            assert_eq!(response.responses[2].topic_id, Uuid::from_u128(3));
        } else {
            assert_eq!(response.responses[2].topic.as_str(), "topic-3");
        }
    }
}

#[test]
fn regression_aborted_transactions_are_null_where_kafkas_are() {
    for version in 4..=18 {
        for (error, committed, has_list) in [
            (0, false, false),
            (0, true, true),
            // no such partition, no such topic id
            (3, false, true),
            (3, true, true),
            (100, false, true),
            // out of range, not the leader, an unknown leader epoch
            (1, true, false),
            (6, true, false),
            (75, false, false),
        ] {
            let mut answer = answer(version);
            answer.committed = committed;
            answer.partitions[0].error = error;
            let response: FetchResponse = decode(version, Reply::Body(answer.encode(version)));
            let first = &response.responses[0].partitions[0];
            assert_eq!(
                first.aborted_transactions.as_ref().map(Vec::len),
                has_list.then_some(0),
                "error {error}, committed {committed}, version {version}"
            );
        }
    }
}

#[test]
fn an_error_at_the_top_is_read_back() {
    for version in 7..=18 {
        let response: FetchResponse =
            decode(version, Reply::Body(FetchAnswer::error(71).encode(version)));
        assert_eq!((response.error_code, response.session_id), (71, 0));
        assert!(response.responses.is_empty());
    }
}

#[test]
fn large_batches_are_not_copied() {
    let large = batch(Codec::None, &[(1, &"x".repeat(100_000))]);
    let range = large.bytes.as_ptr_range();
    let mut answer = answer(17);
    answer.partitions[0].records = vec![Selected {
        bytes: large.bytes.clone(),
        base_offset: Offset(7),
        end_offset: Offset(8),
        patch: Some(Patch {
            leader_epoch: LeaderEpoch(1),
            log_append_time: None,
        }),
    }];
    answer.partitions[0].records_bytes = large.bytes.len() as u64;
    let pieces = answer.encode(17);
    let shared = pieces.iter().filter(|p| range.contains(&p.as_ptr()));
    assert_eq!(
        shared.map(bytes::Bytes::len).collect::<Vec<_>>(),
        [large.bytes.len() - 16]
    );
}
