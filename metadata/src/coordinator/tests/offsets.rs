//! Committed offsets: OffsetCommit, OffsetFetch, OffsetDelete, DeleteGroups, expiry.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::ids::TopicId;
use aquifer_metadata_api::kafka::tags;
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        DeleteGroupsRequest, GroupId, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{
    bed::{Bed, caller},
    play::subscription,
};
use crate::{
    coordinator::Ledger,
    event::{
        Event,
        group::{
            ClassicMember, ClassicPhase, ClassicState, ConsumerMember, CurrentAssignment,
            GroupChange, GroupKind, GroupNumber, MemberId, Protocol,
        },
    },
    state::{
        Budgets, decide,
        tests::world::{Counting, NOW, create_request, delete_request, topic_name},
    },
};

const DAY_MS: i64 = 24 * 3_600_000;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

impl Bed {
    fn topic(&mut self, name: &str, partitions: i32) -> TopicId {
        // each has its number, so that ids differ
        let rand = Counting::default();
        for _ in 0..self.ledger.rows {
            let _ = aquifer_store::Rand::next_u64(&rand);
        }
        let request = create_request(name, partitions, &[]);
        let decided = decide::create_topics(&self.ledger.state, &rand, &request);
        for event in decided.events {
            self.ledger.apply(event);
        }
        TopicId(decided.reply.topics[0].topic_id)
    }

    fn delete_topic(&mut self, name: &str) {
        let decided = decide::delete_topics(&self.ledger.state, &NOW, 6, &delete_request(name));
        for event in decided.events {
            self.ledger.apply(event);
        }
    }

    /// A group with these changes.
    fn group(&mut self, name: &str, changes: Vec<GroupChange>) -> GroupNumber {
        let group = self.ledger.state.next_group();
        let name = name.to_owned();
        self.ledger.apply(Event::GroupCreated { group, name });
        if !changes.is_empty() {
            self.ledger.apply(Event::GroupChanged { group, changes });
        }
        group
    }

    fn commit_as(&mut self, version: i16, request: &OffsetCommitRequest) -> Vec<(i32, i16)> {
        let caller = caller(version, 1);
        let response = self
            .coordinator
            .offset_commit(&mut self.ledger, self.at, &caller, request);
        let topics = response.topics.into_iter();
        let partitions = topics.flat_map(|topic| topic.partitions);
        partitions
            .map(|partition| (partition.partition_index, partition.error_code))
            .collect()
    }

    /// Commits as an administrator does; the codes.
    fn commit(&mut self, group: &str, topic: &str, offsets: &[(i32, i64)]) -> Vec<(i32, i16)> {
        let request = commit_request(group, topic, offsets);
        self.commit_as(9, &request)
    }

    /// (partition, offset, code) of these partitions.
    fn fetch(&self, group: &str, topic: &str, partitions: &[i32]) -> Vec<(i32, i64, i16)> {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(partitions.to_vec());
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(group))
            .with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]);
        let response = self
            .coordinator
            .offset_fetch(&self.ledger.state, &caller(9, 1), &request);
        let group = &response.groups[0];
        assert_eq!(group.error_code, 0);
        let partitions = group.topics[0].partitions.iter();
        partitions
            .map(|p| (p.partition_index, p.committed_offset, p.error_code))
            .collect()
    }

    fn delete_offsets(&mut self, group: &str, topic: &str, partitions: &[i32]) -> (i16, Vec<i16>) {
        let partitions = partitions
            .iter()
            .map(|index| OffsetDeleteRequestPartition::default().with_partition_index(*index));
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions.collect());
        let request = OffsetDeleteRequest::default()
            .with_group_id(group_id(group))
            .with_topics(vec![topic]);
        let response = self.coordinator.offset_delete(&mut self.ledger, &request);
        let topics = response.topics.into_iter();
        let codes = topics
            .flat_map(|topic| topic.partitions)
            .map(|p| p.error_code);
        (response.error_code, codes.collect())
    }

    fn delete_groups(&mut self, names: &[&str]) -> Vec<(String, i16)> {
        let names = names.iter().map(|name| group_id(name)).collect();
        let request = DeleteGroupsRequest::default().with_groups_names(names);
        let response = self.coordinator.delete_groups(&mut self.ledger, &request);
        let results = response.results.into_iter();
        results
            .map(|result| (result.group_id.to_string(), result.error_code))
            .collect()
    }
}

