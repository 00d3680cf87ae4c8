//! Classic groups: every error, and what members see of a rebalance.

use kafka_protocol::messages::{HeartbeatRequest, SyncGroupRequest};

use super::play::{Join, Play, group_id, stable, strings, text};
use crate::{
    coordinator::Ledger,
    event::{Event, group::ClassicState},
};

const NONE: i16 = 0;

#[test]
fn a_first_join_is_told_its_id_and_comes_again() {
    let mut play = Play::new();
    let rows = play.bed.ledger.rows;
    let first = play.join_by(&Join::new("g"), 7);
    let told = play.joined(first);
    assert_eq!(told.error_code, 79);
    let uuid = "00000000-0000-0000-0000-000000000007";
    assert_eq!(told.member_id.as_str(), format!("test-{uuid}"));
    assert_eq!(play.bed.ledger.rows, rows, "nothing happened yet");
    // the same call again is told the same
    let again = play.join_by(&Join::new("g"), 7);
    assert_eq!(play.joined(again), told);
    let id = told.member_id.to_string();
    let second = play.join(&Join::new("g").member(&id));
    assert!(play.waits(second));
    play.bed.pass(3_000);
    let joined = play.joined(second);
    assert_eq!((joined.error_code, joined.generation_id), (NONE, 1));
    assert_eq!(
        (joined.leader.as_str(), joined.members.len()),
        (id.as_str(), 1)
    );
}

#[test]
fn an_id_that_is_not_used_in_time_is_forgotten() {
    let mut play = Play::new();
    let first = play.join(&Join::new("g"));
    let id = play.joined(first).member_id.to_string();
    play.bed.pass(10_000);
    let late = play.join(&Join::new("g").member(&id));
    assert_eq!(play.joined(late).error_code, 25);
}

#[test]
fn a_group_waits_for_those_that_were_told_their_ids() {
    let (mut play, ids) = stable(1);
    let told = play.join(&Join::new("g").client("new"));
    let id = play.joined(told).member_id.to_string();
    let leader = play.join(&Join::new("g").member(&ids[0]));
    assert!(play.waits(leader));
    let new = play.join(&Join::new("g").member(&id));
    assert_eq!(play.joined(leader).generation_id, 2);
    assert_eq!(play.joined(new).generation_id, 2);
    assert_eq!(play.joined(leader).members.len(), 2);
    assert_eq!(play.joined(new).members.len(), 0);
}

#[test]
fn joins_are_refused_as_by_kafka() {
    let (mut play, ids) = stable(1);
    let fixed = play.join(&Join::new("s").instance("i"));
    play.bed.pass(3_000);
    let fixed = play.joined(fixed).member_id.to_string();
    let long = "g".repeat(1_025);
    let empty = Join::new("new").version(3);
    let cases = [
        ("no group id", Join::new(""), 24),
        ("an endless group id", Join::new(&long), 24),
        ("a session too short", Join::new("g").session(5_999), 26),
        ("a session too long", Join::new("g").session(1_800_001), 26),
        ("a member of no group", Join::new("no").member("x"), 25),
        ("a member of another group", Join::new("g").member("x"), 25),
        ("no protocol type", empty.clone().kind(""), 23),
        ("no protocol", empty.clone().protocols(&[]), 23),
        ("another protocol type", Join::new("g").kind("connect"), 23),
        ("another protocol", Join::new("g").protocols(&["own"]), 23),
        (
            "a member's other protocol",
            Join::new("g").member(&ids[0]).protocols(&["own"]),
            23,
        ),
        (
            "an instance that is not there",
            Join::new("g").member(&ids[0]).instance("i"),
            25,
        ),
        (
            "an instance of another id",
            Join::new("s").member("x").instance("i"),
            82,
        ),
        ("an endless instance", Join::new("new").instance(&long), 42),
    ];
    let rows = play.bed.ledger.rows;
    for (what, join, code) in cases {
        let call = play.join(&join);
        assert_eq!(play.joined(call).error_code, code, "{what}");
    }
    assert_eq!(play.bed.ledger.rows, rows, "a refusal changes nothing");
    let again = play.join(&Join::new("s").member(&fixed).instance("i"));
    assert_eq!(
        play.joined(again).error_code,
        NONE,
        "but this one is who it says"
    );
}

