//! The series that lag is told in. A series that was begun stays for the life of the process, as nothing can
//! take it back: so of what is gone it says 0, and there is a limit to how many there may ever be.

use std::collections::{BTreeMap, BTreeSet};

use metrics::Label;

use super::{add, gauges};
use crate::coordinator::GroupLag;

/// Most series that are begun: some 1 KB each. Whatever comes later (groups whose names are made up for one
/// run, say) is added up in one more, whose labels are empty.
pub(super) const SERIES_MAX: usize = 50_000;

/// What tells a series from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels {
    pub(super) group: String,
    pub(super) topic: Option<String>,
    pub(super) partition: Option<i32>,
}

impl Labels {
    /// Writes the series.
    pub(super) fn set(&self, lag: GroupLag) {
        let mut labels = vec![Label::new("group", self.group.clone())];
        if let Some(topic) = &self.topic {
            labels.push(Label::new("topic", topic.clone()));
        }
        if let Some(partition) = self.partition {
            labels.push(Label::new("partition", partition.to_string()));
        }
        metrics::gauge!("aquifer_group_lag_records", labels.clone())
            .set(gauges::number(lag.records));
        metrics::gauge!("aquifer_group_lag_seconds", labels)
            .set(gauges::number(lag.millis) / 1_000.0);
    }
}

/// Series that were begun.
#[derive(Debug)]
pub(super) struct LagSeries {
    begun: BTreeSet<Labels>,
    /// Those that say something else than 0 for ever.
    live: BTreeSet<Labels>,
    max: usize,
}

impl Default for LagSeries {
    fn default() -> Self {
        Self::of_at_most(SERIES_MAX)
    }
}

impl LagSeries {
    pub(super) fn of_at_most(max: usize) -> Self {
        Self {
            begun: BTreeSet::new(),
            live: BTreeSet::new(),
            max,
        }
    }

    /// What is to be written now that this was `found`: that, and once 0 for what is there no more.
    pub(super) fn update(
        &mut self,
        found: BTreeMap<Labels, GroupLag>,
    ) -> BTreeMap<Labels, GroupLag> {
        let mut written: BTreeMap<Labels, GroupLag> = BTreeMap::new();
        for (labels, lag) in found {
            let known = self.begun.contains(&labels);
            let place = if known || self.begun.len() < self.max {
                if !known {
                    self.begun.insert(labels.clone());
                }
                labels
            } else {
                Labels::default()
            };
            add(written.entry(place).or_default(), lag);
        }
        let live: BTreeSet<Labels> = written.keys().cloned().collect();
        for gone in self.live.difference(&live) {
            written.insert(gone.clone(), GroupLag::default());
        }
        self.live = live;
        written
    }
}
