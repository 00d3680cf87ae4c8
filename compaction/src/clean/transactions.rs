//! Transactions while a log is compacted (Kafka's `CleanedTransactionMetadata`). Until there are transactions,
//! nothing is transactional and the list of aborted ones is empty; the rules are here from the start.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aquifer_format::{
    batch::BatchHeader,
    ids::{Offset, ProducerId},
    object::AbortedTransaction,
};

/// What is known of transactions at the place that was reached.
#[derive(Clone, Debug, Default)]
pub struct CleanedTransactions {
    /// Aborted ones that begin further on, by first offset.
    pending: VecDeque<AbortedTransaction>,
    /// Aborted ones under way, and whether a batch of theirs was seen.
    aborted: BTreeMap<ProducerId, (AbortedTransaction, bool)>,
    /// Committed ones of which a batch was seen.
    committed: BTreeSet<ProducerId>,
    /// Aborted ones that ended and of which something was there.
    kept: Vec<AbortedTransaction>,
}

impl CleanedTransactions {
    /// Before the first batch. `aborted` reach into what is read: one that ended before it would be taken for
    /// the producer's next one.
    #[must_use]
    pub fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_unstable();
        Self {
            pending: aborted.into(),
            ..Self::default()
        }
    }

    /// Whether the records of a batch are those of an aborted transaction.
    pub fn on_batch(&mut self, header: &BatchHeader, end_offset: Offset) -> bool {
        self.begin_up_to(end_offset);
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some((_, seen)) => {
                *seen = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// Whether a marker may go (nothing of its transaction is left). `commits`: None = the marker's batch is empty.
    pub fn on_marker(
        &mut self,
        header: &BatchHeader,
        end_offset: Offset,
        commits: Option<bool>,
    ) -> bool {
        self.begin_up_to(end_offset);
        match commits {
            None => true,
            Some(true) => !self.committed.remove(&header.producer_id),
            Some(false) => match self.aborted.remove(&header.producer_id) {
                Some((transaction, true)) => {
                    self.kept.push(transaction);
                    false
                }
                Some((_, false)) | None => true,
            },
        }
    }

    /// Ends an output run: the aborted ones that its index names, by first offset. One that goes on behind the
    /// run is named by the next run, too.
    pub fn end_run(&mut self) -> Vec<AbortedTransaction> {
        let under_way = self.aborted.values().filter(|(_, seen)| *seen);
        let mut named = std::mem::take(&mut self.kept);
        named.extend(under_way.map(|(transaction, _)| *transaction));
        named.sort_unstable();
        named
    }

    fn begin_up_to(&mut self, end_offset: Offset) {
        while let Some(transaction) = self.pending.front().copied() {
            if transaction.first_offset >= end_offset {
                break;
            }
            self.pending.pop_front();
            self.aborted
                .entry(transaction.producer_id)
                .or_insert((transaction, false));
        }
    }
}
