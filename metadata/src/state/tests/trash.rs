//! Topics that were deleted: they can come back, and go for good in the end.

use std::collections::BTreeMap;

use aquifer_format::ids::{
    Incarnation, JournalSeq, Offset, PartitionId, PartitionIndex, TopicId, UploadEpoch,
};
use aquifer_metadata_api::{
    commit::{BatchOutcome, Rejection},
    locate::{LocatePartition, LocateRequest},
    upkeep::{RangeOutcome, RestoreTopic},
};

use super::{
    merger::{assert_sound, request, small_job},
    world::{Log, World, batch, plain},
};
use crate::{
    event::{Event, decode_row},
    state::{Budgets, State, decide},
};

const DAY_MS: i64 = 86_400_000;

fn restore(world: &mut World, topic: &RestoreTopic) -> Result<TopicId, String> {
    match decide::restore_topic(&world.state, topic) {
        Ok(decided) => Ok(world.decided(decided).0.id),
        Err(error) => Err(error.to_string()),
    }
}

fn by_name(name: &str) -> RestoreTopic {
    RestoreTopic::Name(name.to_owned())
}

fn purge(world: &mut World) -> Vec<TopicId> {
    let decided = decide::purge(&world.state, &world.now, 100);
    world.decided(decided).0
}

#[test]
fn a_deleted_topic_is_gone_and_comes_back_as_it_was() {
    let mut log = Log::empty();
    log.send(batch(0, 0, 10));
    log.send(plain(10));
    let held = log.hold(batch(0, 17, 1));
    let id = log.partition.topic;
    let epoch = log.world.state.topic(id).unwrap().leader_epoch();
    let later = log.world.trash("log");
    let outcome = BatchOutcome::Rejected(Rejection::UnknownPartition);
    assert_eq!((later[0].batch, later[0].outcome), (held, outcome));
    assert!(log.world.state.topic_by_name("log").is_none());
    assert!(log.world.state.watermarks(log.partition).is_none());
    let wanted = LocatePartition {
        partition: log.partition,
        from: Offset(0),
        max_bytes: u64::MAX,
    };
    let locate = LocateRequest {
        partitions: vec![wanted],
    };
    assert_eq!(log.world.state.locate(&locate).partitions, [None]);
    let told = log.world.state.deleted_topics().topics;
    assert_eq!((told.len(), told[0].id, told[0].partitions), (1, id, 1));
    assert_eq!(told[0].bytes, 71 + 71);
    assert_eq!(told[0].purged_at_ms - told[0].deleted_at_ms, DAY_MS);
    assert_eq!(log.world.state.released().count(), 1, "of the held batch");
    assert_sound(&log.world.state);

    assert_eq!(restore(&mut log.world, &by_name("log")), Ok(id));
    let topic = log.world.state.topic_by_name("log").unwrap();
    assert!(topic.leader_epoch() > epoch);
    assert_eq!(log.end_offset(), 20);
    assert_eq!(log.world.state.locate(&locate).partitions.len(), 1);
    let duplicate = log.send(batch(0, 0, 10));
    assert!(matches!(duplicate, BatchOutcome::Duplicate(_)));
    assert_sound(&log.world.state);
    assert!(log.world.state.deleted_topics().topics.is_empty());
}

#[test]
fn commits_to_a_deleted_topic_are_refused() {
    let mut log = Log::used();
    log.world.trash("log");
    let outcome = log.send(plain(1));
    let unknown = BatchOutcome::Rejected(Rejection::UnknownPartition);
    assert_eq!(outcome, unknown);
}

