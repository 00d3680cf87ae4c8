//! Groups with members that move between the protocols, and members of the classic protocol in consumer groups.

use aquifer_format::ids::{PartitionId, PartitionIndex, TopicId};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ConsumerProtocolAssignment, TopicName, consumer_protocol_assignment::TopicPartition,
    },
    protocol::Encodable,
};

use super::play::{Join, Play, text};
use crate::{
    coordinator::{Ledger, consumer_protocol},
    event::group::{MemberId, MemberState, TopicPartitions},
    state::{
        decide,
        group::ConsumerGroup,
        tests::world::{Counting, create_request},
    },
};

/// Creates the topic "t" with 4 partitions.
fn create_topic(play: &mut Play) -> TopicId {
    let request = create_request("t", 4, &[]);
    let decided = decide::create_topics(&play.bed.ledger.state, &Counting::default(), &request);
    for event in decided.events {
        play.bed.ledger.apply(event);
    }
    play.bed.ledger.state.topic_by_name("t").unwrap().id()
}

fn assignment(topic: &str, partitions: &[i32], user_data: Option<&'static str>) -> Bytes {
    let of_topic = TopicPartition::default()
        .with_topic(TopicName(text(topic)))
        .with_partitions(partitions.to_vec());
    let message = ConsumerProtocolAssignment::default()
        .with_assigned_partitions(vec![of_topic])
        .with_user_data(user_data.map(|data| Bytes::from_static(data.as_bytes())));
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    message.encode(&mut bytes, 1).unwrap();
    bytes.freeze()
}

/// The group "g" of two members, assigned so by the first one.
fn stable(play: &mut Play, assigned: [Bytes; 2]) -> [String; 2] {
    let join = Join::new("g").version(3);
    let calls = ["a", "b"].map(|client| play.join(&join.clone().client(client)));
    play.bed.pass(6_000);
    let ids = calls.map(|call| play.joined(call).member_id.to_string());
    play.sync("g", &ids[1], 1, &[]);
    let assigned = [
        (ids[0].as_str(), assigned[0].clone()),
        (ids[1].as_str(), assigned[1].clone()),
    ];
    let leader = play.sync_bytes("g", &ids[0], 1, &assigned);
    assert_eq!(play.synced(leader).0, 0);
    ids
}

fn halves() -> [Bytes; 2] {
    [
        assignment("t", &[0, 1], None),
        assignment("t", &[2, 3], Some("")),
    ]
}

/// The code and text that an upgrade is refused with.
fn upgrade(play: &mut Play) -> Option<(i16, String)> {
    let number = play.number("g");
    let bed = &mut play.bed;
    let upgraded = bed.coordinator.upgrade(&mut bed.ledger, bed.at, number);
    play.take_answers();
    let refusal = upgraded.err()?;
    let code = refusal.code();
    Some((code, refusal.text().unwrap_or_default().to_string()))
}

fn consumer(play: &Play) -> &ConsumerGroup {
    let (_, group) = play.bed.ledger.state.group_by_name("g").unwrap();
    group.consumer().expect("a consumer group")
}

fn of_topic(topic: TopicId, partitions: &[i32]) -> TopicPartitions {
    let partitions = partitions.iter().map(|index| PartitionIndex(*index));
    partitions
        .map(|index| PartitionId::new(topic, index))
        .collect()
}

#[test]
fn an_upgrade_keeps_members_and_what_they_have() {
    let mut play = Play::new();
    let topic = create_topic(&mut play);
    let ids = stable(&mut play, halves());
    assert_eq!(upgrade(&mut play), None);
    let group = consumer(&play);
    assert_eq!((group.epoch, group.assignment_epoch), (1, 1));
    for (id, partitions) in ids.iter().zip([[0, 1], [2, 3]]) {
        let entry = &group.members[id.as_str()];
        let partitions = of_topic(topic, &partitions);
        assert_eq!(
            (&entry.target, &entry.current.assigned),
            (&partitions, &partitions)
        );
        assert_eq!(
            (entry.current.epoch, entry.current.state),
            (1, MemberState::Stable)
        );
        assert_eq!(entry.member.topics.len(), 1);
        let classic = entry.member.classic.as_ref().unwrap();
        assert_eq!(classic.session_timeout_ms, 10_000);
        assert_eq!(classic.protocols[0].name, "range");
    }
    // they do not notice
    for (id, partitions) in ids.iter().zip([[0, 1], [2, 3]]) {
        assert_eq!(play.heartbeat("g", id, 1), 0);
        let sync = play.sync("g", id, 1, &[]);
        let (code, bytes) = play.synced(sync);
        let expected = vec![("t".to_owned(), partitions.to_vec())];
        assert_eq!(
            (code, consumer_protocol::assignment(&bytes)),
            (0, Some(expected))
        );
    }
}

