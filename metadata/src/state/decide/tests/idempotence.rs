//! Every rule about idempotent producers that is decided at once. Each line of a table is a batch and
//! its outcome, in order.

use aquifer_metadata_api::commit::{BatchOutcome, BatchSummary};

use crate::state::{
    decide,
    tests::world::{
        Log, OUT_OF_ORDER, STALE, World, appended, batch, duplicate, of_producer, placement, plain,
    },
};

const MAX: i32 = i32::MAX;

#[track_caller]
fn check(mut log: Log, steps: &[(BatchSummary, BatchOutcome)]) {
    for (index, (batch, expected)) in steps.iter().enumerate() {
        assert_eq!(log.send(*batch), *expected, "step {index}: {batch:?}");
    }
    // The same again in one run each: what a run's batches do to each other must not differ.
    log.world.end_row();
}

/// The same batches in one commit must come to the same outcomes as one by one.
#[track_caller]
fn check_both_ways(log: impl Fn() -> Log, steps: &[(BatchSummary, BatchOutcome)]) {
    check(log(), steps);
    let mut together = log();
    let batches = steps.iter().map(|(batch, _)| *batch).collect();
    let outcomes: Vec<BatchOutcome> = together
        .send_run(batches)
        .into_iter()
        .map(|(_, outcome)| outcome)
        .collect();
    let expected: Vec<BatchOutcome> = steps.iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(outcomes, expected, "in one run");
}

#[test]
fn sequences_that_follow_are_appended() {
    check_both_ways(
        Log::empty,
        &[
            (batch(0, 0, 3), appended(0)),
            (batch(0, 3, 1), appended(3)),
            (batch(0, 4, 10), appended(4)),
        ],
    );
}

#[test]
fn the_same_batch_again_gets_its_first_offset() {
    check_both_ways(
        Log::empty,
        &[
            (batch(0, 0, 3), appended(0)),
            (plain(2), appended(3)),
            (batch(0, 3, 2), appended(5)),
            (batch(0, 0, 3), duplicate(0)),
            (batch(0, 3, 2), duplicate(5)),
            (batch(0, 5, 1), appended(7)),
        ],
    );
}

#[test]
fn a_duplicate_must_have_the_same_first_and_last_sequence() {
    check_both_ways(
        Log::empty,
        &[
            (batch(0, 0, 10), appended(0)),
            (batch(0, 0, 9), OUT_OF_ORDER),
            (batch(0, 1, 9), OUT_OF_ORDER),
            (batch(0, 5, 10), OUT_OF_ORDER),
            (batch(0, 0, 10), duplicate(0)),
        ],
    );
}

#[test]
fn sixteen_batches_are_remembered_and_older_ones_are_out_of_order() {
    let mut steps: Vec<_> = (0..17)
        .map(|n| (batch(0, n, 1), appended(i64::from(n))))
        .collect();
    steps.push((batch(0, 1, 1), duplicate(1)));
    steps.push((batch(0, 16, 1), duplicate(16)));
    steps.push((batch(0, 0, 1), OUT_OF_ORDER));
    check_both_ways(Log::empty, &steps);
}

#[test]
fn a_lower_epoch_is_stale_before_anything_else_is_looked_at() {
    check_both_ways(
        Log::empty,
        &[
            (batch(3, 0, 1), appended(0)),
            (batch(2, 0, 1), STALE),
            (batch(2, 1, 1), STALE),
            (batch(2, 900, 1), STALE),
            (batch(3, 1, 1), appended(1)),
        ],
    );
}

#[test]
fn a_higher_epoch_begins_with_zero_and_voids_what_was_remembered() {
    check_both_ways(
        Log::empty,
        &[
            (batch(0, 0, 5), appended(0)),
            (batch(1, 0, 5), appended(5)),
            (batch(1, 0, 5), duplicate(5)),
            (batch(0, 0, 5), STALE),
            (batch(1, 5, 1), appended(10)),
        ],
    );
}

#[test]
fn a_higher_epoch_with_another_first_sequence_is_out_of_order() {
    let mut log = Log::empty();
    assert_eq!(log.send(batch(0, 0, 5)), appended(0));
    let held = log.hold(batch(1, 5, 1));
    log.release(held);
    assert_eq!(log.later[0].outcome, OUT_OF_ORDER);
    assert_eq!(
        log.send(batch(0, 5, 1)),
        appended(5),
        "epoch 0 still is the newest"
    );
}

#[test]
fn sequences_wrap_from_the_maximum_to_zero() {
    for last in [MAX - 3, MAX - 2, MAX - 1, MAX] {
        let records = u32::try_from(MAX - last).unwrap() + 1;
        let mut log = Log::used();
        let held = log.hold(batch(0, last, records));
        log.release(held);
        assert_eq!(log.later[0].outcome, appended(100), "{last}");
        assert_eq!(log.send(batch(0, 0, 2)), appended(100 + i64::from(records)));
        assert_eq!(log.send(batch(0, last, records)), duplicate(100));
        assert_eq!(log.send(batch(0, 2, 1)), appended(102 + i64::from(records)));
    }
}

