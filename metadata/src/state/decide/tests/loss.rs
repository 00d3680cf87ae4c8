//! Going on after a loss: everything is above what was, and above what others were shown.

use std::collections::BTreeMap;

use aquifer_format::ids::{
    Incarnation, JournalSeq, Offset, PartitionId, PartitionIndex, UploadEpoch,
};
use aquifer_metadata_api::{
    commit::BatchOutcome,
    locate::{LocatePartition, LocateRequest},
};
use kafka_protocol::messages::InitProducerIdRequest;
use proptest::prelude::*;

use crate::state::{
    decide::{self, Loss},
    tests::world::{Log, batch, plain},
};

fn loss(gap: i64, marks: &[(PartitionId, i64)]) -> Loss {
    let marks = marks.iter().map(|(id, at)| (*id, Offset(*at)));
    Loss {
        incarnation: Incarnation(5),
        upload_epoch: UploadEpoch(77),
        high_watermarks: marks.collect(),
        gap,
    }
}

fn accept(log: &mut Log, loss: &Loss) {
    let seq = JournalSeq(log.world.rows.len() as u64 + 1);
    let now = log.world.now;
    let events = decide::accept_loss(&mut log.world.state, seq, &now, loss);
    log.world.note(events);
    log.world.end_row();
}

#[test]
fn everything_goes_on_above_what_anybody_saw() {
    let mut log = Log::empty();
    log.send(batch(0, 0, 3));
    log.hold(batch(0, 9, 1));
    let topic = log.partition.topic;
    let epoch = log.world.state.topic(topic).unwrap().leader_epoch();
    let session = log.session;
    let idle = log.world.create("idle", 2);
    let idle = PartitionId::new(idle, PartitionIndex(1));
    let seen = loss(1_000, &[(log.partition, 500), (idle, 7)]);
    accept(&mut log, &seen);

    let state = &log.world.state;
    assert_eq!(state.incarnation(), Incarnation(5));
    assert!(state.upload_epoch() > UploadEpoch(77));
    assert_eq!(state.sessions().count(), 0, "sessions are over");
    assert_eq!(state.held().count(), 0);
    assert_eq!(state.usage().hold_bytes, 0);
    for topic in state.topics() {
        assert!(topic.leader_epoch() > epoch);
    }
    let end = |id| state.watermarks(id).unwrap().high_watermark.0;
    assert_eq!((end(log.partition), end(idle)), (1_500, 1_007));
    let other = PartitionId::new(idle.topic, PartitionIndex(0));
    assert_eq!(
        end(other),
        1_000,
        "nobody told of it, so the gap alone counts"
    );

    let before = epoch;
    let fresh = log.world.create("fresh", 1);
    assert!(log.world.state.topic(fresh).unwrap().leader_epoch() > before);
    let registered = log.world.register();
    assert!(registered.session.0 > session.0 + 1_000);
    let request = InitProducerIdRequest::default().with_transactional_id(None);
    let given = decide::init_producer_id(&log.world.state, &request);
    assert!(given.reply.producer_id.0 >= 1_000);

    // the log goes on behind the gap, and who reads inside it finds what follows
    let runs = [(log.partition, vec![plain(2)])];
    let commit = log
        .world
        .next_commit(registered.session, registered.slot, &runs);
    let (outcomes, _) = log.world.commit(registered.session, &commit);
    let BatchOutcome::Appended(placement) = outcomes[0].1 else {
        panic!("{outcomes:?}");
    };
    assert_eq!(placement.base_offset, Offset(1_500));
    for (from, first) in [(0, 0), (3, 1_500), (700, 1_500), (1_501, 1_500)] {
        let partitions = vec![LocatePartition {
            partition: log.partition,
            from: Offset(from),
            max_bytes: 1,
        }];
        let found = log.world.state.locate(&LocateRequest { partitions });
        let found = found.partitions[0].clone().unwrap();
        assert_eq!(found.extents[0].base_offset, Offset(first), "from {from}");
    }
    // objects of before are too old now
    let mut old = log
        .world
        .next_commit(registered.session, registered.slot, &runs);
    old.object.incarnation = Incarnation(1);
    let (outcomes, _) = log.world.commit(registered.session, &old);
    assert!(
        matches!(outcomes[0].1, BatchOutcome::Rejected(_)),
        "{outcomes:?}"
    );
}

proptest! {
    #[test]
    fn nothing_ever_falls(
        marks in prop::collection::vec((0i32..3, any::<i64>()), 0..4),
        incarnation: u32,
        upload_epoch: u32,
        gap: i64,
    ) {
        let mut log = Log::empty();
        log.send(batch(0, 0, 3));
        let topic = log.partition.topic;
        let before = log.world.state.watermarks(log.partition).unwrap();
        let marks: BTreeMap<PartitionId, Offset> = marks
            .into_iter()
            .map(|(index, at)| (PartitionId::new(topic, PartitionIndex(index)), Offset(at)))
            .collect();
        let highest = marks.get(&log.partition).copied().unwrap_or_default();
        let loss = Loss {
            incarnation: Incarnation(incarnation),
            upload_epoch: UploadEpoch(upload_epoch),
            high_watermarks: marks,
            gap,
        };
        let (was, epoch) = (log.world.state.incarnation(), log.world.state.upload_epoch());
        accept(&mut log, &loss);
        let after = log.world.state.watermarks(log.partition).unwrap();
        prop_assert!(after.high_watermark >= before.high_watermark.max(highest));
        prop_assert!(after.leader_epoch > before.leader_epoch);
        prop_assert!(log.world.state.incarnation() > was);
        prop_assert!(log.world.state.upload_epoch() > epoch || upload_epoch == u32::MAX);
        let pages = log.world.state.all_pages();
        let loaded = crate::state::State::from_pages(Default::default(), &pages).unwrap();
        prop_assert!(loaded == log.world.state);
    }
}
