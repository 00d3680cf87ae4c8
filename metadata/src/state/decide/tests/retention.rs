//! Retention by time and by size.

use aquifer_format::ids::{Offset, PartitionId, PartitionIndex};
use proptest::prelude::*;

use crate::state::{
    decide::{self, RetentionStep},
    tests::world::{Log, NOW, World, plain},
};

const HOUR: i64 = 3_600_000;
/// Bytes of a batch of 39 records.
const BATCH: i64 = 100;

/// Extents of 39 records and 100 bytes each, with these ages in hours.
fn aged(configs: &[(&str, &str)], ages: &[i64]) -> Log {
    let mut log = Log::in_world(World::new(), configs);
    for age in ages {
        let mut batch = plain(39);
        batch.max_timestamp = NOW.unix_millis - age * HOUR;
        log.send(batch);
    }
    log
}

fn retain(log: &mut Log) -> RetentionStep {
    let decided = decide::retention(&log.world.state, &log.world.now, None, usize::MAX);
    log.world.decided(decided).0
}

/// How many extents are left after retention, and that the log begins there.
fn left(log: &mut Log) -> usize {
    let step = retain(log);
    assert_eq!(step.next, None);
    let state = &log.world.state;
    let marks = state.watermarks(log.partition).unwrap();
    let mut extents = state.extents(log.partition, Offset(0));
    let first = extents.next();
    let start = first
        .as_ref()
        .map_or(marks.high_watermark, |e| e.base_offset);
    assert_eq!(marks.log_start, start);
    first.iter().count() + extents.count()
}

#[test]
fn leading_extents_go_by_time() {
    let hours = |hours: i64| (hours * HOUR).to_string();
    let cases: [(&str, &[i64], usize); 8] = [
        (&hours(24), &[30, 25, 20, 10], 2),
        (&hours(24), &[24, 23], 2),
        (&hours(24), &[30, 10, 30], 2),
        (&hours(24), &[10, 30], 2),
        (&hours(24), &[30, 40], 0),
        // records of the future stay, and what is behind them
        (&hours(24), &[-5, 30], 2),
        ("-1", &[100_000], 1),
        ("0", &[1, 0], 1),
    ];
    for (retention, ages, expected) in cases {
        let mut log = aged(&[("retention.ms", retention)], ages);
        assert_eq!(left(&mut log), expected, "{retention} {ages:?}");
    }
    let mut log = aged(&[], &[24 * 8, 24 * 6]);
    assert_eq!(left(&mut log), 1, "a week by default");
}

#[test]
fn leading_extents_go_by_size_as_far_as_the_limit_does_not_need_them() {
    let cases = [
        (3 * BATCH, 3),
        (3 * BATCH + 1, 4),
        (3 * BATCH - 1, 3),
        (5 * BATCH, 5),
        (9 * BATCH, 5),
        (1, 1),
        (0, 0),
        (-1, 5),
    ];
    for (limit, expected) in cases {
        let text = limit.to_string();
        let mut log = aged(&[("retention.bytes", text.as_str())], &[0; 5]);
        assert_eq!(left(&mut log), expected, "{limit}");
    }
}

#[test]
fn both_limits_work_together() {
    let limits = [("retention.bytes", "200"), ("retention.ms", "3600000")];
    // the first goes by either, the second by size, the third by neither
    let mut log = aged(&limits, &[5, 0, 0, 0]);
    assert_eq!(left(&mut log), 2);
    let mut log = aged(&limits, &[0, 5, 5, 5]);
    assert_eq!(left(&mut log), 0, "behind what size took, time goes on");
}

#[test]
fn only_topics_that_delete_lose_records() {
    let week = [24 * 30];
    let cases = [
        ("compact", 1),
        ("", 1),
        ("delete", 0),
        ("compact,delete", 0),
    ];
    for (policy, expected) in cases {
        let mut log = aged(&[("cleanup.policy", policy)], &week);
        assert_eq!(left(&mut log), expected, "{policy:?}");
    }
}

#[test]
fn limits_of_the_brokers_hold_where_a_topic_has_none() {
    let mut log = aged(&[], &[50, 30, 0]);
    let day = (24 * HOUR).to_string();
    log.world
        .alter_brokers(&[("log.retention.ms", 0, Some(day.as_str()))]);
    assert_eq!(left(&mut log), 1);
    let mut log = aged(&[("retention.ms", "-1")], &[50, 30, 0]);
    log.world
        .alter_brokers(&[("log.retention.ms", 0, Some(day.as_str()))]);
    assert_eq!(left(&mut log), 3);
    let hours = ("log.retention.hours".to_owned(), "40".to_owned());
    let mut log = aged(&[], &[50, 30, 0]);
    log.world.state.set_server_configs([hours].into());
    assert_eq!(left(&mut log), 2);
}

