//! Groups of the classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup, DescribeGroups, ListGroups,
//! DeleteGroups. Each case has a group of its own, brought first to where the request finds it.

use std::fmt::Debug;

use aquifer_tests::groups::{Classic, Modern, commit, group_id, subscription};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        DeleteGroupsRequest, DescribeGroupsRequest, JoinGroupRequest, LeaveGroupRequest,
        ListGroupsRequest, SyncGroupRequest, leave_group_request::MemberIdentity,
    },
    protocol::{Request, StrBytes},
};

use crate::case::{Ask, Case, case, generated, quiet, text};

/// The topic of all of them.
pub(crate) const TOPIC: &str = "present";

/// A member that has not joined the case's group.
pub(crate) fn new(ask: &Ask<'_>) -> Classic {
    let mut member = Classic::new(&ask.fresh("group"), TOPIC);
    // longer than all cases take
    member.session_timeout_ms = 600_000;
    member
}

/// A member that is alone in the case's group, which is stable.
pub(crate) fn stable(ask: &mut Ask<'_>) -> Classic {
    settled(ask, |member| member)
}

/// The same, of a member that is not as usual.
pub(crate) fn settled(ask: &mut Ask<'_>, change: fn(Classic) -> Classic) -> Classic {
    let mut member = change(new(ask));
    ask.side.connection.alone(&mut member, TOPIC, &[0, 1]);
    member
}

/// A static member of a stable group.
fn fixed(ask: &mut Ask<'_>) -> Classic {
    settled(ask, |member| member.called("fixed"))
}

/// A member whose group waits for its SyncGroup.
fn joined(ask: &mut Ask<'_>) -> Classic {
    let mut member = new(ask);
    ask.side.connection.member_id(&mut member);
    let answer = ask.side.connection.call(9, &member.join());
    assert_eq!(answer.error_code, 0, "{answer:?}");
    member.joined(&answer);
    member
}

/// A member of the consumer protocol that is alone in the case's group.
pub(crate) fn modern(ask: &mut Ask<'_>) -> Modern {
    let mut member = Modern::new(&ask.fresh("group"), "member-of-the-test", TOPIC);
    for _ in 0..2 {
        let answer = ask.side.connection.call(1, &member.heartbeat());
        assert_eq!(answer.error_code, 0, "{answer:?}");
        member.heard(&answer);
    }
    member
}

/// The case's group, with an offset and nobody in it.
pub(crate) fn empty(ask: &mut Ask<'_>) -> String {
    let group = ask.fresh("group");
    let code = ask
        .side
        .connection
        .commit(&commit(&group, ("", -1), TOPIC, &[(0, 7)]));
    assert_eq!(code, 0, "a commit without members");
    group
}