#[test]
fn the_oldest_version_has_its_session_timeout_to_join() {
    let mut play = Play::new();
    let call = play.join(&Join::new("g").version(0).session(20_000).rebalance(-1));
    play.bed.pass(3_000);
    assert_eq!(play.joined(call).error_code, NONE);
    let (_, group) = play.bed.ledger.state.group_by_name("g").unwrap();
    let members = &group.classic().unwrap().members;
    let timeouts: Vec<_> = members
        .values()
        .map(|e| e.member.rebalance_timeout_ms)
        .collect();
    assert_eq!(timeouts, [20_000]);
}

#[test]
fn the_first_generation_waits_for_more_members_as_long_as_they_come() {
    let mut play = Play::new();
    let join = Join::new("g").version(3).rebalance(10_000);
    let first = play.join(&join.clone().client("a"));
    play.bed.pass(2_000);
    let second = play.join(&join.clone().client("b"));
    play.bed.pass(3_999);
    assert!(
        play.waits(first) && play.waits(second),
        "it came after 2 of 3 s"
    );
    play.bed.pass(1);
    assert_eq!(play.joined(first).members.len(), 2);
    // they come without end: the rebalance timeout is the end
    let mut play = Play::new();
    let first = play.join(&join.clone().client("a"));
    for number in 0..9 {
        play.bed.pass(1_000);
        play.join(&join.clone().client(&format!("b{number}")));
    }
    assert!(play.waits(first));
    play.bed.pass(1_000);
    assert_eq!(play.joined(first).members.len(), 10);
}

#[test]
fn followers_wait_for_the_leaders_assignment() {
    let (mut play, ids) = stable(2);
    let joins = ids.iter().map(|id| Join::new("g").member(id));
    let calls: Vec<_> = joins.map(|join| play.join(&join)).collect();
    let told = play.joined(calls[0]);
    assert_eq!((told.generation_id, told.members.len()), (2, 2));
    assert_eq!(told.protocol_type.unwrap().as_str(), "consumer");
    assert_eq!(told.protocol_name.unwrap().as_str(), "range");
    assert_eq!(play.state("g"), "CompletingRebalance");
    let follower = play.sync("g", &ids[1], 2, &[]);
    assert!(play.waits(follower));
    assert_eq!(play.heartbeat("g", &ids[1], 2), NONE);
    // who is not named has nothing, who is no member neither
    let leader = play.sync("g", &ids[0], 2, &[(&ids[0], "all"), ("stranger", "some")]);
    assert_eq!(play.synced(leader), (NONE, b"all".to_vec()));
    assert_eq!(play.synced(follower), (NONE, Vec::new()));
    assert_eq!(play.state("g"), "Stable");
    let late = play.sync("g", &ids[0], 2, &[]);
    assert_eq!(play.synced(late), (NONE, b"all".to_vec()));
}

#[test]
fn syncs_are_refused_as_by_kafka() {
    let (mut play, ids) = stable(1);
    let sync = |group: &str, id: &str, generation: i32| {
        SyncGroupRequest::default()
            .with_group_id(group_id(group))
            .with_member_id(text(id))
            .with_generation_id(generation)
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
    };
    let id = ids[0].as_str();
    let cases = [
        ("no group id", 5, sync("", id, 1), 24),
        ("no group", 5, sync("no", id, 1), 25),
        ("no member", 5, sync("g", "x", 1), 25),
        ("an earlier generation", 5, sync("g", id, 0), 22),
        ("a later generation", 5, sync("g", id, 2), 22),
        (
            "another type",
            5,
            sync("g", id, 1).with_protocol_type(Some(text("x"))),
            23,
        ),
        (
            "another protocol",
            5,
            sync("g", id, 1).with_protocol_name(Some(text("x"))),
            23,
        ),
        (
            "a protocol must be named",
            5,
            sync("g", id, 1).with_protocol_name(None),
            23,
        ),
        (
            "but not by old versions",
            4,
            sync("g", id, 1).with_protocol_name(None),
            NONE,
        ),
        (
            "no such instance",
            5,
            sync("g", id, 1).with_group_instance_id(Some(text("i"))),
            25,
        ),
        ("all is well", 5, sync("g", id, 1), NONE),
    ];
    let rows = play.bed.ledger.rows;
    for (what, version, request, code) in cases {
        let call = play.sync_request(version, request);
        assert_eq!(play.synced(call).0, code, "{what}");
    }
    assert_eq!(play.bed.ledger.rows, rows);
}

