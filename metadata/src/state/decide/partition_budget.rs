//! What the partitions that one request asks for add up to.

use kafka_protocol::ResponseError;

use super::refusal::Refusal;
use crate::state::{budget::PARTITION_BYTES, entity::State};

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

    /// Grants so many partitions, or none.
    pub(super) fn take(&mut self, partitions: u32) -> Result<(), Refusal> {
        let cost = u64::from(partitions).saturating_mul(PARTITION_BYTES);
        let used = self.used.saturating_add(cost);
        if used > self.state.budgets.partition_bytes {
            return Err(Refusal::new(
                ResponseError::PolicyViolation,
                "The cluster's budget for partitions is used up.",
            ));
        }
        self.used = used;
        Ok(())
    }
}
