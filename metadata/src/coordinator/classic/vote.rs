//! Which protocol a generation uses.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    event::group::{ClassicState, Protocol},
    state::group::ClassicGroup,
};

/// Whether somebody with these protocols can be in the group: an empty group takes any, another one needs one
/// that all its members know (`ClassicGroup.supportsProtocols`).
pub(super) fn supports(group: &ClassicGroup, protocol_type: &str, protocols: &[Protocol]) -> bool {
    if group.phase.state == ClassicState::Empty {
        return !protocol_type.is_empty() && !protocols.is_empty();
    }
    group.phase.protocol_type.as_deref() == Some(protocol_type)
        && protocols.iter().any(|said| all_know(group, &said.name))
}

/// The protocol that most members like best among those that all know; of several the first by name. None =
/// nobody is there, or there is no such protocol.
pub(super) fn chosen(group: &ClassicGroup) -> Option<String> {
    let first = group.members.values().next()?;
    let names = first.member.protocols.iter().map(|said| said.name.as_str());
    let candidates: BTreeSet<&str> = names.filter(|name| all_know(group, name)).collect();
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in group.members.values() {
        let mut names = entry.member.protocols.iter().map(|said| said.name.as_str());
        if let Some(best) = names.find(|name| candidates.contains(name)) {
            *votes.entry(best).or_default() += 1;
        }
    }
    // the last of several greatest ones, that is, the first by name
    let most = votes.iter().rev().max_by_key(|(_, count)| **count);
    most.map(|(name, _)| (*name).to_owned())
}

fn all_know(group: &ClassicGroup, name: &str) -> bool {
    let mut members = group.members.values();
    members.all(|entry| entry.member.protocols.iter().any(|said| said.name == name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{
        event::group::{ClassicMember, MemberId},
        state::group::ClassicEntry,
    };

    fn protocols(names: &str) -> Vec<Protocol> {
        let names = names.split_whitespace();
        let protocol = |name: &str| Protocol {
            name: name.to_owned(),
            metadata: Bytes::new(),
        };
        names.map(protocol).collect()
    }

    fn group(members: &[&str]) -> ClassicGroup {
        let mut group = ClassicGroup::default();
        group.phase.state = ClassicState::Stable;
        group.phase.protocol_type = Some("consumer".to_owned());
        for (number, names) in members.iter().enumerate() {
            let id = MemberId::from(number.to_string());
            let member = ClassicMember {
                id: Arc::clone(&id),
                instance: None,
                client_id: Arc::from(""),
                client_host: Arc::from(""),
                session_timeout_ms: 1,
                rebalance_timeout_ms: 1,
                protocols: protocols(names),
            };
            let assignment = Bytes::new();
            group
                .members
                .insert(id, ClassicEntry { member, assignment });
        }
        group
    }

    #[test]
    fn the_best_liked_protocol_that_all_know_is_chosen() {
        let cases: &[(&[&str], Option<&str>)] = &[
            (&[], None),
            (&["range"], Some("range")),
            (
                &["range sticky", "sticky range", "sticky range"],
                Some("sticky"),
            ),
            // all like a protocol that one does not know
            (&["own range", "own range", "range"], Some("range")),
            // a tie
            (&["sticky range", "range sticky"], Some("range")),
            (&["range", "sticky"], None),
        ];
        for (members, expected) in cases {
            assert_eq!(chosen(&group(members)).as_deref(), *expected, "{members:?}");
        }
    }

    #[test]
    fn a_member_needs_a_protocol_that_all_know() {
        let two = group(&["range sticky", "sticky"]);
        assert!(supports(&two, "consumer", &protocols("own sticky")));
        assert!(!supports(&two, "consumer", &protocols("range")));
        assert!(!supports(&two, "connect", &protocols("sticky")));
        assert!(!supports(&two, "consumer", &[]));
        let empty = ClassicGroup::default();
        assert!(supports(&empty, "connect", &protocols("own")));
        assert!(!supports(&empty, "", &protocols("own")));
        assert!(!supports(&empty, "connect", &[]));
    }
}
