//! Which topics groups are subscribed to: regular expressions resolved, and hashes of what is known of topics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aquifer_format::ids::TopicId;
use kafka_protocol::ResponseError;
use regex::{Regex, RegexBuilder};

use super::{limits, refusal::Refusal};
use crate::{
    event::group::{ConsumerMember, GroupNumber, MemberId},
    state::{Position, State, group::ConsumerGroup},
};

/// Most expressions that are remembered, and most names that they match in all; those that were not asked for
/// the longest are found out again when they are.
const REMEMBERED_MAX: usize = 256;
const REMEMBERED_NAMES_MAX: usize = 1_000_000;

/// What was found out, so that it need not be found out again while no topic comes, goes or grows.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Topics by regular expression, as of a position ([`State::topics_at`]).
    matches: BTreeMap<Arc<str>, Matched>,
    /// Counts what is asked for, so that it is known what was not for long.
    asked: u64,
    /// The position as of which each group was compared with the topics.
    checked: BTreeMap<GroupNumber, Position>,
}

#[derive(Debug)]
struct Matched {
    regex: Regex,
    at: Position,
    asked: u64,
    names: Arc<BTreeSet<Arc<str>>>,
    topics: Arc<BTreeSet<TopicId>>,
}

/// What the members of a group subscribe to, as the topics are now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resolved {
    /// Existing topics of each member.
    pub(super) members: BTreeMap<MemberId, Arc<BTreeSet<TopicId>>>,
    /// How many partitions each of these topics has.
    pub(super) topics: BTreeMap<TopicId, i32>,
    /// Whether all members subscribe to the same in the same way (`ConsumerGroup.subscriptionType`).
    pub(super) homogeneous: bool,
}

impl Resolved {
    /// Tells apart what is known of the topics; 0 where there is none.
    pub(super) fn hash(&self) -> u64 {
        if self.topics.is_empty() {
            return 0;
        }
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        for (topic, partitions) in &self.topics {
            digest.update(topic.0.as_bytes());
            digest.update(&partitions.to_be_bytes());
        }
        digest.finalize()
    }
}

impl Subscriptions {
    /// Forgets a group that is gone.
    pub(super) fn forget(&mut self, group: GroupNumber) {
        self.checked.remove(&group);
    }

    /// Whether the group must be compared with the topics again; it counts as compared from now on.
    pub(super) fn is_stale(&mut self, state: &State, group: GroupNumber) -> bool {
        let at = state.topics_at();
        self.checked.insert(group, at) != Some(at)
    }

    /// Names of existing topics that match, whole names (RE2 as Kafka has it).
    ///
    /// # Errors
    /// INVALID_REGULAR_EXPRESSION.
    pub(super) fn matching(
        &mut self,
        state: &State,
        regex: &Arc<str>,
    ) -> Result<Arc<BTreeSet<Arc<str>>>, Refusal> {
        let matched = self.matched(state, regex)?;
        Ok(Arc::clone(&matched.names))
    }

    /// Whether a member of the group is subscribed to the topic, by name or expression.
    pub(super) fn is_subscribed(
        &mut self,
        state: &State,
        group: &ConsumerGroup,
        topic: &str,
    ) -> bool {
        let mut expressions: BTreeSet<&Arc<str>> = BTreeSet::new();
        for entry in group.members.values() {
            let named = entry
                .member
                .topics
                .binary_search_by(|name| (**name).cmp(topic));
            if named.is_ok() {
                return true;
            }
            expressions.extend(&entry.member.regex);
        }
        expressions.into_iter().any(|regex| {
            let names = self.matching(state, regex);
            names.is_ok_and(|names| names.contains(topic))
        })
    }

    /// Existing topics that a member subscribes to.
    pub(super) fn topics_of(
        &mut self,
        state: &State,
        member: &ConsumerMember,
    ) -> Arc<BTreeSet<TopicId>> {
        let matched = member.regex.as_ref();
        // it was valid when the member came with it
        let matched = matched.and_then(|regex| self.matched(state, regex).ok());
        let matched = matched.map(|matched| Arc::clone(&matched.topics));
        if member.topics.is_empty() {
            return matched.unwrap_or_default();
        }
        let named = member.topics.iter();
        let named = named.filter_map(|name| Some(state.topic_by_name(name)?.id()));
        let mut topics: BTreeSet<TopicId> = named.collect();
        topics.extend(matched.iter().flat_map(|matched| matched.iter().copied()));
        Arc::new(topics)
    }

