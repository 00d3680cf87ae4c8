//! What the partitions and configs that one request asks for add up to.

use aquifer_metadata_api::config::Configs;
use kafka_protocol::ResponseError;

use super::refusal::Refusal;
use crate::state::{
    budget::{PARTITION_BYTES, configs_bytes},
    entity::State,
};

/// The budget for partitions, less what was granted so far.
pub(super) struct PartitionBudget<'a> {
    state: &'a State,
    used: u64,
}

impl<'a> PartitionBudget<'a> {
    pub(super) fn new(state: &'a State) -> Self {
        Self {
            state,
            used: state.usage.partition_bytes,
        }
    }

    /// Grants so many partitions of a topic that has its configs, or none.
    pub(super) fn take_partitions(&mut self, partitions: u32) -> Result<(), Refusal> {
        self.take(partition_bytes(partitions))
    }

    /// Grants a new topic, or refuses it.
    pub(super) fn take_topic(&mut self, partitions: u32, configs: &Configs) -> Result<(), Refusal> {
        let configs = configs_bytes(configs);
        self.take(partition_bytes(partitions).saturating_add(configs))
    }

    /// Grants that a topic gets the configs `after` in place of `before`, or refuses it. What is less than
    /// before is always granted.
    pub(super) fn take_configs(
        &mut self,
        before: &Configs,
        after: &Configs,
    ) -> Result<(), Refusal> {
        let more = configs_bytes(after).saturating_sub(configs_bytes(before));
        if more == 0 { Ok(()) } else { self.take(more) }
    }

    fn take(&mut self, cost: u64) -> Result<(), Refusal> {
        let used = self.used.saturating_add(cost);
        if used > self.state.budgets.partition_bytes {
            return Err(Refusal::new(
                ResponseError::PolicyViolation,
                "The cluster's budget for partitions and configs of topics is used up.",
            ));
        }
        self.used = used;
        Ok(())
    }
}

fn partition_bytes(partitions: u32) -> u64 {
    u64::from(partitions).saturating_mul(PARTITION_BYTES)
}
