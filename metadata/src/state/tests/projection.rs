//! Walks over the state and what projections make of them: whatever happens between two slices, and
//! however often it is interrupted, in the end the tables are like the state.

use std::collections::BTreeMap;

use aquifer_format::ids::{JournalSeq, ObjectId, UploadEpoch};
use proptest::{collection::vec, prelude::*};

use super::{
    player::{Op, Player},
    recovery::op,
    world::{Log, World, plain},
};
use crate::{
    projection::{
        delta::{Delta, Known, Pass},
        memory::Content,
    },
    state::{ObjectRow, PartitionRow, State, StateSlice, WalkFrom, WalkRequest},
};

/// All slices of a walk in which nothing happens.
fn slices(state: &State, since: Option<JournalSeq>, room: usize) -> Vec<StateSlice> {
    let mut from = WalkFrom::START;
    let mut slices = Vec::new();
    loop {
        let slice = state.walk(&WalkRequest { from, since }, room);
        let next = slice.next;
        slices.push(slice);
        match next {
            Some(next) => {
                assert_ne!(next, from, "it gets on");
                from = next;
            }
            None => return slices,
        }
    }
}

/// What tables hold that are like the state, made without a delta; what the state tells by other ways
/// agrees.
fn expected(state: &State) -> Content {
    let slice = slices(state, None, usize::MAX).remove(0);
    let content = Content {
        topics: state
            .topics()
            .map(|topic| (topic.id(), topic.view()))
            .collect(),
        partitions: slice.partitions.into_iter().map(|p| (p.id, p)).collect(),
        objects: slice.objects.into_iter().map(|o| (o.id, o)).collect(),
    };
    let watermarks: Vec<_> = state
        .topics()
        .flat_map(|topic| topic.watermarks())
        .collect();
    assert_eq!(content.partitions.len(), watermarks.len());
    for (id, marks) in watermarks {
        let row = &content.partitions[&id];
        assert_eq!(
            (row.log_start, row.high_watermark),
            (marks.log_start, marks.high_watermark)
        );
        let extents: Vec<_> = state.extents(id, aquifer_format::ids::Offset(0)).collect();
        let bytes: u64 = extents.iter().map(|e| u64::from(e.raw_bytes)).sum();
        assert_eq!((row.extents, row.size_bytes), (extents.len() as u64, bytes));
    }
    let live: BTreeMap<ObjectId, u64> = state.objects().collect();
    let released: BTreeMap<ObjectId, (u64, UploadEpoch)> = state
        .released()
        .map(|(id, bytes, since)| (id, (bytes, since)))
        .collect();
    let told = |released: bool| {
        let rows = content.objects.values();
        rows.filter(move |row| row.released_in.is_some() == released)
    };
    let told_live: BTreeMap<ObjectId, u64> = told(false).map(|row| (row.id, row.bytes)).collect();
    assert_eq!(told_live, live);
    for row in told(true) {
        let since = row.released_in.expect("it is one of those");
        assert_eq!(released[&row.id], (row.bytes, since));
    }
    content
}

/// Tables, and a walk that may be under way.
#[derive(Default)]
struct Refreshing {
    tables: Content,
    known: Known,
    pass: Option<Pass>,
}

impl Refreshing {
    /// Takes one slice, and writes when that was the last one.
    fn step(&mut self, state: &State, room: usize) {
        let known = &mut self.known;
        let mut pass = self
            .pass
            .take()
            .unwrap_or_else(|| Pass::new(std::mem::take(known)));
        let slice = state.walk(&pass.wanted(), room);
        if !pass.take(slice) {
            self.pass = Some(pass);
            return;
        }
        let (delta, known) = pass.finish();
        check_once(&delta);
        self.tables.carry_out(&delta);
        self.known = known;
    }

    /// As after a failure: the tables are looked at, and nothing else is known.
    fn begin_again(&mut self) {
        self.pass = None;
        self.known = self.tables.known();
    }

    /// Ends the walk that is under way, and makes another one.
    fn finish(&mut self, state: &State) {
        if self.pass.is_some() {
            self.step(state, usize::MAX);
        }
        self.step(state, usize::MAX);
    }
}

