//! Offsets that expire (`offsets.retention.minutes`), and groups that have nothing left.

use std::time::Duration;

use aquifer_format::ids::{PartitionId, TopicId};

use super::{Subscription, consumes, is_empty};
use crate::{
    coordinator::{
        At, Coordinator, Ledger, limits::GROUPS_PER_EXPIRY_STEP, subscriptions::Subscriptions,
        timers::Timer,
    },
    event::{
        Event,
        group::{ClassicState, GroupNumber},
    },
    state::{
        State,
        group::{Body, CommittedOffset, Group},
    },
};

/// Offsets that are looked at in a step, beyond those of its last group.
const OFFSETS_PER_STEP: usize = 16_384;

/// What is to go of a group.
struct Expired {
    group: GroupNumber,
    partitions: Vec<PartitionId>,
    /// The group goes, too.
    all: bool,
}

impl<W> Coordinator<W> {
    /// A step of the look for expired offsets; sets the timer of the next one.
    pub(in crate::coordinator) fn expire_offsets(&mut self, ledger: &mut dyn Ledger, at: At) {
        let mut expired = Vec::new();
        let next = {
            let state = ledger.state();
            let known = &mut self.subscriptions;
            look(state, at.unix_millis, self.expiry_from, known, &mut expired)
        };
        for Expired {
            group,
            partitions,
            all,
        } in expired
        {
            if !partitions.is_empty() {
                ledger.apply(Event::OffsetsRemoved { group, partitions });
            }
            if all {
                ledger.apply(Event::GroupDeleted { group });
                self.forget(group);
            }
        }
        self.expiry_from = next;
        let due = if next.is_some() {
            // not in this tick: requests have their turn before
            at.now.plus(Duration::from_millis(1))
        } else {
            let interval = ledger.state().group_settings().offsets_check_interval_ms;
            let interval = Duration::from_millis(u64::try_from(interval).unwrap_or(1));
            at.now.plus(interval)
        };
        self.timers.set(Timer::OffsetExpiry, due);
    }
}

/// Looks at the groups behind `from`; the last one, if there may be more.
fn look(
    state: &State,
    now_ms: i64,
    from: Option<GroupNumber>,
    known: &mut Subscriptions,
    expired: &mut Vec<Expired>,
) -> Option<GroupNumber> {
    let mut offsets = 0usize;
    let mut groups = 0usize;
    // the first number is 0, so that there is none before it
    let behind = |number: &GroupNumber| from.is_none_or(|from| *number > from);
    let first = from.unwrap_or_default();
    let rest = state.group(first).map(|group| (first, group));
    let rest = rest.filter(|(number, _)| behind(number));
    for (number, group) in rest.into_iter().chain(state.groups_after(first)) {
        offsets += of_group(state, now_ms, (number, group), known, expired);
        groups += 1;
        if groups >= GROUPS_PER_EXPIRY_STEP || offsets >= OFFSETS_PER_STEP {
            return Some(number);
        }
    }
    None
}

/// Looks at a group; how many offsets it has.
fn of_group(
    state: &State,
    now_ms: i64,
    (number, group): (GroupNumber, &Group),
    known: &mut Subscriptions,
    expired: &mut Vec<Expired>,
) -> usize {
    let mut offsets = state.committed_offsets(number).peekable();
    if offsets.peek().is_none() {
        if is_empty(group) {
            expired.push(Expired {
                group: number,
                partitions: Vec::new(),
                all: true,
            });
        }
        return 0;
    }
    let Some(since) = since(group) else {
        return 0;
    };
    let retention_ms = state.group_settings().offsets_retention_ms;
    let subscription = Subscription::of(group);
    let mut topic: Option<(TopicId, bool)> = None;
    let mut count = 0;
    let mut partitions = Vec::new();
    for (id, committed) in offsets {
        count += 1;
        let is_subscribed = match topic {
            Some((of, is_subscribed)) if of == id.topic => is_subscribed,
            _ => state
                .topic(id.topic)
                .is_some_and(|topic| subscription.has(state, known, topic.name())),
        };
        topic = Some((id.topic, is_subscribed));
        let is_over = match committed.expires_at_ms {
            Some(expires_at_ms) => now_ms >= expires_at_ms,
            None => now_ms.saturating_sub(since.of(committed)) >= retention_ms,
        };
        if is_over && !is_subscribed {
            partitions.push(id);
        }
    }
    let all = partitions.len() == count && is_empty(group);
    if !partitions.is_empty() {
        expired.push(Expired {
            group: number,
            partitions,
            all,
        });
    }
    count
}

/// From when the retention of a group's offsets counts.
#[derive(Clone, Copy)]
enum Since {
    /// When each was committed.
    Commit,
    /// When the group lost its last member.
    Empty(i64),
}

impl Since {
    fn of(self, committed: &CommittedOffset) -> i64 {
        match self {
            Self::Commit => committed.at_ms,
            Self::Empty(since_ms) => since_ms,
        }
    }
}

/// None = offsets do not expire now (Kafka's `offsetExpirationCondition`).
fn since(group: &Group) -> Option<Since> {
    let Body::Classic(classic) = &group.body else {
        return Some(Since::Commit);
    };
    if classic.phase.protocol_type.is_none() {
        // nobody ever was a member
        return Some(Since::Commit);
    }
    match classic.phase.state {
        ClassicState::Empty => Some(Since::Empty(classic.phase.since_ms)),
        ClassicState::Stable if consumes(classic) => {
            let known = matches!(Subscription::of(group), Subscription::Topics(_));
            known.then_some(Since::Commit)
        }
        _ => None,
    }
}