#[test]
fn sequences_wrap_inside_a_batch() {
    for (first, records, next) in [
        (MAX, 2, 1),
        (MAX - 1, 3, 1),
        (MAX - 1, 2, 0),
        (MAX - 2, 10, 7),
        (MAX - 3, 4, 0),
    ] {
        let mut log = Log::used();
        let held = log.hold(batch(0, first, records));
        log.release(held);
        assert_eq!(log.later[0].outcome, appended(100), "{first}");
        assert_eq!(log.send(batch(0, first, records)), duplicate(100));
        let end = 100 + i64::from(records);
        assert_eq!(
            log.send(batch(0, next, 1)),
            appended(end),
            "{first}+{records}"
        );
        let behind = batch(0, MAX, 1);
        if first != MAX || records != 1 {
            assert_eq!(log.send(behind), OUT_OF_ORDER, "{first}+{records}");
        }
    }
}

#[test]
fn regression_no_gap_is_seen_across_the_wrap() {
    let mut log = Log::used();
    let held = log.hold(batch(0, MAX, 1));
    log.release(held);
    // 1 is ahead of the next sequence, 0, and not behind it.
    let ahead = log.hold(batch(0, 1, 1));
    assert_eq!(log.send(batch(0, 0, 1)), appended(101));
    assert_eq!(log.later.last().unwrap().batch, ahead);
    assert_eq!(log.later.last().unwrap().outcome, appended(102));
}

#[test]
fn a_partition_that_never_had_a_record_takes_only_sequence_zero() {
    check_both_ways(
        Log::empty,
        &[
            (batch(0, 5, 1), OUT_OF_ORDER),
            (batch(3, 1, 1), OUT_OF_ORDER),
            (batch(0, 0, 1), appended(0)),
        ],
    );
}

#[test]
fn a_partition_counts_as_used_from_its_first_record_on() {
    let mut log = Log::empty();
    let outcomes = log.send_run(vec![plain(1), batch(0, 5, 1)]);
    assert_eq!(outcomes[0].1, appended(0));
    assert_eq!(outcomes[1].1, BatchOutcome::Held);
}

#[test]
fn an_unknown_producer_may_begin_anywhere_in_a_used_partition_after_a_hold() {
    let mut log = Log::used();
    let held = log.hold(batch(4, 77, 3));
    log.release(held);
    assert_eq!(log.later[0].outcome, appended(100));
    assert_eq!(log.send(batch(4, 80, 1)), appended(103));
    assert_eq!(
        log.send(of_producer(8, 0, 0, 1)),
        appended(104),
        "0 needs no hold"
    );
}

#[test]
fn producers_are_told_apart() {
    check_both_ways(
        Log::empty,
        &[
            (of_producer(1, 0, 0, 5), appended(0)),
            (of_producer(2, 0, 0, 5), appended(5)),
            (of_producer(1, 0, 5, 1), appended(10)),
            (of_producer(2, 0, 0, 5), duplicate(5)),
            (of_producer(0, 0, 0, 1), appended(11)),
        ],
    );
}

#[test]
fn batches_without_a_producer_are_never_duplicates() {
    check_both_ways(
        Log::empty,
        &[
            (plain(2), appended(0)),
            (plain(2), appended(2)),
            (plain(1), appended(4)),
        ],
    );
}

#[test]
fn a_producer_is_forgotten_after_a_day_and_not_before() {
    let mut log = Log::empty();
    log.send(batch(0, 0, 1));
    log.world.advance(1_439);
    assert_eq!(decide::expire_producers(&log.world.state), []);
    log.world.advance(1);
    let events = decide::expire_producers(&log.world.state);
    assert_eq!(events.len(), 1);
    let before = log.world.state.usage().producer_bytes;
    log.world.take(events);
    assert!(before > 0 && log.world.state.usage().producer_bytes == 0);
    assert_eq!(decide::expire_producers(&log.world.state), []);
    // As in Kafka, its next batch is then taken whatever its sequence (after a hold).
    let held = log.hold(batch(0, 1, 1));
    log.release(held);
    assert_eq!(log.later[0].outcome, appended(1));
}

#[test]
fn a_producer_that_was_seen_since_is_kept() {
    let mut log = Log::empty();
    log.send(batch(0, 0, 1));
    log.world.advance(1_000);
    log.send(batch(0, 1, 1));
    log.world.advance(1_000);
    assert_eq!(decide::expire_producers(&log.world.state), []);
    assert_eq!(log.send(batch(0, 0, 1)), duplicate(0));
}

#[test]
fn append_times_are_given_where_the_topic_says_so_and_kept_for_duplicates() {
    let configs = [("message.timestamp.type", "LogAppendTime")];
    let mut log = Log::in_world(World::new(), &configs);
    let first = log.world.now.unix_millis;
    let outcome = |offset, time| BatchOutcome::Appended(placement(offset, Some(time)));
    assert_eq!(log.send(batch(0, 0, 2)), outcome(0, first));
    log.world.now.unix_millis += 5_000;
    assert_eq!(log.send(batch(0, 2, 1)), outcome(2, first + 5_000));
    let again = BatchOutcome::Duplicate(placement(0, Some(first)));
    assert_eq!(log.send(batch(0, 0, 2)), again);
    // A held batch gets the time of its decision.
    log.hold(batch(0, 4, 1));
    log.world.now.unix_millis += 1_000;
    assert_eq!(log.send(batch(0, 3, 1)), outcome(3, first + 6_000));
    assert_eq!(log.later[0].outcome, outcome(4, first + 6_000));
    let extents: Vec<_> = log
        .world
        .state
        .extents(log.partition, aquifer_format::ids::Offset(0))
        .map(|extent| (extent.max_timestamp, extent.log_append_time))
        .collect();
    let times = [first, first + 5_000, first + 6_000, first + 6_000];
    assert_eq!(extents, times.map(|time| (time, Some(time))));
}
