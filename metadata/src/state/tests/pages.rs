//! Pages: framing, keys, damage, golden bytes, and what is dirty.

use aquifer_format::ids::{JournalSeq, Offset, PartitionId, PartitionIndex};
use aquifer_metadata_api::upkeep::RangeOutcome;
use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    event::golden,
    journal::{Page, PageKey},
    state::{
        Budgets, PageError, State, decide,
        page::view::{MembersView, PageView},
        tests::{
            groups::add_groups,
            merger,
            world::{Log, World, batch, plain, register_request},
        },
    },
};

/// A state with something in every kind of page.
fn example() -> Log {
    let mut log = Log::in_world(World::new(), &[("message.timestamp.type", "LogAppendTime")]);
    log.send_run(vec![plain(3), batch(0, 0, 2)]);
    log.send(batch(0, 0, 2));
    log.hold(batch(0, 9, 1));
    let gone = decide::register(&log.world.state, &register_request(2)).unwrap();
    let (gone, _) = log.world.decided(gone);
    let ended = decide::end_session(&log.world.state, &log.world.now, gone.session);
    log.world.decided(ended);
    let topic = log.world.create("plain", 2);
    let id = PartitionId::new(topic, PartitionIndex(1));
    let commit = log
        .world
        .next_commit(log.session, log.slot, &[(id, vec![plain(1)])]);
    log.world.commit(log.session, &commit);
    let config = ("log.retention.ms", 0, Some("86400000"));
    log.world.alter_brokers(&[config]);
    log
}

/// That with what compactors did: a log that was merged and cleaned, and a topic in the trash.
fn with_merged() -> Log {
    let mut log = with_groups();
    let merge = merger::request(&log.world, &merger::small_job(&log.world.state, 0));
    assert!(log.world.swap(&merge).contains(&RangeOutcome::Done));
    let clean = merger::clean_job(&log.world.state, log.partition).expect("it has merged extents");
    let clean = merger::request(&log.world, &clean);
    assert_eq!(log.world.swap(&clean), [RangeOutcome::Done]);
    log.world.trash("plain");
    log
}

/// That with groups, too.
fn with_groups() -> Log {
    let mut log = example();
    add_groups(&mut log);
    log
}

#[test]
fn a_state_is_what_its_pages_say() {
    let state = with_merged().world.state;
    let pages = state.all_pages();
    let loaded = State::from_pages(Budgets::default(), &pages).unwrap();
    assert!(loaded == state);
    merger::assert_sound(&loaded);
    assert_eq!(loaded.fingerprint(), state.fingerprint());
    assert_eq!(
        loaded.held().collect::<Vec<_>>(),
        state.held().collect::<Vec<_>>()
    );
    assert_eq!(loaded.dirty_pages(), 0);
}

#[test]
fn the_order_in_which_pages_come_does_not_matter() {
    let state = with_merged().world.state;
    let mut pages = state.all_pages();
    pages.reverse();
    assert!(State::from_pages(Budgets::default(), &pages).unwrap() == state);
}

#[test]
fn golden_pages_of_version_1() {
    let state = example().world.state;
    let pages = state.all_pages();
    let names = [
        "",
        "counters",
        "slots",
        "session",
        "topic",
        "head",
        "extents",
        "released",
        "broker_configs",
    ];
    let mut seen = [0; 9];
    for page in &pages {
        let kind = usize::from(page.key.0[0]);
        golden::check(
            &format!("page-v1-{}-{}.bin", names[kind], seen[kind]),
            &page.bytes,
        );
        seen[kind] += 1;
    }
    assert!(
        seen[1..].iter().all(|count| *count > 0),
        "every kind of page: {seen:?}"
    );
}

#[test]
fn golden_pages_of_what_compactors_did() {
    let state = with_merged().world.state;
    let pages = state.all_pages();
    let find = |kind: u8, which: &dyn Fn(&PageView) -> bool| {
        let mut of_kind = pages.iter().filter(|page| page.key.0[0] == kind);
        of_kind.find(|page| which(&PageView::read(page).unwrap()))
    };
    let deleted = |view: &PageView| matches!(view, PageView::DeletedTopic { .. });
    let clean =
        |view: &PageView| matches!(view, PageView::Head(head) if head.cleaned_through > Offset(0));
    for (name, page) in [
        ("merged-0", find(12, &|_| true)),
        ("topic-deleted", find(4, &deleted)),
        ("head-cleaned", find(5, &clean)),
    ] {
        let page = page.expect(name);
        golden::check(&format!("page-v1-{name}.bin"), &page.bytes);
    }
}

#[test]
fn golden_page_of_a_chunk_that_lost_its_first_extents() {
    let mut log = Log::empty();
    for _ in 0..3 {
        log.send(plain(10));
    }
    // 10..20 ends above it and stays
    assert_eq!(log.world.delete_records("log", 0, 15), (0, 15));
    let pages = log.world.state.all_pages();
    let chunk = pages.iter().find(|page| page.key.0[0] == 6).unwrap();
    golden::check("page-v1-extents-dropped.bin", &chunk.bytes);
    let loaded = State::from_pages(Budgets::default(), &pages).unwrap();
    assert!(loaded == log.world.state);
    let offsets: Vec<_> = loaded
        .extents(log.partition, Offset(0))
        .map(|extent| extent.base_offset.0)
        .collect();
    assert_eq!(offsets, [10, 20]);
}

