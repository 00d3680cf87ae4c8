#![no_main]

use aquifer_format::ids::JournalSeq;
use aquifer_metadata::{
    event::decode_row,
    state::{Budgets, State},
};
use libfuzzer_sys::fuzz_target;

// Rows, each `[seq step u8][length u8][bytes]`: whatever can be decoded can be applied, and the state
// can then be written as pages and loaded from them.
fuzz_target!(|data: &[u8]| {
    let mut state = State::new(Budgets::default());
    let mut seq = 1u64;
    let mut rest = data;
    while let Some(([step, length], after)) = rest.split_first_chunk::<2>() {
        let (row, after) = after.split_at(after.len().min(usize::from(*length)));
        rest = after;
        seq += u64::from(step % 3);
        let Ok(events) = decode_row(row) else {
            continue;
        };
        for event in &events {
            state.apply(JournalSeq(seq), event);
        }
    }
    let pages = state.all_pages();
    let loaded = State::from_pages(Budgets::default(), &pages);
    assert!(loaded.is_ok_and(|loaded| loaded == state));
});
