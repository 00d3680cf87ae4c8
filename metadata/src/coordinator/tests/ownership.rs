//! Whatever members of consumer groups do, and whenever a leader takes over: no partition is at two of them.

use std::collections::BTreeSet;

use aquifer_format::ids::PartitionId;
use proptest::{collection::vec, prelude::*};

use super::{
    bed::Bed,
    member::{GROUP, Member, create, delete, grow, send, settle},
};
use crate::{event::group::TopicPartitions, state::tests::world::Counting};

#[derive(Clone, Debug)]
enum Act {
    /// A member joins, or joins again from nothing.
    Join(usize),
    Beat(usize),
    /// A heartbeat whose answer is lost.
    Lost(usize),
    Leave(usize),
    /// A static member leaves for a while.
    Pause(usize),
    Pass(u64),
    Create(usize),
    Grow(usize, i32),
    Delete(usize),
    TakeOver,
}

fn act() -> impl Strategy<Value = Act> {
    let member = || 0usize..MEMBERS;
    let topic = || 0usize..TOPICS.len();
    prop_oneof![
        4 => member().prop_map(Act::Join),
        12 => member().prop_map(Act::Beat),
        3 => member().prop_map(Act::Lost),
        1 => member().prop_map(Act::Leave),
        1 => member().prop_map(Act::Pause),
        3 => (1u64..20_000).prop_map(Act::Pass),
        2 => topic().prop_map(Act::Create),
        1 => (topic(), 3i32..9).prop_map(|(topic, count)| Act::Grow(topic, count)),
        1 => topic().prop_map(Act::Delete),
        1 => Just(Act::TakeOver),
    ]
}

const MEMBERS: usize = 5;
const TOPICS: [&str; 3] = ["t0", "t1", "u"];

fn members() -> Vec<Member> {
    let mut members = vec![
        Member::new("a", &["t0", "t1"]),
        Member::new("b", &["t0", "t1", "u"]),
        Member::matching("c", "t.*"),
        Member::new("d", &["t0", "u"]).fixed("static"),
        // takes the place of d
        Member::new("e", &["t0", "u"]).fixed("static"),
    ];
    for member in &mut members {
        // sessions end before times to revoke do, now and then
        member.joining.rebalance_timeout_ms = 30_000;
    }
    members
}

fn exists(bed: &Bed, topic: usize) -> bool {
    let found = bed.ledger.state.topic_by_name(TOPICS[topic]);
    found.is_some()
}

fn run(bed: &mut Bed, rand: &Counting, members: &mut [Member], act: &Act) {
    match act {
        Act::Join(at) => {
            members[*at].join(bed);
        }
        Act::Beat(at) => {
            let member = &mut members[*at];
            if member.epoch > 0 && member.beat(bed) != 0 {
                member.epoch = 0;
                member.owned = TopicPartitions::new();
            }
        }
        Act::Lost(at) => {
            if members[*at].epoch > 0 {
                send(bed, &members[*at].beating());
            }
        }
        Act::Leave(at) => {
            members[*at].leave(bed, -1);
            members[*at].epoch = 0;
        }
        Act::Pause(at) => {
            members[*at].leave(bed, -2);
            members[*at].epoch = 0;
        }
        Act::Pass(millis) => bed.pass(*millis),
        Act::Create(topic) if !exists(bed, *topic) => {
            create(bed, rand, TOPICS[*topic], 2);
        }
        Act::Grow(topic, count) if exists(bed, *topic) => {
            let topic = TOPICS[*topic];
            let found = bed.ledger.state.topic_by_name(topic);
            let has = found.map_or(0, |found| found.partitions());
            if has < u32::try_from(*count).unwrap() {
                grow(bed, topic, *count);
            }
        }
        Act::Delete(topic) if exists(bed, *topic) => delete(bed, TOPICS[*topic]),
        Act::TakeOver => bed.take_over(),
        Act::Create(_) | Act::Grow(..) | Act::Delete(_) => {}
    }
}

/// A partition is at one member at most, and members that the group knows have no more than it thinks.
fn check(bed: &Bed, members: &[Member]) -> Result<(), TestCaseError> {
    let Some((_, group)) = bed.ledger.state.group_by_name(GROUP) else {
        return Ok(());
    };
    let group = group.consumer().unwrap();
    let mut owned: BTreeSet<PartitionId> = BTreeSet::new();
    for (id, entry) in &group.members {
        let current = &entry.current;
        for partition in current.assigned.iter().chain(current.revoking.iter()) {
            prop_assert!(owned.insert(partition), "{partition} twice, at {id} too");
        }
    }
    for member in members {
        let entry = group.members.get(member.id());
        let Some(entry) = entry.filter(|entry| entry.current.epoch == member.epoch) else {
            continue;
        };
        let thought = entry.current.assigned.and(&entry.current.revoking);
        prop_assert!(member.owned.is_within(&thought), "{} has more", member.id());
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_partition_is_at_two_members(acts in vec(act(), 1..80)) {
        let (mut bed, rand) = (Bed::new(), Counting::default());
        create(&mut bed, &rand, "t0", 3);
        let mut members = members();
        for act in &acts {
            run(&mut bed, &rand, &mut members, act);
            check(&bed, &members)?;
        }
        // whoever is left comes to rest, with everything at somebody
        bed.pass(60_000);
        members.truncate(4);
        let mut all: Vec<&mut Member> = members.iter_mut().collect();
        for member in &mut all {
            prop_assert_eq!(member.join(&mut bed), 0);
        }
        settle(&mut bed, &mut all);
        check(&bed, &members)?;
        let topics = bed.ledger.state.topics();
        let partitions: u32 = topics.map(|topic| topic.partitions()).sum();
        let owned: usize = members.iter().map(Member::has).sum();
        prop_assert_eq!(owned, usize::try_from(partitions).unwrap());
    }
}