#[test]
fn append_times_count_where_the_broker_sets_them() {
    let configs = [
        ("message.timestamp.type", "LogAppendTime"),
        ("retention.ms", "3600000"),
    ];
    let mut log = aged(&configs, &[1_000]);
    assert_eq!(left(&mut log), 1);
    log.world.now.unix_millis += HOUR + 1;
    assert_eq!(left(&mut log), 0);
}

#[test]
fn records_without_a_time_are_as_old_as_their_object() {
    let mut log = Log::in_world(World::new(), &[("retention.ms", "600000")]);
    let mut timeless = plain(1);
    timeless.max_timestamp = -1;
    log.send(timeless);
    log.world.advance(10);
    assert_eq!(left(&mut log), 1);
    log.world.advance(1);
    assert_eq!(left(&mut log), 0);
}

#[test]
fn a_log_begins_at_its_first_record_behind_offsets_that_were_left_out() {
    let mut log = aged(&[("retention.ms", "3600000")], &[5]);
    let loss = decide::Loss {
        incarnation: aquifer_format::ids::Incarnation(0),
        upload_epoch: aquifer_format::ids::UploadEpoch(0),
        high_watermarks: std::collections::BTreeMap::new(),
        gap: 1_000,
    };
    let seq = aquifer_format::ids::JournalSeq(log.world.rows.len() as u64 + 1);
    let now = log.world.now;
    let events = decide::accept_loss(&mut log.world.state, seq, &now, &loss);
    log.world.note(events);
    log.world.end_row();
    assert_eq!(log.end_offset(), 1_039);
    // nothing is left: it begins where the next record will be
    assert_eq!(left(&mut log), 0);
    let marks = log.world.state.watermarks(log.partition).unwrap();
    assert_eq!(marks.log_start.0, 1_039);
}

#[test]
fn objects_of_old_records_are_released() {
    let mut log = aged(&[("retention.ms", "3600000")], &[5, 0]);
    assert_eq!(left(&mut log), 1);
    let released: Vec<_> = log
        .world
        .state
        .released()
        .map(|(id, ..)| id.unique)
        .collect();
    assert_eq!(released, [1]);
    assert_eq!(left(&mut log), 1, "and nothing more happens");
    assert_eq!(log.world.state.released().count(), 1);
}

/// Topics of some partitions each, all full of old records.
fn many(topics: usize, partitions: i32, extents: usize) -> World {
    let mut world = World::new();
    let writer = world.register();
    for topic in 0..topics {
        let id = world.create_with(&format!("t{topic}"), partitions, &[("retention.ms", "1")]);
        for partition in 0..partitions {
            let partition = PartitionId::new(id, PartitionIndex(partition));
            for _ in 0..extents {
                let runs = [(partition, vec![plain(1)])];
                let commit = world.next_commit(writer.session, writer.slot, &runs);
                world.commit(writer.session, &commit);
            }
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn steps_are_bounded_and_end_where_one_step_would(
        topics in 1usize..4, partitions in 1i32..4, extents in 0usize..6, limit in 0usize..12,
    ) {
        let mut world = many(topics, partitions, extents);
        world.create_with("kept", 2, &[("retention.ms", "-1")]);
        world.now.unix_millis += 10_000;
        let mut from = None;
        let mut steps = 0;
        let mut gone = 0;
        loop {
            let decided = decide::retention(&world.state, &world.now, from, limit);
            let step = world.decided(decided).0;
            prop_assert!(step.extents <= limit.max(3));
            let moves = step.next.is_none() || step.next != from || step.extents > 0;
            prop_assert!(moves, "{step:?}");
            gone += step.extents;
            steps += 1;
            from = step.next;
            if from.is_none() {
                break;
            }
            prop_assert!(steps < 1_000);
        }
        prop_assert_eq!(gone, topics * usize::try_from(partitions).unwrap() * extents);
        prop_assert_eq!(world.state.objects().count(), 0);
        let rest = decide::retention(&world.state, &world.now, None, usize::MAX);
        prop_assert!(rest.events.is_empty());
    }
}

#[test]
fn a_topic_that_is_gone_between_two_steps_is_passed_over() {
    let mut world = many(3, 2, 2);
    world.now.unix_millis += 10_000;
    let decided = decide::retention(&world.state, &world.now, None, 4);
    let next = world.decided(decided).0.next.unwrap();
    let name = world.state.topic(next.topic).unwrap().name().to_owned();
    world.delete(&name);
    let decided = decide::retention(&world.state, &world.now, Some(next), usize::MAX);
    assert_eq!(world.decided(decided).0.next, None);
    assert_eq!(world.state.objects().count(), 0);
}