/// One statement must not name a row twice, and what goes does not come.
fn check_once(delta: &Delta) {
    let mut topics: Vec<_> = delta.topics.iter().map(|topic| topic.id).collect();
    topics.extend(&delta.deleted_topics);
    let partitions: Vec<_> = delta.partitions.iter().map(|row| row.id).collect();
    let mut objects: Vec<_> = delta.objects.iter().map(|row| row.id).collect();
    objects.extend(&delta.deleted_objects);
    fn distinct<T: Ord>(mut all: Vec<T>) -> bool {
        all.sort();
        all.windows(2).all(|two| two[0] != two[1])
    }
    assert!(distinct(topics) && distinct(partitions) && distinct(objects));
}

#[derive(Clone, Debug)]
enum Step {
    Play(Op),
    Slice(usize),
    BeginAgain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => op().prop_map(Step::Play),
        6 => prop_oneof![Just(0usize), 1usize..40, Just(usize::MAX)].prop_map(Step::Slice),
        1 => Just(Step::BeginAgain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn tables_become_like_the_state_whatever_happens_during_a_walk(steps in vec(step(), 1..150)) {
        let mut player = Player::new();
        player.play(&Op::Register { host: 0, previous: None });
        let mut refreshing = Refreshing::default();
        for step in &steps {
            match step {
                Step::Play(op) => player.play(op),
                Step::Slice(room) => refreshing.step(&player.world.state, *room),
                Step::BeginAgain => refreshing.begin_again(),
            }
        }
        refreshing.finish(&player.world.state);
        prop_assert_eq!(refreshing.tables, expected(&player.world.state));
    }

    #[test]
    fn slices_of_any_size_are_the_whole(ops in vec(op(), 1..60), room in 0usize..60) {
        let mut player = Player::new();
        player.play(&Op::Register { host: 0, previous: None });
        ops.iter().for_each(|op| player.play(op));
        let state = &player.world.state;
        let whole = slices(state, None, usize::MAX);
        prop_assert_eq!(whole.len(), 1);
        let mut partitions: Vec<PartitionRow> = Vec::new();
        let mut objects: Vec<ObjectRow> = Vec::new();
        let mut topics = Vec::new();
        for slice in slices(state, None, room) {
            partitions.extend(slice.partitions);
            objects.extend(slice.objects);
            topics.extend(slice.changed_topics);
        }
        prop_assert_eq!(&partitions, &whole[0].partitions);
        prop_assert_eq!(&objects, &whole[0].objects);
        prop_assert_eq!(&topics, &whole[0].changed_topics);
    }
}

#[test]
fn a_slice_does_no_more_than_it_has_room_for() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.create(name, 1_000);
    }
    let room = 400;
    let all = slices(&world.state, None, room);
    assert!(all.len() > 3_000 * 5 / room, "{}", all.len());
    assert!(
        all.iter()
            .all(|slice| slice.partitions.len() <= room / 5 + 1)
    );
    // where nothing changed, looking costs less
    let later = Some(JournalSeq(world.state.seq().0 + 1));
    let unchanged = slices(&world.state, later, room);
    assert!(unchanged.len() <= 3_100 / room + 1, "{}", unchanged.len());
    assert!(unchanged.iter().all(|slice| slice.partitions.is_empty()));
}

#[test]
fn only_what_changed_is_told_again() {
    let mut log = Log::used();
    log.world.create("other", 5);
    let mut refreshing = Refreshing::default();
    refreshing.finish(&log.world.state);
    log.send(plain(3));
    let mut pass = Pass::new(refreshing.known.clone());
    assert!(pass.take(log.world.state.walk(&pass.wanted(), usize::MAX)));
    let (delta, _) = pass.finish();
    assert!(!delta.whole);
    // those of the row in which the walk before began may come again: `other` was created in it
    assert!(delta.topics.iter().all(|topic| topic.name == "other"));
    let told = delta
        .partitions
        .iter()
        .filter(|row| row.id == log.partition);
    let told: Vec<_> = told
        .map(|row| (row.high_watermark.0, row.extents))
        .collect();
    assert_eq!(told, [(103, 2)]);
    assert_eq!(delta.objects.len(), 1);
    assert_eq!(
        (delta.deleted_topics.len(), delta.deleted_objects.len()),
        (0, 0)
    );
}

#[test]
fn regression_a_topic_that_goes_while_a_walk_is_within_it_is_not_told() {
    let mut world = World::new();
    let topic = world.create("a", 50);
    let mut refreshing = Refreshing::default();
    refreshing.step(&world.state, 60);
    assert!(refreshing.pass.is_some(), "the walk is within the topic");
    world.delete("a");
    refreshing.step(&world.state, usize::MAX);
    assert!(!refreshing.tables.topics.contains_key(&topic));
    assert_eq!(refreshing.tables.partitions, BTreeMap::new());
}
