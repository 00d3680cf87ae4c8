//! Consumer groups: epochs, static members, revocation before assignment, timeouts, topics that change.

use std::sync::Arc;

use aquifer_format::ids::{PartitionId, PartitionIndex};
use kafka_protocol::{
    ResponseError,
    messages::{
        ConsumerGroupDescribeRequest, GroupId, consumer_group_describe_response::DescribedGroup,
    },
};

use super::{
    bed::Bed,
    member::{
        GROUP, Member, PATIENCE_MS, create, delete, entry, group, grow, name, send, send_as,
        settle, text,
    },
};
use crate::{
    coordinator::{Ledger, consumer},
    event::{
        Event,
        group::{ClassicMember, ClassicPhase, GroupChange, MemberState, TopicPartitions},
    },
    state::{group::ConsumerState, tests::world::Counting},
};

const SESSION_MS: u64 = 45_000;

/// A bed with topic `t` of six partitions.
fn bed() -> (Bed, Counting) {
    let (mut bed, rand) = (Bed::new(), Counting::default());
    create(&mut bed, &rand, "t", 6);
    (bed, rand)
}

#[test]
fn the_first_member_gets_everything_and_costs_nothing_after_that() {
    let (mut bed, _) = bed();
    let mut a = Member::new("a", &["t"]);
    assert_eq!(a.join(&mut bed), 0);
    assert_eq!((a.epoch, a.has()), (1, 6));
    assert_eq!(group(&bed).1.state(), ConsumerState::Stable);
    let rows = bed.ledger.rows;
    for _ in 0..3 {
        assert_eq!(a.beat(&mut bed), 0);
    }
    let answer = send(&mut bed, &a.beating());
    assert_eq!((answer.member_epoch, answer.assignment), (1, None));
    assert_eq!(answer.heartbeat_interval_ms, 5_000);
    assert_eq!(bed.ledger.rows, rows);
}

#[test]
fn partitions_are_revoked_before_others_get_them() {
    let (mut bed, _) = bed();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|id| Member::new(id, &["t"]));
    a.join(&mut bed);
    b.join(&mut bed);
    assert_eq!((b.epoch, b.has()), (2, 0));
    assert_eq!(
        entry(&bed, "b").current.state,
        MemberState::UnreleasedPartitions
    );
    // a is told, and has three of six until it says that it gave the others up
    a.beat(&mut bed);
    assert_eq!((a.epoch, a.has()), (1, 3));
    assert_eq!(entry(&bed, "a").current.revoking.len(), 3);
    b.beat(&mut bed);
    assert_eq!(b.has(), 0);
    a.beat(&mut bed);
    assert_eq!((a.epoch, a.has()), (2, 3));
    b.beat(&mut bed);
    assert_eq!((b.epoch, b.has()), (2, 3));
    settle(&mut bed, &mut [&mut a, &mut b]);
    assert_eq!(group(&bed).1.state(), ConsumerState::Stable);

    c.join(&mut bed);
    settle(&mut bed, &mut [&mut a, &mut b, &mut c]);
    assert_eq!([a.has(), b.has(), c.has()], [2, 2, 2]);
    assert_eq!([a.epoch, b.epoch, c.epoch], [3, 3, 3]);
    let all = a.owned.and(&b.owned).and(&c.owned);
    assert_eq!(all.len(), 6);
}

#[test]
fn a_member_that_does_not_revoke_in_time_is_out() {
    let (mut bed, _) = bed();
    let [mut a, mut b] = ["a", "b"].map(|id| Member::new(id, &["t"]));
    a.join(&mut bed);
    b.join(&mut bed);
    a.beat(&mut bed);
    a.tell = false;
    bed.pass(PATIENCE_MS - 1);
    a.beat(&mut bed);
    assert_eq!(group(&bed).1.members.len(), 2);
    bed.pass(1);
    assert_eq!(a.beat(&mut bed), ResponseError::UnknownMemberId.code());
    b.beat(&mut bed);
    assert_eq!(b.has(), 6);
}

