use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::clean::{FolderSpill, MemorySpill};

fn key(i: u64) -> Vec<u8> {
    format!("key-{i}").into_bytes()
}

/// Offsets of the superseded ones of (key, offset), which are noted as they come.
fn superseded(index: &mut KeyIndex, records: &[(u64, i64)], spills: bool) -> Vec<i64> {
    if spills {
        index.begin_spill().unwrap();
    }
    for (i, offset) in records {
        assert!(index.note(&key(*i), Offset(*offset)).unwrap());
    }
    while !index.settle().unwrap() {}
    let mut found = Vec::new();
    for (i, offset) in records {
        if index.is_superseded(&key(*i), Offset(*offset)).unwrap() {
            found.push(*offset);
        }
    }
    found
}

fn expected(records: &[(u64, i64)]) -> Vec<i64> {
    let newest: BTreeMap<_, _> = records.iter().copied().collect();
    let older = |(key, offset): &&(u64, i64)| newest.get(key).is_some_and(|newest| offset < newest);
    records
        .iter()
        .filter(older)
        .map(|(_, offset)| *offset)
        .collect()
}

/// `count` records with gaps between them; every third one is of one of ten keys.
fn records(count: u64, keys: u64) -> Vec<(u64, i64)> {
    (0..count)
        .map(|i| {
            let mixed = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let key = if i.is_multiple_of(3) {
                mixed % 10
            } else {
                mixed % keys
            };
            (key, i64::try_from(i + i / 7 * 5).unwrap())
        })
        .collect()
}

#[test]
fn spilled_keys_are_superseded_as_those_in_memory_are() {
    let records = records(20_000, 3_000);
    let expected = expected(&records);
    assert!(expected.len() > 10_000);
    let mut large = KeyIndex::new(1 << 20, Box::new(MemorySpill::default()));
    assert_eq!(superseded(&mut large, &records, false), expected);
    // 1 KiB: a file's keys are taken in parts.
    for memory in [0, 1 << 10, 16 << 10, 1 << 20] {
        let mut index = KeyIndex::new(memory, Box::new(MemorySpill::default()));
        assert_eq!(
            superseded(&mut index, &records, true),
            expected,
            "{memory} bytes"
        );
    }
}

/// The keys of one file that has more of them than fit, so that it is taken in parts of parts.
#[test]
fn a_file_of_many_keys_is_taken_in_parts() {
    let records = records(200_000, 100_000);
    let mut index = KeyIndex::new(2 << 10, Box::new(MemorySpill::default()));
    assert_eq!(superseded(&mut index, &records, true), expected(&records));
}

#[test]
fn a_full_table_says_so_and_spilling_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let spill = FolderSpill::new(folder.path().to_path_buf(), 1 << 20);
    let mut index = KeyIndex::new(4 << 10, Box::new(spill));
    let records = records(5_000, 5_000);
    let noted = records
        .iter()
        .take_while(|(i, offset)| index.note(&key(*i), Offset(*offset)).unwrap())
        .count();
    assert!((40..1_000).contains(&noted), "{noted} records fit");
    assert_eq!(superseded(&mut index, &records, true), expected(&records));
    index.clear().unwrap();
    assert_eq!(
        superseded(&mut index, &records[..40], false),
        expected(&records[..40])
    );
}

#[test]
fn notes_end_where_the_spill_has_no_room_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let spill = FolderSpill::new(folder.path().to_path_buf(), 32 * 1_000);
    let mut index = KeyIndex::new(4 << 10, Box::new(spill));
    index.begin_spill().unwrap();
    // All of one key: each but the last is written once more.
    for offset in 0..1_000 {
        assert!(index.note(b"key", Offset(offset)).unwrap());
    }
    assert!(!index.note(b"key", Offset(1_000)).unwrap());
    while !index.settle().unwrap() {}
    for offset in 0..1_000 {
        let superseded = index.is_superseded(b"key", Offset(offset)).unwrap();
        assert_eq!(superseded, offset < 999, "{offset}");
    }
}

#[test]
fn nothing_noted_is_nothing_superseded() {
    for spills in [false, true] {
        let mut index = KeyIndex::new(1 << 10, Box::new(MemorySpill::default()));
        assert!(superseded(&mut index, &[], spills).is_empty());
        assert!(!index.is_superseded(b"key", Offset(0)).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_records_are_told_apart(
        keys in vec(0u64..40, 0..300),
        gaps in vec(1i64..1_000, 300),
        memory in 0usize..4_096,
        spills: bool,
    ) {
        let mut offset = 0;
        let records: Vec<_> = keys
            .into_iter()
            .zip(gaps)
            .map(|(key, gap)| {
                offset += gap;
                (key, offset)
            })
            .collect();
        let memory = if spills { memory } else { 1 << 20 };
        let mut index = KeyIndex::new(memory, Box::new(MemorySpill::default()));
        prop_assert_eq!(superseded(&mut index, &records, spills), expected(&records));
    }
}
