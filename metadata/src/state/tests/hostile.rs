//! `apply` is total: whatever the journal says, the state stays sound.

use aquifer_format::ids::{JournalSeq, Offset, PartitionId, PartitionIndex};
use aquifer_metadata_api::locate::{LocatePartition, LocateRequest, OffsetSpec, OffsetsRequest};
use proptest::{collection::vec, prelude::*};

use crate::{
    event::{Decision, Event, decode_row, strategy},
    state::{
        Budgets, State,
        tests::world::{Log, batch, plain},
    },
};

/// Applies rows, with seqs that may repeat and go back.
fn apply_all(state: &mut State, rows: &[(u64, Vec<Event>)]) {
    for (seq, events) in rows {
        for event in events {
            state.apply(JournalSeq(*seq), event);
        }
    }
}

fn rows() -> impl Strategy<Value = Vec<(u64, Vec<Event>)>> {
    let seq = prop_oneof![8 => 1u64..20, 1 => any::<u64>()];
    vec((seq, vec(strategy::event(), 0..4)), 0..20)
}

/// Everything that can be asked of a state.
fn read_all(state: &State) {
    let ids: Vec<PartitionId> = state
        .topics()
        .flat_map(|topic| {
            let partitions = i32::try_from(topic.partitions()).unwrap();
            (0..partitions).map(move |index| PartitionId::new(topic.id(), PartitionIndex(index)))
        })
        .collect();
    for from in [i64::MIN, 0, 3, i64::MAX] {
        let located = state.locate(&LocateRequest {
            partitions: ids
                .iter()
                .map(|partition| LocatePartition {
                    partition: *partition,
                    from: Offset(from),
                    max_bytes: u64::MAX,
                })
                .collect(),
        });
        for found in located.partitions.into_iter().flatten() {
            // what no decision swapped may lie anywhere
            let swapped = ids.iter().any(|id| {
                let partition = state.partition(*id);
                partition.is_some_and(|partition| !partition.extents.merged().is_empty())
            });
            let ordered = swapped
                || found
                    .extents
                    .is_sorted_by(|a, b| a.end_offset <= b.base_offset);
            assert!(ordered, "{found:?}");
        }
    }
    let specs = [
        OffsetSpec::Watermarks,
        OffsetSpec::Timestamp(5),
        OffsetSpec::MaxTimestamp,
    ];
    let wanted = ids.iter().flat_map(|id| specs.map(|spec| (*id, spec)));
    let request = OffsetsRequest {
        partitions: wanted.collect(),
    };
    assert_eq!(state.offsets(&request).partitions.len(), ids.len() * 3);
    let _ = (state.agents(), state.pressure(), state.fingerprint());
    let mut members = 0;
    for (number, group) in state.groups() {
        let offsets = state.committed_offsets(number);
        let ordered: Vec<PartitionId> = offsets.map(|(id, _)| id).collect();
        let found = ordered
            .iter()
            .filter_map(|id| state.committed_offset(number, *id));
        assert_eq!(
            found.count(),
            ordered.len(),
            "each is found where it is listed"
        );
        members += group.members();
        if let Some(group) = group.consumer() {
            let _ = group.state();
        }
    }
    assert!(members == 0 || state.usage().group_bytes > 0);
}

