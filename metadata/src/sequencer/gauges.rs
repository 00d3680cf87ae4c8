//! The sequencer's metrics.

use std::collections::BTreeMap;

use crate::{
    planner::{Backlog, Level},
    state::State,
};

/// A count as metrics want it; exact up to 2^53.
#[allow(
    clippy::cast_precision_loss,
    reason = "metrics are doubles, and none of ours nears 2^53"
)]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

pub(super) fn count(count: usize) -> f64 {
    number(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Requests that wait.
pub(super) fn queue(length: usize) {
    metrics::gauge!("aquifer_metadata_queue_requests").set(count(length));
}

/// A group that goes to the journal, and what the state costs.
pub(super) fn group(requests: usize, state: &State) {
    metrics::histogram!("aquifer_metadata_group_requests").record(count(requests));
    let (usage, budgets) = (state.usage(), state.budgets());
    for (part, used, budget) in [
        ("partitions", usage.partition_bytes, budgets.partition_bytes),
        ("extents", usage.extent_bytes, budgets.extent_bytes),
        ("producers", usage.producer_bytes, budgets.producer_bytes),
        ("results", usage.result_bytes, budgets.result_bytes),
        ("holds", usage.hold_bytes, budgets.hold_bytes),
        ("groups", usage.group_bytes, budgets.group_bytes),
        ("offsets", usage.offset_bytes, budgets.offset_bytes),
    ] {
        metrics::gauge!("aquifer_metadata_budget_used_bytes", "part" => part).set(number(used));
        metrics::gauge!("aquifer_metadata_budget_bytes", "part" => part).set(number(budget));
    }
}

/// What compactors are behind with, and what they have.
pub(super) fn upkeep(backlog: &Backlog, jobs: &BTreeMap<&'static str, u64>) {
    let Backlog {
        small_objects,
        small_bytes,
        small_age_epochs,
        partitions,
        dirty_logs,
        deletable_objects,
    } = *backlog;
    metrics::gauge!("aquifer_compaction_backlog_objects").set(number(small_objects));
    metrics::gauge!("aquifer_compaction_backlog_bytes").set(number(small_bytes));
    metrics::gauge!("aquifer_compaction_backlog_age_epochs").set(f64::from(small_age_epochs));
    metrics::gauge!("aquifer_compaction_backlog_partitions").set(number(partitions));
    metrics::gauge!("aquifer_compaction_backlog_dirty_logs").set(number(dirty_logs));
    metrics::gauge!("aquifer_compaction_backlog_deletable_objects").set(number(deletable_objects));
    for (kind, held) in jobs {
        metrics::gauge!("aquifer_compaction_jobs", "kind" => *kind).set(number(*held));
    }
}

/// What there is of levels 0, 1 and 2.
pub(super) fn levels(levels: &[Level; 3]) {
    for (name, level) in ["0", "1", "2"].into_iter().zip(levels) {
        metrics::gauge!("aquifer_metadata_extents", "level" => name).set(number(level.extents));
        metrics::gauge!("aquifer_metadata_objects", "level" => name).set(number(level.objects));
    }
}
