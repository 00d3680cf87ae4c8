use aquifer_format::{
    batch::{BatchBuilder, BatchHeader},
    codec::Codec,
    ids::{ProducerEpoch, Sequence},
};

use super::*;

const DATA: Option<Option<bool>> = None;
const COMMIT: Option<Option<bool>> = Some(Some(true));
const ABORT: Option<Option<bool>> = Some(Some(false));
const EMPTY: Option<Option<bool>> = Some(None);

fn header(producer: i64, offset: i64, transactional: bool) -> BatchHeader {
    let mut batch = BatchBuilder::new(Codec::None)
        .base_offset(Offset(offset))
        .producer(ProducerId(producer), ProducerEpoch(0), Sequence(0))
        .transactional(transactional);
    batch.append(0, Some(b"k"), None, &[]);
    batch.build().expect("a batch").header
}

fn aborted(producer: i64, first: i64, last: i64) -> AbortedTransaction {
    AbortedTransaction {
        first_offset: Offset(first),
        producer_id: ProducerId(producer),
        last_offset: Offset(last),
    }
}

/// Reads batches of one record each: (producer, offset, what, whether it may go).
fn check(
    name: &str,
    listed: &[AbortedTransaction],
    batches: &[(i64, i64, Option<Option<bool>>, bool)],
    named: &[AbortedTransaction],
) {
    let mut transactions = CleanedTransactions::new(listed.to_vec());
    for (producer, offset, what, may_go) in batches {
        let header = header(*producer, *offset, true);
        let end = Offset(offset + 1);
        let told = match what {
            None => transactions.on_batch(&header, end),
            Some(commits) => transactions.on_marker(&header, end, *commits),
        };
        assert_eq!(told, *may_go, "{name}: offset {offset}");
    }
    assert_eq!(transactions.end_run(), named, "{name}");
}

#[test]
fn markers_go_when_nothing_of_their_transaction_is_left() {
    check(
        "a commit stays with its records, and goes without",
        &[],
        &[
            (1, 0, DATA, false),
            (1, 1, COMMIT, false),
            (1, 2, COMMIT, true),
        ],
        &[],
    );
    check(
        "records of an aborted one go, its marker stays for now",
        &[aborted(1, 0, 1)],
        &[(1, 0, DATA, true), (1, 1, ABORT, false)],
        &[aborted(1, 0, 1)],
    );
    check(
        "the marker of an aborted one without records goes",
        &[aborted(1, 0, 1)],
        &[(1, 1, ABORT, true)],
        &[],
    );
    check(
        "an abort that no list names goes",
        &[],
        &[(1, 1, ABORT, true)],
        &[],
    );
    check(
        "a marker that was emptied goes",
        &[],
        &[(1, 0, DATA, false), (1, 1, EMPTY, true)],
        &[],
    );
}

#[test]
fn each_producer_has_transactions_of_its_own() {
    check(
        "interleaved",
        &[aborted(1, 1, 4), aborted(2, 6, 7)],
        &[
            (2, 0, DATA, false),
            (1, 1, DATA, true),
            (2, 2, DATA, false),
            (1, 4, ABORT, false),
            (2, 5, COMMIT, false),
            (2, 6, DATA, true),
            (1, 6, DATA, false),
            (2, 7, ABORT, false),
            (1, 8, COMMIT, false),
        ],
        &[aborted(1, 1, 4), aborted(2, 6, 7)],
    );
}

#[test]
fn records_before_an_aborted_transaction_are_of_the_one_before() {
    check(
        "committed, then aborted",
        &[aborted(1, 3, 4)],
        &[
            (1, 0, DATA, false),
            (1, 1, COMMIT, false),
            (1, 3, DATA, true),
            (1, 4, ABORT, false),
        ],
        &[aborted(1, 3, 4)],
    );
}

#[test]
fn a_run_names_what_goes_on_behind_it_and_the_next_one_names_it_again() {
    let mut transactions = CleanedTransactions::new(vec![aborted(1, 0, 9), aborted(2, 5, 6)]);
    assert!(transactions.on_batch(&header(1, 0, true), Offset(1)));
    assert_eq!(transactions.end_run(), [aborted(1, 0, 9)]);
    assert!(!transactions.on_marker(&header(1, 9, true), Offset(10), Some(false)));
    assert_eq!(transactions.end_run(), [aborted(1, 0, 9)]);
    assert!(transactions.end_run().is_empty());
}

#[test]
fn what_is_not_transactional_is_no_part_of_any() {
    let mut transactions = CleanedTransactions::new(vec![aborted(1, 0, 1)]);
    assert!(!transactions.on_batch(&header(1, 0, false), Offset(1)));
    assert!(transactions.on_marker(&header(1, 1, true), Offset(2), Some(false)));
}
