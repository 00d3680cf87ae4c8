//! What Kafka's group members expect, as raw requests against a running broker: member ids, generations and epochs,
//! static members, fencing, chained rebalances, server-side assignment, committed offsets.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aquifer_tests::{
    broker::DevBroker,
    groups::{Classic, Modern, assigned, code, commit, settle, subscription, text},
    wire::Connection,
};
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, JoinGroupRequest,
};

const TOPIC: &str = "consumed";
const PARTITIONS: i32 = 6;
/// A first generation waits for others for a moment; consumer groups' sessions are short.
const BROKER: &str = "group.initial.rebalance.delay.ms=400;\
    group.consumer.min.session.timeout.ms=6000;group.consumer.session.timeout.ms=6000";

fn start() -> DevBroker {
    let broker = DevBroker::start_with(&[("AQUIFER_BROKER_CONFIG", BROKER)]);
    Connection::open(broker.address()).create_topic(TOPIC, PARTITIONS, &[]);
    broker
}

fn members(broker: &DevBroker, group: &str, count: usize) -> Vec<(Connection, Classic)> {
    let one = |_| {
        let connection = Connection::open(broker.address());
        (connection, Classic::new(group, TOPIC))
    };
    (0..count).map(one).collect()
}

#[test]
fn classic_groups() {
    let broker = start();
    a_first_join_is_told_its_id_and_comes_again(&broker);
    who_is_not_in_the_generation_is_told_why(&broker);
    members_hear_of_a_rebalance_by_heartbeat(&broker);
    a_static_member_that_restarts_keeps_its_assignment_and_moves_nobody(&broker);
    chained_rebalances_of_many_members_end_with_every_member_holding_its_share(&broker);
    a_silent_member_is_removed_after_its_session(&broker);
}

fn a_first_join_is_told_its_id_and_comes_again(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    let mut member = Classic::new("first", TOPIC);
    for version in [4, 9] {
        let answer = connection.call(version, &member.join());
        assert_eq!(answer.error_code, code::MEMBER_ID_REQUIRED, "{version}");
        let id = answer.member_id.to_string();
        assert!(id.starts_with("aquifer-tests-"), "{id}");
    }
    let answer = connection.call(3, &member.join());
    assert_eq!(answer.error_code, 0, "older ones do not know the code");
    assert_eq!(answer.leader, answer.member_id);
    assert_eq!(answer.generation_id, 1);
    member.joined(&answer);
    connection.call(5, &member.leave());
    member.id = "nobody".to_owned();
    let answer = connection.call(9, &member.join());
    assert_eq!(answer.error_code, code::UNKNOWN_MEMBER_ID);
    let answer = connection.call(9, &Classic::new("", TOPIC).join());
    assert_eq!(answer.error_code, code::INVALID_GROUP_ID);
    let mut hasty = Classic::new("hasty", TOPIC);
    hasty.session_timeout_ms = 1;
    let answer = connection.call(9, &hasty.join());
    assert_eq!(answer.error_code, code::INVALID_SESSION_TIMEOUT);
}