#[test]
fn a_member_that_is_silent_is_out() {
    let (mut bed, _) = bed();
    let mut a = Member::new("a", &["t"]);
    a.join(&mut bed);
    bed.pass(SESSION_MS - 1);
    assert_eq!(a.beat(&mut bed), 0);
    bed.pass(SESSION_MS);
    assert_eq!(a.beat(&mut bed), ResponseError::UnknownMemberId.code());
    let group = group(&bed).1;
    assert_eq!((group.state(), group.epoch), (ConsumerState::Empty, 2));
}

#[test]
fn a_leader_that_takes_over_keeps_assignments_and_gives_whole_sessions() {
    let (mut bed, _) = bed();
    let [mut a, mut b] = ["a", "b"].map(|id| Member::new(id, &["t"]));
    a.join(&mut bed);
    b.join(&mut bed);
    a.beat(&mut bed);
    bed.pass(PATIENCE_MS - 1);
    bed.take_over();
    // a has its whole time to revoke again
    bed.pass(PATIENCE_MS - 1);
    settle(&mut bed, &mut [&mut a, &mut b]);
    assert_eq!([a.has(), b.has()], [3, 3]);
    bed.pass(SESSION_MS - 1);
    bed.take_over();
    bed.pass(SESSION_MS - 1);
    let rows = bed.ledger.rows;
    assert_eq!([a.beat(&mut bed), b.beat(&mut bed)], [0, 0]);
    assert_eq!(bed.ledger.rows, rows);
    bed.pass(SESSION_MS);
    assert_eq!(group(&bed).1.members.len(), 0);
}

#[test]
fn epochs_fence() {
    let (mut bed, rand) = bed();
    let more = create(&mut bed, &rand, "u", 1);
    let mut a = Member::new("a", &["t"]);
    a.join(&mut bed);
    let joining = Member::new("a", &["t", "u"]).joining;
    let names = joining.subscribed_topic_names;
    let subscribing = a.beating().with_subscribed_topic_names(names);
    assert_eq!(send(&mut bed, &subscribing).member_epoch, 2);
    let owning = |owned: Option<TopicPartitions>, epoch: i32| {
        let mut member = a.clone();
        member.tell = owned.is_some();
        member.owned = owned.unwrap_or_default();
        member.beating().with_member_epoch(epoch)
    };
    let had = a.owned.clone();
    let stranger = PartitionId::new(more, PartitionIndex(9));
    let stranger: TopicPartitions = [stranger].into_iter().collect();
    let fenced = ResponseError::FencedMemberEpoch.code();
    let cases = [
        ("the same epoch", owning(None, 2), 0),
        ("a later one", owning(None, 3), fenced),
        ("the previous one", owning(Some(had.clone()), 1), 0),
        ("... without saying what it has", owning(None, 1), fenced),
        (
            "... with too much",
            owning(Some(had.and(&stranger)), 1),
            fenced,
        ),
        (
            "another group",
            owning(None, 2).with_group_id(GroupId(text("g"))),
            ResponseError::GroupIdNotFound.code(),
        ),
        (
            "another member",
            owning(None, 2).with_member_id(text("b")),
            ResponseError::UnknownMemberId.code(),
        ),
        (
            "another member that leaves",
            owning(None, -1).with_member_id(text("b")),
            ResponseError::UnknownMemberId.code(),
        ),
        (
            "another group that is left",
            owning(None, -1).with_group_id(GroupId(text("g"))),
            ResponseError::GroupIdNotFound.code(),
        ),
    ];
    for (case, request, code) in cases {
        let answer = send(&mut bed, &request);
        assert_eq!(answer.error_code, code, "{case}: {answer:?}");
    }
    // from 0 again: it is who it was, and is told everything
    let rejoining = Member::new("a", &["t", "u"]).joining;
    let answer = send(&mut bed, &rejoining);
    assert_eq!((answer.error_code, answer.member_epoch), (0, 2));
    assert!(answer.assignment.is_some());
    assert_eq!(a.leave(&mut bed, -1), 0);
    assert_eq!(group(&bed).1.members.len(), 0);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let (mut bed, _) = bed();
    let joining = || Member::new("a", &["t"]).joining;
    let invalid = ResponseError::InvalidRequest.code();
    let cases = [
        (joining().with_member_id(text(" ")), invalid),
        (joining().with_group_id(GroupId(text(""))), invalid),
        (joining().with_instance_id(Some(text(""))), invalid),
        (joining().with_rack_id(Some(text(""))), invalid),
        (joining().with_rebalance_timeout_ms(-1), invalid),
        (joining().with_topic_partitions(None), invalid),
        (joining().with_subscribed_topic_names(None), invalid),
        (joining().with_member_epoch(-2), invalid),
        (joining().with_member_epoch(-3), invalid),
        (joining().with_member_id(text(&"m".repeat(2_000))), invalid),
        (
            joining().with_group_id(GroupId(text(&"g".repeat(2_000)))),
            ResponseError::InvalidGroupId.code(),
        ),
        (
            joining().with_server_assignor(Some(text("sticky"))),
            ResponseError::UnsupportedAssignor.code(),
        ),
    ];
    let rows = bed.ledger.rows;
    for (request, code) in cases {
        assert_eq!(send(&mut bed, &request).error_code, code, "{request:?}");
    }
    assert_eq!(bed.ledger.rows, rows);
    assert!(bed.ledger.state.group_by_name(GROUP).is_none());
}

