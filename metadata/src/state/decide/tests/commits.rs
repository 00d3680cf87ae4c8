//! Commits: sessions, remembered results, objects, ages, budgets.

use aquifer_format::ids::{
    CommitNumber, Incarnation, ObjectLevel, PartitionId, PartitionIndex, SessionId, TopicId,
    UploadEpoch, WriterSlot,
};
use aquifer_metadata_api::{
    MetadataError,
    commit::{BatchOutcome, Commit, Rejection},
};
use uuid::Uuid;

use crate::{
    event::Event,
    state::{
        Budgets,
        decide::{self, CommitError},
        tests::world::{Log, World, appended, batch, plain},
    },
};

const fn rejected(rejection: Rejection) -> BatchOutcome {
    BatchOutcome::Rejected(rejection)
}

#[test]
fn a_commit_that_comes_again_gets_the_same_answer_and_changes_nothing() {
    let mut log = Log::empty();
    let commit = log.commit_of(vec![
        batch(0, 0, 2),
        batch(0, 0, 2),
        batch(0, 9, 1),
        plain(1),
    ]);
    let (first, _) = log.world.commit(log.session, &commit);
    let end = log.end_offset();
    let again = log.world.decide(log.session, &commit).unwrap();
    assert_eq!(again.reply, first);
    assert_eq!((again.events.len(), again.holds.len()), (0, 0));
    assert_eq!(log.end_offset(), end);
}

#[test]
fn an_earlier_result_is_looked_up_before_the_age_is() {
    let mut log = Log::empty();
    let commit = log.commit_of(vec![plain(1)]);
    let (first, _) = log.world.commit(log.session, &commit);
    log.world.advance(30);
    assert_eq!(log.world.decide(log.session, &commit).unwrap().reply, first);
}

#[test]
fn a_first_commit_may_be_ten_upload_epochs_old_and_not_more() {
    let mut log = Log::empty();
    let young = log.commit_of(vec![plain(1)]);
    log.world.advance(10);
    assert_eq!(log.world.commit(log.session, &young).0[0].1, appended(0));
    let old = log.commit_of(vec![plain(1)]);
    log.world.advance(11);
    let (outcomes, _) = log.world.commit(log.session, &old);
    assert_eq!(outcomes[0].1, rejected(Rejection::TooOld));
    let released: Vec<_> = log.world.state.released().collect();
    assert_eq!(released, [(old.object, old.object_bytes, UploadEpoch(22))]);
    // That is remembered like any other answer.
    assert_eq!(log.world.decide(log.session, &old).unwrap().reply, outcomes);
}

#[test]
fn a_gap_in_the_numbers_is_refused() {
    let mut log = Log::empty();
    let mut commit = log.commit_of(vec![plain(1)]);
    commit.number = CommitNumber(2);
    let gap = CommitError::Gap {
        expected: 1,
        got: 2,
    };
    assert_eq!(log.world.decide(log.session, &commit).unwrap_err(), gap);
    commit.number = CommitNumber(1);
    log.world.commit(log.session, &commit);
    commit.number = CommitNumber(u64::MAX);
    assert!(log.world.decide(log.session, &commit).is_err());
}

#[test]
fn results_are_forgotten_once_they_are_acknowledged() {
    let mut log = Log::empty();
    let first = log.commit_of(vec![plain(1)]);
    log.world.commit(log.session, &first);
    let second = log.commit_of(vec![plain(1)]);
    log.world.commit(log.session, &second);
    let mut third = log.commit_of(vec![plain(1)]);
    third.answered_through = CommitNumber(1);
    let before = log.world.state.usage().result_bytes;
    log.world.commit(log.session, &third);
    assert_eq!(log.world.state.usage().result_bytes, before);
    let error = log.world.decide(log.session, &first).unwrap_err();
    assert_eq!(error, CommitError::AnsweredBefore { number: 1 });
    assert!(log.world.decide(log.session, &second).is_ok());
}

#[test]
fn acknowledging_what_was_not_sent_acknowledges_what_was() {
    let mut log = Log::empty();
    let mut commit = log.commit_of(vec![plain(1)]);
    commit.answered_through = CommitNumber(u64::MAX);
    let (first, _) = log.world.commit(log.session, &commit);
    assert_eq!(log.world.decide(log.session, &commit).unwrap().reply, first);
}

#[test]
fn a_number_names_one_object() {
    let mut log = Log::empty();
    let mut commit = log.commit_of(vec![plain(1)]);
    log.world.commit(log.session, &commit);
    commit.object.unique += 1;
    let error = log.world.decide(log.session, &commit).unwrap_err();
    assert_eq!(error, CommitError::ContentDiffers { number: 1 });
}

