//! What `/metrics` tells of groups. The leader looks at all groups and their committed offsets every
//! [`INTERVAL`], in steps between requests; it is the one process that knows all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aquifer_format::ids::{PartitionId, PartitionIndex, TopicId};
use aquifer_store::Monotonic;

use self::series::{Labels, LagSeries};
use super::{Sequencer, gauges};
use crate::{
    coordinator::{Coordinator, CountStep, GroupLag, count_step, lag_step},
    event::{Event, group::GroupNumber},
    state::State,
};

mod series;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(10);

/// How finely `/metrics` tells how far groups are behind: each step down has more series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupLagMetrics {
    /// Not at all.
    Off,
    /// By group: the sum of its partitions' records, and the oldest of them.
    #[default]
    Group,
    /// By group and topic.
    Topic,
    /// By group, topic and partition.
    Partition,
}

/// What lag is summed up by.
type Place = (GroupNumber, Option<TopicId>, Option<PartitionIndex>);

/// How far a look has come.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Groups behind this one are counted next.
    Groups(Option<GroupNumber>),
    /// Offsets behind this one are looked at next.
    Offsets(Option<(GroupNumber, PartitionId)>),
}

/// The look that is under way, and what was told last.
#[derive(Debug)]
pub(super) struct GroupMetrics {
    detail: GroupLagMetrics,
    due: Monotonic,
    stage: Stage,
    counts: CountStep,
    offsets: usize,
    lags: BTreeMap<Place, GroupLag>,
    series: LagSeries,
    /// Kinds and states that were told.
    told: BTreeSet<(&'static str, &'static str)>,
    told_members: BTreeSet<&'static str>,
}

impl GroupMetrics {
    /// The first look is an interval from now: by then a new leader knows its agents.
    pub(super) fn new(now: Monotonic, detail: GroupLagMetrics) -> Self {
        Self {
            detail,
            due: now.plus(INTERVAL),
            stage: Stage::Groups(None),
            counts: CountStep::default(),
            offsets: 0,
            lags: BTreeMap::new(),
            series: LagSeries::default(),
            told: BTreeSet::new(),
            told_members: BTreeSet::new(),
        }
    }

    /// When the next step is due.
    pub(super) fn due(&self) -> Monotonic {
        self.due
    }

    fn step<W>(
        &mut self,
        state: &State,
        coordinator: &mut Coordinator<W>,
        now: Monotonic,
        unix_millis: i64,
    ) {
        match self.stage {
            Stage::Groups(from) => {
                let step = count_step(state, from);
                let next = step.next;
                self.add_counts(step);
                self.stage = match next {
                    Some(next) => Stage::Groups(Some(next)),
                    None => Stage::Offsets(None),
                };
            }
            Stage::Offsets(from) => {
                let step = lag_step(state, unix_millis, from);
                self.offsets = self.offsets.saturating_add(step.found.len());
                for (group, id, lag) in step.found {
                    self.add_lag(group, id, lag);
                }
                if step.next.is_some() {
                    self.stage = Stage::Offsets(step.next);
                } else {
                    self.tell(state, coordinator);
                    self.stage = Stage::Groups(None);
                    self.due = now.plus(INTERVAL);
                }
            }
        }
    }

    fn add_counts(&mut self, step: CountStep) {
        for (kind, groups) in step.groups {
            *self.counts.groups.entry(kind).or_default() += groups;
        }
        for (kind, members) in step.members {
            *self.counts.members.entry(kind).or_default() += members;
        }
    }

    fn add_lag(&mut self, group: GroupNumber, id: PartitionId, lag: GroupLag) {
        let place = match self.detail {
            GroupLagMetrics::Off => return,
            GroupLagMetrics::Group => (group, None, None),
            GroupLagMetrics::Topic => (group, Some(id.topic), None),
            GroupLagMetrics::Partition => (group, Some(id.topic), Some(id.partition)),
        };
        add(self.lags.entry(place).or_default(), lag);
    }