#[test]
fn heartbeats_are_answered_as_by_kafka_and_change_nothing() {
    let (mut play, ids) = stable(2);
    let rows = play.bed.ledger.rows;
    assert_eq!(play.heartbeat("", &ids[0], 1), 24);
    assert_eq!(play.heartbeat("no", &ids[0], 1), 25);
    assert_eq!(play.heartbeat("g", "x", 1), 25);
    assert_eq!(play.heartbeat("g", &ids[0], 0), 22);
    let as_instance = HeartbeatRequest::default()
        .with_group_id(group_id("g"))
        .with_member_id(text(&ids[0]))
        .with_group_instance_id(Some(text("i")))
        .with_generation_id(1);
    assert_eq!(play.heartbeat_request(&as_instance), 25);
    for _ in 0..20 {
        play.bed.pass(9_000);
        assert_eq!(play.heartbeat("g", &ids[0], 1), NONE);
        assert_eq!(play.heartbeat("g", &ids[1], 1), NONE);
    }
    assert_eq!(play.bed.ledger.rows, rows, "a heartbeat costs no event");
    let leader = play.join(&Join::new("g").member(&ids[0]));
    assert!(play.waits(leader));
    assert_eq!(play.heartbeat("g", &ids[1], 1), 27);
}

#[test]
fn a_silent_member_is_out_and_the_others_rebalance() {
    let (mut play, ids) = stable(2);
    play.bed.pass(9_000);
    assert_eq!(play.heartbeat("g", &ids[0], 1), NONE);
    play.bed.pass(1_000);
    assert_eq!(play.heartbeat("g", &ids[1], 1), 25);
    assert_eq!(play.heartbeat("g", &ids[0], 1), 27);
    let leader = play.join(&Join::new("g").member(&ids[0]));
    assert_eq!(play.joined(leader).members.len(), 1);
}

#[test]
fn the_last_member_leaves_an_empty_group_of_another_generation() {
    let (mut play, _) = stable(1);
    play.bed.pass(10_000);
    assert_eq!((play.state("g"), play.generation("g")), ("Empty", 2));
    let again = play.join(&Join::new("g").version(3));
    play.bed.pass(3_000);
    assert_eq!(play.joined(again).generation_id, 3);
}

#[test]
fn who_does_not_join_in_time_is_out_unless_it_is_static() {
    let mut play = Play::new();
    let fixed = play.join(&Join::new("g").instance("i").client("a").session(200_000));
    let moving = play.join(&Join::new("g").version(3).client("b").session(200_000));
    let third = play.join(&Join::new("g").version(3).client("c").session(200_000));
    play.bed.pass(6_000);
    let ids = [fixed, moving, third].map(|call| play.joined(call).member_id.to_string());
    let all: Vec<_> = ids.iter().map(|id| (id.as_str(), "x")).collect();
    let leader = play.joined(fixed).leader.to_string();
    for id in ids.iter().filter(|id| **id != leader) {
        play.sync("g", id, 1, &[]);
    }
    play.sync("g", &leader, 1, &all);
    let joined = play.join(
        &Join::new("g")
            .member(&ids[2])
            .session(200_000)
            .protocols(&["range", "b"]),
    );
    play.bed.pass(59_999);
    assert!(play.waits(joined));
    play.bed.pass(1);
    let told = play.joined(joined);
    assert_eq!((told.error_code, told.generation_id), (NONE, 2));
    // the leader did not come, one that did leads
    assert_eq!(told.leader.as_str(), ids[2]);
    let mut members: Vec<_> = told
        .members
        .iter()
        .map(|m| m.member_id.to_string())
        .collect();
    members.sort();
    let mut expected = vec![ids[0].clone(), ids[2].clone()];
    expected.sort();
    assert_eq!(members, expected);
}

#[test]
fn who_does_not_sync_in_time_is_out() {
    let mut play = Play::new();
    let join = Join::new("g").version(3).session(200_000);
    let calls = ["a", "b"].map(|client| play.join(&join.clone().client(client)));
    play.bed.pass(6_000);
    let leader = play.joined(calls[0]).member_id.to_string();
    let other = play.joined(calls[1]).member_id.to_string();
    let waits = play.sync("g", &other, 1, &[]);
    play.bed.pass(59_999);
    assert!(play.waits(waits));
    play.bed.pass(1);
    assert_eq!(play.synced(waits).0, 27);
    assert_eq!(play.heartbeat("g", &leader, 1), 25);
    let again = play.join(&Join::new("g").member(&other).session(200_000));
    assert_eq!(play.joined(again).members.len(), 1);
}

