//! Held batches: what ends their wait, and how.

use aquifer_format::ids::Offset;
use aquifer_metadata_api::commit::{BatchOutcome, Rejection};

use crate::state::{
    Budgets, decide,
    tests::world::{
        Log, OUT_OF_ORDER, STALE, World, appended, batch, duplicate, of_producer, plain,
    },
};

/// A log that knows the producer up to sequence 9.
fn begun() -> Log {
    let mut log = Log::empty();
    assert_eq!(log.send(batch(0, 0, 10)), appended(0));
    log
}

#[test]
fn a_gap_waits_and_its_predecessor_decides_it() {
    let mut log = begun();
    let late = log.hold(batch(0, 12, 3));
    assert!(log.world.state.is_held(log.session, late));
    assert_eq!(log.end_offset(), 10, "what is held has no offset");
    assert_eq!(log.send(batch(0, 10, 2)), appended(10));
    assert_eq!(log.later.len(), 1);
    assert_eq!(log.later[0].batch, late);
    assert_eq!(log.later[0].session, log.session);
    assert_eq!(log.later[0].outcome, appended(12));
    assert_eq!(log.world.state.held().count(), 0);
    assert_eq!(log.end_offset(), 15);
}

#[test]
fn a_chain_of_held_batches_is_decided_in_the_order_of_sequences() {
    let mut log = begun();
    let third = log.hold(batch(0, 30, 10));
    let first = log.hold(batch(0, 15, 5));
    let second = log.hold(batch(0, 20, 10));
    assert_eq!(log.send(batch(0, 10, 5)), appended(10));
    let decided: Vec<_> = log
        .later
        .iter()
        .map(|held| (held.batch, held.outcome))
        .collect();
    let expected = [
        (first, appended(15)),
        (second, appended(20)),
        (third, appended(30)),
    ];
    assert_eq!(decided, expected);
}

#[test]
fn a_chain_stops_at_the_next_gap() {
    let mut log = begun();
    let near = log.hold(batch(0, 12, 1));
    let far = log.hold(batch(0, 14, 1));
    log.send(batch(0, 10, 2));
    assert_eq!(log.later.len(), 1);
    assert_eq!(log.later[0].batch, near);
    assert!(log.world.state.is_held(log.session, far));
}

#[test]
fn predecessor_and_follower_may_come_in_one_run_in_either_order() {
    let mut log = begun();
    let outcomes = log.send_run(vec![batch(0, 12, 3), plain(5), batch(0, 10, 2), plain(1)]);
    let outcomes: Vec<_> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    // The follower is decided after everything that its run appended.
    let expected = [appended(18), appended(10), appended(15), appended(17)];
    assert_eq!(outcomes, expected);
    assert_eq!(log.later, [], "the commit's own answer has it");
    assert_eq!(log.world.state.held().count(), 0);
    let extents = log.world.state.extents(log.partition, Offset(0));
    let ranges: Vec<_> = extents
        .map(|extent| (extent.base_offset.0, extent.end_offset.0, extent.raw_start))
        .collect();
    // 71 + 3 bytes of the follower come first in the run.
    assert_eq!(ranges, [(0, 10, 0), (10, 18, 64), (18, 21, 0)]);
}

#[test]
fn only_batches_of_the_same_producer_wait() {
    let mut log = begun();
    log.hold(batch(0, 12, 1));
    assert_eq!(log.send(of_producer(99, 0, 0, 1)), appended(10));
    assert_eq!(log.send(plain(1)), appended(11));
    assert_eq!(
        log.send(batch(0, 0, 10)),
        duplicate(0),
        "duplicates do not wait"
    );
    log.hold(batch(0, 13, 1));
}

#[test]
fn a_gap_whose_time_is_up_is_out_of_order_and_its_followers_wait_on() {
    let mut log = begun();
    let first = log.hold(batch(0, 12, 1));
    let second = log.hold(batch(0, 13, 1));
    log.release(first);
    assert_eq!(log.later.len(), 1);
    assert_eq!(
        (log.later[0].batch, log.later[0].outcome),
        (first, OUT_OF_ORDER)
    );
    assert!(log.world.state.is_held(log.session, second));
    assert_eq!(log.end_offset(), 10);
    // It may still come again and be appended with everything behind it.
    assert_eq!(
        log.send_run(vec![batch(0, 10, 2), batch(0, 12, 1)])[1].1,
        appended(12)
    );
    assert_eq!(log.later[1].outcome, appended(13));
}

#[test]
fn the_earliest_held_batch_of_an_unknown_producer_goes_first() {
    let mut log = Log::used();
    let later = log.hold(batch(0, 8, 2));
    let earlier = log.hold(batch(0, 5, 3));
    let far = log.hold(batch(0, 20, 1));
    log.release(later);
    let decided: Vec<_> = log
        .later
        .iter()
        .map(|held| (held.batch, held.outcome))
        .collect();
    assert_eq!(decided, [(earlier, appended(100)), (later, appended(103))]);
    log.release(far);
    assert_eq!(
        log.later[2].outcome, OUT_OF_ORDER,
        "its producer is known by now"
    );
}

