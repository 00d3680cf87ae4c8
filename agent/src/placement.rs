//! Which agent a client is told to use for a partition, and the node ids of agents.
//!
//! Every agent answers every request alike, so placement only spreads load and keeps caches warm. It is
//! the same on every agent and moves little when agents come and go: rendezvous hashing of (topic id,
//! partition) over the live agents of the client's zone, or over all where the client named none or
//! its zone has none. The hash is part of what agents of different releases must agree on: never
//! change it.

use aquifer_format::ids::{ClusterId, PartitionId, WriterSlot};
use aquifer_format::limits::NODE_IDS_PER_SLOT;
use aquifer_metadata_api::watch::AgentView;

/// Live agents that a client may be told of.
#[derive(Clone, Debug)]
pub struct Candidates<'a> {
    agents: Vec<&'a AgentView>,
}

/// One of the node ids of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    /// The agent.
    pub agent: &'a AgentView,
    /// Index of the node id.
    pub index: u8,
}

impl Node<'_> {
    /// Kafka's node id.
    #[must_use]
    pub fn id(&self) -> i32 {
        let slot = i32::try_from(self.agent.slot.0).unwrap_or(i32::MAX / NODE_IDS_PER_SLOT - 1);
        slot.saturating_mul(NODE_IDS_PER_SLOT) + i32::from(self.index)
    }

    /// The port that belongs to the node id.
    #[must_use]
    pub fn port(&self) -> i32 {
        i32::from(self.agent.address.port) + i32::from(self.index)
    }
}

impl<'a> Candidates<'a> {
    /// The agents of `zone` among `agents`, or all of them where there is none (or no zone). `without`
    /// is left out: an agent that stops does not name itself.
    #[must_use]
    pub fn of(agents: &'a [AgentView], zone: &str, without: Option<WriterSlot>) -> Self {
        let live = || agents.iter().filter(move |a| Some(a.slot) != without);
        let mut here: Vec<_> = live()
            .filter(|a| !zone.is_empty() && a.address.zone == zone)
            .collect();
        if here.is_empty() {
            here = live().collect();
        }
        Self { agents: here }
    }

    /// Every node id of every candidate.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'a>> + '_ {
        self.agents
            .iter()
            .flat_map(|agent| (0..node_count(agent)).map(move |index| Node { agent, index }))
    }

    /// The node id at `index` of the agent of `slot`, if that is a candidate and has as many.
    #[must_use]
    pub fn at(&self, slot: WriterSlot, index: u8) -> Option<Node<'a>> {
        let agent = self.agents.iter().copied().find(|a| a.slot == slot)?;
        (index < node_count(agent)).then_some(Node { agent, index })
    }

    /// The node that leads a partition, in this client's eyes. None = there is no live agent.
    #[must_use]
    pub fn leader(&self, partition: PartitionId) -> Option<Node<'a>> {
        let topic = hash_u128(partition.topic.0.as_u128());
        let index = u64::from(partition.partition.0.unsigned_abs());
        let agent = self.rendezvous(mix(topic ^ mix(index)))?;
        let nth = topic.wrapping_add(index) % u64::from(node_count(agent));
        Some(Node {
            agent,
            index: u8::try_from(nth).unwrap_or(0),
        })
    }

    /// The node that is named as controller.
    #[must_use]
    pub fn controller(&self, cluster: ClusterId) -> Option<Node<'a>> {
        let agent = self.rendezvous(hash_u128(cluster.0.as_u128()))?;
        Some(Node { agent, index: 0 })
    }

    /// The node that is named as coordinator of a group or transactional id.
    #[must_use]
    pub fn coordinator(&self, key: &str) -> Option<Node<'a>> {
        let hash = key
            .bytes()
            .fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
        let agent = self.rendezvous(hash)?;
        Some(Node { agent, index: 0 })
    }

    fn rendezvous(&self, key: u64) -> Option<&'a AgentView> {
        self.agents
            .iter()
            .copied()
            .max_by_key(|agent| (mix(key ^ mix(u64::from(agent.slot.0) + 1)), agent.slot))
    }
}

fn node_count(agent: &AgentView) -> u8 {
    agent.address.node_ids.max(1)
}

pub(crate) fn hash_u128(bits: u128) -> u64 {
    let low = u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
    let high = u64::try_from(bits >> 64).unwrap_or(0);
    mix(high ^ mix(low))
}

