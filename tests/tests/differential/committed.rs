//! Committed offsets: OffsetCommit, OffsetFetch, OffsetDelete.

use aquifer_tests::groups::{
    Classic, commit, group_id, offset_commit_10, offset_fetch, offset_fetch_10,
};
use bytes::Bytes;
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
    offset_fetch_request::OffsetFetchRequestTopic,
};

use crate::{
    case::{Ask, Case, case, framed, generated, name, text},
    groups::{TOPIC, empty, modern, new, settled, stable},
};

/// An OffsetCommit by a member with its generation, changed.
fn by_member(
    name: &'static str,
    begin: fn(&mut Ask<'_>) -> Classic,
    change: fn(&mut Classic),
) -> Case {
    case(name, move |ask| {
        let mut member = begin(ask);
        change(&mut member);
        member.commit(TOPIC, 0, 5)
    })
}

/// OffsetCommit by members, by nobody, and of what cannot be committed.
pub(crate) fn offset_commit() -> Vec<Case> {
    let nobody = ("", -1);
    let plain = move |ask: &Ask<'_>, topic: &str, offsets: &[(i32, i64)]| {
        commit(&ask.fresh("group"), nobody, topic, offsets)
    };
    let with_metadata = move |ask: &Ask<'_>, metadata: Option<String>| {
        let mut request = plain(ask, TOPIC, &[(0, 5), (1, 6)]);
        request.topics[0].partitions[1].committed_metadata = metadata.as_deref().map(text);
        request
    };
    vec![
        case("plain", move |ask| plain(ask, TOPIC, &[(0, 5), (2, 0)])),
        case("twice-one", move |ask| plain(ask, TOPIC, &[(0, 5), (0, 6)])),
        case("topic-unknown", move |ask| plain(ask, "missing", &[(0, 5)])),
        case("topic-no-name", move |ask| plain(ask, "", &[(0, 5)])),
        case("partition-unknown", move |ask| {
            plain(ask, TOPIC, &[(0, 5), (99, 5), (-1, 5)])
        }),
        case("offset-below-0", move |ask| plain(ask, TOPIC, &[(0, -7)])),
        case("offset-beyond", move |ask| {
            plain(ask, TOPIC, &[(0, i64::MAX)])
        }),
        case("partitions-none", move |ask| plain(ask, TOPIC, &[])),
        case("topics-none", move |ask| {
            plain(ask, TOPIC, &[]).with_topics(Vec::new())
        }),
        case("group-no-name", move |_| {
            commit("", nobody, TOPIC, &[(0, 5)])
        }),
        case("metadata", move |ask| {
            with_metadata(ask, Some("é".to_owned()))
        }),
        case("metadata-null", move |ask| with_metadata(ask, None)),
        case("metadata-4096", move |ask| {
            with_metadata(ask, Some("x".repeat(4_096)))
        }),
        case("metadata-4097", move |ask| {
            with_metadata(ask, Some("x".repeat(4_097)))
        }),
        case("retention", move |ask| {
            plain(ask, TOPIC, &[(0, 5)]).with_retention_time_ms(1_000)
        }),
        case("generation-of-nobody", move |ask| {
            commit(&ask.fresh("group"), ("a", 1), TOPIC, &[(0, 5)])
        }),
        case("group-empty-generation", move |ask| {
            commit(&empty(ask), ("a", 1), TOPIC, &[(0, 5)])
        }),
        by_member("member", stable, |_| ()),
        by_member("generation-old", stable, |m| m.generation = 0),
        by_member("generation-new", stable, |m| m.generation += 1),
        by_member("member-unknown", stable, |m| m.id = "nobody".to_owned()),
        by_member("member-nobody", stable, |m| {
            m.id.clear();
            m.generation = -1;
        }),
        by_member("instance-unknown", stable, |m| {
            m.instance = Some("other".to_owned());
        }),
        by_member(
            "static-other-id",
            |ask| settled(ask, |member| member.called("fixed")),
            |m| m.id = "nobody".to_owned(),
        ),
        case("modern", |ask| {
            let member = modern(ask);
            commit(&member.group, (&member.id, member.epoch), TOPIC, &[(0, 5)])
        }),
        case("modern-stale", |ask| {
            let member = modern(ask);
            let epoch = member.epoch + 1;
            commit(&member.group, (&member.id, epoch), TOPIC, &[(0, 5)])
        }),
        case("modern-unknown", |ask| {
            commit(&modern(ask).group, ("nobody", 1), TOPIC, &[(0, 5)])
        }),
        case("modern-nobody", |ask| {
            commit(&modern(ask).group, ("", -1), TOPIC, &[(0, 5)])
        }),
        by_id("ids", |ask| {
            let known = ask.id(TOPIC);
            let group = ask.fresh("group");
            let (unknown, nil) = (ask.id("unknown"), ask.id("nil"));
            let offsets = [
                (known, 0, 5, Some("")),
                (unknown, 0, 5, Some("")),
                (known, 99, 5, None),
                (nil, 0, 5, Some("")),
            ];
            offset_commit_10(&group, ("", -1), &offsets)
        }),
        by_id("ids-member", |ask| {
            let member = stable(ask);
            let offsets = [(ask.id(TOPIC), 0, 5, Some("said"))];
            offset_commit_10(&member.group, (&member.id, member.generation), &offsets)
        }),
        by_id("ids-stale", |ask| {
            let member = modern(ask);
            let offsets = [(ask.id(TOPIC), 0, 5, Some(""))];
            offset_commit_10(&member.group, (&member.id, member.epoch + 1), &offsets)
        }),
        generated(4, |ask| {
            let who = ask
                .random
                .pick(&[("", -1), ("", -1), ("nobody", 1), ("", 3)]);
            let topic = ask.random.pick(&[TOPIC, TOPIC, "missing"]);
            let partitions = ask.random.among(&[0, 1, 2, 99, -1]);
            let offset = |index| (index, ask.random.pick(&[0, 5, -1, i64::MAX]));
            let offsets: Vec<(i32, i64)> = partitions.into_iter().map(offset).collect();
            commit(&ask.fresh("group"), who, topic, &offsets)
        }),
    ]
}

