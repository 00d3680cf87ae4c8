//! The two journal tables, used in turn.

use sqlx::{Row as _, postgres::PgRow};

use super::{super::chain::from_signed, JournalError, sql};

/// One of the two journal tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    A,
    B,
}

impl Table {
    /// The table that the fence's row names.
    pub(super) fn active(row: &PgRow) -> Self {
        match row.get("active_table") {
            "b" => Self::B,
            _ => Self::A,
        }
    }

    fn other(self) -> Self {
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

    pub(super) fn switch_to(self) -> &'static str {
        match self {
            Self::A => sql::SWITCH_TO_A,
            Self::B => sql::SWITCH_TO_B,
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

/// What a table holds.
#[derive(Clone, Copy, Debug, Default)]
struct Content {
    /// First and last seq, if it has rows.
    seqs: Option<(u64, u64)>,
    /// On the server's disk, indexes and all.
    bytes: u64,
}

/// What the two tables hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    active: Table,
    a: Content,
    b: Content,
    through: u64,
}

/// How much goes into a table before the other one is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableLimits {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// What there is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upkeep {
    /// The table is not written any more, the pages reflect all of it and the newer one has rows.
    Truncate(Table),
    /// The other table is full and this one is empty.
    SwitchTo(Table),
}

impl Tables {
    pub(super) fn from_row(row: &PgRow) -> Result<Self, JournalError> {
        let content = |first: &str, last: &str, bytes: &str| {
            let first: Option<i64> = row.get(first);
            let last: Option<i64> = row.get(last);
            let seqs = first
                .zip(last)
                .map(|(first, last)| Ok((from_signed(first)?, from_signed(last)?)))
                .transpose()?;
            let bytes = from_signed(row.get(bytes))?;
            Ok(Content { seqs, bytes })
        };
        Ok(Self {
            active: Table::active(row),
            a: content("first_a", "last_a", "bytes_a")?,
            b: content("first_b", "last_b", "bytes_b")?,
            through: from_signed(row.get("through_seq"))?,
        })
    }

    fn content(&self, table: Table) -> Content {
        match table {
            Table::A => self.a,
            Table::B => self.b,
        }
    }

    pub(super) fn upkeep(&self, limits: TableLimits) -> Option<Upkeep> {
        let active = self.content(self.active);
        let (first, last) = active.seqs?;
        let other = self.active.other();
        match self.content(other).seqs {
            Some((_, oldest)) => {
                (oldest <= self.through && oldest < first).then_some(Upkeep::Truncate(other))
            }
            None => {
                let full = last - first + 1 >= limits.rows || active.bytes >= limits.bytes;
                full.then_some(Upkeep::SwitchTo(other))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_truncated_when_pages_reflect_them_and_switched_when_full() {
        use Table::{A, B};
        use Upkeep::{SwitchTo, Truncate};
        let limits = TableLimits {
            rows: 5,
            bytes: 1000,
        };
        let content = |seqs| Content { seqs, bytes: 10 };
        for (active, a, b, through, expected) in [
            (A, None, None, 0, None),
            (A, Some((1, 4)), None, 4, None),
            (A, Some((1, 5)), None, 0, Some(SwitchTo(B))),
            (B, None, Some((3, 9)), 9, Some(SwitchTo(A))),
            (B, Some((1, 9)), None, 9, None),
            (B, Some((1, 9)), Some((10, 10)), 8, None),
            (B, Some((1, 9)), Some((10, 10)), 9, Some(Truncate(A))),
            (B, Some((1, 9)), Some((10, 20)), 8, None),
            (A, Some((20, 22)), Some((10, 19)), 30, Some(Truncate(B))),
            (A, Some((20, 22)), Some((10, 19)), 18, None),
        ] {
            let tables = Tables {
                active,
                a: content(a),
                b: content(b),
                through,
            };
            let upkeep = tables.upkeep(limits);
            assert_eq!(upkeep, expected, "{active:?} {a:?} {b:?} {through}");
        }
        let large = Tables {
            active: A,
            a: Content {
                seqs: Some((1, 1)),
                bytes: 1000,
            },
            b: Content::default(),
            through: 0,
        };
        assert_eq!(large.upkeep(limits), Some(SwitchTo(B)));
    }
}