#[test]
fn unknown_and_ended_sessions_are_told_so() {
    let mut log = Log::empty();
    let commit = log.commit_of(vec![plain(1)]);
    let unknown = SessionId(99);
    let error = log.world.decide(unknown, &commit).unwrap_err();
    assert_eq!(error, CommitError::UnknownSession(unknown));
    log.world.commit(log.session, &commit);
    let ended = decide::end_session(&log.world.state, &log.world.now, log.session);
    log.world.decided(ended);
    let error = log.world.decide(log.session, &commit).unwrap_err();
    let session = log.session;
    assert_eq!(
        MetadataError::from(error),
        MetadataError::UnknownSession { session }
    );
    assert_eq!(log.world.state.usage().result_bytes, 0);
}

#[test]
fn what_cannot_be_true_is_refused_and_takes_no_number() {
    type Change = fn(&mut Commit);
    let changes: [(&str, Change); 16] = [
        ("writer", |commit| commit.object.writer = WriterSlot(77)),
        ("level", |commit| commit.object.level = ObjectLevel::L1),
        ("epoch", |commit| {
            commit.object.upload_epoch = UploadEpoch(2)
        }),
        ("incarnation", |commit| {
            commit.object.incarnation = Incarnation(2)
        }),
        ("locations", |commit| commit.locations = vec![0; 17]),
        ("order of runs", |commit| {
            commit.runs.push(commit.runs[0].clone())
        }),
        ("empty run", |commit| commit.runs[0].batches.clear()),
        ("position", |commit| commit.runs[0].position = u64::MAX),
        ("no records", |commit| commit.runs[0].batches[0].records = 0),
        ("many records", |commit| {
            commit.runs[0].batches[0].records = u32::MAX
        }),
        ("producer", |commit| {
            commit.runs[0].batches[0].producer_id.0 = -2
        }),
        ("epoch of the producer", |commit| {
            commit.runs[0].batches[0].producer_epoch.0 = -1
        }),
        ("sequence", |commit| {
            commit.runs[0].batches[0].first_sequence.0 = -1
        }),
        ("minimal sequence", |commit| {
            commit.runs[0].batches[0].first_sequence.0 = i32::MIN;
        }),
        ("bytes", |commit| {
            commit.runs[0].batches[0].bytes = u32::MAX;
            let second = commit.runs[0].batches[0];
            commit.runs[0].batches.push(second);
        }),
        ("known object", |commit| commit.object.unique = 1),
    ];
    let mut log = Log::empty();
    log.send(plain(1));
    for (what, change) in changes {
        let mut commit = log.commit_of(vec![batch(0, 0, 1)]);
        assert_eq!(commit.number, CommitNumber(2), "{what}");
        change(&mut commit);
        let error = log.world.decide(log.session, &commit).unwrap_err();
        assert!(
            matches!(error, CommitError::Malformed(_)),
            "{what}: {error}"
        );
    }
}

#[test]
fn partitions_that_are_not_there_reject_their_batches_only() {
    let mut log = Log::empty();
    let topic = log.partition.topic;
    let runs = [
        (log.partition, vec![plain(1)]),
        (
            PartitionId::new(topic, PartitionIndex(1)),
            vec![plain(1), plain(1)],
        ),
        (
            PartitionId::new(TopicId(Uuid::max()), PartitionIndex(0)),
            vec![plain(1)],
        ),
    ];
    let commit = log.world.next_commit(log.session, log.slot, &runs);
    let (outcomes, _) = log.world.commit(log.session, &commit);
    let outcomes: Vec<_> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    let unknown = rejected(Rejection::UnknownPartition);
    assert_eq!(outcomes, [appended(0), unknown, unknown, unknown]);
    assert_eq!(log.world.state.released().count(), 0);
}

#[test]
fn an_object_without_a_live_batch_is_released_at_once() {
    let mut log = Log::empty();
    log.send(batch(0, 0, 1));
    log.send(batch(0, 0, 1));
    let released: Vec<_> = log.world.state.released().collect();
    assert_eq!(released.len(), 1);
    assert_eq!(released[0].0.unique, 2);
    assert_eq!(log.world.state.objects().count(), 1);
    // And cannot be committed by anybody else.
    let mut commit = log.commit_of(vec![plain(1)]);
    commit.object = released[0].0;
    assert!(log.world.decide(log.session, &commit).is_err());
}

#[test]
fn past_the_budget_batches_are_refused_and_duplicates_still_answered() {
    let budgets = Budgets {
        producer_bytes: 100,
        ..Budgets::default()
    };
    let mut log = Log::in_world(World::with_budgets(budgets), &[]);
    assert_eq!(log.send(batch(0, 0, 1)), appended(0));
    assert!(log.world.state.pressure().refuse);
    assert_eq!(log.send(batch(0, 1, 1)), rejected(Rejection::OverBudget));
    assert_eq!(log.send(plain(1)), rejected(Rejection::OverBudget));
    assert_eq!(
        log.send(batch(0, 0, 1)),
        crate::state::tests::world::duplicate(0)
    );
}