#[test]
fn members_leave_together_and_each_is_answered() {
    let (mut play, ids) = stable(3);
    let fixed = play.join(&Join::new("g").instance("i").client("z"));
    for id in &ids {
        play.join(&Join::new("g").member(id));
    }
    let fixed = play.joined(fixed).member_id.to_string();
    let waits = play.sync("g", &ids[1], 2, &[]);
    let told = play.join(&Join::new("g").client("new"));
    let pending = play.joined(told).member_id.to_string();
    let codes = play.leave(
        "g",
        &[
            (&ids[1], None),
            (&ids[1], None),
            ("x", None),
            ("", None),
            (&fixed, Some("other")),
            ("x", Some("i")),
            ("", Some("i")),
            (&pending, None),
        ],
    );
    assert_eq!(codes, [NONE, 25, 25, 25, 25, 82, NONE, NONE]);
    assert_eq!(play.synced(waits).0, 25, "nobody waits for ever");
    assert_eq!(play.state("g"), "PreparingRebalance");
    assert_eq!(play.leave("no", &[("x", None)]), [25]);
    assert_eq!(play.leave_code(""), 24);
    let left = play.join(&Join::new("g").member(&ids[0]));
    assert!(play.waits(left));
    assert_eq!(play.leave("g", &[(&ids[2], None)]), [NONE]);
    assert_eq!(play.joined(left).members.len(), 1);
}

#[test]
fn a_member_that_leaves_while_it_waits_is_answered() {
    let (mut play, ids) = stable(2);
    let waits = play.join(&Join::new("g").member(&ids[0]));
    assert!(play.waits(waits));
    assert_eq!(play.leave("g", &[(&ids[0], None)]), [NONE]);
    let told = play.joined(waits);
    assert_eq!((told.error_code, told.member_id.as_str()), (25, ""));
}

#[test]
fn only_the_leader_or_another_subscription_causes_a_rebalance() {
    let (mut play, ids) = stable(2);
    let follower = play.join(&Join::new("g").member(&ids[1]));
    let told = play.joined(follower);
    assert_eq!((told.error_code, told.generation_id), (NONE, 1));
    let other = Join::new("g").member(&ids[1]).protocols(&["range", "more"]);
    let changed = play.join(&other);
    assert!(play.waits(changed));
    let leader = play.join(&Join::new("g").member(&ids[0]));
    assert_eq!(play.joined(leader).generation_id, 2);
    assert_eq!(play.joined(changed).generation_id, 2);
    // its answer was lost: it is told again
    let again = play.join(&other);
    assert_eq!(play.joined(again).generation_id, 2);
}

#[test]
fn a_change_while_members_sync_lets_all_join_again() {
    let (mut play, ids) = stable(2);
    for id in &ids {
        play.join(&Join::new("g").member(id));
    }
    let waits = play.sync("g", &ids[1], 2, &[]);
    let changed = play.join(&Join::new("g").member(&ids[0]).protocols(&["range", "more"]));
    assert_eq!(play.synced(waits).0, 27);
    assert!(play.waits(changed));
}

#[test]
fn fifty_members_join_one_by_one_and_each_holds_its_share() {
    let (play, ids) = stable(50);
    let (_, group) = play.bed.ledger.state.group_by_name("g").unwrap();
    let group = group.classic().unwrap();
    assert_eq!(group.members.len(), 50);
    for id in &ids {
        assert_eq!(group.members[id.as_str()].assignment, id.as_bytes());
    }
    // and one by one in a group that has members
    let (mut play, mut ids) = stable(1);
    for number in 1..50 {
        let join = Join::new("g").version(3).client(&format!("n{number:02}"));
        let new = play.join(&join);
        let others: Vec<_> = ids
            .iter()
            .map(|id| play.join(&Join::new("g").member(id)))
            .collect();
        let told = play.joined(new);
        assert_eq!(told.generation_id, 1 + number);
        assert!(others.iter().all(|call| !play.waits(*call)));
        ids.push(told.member_id.to_string());
        let leader = told.leader.to_string();
        let all: Vec<_> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
        for id in ids.iter().filter(|id| **id != leader) {
            play.sync("g", id, 1 + number, &[]);
        }
        let sync = play.sync("g", &leader, 1 + number, &all);
        assert_eq!(play.synced(sync), (NONE, leader.into_bytes()));
    }
    assert!(
        play.bed
            .coordinator
            .parked
            .joiners(play.number("g"))
            .is_empty()
    );
    assert!(
        play.bed
            .coordinator
            .parked
            .syncers(play.number("g"))
            .is_empty()
    );
}

