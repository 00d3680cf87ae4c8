//! Which agents live: soft state, from what watchers say, with hysteresis.
//!
//! An agent that comes or goes moves partitions and node ids, so neither a short break of its watch nor
//! a change of the leader may look like its death. An agent is live while it was heard of within
//! [`SILENT_AGENT_MAX`], and a leader that has just begun says of its list that it is not complete yet.
//! Nothing of this is journaled.

use std::{collections::BTreeMap, time::Duration};

use aquifer_format::ids::{SessionId, WriterSlot};
use aquifer_metadata_api::watch::{AgentView, SILENT_AGENT_MAX};
use aquifer_store::Monotonic;

/// How long after its start a leader's list is incomplete. Agents look for a leader at least every 1.75 s;
/// two of their tries fit.
pub(crate) const COMPLETE_AFTER: Duration = Duration::from_secs(4);
/// How often silence is looked for.
const CHECK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Agent {
    view: AgentView,
    heard_at: Monotonic,
    /// Whether it may be told of.
    named: bool,
    /// How many watches it has open, if it has never said that it is present: these speak for it.
    open: usize,
    speaks: bool,
}

impl Agent {
    fn is_silent(&self, now: Monotonic) -> bool {
        let watched = self.open > 0 && !self.speaks;
        !watched && now.since(self.heard_at) >= SILENT_AGENT_MAX
    }
}

/// The live agents.
#[derive(Debug)]
pub(crate) struct Registry {
    agents: BTreeMap<SessionId, Agent>,
    complete_at: Monotonic,
    complete: bool,
    checked_at: Monotonic,
    changed: bool,
}

impl Registry {
    /// No agent yet; the leader begins now.
    pub(crate) fn new(now: Monotonic) -> Self {
        Self {
            agents: BTreeMap::new(),
            complete_at: now.plus(COMPLETE_AFTER),
            complete: false,
            checked_at: now,
            changed: false,
        }
    }

    /// Whether something changed that watchers were not told.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed
    }

    /// Whether every live agent has had the time to be heard of.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The live agents that may be told of, in order of slots.
    pub(crate) fn agents(&self) -> Vec<AgentView> {
        // Of two sessions of a slot the later one counts.
        let by_slot: BTreeMap<WriterSlot, &Agent> =
            self.agents.values().map(|a| (a.view.slot, a)).collect();
        let named = by_slot.into_values().filter(|agent| agent.named);
        named.map(|agent| agent.view.clone()).collect()
    }

    /// Watchers are told what there is.
    pub(crate) fn told(&mut self) {
        self.changed = false;
    }

    /// A session's agent opened a watch.
    pub(crate) fn opened(&mut self, session: SessionId, view: AgentView, now: Monotonic) {
        if !self.is_checked() {
            self.checked_at = now;
        }
        let agent = self.agents.entry(session).or_insert_with(|| {
            self.changed = true;
            Agent {
                view,
                heard_at: now,
                named: true,
                open: 0,
                speaks: false,
            }
        });
        agent.heard_at = now;
        agent.open += 1;
    }

    /// One of its watches ended.
    pub(crate) fn closed(&mut self, session: SessionId, now: Monotonic) {
        if let Some(agent) = self.agents.get_mut(&session) {
            agent.open = agent.open.saturating_sub(1);
            if !agent.speaks {
                agent.heard_at = now;
            }
        }
    }

    /// It says that it lives, on an open watch.
    pub(crate) fn present(
        &mut self,
        session: SessionId,
        view: &AgentView,
        named: bool,
        now: Monotonic,
    ) {
        if !self.agents.contains_key(&session) {
            // It was silent for long; its watch stayed open.
            self.opened(session, view.clone(), now);
        }
        if let Some(agent) = self.agents.get_mut(&session) {
            agent.heard_at = now;
            agent.speaks = true;
            self.changed |= agent.named != named;
            agent.named = named;
        }
    }

    /// The session has ended.
    pub(crate) fn ended(&mut self, session: SessionId) {
        self.changed |= self.agents.remove(&session).is_some();
    }

    fn is_checked(&self) -> bool {
        !self.complete || !self.agents.is_empty()
    }

    /// When [`Self::check`] is due; None = there is nothing to look for.
    pub(crate) fn next_check(&self) -> Option<Monotonic> {
        self.is_checked().then(|| self.checked_at.plus(CHECK_EVERY))
    }

    /// Leaves out who was silent for too long. A leader that was held up itself heard nobody in that time:
    /// it is nobody's silence.
    pub(crate) fn check(&mut self, now: Monotonic) {
        let held_up = now.since(self.checked_at).saturating_sub(2 * CHECK_EVERY);
        self.checked_at = now;
        if !held_up.is_zero() {
            self.complete_at = self.complete_at.plus(held_up);
            for agent in self.agents.values_mut() {
                agent.heard_at = agent.heard_at.plus(held_up).min(now);
            }
        }
        if !self.complete && now >= self.complete_at {
            self.complete = true;
            self.changed = true;
        }
        let before = self.agents.len();
        self.agents.retain(|session, agent| {
            let silent = agent.is_silent(now);
            if silent {
                tracing::info!(%session, slot = %agent.view.slot, "an agent is silent and no longer named");
            }
            !silent
        });
        self.changed |= self.agents.len() < before;
    }
}