    /// Tells what the look found.
    fn tell<W>(&mut self, state: &State, coordinator: &mut Coordinator<W>) {
        let counts = std::mem::take(&mut self.counts);
        self.told.extend(counts.groups.keys());
        for (kind, named) in &self.told {
            let groups = counts.groups.get(&(*kind, *named)).copied();
            metrics::gauge!("aquifer_groups", "kind" => *kind, "state" => *named)
                .set(gauges::number(groups.unwrap_or(0)));
        }
        self.told_members.extend(counts.members.keys());
        for kind in &self.told_members {
            let members = counts.members.get(kind).copied();
            metrics::gauge!("aquifer_group_members", "kind" => *kind)
                .set(gauges::number(members.unwrap_or(0)));
        }
        let offsets = std::mem::take(&mut self.offsets);
        metrics::gauge!("aquifer_committed_offsets").set(gauges::count(offsets));
        let (joins, syncs) = coordinator.parked_calls();
        for (api, calls) in [("join_group", joins), ("sync_group", syncs)] {
            metrics::gauge!("aquifer_group_parked_calls", "api" => api).set(gauges::count(calls));
        }
        for (kind, rebalances) in coordinator.take_rebalances() {
            metrics::counter!("aquifer_group_rebalances_total", "kind" => kind)
                .increment(rebalances);
        }
        let found = std::mem::take(&mut self.lags).into_iter();
        // what went away since it was looked at has no name any more
        let named = found.filter_map(|(place, lag)| Some((labels(state, place)?, lag)));
        let written = self.series.update(named.collect());
        written.iter().for_each(|(labels, lag)| labels.set(*lag));
    }
}

/// Whoever leads next tells it; two that tell the same would be added up.
impl Drop for GroupMetrics {
    fn drop(&mut self) {
        for (kind, named) in &self.told {
            metrics::gauge!("aquifer_groups", "kind" => *kind, "state" => *named).set(0.0);
        }
        for kind in &self.told_members {
            metrics::gauge!("aquifer_group_members", "kind" => *kind).set(0.0);
        }
        if !self.told.is_empty() {
            metrics::gauge!("aquifer_committed_offsets").set(0.0);
        }
        for api in ["join_group", "sync_group"] {
            metrics::gauge!("aquifer_group_parked_calls", "api" => api).set(0.0);
        }
        let written = self.series.update(BTreeMap::new());
        written.iter().for_each(|(labels, lag)| labels.set(*lag));
    }
}

/// Adds up records; of ages the largest holds.
fn add(to: &mut GroupLag, lag: GroupLag) {
    to.records = to.records.saturating_add(lag.records);
    to.millis = to.millis.max(lag.millis);
}

fn labels(state: &State, (group, topic, partition): Place) -> Option<Labels> {
    let topic = match topic {
        Some(topic) => Some(state.topic(topic)?.name().to_owned()),
        None => None,
    };
    Some(Labels {
        group: state.group(group)?.name.to_string(),
        topic,
        partition: partition.map(|index| index.0),
    })
}

/// Counts what was committed.
pub(super) fn count_committed(event: &Event) {
    if let Event::OffsetsCommitted(committed) = event {
        metrics::counter!("aquifer_offset_commits_total")
            .increment(u64::try_from(committed.offsets.len()).unwrap_or(0));
    }
}

/// Counts what expired: `events` came about as time passed.
pub(super) fn count_expired(events: &[Event]) {
    let expired = events.iter().map(|event| match event {
        Event::OffsetsRemoved { partitions, .. } => partitions.len(),
        _ => 0,
    });
    let expired: usize = expired.sum();
    if expired > 0 {
        metrics::counter!("aquifer_offsets_expired_total")
            .increment(u64::try_from(expired).unwrap_or(0));
    }
}

impl Sequencer {
    /// A step of the look at groups, if one is due; the next one follows after the requests that wait.
    pub(super) fn lag_tick(&mut self, now: Monotonic) {
        if self.group_metrics.due() <= now {
            let unix_millis = self.wall_clock().unix_millis;
            let coordinator = &mut self.coordinator;
            self.group_metrics
                .step(&self.state, coordinator, now, unix_millis);
        }
    }
}

#[cfg(test)]
mod tests;
