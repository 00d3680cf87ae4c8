//! Which agent of a zone reads a unit from the bucket, for all of its zone.
//!
//! Every agent decides for itself, from what the watch told it. Where views differ for a moment, a unit
//! is read once more than needed; nothing else depends on it. The hash is what agents of different
//! releases must agree on: never change it.

use aquifer_format::ids::{ObjectId, ObjectLevel, UploadEpoch};
use aquifer_metadata_api::watch::AgentView;

use super::unit::Unit;
use crate::placement::{hash_u128, mix};

/// Upload epochs (minutes) for which what an agent wrote is taken to be in its memory still.
pub const TAIL_EPOCHS: u32 = 2;

/// Whether the object was written so lately that its writer has it in memory. An epoch that this agent
/// has not heard of yet is as new as can be.
#[must_use]
pub fn is_tail(object: &ObjectId, current: UploadEpoch) -> bool {
    let age = current.0.saturating_sub(object.upload_epoch.0);
    object.level == ObjectLevel::L0 && age <= TAIL_EPOCHS
}

/// The live agents of `zone` that others can get units from. Agents without a zone are together in one:
/// who runs in several zones names them.
pub fn members<'a>(
    agents: &'a [AgentView],
    zone: &'a str,
) -> impl Iterator<Item = &'a AgentView> + Clone {
    agents
        .iter()
        .filter(move |agent| agent.address.zone == zone && !agent.address.peer.is_empty())
}

/// The owner of a unit among the members of a zone: its writer if that is one of them and the unit is of
/// the tail, else by rendezvous hashing. None = there are no members.
#[must_use]
pub fn owner<'a>(
    unit: &Unit,
    members: impl Iterator<Item = &'a AgentView> + Clone,
    current: UploadEpoch,
) -> Option<&'a AgentView> {
    let writer = || {
        let slot = unit.object().writer;
        members.clone().find(|member| member.slot == slot)
    };
    if is_tail(&unit.object(), current)
        && let Some(writer) = writer()
    {
        return Some(writer);
    }
    let key = unit_hash(unit);
    members
        .clone()
        .max_by_key(|member| (mix(key ^ mix(u64::from(member.slot.0) + 1)), member.slot))
}