#[test]
fn regression_a_first_join_that_is_sent_again_is_the_same_member() {
    let (mut bed, _) = bed();
    let joining = Member::new("", &["t"]).joining;
    let first = send_as(&mut bed, 0, 7, &joining);
    let again = send_as(&mut bed, 0, 7, &joining);
    assert_eq!(first, again);
    assert_eq!(first.member_id.unwrap().len(), 22);
    let fixed = Member::new("s", &["t"]).fixed("one").joining;
    let first = send(&mut bed, &fixed);
    let again = send(&mut bed, &fixed);
    assert_eq!((first.error_code, again.error_code), (0, 0));
    assert_eq!(group(&bed).1.members.len(), 2);
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let (mut bed, _) = bed();
    let mut a = Member::new("a", &["t"]).fixed("one");
    let mut b = Member::new("b", &["t"]);
    a.join(&mut bed);
    b.join(&mut bed);
    settle(&mut bed, &mut [&mut a, &mut b]);
    let (had, epoch) = (a.owned.clone(), group(&bed).1.epoch);

    let mut other = Member::new("c", &["t"]).fixed("one");
    let unreleased = ResponseError::UnreleasedInstanceId.code();
    assert_eq!(other.join(&mut bed), unreleased);
    other.epoch = epoch;
    assert_eq!(other.beat(&mut bed), ResponseError::FencedInstanceId.code());
    assert_eq!(
        other.leave(&mut bed, -1),
        ResponseError::FencedInstanceId.code()
    );
    let mut unknown = Member::new("c", &["t"]).fixed("two");
    unknown.epoch = epoch;
    assert_eq!(
        unknown.beat(&mut bed),
        ResponseError::UnknownMemberId.code()
    );

    assert_eq!(a.leave(&mut bed, -2), 0);
    assert_eq!(entry(&bed, "a").current.epoch, -2);
    assert_eq!(b.beat(&mut bed), 0);
    assert_eq!(b.has(), 3);
    assert_eq!(other.join(&mut bed), 0);
    assert_eq!((other.owned.clone(), other.epoch), (had, epoch));
    assert_eq!(group(&bed).1.epoch, epoch);
    assert_eq!(a.beat(&mut bed), ResponseError::FencedInstanceId.code());

    // the same process too; and one that stays away is out after its session
    assert_eq!(other.leave(&mut bed, -2), 0);
    assert_eq!(other.join(&mut bed), 0);
    assert_eq!(group(&bed).1.epoch, epoch);
    assert_eq!(other.leave(&mut bed, -2), 0);
    bed.pass(SESSION_MS - 1);
    b.beat(&mut bed);
    bed.pass(1);
    assert_eq!(group(&bed).1.members.len(), 1);
    b.beat(&mut bed);
    assert_eq!(b.has(), 6);
}

