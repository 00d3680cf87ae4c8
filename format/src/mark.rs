//! Places in the metadata journal, as those remember them who saw something of it.

use std::fmt;

use crate::ids::{Incarnation, JournalSeq, LeaderTerm};

/// A row of the metadata journal that somebody was shown. Whoever remembers one can tell later whether
/// the journal still has it: rows are dense and each hash covers all rows before.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct JournalMark {
    /// The cluster's incarnation then. Marks of earlier incarnations say nothing any more: their loss was
    /// accepted.
    pub incarnation: Incarnation,
    /// Term of the leader that showed it.
    pub term: LeaderTerm,
    /// The row.
    pub seq: JournalSeq,
    /// Its hash.
    pub hash: [u8; 32],
}

impl fmt::Debug for JournalMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "row {} ({:02x}{:02x}..) of term {}, incarnation {}",
            self.seq, self.hash[0], self.hash[1], self.term, self.incarnation
        )
    }
}

impl fmt::Display for JournalMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
