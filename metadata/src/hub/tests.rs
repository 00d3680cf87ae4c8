use aquifer_format::ids::{
    Incarnation, LeaderEpoch, LeaderTerm, ObjectId, ObjectLevel, PartitionIndex, TopicId,
    UploadEpoch, WriterSlot,
};
use aquifer_metadata_api::watch::TopicView;
use uuid::Uuid;

use super::*;

const WATCHER: WatcherId = WatcherId(1);

fn partition(index: i32) -> PartitionId {
    PartitionId::new(TopicId(Uuid::from_u128(1)), PartitionIndex(index))
}

fn extent(base_offset: i64) -> Extent {
    Extent {
        object: ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(1),
            writer: WriterSlot(1),
            level: ObjectLevel::L0,
            unique: 1,
        },
        run_position: 0,
        run_bytes: 1,
        raw_start: 0,
        raw_bytes: 1,
        base_offset: Offset(base_offset),
        end_offset: Offset(base_offset + 1),
        max_timestamp: 0,
        log_append_time: None,
    }
}

fn acknowledgement(index: i32, from: i64, tail: &[i64]) -> Acknowledgement {
    Acknowledgement {
        watcher: WATCHER,
        partition: partition(index),
        complete_from: Offset(from),
        extents: tail.iter().copied().map(extent).collect(),
    }
}

/// Base offsets of what the frame says, in its order.
fn told(frame: &ExtentsFrame) -> Vec<(i32, Vec<i64>)> {
    let bases = |of: &[Extent]| of.iter().map(|e| e.base_offset.0).collect();
    let extents = frame.extents.iter();
    extents
        .map(|(partition, of)| (partition.partition.0, bases(of)))
        .collect()
}

#[test]
fn extents_follow_those_that_an_acknowledgement_brought() {
    let mut hub = Hub::new(Monotonic::default());
    for (index, begin) in [(0, 5), (1, 0), (2, 3), (3, 9)] {
        hub.interests.add(WATCHER, partition(index), Offset(begin));
    }
    let acknowledgements = vec![
        acknowledgement(0, 3, &[3, 4]),
        acknowledgement(2, 3, &[]),
        acknowledgement(3, 8, &[8]),
    ];
    let new = |index, bases: &[i64]| {
        let extents: Vec<Extent> = bases.iter().copied().map(extent).collect();
        (partition(index), extents)
    };
    let new = [
        new(0, &[4, 5, 6]),
        new(1, &[0]),
        new(2, &[2, 3]),
        new(3, &[8]),
    ];
    let frames = hub.extents_frames(acknowledgements, &new);
    assert_eq!(
        told(&frames[&WATCHER]),
        [
            (0, vec![3, 4, 5, 6]),
            (3, vec![8]),
            (1, vec![0]),
            (2, vec![3])
        ]
    );
}

/// An agent tells all its interests anew when the leader changes. Each new extent looked through all that
/// were acknowledged with it, and those of a partition that was acknowledged twice came behind the first
/// acknowledgement, as if nothing lay between.
#[test]
fn regression_many_acknowledgements_and_many_extents_take_one_pass() {
    let mut hub = Hub::new(Monotonic::default());
    let many = 50_000;
    let mut acknowledgements = Vec::new();
    let mut new = Vec::new();
    for index in 0..many {
        hub.interests.add(WATCHER, partition(index), Offset(9));
        acknowledgements.push(acknowledgement(index, 8, &[8]));
        new.push((partition(index), vec![extent(9)]));
    }
    acknowledgements.push(acknowledgement(0, 9, &[]));
    acknowledgements.push(acknowledgement(1, 7, &[7, 8]));
    let frames = hub.extents_frames(acknowledgements, &new);
    let told = told(&frames[&WATCHER]);
    assert_eq!(told[..3], [(0, vec![8]), (1, vec![8]), (2, vec![8, 9])]);
    let behind: Vec<_> = told.iter().skip(50_000).cloned().collect();
    assert_eq!(behind, [(1, vec![7, 8, 9]), (0, vec![9])]);
}

/// A topic counted as 256 bytes, whatever its configs were: frames of gigabytes could wait for a watcher.
#[test]
fn regression_configs_count_in_full_for_a_watchers_queue() {
    const CONFIG_BYTES: usize = 1 << 20;
    let value = " ".repeat(CONFIG_BYTES);
    let configs: Configs = [("retention.ms".to_owned(), value)].into();
    let topic = TopicView {
        id: TopicId(Uuid::from_u128(1)),
        name: "t".to_owned(),
        partitions: 1,
        leader_epoch: LeaderEpoch(1),
        configs: configs.clone(),
    };
    let empty = CommonFrame {
        term: LeaderTerm(1),
        seq: JournalSeq(1),
        hash: [0; 32],
        incarnation: Incarnation(1),
        reset: false,
        upload_epoch: UploadEpoch(1),
        topics: Vec::new(),
        deleted_topics: Vec::new(),
        watermarks: Vec::new(),
        agents: None,
        agents_complete: true,
        throttle_produce: false,
        broker_configs: None,
    };
    let of_topic = CommonFrame {
        topics: vec![Arc::new(topic)],
        ..empty.clone()
    };
    let of_brokers = CommonFrame {
        broker_configs: Some(Arc::new(configs)),
        ..empty
    };
    for frame in [of_topic, of_brokers] {
        let frame = Frame::Common(Arc::new(frame));
        let queue = WatcherQueue::default();
        let mut waiting = 0;
        while queue.enter(frame_bytes(&frame)) {
            waiting += 1;
        }
        assert_eq!(waiting, QUEUE_BYTES_MAX / CONFIG_BYTES - 1);
    }
}