#[test]
fn a_chunk_that_lost_extents_takes_no_more_than_it_had_room_for() {
    let mut log = Log::empty();
    for _ in 0..512 {
        log.send(plain(1));
    }
    log.world.delete_records("log", 0, 500);
    log.send(plain(1));
    let chunks = |state: &State| {
        let pages = state.all_pages().into_iter();
        let keys = pages.map(|page| page.key).filter(|key| key.0[0] == 6);
        keys.collect::<Vec<_>>()
    };
    let two = chunks(&log.world.state);
    assert_eq!(two.len(), 2, "it counts what it lost");
    log.world.state.take_dirty();
    log.world.delete_records("log", 0, 512);
    let dirty = log.world.state.take_dirty();
    let emptied: Vec<_> = dirty
        .iter()
        .filter(|key| log.world.state.is_emptied_chunk(key))
        .collect();
    assert_eq!(emptied, [&two[0]]);
    assert_eq!(chunks(&log.world.state), two[1..]);
    assert!(!log.world.state.is_emptied_chunk(&two[1]));
}

#[test]
fn a_chunk_page_with_more_than_there_can_have_been_is_refused() {
    let mut log = Log::empty();
    for _ in 0..12 {
        log.send(plain(1));
    }
    log.world.delete_records("log", 0, 2);
    let mut pages = log.world.state.all_pages();
    let chunk = pages.iter_mut().find(|page| page.key.0[0] == 6).unwrap();
    // behind its position: how many extents were dropped, and how many there are
    let (position, rest) = chunk.bytes[5..].split_at(8);
    assert_eq!(rest[..2], [2, 10]);
    let more_dropped = [position, &[0xf7, 3][..], &rest[1..]].concat();
    chunk.bytes = framed(&more_dropped);
    let error = State::from_pages(Budgets::default(), &pages).unwrap_err();
    assert!(matches!(error, PageError::Damaged { .. }), "{error}");
}

fn framed(message: &[u8]) -> Bytes {
    let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, message);
    let mut bytes = vec![1];
    bytes.extend(u32::try_from(checksum).unwrap().to_le_bytes());
    bytes.extend(message);
    Bytes::from(bytes)
}

#[test]
fn keys_order_as_ids_do() {
    let keys: Vec<_> = with_groups()
        .world
        .state
        .all_pages()
        .into_iter()
        .map(|page| page.key)
        .collect();
    assert!(keys.is_sorted());
}

#[test]
fn only_what_changed_is_dirty() {
    let mut log = example();
    let first = log.world.state.take_dirty();
    assert!(!first.is_empty());
    assert_eq!(log.world.state.take_dirty(), []);
    log.send(plain(1));
    let kinds: Vec<u8> = log
        .world
        .state
        .take_dirty()
        .iter()
        .map(|key| key.0[0])
        .collect();
    assert_eq!(kinds, [3, 5, 6], "session, head, extents");
    log.world.state.mark_dirty(&first);
    log.world.state.mark_dirty(&first);
    assert_eq!(log.world.state.take_dirty(), first);
}

#[test]
fn pages_of_what_is_gone_are_to_be_removed() {
    let mut log = example();
    log.world.state.take_dirty();
    log.world.delete("log");
    let dirty = log.world.state.take_dirty();
    let gone: Vec<u8> = dirty
        .iter()
        .filter(|key| log.world.state.encode_page(key).is_none())
        .map(|key| key.0[0])
        .collect();
    assert_eq!(gone, [4, 5, 6], "topic, head, extents");
}

#[test]
fn pages_of_a_topic_that_is_not_there_are_left_out_and_removed() {
    let log = example();
    let mut pages = log.world.state.all_pages();
    pages.retain(|page| page.key.0[0] != 4);
    let mut loaded = State::from_pages(Budgets::default(), &pages).unwrap();
    assert_eq!(loaded.topics().count(), 0);
    assert_eq!(loaded.usage().extent_bytes, 0);
    let kinds: Vec<u8> = loaded.take_dirty().iter().map(|key| key.0[0]).collect();
    assert_eq!(kinds, [5, 5, 6, 6]);
}

#[test]
fn extents_are_split_into_pages_of_512() {
    let mut log = Log::empty();
    for _ in 0..1_100 {
        log.send(plain(1));
    }
    let pages = log.world.state.all_pages();
    let extents: Vec<_> = pages.iter().filter(|page| page.key.0[0] == 6).collect();
    assert_eq!(extents.len(), 3);
    assert!(State::from_pages(Budgets::default(), &pages).unwrap() == log.world.state);
    log.world.state.take_dirty();
    log.send(plain(1));
    let dirty = log.world.state.take_dirty();
    assert_eq!(
        dirty.iter().filter(|key| key.0[0] == 6).count(),
        1,
        "only the last one"
    );
    for from in [0, 511, 512, 513, 1_023, 1_024, 1_100] {
        let first = log
            .world
            .state
            .extents(log.partition, Offset(from))
            .next()
            .unwrap();
        assert_eq!(first.base_offset.0, from);
    }
}