/// What administrators ask of a topic.
fn administer(state: &State, name: &str) {
    use kafka_protocol::messages::{
        DescribeLogDirsRequest, DescribeProducersRequest, describe_producers_request::TopicRequest,
    };

    use crate::state::{
        decide,
        tests::world::{add_partitions_request, alter_request, delete_records_request, topic_name},
    };
    for offset in [-1, 0, 3, i64::MAX] {
        let _ = decide::delete_records(state, &delete_records_request(name, 0, offset));
    }
    let _ = decide::create_partitions(state, &add_partitions_request(name, 9));
    let configs = [
        ("retention.ms", 0, Some("1")),
        ("cleanup.policy", 2, Some("compact")),
    ];
    let _ = decide::incremental_alter_configs(state, &alter_request(2, name, &configs));
    let topic = TopicRequest::default()
        .with_name(topic_name(name))
        .with_partition_indexes(vec![0, 1, -1]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let _ = decide::describe_producers(state, &request);
    let _ = decide::describe_log_dirs(state, &DescribeLogDirsRequest::default().with_topics(None));
}

/// What compactors and operators ask.
fn keep_up(state: &State) {
    use aquifer_metadata_api::upkeep::{ObjectsRequest, RestoreTopic};

    use crate::state::{decide, tests::merger};
    let all = state.objects_page(&ObjectsRequest {
        after: None,
        limit: 3,
    });
    assert_eq!(all.is_some(), state.cluster().is_some());
    for topic in state.deleted_topics().topics {
        let _ = decide::restore_topic(state, &RestoreTopic::Id(topic.id));
        let _ = decide::restore_topic(state, &RestoreTopic::Name(topic.name));
    }
    let released: Vec<_> = state.released_objects().map(|(id, _)| id).collect();
    let decided = decide::delete_objects(state, &released);
    assert_eq!(decided.events.is_empty(), released.is_empty());
    let _ = merger::inputs(state, &merger::small_job(state, 0));
    let _ = merger::inputs(state, &merger::ranges_job(state, 2));
    for partition in state.planned_partitions(None) {
        let _ = (
            partition.config(),
            partition.last_stable(),
            partition.merged_count(),
        );
        if let Some(job) = merger::clean_job(state, partition.id) {
            let _ = merger::inputs(state, &job);
        }
    }
}

#[test]
fn regression_a_batch_that_is_held_twice_stays_where_it_was_first() {
    let mut log = Log::used();
    let other = PartitionId::new(log.world.create("other", 1), PartitionIndex(0));
    let commit = log.commit_of(vec![batch(0, 5, 1)]);
    let decided = log.world.decide(log.session, &commit).unwrap();
    log.world.take(decided.events.clone());
    let Event::Committed(mut again) = decided.events[0].clone() else {
        panic!("a commit is one event");
    };
    again.runs[0].partition = other;
    log.world.take(vec![Event::Committed(again)]);
    let state = &log.world.state;
    assert_eq!(state.held().next().unwrap().partition, log.partition);
    assert!(State::from_pages(Budgets::default(), &state.all_pages()).unwrap() == *state);
}

#[test]
fn regression_offsets_that_go_back_in_an_old_event_leave_no_empty_chunk() {
    let mut log = Log::empty();
    let commit = log.commit_of(vec![plain(1), plain(1)]);
    let decided = log.world.decide(log.session, &commit).unwrap();
    let Event::Committed(mut event) = decided.events[0].clone() else {
        panic!("a commit is one event");
    };
    let seq = log.world.state.seq();
    let at = |offset| Decision::Appended {
        base_offset: Offset(offset),
    };
    event.batches[0].decision = at(2);
    event.batches[1].decision = at(0);
    let later = JournalSeq(seq.0 + 10);
    let mut first = event.clone();
    first.runs[0].batches = 1;
    first.batches.truncate(1);
    log.world.state.apply(later, &Event::Committed(first));
    log.world.state.apply(seq, &Event::Committed(event));
    let state = &log.world.state;
    assert!(State::from_pages(Budgets::default(), &state.all_pages()).unwrap() == *state);
    let offsets: Vec<_> = state
        .extents(log.partition, Offset(0))
        .map(|e| e.base_offset.0)
        .collect();
    assert_eq!(offsets, [0, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_events_leave_a_state_that_can_be_read_written_and_loaded(rows in rows()) {
        let mut state = State::new(Budgets::default());
        apply_all(&mut state, &rows);
        read_all(&state);
        let dirty = state.take_dirty();
        for key in &dirty {
            let _ = state.encode_page(key);
        }
        state.mark_dirty(&dirty);
        let pages = state.all_pages();
        let loaded = State::from_pages(Budgets::default(), &pages).unwrap();
        prop_assert_eq!(loaded.all_pages(), pages);
        prop_assert_eq!(loaded.usage(), state.usage());
        prop_assert!(loaded == state);
    }

    #[test]
    fn arbitrary_rows_can_be_applied_if_they_can_be_decoded(
        mut bytes in vec(any::<u8>(), 0..100),
    ) {
        bytes.splice(0..0, [0x08, 1]);
        if let Ok(events) = decode_row(&bytes) {
            apply_all(&mut State::new(Budgets::default()), &[(1, events)]);
        }
    }

    #[test]
    fn any_events_can_be_followed_by_any_decision(rows in rows()) {
        use crate::state::{decide, tests::world::{NOW, Counting, create_request, register_request}};
        let mut state = State::new(Budgets::default());
        apply_all(&mut state, &rows);
        let held: Vec<_> = state.held().map(|held| (held.session, held.batch)).collect();
        let _ = decide::release_holds(&state, &NOW, &held);
        let _ = decide::register(&state, &register_request(1));
        let _ = decide::create_topics(&state, &Counting::default(), &create_request("t", 2, &[]));
        let sessions: Vec<_> = state.sessions().map(|(id, ..)| id).collect();
        for session in sessions {
            let _ = decide::end_session(&state, &NOW, session);
        }
        let _ = (decide::advance_upload_epoch(&state), decide::expire_producers(&state));
        let names: Vec<_> = state.topics().map(|topic| topic.name().to_owned()).collect();
        for name in names {
            let request = crate::state::tests::world::delete_request(&name);
            let _ = decide::delete_topics(&state, &NOW, 6, &request);
            administer(&state, &name);
        }
        for limit in [0, 3, 50, usize::MAX] {
            let _ = decide::retention(&state, &NOW, None, limit);
            let _ = decide::purge(&state, &NOW, limit);
        }
        keep_up(&state);
    }
}