#[test]
fn an_unknown_producers_first_batch_decides_the_held_ones() {
    let mut log = Log::used();
    let held = log.hold(batch(0, 4, 2));
    assert_eq!(log.send(batch(0, 0, 4)), appended(100));
    assert_eq!(
        (log.later[0].batch, log.later[0].outcome),
        (held, appended(104))
    );
}

#[test]
fn a_retry_of_a_held_batch_is_its_duplicate_in_the_end() {
    let mut log = begun();
    let first = log.hold(batch(0, 12, 3));
    let retry = log.hold(batch(0, 12, 3));
    log.send(batch(0, 10, 2));
    let decided: Vec<_> = log
        .later
        .iter()
        .map(|held| (held.batch, held.outcome))
        .collect();
    assert_eq!(decided, [(first, appended(12)), (retry, duplicate(12))]);
    assert_eq!(log.end_offset(), 15);
    // The retry's object has nothing live.
    assert_eq!(log.world.state.released().count(), 1);
}

#[test]
fn what_a_predecessor_overtakes_is_out_of_order() {
    let mut log = begun();
    let held = log.hold(batch(0, 12, 3));
    assert_eq!(log.send(batch(0, 10, 5)), appended(10));
    assert_eq!(
        (log.later[0].batch, log.later[0].outcome),
        (held, OUT_OF_ORDER)
    );
}

#[test]
fn a_new_epoch_makes_held_batches_of_the_old_one_stale() {
    let mut log = begun();
    let held = log.hold(batch(0, 12, 3));
    assert_eq!(log.send(batch(1, 0, 1)), appended(10));
    assert_eq!((log.later[0].batch, log.later[0].outcome), (held, STALE));
}

#[test]
fn a_new_epochs_first_batch_decides_its_followers() {
    let mut log = begun();
    let held = log.hold(batch(1, 2, 3));
    assert_eq!(log.send(batch(1, 0, 2)), appended(10));
    assert_eq!(
        (log.later[0].batch, log.later[0].outcome),
        (held, appended(12))
    );
}

#[test]
fn without_room_nothing_is_held() {
    let budgets = Budgets {
        hold_bytes: 100,
        ..Budgets::default()
    };
    let mut log = Log::in_world(World::with_budgets(budgets), &[]);
    assert_eq!(log.send(batch(0, 0, 10)), appended(0));
    log.hold(batch(0, 12, 1));
    assert_eq!(
        log.send(batch(0, 14, 1)),
        OUT_OF_ORDER,
        "62 of 100 bytes are used"
    );
    assert_eq!(
        log.send(of_producer(9, 0, 5, 1)),
        appended(10),
        "unknown, so taken as it is"
    );
}

#[test]
fn releasing_what_is_not_held_changes_nothing() {
    let mut log = begun();
    let held = log.hold(batch(0, 12, 1));
    log.release(held);
    let rows = log.world.rows.len();
    log.release(held);
    assert_eq!(log.world.rows.len(), rows);
}

#[test]
fn remembered_results_follow_the_decision() {
    let mut log = begun();
    let commit = log.commit_of(vec![batch(0, 12, 1), plain(1)]);
    let (first, _) = log.world.commit(log.session, &commit);
    assert_eq!(first[0].1, BatchOutcome::Held);
    let again = log.world.decide(log.session, &commit).unwrap();
    assert_eq!((again.reply, again.events.len()), (first, 0));
    log.send(batch(0, 10, 2));
    let again = log.world.decide(log.session, &commit).unwrap();
    let outcomes: Vec<_> = again.reply.iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(outcomes, [appended(13), appended(10)]);
    assert_eq!(again.events, []);
}

#[test]
fn deleting_the_topic_answers_what_it_holds() {
    let mut log = begun();
    let held = log.hold(batch(0, 12, 1));
    let later = log.world.delete("log");
    assert_eq!(later.len(), 1);
    assert_eq!(later[0].batch, held);
    assert_eq!(
        later[0].outcome,
        BatchOutcome::Rejected(Rejection::UnknownPartition)
    );
    assert_eq!(log.world.state.held().count(), 0);
    assert_eq!(log.world.state.released().count(), 2, "both objects");
    assert_eq!(log.world.state.usage().hold_bytes, 0);
}

#[test]
fn the_end_of_a_session_gives_up_what_it_holds() {
    let mut log = begun();
    log.hold(batch(0, 12, 1));
    let ended = decide::end_session(&log.world.state, &log.world.now, log.session);
    let (_, later) = log.world.decided(ended);
    assert_eq!(later[0].outcome, OUT_OF_ORDER);
    assert_eq!(log.world.state.held().count(), 0);
    assert_eq!(log.world.state.usage().hold_bytes, 0);
    assert_eq!(log.world.state.released().count(), 1);
}