#[test]
fn a_page_tells_its_position() {
    let log = example();
    let pages = log.world.state.all_pages();
    let newest = pages.iter().map(|page| page.seq).max().unwrap();
    assert_eq!(newest, log.world.state.seq());
    assert_eq!(newest, JournalSeq(log.world.rows.len() as u64));
}

#[test]
fn newer_and_unknown_pages_are_refused() {
    let pages = example().world.state.all_pages();
    let mut newer = pages[0].clone();
    let mut bytes = newer.bytes.to_vec();
    bytes[0] = 2;
    newer.bytes = bytes.into();
    let error = State::from_pages(Budgets::default(), [&newer]).unwrap_err();
    assert!(matches!(error, PageError::NewerVersion { found: 2, .. }));
    let unknown = Page {
        key: PageKey(vec![99]),
        ..pages[0].clone()
    };
    let error = State::from_pages(Budgets::default(), [&unknown]).unwrap_err();
    assert!(matches!(error, PageError::UnknownKey { .. }));
}

proptest! {
    #[test]
    fn damage_is_seen(
        page in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let mut pages = with_merged().world.state.all_pages();
        let page = page.index(pages.len());
        let mut bytes = pages[page].bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        pages[page].bytes = bytes.into();
        prop_assert!(State::from_pages(Budgets::default(), &pages).is_err());
    }

    #[test]
    fn arbitrary_content_with_a_right_checksum_never_panics(
        page in any::<prop::sample::Index>(),
        content in prop::collection::vec(any::<u8>(), 0..60),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut pages = with_merged().world.state.all_pages();
        let page = page.index(pages.len());
        let old = pages[page].bytes.slice(5..);
        let mut message = old[..cut.index(old.len() + 1)].to_vec();
        message.extend(&content);
        pages[page].bytes = framed(&message);
        let _ = State::from_pages(Budgets::default(), &pages);
    }
}

#[test]
fn every_page_can_be_looked_at_by_itself() {
    for state in [with_groups().world.state, with_merged().world.state] {
        look_at_every_page(&state);
    }
}

fn look_at_every_page(state: &State) {
    let (mut extents, mut partitions, mut merged, mut deleted) = (0, 0, 0, 0);
    for page in &state.all_pages() {
        match PageView::read(page).unwrap() {
            PageView::Counters { cluster, .. } => assert_eq!(cluster, state.cluster()),
            PageView::Topic(view) => assert_eq!(state.topic(view.id).unwrap().view(), view),
            PageView::Head(head) => {
                let partition = state.any_partition(head.partition).unwrap();
                assert_eq!(head.high_watermark.0, partition.high_watermark);
                assert_eq!(head.cleaned_through.0, partition.cleaned_through);
                partitions += 1;
            }
            PageView::Extents {
                partition,
                extents: there,
                ..
            } => {
                let expected: Vec<_> = state.extents(partition, Offset(0)).collect();
                assert_eq!(there, expected);
                extents += there.len();
            }
            PageView::Session { session, slot, .. } => {
                assert_eq!(state.session(session), Some(slot));
            }
            PageView::Slots { slots, .. } => assert!(!slots.is_empty()),
            PageView::Released { objects, .. } => assert!(!objects.is_empty()),
            PageView::BrokerConfigs(configs) => assert_eq!(configs, *state.broker_configs()),
            PageView::Group(view) => {
                let (number, group) = state.group_by_name(&view.name).unwrap();
                assert_eq!(view.group, number);
                let members = match view.members {
                    MembersView::Classic { members, .. } => members.len(),
                    MembersView::Consumer { members, .. } => members.len(),
                };
                assert_eq!(members, group.members());
            }
            PageView::Offsets(view) => {
                let all = state.committed_offsets(view.group);
                let all: Vec<_> = all.map(|(id, committed)| (id, committed.offset)).collect();
                let seen = view.offsets.iter().map(|one| (one.partition, one.offset));
                assert_eq!(seen.collect::<Vec<_>>(), all);
            }
            PageView::GroupConfigs(configs) => assert_eq!(configs.len(), 1),
            PageView::DeletedTopic { topic, .. } => {
                assert!(state.topic(topic.id).is_none());
                deleted += 1;
            }
            PageView::Merged {
                partition, extents, ..
            } => {
                let log = &state.any_partition(partition).unwrap().extents;
                let there: Vec<_> = log
                    .iter()
                    .filter_map(|e| e.unpack(&state.objects))
                    .collect();
                assert_eq!(extents, there, "all of it is merged");
                merged += extents.len();
            }
        }
        let mut damaged = page.clone();
        damaged.bytes = Bytes::from([&page.bytes[..], &[0]].concat());
        assert!(PageView::read(&damaged).is_err(), "{page:?}");
    }
    assert!(extents + merged > 0 && partitions > 0);
    assert_eq!(merged > 0, deleted > 0);
}
