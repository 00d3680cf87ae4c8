//! What happens to groups, played by [`super::player`].

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::ids::{Offset, PartitionId, PartitionIndex};
use proptest::{collection::vec, prelude::*};

use super::player::NAMES;
use crate::{
    event::{
        Event,
        group::{GroupChange, GroupNumber, OffsetCommit, OffsetsCommitted},
        strategy,
    },
    state::State,
};

const GROUPS: [&str; 2] = ["g", "h"];

#[derive(Clone, Debug)]
pub(super) enum GroupOp {
    Create {
        name: usize,
    },
    Change {
        group: usize,
        changes: Vec<GroupChange>,
    },
    Delete {
        group: usize,
    },
    /// Offsets of these partitions of a topic, at some distance from each other.
    Commit {
        group: usize,
        topic: usize,
        partitions: Vec<i32>,
        offset: i64,
    },
    Remove {
        group: usize,
        topic: usize,
        partitions: Vec<i32>,
    },
    Configure {
        name: usize,
        value: Option<&'static str>,
    },
}

pub(super) fn op() -> impl Strategy<Value = GroupOp> {
    let partitions = || vec(prop_oneof![Just(0), Just(1), Just(511), Just(512)], 0..3);
    prop_oneof![
        3 => (0usize..2).prop_map(|name| GroupOp::Create { name }),
        5 => (any::<usize>(), vec(strategy::group_change(), 0..4)).prop_map(|(group, changes)| {
            GroupOp::Change { group, changes }
        }),
        1 => any::<usize>().prop_map(|group| GroupOp::Delete { group }),
        6 => (any::<usize>(), 0usize..3, partitions(), any::<i64>()).prop_map(
            |(group, topic, partitions, offset)| GroupOp::Commit {
                group,
                topic,
                partitions,
                offset,
            }
        ),
        2 => (any::<usize>(), 0usize..3, partitions()).prop_map(|(group, topic, partitions)| {
            GroupOp::Remove { group, topic, partitions }
        }),
        1 => (0usize..2, prop::option::of(Just("6000"))).prop_map(|(name, value)| {
            GroupOp::Configure { name, value }
        }),
    ]
}

/// The event that an operation is, where there is what it is about.
pub(super) fn event(state: &State, op: &GroupOp) -> Option<Event> {
    let groups: Vec<GroupNumber> = state.groups().map(|(number, _)| number).collect();
    let pick = |index: &usize| groups.get(index % groups.len().max(1)).copied();
    let of_topic = |topic: &usize, partitions: &[i32]| -> Option<Vec<PartitionId>> {
        let id = state.topic_by_name(NAMES[*topic])?.id();
        let indexes = partitions.iter().map(|index| PartitionIndex(*index));
        let mut all: Vec<_> = indexes.map(|index| PartitionId::new(id, index)).collect();
        all.sort_unstable();
        all.dedup();
        Some(all)
    };
    Some(match op {
        GroupOp::Create { name } => {
            let name = GROUPS[*name].to_owned();
            if state.group_by_name(&name).is_some() {
                return None;
            }
            let group = state.next_group();
            Event::GroupCreated { group, name }
        }
        GroupOp::Change { group, changes } => Event::GroupChanged {
            group: pick(group)?,
            changes: changes.clone(),
        },
        GroupOp::Delete { group } => Event::GroupDeleted {
            group: pick(group)?,
        },
        GroupOp::Commit {
            group,
            topic,
            partitions,
            offset,
        } => {
            let commit = OffsetCommit {
                offset: Offset(*offset),
                leader_epoch: -1,
                metadata: Arc::from(if offset % 2 == 0 { "" } else { "odd" }),
            };
            let partitions = of_topic(topic, partitions)?.into_iter();
            Event::OffsetsCommitted(Box::new(OffsetsCommitted {
                group: pick(group)?,
                at_ms: offset.wrapping_mul(3),
                expires_at_ms: (offset % 3 == 0).then_some(*offset),
                offsets: partitions.map(|id| (id, commit.clone())).collect(),
            }))
        }
        GroupOp::Remove {
            group,
            topic,
            partitions,
        } => Event::OffsetsRemoved {
            group: pick(group)?,
            partitions: of_topic(topic, partitions)?,
        },
        GroupOp::Configure { name, value } => {
            let name_of = "consumer.heartbeat.interval.ms".to_owned();
            let configs = value.map(|value| (name_of, value.to_owned()));
            Event::GroupConfigsSet {
                group: GROUPS[*name].to_owned(),
                configs: configs.into_iter().collect::<BTreeMap<_, _>>(),
            }
        }
    })
}