fn unit_hash(unit: &Unit) -> u64 {
    let object = unit.object();
    let level = match object.level {
        ObjectLevel::L0 => 0u8,
        ObjectLevel::L1 => 1,
        ObjectLevel::L2 => 2,
    };
    let high = u128::from(object.incarnation.0) << 96
        | u128::from(object.upload_epoch.0) << 64
        | u128::from(object.writer.0) << 32
        | u128::from(unit.part());
    hash_u128(high) ^ mix(object.unique ^ mix(u64::from(level)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aquifer_format::ids::{Incarnation, WriterSlot};
    use aquifer_metadata_api::register::AgentAddress;
    use proptest::prelude::*;

    use super::*;

    fn agent(slot: u32, zone: &str) -> AgentView {
        AgentView {
            slot: WriterSlot(slot),
            address: AgentAddress {
                host: format!("agent{slot}"),
                port: 9092,
                node_ids: 1,
                zone: zone.to_owned(),
                peer: format!("agent{slot}:9400"),
            },
        }
    }

    fn unit(upload_epoch: u32, writer: u32, unique: u64) -> Unit {
        part(ObjectLevel::L0, upload_epoch, writer, unique, 0)
    }

    fn part(level: ObjectLevel, upload_epoch: u32, writer: u32, unique: u64, part: u32) -> Unit {
        let object = ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(upload_epoch),
            writer: WriterSlot(writer),
            level,
            unique,
        };
        Unit::new(object, part).unwrap()
    }

    fn owner_slot(unit: &Unit, agents: &[AgentView], zone: &str, current: u32) -> Option<u32> {
        owner(unit, members(agents, zone), UploadEpoch(current)).map(|agent| agent.slot.0)
    }

    #[test]
    fn the_writer_owns_the_tail_in_its_zone() {
        let agents = [agent(1, "a"), agent(2, "a"), agent(3, "b")];
        for unique in 0..20 {
            for current in [9, 10, 11, 12] {
                let tail = unit(10, 2, unique);
                assert_eq!(owner_slot(&tail, &agents, "a", current), Some(2));
                assert_eq!(owner_slot(&tail, &agents, "b", current), Some(3));
            }
        }
        let later = |writer| (0..50).map(move |unique| unit(10, writer, unique));
        let owners = |writer| -> Vec<_> {
            later(writer)
                .map(|unit| owner_slot(&unit, &agents, "a", 13).unwrap())
                .collect()
        };
        assert!(owners(2).contains(&1) && owners(2).contains(&2));
        // Nobody is asked in another zone, and a zone without members has no owner.
        assert!(!owners(3).contains(&3));
        assert_eq!(owner_slot(&unit(10, 2, 1), &agents, "c", 10), None);
    }

    #[test]
    fn only_agents_that_others_can_reach_own_anything() {
        let mut agents = [agent(1, "a"), agent(2, "a")];
        agents[1].address.peer.clear();
        for unique in 0..20 {
            assert_eq!(owner_slot(&unit(10, 2, unique), &agents, "a", 10), Some(1));
        }
    }

    #[test]
    fn units_spread_over_the_zone() {
        let agents: Vec<_> = (1..=4).map(|slot| agent(slot, "a")).collect();
        let mut counts = BTreeMap::new();
        for n in 0..400 {
            let level_0 = unit(1, 1, u64::from(n));
            let large = part(ObjectLevel::L2, 90, 1, 7, n);
            for unit in [level_0, large] {
                *counts
                    .entry(owner_slot(&unit, &agents, "a", 90).unwrap())
                    .or_insert(0u32) += 1;
            }
        }
        assert_eq!(counts.len(), 4);
        assert!(
            counts.values().all(|n| (140..=260).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn regression_the_hash_is_what_other_releases_have() {
        let agents: Vec<_> = (1..=8).map(|slot| agent(slot, "a")).collect();
        let owners: Vec<_> = (0..4)
            .map(|n| unit(1, 1, n))
            .chain((0..4).map(|n| part(ObjectLevel::L1, 90, 2, 3, n)))
            .map(|unit| owner_slot(&unit, &agents, "a", 90).unwrap())
            .collect();
        assert_eq!(owners, GOLDEN);
    }

    const GOLDEN: [u32; 8] = [7, 4, 4, 3, 2, 1, 1, 4];

    fn any_unit() -> impl Strategy<Value = Unit> {
        (0u32..30, 0u32..12, any::<u64>(), 0u8..2, 0u32..100).prop_map(
            |(epoch, writer, unique, level, number)| match level {
                0 => unit(epoch, writer, unique),
                _ => part(ObjectLevel::L1, epoch, writer, unique, number),
            },
        )
    }

    fn any_agents() -> impl Strategy<Value = Vec<AgentView>> {
        proptest::collection::btree_map(0u32..12, 0u8..3, 0..10).prop_map(|agents| {
            let zones = ["a", "b", "c"];
            agents
                .into_iter()
                .map(|(slot, zone)| agent(slot, zones[usize::from(zone)]))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn the_owner_is_a_member_whatever_the_order_of_the_view(
            unit in any_unit(), agents in any_agents(), current in 0u32..40,
        ) {
            let found = owner_slot(&unit, &agents, "a", current);
            let in_zone = |slot| agents.iter().any(|a| a.slot.0 == slot && a.address.zone == "a");
            prop_assert_eq!(found.is_some(), members(&agents, "a").next().is_some());
            prop_assert!(found.is_none_or(in_zone));
            let reversed: Vec<_> = agents.iter().rev().cloned().collect();
            prop_assert_eq!(found, owner_slot(&unit, &reversed, "a", current));
            if is_tail(&unit.object(), UploadEpoch(current)) && in_zone(unit.object().writer.0) {
                prop_assert_eq!(found, Some(unit.object().writer.0));
            }
        }

        #[test]
        fn who_goes_takes_only_its_own_units_away(
            units in proptest::collection::vec(any_unit(), 1..30), agents in any_agents(),
            gone in any::<prop::sample::Index>(), current in 0u32..40,
        ) {
            prop_assume!(!agents.is_empty());
            let mut rest = agents.clone();
            let gone = rest.remove(gone.index(agents.len())).slot.0;
            for unit in units {
                let (before, after) = (
                    owner_slot(&unit, &agents, "a", current),
                    owner_slot(&unit, &rest, "a", current),
                );
                prop_assert!(before == after || before == Some(gone), "{:?} {:?}", before, after);
            }
        }
    }
}