fn who_is_not_in_the_generation_is_told_why(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    let mut member = Classic::new("fenced", TOPIC).called("fixed");
    connection.alone(&mut member, TOPIC, &[0, 1]);
    type Change = fn(&mut Classic);
    let changes: [(Change, i16); 7] = [
        (|_| (), 0),
        (|m| m.generation += 1, code::ILLEGAL_GENERATION),
        (|m| m.generation -= 1, code::ILLEGAL_GENERATION),
        (|m| m.id = "nobody".to_owned(), code::FENCED_INSTANCE_ID),
        (
            |m| (m.id, m.instance) = ("nobody".to_owned(), None),
            code::UNKNOWN_MEMBER_ID,
        ),
        (
            |m| m.instance = Some("other".to_owned()),
            code::UNKNOWN_MEMBER_ID,
        ),
        (|m| m.group = "nowhere".to_owned(), code::UNKNOWN_MEMBER_ID),
    ];
    for (change, expected) in changes {
        let mut other = member.clone();
        change(&mut other);
        let codes = [
            connection.call(4, &other.heartbeat()).error_code,
            connection.call(5, &other.sync(&[])).error_code,
        ];
        assert_eq!(codes, [expected; 2], "{other:?}");
        if other.group == member.group {
            let code = connection.commit(&other.commit(TOPIC, 0, 4));
            assert_eq!(code, expected, "a commit of {other:?}");
        }
    }
    let mut other = Classic::new("fenced", TOPIC);
    other.kind = "connect".to_owned();
    let answer = connection.call(3, &other.join());
    assert_eq!(answer.error_code, code::INCONSISTENT_GROUP_PROTOCOL);
    let long = commit("alone", ("", -1), TOPIC, &[(0, 1)]);
    let mut too_long = long.clone();
    too_long.topics[0].partitions[0].committed_metadata = Some(text(&"x".repeat(4_097)));
    assert_eq!(
        connection.commit(&too_long),
        code::OFFSET_METADATA_TOO_LARGE
    );
    assert_eq!(connection.commit(&long), 0);
    assert_eq!(connection.committed("alone", TOPIC, 0), 1);
}

fn members_hear_of_a_rebalance_by_heartbeat(broker: &DevBroker) {
    let mut all = members(broker, "heard", 2);
    let got = settle(&mut all, TOPIC, PARTITIONS);
    assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    let generation = all[0].1.generation;
    let (mut third, mut new) = members(broker, "heard", 1).remove(0);
    third.member_id(&mut new);
    let sent = third.send(9, &new.join());
    for (connection, member) in &mut all {
        let begun = Instant::now();
        while connection.call(4, &member.heartbeat()).error_code != code::REBALANCE_IN_PROGRESS {
            assert!(begun.elapsed() < Duration::from_secs(5), "a rebalance");
        }
        let synced = connection.call(5, &member.sync(&[])).error_code;
        assert_eq!(synced, code::REBALANCE_IN_PROGRESS);
        // what was read before the rebalance may be committed
        assert_eq!(connection.commit(&member.commit(TOPIC, 0, 9)), 0);
    }
    let joins: Vec<i32> = all
        .iter_mut()
        .map(|(connection, member)| connection.send(9, &member.join()))
        .collect();
    let answer = third.receive::<JoinGroupRequest>(9, sent);
    assert_eq!(
        (answer.error_code, answer.generation_id),
        (0, generation + 1)
    );
    for ((connection, member), sent) in all.iter_mut().zip(joins) {
        let answer = connection.receive::<JoinGroupRequest>(9, sent);
        assert_eq!(
            (answer.error_code, answer.generation_id),
            (0, generation + 1)
        );
        let late = connection.commit(&member.commit(TOPIC, 0, 99));
        assert_eq!(late, code::ILLEGAL_GENERATION, "of the generation before");
    }
}

fn a_static_member_that_restarts_keeps_its_assignment_and_moves_nobody(broker: &DevBroker) {
    let mut all = members(broker, "static", 2);
    for (place, (_, member)) in all.iter_mut().enumerate() {
        member.instance = Some(format!("fixed-{place}"));
    }
    let got = settle(&mut all, TOPIC, PARTITIONS);
    let generation = all[0].1.generation;
    for place in [0, 1] {
        let before = all[place].1.id.clone();
        let mut connection = Connection::open(broker.address());
        let mut back = all[place].1.clone();
        back.id.clear();
        let answer = connection.call(9, &back.join());
        assert_eq!((answer.error_code, answer.generation_id), (0, generation));
        back.joined(&answer);
        assert_ne!(back.id, before, "it is told apart from the one before");
        let answer = connection.call(5, &back.sync(&[]));
        assert_eq!(
            (answer.error_code, assigned(answer.assignment)),
            (0, got[place].clone())
        );
        let (old, member) = &mut all[place];
        let fenced = old.call(4, &member.heartbeat()).error_code;
        assert_eq!(fenced, code::FENCED_INSTANCE_ID, "the one before is gone");
        all[place] = (connection, back);
        for (connection, member) in &mut all {
            assert_eq!(connection.call(4, &member.heartbeat()).error_code, 0);
        }
    }
}