#[test]
fn who_unsubscribes_gives_up_and_who_subscribes_gets() {
    let (mut bed, rand) = bed();
    create(&mut bed, &rand, "u", 2);
    let mut a = Member::new("a", &["t"]);
    let mut b = Member::new("b", &["t"]);
    a.join(&mut bed);
    b.join(&mut bed);
    settle(&mut bed, &mut [&mut a, &mut b]);
    let names = Member::new("a", &["u"]).joining.subscribed_topic_names;
    let request = a.beating().with_subscribed_topic_names(names);
    let answer = send(&mut bed, &request);
    a.hear(&answer);
    assert_eq!(a.has(), 0);
    settle(&mut bed, &mut [&mut a, &mut b]);
    assert_eq!((a.has(), b.has()), (2, 6));
}

#[test]
fn topics_that_come_grow_and_go_are_seen_with_the_next_heartbeat() {
    let (mut bed, rand) = bed();
    let mut a = Member::new("a", &["t", "later"]);
    a.join(&mut bed);
    create(&mut bed, &rand, "unrelated", 3);
    let rows = bed.ledger.rows;
    a.beat(&mut bed);
    assert_eq!((bed.ledger.rows, a.has()), (rows, 6));
    create(&mut bed, &rand, "later", 2);
    settle(&mut bed, &mut [&mut a]);
    assert_eq!((a.has(), a.epoch), (8, 2));
    grow(&mut bed, "later", 5);
    settle(&mut bed, &mut [&mut a]);
    assert_eq!((a.has(), a.epoch), (11, 3));
    delete(&mut bed, "t");
    settle(&mut bed, &mut [&mut a]);
    assert_eq!((a.has(), a.epoch), (5, 4));
}

#[test]
fn the_assignor_is_the_one_that_most_members_prefer() {
    let (mut bed, rand) = bed();
    create(&mut bed, &rand, "u", 3);
    let [mut a, mut b] = ["a", "b"].map(|id| {
        let mut member = Member::new(id, &["t", "u"]);
        member.joining.server_assignor = Some(text("range"));
        member
    });
    a.join(&mut bed);
    b.join(&mut bed);
    settle(&mut bed, &mut [&mut a, &mut b]);
    // ranges of both topics: 3 + 2 and 3 + 1
    assert_eq!([a.has(), b.has()], [5, 4]);
    assert_eq!(describe(&bed, GROUP).assignor_name.as_str(), "range");
}