/// Version 10 names topics by id.
fn by_id(name: &'static str, build: fn(&mut Ask<'_>) -> Bytes) -> Case {
    framed::<OffsetCommitRequest>(name, move |ask| (ask.version == 10).then(|| build(ask)))
}

/// What each version asks for: `of` = partitions of topics, None = everything.
fn fetch(ask: &Ask<'_>, group: &str, of: Option<&[(&str, &[i32])]>) -> OffsetFetchRequest {
    if ask.version >= 8 {
        let mut request = offset_fetch(group, None);
        request.groups[0].topics = of.map(|topics| {
            let one = |(topic, partitions): &(&str, &[i32])| {
                let mut request = offset_fetch(group, Some((*topic, *partitions)));
                let topics = request.groups.remove(0).topics;
                topics.expect("it names one").remove(0)
            };
            topics.iter().map(one).collect()
        });
        return request;
    }
    let one = |(topic, partitions): &(&str, &[i32])| {
        OffsetFetchRequestTopic::default()
            .with_name(name(topic))
            .with_partition_indexes(partitions.to_vec())
    };
    OffsetFetchRequest::default()
        .with_group_id(group_id(group))
        .with_topics(of.map(|topics| topics.iter().map(one).collect()))
}

/// OffsetFetch of some, of everything, of several groups, by members.
pub(crate) fn offset_fetch_cases() -> Vec<Case> {
    vec![
        case("some", |ask| {
            let group = empty(ask);
            fetch(ask, &group, Some(&[(TOPIC, &[0, 1])]))
        }),
        case("everything", |ask| {
            let group = empty(ask);
            fetch(ask, &group, None)
        }),
        case("nothing", |ask| {
            let group = empty(ask);
            fetch(ask, &group, Some(&[]))
        }),
        case("topic-unknown", |ask| {
            let group = empty(ask);
            fetch(
                ask,
                &group,
                Some(&[("missing", &[0]), (TOPIC, &[0, 99, -1])]),
            )
        }),
        case("group-unknown", |ask| {
            fetch(ask, "no-such-group", Some(&[(TOPIC, &[0])]))
        }),
        case("group-unknown-everything", |ask| {
            fetch(ask, "no-such-group", None)
        }),
        case("group-no-name", |ask| {
            fetch(ask, "", Some(&[(TOPIC, &[0])]))
        }),
        case("metadata", |ask| {
            let group = ask.fresh("group");
            let mut request = commit(&group, ("", -1), TOPIC, &[(1, 5)]);
            let partition = &mut request.topics[0].partitions[0];
            partition.committed_metadata = Some(text("said"));
            partition.committed_leader_epoch = 3;
            ask.side.connection.commit(&request);
            fetch(ask, &group, Some(&[(TOPIC, &[1])]))
        }),
        case("several-groups", |ask| {
            let group = empty(ask);
            let mut request = offset_fetch(&group, None);
            let of = |of| offset_fetch("no-such-group", of).groups.remove(0);
            request.groups.push(of(None));
            request.groups.push(of(Some((TOPIC, &[0]))));
            request
        }),
        case("groups-none", |_| OffsetFetchRequest::default()),
        case("require-stable", |ask| {
            let group = empty(ask);
            fetch(ask, &group, None).with_require_stable(true)
        }),
        case("modern", |ask| {
            let member = modern(ask);
            of_member(&member.group, &member.id, member.epoch)
        }),
        case("modern-stale", |ask| {
            let member = modern(ask);
            of_member(&member.group, &member.id, member.epoch + 1)
        }),
        case("modern-unknown", |ask| {
            let member = modern(ask);
            of_member(&member.group, "nobody", 1)
        }),
        case("classic-with-epoch", |ask| {
            let member = stable(ask);
            of_member(&member.group, &member.id, 7)
        }),
        framed::<OffsetFetchRequest>("ids", |ask| {
            if ask.version != 10 {
                return None;
            }
            let group = empty(ask);
            let (known, unknown) = (ask.id(TOPIC), ask.id("unknown"));
            let of = [(known, 0), (unknown, 0), (known, 99), (ask.id("nil"), 0)];
            Some(offset_fetch_10(&group, Some(&of)))
        }),
        framed::<OffsetFetchRequest>("ids-everything", |ask| {
            if ask.version != 10 {
                return None;
            }
            Some(offset_fetch_10(&empty(ask), None))
        }),
        generated(4, |ask| {
            let begins: [fn(&mut Ask<'_>) -> String; 3] =
                [empty, empty, |_| "no-such-group".to_owned()];
            let group = ask.random.pick(&begins)(ask);
            let topic = ask.random.pick(&[TOPIC, TOPIC, "missing"]);
            let partitions = ask.random.among(&[0, 1, 2, 99, -1]);
            fetch(ask, &group, Some(&[(topic, partitions.as_slice())]))
        }),
    ]
}

/// By a member with its epoch (version 9).
fn of_member(group: &str, member: &str, epoch: i32) -> OffsetFetchRequest {
    let mut request = offset_fetch(group, Some((TOPIC, &[0])));
    request.groups[0].member_id = Some(text(member));
    request.groups[0].member_epoch = epoch;
    request
}

/// OffsetDelete of groups with and without subscribers.
pub(crate) fn offset_delete() -> Vec<Case> {
    fn of(group: &str, topics: &[(&str, &[i32])]) -> OffsetDeleteRequest {
        let one = |(topic, partitions): &(&str, &[i32])| {
            let partition =
                |index: &i32| OffsetDeleteRequestPartition::default().with_partition_index(*index);
            OffsetDeleteRequestTopic::default()
                .with_name(name(topic))
                .with_partitions(partitions.iter().map(partition).collect())
        };
        OffsetDeleteRequest::default()
            .with_group_id(group_id(group))
            .with_topics(topics.iter().map(one).collect())
    }
    vec![
        case("committed", |ask| of(&empty(ask), &[(TOPIC, &[0])])),
        case("not-committed", |ask| of(&empty(ask), &[(TOPIC, &[1])])),
        case("topic-unknown", |ask| {
            of(&empty(ask), &[("missing", &[0]), (TOPIC, &[0])])
        }),
        case("partition-unknown", |ask| {
            of(&empty(ask), &[(TOPIC, &[99])])
        }),
        case("group-unknown", |_| of("no-such-group", &[(TOPIC, &[0])])),
        case("group-no-name", |_| of("", &[(TOPIC, &[0])])),
        case("nothing", |ask| of(&empty(ask), &[])),
        case("subscribed", |ask| {
            of(&stable(ask).group, &[(TOPIC, &[0]), ("empty", &[0])])
        }),
        case("subscribed-modern", |ask| {
            of(&modern(ask).group, &[(TOPIC, &[0]), ("empty", &[0])])
        }),
        case("connect", |ask| {
            let member = settled(ask, |mut member| {
                member.kind = "connect".to_owned();
                member
            });
            of(&member.group, &[(TOPIC, &[0])])
        }),
        case("left", |ask| {
            let member = stable(ask);
            ask.side.connection.commit(&member.commit(TOPIC, 0, 3));
            ask.side.connection.call(5, &member.leave());
            of(&new(ask).group, &[(TOPIC, &[0])])
        }),
        generated(6, |ask| {
            let begins: [fn(&mut Ask<'_>) -> String; 4] = [
                empty,
                |ask| stable(ask).group,
                |ask| modern(ask).group,
                |_| "no-such-group".to_owned(),
            ];
            let group = ask.random.pick(&begins)(ask);
            let partitions = ask.random.among(&[0, 1, 99, -1]);
            let topics = ask.random.among(&[TOPIC, "empty", "missing"]);
            let topics = topics
                .into_iter()
                .map(|topic| (topic, partitions.as_slice()));
            of(&group, &topics.collect::<Vec<_>>())
        }),
    ]
}