fn chained_rebalances_of_many_members_end_with_every_member_holding_its_share(broker: &DevBroker) {
    const MANY: i32 = 24;
    let mut connection = Connection::open(broker.address());
    connection.create_topic("many", MANY, &[]);
    let mut all: Vec<(Connection, Classic)> = Vec::new();
    for count in [6, 8, 12] {
        let more = members(broker, "chained", count - all.len());
        all.extend(more);
        for (place, (_, member)) in (0..).zip(&mut all) {
            // each says something new, so that each takes part
            let new = subscription(
                &["many"],
                &[("many", &[place, i32::try_from(count).expect("few")])],
            );
            member.protocols = vec![("range".to_owned(), new)];
        }
        let got = settle(&mut all, "many", MANY);
        let lengths: BTreeSet<usize> = got.iter().map(Vec::len).collect();
        assert_eq!(lengths, BTreeSet::from([24 / count]), "{got:?}");
        let held: BTreeSet<i32> = got.into_iter().flatten().collect();
        assert_eq!(held, (0..MANY).collect());
        assert_eq!(connection.described("chained").members.len(), count);
    }
}

fn a_silent_member_is_removed_after_its_session(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    let mut member = Classic::new("silent", TOPIC);
    member.session_timeout_ms = 6_000;
    connection.alone(&mut member, TOPIC, &[0]);
    assert_eq!(
        connection.described("silent").group_state.as_str(),
        "Stable"
    );
    std::thread::sleep(Duration::from_millis(6_500));
    assert_eq!(connection.described("silent").group_state.as_str(), "Empty");
    let code = connection.call(4, &member.heartbeat()).error_code;
    assert_eq!(code, code::UNKNOWN_MEMBER_ID);
}

fn beat(
    connection: &mut Connection,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    connection.call(1, request)
}

/// Heartbeats until everybody has what they are to have.
fn rounds(connection: &mut Connection, members: &mut [Modern]) {
    for _ in 0..4 {
        for member in &mut *members {
            let answer = beat(connection, &member.heartbeat());
            assert_eq!(answer.error_code, 0, "{answer:?}");
            member.heard(&answer);
        }
    }
}

#[test]
fn consumer_groups() {
    let broker = start();
    epochs_are_what_members_are_told_apart_by(&broker);
    partitions_are_given_up_before_others_get_them(&broker);
    static_members_leave_for_now(&broker);
    subscriptions_by_expression_follow_topics(&broker);
    assignors_are_those_of_the_broker(&broker);
    a_group_moves_between_the_protocols(&broker);
}

fn epochs_are_what_members_are_told_apart_by(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    let mut member = Modern::new("epochs", "one", TOPIC);
    let answer = beat(&mut connection, &member.heartbeat());
    assert_eq!((answer.error_code, answer.member_epoch), (0, 1));
    assert_eq!(answer.member_id, Some(text("one")));
    member.heard(&answer);
    assert_eq!(member.indexes(), [0, 1, 2, 3, 4, 5]);
    let idle = beat(&mut connection, &member.beat());
    assert_eq!((idle.error_code, idle.member_epoch), (0, 1));
    assert_eq!(idle.assignment, None, "nothing changed");
    type Change = fn(&mut Modern);
    let changes: [(Change, i16); 2] = [
        (|m| m.epoch += 1, code::FENCED_MEMBER_EPOCH),
        (|m| m.id = "nobody".to_owned(), code::UNKNOWN_MEMBER_ID),
    ];
    for (change, expected) in changes {
        let mut other = member.clone();
        change(&mut other);
        assert_eq!(beat(&mut connection, &other.beat()).error_code, expected);
    }
    let commits = commit("epochs", ("one", 1), TOPIC, &[(0, 3)]);
    assert_eq!(connection.commit(&commits), 0);
    let stale = commit("epochs", ("one", 2), TOPIC, &[(0, 4)]);
    assert_eq!(connection.commit(&stale), code::STALE_MEMBER_EPOCH);
    // The previous epoch is accepted, as the answer may have been lost.
    let previous = member.clone();
    let mut second = Modern::new("epochs", "two", TOPIC);
    second.heard(&beat(&mut connection, &second.heartbeat()));
    member.heard(&beat(&mut connection, &member.beat()));
    let answer = beat(&mut connection, &member.heartbeat());
    assert_eq!(
        (answer.error_code, answer.member_epoch),
        (0, 2),
        "it gave up"
    );
    let mut again = previous;
    again.owned.clone_from(&member.owned);
    let answer = beat(&mut connection, &again.heartbeat());
    assert_eq!((answer.error_code, answer.member_epoch), (0, 2));
    member.heard(&answer);
    member.epoch = -1;
    let answer = beat(&mut connection, &member.beat());
    assert_eq!((answer.error_code, answer.member_epoch), (0, -1));
}

