//! Classic groups whose members restart, whose calls come again, and whose leader of the metadata changes.

use bytes::Bytes;

use super::play::{Join, Play, stable};
use crate::{
    coordinator::classic::check_commit,
    state::{Budgets, State},
};

const NONE: i16 = 0;

/// Two static members, "a" leads.
fn stable_static() -> (Play, [String; 2]) {
    let mut play = Play::new();
    let calls = ["a", "b"].map(|name| play.join(&Join::new("g").instance(name)));
    play.bed.pass(6_000);
    let ids = calls.map(|call| play.joined(call).member_id.to_string());
    play.sync("g", &ids[1], 1, &[]);
    play.sync("g", &ids[0], 1, &[(&ids[0], "of a"), (&ids[1], "of b")]);
    assert_eq!(play.state("g"), "Stable");
    (play, ids)
}

#[test]
fn a_static_member_that_restarts_keeps_its_assignment_without_a_rebalance() {
    for (version, skips) in [(5, false), (9, true)] {
        let (mut play, ids) = stable_static();
        let members = [("a", &ids[0], "of a", 1_000), ("b", &ids[1], "of b", 1_001)];
        for (instance, old, mine, call_id) in members {
            let join = Join::new("g").version(version).instance(instance);
            let call = play.join_by(&join, call_id);
            let told = play.joined(call);
            let new = told.member_id.to_string();
            assert_eq!((told.error_code, told.generation_id), (NONE, 1));
            assert_ne!(new, *old);
            assert_eq!(told.skip_assignment, skips && instance == "a");
            assert!(told.leader.as_str() != new || skips, "it must not assign");
            // nobody got the answer: the call comes again
            let again = play.join_by(&join, call_id);
            assert_eq!(play.joined(again).member_id.as_str(), new);
            assert_eq!(play.joined(again).skip_assignment, told.skip_assignment);
            let sync = play.sync("g", &new, 1, &[]);
            assert_eq!(play.synced(sync), (NONE, mine.as_bytes().to_vec()));
            assert_eq!(play.heartbeat("g", old, 1), 25);
        }
        assert_eq!((play.state("g"), play.generation("g")), ("Stable", 1));
    }
}

/// What it said before it restarted does not count twice.
#[test]
fn regression_a_static_member_that_says_much_restarts() {
    let mut play = Play::new();
    let large = Bytes::from(vec![0; 5 << 20]);
    let join = Join::new("g").instance("a").says(&[("range", large)]);
    let call = play.join(&join);
    play.bed.pass(6_000);
    let id = play.joined(call).member_id.to_string();
    play.sync("g", &id, 1, &[(&id, "of a")]);
    assert_eq!(play.state("g"), "Stable");
    let again = play.join(&join);
    let told = play.joined(again);
    assert_eq!((told.error_code, told.generation_id), (NONE, 1));
}

#[test]
fn regression_members_grow_no_more_when_the_budget_is_used_twice() {
    let (mut play, ids) = stable_static();
    let pages = play.bed.ledger.state.all_pages();
    let budgets = Budgets {
        group_bytes: 1,
        ..Budgets::default()
    };
    play.bed.ledger.state = State::from_pages(budgets, &pages).unwrap();
    let more = Join::new("g").member(&ids[1]).instance("b");
    let more = more.says(&[("range", Bytes::from(vec![0; 100]))]);
    let call = play.join(&more);
    assert_eq!(play.joined(call).error_code, 81);
    let same = Join::new("g").member(&ids[1]).instance("b");
    let call = play.join(&same);
    assert_eq!(play.joined(call).error_code, NONE);
    assert_eq!((play.state("g"), play.generation("g")), ("Stable", 1));
}

#[test]
fn a_static_member_that_restarts_with_another_choice_causes_a_rebalance() {
    let (mut play, ids) = stable_static();
    let join = Join::new("g").instance("b").protocols(&["sticky", "range"]);
    let call = play.join(&join);
    assert_eq!(
        play.joined(call).error_code,
        NONE,
        "range is yet the choice of all"
    );
    // "a" knows range only
    let join = Join::new("g").instance("a").protocols(&["sticky", "range"]);
    let call = play.join(&join);
    assert!(play.waits(call));
    assert_eq!(play.heartbeat("g", &ids[0], 1), 25);
    assert_eq!(play.state("g"), "PreparingRebalance");
}

#[test]
fn whoever_waits_under_a_static_members_old_id_is_fenced() {
    let (mut play, ids) = stable_static();
    let waits = play.join(&Join::new("g").instance("a").member(&ids[0]));
    assert!(play.waits(waits));
    let new = play.join(&Join::new("g").instance("a"));
    assert_eq!(play.joined(waits).error_code, 82);
    assert!(play.waits(new));
    let other = play.join(&Join::new("g").instance("b").member(&ids[1]));
    assert_eq!(play.joined(other).generation_id, 2);
    let id = play.joined(new).member_id.to_string();
    let sync = play.sync_as("g", &ids[0], Some("a"), 2, &[]);
    assert_eq!(play.synced(sync).0, 82);
    // it restarts when all have joined: another rebalance, or nobody would assign to it
    let newest = play.join(&Join::new("g").instance("a"));
    assert!(play.waits(newest));
    assert_ne!(id, ids[0]);
    assert_eq!(play.heartbeat("g", &ids[1], 2), 27);
}