#[test]
fn of_topics_of_one_name_the_last_one_comes_back_unless_the_name_is_taken() {
    let mut log = Log::used();
    let first = log.partition.topic;
    log.world.trash("log");
    log.world.now.unix_millis += 1;
    let second = log.world.create("log", 1);
    log.partition = PartitionId::new(second, PartitionIndex(0));
    log.send(plain(1));
    let taken = restore(&mut log.world, &RestoreTopic::Id(first)).unwrap_err();
    assert!(taken.contains("another topic 'log'"), "{taken}");
    log.world.trash("log");
    assert_eq!(restore(&mut log.world, &by_name("log")), Ok(second));
    log.world.trash("log");
    let other = log.world.create("l_g", 1);
    assert_eq!(restore(&mut log.world, &RestoreTopic::Id(first)), Ok(first));
    let again = restore(&mut log.world, &RestoreTopic::Id(first)).unwrap_err();
    assert!(again.contains("can be restored"), "{again}");
    assert!(log.world.state.topic(other).is_some());
    assert!(restore(&mut log.world, &by_name("nope")).is_err());
}

#[test]
fn names_that_collide_are_refused() {
    let mut log = Log::used();
    let dotted = log.world.create("a.b", 1);
    let id = PartitionId::new(dotted, PartitionIndex(0));
    let commit = log
        .world
        .next_commit(log.session, log.slot, &[(id, vec![plain(1)])]);
    log.world.commit(log.session, &commit);
    log.world.trash("a.b");
    log.world.create("a_b", 1);
    let collides = restore(&mut log.world, &by_name("a.b")).unwrap_err();
    assert!(collides.contains("collides"), "{collides}");
}

#[test]
fn topics_go_for_good_when_their_time_has_come() {
    let mut log = Log::used();
    log.world.trash("log");
    assert_eq!(purge(&mut log.world), []);
    log.world.now.unix_millis += DAY_MS - 1;
    assert_eq!(purge(&mut log.world), []);
    log.world.now.unix_millis += 1;
    assert_eq!(purge(&mut log.world), [log.partition.topic]);
    assert_eq!(log.world.state.released().count(), 1);
    assert_eq!(log.world.state.usage().extent_bytes, 0);
    assert_eq!(log.world.state.usage().partition_bytes, 0);
    assert!(restore(&mut log.world, &by_name("log")).is_err());
}

#[test]
fn what_has_nothing_to_be_restored_for_goes_at_once() {
    let mut log = Log::empty();
    log.world.trash("log");
    assert!(
        log.world.state.deleted_topics().topics.is_empty(),
        "it is empty"
    );
    let mut log = Log::used();
    let off = ("topic.soft.delete.ttl.ms", 0, Some("0"));
    log.world.alter_brokers(&[off]);
    log.world.trash("log");
    assert!(
        log.world.state.deleted_topics().topics.is_empty(),
        "switched off"
    );
    assert_eq!(log.world.state.released().count(), 1);
}

#[test]
fn where_there_is_no_room_nothing_is_kept() {
    let budgets = Budgets {
        partition_bytes: 1_000,
        ..Budgets::default()
    };
    let mut log = Log::in_world(World::with_budgets(budgets), &[]);
    log.send(plain(1));
    log.world.trash("log");
    assert_eq!(log.world.state.deleted_topics().topics.len(), 1);
    // 9 of 10 partitions are used then
    log.world.create("large", 8);
    assert_eq!(
        purge(&mut log.world),
        [log.partition.topic],
        "before its time"
    );
    let large = log.world.state.topic_by_name("large").unwrap().id();
    let id = PartitionId::new(large, PartitionIndex(0));
    let commit = log
        .world
        .next_commit(log.session, log.slot, &[(id, vec![plain(1)])]);
    log.world.commit(log.session, &commit);
    log.world.create("more", 1);
    log.world.trash("large");
    assert!(log.world.state.deleted_topics().topics.is_empty());
    assert_sound(&log.world.state);
}

#[test]
fn deleted_topics_are_merged_like_others() {
    let mut log = Log::used();
    log.send(plain(5));
    log.world.trash("log");
    let merge = request(&log.world, &small_job(&log.world.state, 0));
    assert_eq!(log.world.swap(&merge), [RangeOutcome::Done]);
    assert_eq!(log.world.state.released().count(), 2);
    assert_sound(&log.world.state);
    restore(&mut log.world, &by_name("log")).unwrap();
    let extents = log.world.state.extents(log.partition, Offset(0));
    let ends: Vec<_> = extents.map(|extent| extent.end_offset.0).collect();
    assert_eq!(ends, [105]);
}