/// The finalizer of SplitMix64.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{PartitionIndex, TopicId};
    use aquifer_metadata_api::register::AgentAddress;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn agent(slot: u32, zone: &str, node_ids: u8) -> AgentView {
        AgentView {
            slot: WriterSlot(slot),
            address: AgentAddress {
                host: format!("agent{slot}"),
                port: 9092,
                node_ids,
                zone: zone.to_owned(),
                peer: String::new(),
            },
        }
    }

    fn partition(n: i32) -> PartitionId {
        PartitionId::new(TopicId(Uuid::from_u128(77)), PartitionIndex(n))
    }

    #[test]
    fn partitions_spread_over_agents_and_node_ids() {
        let agents: Vec<_> = (0..4).map(|slot| agent(slot, "", 4)).collect();
        let candidates = Candidates::of(&agents, "", None);
        let mut counts = std::collections::BTreeMap::new();
        for n in 0..1600 {
            let node = candidates.leader(partition(n)).unwrap();
            *counts.entry(node.id()).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 16);
        assert!(
            counts.values().all(|n| (60..=140).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_new_agent_takes_only_its_own_share() {
        let agents: Vec<_> = (0..5).map(|slot| agent(slot, "", 1)).collect();
        let before = Candidates::of(&agents[..4], "", None);
        let after = Candidates::of(&agents, "", None);
        for n in 0..500 {
            let (old, new) = (before.leader(partition(n)), after.leader(partition(n)));
            let new = new.unwrap().agent.slot;
            assert!(new == old.unwrap().agent.slot || new == WriterSlot(4));
        }
    }

    #[test]
    fn clients_are_told_of_their_zone_or_else_of_all() {
        let agents = [agent(0, "a", 1), agent(1, "b", 2)];
        let nodes = |zone: &str, without| {
            Candidates::of(&agents, zone, without)
                .nodes()
                .map(|n| n.id())
                .collect::<Vec<_>>()
        };
        assert_eq!(nodes("b", None), [16, 17]);
        assert_eq!(nodes("c", None), [0, 16, 17]);
        assert_eq!(nodes("", None), [0, 16, 17]);
        assert_eq!(nodes("b", Some(WriterSlot(1))), [0]);
    }

    #[test]
    fn a_node_is_found_where_it_is_a_candidate() {
        let agents = [agent(0, "a", 1), agent(1, "b", 2)];
        for (zone, without, slot, index, found) in [
            ("", None, 1, 1, Some(17)),
            ("b", None, 1, 0, Some(16)),
            ("b", None, 1, 2, None),
            ("a", None, 1, 0, None),
            ("b", Some(WriterSlot(1)), 1, 0, None),
            ("b", Some(WriterSlot(1)), 0, 0, Some(0)),
            ("", None, 2, 0, None),
        ] {
            let candidates = Candidates::of(&agents, zone, without);
            let id = candidates.at(WriterSlot(slot), index).map(|node| node.id());
            assert_eq!(id, found, "{zone:?} {without:?} {slot} {index}");
        }
    }

    #[test]
    fn regression_the_hash_is_what_other_releases_have() {
        let agents: Vec<_> = (0..8).map(|slot| agent(slot, "", 4)).collect();
        let candidates = Candidates::of(&agents, "", None);
        let ids: Vec<_> = (0..8)
            .map(|n| candidates.leader(partition(n)).unwrap().id())
            .collect();
        assert_eq!(ids, GOLDEN);
    }

    const GOLDEN: [i32; 8] = [98, 67, 112, 49, 98, 51, 96, 113];

    fn cluster() -> impl Strategy<Value = Vec<AgentView>> {
        let member = (0u32..64, 0usize..3, 1u8..5);
        prop::collection::vec(member, 1..12).prop_map(|members| {
            let by_slot: std::collections::BTreeMap<u32, (usize, u8)> =
                members.into_iter().map(|(s, z, n)| (s, (z, n))).collect();
            let zones = ["a", "b", "c"];
            let agents = by_slot.into_iter();
            agents
                .map(|(slot, (zone, ids))| agent(slot, zones[zone], ids))
                .collect()
        })
    }

    proptest! {
        /// Whoever goes, only what was its own moves; whoever comes, only what becomes its own.
        #[test]
        fn others_keep_what_they_have_when_one_comes_or_goes(
            agents in cluster(), at in any::<prop::sample::Index>(), client in "[abcd]?"
        ) {
            let one = agents[at.index(agents.len())].clone();
            let without: Vec<_> = agents.iter().filter(|a| a.slot != one.slot).cloned().collect();
            let (with, less) = (Candidates::of(&agents, &client, None), Candidates::of(&without, &client, None));
            // The last one of a zone takes it along: its clients go to all others.
            let last = !client.is_empty() && one.address.zone == client
                && !without.iter().any(|a| a.address.zone == client);
            for n in 0..50 {
                let id = |node: Node<'_>| (node.agent.slot, node.id());
                let (before, after) = (with.leader(partition(n)).map(id), less.leader(partition(n)).map(id));
                if before.is_some_and(|(slot, _)| slot != one.slot) && !last {
                    prop_assert_eq!(before, after);
                }
            }
            prop_assert_eq!(
                Candidates::of(&agents, &client, Some(one.slot)).nodes().collect::<Vec<_>>(),
                less.nodes().collect::<Vec<_>>()
            );
        }

        /// What happens in other zones moves nothing in a zone that has agents.
        #[test]
        fn a_zone_is_not_moved_by_others(agents in cluster(), client in "[abc]") {
            let zone: Vec<_> = agents.iter().filter(|a| a.address.zone == client).cloned().collect();
            prop_assume!(!zone.is_empty());
            for n in 0..50 {
                let all = Candidates::of(&agents, &client, None).leader(partition(n)).map(|l| l.id());
                let own = Candidates::of(&zone, "", None).leader(partition(n)).map(|l| l.id());
                prop_assert_eq!(all, own);
            }
        }

        /// Every agent names the same, whatever the order in which it heard of the others.
        #[test]
        fn the_order_of_agents_does_not_matter(agents in cluster(), client in "[abc]?", key in ".*") {
            let mut turned = agents.clone();
            turned.reverse();
            let (one, other) = (Candidates::of(&agents, &client, None), Candidates::of(&turned, &client, None));
            let cluster = ClusterId(Uuid::from_u128(9));
            prop_assert_eq!(one.controller(cluster), other.controller(cluster));
            prop_assert_eq!(one.coordinator(&key), other.coordinator(&key));
            for n in 0..50 {
                prop_assert_eq!(one.leader(partition(n)), other.leader(partition(n)));
            }
        }
    }
}
