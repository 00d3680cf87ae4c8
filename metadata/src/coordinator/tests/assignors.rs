//! Assignors: the same as Kafka's, and what must hold of any assignment.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::ids::{PartitionId, PartitionIndex, TopicId};
use proptest::{collection::btree_set, prelude::*};
use uuid::Uuid;

use crate::{
    coordinator::assignor::{Assignment, Spec, SpecMember, assign, supported},
    event::group::{MemberId, TopicPartitions},
};

/// What Kafka's assignors answered; written by `golden/Assignors.java`.
const GOLDEN: &str = include_str!("golden/assignors.txt");

fn topic(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

/// The items of `[a,b,...]`.
fn items(list: &str) -> impl Iterator<Item = &str> {
    let list = list.trim_matches(['[', ']']);
    list.split(',').filter(|item| !item.is_empty())
}

fn partitions(list: &str) -> TopicPartitions {
    let partition = |item: &str| {
        let (of, index) = item.split_once('-').unwrap();
        let index = PartitionIndex(index.parse().unwrap());
        PartitionId::new(topic(of.parse().unwrap()), index)
    };
    items(list).map(partition).collect()
}

fn member(words: &[&str]) -> (MemberId, SpecMember) {
    let topics = items(words[3]).map(|number| topic(number.parse().unwrap()));
    let member = SpecMember {
        instance: (words[2] != "-").then(|| Arc::from(words[2])),
        topics: Arc::new(topics.collect()),
        assigned: partitions(words[4]),
    };
    (Arc::from(words[1]), member)
}

#[test]
fn assignments_are_those_of_kafka() {
    let mut cases = 0;
    for case in GOLDEN.split("assign ").filter(|case| !case.is_empty()) {
        let mut lines = case.lines();
        let first: Vec<&str> = lines.next().unwrap().split(' ').collect();
        let topics = items(first[2]).map(|item| {
            let (number, count) = item.split_once('x').unwrap();
            (topic(number.parse().unwrap()), count.parse().unwrap())
        });
        let mut spec = Spec {
            topics: topics.collect(),
            homogeneous: first[1] == "same",
            ..Spec::default()
        };
        let mut expected = Assignment::new();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let (id, member) = member(&words);
            expected.insert(Arc::clone(&id), partitions(words[5]));
            spec.members.insert(id, member);
        }
        let answered = assign(first[0], &spec).unwrap();
        for (id, expected) in &expected {
            let assigned = answered.get(id).cloned().unwrap_or_default();
            assert_eq!(assigned, *expected, "{id} in {case}");
        }
        cases += 1;
    }
    assert_eq!(cases, 192);
}

#[test]
fn assignors_are_known_by_name_and_by_class() {
    let names = |configured: &[&str]| {
        let configured: Vec<String> = configured.iter().map(|name| (*name).to_owned()).collect();
        supported(&configured)
    };
    assert_eq!(names(&["range", "uniform"]), ["range", "uniform"]);
    let class = "org.apache.kafka.coordinator.group.assignor.RangeAssignor";
    assert_eq!(names(&[class, "range"]), ["range"]);
    assert_eq!(names(&["com.example.Mine"]), ["uniform", "range"]);
    assert!(assign("sticky", &Spec::default()).is_none());
    for name in names(&[]) {
        assert_eq!(assign(name, &Spec::default()), Some(Assignment::new()));
    }
}

/// Up to 8 members that subscribe to some of up to 6 topics; `same`: all to all.
fn specs(same: bool) -> impl Strategy<Value = Spec> {
    let topics = proptest::collection::vec(0i32..12, 1..6);
    let members = proptest::collection::vec(btree_set(0usize..6, 0..6), 1..8);
    (topics, members).prop_map(move |(counts, members)| {
        let numbered = (1..).map(topic).zip(counts);
        let topics: BTreeMap<TopicId, i32> = numbered.collect();
        let ids: Vec<TopicId> = topics.keys().copied().collect();
        let members = members.into_iter().enumerate().map(|(index, chosen)| {
            let some = chosen.into_iter().filter_map(|at| ids.get(at).copied());
            let topics = if same {
                ids.iter().copied().collect()
            } else {
                some.collect()
            };
            let member = SpecMember {
                topics: Arc::new(topics),
                ..SpecMember::default()
            };
            (Arc::from(format!("m{index}")), member)
        });
        Spec {
            members: members.collect(),
            topics,
            homogeneous: same,
        }
    })
}