#[test]
fn offsets_stay_until_a_topic_goes_for_good() {
    use std::sync::Arc;

    use crate::event::group::{GroupNumber, OffsetCommit, OffsetsCommitted};
    let mut log = Log::used();
    let group = GroupNumber(1);
    let name = "g".to_owned();
    let commit = OffsetCommit {
        offset: Offset(7),
        leader_epoch: -1,
        metadata: Arc::from(""),
    };
    let committed = OffsetsCommitted {
        group,
        at_ms: 0,
        expires_at_ms: None,
        offsets: vec![(log.partition, commit)],
    };
    log.world.take(vec![
        Event::GroupCreated { group, name },
        Event::OffsetsCommitted(Box::new(committed)),
    ]);
    let committed = |log: &Log| log.world.state.committed_offsets(group).count();
    log.world.trash("log");
    assert_eq!(committed(&log), 1);
    restore(&mut log.world, &by_name("log")).unwrap();
    assert_eq!(committed(&log), 1);
    log.world.delete("log");
    assert_eq!(committed(&log), 0);
}

#[test]
fn a_topic_comes_back_above_what_was_lost_meanwhile() {
    let mut log = Log::used();
    log.world.trash("log");
    // somebody saw 500 records, in rows that are lost: it had come back then
    let loss = decide::Loss {
        incarnation: Incarnation(0),
        upload_epoch: UploadEpoch(0),
        high_watermarks: BTreeMap::from([(log.partition, Offset(500))]),
        gap: 50,
    };
    let seq = JournalSeq(u64::try_from(log.world.rows.len()).unwrap() + 1);
    let now = log.world.now;
    let events = decide::accept_loss(&mut log.world.state, seq, &now, &loss);
    log.world.note(events);
    log.world.end_row();
    restore(&mut log.world, &by_name("log")).unwrap();
    assert_eq!(log.end_offset(), 550);
}

#[test]
fn many_extents_are_purged_in_bounded_rows() {
    let mut log = Log::empty();
    let topics: Vec<TopicId> = (0..6)
        .map(|number| {
            let name = format!("t{number}");
            let id = log.world.create(&name, 1);
            log.partition = PartitionId::new(id, PartitionIndex(0));
            for _ in 0..1_000 {
                log.send(plain(1));
            }
            log.world.trash(&name);
            log.world.now.unix_millis += 1;
            id
        })
        .collect();
    log.world.now.unix_millis += DAY_MS;
    let decided = decide::purge(&log.world.state, &log.world.now, 100);
    for event in &decided.events {
        if let Event::ObjectsReleased { objects, .. } = event {
            assert!(objects.len() <= 4_096);
        }
    }
    assert_eq!(log.world.decided(decided).0, topics[..5], "oldest first");
    assert_eq!(purge(&mut log.world), topics[5..]);
    assert_eq!(log.world.state.released().count(), 6_000);
    assert_sound(&log.world.state);
}

#[test]
fn regression_a_restored_topic_has_its_name_after_a_replay() {
    let mut log = Log::used();
    let first = log.partition.topic;
    let through = log.world.rows.len();
    log.world.trash("log");
    // one without a record goes at once
    log.world.create("log", 1);
    log.world.trash("log");
    assert_eq!(restore(&mut log.world, &by_name("log")), Ok(first));
    // the topic's page is newer than where the replay begins
    let pages = log.world.state.all_pages();
    let mut loaded = State::from_pages(Budgets::default(), &pages).unwrap();
    for (seq, row) in (1u64..).zip(&log.world.rows).skip(through) {
        for event in decode_row(row).unwrap() {
            loaded.apply(JournalSeq(seq), &event);
        }
    }
    assert_eq!(
        loaded.topic_by_name("log").map(|topic| topic.id()),
        Some(first)
    );
    let names: BTreeMap<_, _> = loaded
        .topics()
        .map(|t| (t.name().to_owned(), t.id()))
        .collect();
    assert_eq!(names, BTreeMap::from([("log".to_owned(), first)]));
    assert!(loaded == log.world.state);
}