fn partitions_are_given_up_before_others_get_them(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    let mut first = Modern::new("handed", "one", TOPIC);
    first.heard(&beat(&mut connection, &first.heartbeat()));
    let mut second = Modern::new("handed", "two", TOPIC);
    second.heard(&beat(&mut connection, &second.heartbeat()));
    assert_eq!(second.indexes(), [0; 0]);
    // It is told to give some up, and has not said that it did: nobody gets them.
    let has = first.owned.clone();
    let told = beat(&mut connection, &first.heartbeat());
    second.heard(&beat(&mut connection, &second.heartbeat()));
    assert_eq!(second.indexes(), [0; 0]);
    first.heard(&told);
    assert!(first.owned.is_subset(&has) && first.owned.len() == 3);
    let mut both = [first, second];
    rounds(&mut connection, &mut both);
    let owned: BTreeSet<_> = both.iter().flat_map(|m| m.indexes()).collect();
    assert_eq!(owned.len(), 6);
    assert_eq!(both[1].owned.len(), 3);
    assert_eq!(both[0].epoch, both[1].epoch);
}

fn static_members_leave_for_now(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    let fixed = |id: &str, instance: &str| {
        let mut member = Modern::new("fixed", id, TOPIC);
        member.instance = Some(instance.to_owned());
        member
    };
    let mut both = [fixed("one", "first"), fixed("two", "second")];
    rounds(&mut connection, &mut both);
    let [mut one, mut two] = both;
    let another = fixed("three", "first");
    let answer = beat(&mut connection, &another.heartbeat());
    assert_eq!(answer.error_code, code::UNRELEASED_INSTANCE_ID);
    let mut stranger = one.clone();
    stranger.id = "three".to_owned();
    let answer = beat(&mut connection, &stranger.beat());
    assert_eq!(answer.error_code, code::FENCED_INSTANCE_ID);
    let (had, epoch) = (one.owned.clone(), one.epoch);
    one.epoch = -2;
    let answer = beat(&mut connection, &one.beat());
    assert_eq!((answer.error_code, answer.member_epoch), (0, -2));
    two.heard(&beat(&mut connection, &two.heartbeat()));
    assert_eq!((two.owned.len(), two.epoch), (3, epoch), "nobody moves");
    let mut back = another;
    back.heard(&beat(&mut connection, &back.heartbeat()));
    assert_eq!((&back.owned, back.epoch), (&had, epoch));
    two.heard(&beat(&mut connection, &two.heartbeat()));
    assert_eq!((two.owned.len(), two.epoch), (3, epoch), "nobody moves");
}