/// A member in some state, which is perhaps not quite who it says. None of these makes a request wait: nobody else is in
/// its group.
fn anybody(ask: &mut Ask<'_>) -> Classic {
    let begins: [fn(&mut Ask<'_>) -> Classic; 4] = [fresh, stable, joined, fixed];
    let begin = ask.random.pick(&begins);
    let mut member = begin(ask);
    if let Some(id) = ask.random.pick(&[None, None, Some(""), Some("nobody")]) {
        member.id = id.to_owned();
    }
    if let Some(instance) = ask.random.pick(&[None, None, None, Some("other")]) {
        member.instance = Some(instance.to_owned());
    }
    member.generation += ask.random.pick(&[0, 0, 0, 1, -1]);
    member
}

/// Some groups: of any kind, unknown ones, one without a name.
pub(crate) fn any_groups(ask: &mut Ask<'_>) -> Vec<String> {
    let begins: [fn(&mut Ask<'_>) -> String; 5] = [
        |ask| stable(ask).group,
        |ask| modern(ask).group,
        empty,
        |_| "no-such-group".to_owned(),
        |_| String::new(),
    ];
    let own = ask.random.pick(&begins)(ask);
    let others = ask.random.among(&["no-such-group", "", "another"]);
    let mut groups: Vec<String> = others.into_iter().map(str::to_owned).collect();
    groups.push(own);
    groups
}

/// A member that has not joined, for [`after`].
fn fresh(ask: &mut Ask<'_>) -> Classic {
    new(ask)
}

/// A case that begins with a member, of which something is changed.
fn after<R>(
    name: &'static str,
    begin: fn(&mut Ask<'_>) -> Classic,
    change: fn(&mut Classic),
    request: fn(&Classic) -> R,
) -> Case
where
    R: Request + 'static,
    R::Response: Debug + 'static,
{
    case(name, move |ask| {
        let mut member = begin(ask);
        change(&mut member);
        request(&member)
    })
}

/// JoinGroup: first joins, members that come again, and what does not fit. None waits for others.
pub(crate) fn join_group() -> Vec<Case> {
    vec![
        after("first", fresh, |_| (), |m| m.join()),
        after("group-no-name", fresh, |m| m.group.clear(), |m| m.join()),
        after(
            "member-unknown",
            fresh,
            |m| m.id = "nobody".into(),
            |m| m.join(),
        ),
        after(
            "session-short",
            fresh,
            |m| m.session_timeout_ms = 1,
            |m| m.join(),
        ),
        after(
            "session-long",
            fresh,
            |m| m.session_timeout_ms = i32::MAX,
            |m| m.join(),
        ),
        after(
            "protocols-none",
            fresh,
            |m| m.protocols.clear(),
            |m| m.join(),
        ),
        after("type-no-name", fresh, |m| m.kind.clear(), |m| m.join()),
        after(
            "connect",
            fresh,
            |m| m.kind = "connect".into(),
            |m| m.join(),
        ),
        after(
            "static",
            fresh,
            |m| m.instance = Some("fixed".into()),
            |m| m.join(),
        ),
        after("again", stable, |_| (), |m| m.join()),
        after(
            "again-changed",
            stable,
            |m| m.protocols[0].1 = subscription(&["empty"], &[]),
            |m| m.join(),
        ),
        after("again-while-completing", joined, |_| (), |m| m.join()),
        after(
            "other-type",
            stable,
            |m| {
                m.id.clear();
                m.kind = "connect".into();
            },
            |m| m.join(),
        ),
        after(
            "other-protocol",
            stable,
            |m| {
                m.id.clear();
                m.protocols[0].0 = "other".into();
            },
            |m| m.join(),
        ),
        after(
            "group-of-others",
            stable,
            |m| m.id = "nobody".into(),
            |m| m.join(),
        ),
        after("static-again", fixed, |m| m.id.clear(), |m| m.join()),
        after("static-same-id", fixed, |_| (), |m| m.join()),
        after(
            "static-other-id",
            fixed,
            |m| m.id = "nobody".into(),
            |m| m.join(),
        ),
        after(
            "static-other-name",
            fixed,
            |m| m.instance = Some("other".into()),
            |m| m.join(),
        ),
        case("consumer-group-other-type", |ask| {
            let group = modern(ask).group;
            let mut member = Classic::new(&group, TOPIC);
            member.kind = "connect".to_owned();
            member.join()
        }),
        case("consumer-group-other-bytes", |ask| {
            let group = modern(ask).group;
            let mut member = Classic::new(&group, TOPIC);
            member.protocols[0].1 = Bytes::from_static(b"not a subscription");
            member.join()
        }),
        case("nothing", |_| JoinGroupRequest::default()),
        quiet("bytes-no-subscription", |ask| {
            let mut member = new(ask);
            member.protocols[0].1 = Bytes::from_static(b"anything");
            member.join()
        }),
        // into groups that nobody is in: else it would wait for whoever is
        generated(6, |ask| {
            let mut member = new(ask);
            member.id = ask.random.pick(&["", "", "nobody"]).to_owned();
            let instance = ask.random.pick(&[None, None, Some("fixed")]);
            member.instance = instance.map(str::to_owned);
            member.kind = ask.random.pick(&["consumer", "connect", ""]).to_owned();
            let sessions = [600_000, 600_000, 6_000, 5_999, 1_800_001];
            member.session_timeout_ms = ask.random.pick(&sessions);
            let names = ask.random.among(&["range", "sticky", "own"]);
            let bytes = if member.kind == "consumer" {
                subscription(&["present"], &[])
            } else {
                Bytes::from_static(b"anything")
            };
            let protocols = names
                .into_iter()
                .map(|name| (name.to_owned(), bytes.clone()));
            member.protocols = protocols.collect();
            member.join()
        }),
    ]
}

/// SyncGroup where it is waited for, again, and where it does not fit.
pub(crate) fn sync_group() -> Vec<Case> {
    fn own(member: &Classic) -> SyncGroupRequest {
        member.sync(&[(member.id.clone(), Bytes::from_static(b"anything"))])
    }
    fn of(word: &str) -> Option<StrBytes> {
        Some(text(word))
    }
    vec![
        after("leader", joined, |_| (), own),
        after("leader-nothing", joined, |_| (), |m| m.sync(&[])),
        after(
            "leader-for-nobody",
            joined,
            |_| (),
            |m| m.sync(&[("nobody".to_owned(), Bytes::from_static(b"x"))]),
        ),
        after("again", stable, |_| (), own),
        after("generation-old", stable, |m| m.generation = 0, own),
        after("generation-new", stable, |m| m.generation += 1, own),
        after("member-unknown", stable, |m| m.id = "nobody".into(), own),
        after("member-no-name", stable, |m| m.id.clear(), own),
        after("static-other-id", fixed, |m| m.id = "nobody".into(), own),
        after(
            "static-other-name",
            fixed,
            |m| m.instance = Some("other".into()),
            own,
        ),
        after(
            "type-none",
            joined,
            |_| (),
            |m| own(m).with_protocol_type(None),
        ),
        after(
            "type-other",
            joined,
            |_| (),
            |m| own(m).with_protocol_type(of("connect")),
        ),
        after(
            "protocol-none",
            joined,
            |_| (),
            |m| own(m).with_protocol_name(None),
        ),
        after(
            "protocol-other",
            joined,
            |_| (),
            |m| own(m).with_protocol_name(of("other")),
        ),
        case("group-unknown", |ask| own(&new(ask))),
        case("group-no-name", |_| own(&Classic::new("", TOPIC))),
        case("consumer-group", |ask| {
            own(&Classic::new(&modern(ask).group, TOPIC))
        }),
        generated(4, |ask| {
            let member = anybody(ask);
            let kinds = [Some("consumer"), Some("consumer"), Some("connect"), None];
            own(&member).with_protocol_type(ask.random.pick(&kinds).and_then(of))
        }),
    ]
}

/// Heartbeat of members and of those that are none.
pub(crate) fn heartbeat() -> Vec<Case> {
    vec![
        after("stable", stable, |_| (), |m| m.heartbeat()),
        after("completing", joined, |_| (), |m| m.heartbeat()),
        after(
            "generation-old",
            stable,
            |m| m.generation = 0,
            |m| m.heartbeat(),
        ),
        after(
            "generation-new",
            stable,
            |m| m.generation += 1,
            |m| m.heartbeat(),
        ),
        after(
            "member-unknown",
            stable,
            |m| m.id = "nobody".into(),
            |m| m.heartbeat(),
        ),
        after(
            "member-no-name",
            stable,
            |m| m.id.clear(),
            |m| m.heartbeat(),
        ),
        after("static", fixed, |_| (), |m| m.heartbeat()),
        after(
            "static-other-id",
            fixed,
            |m| m.id = "nobody".into(),
            |m| m.heartbeat(),
        ),
        after(
            "static-other-name",
            fixed,
            |m| m.instance = Some("other".into()),
            |m| m.heartbeat(),
        ),
        case("group-unknown", |ask| new(ask).heartbeat()),
        case("group-no-name", |_| Classic::new("", TOPIC).heartbeat()),
        case("consumer-group", |ask| {
            Classic::new(&modern(ask).group, TOPIC).heartbeat()
        }),
        case("group-empty", |ask| {
            Classic::new(&empty(ask), TOPIC).heartbeat()
        }),
        generated(4, |ask| anybody(ask).heartbeat()),
    ]
}

/// LeaveGroup in its two shapes.
pub(crate) fn leave_group() -> Vec<Case> {
    fn leave(ask: &Ask<'_>, member: &Classic) -> LeaveGroupRequest {
        if ask.version < 3 {
            return LeaveGroupRequest::default()
                .with_group_id(group_id(&member.group))
                .with_member_id(text(&member.id));
        }
        member.leave()
    }
    let several = |ask: &mut Ask<'_>, begin: fn(&mut Ask<'_>) -> Classic| {
        let member = begin(ask);
        let one = |id: &str, instance: Option<&str>| {
            MemberIdentity::default()
                .with_member_id(text(id))
                .with_group_instance_id(instance.map(text))
        };
        let members = vec![
            one("nobody", None),
            one(&member.id, None),
            one("", Some("nobody")),
            one(&member.id, member.instance.as_deref()),
        ];
        LeaveGroupRequest::default()
            .with_group_id(group_id(&member.group))
            .with_members(members)
    };
    let changed = |name, begin: fn(&mut Ask<'_>) -> Classic, change: fn(&mut Classic)| {
        case(name, move |ask| {
            let mut member = begin(ask);
            change(&mut member);
            leave(ask, &member)
        })
    };
    vec![
        changed("stable", stable, |_| ()),
        changed("completing", joined, |_| ()),
        changed("member-unknown", stable, |m| m.id = "nobody".to_owned()),
        changed("member-no-name", stable, |m| m.id.clear()),
        changed("group-unknown", fresh, |m| m.id = "a".to_owned()),
        changed("group-no-name", fresh, |m| m.group.clear()),
        changed("static", fixed, |_| ()),
        changed("static-by-name", fixed, |m| m.id.clear()),
        changed("static-other-id", fixed, |m| m.id = "nobody".to_owned()),
        changed(
            "consumer-group",
            |ask| Classic::new(&modern(ask).group, TOPIC),
            |_| (),
        ),
        case("several", move |ask| several(ask, stable)),
        case("several-static", move |ask| several(ask, fixed)),
        case("nobody", |ask| {
            let group = stable(ask).group;
            LeaveGroupRequest::default().with_group_id(group_id(&group))
        }),
        generated(4, |ask| {
            let member = anybody(ask);
            leave(ask, &member)
        }),
    ]
}

/// DescribeGroups in every state that needs no waiting.
pub(crate) fn describe_groups() -> Vec<Case> {
    let of = |groups: &[&str]| {
        let groups = groups.iter().map(|group| group_id(group)).collect();
        DescribeGroupsRequest::default().with_groups(groups)
    };
    vec![
        case("stable", move |ask| of(&[&stable(ask).group])),
        case("static", move |ask| of(&[&fixed(ask).group])),
        case("completing", move |ask| of(&[&joined(ask).group])),
        case("empty", move |ask| of(&[&empty(ask)])),
        case("consumer-group", move |ask| of(&[&modern(ask).group])),
        case("connect", move |ask| {
            let member = settled(ask, |mut member| {
                member.kind = "connect".to_owned();
                member
            });
            of(&[&member.group])
        }),
        case("left", move |ask| {
            let member = stable(ask);
            ask.side.connection.call(5, &member.leave());
            of(&[&member.group])
        }),
        case("unknown", move |_| of(&["no-such-group"])),
        case("no-name", move |_| of(&[""])),
        case("nothing", move |_| of(&[])),
        case("several", move |ask| {
            let group = empty(ask);
            of(&[&group, "no-such-group", &group])
        }),
        case("operations", move |ask| {
            of(&[&empty(ask)]).with_include_authorized_operations(true)
        }),
        generated(3, |ask| {
            let groups = any_groups(ask);
            let groups = groups.iter().map(|group| group_id(group)).collect();
            DescribeGroupsRequest::default().with_groups(groups)
        }),
    ]
}

/// ListGroups where there are groups of all kinds: each case adds some.
pub(crate) fn list_groups() -> Vec<Case> {
    let of = |ask: &mut Ask<'_>, states: &[&str], types: &[&str]| {
        let mut member = Classic::new(&ask.fresh("classic"), TOPIC);
        ask.side.connection.alone(&mut member, TOPIC, &[0]);
        modern(ask);
        let empty = commit(&ask.fresh("empty"), ("", -1), TOPIC, &[(0, 7)]);
        ask.side.connection.commit(&empty);
        ListGroupsRequest::default()
            .with_states_filter(states.iter().map(|state| text(state)).collect())
            .with_types_filter(types.iter().map(|kind| text(kind)).collect())
    };
    vec![
        case("later", move |ask| of(ask, &[], &[])),
        case("later-stable", move |ask| of(ask, &["sTable"], &[])),
        case("later-consumer", move |ask| of(ask, &[], &["CONSUMER"])),
        case("later-empty", move |ask| of(ask, &["Empty"], &["classic"])),
    ]
}

/// DeleteGroups with and without members.
pub(crate) fn delete_groups() -> Vec<Case> {
    let of = |groups: &[&str]| {
        let groups = groups.iter().map(|group| group_id(group)).collect();
        DeleteGroupsRequest::default().with_groups_names(groups)
    };
    vec![
        case("empty", move |ask| of(&[&empty(ask)])),
        case("stable", move |ask| of(&[&stable(ask).group])),
        case("consumer-group", move |ask| of(&[&modern(ask).group])),
        case("unknown", move |_| of(&["no-such-group"])),
        case("no-name", move |_| of(&[""])),
        case("nothing", move |_| of(&[])),
        case("twice", move |ask| {
            let group = empty(ask);
            of(&[&group, &group, "no-such-group"])
        }),
        generated(3, |ask| {
            let groups = any_groups(ask);
            let groups = groups.iter().map(|group| group_id(group)).collect();
            DeleteGroupsRequest::default().with_groups_names(groups)
        }),
    ]
}