#[test]
fn a_group_has_as_many_members_as_it_may() {
    let (mut bed, _) = bed();
    let configs = [("group.consumer.max.size", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let configs = configs.into_iter().collect();
    bed.ledger.apply(Event::BrokerConfigsSet { configs });
    let [mut a, mut b] = ["a", "b"].map(|id| Member::new(id, &["t"]));
    assert_eq!(a.join(&mut bed), 0);
    assert_eq!(b.join(&mut bed), ResponseError::GroupMaxSizeReached.code());
    assert_eq!(a.join(&mut bed), 0);
}

#[test]
fn an_empty_classic_group_becomes_a_consumer_group_behind_its_generation() {
    let (mut bed, _) = bed();
    let number = bed.ledger.state.next_group();
    let created = Event::GroupCreated {
        group: number,
        name: GROUP.to_owned(),
    };
    bed.ledger.apply(created);
    let phase = ClassicPhase {
        generation: 7,
        ..ClassicPhase::default()
    };
    let changes = vec![GroupChange::Phase(phase)];
    bed.ledger.apply(Event::GroupChanged {
        group: number,
        changes,
    });
    let mut a = Member::new("a", &["t"]);
    let mut early = a.clone();
    early.epoch = 7;
    assert_eq!(early.beat(&mut bed), ResponseError::GroupIdNotFound.code());
    assert_eq!(a.join(&mut bed), 0);
    assert_eq!((group(&bed).0, a.epoch, a.has()), (number, 8, 6));
}

#[test]
fn a_member_that_does_not_join_finds_no_classic_group() {
    let (mut bed, _) = bed();
    let number = bed.ledger.state.next_group();
    let created = Event::GroupCreated {
        group: number,
        name: GROUP.to_owned(),
    };
    bed.ledger.apply(created);
    let member = ClassicMember {
        id: name("classic"),
        instance: None,
        client_id: Arc::from("c"),
        client_host: Arc::from("/h"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocols: Vec::new(),
    };
    let changes = vec![GroupChange::Member(member)];
    bed.ledger.apply(Event::GroupChanged {
        group: number,
        changes,
    });
    let mut a = Member::new("a", &["t"]);
    a.epoch = 1;
    let not_found = ResponseError::GroupIdNotFound.code();
    assert_eq!(a.beat(&mut bed), not_found);
    assert_eq!(a.leave(&mut bed, -1), not_found);
    let described = describe(&bed, GROUP);
    assert_eq!(described.error_code, not_found);
    let text = described.error_message.unwrap();
    assert_eq!(text.as_str(), "Group group is not a consumer group.");
}

fn describe(bed: &Bed, id: &str) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequest::default()
        .with_group_ids(vec![GroupId(text(id))])
        .with_include_authorized_operations(true);
    let state = &bed.ledger.state;
    let mut answer = bed.coordinator.consumer_describe(state, &request);
    answer.groups.remove(0)
}

#[test]
fn groups_are_described() {
    let (mut bed, _) = bed();
    let mut a = Member::new("a", &["t", "nowhere"]).fixed("one");
    a.join(&mut bed);
    let described = describe(&bed, GROUP);
    assert_eq!(described.group_state.as_str(), "Stable");
    assert_eq!((described.group_epoch, described.assignment_epoch), (1, 1));
    assert_eq!(described.assignor_name.as_str(), "uniform");
    assert_eq!(described.authorized_operations, 3_400);
    let member = &described.members[0];
    assert_eq!((member.member_id.as_str(), member.member_type), ("a", 1));
    assert_eq!(member.client_host.as_str(), "/127.0.0.1");
    assert_eq!(member.instance_id.as_ref().unwrap().as_str(), "one");
    assert_eq!(member.subscribed_topic_names.len(), 2);
    assert_eq!(member.subscribed_topic_regex, Some(text("")));
    assert_eq!(member.assignment, member.target_assignment);
    let topic = &member.assignment.topic_partitions[0];
    assert_eq!(
        (topic.topic_name.as_str(), topic.partitions.len()),
        ("t", 6)
    );
    delete(&mut bed, "t");
    assert!(
        describe(&bed, GROUP).members[0]
            .assignment
            .topic_partitions
            .is_empty()
    );
    for (id, code) in [
        ("", ResponseError::InvalidGroupId),
        ("other", ResponseError::GroupIdNotFound),
    ] {
        assert_eq!(describe(&bed, id).error_code, code.code());
    }
}

#[test]
fn offsets_are_for_members_of_this_epoch() {
    let (mut bed, _) = bed();
    let mut a = Member::new("a", &["t"]);
    a.join(&mut bed);
    let group = group(&bed).1;
    let unknown = Err(ResponseError::UnknownMemberId);
    let stale = Err(ResponseError::StaleMemberEpoch);
    for (member, epoch, version, commit) in [
        ("a", 1, 9, Ok(())),
        ("a", 1, 8, Err(ResponseError::UnsupportedVersion)),
        ("a", 0, 9, stale),
        ("a", 2, 9, stale),
        ("b", 1, 9, unknown),
        ("", -1, 9, unknown),
    ] {
        let checked = consumer::check_commit(group, member, None, epoch, version);
        assert_eq!(checked, commit, "{member} {epoch} {version}");
    }
    for (member, epoch, fetch) in [
        (None, -1, Ok(())),
        (None, 1, unknown),
        (Some("a"), 1, Ok(())),
        (Some("a"), 3, stale),
        (Some("b"), 1, unknown),
    ] {
        let checked = consumer::check_fetch(group, member, epoch);
        assert_eq!(checked, fetch, "{member:?} {epoch}");
    }
    a.leave(&mut bed, -1);
    let empty = self::group(&bed).1;
    assert_eq!(consumer::check_commit(empty, "", None, -1, 2), Ok(()));
}
