//! Which of the two journal tables a row goes to.

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use sqlx::{Row as _, postgres::PgRow};

use super::{super::chain::from_signed, JournalError, sql};

/// One of the two journal tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    A,
    B,
}

impl Table {
    pub(super) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(super) fn append(self) -> &'static str {
        match self {
            Self::A => sql::APPEND_A,
            Self::B => sql::APPEND_B,
        }
    }

    pub(super) fn lock(self) -> &'static str {
        match self {
            Self::A => sql::LOCK_A,
            Self::B => sql::LOCK_B,
        }
    }

    pub(super) fn truncate(self) -> &'static str {
        match self {
            Self::A => sql::TRUNCATE_A,
            Self::B => sql::TRUNCATE_B,
        }
    }
}

/// First and last seq of a table that has rows.
type Stretch = (u64, u64);

/// What the two tables hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    a: Option<Stretch>,
    b: Option<Stretch>,
    through: u64,
}

impl Tables {
    pub(super) fn from_row(row: &PgRow) -> Result<Self, JournalError> {
        let stretch = |first: &str, last: &str| {
            let first: Option<i64> = row.get(first);
            let last: Option<i64> = row.get(last);
            first
                .zip(last)
                .map(|(first, last)| Ok((from_signed(first)?, from_signed(last)?)))
                .transpose()
        };
        Ok(Self {
            a: stretch("first_a", "last_a")?,
            b: stretch("first_b", "last_b")?,
            through: from_signed(row.get("through_seq"))?,
        })
    }

    /// The table that has the newest row.
    fn active(&self) -> Table {
        match (self.a, self.b) {
            (Some((_, a)), Some((_, b))) if b > a => Table::B,
            (None, Some(_)) => Table::B,
            _ => Table::A,
        }
    }

    fn stretch(&self, table: Table) -> Option<Stretch> {
        match table {
            Table::A => self.a,
            Table::B => self.b,
        }
    }

    /// The table that is not written any more, if the pages reflect all of it and the newer one has
    /// rows.
    pub(super) fn obsolete(&self) -> Option<Table> {
        let active = self.active();
        let (first, _) = self.stretch(active)?;
        let (_, last) = self.stretch(active.other())?;
        (last <= self.through && last < first).then(|| active.other())
    }

    /// The table that is not written, if it is empty.
    pub(super) fn empty(&self) -> Option<Table> {
        let other = self.active().other();
        self.stretch(other).is_none().then_some(other)
    }
}

/// Where the rows of the present leader go. Only the leader switches tables, and only to an empty one;
/// all tries of one row go to the same table, so that they meet in its primary key.
#[derive(Debug, Default)]
pub(super) struct Placement {
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    term: LeaderTerm,
    active: Table,
    rows: u64,
    bytes: u64,
    other_is_empty: bool,
    /// The row that was last placed, and where.
    placed: Option<(JournalSeq, Table)>,
}

/// How much goes into a table before the other one is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableLimits {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Placement {
    /// The table for row `seq` of `term`; None = look at the tables first.
    pub(super) fn place(
        &mut self,
        term: LeaderTerm,
        seq: JournalSeq,
        limits: TableLimits,
    ) -> Option<Table> {
        let current = self.current.as_mut().filter(|c| c.term == term)?;
        if let Some((placed, table)) = current.placed
            && placed == seq
        {
            return Some(table);
        }
        let full = current.rows >= limits.rows || current.bytes >= limits.bytes;
        if full && current.other_is_empty {
            current.active = current.active.other();
            current.rows = 0;
            current.bytes = 0;
            current.other_is_empty = false;
        }
        current.placed = Some((seq, current.active));
        Some(current.active)
    }

    /// Starts from what the tables hold, for the rows of `term`.
    pub(super) fn found(&mut self, term: LeaderTerm, tables: &Tables) {
        let active = tables.active();
        let stretch = tables.stretch(active);
        self.current = Some(Current {
            term,
            active,
            rows: stretch.map_or(0, |(first, last)| last - first + 1),
            bytes: 0,
            other_is_empty: tables.stretch(active.other()).is_none(),
            placed: None,
        });
    }

    /// A row of `bytes` was inserted.
    pub(super) fn inserted(&mut self, term: LeaderTerm, bytes: usize) {
        if let Some(current) = self.current.as_mut().filter(|c| c.term == term) {
            current.rows += 1;
            current.bytes = current.bytes.saturating_add(bytes as u64);
        }
    }

    /// The table that is not written was truncated in the background, while `term` led.
    pub(super) fn emptied(&mut self, term: LeaderTerm, table: Table) {
        if let Some(current) = self.current.as_mut().filter(|c| c.term == term)
            && current.active == table.other()
        {
            current.other_is_empty = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TableLimits = TableLimits {
        rows: 3,
        bytes: 1000,
    };

    fn tables(a: Option<Stretch>, b: Option<Stretch>, through: u64) -> Tables {
        Tables { a, b, through }
    }

    #[test]
    fn the_older_table_goes_when_pages_reflect_it_and_the_newer_one_has_rows() {
        for (a, b, through, expected) in [
            (None, None, 0, None),
            (Some((1, 9)), None, 9, None),
            (None, Some((1, 9)), 9, None),
            (Some((1, 9)), Some((10, 10)), 8, None),
            (Some((1, 9)), Some((10, 10)), 9, Some(Table::A)),
            (Some((20, 22)), Some((10, 19)), 30, Some(Table::B)),
            (Some((20, 22)), Some((10, 19)), 18, None),
        ] {
            let obsolete = tables(a, b, through).obsolete();
            assert_eq!(obsolete, expected, "{a:?} {b:?} {through}");
        }
    }

    #[test]
    fn a_full_table_is_left_for_an_empty_one_and_a_row_stays_where_it_was_placed() {
        let mut placement = Placement::default();
        let term = LeaderTerm(1);
        let place = |placement: &mut Placement, seq| placement.place(term, JournalSeq(seq), LIMITS);
        assert_eq!(place(&mut placement, 1), None);
        placement.found(term, &tables(None, None, 0));
        for seq in 1..=3 {
            assert_eq!(place(&mut placement, seq), Some(Table::A));
            assert_eq!(place(&mut placement, seq), Some(Table::A), "again");
            placement.inserted(term, 1);
        }
        for seq in 4..=7 {
            assert_eq!(place(&mut placement, seq), Some(Table::B));
            placement.inserted(term, 1);
            assert_eq!(place(&mut placement, seq), Some(Table::B), "again");
        }
        assert_eq!(
            place(&mut placement, 8),
            Some(Table::B),
            "the other has rows"
        );
        placement.emptied(term, Table::A);
        assert_eq!(place(&mut placement, 8), Some(Table::B), "again");
        placement.inserted(term, 1);
        assert_eq!(place(&mut placement, 9), Some(Table::A));
        placement.emptied(term, Table::A);
        placement.inserted(term, 2000);
        assert_eq!(
            place(&mut placement, 10),
            Some(Table::A),
            "B was never emptied"
        );
        assert_eq!(placement.place(LeaderTerm(2), JournalSeq(10), LIMITS), None);
        placement.found(LeaderTerm(2), &tables(Some((9, 9)), Some((4, 8)), 0));
        let place = placement.place(LeaderTerm(2), JournalSeq(10), LIMITS);
        assert_eq!(place, Some(Table::A));
    }
}