#[test]
fn a_group_has_at_most_so_many_members() {
    let (mut play, ids) = stable(2);
    play.configure("group.max.size", "2");
    let new = play.join(&Join::new("g").version(3).client("new"));
    let told = play.joined(new);
    assert_eq!((told.error_code, told.member_id.as_str()), (81, ""));
    // members that are in it may join; while a rebalance is prepared the last ones to come are out
    play.configure("group.max.size", "1");
    let first = play.join(&Join::new("g").member(&ids[0]));
    assert!(play.waits(first));
    let second = play.join(&Join::new("g").member(&ids[1]));
    assert_eq!(play.joined(second).error_code, 81);
    assert_eq!(play.joined(first).members.len(), 1);
}

#[test]
fn assignments_that_are_too_large_are_refused_and_another_rebalance_begins() {
    let (mut play, ids) = stable(2);
    for id in &ids {
        play.join(&Join::new("g").member(id));
    }
    let follower = play.sync("g", &ids[1], 2, &[]);
    let large = "x".repeat(9 * 1024 * 1024);
    let leader = play.sync("g", &ids[0], 2, &[(&ids[0], large.as_str())]);
    assert_eq!(play.synced(leader).0, -1);
    assert_eq!(play.synced(follower).0, -1);
    assert_eq!(play.state("g"), "PreparingRebalance");
}

#[test]
fn groups_are_described_and_listed() {
    let (mut play, ids) = stable(1);
    let name = "simple".to_owned();
    let group = play.bed.ledger.state.next_group();
    play.bed.ledger.apply(Event::GroupCreated { group, name });
    let groups = play.describe(&["g", "simple", "no"]);
    let member = &groups[0].members[0];
    assert_eq!(
        (groups[0].error_code, groups[0].group_state.as_str()),
        (NONE, "Stable")
    );
    assert_eq!(groups[0].protocol_type.as_str(), "consumer");
    assert_eq!(groups[0].protocol_data.as_str(), "range");
    assert_eq!(
        (member.member_id.as_str(), member.client_id.as_str()),
        (ids[0].as_str(), "c000")
    );
    assert_eq!(member.client_host.as_str(), "/127.0.0.1");
    assert_eq!(member.member_assignment, ids[0].as_bytes());
    assert!(!member.member_metadata.is_empty());
    assert_eq!(groups[1].group_state.as_str(), "Empty");
    assert_eq!(
        (groups[2].error_code, groups[2].group_state.as_str()),
        (69, "Dead")
    );
    assert_eq!(
        groups[2].error_message.as_ref().unwrap().as_str(),
        "Group no not found."
    );
    let names = |play: &Play, states: &[&str], types: &[&str]| {
        let groups = play.list(strings(states), strings(types));
        groups
            .iter()
            .map(|g| g.group_id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&play, &[], &[]), ["g", "simple"]);
    assert_eq!(names(&play, &["sTABLE "], &[]), ["g"]);
    assert_eq!(
        names(&play, &["Empty", "Stable"], &["Classic"]),
        ["g", "simple"]
    );
    assert!(names(&play, &[], &["consumer"]).is_empty());
    assert!(names(&play, &["nonsense"], &[]).is_empty());
    assert!(names(&play, &[], &["nonsense"]).is_empty());
    // what members say is shown with a stable group only
    play.join(&Join::new("g").member(&ids[0]).protocols(&["range", "more"]));
    let described = play.describe(&["g"]);
    assert_eq!(
        described[0].group_state.as_str(),
        ClassicState::CompletingRebalance.name()
    );
    assert!(described[0].protocol_data.is_empty());
    assert!(described[0].members[0].member_metadata.is_empty());
}
