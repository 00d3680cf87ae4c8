//! What the implementations share: how the outcome of an append follows from what stands in the
//! journal, and what makes a read complete.

use aquifer_format::ids::{JournalSeq, LeaderTerm};

use super::{Appended, JournalError, NO_ROW, Row, RowHash, row_hash};

/// What one look at the journal shows around the row that is to be appended.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The fence.
    pub(super) fence: LeaderTerm,
    /// Hash of the row that stands at its seq.
    pub(super) here: Option<RowHash>,
    /// Hash of the row before.
    pub(super) before: Option<RowHash>,
    /// Seq of the newest row.
    pub(super) tail: Option<JournalSeq>,
}

/// What follows for the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The outcome is known.
    Known(Appended),
    /// It isn't there and may be appended.
    Appendable,
}

/// Decides what `seen` means for `row`.
///
/// The order matters: a row that is there is durable, whoever leads now; a leader that was deposed has no
/// say in what the tail ought to be.
pub(super) fn standing(row: &Row, seen: &Seen) -> Standing {
    let lost = |what: String| Standing::Known(Appended::LostRows { seen: what });
    if seen.here == Some(row.hash) {
        return Standing::Known(Appended::Durable);
    }
    if seen.fence > row.term {
        return Standing::Known(Appended::Deposed { by: seen.fence });
    }
    if seen.fence < row.term {
        return lost(format!(
            "the fence is at term {}, below this leader's term {}",
            seen.fence, row.term
        ));
    }
    if seen.here.is_some() {
        return lost(format!("another row stands at seq {}", row.seq));
    }
    let expected = row.seq.0.checked_sub(1).map(JournalSeq);
    let first = seen.tail.is_none() && expected == Some(JournalSeq(0)) && row.previous == NO_ROW;
    if first || (seen.tail == expected && seen.before == Some(row.previous)) {
        return Standing::Appendable;
    }
    let tail = seen.tail.map_or(0, |t| t.0);
    if seen.tail == expected {
        lost(format!(
            "the row at seq {tail} is not the one that this leader wrote"
        ))
    } else {
        lost(format!(
            "the newest row is {tail}, not the one before {}",
            row.seq
        ))
    }
}

/// Checks that `rows` begin at `from` and are an unbroken chain.
pub(super) fn check_rows(from: JournalSeq, rows: &[Row]) -> Result<(), JournalError> {
    if let Some(first) = rows.first()
        && first.seq > from
    {
        return Err(JournalError::Gap {
            wanted: from,
            first: first.seq,
        });
    }
    let mut next = from;
    let mut previous = None;
    for row in rows {
        let chained = previous.is_none_or(|hash| hash == row.previous);
        let intact = row_hash(&row.previous, row.term, row.seq, &row.bytes) == row.hash;
        if row.seq != next || !chained || !intact {
            return Err(JournalError::Unusable {
                reason: format!(
                    "the journal is damaged: row {} {}; restore the database from a backup",
                    row.seq,
                    if row.seq != next {
                        format!("stands where row {next} should")
                    } else if chained {
                        "does not match its hash".to_owned()
                    } else {
                        "does not follow the row before it".to_owned()
                    }
                ),
            });
        }
        next = JournalSeq(next.0 + 1);
        previous = Some(row.hash);
    }
    Ok(())
}

/// A hash as a database returned it.
pub(super) fn hash_from(bytes: &[u8]) -> Result<RowHash, JournalError> {
    bytes.try_into().map_err(|_| JournalError::Unusable {
        reason: format!(
            "the journal is damaged: a row hash has {} bytes; restore the database from a backup",
            bytes.len()
        ),
    })
}

/// A counter as databases hold it.
pub(super) fn to_signed(value: u64) -> i64 {
    i64::try_from(value).expect("a counter that goes up by one never reaches 2^63")
}

/// A counter as a database returned it.
pub(super) fn from_signed(value: i64) -> Result<u64, JournalError> {
    u64::try_from(value).map_err(|_| JournalError::Unusable {
        reason: format!(
            "the journal is damaged: a counter is {value}; restore the database from a backup"
        ),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn row(term: u64, seq: u64, previous: RowHash) -> Row {
        Row::new(
            LeaderTerm(term),
            JournalSeq(seq),
            previous,
            Bytes::from_static(b"events"),
        )
    }

    #[test]
    fn the_hash_of_a_row_never_changes() {
        let hash: String = row_hash(&[7; 32], LeaderTerm(3), JournalSeq(9), b"events")
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(
            hash, GOLDEN,
            "rows that are in databases would no longer match"
        );
    }

    const GOLDEN: &str = "0709a06cbd2e1d0c31aeecbf10dbbe2656c1d8dd0ced730fb709ef0f447a0fef";

    #[test]
    fn an_outcome_follows_from_what_stands_in_the_journal() {
        let one = row(1, 1, NO_ROW);
        let two = row(1, 2, one.hash);
        let seen = |fence, here, before, tail: Option<u64>| Seen {
            fence: LeaderTerm(fence),
            here,
            before,
            tail: tail.map(JournalSeq),
        };
        let other = Some([9; 32]);
        for (name, row, seen, expected) in [
            ("first", &one, seen(1, None, None, None), "Appendable"),
            (
                "next",
                &two,
                seen(1, None, Some(one.hash), Some(1)),
                "Appendable",
            ),
            (
                "again",
                &two,
                seen(1, Some(two.hash), Some(one.hash), Some(2)),
                "Durable",
            ),
            (
                "again, deposed",
                &two,
                seen(4, Some(two.hash), None, Some(3)),
                "Durable",
            ),
            (
                "deposed",
                &two,
                seen(2, None, Some(one.hash), Some(1)),
                "Deposed",
            ),
            (
                "deposed, passed",
                &two,
                seen(2, other, Some(one.hash), Some(5)),
                "Deposed",
            ),
            (
                "fence lower",
                &two,
                seen(0, None, Some(one.hash), Some(1)),
                "LostRows",
            ),
            ("tail behind", &two, seen(1, None, None, None), "LostRows"),
            (
                "other predecessor",
                &two,
                seen(1, None, other, Some(1)),
                "LostRows",
            ),
            (
                "other row here",
                &two,
                seen(1, other, Some(one.hash), Some(2)),
                "LostRows",
            ),
            (
                "first, but rows",
                &one,
                seen(1, None, None, Some(8)),
                "LostRows",
            ),
            (
                "tail ahead",
                &two,
                seen(1, None, Some(one.hash), Some(9)),
                "LostRows",
            ),
        ] {
            let got = format!("{:?}", standing(row, &seen));
            assert!(got.contains(expected), "{name}: {got}");
        }
    }

    #[test]
    fn rows_that_do_not_chain_are_damage_and_a_late_first_row_is_a_gap() {
        let one = row(1, 1, NO_ROW);
        let two = row(1, 2, one.hash);
        let three = row(1, 3, two.hash);
        let mut forged = two.clone();
        forged.bytes = Bytes::from_static(b"other");
        let from = JournalSeq(1);
        assert!(check_rows(from, &[]).is_ok());
        assert!(check_rows(from, &[one.clone(), two.clone(), three.clone()]).is_ok());
        let damaged =
            |rows: &[Row]| matches!(check_rows(from, rows), Err(JournalError::Unusable { .. }));
        assert!(damaged(&[one.clone(), three.clone()]));
        assert!(damaged(&[one.clone(), forged]));
        assert!(damaged(&[one, row(1, 2, [5; 32]), three]));
        assert!(matches!(
            check_rows(from, &[two]),
            Err(JournalError::Gap {
                first: JournalSeq(2),
                ..
            })
        ));
    }
}