#[cfg(test)]
mod tests {
    use aquifer_metadata_api::register::AgentAddress;

    use super::*;

    const ONE: SessionId = SessionId(1);
    const TWO: SessionId = SessionId(2);

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    fn view(slot: u32) -> AgentView {
        AgentView {
            slot: WriterSlot(slot),
            address: AgentAddress {
                host: format!("agent{slot}"),
                port: 9092,
                node_ids: 1,
                zone: String::new(),
                peer: String::new(),
            },
        }
    }

    struct Case {
        registry: Registry,
        now: u64,
    }

    impl Case {
        /// A registry whose list is complete, with agents 1 and 2, which speak.
        fn new() -> Self {
            let mut case = Self {
                registry: Registry::new(at(0)),
                now: 0,
            };
            case.pass(5_000, &[]);
            for session in [ONE, TWO] {
                let slot = u32::try_from(session.0).unwrap();
                case.registry.opened(session, view(slot), at(case.now));
                case.speak(session, true);
            }
            case.registry.told();
            case
        }

        fn speak(&mut self, session: SessionId, named: bool) {
            let slot = u32::try_from(session.0).unwrap();
            self.registry
                .present(session, &view(slot), named, at(self.now));
        }

        /// Lets time pass, in which some say every second that they live.
        fn pass(&mut self, ms: u64, speaking: &[SessionId]) {
            let until = self.now + ms;
            while self.now < until {
                self.now += 500;
                if self.now.is_multiple_of(1_000) {
                    for session in speaking {
                        self.speak(*session, true);
                    }
                }
                self.registry.check(at(self.now));
            }
        }

        fn slots(&self) -> Vec<u32> {
            self.registry.agents().iter().map(|a| a.slot.0).collect()
        }
    }

    #[test]
    fn a_short_break_changes_nothing() {
        let mut case = Case::new();
        case.registry.closed(ONE, at(case.now));
        case.pass(2_500, &[TWO]);
        case.registry.opened(ONE, view(1), at(case.now));
        case.pass(10_000, &[ONE, TWO]);
        assert_eq!(case.slots(), [1, 2]);
        assert!(!case.registry.has_changed());
    }

    #[test]
    fn who_is_silent_is_left_out_though_its_watch_is_open_and_comes_back() {
        let mut case = Case::new();
        case.pass(2_500, &[TWO]);
        assert_eq!(case.slots(), [1, 2]);
        case.pass(500, &[TWO]);
        assert_eq!(case.slots(), [2]);
        assert!(case.registry.has_changed());
        case.speak(ONE, true);
        assert_eq!(case.slots(), [1, 2]);
    }

    #[test]
    fn who_does_not_want_to_be_named_is_left_out_at_once() {
        let mut case = Case::new();
        case.speak(ONE, false);
        assert_eq!(case.slots(), [2]);
        assert!(case.registry.has_changed());
        case.registry.told();
        case.speak(ONE, false);
        assert!(!case.registry.has_changed());
        // a break does not name it again
        case.registry.closed(ONE, at(case.now));
        case.registry.opened(ONE, view(1), at(case.now));
        assert_eq!(case.slots(), [2]);
        case.speak(ONE, true);
        assert_eq!(case.slots(), [1, 2]);
    }

    #[test]
    fn watches_of_who_never_speaks_speak_for_it() {
        let mut case = Case::new();
        let three = SessionId(3);
        case.registry.opened(three, view(3), at(case.now));
        case.pass(60_000, &[ONE, TWO]);
        assert_eq!(case.slots(), [1, 2, 3]);
        case.registry.closed(three, at(case.now));
        case.pass(2_500, &[ONE, TWO]);
        assert_eq!(case.slots(), [1, 2, 3]);
        case.pass(500, &[ONE, TWO]);
        assert_eq!(case.slots(), [1, 2]);
    }

    #[test]
    fn a_leader_that_was_held_up_does_not_take_that_for_silence() {
        let mut case = Case::new();
        case.now += 20_000;
        case.registry.check(at(case.now));
        assert_eq!(case.slots(), [1, 2]);
        case.pass(4_000, &[TWO]);
        assert_eq!(case.slots(), [2]);
    }

    #[test]
    fn the_list_is_complete_after_a_while_and_watchers_are_told() {
        let mut registry = Registry::new(at(1_000));
        registry.check(at(1_500));
        assert!(!registry.is_complete() && !registry.has_changed());
        for ms in (2_000..=5_000).step_by(500) {
            registry.check(at(ms));
        }
        assert!(registry.is_complete() && registry.has_changed());
        assert_eq!(registry.next_check(), None, "nobody is looked for");
    }

    #[test]
    fn an_ended_session_is_gone_and_the_later_one_of_a_slot_counts() {
        let mut case = Case::new();
        let again = SessionId(9);
        case.registry.opened(again, view(1), at(case.now));
        case.registry.ended(ONE);
        assert_eq!(case.slots(), [1, 2]);
        case.registry.ended(again);
        assert_eq!(case.slots(), [2]);
    }
}