fn commit_request(group: &str, topic: &str, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let partitions = offsets.iter().map(|(index, offset)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(3)
            .with_committed_metadata(Some(text("note")))
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(partitions.collect());
    OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

/// A classic group in this state, with one member unless it is empty.
fn classic(state: ClassicState, protocol_type: Option<&str>) -> Vec<GroupChange> {
    let mut changes = Vec::new();
    if state != ClassicState::Empty {
        changes.push(GroupChange::Member(ClassicMember {
            id: MemberId::from("m"),
            instance: None,
            client_id: Arc::from("client"),
            client_host: Arc::from("/10.0.0.1"),
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 300_000,
            protocols: Vec::new(),
        }));
    }
    changes.push(GroupChange::Phase(ClassicPhase {
        state,
        generation: 1,
        protocol_type: protocol_type.map(str::to_owned),
        since_ms: 1_700_000_000_000,
        ..ClassicPhase::default()
    }));
    changes
}

/// A consumer group of one member, subscribed to topic `t`, at epoch 2.
fn consumer() -> Vec<GroupChange> {
    let member = ConsumerMember {
        id: MemberId::from("m"),
        instance: None,
        rack: None,
        client_id: Arc::from("client"),
        client_host: Arc::from("/10.0.0.1"),
        rebalance_timeout_ms: 300_000,
        topics: vec![Arc::from("t")],
        regex: None,
        assignor: None,
        classic: None,
    };
    vec![
        GroupChange::Kind(GroupKind::Consumer),
        GroupChange::ConsumerMember(Box::new(member)),
        GroupChange::Epoch {
            epoch: 2,
            metadata_hash: 1,
        },
        GroupChange::Current {
            member: MemberId::from("m"),
            assignment: CurrentAssignment {
                epoch: 2,
                ..CurrentAssignment::default()
            },
        },
    ]
}

#[test]
fn what_was_committed_is_fetched_also_from_the_next_leader() {
    let mut bed = Bed::new();
    bed.topic("t", 2);
    assert_eq!(bed.fetch("g", "t", &[0]), [(0, -1, 0)], "nobody committed");
    assert_eq!(bed.commit("g", "t", &[(0, 5), (1, -7)]), [(0, 0), (1, 0)]);
    let expected = [(1, -7, 0), (0, 5, 0), (9, -1, 0)];
    assert_eq!(bed.fetch("g", "t", &[1, 0, 9]), expected);
    assert_eq!(bed.fetch("g", "other", &[0]), [(0, -1, 0)]);
    assert_eq!(bed.fetch("other", "t", &[0]), [(0, -1, 0)]);
    bed.take_over();
    assert_eq!(bed.fetch("g", "t", &[1, 0, 9]), expected);
    let (number, group) = bed.ledger.state.group_by_name("g").unwrap();
    let phase = &group.classic().unwrap().phase;
    assert_eq!(*phase, ClassicPhase::default(), "a simple group");
    let t = bed.ledger.state.topic_by_name("t").unwrap().id();
    let id = aquifer_format::ids::PartitionId::new(t, aquifer_format::ids::PartitionIndex(0));
    let committed = bed.ledger.state.committed_offset(number, id).unwrap();
    assert_eq!((committed.leader_epoch, &*committed.metadata), (3, "note"));
    assert_eq!(committed.at_ms, bed.at.unix_millis);
}

#[test]
fn a_commit_is_one_event_and_a_fetch_none() {
    let mut bed = Bed::new();
    bed.topic("t", 3);
    bed.commit("g", "t", &[(0, 1)]);
    let rows = bed.ledger.rows;
    bed.commit("g", "t", &[(2, 1), (0, 1), (1, 1)]);
    assert_eq!(bed.ledger.rows, rows + 1);
    bed.fetch("g", "t", &[0, 1, 2]);
    assert_eq!(bed.ledger.rows, rows + 1);
}

#[test]
fn of_a_partition_that_is_named_twice_the_last_counts() {
    let mut bed = Bed::new();
    bed.topic("t", 1);
    assert_eq!(bed.commit("g", "t", &[(0, 9), (0, 4)]), [(0, 0), (0, 0)]);
    assert_eq!(bed.fetch("g", "t", &[0]), [(0, 4, 0)]);
}

#[test]
fn what_does_not_exist_is_refused_partition_by_partition() {
    let mut bed = Bed::new();
    let id = bed.topic("t", 1);
    let codes = bed.commit("g", "t", &[(0, 1), (1, 1), (-1, 1)]);
    assert_eq!(codes, [(0, 0), (1, 3), (-1, 3)]);
    assert_eq!(bed.commit("h", "nope", &[(0, 1)]), [(0, 3)]);
    assert_eq!(
        bed.ledger.state.group_by_name("h"),
        None,
        "nothing was committed"
    );
    let by_id = |topic: TopicId| {
        let mut request = commit_request("g", "", &[(0, 7), (5, 7)]);
        tags::set_topic_id(&mut request.topics[0].unknown_tagged_fields, topic);
        request
    };
    assert_eq!(bed.commit_as(10, &by_id(id)), [(0, 0), (5, 3)]);
    let unknown = TopicId(Uuid::from_u128(99));
    assert_eq!(bed.commit_as(10, &by_id(unknown)), [(0, 100), (5, 100)]);
    assert_eq!(bed.fetch("g", "t", &[0]), [(0, 7, 0)]);
}

#[test]
fn a_commit_without_a_group_needs_no_generation() {
    for (version, generation, code) in [(9, -1, 0), (2, -1, 0), (9, 0, 69), (8, 0, 22)] {
        let mut bed = Bed::new();
        bed.topic("t", 1);
        let mut request = commit_request("g", "t", &[(0, 1)]);
        request.generation_id_or_member_epoch = generation;
        assert_eq!(bed.commit_as(version, &request), [(0, code)], "{version}");
        assert_eq!(bed.ledger.state.group_by_name("g").is_some(), code == 0);
    }
    let mut bed = Bed::new();
    bed.topic("t", 1);
    assert_eq!(bed.commit("", "t", &[(0, 1)]), [(0, 0)], "as in Kafka");
    let long = "g".repeat(1_025);
    assert_eq!(bed.commit(&long, "t", &[(0, 1)]), [(0, 24)]);
}

#[test]
fn commits_of_members_are_fenced_by_their_generation_or_epoch() {
    use ClassicState::{CompletingRebalance, Empty, PreparingRebalance, Stable};
    let cases = [
        (classic(Empty, None), "", -1, 9, 0),
        (classic(Empty, None), "m", 1, 9, 25),
        (classic(Stable, Some("consumer")), "m", 1, 9, 0),
        (classic(Stable, Some("consumer")), "m", 0, 9, 22),
        (classic(Stable, Some("consumer")), "x", 1, 9, 25),
        (classic(Stable, Some("consumer")), "", -1, 9, 25),
        (classic(PreparingRebalance, Some("consumer")), "m", 1, 9, 0),
        (
            classic(CompletingRebalance, Some("consumer")),
            "m",
            1,
            9,
            27,
        ),
        (consumer(), "m", 2, 9, 0),
        (consumer(), "m", 2, 8, 35),
        (consumer(), "m", 1, 9, 113),
        (consumer(), "x", 2, 9, 25),
        (consumer(), "", -1, 9, 25),
    ];
    for (changes, member, generation, version, code) in cases {
        let mut bed = Bed::new();
        bed.topic("t", 1);
        let case = format!("{changes:?} {member} {generation} {version}");
        bed.group("g", changes);
        let mut request = commit_request("g", "t", &[(0, 1), (9, 1)]);
        request.generation_id_or_member_epoch = generation;
        request.member_id = text(member);
        assert_eq!(
            bed.commit_as(version, &request),
            [(0, code), (9, 3)],
            "{case}"
        );
    }
}

#[test]
fn a_commit_keeps_the_session_of_a_classic_member() {
    use crate::coordinator::timers::Timer;
    let mut bed = Bed::new();
    bed.topic("t", 1);
    let group = bed.group("g", classic(ClassicState::Stable, Some("consumer")));
    bed.take_over();
    let session = Timer::Session(group, MemberId::from("m"));
    let before = bed
        .coordinator
        .timers
        .of(&session)
        .expect("it has a session");
    bed.pass(10_000);
    let mut request = commit_request("g", "t", &[(0, 1)]);
    request.generation_id_or_member_epoch = 1;
    request.member_id = text("m");
    assert_eq!(bed.commit_as(9, &request), [(0, 0)]);
    assert!(bed.coordinator.timers.of(&session).expect("still") > before);
}

#[test]
fn metadata_is_bounded_as_java_counts_it() {
    let mut bed = Bed::new();
    bed.topic("t", 3);
    let mut request = commit_request("g", "t", &[(0, 1), (1, 1), (2, 1)]);
    let partitions = &mut request.topics[0].partitions;
    partitions[0].committed_metadata = Some(text(&"x".repeat(4_097)));
    partitions[1].committed_metadata = Some(text(&"ü".repeat(4_096)));
    partitions[2].committed_metadata = None;
    assert_eq!(bed.commit_as(9, &request), [(0, 12), (1, 0), (2, 0)]);
}

#[test]
fn a_full_leader_lets_committed_offsets_move_and_nothing_grow() {
    let mut bed = Bed::new();
    bed.topic("t", 3);
    bed.commit("g", "t", &[(0, 1)]);
    let pages = bed.ledger.state.all_pages();
    let budgets = Budgets {
        offset_bytes: 1,
        ..Budgets::default()
    };
    bed.ledger.state = crate::state::State::from_pages(budgets, &pages).unwrap();
    assert_eq!(bed.commit("g", "t", &[(0, 2), (1, 2)]), [(0, 0), (1, 28)]);
    assert_eq!(bed.fetch("g", "t", &[0, 1]), [(0, 2, 0), (1, -1, 0)]);
    let mut request = commit_request("g", "t", &[(0, 3)]);
    request.topics[0].partitions[0].committed_metadata = Some(text("a longer note"));
    assert_eq!(bed.commit_as(9, &request), [(0, 28)]);
    let budgets = Budgets {
        group_bytes: 1,
        ..Budgets::default()
    };
    bed.ledger.state = crate::state::State::from_pages(budgets, &pages).unwrap();
    assert_eq!(bed.commit("new", "t", &[(0, 1)]), [(0, 28)]);
    assert_eq!(bed.commit("g", "t", &[(1, 1)]), [(1, 0)]);
}

#[test]
fn all_offsets_are_fetched_by_names_with_the_ids_of_topics() {
    let mut bed = Bed::new();
    let b = bed.topic("b", 600);
    let a = bed.topic("a", 1);
    bed.commit("g", "b", &[(599, 4), (0, 3)]);
    bed.commit("g", "a", &[(0, 2)]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(group_id("g"))
        .with_topics(None);
    let nobody = group.clone().with_group_id(group_id("nobody"));
    let request = OffsetFetchRequest::default().with_groups(vec![group, nobody]);
    let state = &bed.ledger.state;
    let response = bed.coordinator.offset_fetch(state, &caller(9, 1), &request);
    let topics = response.groups[0].topics.iter().map(|topic| {
        let id = tags::topic_id(&topic.unknown_tagged_fields).unwrap();
        let partitions = topic.partitions.iter();
        let partitions = partitions.map(|p| (p.partition_index, p.committed_offset));
        (topic.name.to_string(), id, partitions.collect::<Vec<_>>())
    });
    let expected = [
        ("a".to_owned(), a, vec![(0, 2)]),
        ("b".to_owned(), b, vec![(0, 3), (599, 4)]),
    ];
    assert_eq!(topics.collect::<Vec<_>>(), expected);
    assert_eq!(response.groups[1].topics, []);
    assert_eq!(response.groups[1].error_code, 0);
}

#[test]
fn topics_are_fetched_by_id() {
    let mut bed = Bed::new();
    let id = bed.topic("t", 1);
    bed.commit("g", "t", &[(0, 2)]);
    let unknown = TopicId(Uuid::from_u128(99));
    let topics = [id, unknown].map(|id| {
        let mut topic = OffsetFetchRequestTopics::default().with_partition_indexes(vec![0]);
        tags::set_topic_id(&mut topic.unknown_tagged_fields, id);
        topic
    });
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(group_id("g"))
        .with_topics(Some(topics.to_vec()));
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    let state = &bed.ledger.state;
    let response = bed
        .coordinator
        .offset_fetch(state, &caller(10, 1), &request);
    let found = response.groups[0].topics.iter().map(|topic| {
        let id = tags::topic_id(&topic.unknown_tagged_fields).unwrap();
        let partition = &topic.partitions[0];
        (id, partition.committed_offset, partition.error_code)
    });
    assert_eq!(found.collect::<Vec<_>>(), [(id, 2, 0), (unknown, -1, 100)]);
}

#[test]
fn members_of_consumer_groups_fetch_with_their_epoch() {
    let mut bed = Bed::new();
    bed.topic("t", 1);
    bed.group("g", consumer());
    for (member, epoch, code) in [
        (None, -1, 0),
        (Some("m"), 2, 0),
        (Some("m"), 1, 113),
        (Some("x"), 2, 25),
    ] {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group_id("g"))
            .with_member_id(member.map(text))
            .with_member_epoch(epoch)
            .with_topics(None);
        let request = OffsetFetchRequest::default().with_groups(vec![group]);
        let state = &bed.ledger.state;
        let response = bed.coordinator.offset_fetch(state, &caller(9, 1), &request);
        assert_eq!(response.groups[0].error_code, code, "{member:?} {epoch}");
    }
}

#[test]
fn a_topic_that_begins_again_has_no_offsets() {
    let mut bed = Bed::new();
    bed.topic("t", 1);
    bed.commit("g", "t", &[(0, 9)]);
    bed.delete_topic("t");
    assert_eq!(bed.fetch("g", "t", &[0]), [(0, -1, 0)]);
    bed.topic("t", 1);
    assert_eq!(bed.fetch("g", "t", &[0]), [(0, -1, 0)]);
}

#[test]
fn offsets_of_topics_that_nobody_reads_are_deleted() {
    let mut bed = Bed::new();
    bed.topic("t", 2);
    bed.topic("u", 1);
    assert_eq!(bed.delete_offsets("", "t", &[0]), (24, vec![]));
    assert_eq!(bed.delete_offsets("nobody", "t", &[0]), (69, vec![]));
    bed.commit("simple", "t", &[(0, 1)]);
    let rows = bed.ledger.rows;
    let deleted = bed.delete_offsets("simple", "t", &[0, 1, 2]);
    assert_eq!(deleted, (0, vec![0, 0, 3]));
    assert_eq!(bed.delete_offsets("simple", "t", &[0]), (0, vec![0]));
    assert_eq!(bed.delete_offsets("simple", "nope", &[0]), (0, vec![3]));
    assert_eq!(bed.ledger.rows, rows + 1, "nothing was there any more");
    assert_eq!(bed.fetch("simple", "t", &[0]), [(0, -1, 0)]);
    bed.group("connect", classic(ClassicState::Stable, Some("connect")));
    assert_eq!(bed.delete_offsets("connect", "t", &[0]), (68, vec![]));
    bed.group("idle", classic(ClassicState::Empty, Some("connect")));
    assert_eq!(bed.delete_offsets("idle", "t", &[0]), (0, vec![0]));
    bed.group("busy", consumer());
    assert_eq!(bed.delete_offsets("busy", "t", &[0, 5]), (0, vec![86, 3]));
    assert_eq!(bed.delete_offsets("busy", "u", &[0]), (0, vec![0]));
}

/// What members say is read once for all topics, else this takes minutes.
#[test]
fn regression_a_deletion_that_names_a_topic_many_times_is_done_soon() {
    let mut bed = Bed::new();
    bed.topic("t", 1);
    let mut changes = classic(ClassicState::Stable, Some("consumer"));
    let names: Vec<String> = (0..20_000).map(|number| format!("t{number}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.push("t");
    for change in &mut changes {
        match change {
            GroupChange::Member(member) => member.protocols.push(Protocol {
                name: "range".to_owned(),
                metadata: subscription(&names),
            }),
            GroupChange::Phase(phase) => phase.protocol = Some("range".to_owned()),
            _ => {}
        }
    }
    bed.group("g", changes);
    let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![partition]);
    let request = OffsetDeleteRequest::default()
        .with_group_id(group_id("g"))
        .with_topics(vec![topic; 20_000]);
    let response = bed.coordinator.offset_delete(&mut bed.ledger, &request);
    assert_eq!(response.topics.len(), 20_000);
    let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    assert!(partitions.all(|partition| partition.error_code == 86));
}

#[test]
fn groups_without_members_are_deleted() {
    let mut bed = Bed::new();
    bed.topic("t", 1);
    bed.commit("a", "t", &[(0, 1)]);
    bed.group("b", classic(ClassicState::Stable, Some("consumer")));
    bed.group("c", consumer());
    bed.group("d", vec![GroupChange::Kind(GroupKind::Consumer)]);
    let codes = bed.delete_groups(&["a", "b", "nobody", "c", "d", "a"]);
    let expected = [("a", 0), ("b", 68), ("nobody", 69), ("c", 68), ("d", 0)];
    assert_eq!(codes, expected.map(|(name, code)| (name.to_owned(), code)));
    assert_eq!(bed.fetch("a", "t", &[0]), [(0, -1, 0)]);
    let left: BTreeMap<_, _> = bed.ledger.state.groups().collect();
    assert_eq!(left.len(), 2);
}

/// Lets the looks of that time happen.
fn days(bed: &mut Bed, days: u64) {
    bed.pass(days * u64::try_from(DAY_MS).unwrap());
}

#[test]
fn offsets_of_simple_groups_expire_a_week_after_their_commit() {
    let mut bed = Bed::new();
    bed.topic("t", 2);
    bed.commit("g", "t", &[(0, 1)]);
    days(&mut bed, 3);
    bed.commit("g", "t", &[(1, 1)]);
    days(&mut bed, 5);
    assert_eq!(bed.fetch("g", "t", &[0, 1]), [(0, -1, 0), (1, 1, 0)]);
    assert!(bed.ledger.state.group_by_name("g").is_some());
    days(&mut bed, 3);
    assert_eq!(
        bed.ledger.state.group_by_name("g"),
        None,
        "nothing is left of it"
    );
    assert_eq!(bed.ledger.state.usage().offset_bytes, 0);
    assert_eq!(bed.ledger.state.usage().group_bytes, 0);
}

#[test]
fn old_clients_say_when_their_offsets_expire() {
    let mut bed = Bed::new();
    bed.topic("t", 1);
    let mut request = commit_request("g", "t", &[(0, 1)]);
    tags::set_retention_ms(&mut request.unknown_tagged_fields, DAY_MS);
    assert_eq!(bed.commit_as(2, &request), [(0, 0)]);
    let mut request = commit_request("h", "t", &[(0, 1)]);
    tags::set_retention_ms(&mut request.unknown_tagged_fields, -1);
    assert_eq!(bed.commit_as(2, &request), [(0, 0)]);
    days(&mut bed, 2);
    assert_eq!(bed.ledger.state.group_by_name("g"), None);
    assert_eq!(bed.fetch("h", "t", &[0]), [(0, 1, 0)]);
}

#[test]
fn offsets_of_a_group_that_lost_its_members_expire_a_week_after_that() {
    let mut bed = Bed::new();
    bed.topic("t", 1);
    let since_ms = bed.at.unix_millis + 6 * DAY_MS;
    bed.commit("g", "t", &[(0, 1)]);
    let (group, _) = bed.ledger.state.group_by_name("g").unwrap();
    let phase = ClassicPhase {
        protocol_type: Some("consumer".to_owned()),
        since_ms,
        ..ClassicPhase::default()
    };
    let changes = vec![GroupChange::Phase(phase)];
    bed.ledger.apply(Event::GroupChanged { group, changes });
    days(&mut bed, 12);
    assert_eq!(bed.fetch("g", "t", &[0]), [(0, 1, 0)]);
    days(&mut bed, 2);
    assert_eq!(bed.ledger.state.group_by_name("g"), None);
}

#[test]
fn groups_without_offsets_and_members_go_and_others_stay() {
    let mut bed = Bed::new();
    bed.group("empty", classic(ClassicState::Empty, Some("consumer")));
    bed.group(
        "empty of consumers",
        vec![GroupChange::Kind(GroupKind::Consumer)],
    );
    for number in 0..600 {
        bed.group(&format!("many {number}"), Vec::new());
    }
    // more than one step
    let mut ticks = 0;
    while bed.ledger.state.groups().count() > 0 {
        let due = bed.coordinator.next_due().expect("it looks again");
        bed.at.now = due.max(bed.at.now);
        bed.coordinator.tick(&mut bed.ledger, bed.at);
        ticks += 1;
        assert!(ticks < 10);
    }
    assert!(ticks > 1, "requests have their turn between the steps");
    assert_eq!(bed.coordinator.take_answers(), []);
}

#[test]
fn offsets_that_members_read_do_not_expire() {
    let mut bed = Bed::new();
    bed.topic("t", 1);
    bed.topic("u", 1);
    let group = bed.group("g", consumer());
    let mut request = commit_request("g", "t", &[(0, 1)]);
    request
        .topics
        .extend(commit_request("g", "u", &[(0, 1)]).topics);
    request.generation_id_or_member_epoch = 2;
    request.member_id = text("m");
    assert_eq!(bed.commit_as(9, &request), [(0, 0), (0, 0)]);
    // the clock of what clients see goes on; no session ends by that
    bed.at.unix_millis += 8 * DAY_MS;
    let (state, coordinator) = (&mut bed.ledger, &mut bed.coordinator);
    coordinator.expire_offsets(state, bed.at);
    assert_eq!(bed.fetch("g", "t", &[0]), [(0, 1, 0)]);
    assert_eq!(bed.fetch("g", "u", &[0]), [(0, -1, 0)]);
    assert_eq!(bed.ledger.state.group(group).unwrap().members(), 1);
}

#[test]
fn bytes_that_are_kept_are_copies() {
    let mut bed = Bed::new();
    bed.topic("t", 1);
    let frame = Bytes::from(vec![b'x'; 100]);
    let metadata = StrBytes::try_from(frame.slice(..4)).unwrap();
    let mut request = commit_request("g", "t", &[(0, 1)]);
    request.topics[0].partitions[0].committed_metadata = Some(metadata);
    assert_eq!(bed.commit_as(9, &request), [(0, 0)]);
    drop(request);
    assert!(frame.is_unique(), "nothing holds the frame");
}
