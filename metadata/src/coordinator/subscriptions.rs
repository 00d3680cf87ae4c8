//! Which topics groups are subscribed to: regular expressions resolved, and hashes of what is known of topics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use regex::Regex;

use super::refusal::Refusal;
use crate::{
    event::group::GroupNumber,
    state::{Position, State, group::ConsumerGroup},
};

/// What was found out, so that it need not be found out again while no topic comes, goes or grows.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Topics by regular expression, as of a position ([`State::topics_at`]).
    matches: BTreeMap<Arc<str>, Matched>,
    /// The position as of which each group was compared with the topics.
    checked: BTreeMap<GroupNumber, Position>,
}

#[derive(Debug)]
struct Matched {
    regex: Regex,
    at: Position,
    topics: Arc<BTreeSet<Arc<str>>>,
}

impl Subscriptions {
    /// Forgets a group that is gone.
    pub(super) fn forget(&mut self, group: GroupNumber) {
        self.checked.remove(&group);
    }

    /// Whether the group must be compared with the topics again; it counts as compared from now on.
    pub(super) fn is_stale(&mut self, _state: &State, _group: GroupNumber) -> bool {
        todo!("builder B")
    }

    /// Names of existing topics that match, whole names (RE2 as Kafka has it).
    ///
    /// # Errors
    /// INVALID_REGULAR_EXPRESSION.
    pub(super) fn matching(
        &mut self,
        _state: &State,
        _regex: &Arc<str>,
    ) -> Result<Arc<BTreeSet<Arc<str>>>, Refusal> {
        todo!("builder B")
    }

    /// Whether a member of the group is subscribed to the topic, by name or expression.
    pub(super) fn is_subscribed(
        &mut self,
        _state: &State,
        _group: &ConsumerGroup,
        _topic: &str,
    ) -> bool {
        todo!("builder B")
    }
}