fn subscriptions_by_expression_follow_topics(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    let member = Modern::new("matching", "one", TOPIC);
    let by = |expression: &str, epoch: i32| {
        let mut member = member.clone();
        (member.epoch, member.topics) = (epoch, Vec::new());
        let request = member.heartbeat();
        request.with_subscribed_topic_regex(Some(text(expression)))
    };
    let answer = beat(&mut connection, &by("[", 0));
    assert_eq!(answer.error_code, code::INVALID_REGULAR_EXPRESSION);
    let mut follows = member.clone();
    let begun = Instant::now();
    // Kafka resolves it later, so that the first answer need not have everything.
    follows.heard(&beat(&mut connection, &by("log-.*", 0)));
    assert_eq!(follows.indexes(), [0; 0]);
    for (topic, partitions) in [("log-a", 2), ("a-log-b", 2), ("log-c", 1)] {
        connection.create_topic(topic, partitions, &[]);
    }
    while follows.owned.len() != 3 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{follows:?}");
        let answer = beat(&mut connection, &follows.beat());
        assert_eq!(answer.error_code, 0, "{answer:?}");
        follows.heard(&answer);
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn assignors_are_those_of_the_broker(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    let by = |group: &str, id: &str, assignor: &str| {
        let request = Modern::new(group, id, TOPIC).heartbeat();
        request.with_server_assignor(Some(text(assignor)))
    };
    let answer = beat(&mut connection, &by("none", "one", "crowd"));
    assert_eq!(answer.error_code, code::UNSUPPORTED_ASSIGNOR);
    for assignor in ["range", "uniform"] {
        let mut both = ["one", "two"].map(|id| Modern::new(assignor, id, TOPIC));
        for member in &mut both {
            member.heard(&beat(&mut connection, &by(assignor, &member.id, assignor)));
        }
        rounds(&mut connection, &mut both);
        let lengths = both.each_ref().map(|member| member.owned.len());
        assert_eq!(lengths, [3, 3], "{assignor}");
        if assignor == "range" {
            assert_eq!(both[0].indexes(), [0, 1, 2]);
        }
    }
}

fn a_group_moves_between_the_protocols(broker: &DevBroker) {
    let mut connection = Connection::open(broker.address());
    let mut classic = Classic::new("moving", TOPIC);
    connection.alone(&mut classic, TOPIC, &[0, 1, 2, 3, 4, 5]);
    assert_eq!(connection.commit(&classic.commit(TOPIC, 0, 5)), 0);
    let mut modern = Modern::new("moving", "modern", TOPIC);
    modern.heard(&beat(&mut connection, &modern.heartbeat()));
    assert!(modern.epoch > classic.generation, "{modern:?}");
    let described = connection.described("moving");
    assert_eq!(
        described.error_code,
        code::GROUP_ID_NOT_FOUND,
        "it is no classic group"
    );
    // The classic member hears of it, joins again with fewer partitions, and syncs.
    let told = connection.call(4, &classic.heartbeat()).error_code;
    assert_eq!(told, code::REBALANCE_IN_PROGRESS);
    classic.protocols[0].1 = subscription(&[TOPIC], &[]);
    let answer = connection.call(9, &classic.join());
    assert_eq!(answer.error_code, 0, "{answer:?}");
    classic.joined(&answer);
    let answer = connection.call(5, &classic.sync(&[]));
    assert_eq!(answer.error_code, 0, "{answer:?}");
    let mut has: BTreeSet<i32> = assigned(answer.assignment).into_iter().collect();
    assert_eq!(has.len(), 3);
    rounds(&mut connection, std::slice::from_mut(&mut modern));
    has.extend(modern.indexes());
    assert_eq!(
        (has.len(), modern.owned.len()),
        (6, 3),
        "each has its share"
    );
    modern.epoch = -1;
    assert_eq!(beat(&mut connection, &modern.beat()).error_code, 0);
    let described = connection.described("moving");
    assert_eq!(
        (described.error_code, described.members.len()),
        (0, 1),
        "it is classic again"
    );
    let told = connection.call(4, &classic.heartbeat()).error_code;
    assert_eq!(told, code::REBALANCE_IN_PROGRESS);
    connection.alone(&mut classic, TOPIC, &[0, 1, 2, 3, 4, 5]);
    assert_eq!(connection.committed("moving", TOPIC, 0), 5);
}