#[test]
fn an_upgrade_ends_a_rebalance_that_is_under_way() {
    let mut play = Play::new();
    create_topic(&mut play);
    let ids = stable(&mut play, halves());
    let waits = play.join(&Join::new("g").member(&ids[0]));
    assert_eq!(upgrade(&mut play), None);
    let told = play.joined(waits);
    assert_eq!(
        (told.error_code, told.member_id.as_str()),
        (27, ids[0].as_str())
    );

    let mut play = Play::new();
    create_topic(&mut play);
    let ids = stable(&mut play, halves());
    for id in &ids {
        play.join(&Join::new("g").member(id));
    }
    let waits = play.sync("g", &ids[1], 2, &[]);
    assert_eq!(upgrade(&mut play), None);
    assert_eq!(play.synced(waits).0, 27);
    assert_eq!(consumer(&play).epoch, 2);
}

#[test]
fn a_partition_that_was_assigned_twice_has_one_owner_after_an_upgrade() {
    let mut play = Play::new();
    let topic = create_topic(&mut play);
    let twice = [
        assignment("t", &[0, 1], None),
        // and partitions that are not there
        assignment("t", &[1, 2, 9, -1], None),
    ];
    let ids = stable(&mut play, twice);
    assert_eq!(upgrade(&mut play), None);
    let group = consumer(&play);
    let assigned = |id: &str| group.members[id].current.assigned.clone();
    assert_eq!(assigned(&ids[0]), of_topic(topic, &[0, 1]));
    assert_eq!(assigned(&ids[1]), of_topic(topic, &[2]));
}

#[test]
fn an_upgrade_is_refused_where_something_would_be_lost() {
    let own = [assignment("t", &[0], Some("mine")), halves()[1].clone()];
    let malformed = [Bytes::from_static(b"x"), halves()[1].clone()];
    let cases = [
        (
            "disabled",
            Some(("group.consumer.migration.policy", "disabled")),
            halves(),
        ),
        ("size", Some(("group.consumer.max.size", "1")), halves()),
        ("custom assignor", None, own),
        ("malformed", None, malformed),
    ];
    for (why, config, assigned) in cases {
        let mut play = Play::new();
        create_topic(&mut play);
        let ids = stable(&mut play, assigned);
        if let Some((name, value)) = config {
            play.configure(name, value);
        }
        let rows = play.bed.ledger.rows;
        let (code, text) = upgrade(&mut play).expect(why);
        assert_eq!(code, 69, "{why}");
        assert!(text.contains(why), "{text}");
        assert_eq!(play.bed.ledger.rows, rows);
        assert_eq!(play.heartbeat("g", &ids[0], 1), 0, "it goes on as it was");
    }
}

#[test]
fn other_protocol_types_are_not_upgraded() {
    let mut play = Play::new();
    let join = Join::new("g").version(3).kind("connect");
    play.join(&join);
    play.bed.pass(3_000);
    let (code, text) = upgrade(&mut play).unwrap();
    assert_eq!(code, 69);
    assert!(text.contains("does not use the consumer embedded protocol"));
}