#[test]
fn producers_are_throttled_before_they_are_refused() {
    let budgets = Budgets {
        extent_bytes: 1_200,
        ..Budgets::default()
    };
    let mut log = Log::in_world(World::with_budgets(budgets), &[]);
    let mut seen = Vec::new();
    for _ in 0..6 {
        log.send(plain(1));
        let pressure = log.world.state.pressure();
        seen.push((pressure.throttle, pressure.refuse));
    }
    // An object and an extent are 256 bytes.
    let expected = [
        (false, false),
        (false, false),
        (false, false),
        (true, false),
        (true, true),
        (true, true),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn results_that_are_never_acknowledged_stop_only_their_session() {
    let budgets = Budgets {
        result_bytes: 400,
        ..Budgets::default()
    };
    let mut log = Log::in_world(World::with_budgets(budgets), &[]);
    for _ in 0..2 {
        let commit = log.commit_of(vec![plain(1)]);
        log.world.commit(log.session, &commit);
    }
    let mut commit = log.commit_of(vec![plain(1)]);
    let error = log.world.decide(log.session, &commit).unwrap_err();
    assert_eq!(error, CommitError::NoRoom);
    commit.answered_through = CommitNumber(1);
    assert!(log.world.decide(log.session, &commit).is_ok());
}

#[test]
fn a_commit_may_be_empty() {
    let mut log = Log::empty();
    let commit = log.commit_of(Vec::new());
    let mut commit = commit;
    commit.runs.clear();
    let (outcomes, _) = log.world.commit(log.session, &commit);
    assert_eq!(outcomes, []);
    assert_eq!(log.world.state.released().count(), 1);
}

#[test]
fn adjacent_batches_of_a_run_are_one_extent() {
    let mut log = Log::empty();
    log.send_run(vec![
        plain(1),
        plain(2),
        batch(0, 0, 3),
        batch(0, 0, 3),
        plain(1),
    ]);
    let extents: Vec<_> = log
        .world
        .state
        .extents(log.partition, aquifer_format::ids::Offset(0))
        .map(|extent| {
            let offsets = extent.base_offset.0..extent.end_offset.0;
            let raw = extent.raw_start..extent.raw_start + extent.raw_bytes;
            (offsets, raw)
        })
        .collect();
    // The duplicate in the middle leaves 64 bytes dead.
    assert_eq!(extents, [(0..6, 0..189), (6..7, 253..315)]);
}

#[test]
fn an_event_costs_about_thirty_bytes_per_batch() {
    let mut world = World::new();
    let topic = world.create("wide", 1_000);
    let registration = world.register();
    for round in 0..3 {
        let runs: Vec<_> = (0..1_000)
            .map(|index| {
                let id = PartitionId::new(topic, PartitionIndex(index));
                let producer = 1_000 + i64::from(index % 50);
                let first = round * 40 + (index - index % 50) % 7;
                let mut batch = crate::state::tests::world::of_producer(producer, 0, first, 40);
                if round > 0 || first != 0 {
                    batch.first_sequence.0 = round * 40;
                }
                batch.bytes = 16_000;
                (id, vec![batch])
            })
            .collect();
        let (session, slot) = (registration.session, registration.slot);
        let commit = world.next_commit(session, slot, &runs);
        let (outcomes, _) = world.commit(session, &commit);
        assert!(
            outcomes
                .iter()
                .all(|(_, outcome)| matches!(outcome, BatchOutcome::Appended(_)))
        );
    }
    let bytes = world.rows.last().unwrap().len();
    assert!(bytes < 40_000, "{bytes} bytes for 1,000 batches");
}

#[test]
fn events_come_in_the_order_in_which_they_must_be_applied() {
    let mut log = Log::empty();
    log.send(batch(0, 0, 1));
    log.hold(batch(0, 2, 1));
    log.hold(batch(0, 2, 1));
    let commit = log.commit_of(vec![batch(0, 1, 1)]);
    let decided = log.world.decide(log.session, &commit).unwrap();
    let kinds: Vec<_> = decided
        .events
        .iter()
        .map(|event| match event {
            Event::Committed(_) => "committed",
            Event::HoldsDecided { .. } => "holds",
            Event::ObjectsReleased { .. } => "released",
            Event::LossAccepted(_) => "loss accepted",
            _ => "another",
        })
        .collect();
    assert_eq!(kinds, ["committed", "holds", "released"]);
}
