//! The `range` assignor: of each topic, a range of partitions for each of its subscribers, in the order of
//! members, so that partitions of the same index in topics of the same size go together.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use aquifer_format::ids::{PartitionId, PartitionIndex, TopicId};

use super::{Assignment, Spec, SpecMember};
use crate::event::group::MemberId;

/// How a topic is shared out.
#[derive(Default)]
struct Shares {
    members: i32,
    next: i32,
    /// Members yet to get one more than the others.
    extra: i32,
    quota: i32,
}

impl Shares {
    fn next_end(&mut self) -> i32 {
        let mut end = self.next.saturating_add(self.quota);
        if self.extra > 0 {
            self.extra -= 1;
            end = end.saturating_add(1);
        }
        end
    }
}

pub(super) fn assign(spec: &Spec) -> Assignment {
    let mut members: Vec<(&MemberId, &SpecMember)> = spec.members.iter().collect();
    members.sort_by(|a, b| in_order(*a, *b));
    let mut topics: BTreeMap<TopicId, Shares> = BTreeMap::new();
    for (_, member) in &members {
        for topic in member.topics.iter() {
            topics.entry(*topic).or_default().members += 1;
        }
    }
    for (topic, shares) in &mut topics {
        let partitions = spec.topics.get(topic).copied().unwrap_or(0);
        shares.quota = partitions / shares.members.max(1);
        shares.extra = partitions % shares.members.max(1);
    }
    let mut assignment = Assignment::new();
    for (id, member) in members {
        let mut assigned = Vec::new();
        for topic in member.topics.iter() {
            let Some(shares) = topics.get_mut(topic) else {
                continue;
            };
            let end = shares.next_end();
            let range = shares.next..end;
            assigned.extend(range.map(|index| PartitionId::new(*topic, PartitionIndex(index))));
            shares.next = end;
        }
        assignment.insert(Arc::clone(id), assigned.into_iter().collect());
    }
    assignment
}

/// Static members come first, by instance: they keep their ranges whatever their member ids are.
fn in_order(a: (&MemberId, &SpecMember), b: (&MemberId, &SpecMember)) -> Ordering {
    match (&a.1.instance, &b.1.instance) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.0.cmp(b.0),
    }
}