#[test]
fn a_downgrade_keeps_what_members_are_to_have_and_begins_a_rebalance() {
    let mut play = Play::new();
    create_topic(&mut play);
    let ids = stable(&mut play, halves());
    assert_eq!(upgrade(&mut play), None);
    let number = play.number("g");
    let gone: MemberId = MemberId::from(ids[1].as_str());
    let bed = &mut play.bed;
    let leaving = std::slice::from_ref(&gone);
    assert!(bed.coordinator.downgrades(&bed.ledger, number, leaving));
    bed.coordinator
        .downgrade(&mut bed.ledger, bed.at, number, leaving);
    assert_eq!(
        (play.state("g"), play.generation("g")),
        ("PreparingRebalance", 1)
    );
    assert_eq!(play.heartbeat("g", &ids[0], 1), 27);
    assert_eq!(play.heartbeat("g", &ids[1], 1), 25);
    let described = play.describe(&["g"]);
    let kept = consumer_protocol::assignment(&described[0].members[0].member_assignment);
    assert_eq!(kept, Some(vec![("t".to_owned(), vec![0, 1])]));
    let again = play.join(&Join::new("g").member(&ids[0]));
    let told = play.joined(again);
    assert_eq!((told.generation_id, told.members.len()), (2, 1));
}

#[test]
fn a_group_is_not_downgraded_to_nobody_nor_against_the_policy() {
    let mut play = Play::new();
    create_topic(&mut play);
    let ids = stable(&mut play, halves());
    assert_eq!(upgrade(&mut play), None);
    let number = play.number("g");
    let all = ids.map(|id| MemberId::from(id.as_str()));
    let downgrades = |play: &Play, leaving: &[MemberId]| {
        let bed = &play.bed;
        bed.coordinator.downgrades(&bed.ledger, number, leaving)
    };
    assert!(downgrades(&play, &[]));
    assert!(!downgrades(&play, &all));
    play.configure("group.max.size", "1");
    assert!(!downgrades(&play, &[]));
    assert!(downgrades(&play, &all[..1]));
    play.configure("group.consumer.migration.policy", "upgrade");
    assert!(!downgrades(&play, &all[..1]));
}

#[test]
fn classic_members_of_a_consumer_group_are_refused_as_by_kafka() {
    let mut play = Play::new();
    create_topic(&mut play);
    let ids = stable(&mut play, halves());
    assert_eq!(upgrade(&mut play), None);
    let rows = play.bed.ledger.rows;
    let malformed = [("range", Bytes::from_static(b"x"))];
    let cases = [
        ("its id is to be told", Join::new("g"), 79),
        ("another type", Join::new("g").kind("connect"), 23),
        ("another protocol", Join::new("g").protocols(&["own"]), 23),
        ("no protocol", Join::new("g").protocols(&[]), 23),
        (
            "malformed",
            Join::new("g").member(&ids[0]).says(&malformed),
            23,
        ),
        (
            "no such instance",
            Join::new("g").member("x").instance("i"),
            25,
        ),
    ];
    for (what, join, code) in cases {
        let call = play.join(&join);
        assert_eq!(play.joined(call).error_code, code, "{what}");
    }
    assert_eq!(play.heartbeat("g", "x", 1), 25);
    assert_eq!(play.heartbeat("g", &ids[0], 2), 22);
    for (id, generation, code) in [("x", 1, 25), (ids[0].as_str(), 2, 22)] {
        let call = play.sync("g", id, generation, &[]);
        assert_eq!(play.synced(call).0, code);
    }
    assert_eq!(
        play.leave("g", &[("x", None), ("", None), ("", Some("i"))]),
        [25; 3]
    );
    assert_eq!(play.bed.ledger.rows, rows);
    play.configure("group.consumer.max.size", "2");
    let call = play.join(&Join::new("g").member("third"));
    assert_eq!(play.joined(call).error_code, 81);
}

#[test]
fn a_classic_member_joins_and_syncs_in_a_consumer_group() {
    let mut play = Play::new();
    create_topic(&mut play);
    let ids = stable(&mut play, halves());
    assert_eq!(upgrade(&mut play), None);
    let call = play.join(&Join::new("g").version(3).client("new"));
    let told = play.joined(call);
    assert_eq!(told.error_code, 0);
    assert_eq!(told.generation_id, consumer(&play).epoch);
    assert!(told.members.is_empty() && told.leader.is_empty());
    let sync = play.sync("g", told.member_id.as_str(), told.generation_id, &[]);
    assert_eq!(play.synced(sync).0, 0);
    // the others are to come for the new epoch
    assert_eq!(play.heartbeat("g", &ids[0], 1), 27);
    assert!(told.generation_id > 1);
}