    /// What all members of the group subscribe to.
    pub(super) fn resolve(&mut self, state: &State, group: &ConsumerGroup) -> Resolved {
        type Said<'a> = (&'a [Arc<str>], Option<&'a str>);
        let mut known: BTreeMap<Said<'_>, Arc<BTreeSet<TopicId>>> = BTreeMap::new();
        let mut resolved = Resolved::default();
        for (id, entry) in &group.members {
            let member = &entry.member;
            let subscription = (member.topics.as_slice(), member.regex.as_deref());
            let topics = known
                .entry(subscription)
                .or_insert_with(|| self.topics_of(state, member));
            let topics = Arc::clone(topics);
            resolved.members.insert(Arc::clone(id), topics);
        }
        // one expression and nothing beside it, or one list of names
        resolved.homogeneous = known.len() <= 1
            && known
                .keys()
                .all(|(names, regex)| names.is_empty() || regex.is_none());
        for topic in known.values().flat_map(|topics| topics.iter()) {
            let partitions = state.topic(*topic).map_or(0, |topic| topic.partitions());
            let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
            resolved.topics.insert(*topic, partitions);
        }
        resolved
    }

    fn matched(&mut self, state: &State, regex: &Arc<str>) -> Result<&Matched, Refusal> {
        self.asked += 1;
        let (asked, at) = (self.asked, state.topics_at());
        if !self.matches.contains_key(regex) {
            let matched = Matched::of(state, compile(regex)?, asked);
            self.matches.insert(Arc::clone(regex), matched);
            self.forget_some(regex);
        }
        let matched = self.matches.get_mut(regex);
        let Some(matched) = matched else {
            return Err(Refusal::bare(ResponseError::UnknownServerError));
        };
        matched.asked = asked;
        if matched.at != at {
            *matched = Matched::of(state, matched.regex.clone(), asked);
        }
        Ok(matched)
    }

    fn forget_some(&mut self, but: &Arc<str>) {
        loop {
            let names = self.matches.values().map(|matched| matched.names.len());
            let names: usize = names.sum();
            if self.matches.len() <= REMEMBERED_MAX && names <= REMEMBERED_NAMES_MAX {
                return;
            }
            let others = self.matches.iter().filter(|(regex, _)| *regex != but);
            let oldest = others.min_by_key(|(_, matched)| matched.asked);
            let Some(oldest) = oldest.map(|(regex, _)| Arc::clone(regex)) else {
                return;
            };
            self.matches.remove(&oldest);
        }
    }
}

impl Matched {
    fn of(state: &State, regex: Regex, asked: u64) -> Self {
        let mut names = BTreeSet::new();
        let mut topics = BTreeSet::new();
        for topic in state.topics() {
            if regex.is_match(topic.name()) {
                names.insert(Arc::from(topic.name()));
                topics.insert(topic.id());
            }
        }
        Self {
            regex,
            at: state.topics_at(),
            asked,
            names: Arc::new(names),
            topics: Arc::new(topics),
        }
    }
}

/// An expression that matches whole names.
fn compile(text: &str) -> Result<Regex, Refusal> {
    if text.len() > limits::REGEX_BYTES_MAX {
        let max = limits::REGEX_BYTES_MAX;
        let text = format!("SubscribedTopicRegex has more than {max} bytes.");
        return Err(Refusal::new(ResponseError::InvalidRegularExpression, text));
    }
    let unquoted = unquote(text);
    // by itself first: one that closes a group too many would fit into the other
    build(&unquoted)
        .and_then(|_| build(&format!(r"\A(?:{unquoted})\z")))
        .map_err(|error| {
            Refusal::new(
                ResponseError::InvalidRegularExpression,
                format!(
                    "SubscribedTopicRegex `{text}` is not a valid regular expression: {}.",
                    description(&error)
                ),
            )
        })
}

fn build(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text)
        .size_limit(limits::REGEX_COMPILED_BYTES_MAX)
        .dfa_size_limit(limits::REGEX_COMPILED_BYTES_MAX)
        .build()
}

/// The error in one line: its text begins with a drawing of the expression.
fn description(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    let last = last.strip_prefix("error: ").unwrap_or(last);
    last.trim_end_matches('.').to_owned()
}

/// `\Q...\E`, which RE2 takes literally, written without.
fn unquote(text: &str) -> String {
    let mut unquoted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        unquoted.push_str(before);
        if let Some(quoted) = escape.strip_prefix(r"\Q") {
            let (literal, behind) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            unquoted.push_str(&regex::escape(literal));
            rest = behind;
        } else {
            // the escaped character is no escape itself
            let mut chars = escape.chars();
            unquoted.extend(chars.by_ref().take(2));
            rest = chars.as_str();
        }
    }
    unquoted.push_str(rest);
    unquoted
}
