//! What the state costs in memory, and what it may cost.

use aquifer_metadata_api::config::Configs;

/// How many bytes of memory each part of the state may take. The estimates count what a thing takes on
/// average with its share of allocations, not to the byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Partitions, used or idle, and the configs that were set on topics: every agent that connects is
    /// sent all of them in one message.
    pub partition_bytes: u64,
    /// Extents and the objects that they are in.
    pub extent_bytes: u64,
    /// Producers and their remembered batches.
    pub producer_bytes: u64,
    /// Results of commits that were not acknowledged yet.
    pub result_bytes: u64,
    /// Held batches, counted by the size of the batches (they are in the bucket, not here: this bounds
    /// what clients may keep waiting).
    pub hold_bytes: u64,
    /// Groups: their members with what those say and are assigned.
    pub group_bytes: u64,
    /// Committed offsets.
    pub offset_bytes: u64,
}

impl Default for Budgets {
    /// Sized for a leader with 4 GiB of memory: 30 million extents, 1 million partitions,
    /// 100,000 members of groups, 5 million committed offsets.
    fn default() -> Self {
        Self {
            partition_bytes: 128 << 20,
            extent_bytes: 2 << 30,
            producer_bytes: 512 << 20,
            result_bytes: 256 << 20,
            hold_bytes: 256 << 20,
            group_bytes: 256 << 20,
            offset_bytes: 512 << 20,
        }
    }
}

/// What the state costs now, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// See [`Budgets::partition_bytes`].
    pub partition_bytes: u64,
    /// See [`Budgets::extent_bytes`].
    pub extent_bytes: u64,
    /// See [`Budgets::producer_bytes`].
    pub producer_bytes: u64,
    /// See [`Budgets::result_bytes`].
    pub result_bytes: u64,
    /// See [`Budgets::hold_bytes`].
    pub hold_bytes: u64,
    /// See [`Budgets::group_bytes`].
    pub group_bytes: u64,
    /// See [`Budgets::offset_bytes`].
    pub offset_bytes: u64,
}

/// How near the budgets' end the state is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// A budget is used to 80 %: producers are to be throttled.
    pub throttle: bool,
    /// A budget is used up: batches are refused.
    pub refuse: bool,
}

/// An idle partition.
pub(super) const PARTITION_BYTES: u64 = 96;
/// An extent with its share of a growing vector.
pub(crate) const EXTENT_BYTES: u64 = 64;
/// An object: table entry, index entry.
pub(crate) const OBJECT_BYTES: u64 = 192;
/// A producer without its batches: a share of a tree node, the entry.
pub(super) const PRODUCER_BYTES: u64 = 96;
/// A remembered batch.
pub(super) const REMEMBERED_BYTES: u64 = 24;
/// A remembered commit without its outcomes.
pub(super) const RESULT_BYTES: u64 = 128;
/// An outcome.
pub(super) const OUTCOME_BYTES: u64 = 40;
/// The length of a run in a remembered commit.
pub(super) const RESULT_RUN_BYTES: u64 = 4;

impl Usage {
    /// Share of the budget that is fullest, in percent, for people and metrics.
    #[must_use]
    pub fn percent_of(&self, budgets: &Budgets) -> u64 {
        self.pairs(budgets)
            .into_iter()
            .map(|(used, budget)| percent(used, budget))
            .max()
            .unwrap_or(0)
    }

    pub(super) fn pressure(&self, budgets: &Budgets) -> Pressure {
        let [_, extents, producers, ..] = self.pairs(budgets);
        let fullest = percent(extents.0, extents.1).max(percent(producers.0, producers.1));
        let results = percent(self.result_bytes, budgets.result_bytes);
        Pressure {
            throttle: fullest.max(results) >= 80,
            refuse: fullest >= 100,
        }
    }

    fn pairs(&self, budgets: &Budgets) -> [(u64, u64); 7] {
        [
            (self.partition_bytes, budgets.partition_bytes),
            (self.extent_bytes, budgets.extent_bytes),
            (self.producer_bytes, budgets.producer_bytes),
            (self.result_bytes, budgets.result_bytes),
            (self.hold_bytes, budgets.hold_bytes),
            (self.group_bytes, budgets.group_bytes),
            (self.offset_bytes, budgets.offset_bytes),
        ]
    }
}

/// Configs that were set on a topic.
pub(super) fn configs_bytes(configs: &Configs) -> u64 {
    let bytes = configs.iter().map(|(name, value)| name.len() + value.len());
    u64::try_from(bytes.sum::<usize>()).unwrap_or(u64::MAX)
}

fn percent(used: u64, budget: u64) -> u64 {
    used.saturating_mul(100) / budget.max(1)
}
