//! Requests that name the same group again and again: the answer stays what a message can hold.

use aquifer_format::{
    ids::{Offset, PartitionId, PartitionIndex, TopicId},
    limits::METADATA_MESSAGE_BYTES_MAX,
};
use bytes::Bytes;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DescribeGroupsRequest, OffsetFetchRequest, TopicName,
    offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
};

use super::{
    bed::{Bed, caller},
    play::{group_id, text},
};
use crate::{
    coordinator::Ledger,
    event::{
        Event,
        group::{
            ClassicMember, ConsumerMember, GroupChange, GroupKind, MemberId, OffsetCommit,
            OffsetsCommitted, Protocol,
        },
        offset_metadata,
    },
    state::{
        decide,
        tests::world::{Counting, create_request},
    },
};

/// Bytes that a member of the groups says.
const SAID: usize = 1 << 20;
/// How often the groups are named: more than an answer holds.
const TIMES: usize = 2 * METADATA_MESSAGE_BYTES_MAX / SAID;

fn bed(change: GroupChange, kind: GroupKind) -> Bed {
    let mut bed = Bed::new();
    let group = bed.ledger.state.next_group();
    let name = "g".to_owned();
    bed.ledger.apply(Event::GroupCreated { group, name });
    let changes = vec![GroupChange::Kind(kind), change];
    bed.ledger.apply(Event::GroupChanged { group, changes });
    bed
}

/// Some were answered, the others refused; none is left out.
fn assert_bounded(codes: &[i16]) {
    assert_eq!(codes.len(), TIMES);
    let answered = codes.iter().filter(|code| **code == 0).count();
    assert!(answered > 0 && answered * SAID <= METADATA_MESSAGE_BYTES_MAX);
    let refused = codes.iter().filter(|code| **code == -1).count();
    assert_eq!(answered + refused, TIMES);
}

#[test]
fn regression_descriptions_of_classic_groups_are_bounded() {
    let member = GroupChange::Member(ClassicMember {
        id: MemberId::from("m"),
        instance: None,
        client_id: "client".into(),
        client_host: "/10.0.0.1".into(),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 300_000,
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: Bytes::from(vec![0; SAID]),
        }],
    });
    let bed = bed(member, GroupKind::Classic);
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id("g"); TIMES]);
    let answer = bed.coordinator.describe(&bed.ledger.state, &request);
    let codes: Vec<i16> = answer.groups.iter().map(|group| group.error_code).collect();
    assert_bounded(&codes);
    let last = answer.groups.last().unwrap();
    assert!(last.error_message.is_some() && last.members.is_empty());
}

#[test]
fn regression_descriptions_of_consumer_groups_are_bounded() {
    let member = ConsumerMember {
        id: MemberId::from("m"),
        instance: None,
        rack: None,
        client_id: "client".into(),
        client_host: "/10.0.0.1".into(),
        rebalance_timeout_ms: 300_000,
        topics: vec!["t".repeat(SAID).into()],
        regex: None,
        assignor: None,
        classic: None,
    };
    let bed = bed(
        GroupChange::ConsumerMember(Box::new(member)),
        GroupKind::Consumer,
    );
    let names = vec![group_id("g"); TIMES];
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(names);
    let answer = bed
        .coordinator
        .consumer_describe(&bed.ledger.state, &request);
    let codes: Vec<i16> = answer.groups.iter().map(|group| group.error_code).collect();
    assert_bounded(&codes);
}

#[test]
fn regression_fetches_of_offsets_are_bounded() {
    let mut bed = Bed::new();
    let request = create_request("t", 1, &[]);
    let decided = decide::create_topics(&bed.ledger.state, &Counting::default(), &request);
    for event in decided.events {
        bed.ledger.apply(event);
    }
    let topic = TopicId(decided.reply.topics[0].topic_id);
    let group = bed.ledger.state.next_group();
    let name = "g".to_owned();
    bed.ledger.apply(Event::GroupCreated { group, name });
    let commit = OffsetCommit {
        offset: Offset(1),
        leader_epoch: -1,
        metadata: offset_metadata(&"m".repeat(SAID)),
    };
    bed.ledger
        .apply(Event::OffsetsCommitted(Box::new(OffsetsCommitted {
            group,
            at_ms: 0,
            expires_at_ms: None,
            offsets: vec![(PartitionId::new(topic, PartitionIndex(0)), commit)],
        })));
    let named = OffsetFetchRequestTopics::default()
        .with_name(TopicName(text("t")))
        .with_partition_indexes(vec![0]);
    for topics in [None, Some(vec![named])] {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group_id("g"))
            .with_topics(topics);
        let request = OffsetFetchRequest::default().with_groups(vec![group; TIMES]);
        let state = &bed.ledger.state;
        let answer = bed.coordinator.offset_fetch(state, &caller(9, 1), &request);
        let codes: Vec<i16> = answer.groups.iter().map(|group| group.error_code).collect();
        assert_bounded(&codes);
    }
}
