//! The consumer protocol (KIP-848): ConsumerGroupHeartbeat and ConsumerGroupDescribe.

use aquifer_tests::groups::{Modern, group_id};
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest};
use uuid::Uuid;

use crate::{
    case::{Ask, Case, case, generated, text},
    groups::{TOPIC, any_groups, empty, modern, settled, stable},
};

/// A member that has not joined the case's group.
fn new(ask: &mut Ask<'_>) -> Modern {
    Modern::new(&ask.fresh("group"), "member-of-the-test", TOPIC)
}

/// A static member that is alone in the case's group.
fn fixed(ask: &mut Ask<'_>) -> Modern {
    let mut member = new(ask);
    member.instance = Some("fixed".to_owned());
    let answer = ask.side.connection.call(1, &member.heartbeat());
    assert_eq!(answer.error_code, 0, "{answer:?}");
    member.heard(&answer);
    member
}

/// A whole heartbeat of a member, of which something is changed.
fn says(
    name: &'static str,
    begin: fn(&mut Ask<'_>) -> Modern,
    change: fn(&mut Modern),
    more: fn(ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatRequest,
) -> Case {
    case(name, move |ask| {
        let mut member = begin(ask);
        change(&mut member);
        more(member.heartbeat())
    })
}

/// ConsumerGroupHeartbeat: joining, living, leaving, and what does not fit.
pub(crate) fn heartbeat() -> Vec<Case> {
    vec![
        says("join", new, |_| (), |r| r),
        says("join-no-id", new, |m| m.id.clear(), |r| r),
        says("join-no-group", new, |m| m.group.clear(), |r| r),
        says(
            "join-no-topics",
            new,
            |_| (),
            |r| r.with_subscribed_topic_names(None),
        ),
        says("join-empty-topics", new, |m| m.topics.clear(), |r| r),
        says(
            "join-unknown-topic",
            new,
            |m| m.topics = vec!["missing".to_owned()],
            |r| r,
        ),
        says(
            "join-no-timeout",
            new,
            |_| (),
            |r| r.with_rebalance_timeout_ms(-1),
        ),
        says(
            "join-no-partitions",
            new,
            |_| (),
            |r| r.with_topic_partitions(None),
        ),
        says(
            "join-with-partitions",
            new,
            |m| m.owned = [(Uuid::from_u128(7), 0)].into(),
            |r| r,
        ),
        says(
            "join-static",
            new,
            |m| m.instance = Some("fixed".to_owned()),
            |r| r,
        ),
        says(
            "join-empty-instance",
            new,
            |m| m.instance = Some(String::new()),
            |r| r,
        ),
        says(
            "join-rack",
            new,
            |_| (),
            |r| r.with_rack_id(Some(text("a"))),
        ),
        says(
            "join-empty-rack",
            new,
            |_| (),
            |r| r.with_rack_id(Some(text(""))),
        ),
        says(
            "join-range",
            new,
            |_| (),
            |r| r.with_server_assignor(Some(text("range"))),
        ),
        says(
            "join-unknown-assignor",
            new,
            |_| (),
            |r| r.with_server_assignor(Some(text("crowd"))),
        ),
        says(
            "join-regex",
            new,
            |_| (),
            |r| r.with_subscribed_topic_regex(Some(text("pres.*"))),
        ),
        says(
            "join-bad-regex",
            new,
            |_| (),
            |r| r.with_subscribed_topic_regex(Some(text("["))),
        ),
        says("join-stale", new, |m| m.epoch = 3, |r| r),
        says("leave-nobody", new, |m| m.epoch = -1, |r| r),
        says("leave-static-nobody", new, |m| m.epoch = -2, |r| r),
        says("epoch-below-2", new, |m| m.epoch = -3, |r| r),
        says("lives", modern, |_| (), |r| r),
        case("lives-shortly", |ask| modern(ask).beat()),
        says(
            "again",
            modern,
            |m| m.epoch = 0,
            |r| r.with_topic_partitions(Some(vec![])),
        ),
        says("epoch-new", modern, |m| m.epoch += 1, |r| r),
        says(
            "member-unknown",
            modern,
            |m| m.id = "nobody".to_owned(),
            |r| r,
        ),
        says(
            "subscription-changed",
            modern,
            |m| m.topics = vec!["empty".to_owned()],
            |r| r,
        ),
        says(
            "assignor-changed",
            modern,
            |_| (),
            |r| r.with_server_assignor(Some(text("range"))),
        ),
        says(
            "partitions-of-nobody",
            modern,
            |m| {
                m.owned.insert((Uuid::from_u128(7), 0));
            },
            |r| r,
        ),
        case("leave", |ask| {
            let mut member = modern(ask);
            member.epoch = -1;
            member.beat()
        }),
        case("leave-for-now", |ask| {
            let mut member = fixed(ask);
            member.epoch = -2;
            member.beat()
        }),
        case("leave-for-now-not-static", |ask| {
            let mut member = modern(ask);
            member.epoch = -2;
            member.beat()
        }),
        says(
            "static-unreleased",
            fixed,
            |m| {
                (m.id, m.epoch) = ("another".to_owned(), 0);
                m.owned.clear();
            },
            |r| r,
        ),
        says(
            "static-other-id",
            fixed,
            |m| m.id = "another".to_owned(),
            |r| r,
        ),
        says(
            "static-other-name",
            fixed,
            |m| m.instance = Some("other".to_owned()),
            |r| r,
        ),
        case("static-back", |ask| {
            let mut member = fixed(ask);
            member.epoch = -2;
            ask.side.connection.call(1, &member.beat());
            (member.id, member.epoch) = ("another".to_owned(), 0);
            member.owned.clear();
            member.heartbeat()
        }),
        says(
            "upgrade",
            |ask| {
                let group = stable(ask).group;
                Modern::new(&group, "member-of-the-test", TOPIC)
            },
            |_| (),
            |r| r,
        ),
        says(
            "upgrade-connect",
            |ask| {
                let member = settled(ask, |mut member| {
                    member.kind = "connect".to_owned();
                    member
                });
                Modern::new(&member.group, "member-of-the-test", TOPIC)
            },
            |_| (),
            |r| r,
        ),
        says(
            "upgrade-empty",
            |ask| Modern::new(&empty(ask), "member-of-the-test", TOPIC),
            |_| (),
            |r| r,
        ),
        generated(8, anything),
    ]
}

/// A heartbeat of somebody in some state, who is perhaps not quite who it says.
fn anything(ask: &mut Ask<'_>) -> ConsumerGroupHeartbeatRequest {
    let begins: [fn(&mut Ask<'_>) -> Modern; 3] = [new, modern, fixed];
    let begin = ask.random.pick(&begins);
    let mut member = begin(ask);
    if ask.random.pick(&[false, false, false, true]) {
        member.id = "another".to_owned();
    }
    if let Some(instance) = ask.random.pick(&[None, None, None, Some("other")]) {
        member.instance = Some(instance.to_owned());
    }
    if let Some(epoch) = ask
        .random
        .pick(&[None, None, Some(0), Some(-1), Some(-2), Some(7)])
    {
        member.epoch = epoch;
    }
    let topics = ask.random.among(&[TOPIC, "empty", "missing"]);
    member.topics = topics.into_iter().map(str::to_owned).collect();
    if ask.random.pick(&[false, true]) {
        return member.beat();
    }
    let assignor = ask.random.pick(&[None, None, Some("range"), Some("crowd")]);
    let timeout = ask.random.pick(&[60_000, 60_000, -1, 0]);
    member
        .heartbeat()
        .with_server_assignor(assignor.map(text))
        .with_rebalance_timeout_ms(timeout)
}

/// ConsumerGroupDescribe of groups of both kinds.
pub(crate) fn describe() -> Vec<Case> {
    let of = |groups: &[&str]| {
        let groups = groups.iter().map(|group| group_id(group)).collect();
        ConsumerGroupDescribeRequest::default().with_group_ids(groups)
    };
    vec![
        case("stable", move |ask| of(&[&modern(ask).group])),
        case("static", move |ask| of(&[&fixed(ask).group])),
        case("classic", move |ask| of(&[&stable(ask).group])),
        case("left", move |ask| {
            let mut member = modern(ask);
            member.epoch = -1;
            ask.side.connection.call(1, &member.beat());
            of(&[&member.group])
        }),
        case("topics-of-others", move |ask| {
            let mut member = new(ask);
            member.topics.push("missing".to_owned());
            ask.side.connection.call(1, &member.heartbeat());
            of(&[&member.group])
        }),
        case("unknown", move |_| of(&["no-such-group"])),
        case("no-name", move |_| of(&[""])),
        case("nothing", move |_| of(&[])),
        case("several", move |ask| {
            let group = modern(ask).group;
            of(&[&group, "no-such-group", &group])
        }),
        case("operations", move |ask| {
            of(&[&modern(ask).group]).with_include_authorized_operations(true)
        }),
        generated(4, |ask| {
            let groups = any_groups(ask);
            let groups = groups.iter().map(|group| group_id(group)).collect();
            ConsumerGroupDescribeRequest::default().with_group_ids(groups)
        }),
    ]
}
