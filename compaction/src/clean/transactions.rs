//! Transactions while a log is compacted (Kafka's `CleanedTransactionMetadata`). Until there are transactions,
//! nothing is transactional and the list of aborted ones is empty; the rules are here from the start.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::{
    batch::BatchHeader,
    ids::{Offset, ProducerId},
    object::AbortedTransaction,
};

/// What is known of transactions at the place that was reached.
#[derive(Clone, Debug, Default)]
pub struct CleanedTransactions {
    /// Aborted ones that begin further on, by first offset.
    pending: Vec<AbortedTransaction>,
    /// Aborted ones under way, with the last offset of a batch of theirs that was seen.
    aborted: BTreeMap<ProducerId, (AbortedTransaction, Option<Offset>)>,
    /// Committed ones of which a batch was seen.
    committed: BTreeSet<ProducerId>,
    /// Aborted ones of which something stays, for the output's index.
    pub kept: Vec<AbortedTransaction>,
}

impl CleanedTransactions {
    /// Before the first batch.
    #[must_use]
    pub fn new(aborted: Vec<AbortedTransaction>) -> Self {
        Self {
            pending: aborted,
            ..Self::default()
        }
    }

    /// Whether the records of a batch are those of an aborted transaction.
    pub fn on_batch(&mut self, header: &BatchHeader, end_offset: Offset) -> bool {
        let _ = (
            header,
            end_offset,
            &self.pending,
            &self.aborted,
            &self.committed,
        );
        todo!("builder E")
    }

    /// Whether a marker may go (nothing of its transaction is left). `commits`: None = the marker's batch is empty.
    pub fn on_marker(
        &mut self,
        header: &BatchHeader,
        end_offset: Offset,
        commits: Option<bool>,
    ) -> bool {
        let _ = (header, end_offset, commits);
        todo!("builder E")
    }
}
