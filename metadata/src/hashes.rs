//! Hashes of the journal's rows, to tell whether it still has what somebody was shown.

use std::collections::{BTreeMap, VecDeque};

use aquifer_format::{
    ids::{Incarnation, JournalSeq, LeaderTerm},
    mark::JournalMark,
};

use crate::journal::RowHash;

/// The newest rows of which every hash is kept: 2 MiB, more than minutes of them.
const DENSE_MAX: usize = 65_536;
/// Of older rows every so many-th is kept.
const SPARSE_STEP: u64 = 4_096;
/// At most this many of those: 8 MiB, a billion rows.
const SPARSE_MAX: usize = 1 << 18;

/// What a remembered row says of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The journal has it, or nobody can tell.
    Holds,
    /// The journal does not have it.
    Missing {
        /// For people.
        seen: String,
    },
}

/// Hashes of the rows up to the newest one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hashes {
    tail: JournalSeq,
    /// Of the rows that end with `tail`.
    dense: VecDeque<RowHash>,
    sparse: BTreeMap<JournalSeq, RowHash>,
}

impl Hashes {
    /// Knows only that `tail` has `hash` (zero = there is no row).
    pub(crate) fn new(tail: JournalSeq, hash: RowHash) -> Self {
        let mut hashes = Self::default();
        if tail.0 > 0 {
            hashes.tail = JournalSeq(tail.0 - 1);
            hashes.push(tail, hash);
        }
        hashes
    }

    /// The next row. One that is not the next makes everything before it unknown.
    pub(crate) fn push(&mut self, seq: JournalSeq, hash: RowHash) {
        if seq.0 != self.tail.0 + 1 {
            self.dense.clear();
        }
        self.tail = seq;
        self.dense.push_back(hash);
        if self.dense.len() > DENSE_MAX {
            self.dense.pop_front();
        }
        if seq.0.is_multiple_of(SPARSE_STEP) {
            self.sparse.insert(seq, hash);
            if self.sparse.len() > SPARSE_MAX {
                self.sparse.pop_first();
            }
        }
    }

    /// The newest row.
    pub(crate) fn tail(&self) -> JournalSeq {
        self.tail
    }

    /// The newest row's hash; zeroes if there is none.
    pub(crate) fn tail_hash(&self) -> RowHash {
        self.dense.back().copied().unwrap_or_default()
    }

    fn get(&self, seq: JournalSeq) -> Option<RowHash> {
        let back = usize::try_from(self.tail.0.checked_sub(seq.0)?).ok()?;
        let index = self.dense.len().checked_sub(back + 1);
        let dense = index.and_then(|index| self.dense.get(index));
        dense.or_else(|| self.sparse.get(&seq)).copied()
    }

    /// What `mark` says of a journal of `incarnation`. What cannot be judged holds.
    pub(crate) fn judge(&self, incarnation: Incarnation, mark: &JournalMark) -> Verdict {
        let missing = |why: String| Verdict::Missing {
            seen: format!("somebody was shown {mark}, and {why}"),
        };
        if mark.incarnation < incarnation || mark.seq.0 == 0 {
            return Verdict::Holds;
        }
        if mark.incarnation > incarnation {
            return missing(format!("the journal is of incarnation {incarnation}"));
        }
        if mark.seq > self.tail {
            return missing(format!("the newest row is {}", self.tail));
        }
        match self.get(mark.seq) {
            Some(hash) if hash != mark.hash => missing("another row stands there".to_owned()),
            _ => Verdict::Holds,
        }
    }

    /// The place of the newest row, as others remember it.
    pub(crate) fn mark(&self, incarnation: Incarnation, term: LeaderTerm) -> JournalMark {
        JournalMark {
            incarnation,
            term,
            seq: self.tail,
            hash: self.tail_hash(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(seq: u64) -> RowHash {
        let mut hash = [1; 32];
        hash[..8].copy_from_slice(&seq.to_be_bytes());
        hash
    }

    #[test]
    fn a_row_that_is_not_there_is_missed_and_what_nobody_knows_is_accepted() {
        let mut hashes = Hashes::new(JournalSeq(7), hash(7));
        let last = 8 + SPARSE_STEP * 20;
        for seq in 8..=last {
            hashes.push(JournalSeq(seq), hash(seq));
        }
        let here = Incarnation(3);
        let mark = |incarnation, seq, hash| JournalMark {
            incarnation: Incarnation(incarnation),
            term: LeaderTerm(1),
            seq: JournalSeq(seq),
            hash,
        };
        for (mark, holds) in [
            (mark(3, last, hash(last)), true),
            (mark(3, last, hash(9)), false),
            (mark(3, last - 5, hash(last - 5)), true),
            (mark(3, last - 5, hash(9)), false),
            (mark(3, last + 1, hash(last + 1)), false),
            (mark(2, last + 1, hash(last + 1)), true),
            (mark(4, 9, hash(9)), false),
            // so old that only every 4,096th is known
            (mark(3, 10, hash(9)), true),
            (mark(3, SPARSE_STEP, hash(9)), false),
            (mark(3, SPARSE_STEP, hash(SPARSE_STEP)), true),
            // from before this process knew anything
            (mark(3, 6, hash(9)), true),
            (mark(3, 0, [0; 32]), true),
        ] {
            let verdict = hashes.judge(here, &mark);
            assert_eq!(verdict == Verdict::Holds, holds, "{mark}: {verdict:?}");
        }
        assert_eq!(hashes.mark(here, LeaderTerm(1)), mark(3, last, hash(last)));
        assert_eq!(
            Hashes::new(JournalSeq(0), [0; 32]).tail_hash(),
            crate::journal::NO_ROW
        );
    }
}