#[test]
fn a_group_that_joins_when_another_leader_takes_over_goes_on() {
    let (mut play, ids) = stable(2);
    let join = Join::new("g").member(&ids[0]);
    let lost = play.join_by(&join, 77);
    assert!(play.waits(lost));
    play.bed.take_over();
    assert_eq!(play.heartbeat("g", &ids[1], 1), 27);
    let again = play.join_by(&join, 77);
    let other = play.join(&Join::new("g").member(&ids[1]));
    assert_eq!(play.joined(again).generation_id, 2);
    assert_eq!(play.joined(other).generation_id, 2);
}

#[test]
fn who_does_not_come_again_after_a_take_over_is_out() {
    let (mut play, ids) = stable(2);
    play.join(&Join::new("g").member(&ids[0]));
    play.bed.take_over();
    let other = play.join(&Join::new("g").member(&ids[1]).session(60_000));
    play.bed.pass(9_999);
    assert!(play.waits(other), "each has a whole session");
    play.bed.pass(1);
    let told = play.joined(other);
    assert_eq!((told.generation_id, told.members.len()), (2, 1));
}

#[test]
fn a_group_that_syncs_when_another_leader_takes_over_goes_on() {
    let (mut play, ids) = stable(2);
    let calls: Vec<_> = ids
        .iter()
        .map(|id| play.join(&Join::new("g").member(id)))
        .collect();
    let follower = play.sync("g", &ids[1], 2, &[]);
    play.bed.take_over();
    assert!(play.waits(follower));
    // an answer to a join was lost too: it is told again
    let again = play.join(&Join::new("g").member(&ids[0]));
    assert_eq!(play.joined(again), play.joined(calls[0]));
    let follower = play.sync("g", &ids[1], 2, &[]);
    let leader = play.sync("g", &ids[0], 2, &[(&ids[0], "a"), (&ids[1], "b")]);
    assert_eq!(play.synced(leader), (NONE, b"a".to_vec()));
    assert_eq!(play.synced(follower), (NONE, b"b".to_vec()));
}

#[test]
fn nobody_rebalances_because_another_leader_takes_over() {
    let (mut play, ids) = stable(2);
    play.bed.pass(9_000);
    play.bed.take_over();
    play.bed.pass(9_999);
    for id in &ids {
        assert_eq!(play.heartbeat("g", id, 1), NONE);
        let sync = play.sync("g", id, 1, &[]);
        assert_eq!(play.synced(sync), (NONE, id.as_bytes().to_vec()));
    }
}

#[test]
fn a_call_that_comes_again_takes_the_place_of_itself_and_ends_others() {
    let (mut play, ids) = stable(2);
    let join = Join::new("g").member(&ids[0]);
    let first = play.join_by(&join, 9);
    let second = play.join_by(&join, 9);
    assert!(play.waits(first) && play.waits(second));
    let other = play.join_by(&join, 10);
    assert_eq!(play.joined(second).error_code, 27);
    assert!(
        play.waits(other) && play.waits(first),
        "of the first nobody wants to know"
    );
    // a first join of an old version that comes again is the same member
    let old = Join::new("g").version(3).client("old");
    let before = play.join_by(&old, 11);
    let after = play.join_by(&old, 11);
    play.join(&Join::new("g").member(&ids[1]));
    assert_eq!(play.joined(after).generation_id, 2);
    assert!(play.waits(before));
    assert_eq!(play.joined(other).members.len(), 3);
}

#[test]
fn commits_are_checked_by_member_and_generation() {
    let (mut play, ids) = stable_static();
    let code = |play: &Play, id: &str, instance: Option<&str>, generation: i32| {
        let (_, group) = play.bed.ledger.state.group_by_name("g").unwrap();
        let checked = check_commit(group.classic().unwrap(), id, instance, generation);
        checked.err().map_or(0, |error| error.code())
    };
    assert_eq!(code(&play, &ids[0], None, 1), NONE);
    assert_eq!(code(&play, &ids[0], Some("a"), 1), NONE);
    assert_eq!(code(&play, &ids[0], Some("b"), 1), 82);
    assert_eq!(code(&play, &ids[0], Some("c"), 1), 25);
    assert_eq!(code(&play, "x", None, 1), 25);
    assert_eq!(code(&play, &ids[0], None, 0), 22);
    assert_eq!(code(&play, "", None, -1), 25, "somebody is in the group");
    play.join(&Join::new("g").instance("a").member(&ids[0]));
    assert_eq!(
        code(&play, &ids[1], None, 1),
        NONE,
        "who is to join may commit"
    );
    play.join(&Join::new("g").instance("b").member(&ids[1]));
    assert_eq!(code(&play, &ids[1], None, 2), 27);
    play.leave("g", &[("", Some("a")), ("", Some("b"))]);
    assert_eq!(play.state("g"), "Empty");
    assert_eq!(code(&play, "", None, -1), NONE);
    assert_eq!(code(&play, "x", None, -1), NONE);
    assert_eq!(code(&play, "x", None, 3), 25);
}