/// The spec after everybody got what was assigned.
fn settled(mut spec: Spec, assignment: &Assignment) -> Spec {
    for (id, member) in &mut spec.members {
        member.assigned = assignment.get(id).cloned().unwrap_or_default();
    }
    spec
}

/// Every partition that somebody subscribes to is at one subscriber, and nothing else is anywhere.
fn check_complete(spec: &Spec, assignment: &Assignment) {
    let mut owners: BTreeMap<PartitionId, &MemberId> = BTreeMap::new();
    for (id, assigned) in assignment {
        for partition in assigned.iter() {
            assert!(spec.members[id].topics.contains(&partition.topic));
            assert!(partition.partition.0 < spec.topics[&partition.topic]);
            assert_eq!(owners.insert(partition, id), None, "{partition} twice");
        }
    }
    let wanted = spec.topics.iter().filter(|(topic, _)| {
        let mut members = spec.members.values();
        members.any(|member| member.topics.contains(*topic))
    });
    let wanted: i32 = wanted.map(|(_, count)| *count).sum();
    assert_eq!(owners.len(), usize::try_from(wanted).unwrap());
}

fn sizes(spec: &Spec, assignment: &Assignment) -> Vec<usize> {
    let of = |id: &MemberId| assignment.get(id).map_or(0, TopicPartitions::len);
    spec.members.keys().map(of).collect()
}

proptest! {
    #[test]
    fn every_partition_has_one_subscriber(
        same in specs(true),
        mixed in specs(false),
    ) {
        for spec in [same, mixed] {
            for name in ["uniform", "range"] {
                let assignment = assign(name, &spec).unwrap();
                check_complete(&spec, &assignment);
                let again = assign(name, &settled(spec.clone(), &assignment)).unwrap();
                check_complete(&spec, &again);
            }
        }
    }

    #[test]
    fn members_with_the_same_topics_get_as_much_and_keep_it(spec in specs(true)) {
        let assignment = assign("uniform", &spec).unwrap();
        let sizes = sizes(&spec, &assignment);
        let (most, least) = (sizes.iter().max().unwrap(), sizes.iter().min().unwrap());
        prop_assert!(most - least <= 1, "{sizes:?}");
        let after = settled(spec, &assignment);
        prop_assert_eq!(assign("uniform", &after).unwrap(), assignment);
    }

    #[test]
    fn a_member_that_leaves_moves_nothing_that_need_not_move(mut spec in specs(true)) {
        let assignment = assign("uniform", &spec).unwrap();
        spec = settled(spec, &assignment);
        let (gone, _) = spec.members.pop_first().unwrap();
        prop_assume!(!spec.members.is_empty());
        let after = assign("uniform", &spec).unwrap();
        check_complete(&spec, &after);
        for (id, before) in assignment.iter().filter(|(id, _)| **id != gone) {
            prop_assert!(before.is_within(&after[id]), "{id} lost some");
        }
    }

    #[test]
    fn mixed_subscriptions_are_as_equal_as_any_single_move_can_make_them(spec in specs(false)) {
        let assignment = assign("uniform", &spec).unwrap();
        let size = |id: &MemberId| assignment.get(id).map_or(0, TopicPartitions::len);
        for (id, assigned) in &assignment {
            for partition in assigned.iter() {
                for (other, member) in &spec.members {
                    if member.topics.contains(&partition.topic) {
                        prop_assert!(size(id) <= size(other) + 1, "{partition} of {id} to {other}");
                    }
                }
            }
        }
    }
}
