//! Plays requests on a state, with a page writer at work beside it, and recovers from what is durable.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::{
    ids::{
        CommitNumber, JournalSeq, ObjectId, PartitionId, PartitionIndex, ProducerId, SessionId,
        TopicId, UploadEpoch, WriterSlot,
    },
    limits::RELEASE_GRACE_EPOCHS,
};
use aquifer_metadata_api::{
    commit::{BatchOutcome, BatchRef, BatchSummary, Commit},
    upkeep::{RangeOutcome, RestoreTopic, SwapObject, SwapRequest},
};
use kafka_protocol::messages::InitProducerIdRequest;

use super::{
    group_ops::{self, GroupOp},
    merger,
    world::{
        World, add_partitions_request, alter_request, create_request, delete_records_request,
        delete_request, of_producer, plain, register_request,
    },
};
use crate::{
    event::decode_row,
    journal::{Page, PageKey},
    state::{Budgets, State, decide},
};

#[derive(Clone, Debug)]
pub(super) enum Op {
    Create {
        topic: usize,
        partitions: i32,
        log_append_time: bool,
    },
    Delete {
        topic: usize,
    },
    Register {
        host: u16,
        previous: Option<u32>,
    },
    EndSession {
        session: usize,
    },
    Commit {
        session: usize,
        batches: Vec<Send>,
        acknowledge: bool,
    },
    CommitAgain {
        back: usize,
    },
    Release {
        held: usize,
    },
    Advance {
        epochs: u32,
    },
    InitProducerId,
    AcceptLoss {
        gap: i64,
    },
    AddPartitions {
        topic: usize,
        partitions: i32,
    },
    AlterTopic {
        topic: usize,
        config: (&'static str, &'static str),
    },
    AlterBrokers {
        config: (&'static str, &'static str),
    },
    /// Deletes records up to so many before the end.
    DeleteRecords {
        topic: usize,
        partition: i32,
        keep: i64,
    },
    Retain {
        limit: usize,
    },
    /// Commits of one record each, some to a row.
    Burst {
        topic: usize,
        partition: i32,
        commits: u32,
    },
    /// A compactor reads what it is to merge: of the oldest small objects but for `skip`, of merged extents, or of a
    /// partition that it cleans; it makes one extent of so many at most.
    Merge {
        kind: MergeKind,
        extents_max: usize,
    },
    /// It swaps what it made, some time later, perhaps not for the first time.
    Swap {
        swap: usize,
    },
    /// Bytes of what was released long ago are gone.
    DeleteObjects,
    Restore {
        topic: usize,
    },
    Purge {
        all: bool,
    },
    /// Something happens to a group.
    Group(GroupOp),
    EndRow,
    TakeDirty,
    EncodePages {
        count: usize,
    },
    WritePages {
        only_some: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum MergeKind {
    Small { skip: usize },
    Ranges { count: usize },
    Clean { partition: usize },
}

/// A batch: where, whose, and how its sequence lies to the next one.
#[derive(Clone, Debug)]
pub(super) struct Send {
    pub(super) topic: usize,
    pub(super) partition: i32,
    pub(super) producer: i64,
    pub(super) ahead: i32,
    pub(super) raise_epoch: bool,
    pub(super) records: u32,
}

pub(super) const NAMES: [&str; 3] = ["a", "b.c", "b_d"];

/// The journal's pages and a writer that fills them.
#[derive(Debug, Default)]
struct Writer {
    stored: BTreeMap<PageKey, Page>,
    through: u64,
    /// The round in progress: complete up to this row.
    round: Option<u64>,
    to_encode: Vec<PageKey>,
    /// Of chunks that were empty when the round began.
    emptied: Vec<PageKey>,
    encoded: Vec<(PageKey, Option<Page>)>,
}

pub(super) struct Player {
    pub(super) world: World,
    writer: Writer,
    sessions: Vec<(SessionId, WriterSlot)>,
    next: BTreeMap<(PartitionId, ProducerId), (i16, i32)>,
    sent: Vec<(SessionId, Commit)>,
    /// Swaps that compactors have ready.
    swaps: Vec<SwapRequest>,
    /// Every object that was ever live, and is not deleted.
    stored: BTreeSet<ObjectId>,
}

impl Player {
    pub(super) fn new() -> Self {
        Self {
            world: World::new(),
            writer: Writer::default(),
            sessions: Vec::new(),
            next: BTreeMap::new(),
            sent: Vec::new(),
            swaps: Vec::new(),
            stored: BTreeSet::new(),
        }
    }

    pub(super) fn play(&mut self, op: &Op) {
        self.world.now.unix_millis += 7;
        match op {
            Op::Create {
                topic,
                partitions,
                log_append_time,
            } => {
                let kind = if *log_append_time {
                    "LogAppendTime"
                } else {
                    "CreateTime"
                };
                let configs = [("message.timestamp.type", kind)];
                let request = create_request(NAMES[*topic], *partitions, &configs);
                let decided = decide::create_topics(&self.world.state, &self.world.rand, &request);
                self.world.collect(decided.events);
            }
            Op::Delete { topic } => {
                let request = delete_request(NAMES[*topic]);
                let decided =
                    decide::delete_topics(&self.world.state, &self.world.now, 6, &request);
                self.world.collect(decided.events);
            }
            Op::Register { host, previous } => {
                let mut request = register_request(*host);
                request.previous_slot = previous.map(WriterSlot);
                let decided = decide::register(&self.world.state, &request).unwrap();
                self.world.collect(decided.events);
                self.sessions
                    .push((decided.reply.session, decided.reply.slot));
            }
            Op::EndSession { session } => {
                if let Some((id, _)) = pick(&self.sessions, *session) {
                    let decided = decide::end_session(&self.world.state, &self.world.now, id);
                    self.world.collect(decided.events);
                }
            }
            Op::Commit {
                session,
                batches,
                acknowledge,
            } => {
                if let Some((id, slot)) = pick(&self.sessions, *session) {
                    self.commit(id, slot, batches, *acknowledge);
                }
            }
            Op::CommitAgain { back } => self.commit_again(*back),
            Op::Release { held } => {
                let all: Vec<_> = self.world.state.held().collect();
                if let Some(held) = pick(&all, *held) {
                    let batches = [(held.session, held.batch)];
                    let decided =
                        decide::release_holds(&self.world.state, &self.world.now, &batches);
                    assert!(!decided.holds.is_empty());
                    self.world.collect(decided.events);
                    assert!(!self.world.state.is_held(held.session, held.batch));
                }
            }
            Op::Advance { epochs } => {
                for _ in 0..*epochs {
                    let event = decide::advance_upload_epoch(&self.world.state);
                    self.world.collect(vec![event]);
                }
                let events = decide::expire_producers(&self.world.state);
                self.world.collect(events);
            }
            Op::InitProducerId => {
                let decided = decide::init_producer_id(
                    &self.world.state,
                    &InitProducerIdRequest::default().with_transactional_id(None),
                );
                self.world.collect(decided.events);
            }
            Op::AcceptLoss { gap } => {
                let loss = decide::Loss {
                    incarnation: aquifer_format::ids::Incarnation(0),
                    upload_epoch: aquifer_format::ids::UploadEpoch(0),
                    high_watermarks: BTreeMap::new(),
                    gap: *gap,
                };
                let seq = JournalSeq(self.world.rows.len() as u64 + 1);
                let now = self.world.now;
                let state = &mut self.world.state;
                let events = decide::accept_loss(state, seq, &now, &loss);
                self.world.note(events);
            }
            Op::AddPartitions { topic, partitions } => {
                let request = add_partitions_request(NAMES[*topic], *partitions);
                let decided = decide::create_partitions(&self.world.state, &request);
                self.world.collect(decided.events);
            }
            Op::AlterTopic { topic, config } => self.alter(2, NAMES[*topic], *config),
            Op::AlterBrokers { config } => self.alter(4, "", *config),
            Op::DeleteRecords {
                topic,
                partition,
                keep,
            } => {
                let end = self.end_of(*topic, *partition).unwrap_or(0);
                let offset = end.saturating_sub(*keep).max(0);
                let request = delete_records_request(NAMES[*topic], *partition, offset);
                let decided = decide::delete_records(&self.world.state, &request);
                self.world.collect(decided.events);
            }
            Op::Retain { limit } => {
                let mut from = None;
                loop {
                    let now = self.world.now;
                    let decided = decide::retention(&self.world.state, &now, from, *limit);
                    self.world.collect(decided.events);
                    from = decided.reply.next;
                    if from.is_none() {
                        break;
                    }
                }
            }
            Op::Burst {
                topic,
                partition,
                commits,
            } => self.burst(*topic, *partition, *commits),
            Op::Merge { kind, extents_max } => self.merge(*kind, *extents_max),
            Op::Swap { swap } => self.swap(*swap),
            Op::DeleteObjects => self.delete_objects(),
            Op::Restore { topic } => {
                let wanted = RestoreTopic::Name(NAMES[*topic].to_owned());
                if let Ok(decided) = decide::restore_topic(&self.world.state, &wanted) {
                    self.world.collect(decided.events);
                    assert!(self.world.state.topic_by_name(NAMES[*topic]).is_some());
                }
            }
            Op::Purge { all } => {
                let mut now = self.world.now;
                if *all {
                    now.unix_millis = i64::MAX;
                }
                let decided = decide::purge(&self.world.state, &now, 2);
                self.world.collect(decided.events);
            }
            Op::Group(op) => {
                let event = group_ops::event(&self.world.state, op);
                self.world.collect(event.into_iter().collect());
            }
            Op::EndRow => self.world.end_row(),
            Op::TakeDirty => {
                // as the pager does
                if self.writer.round.is_none() && self.world.is_between_rows() {
                    self.begin_round();
                }
            }
            Op::EncodePages { count } => self.encode(*count),
            Op::WritePages { only_some } => self.write(*only_some),
        }
    }

    fn alter(&mut self, kind: i8, name: &str, (config, value): (&str, &str)) {
        let request = alter_request(kind, name, &[(config, 0, Some(value))]);
        let decided = decide::incremental_alter_configs(&self.world.state, &request);
        self.world.collect(decided.events);
    }

    fn merge(&mut self, kind: MergeKind, extents_max: usize) {
        let state = &self.world.state;
        let job = match kind {
            MergeKind::Small { skip } => {
                let count = state.small_objects_count().max(1);
                Some(merger::small_job(state, skip % count))
            }
            MergeKind::Ranges { count } => Some(merger::ranges_job(state, count)),
            MergeKind::Clean { partition } => {
                let ids: Vec<_> = state.planned_partitions(None).map(|p| p.id).collect();
                pick(&ids, partition).and_then(|id| merger::clean_job(state, id))
            }
        };
        if let Some(job) = job {
            let request = merger::request_of(&self.world, &job, extents_max);
            self.swaps.push(request);
        }
    }

    fn swap(&mut self, swap: usize) {
        let count = self.swaps.len().max(1);
        let Some(request) = self.swaps.get(swap % count).cloned() else {
            return;
        };
        let before = covered(&self.world.state);
        let incarnation = self.world.state.incarnation();
        let decided = match decide::swap(&self.world.state, &request) {
            Ok(decided) => decided,
            Err(error) => {
                let of_earlier = |object: &SwapObject| object.id.incarnation < incarnation;
                assert!(request.objects.iter().any(of_earlier), "{error}");
                return;
            }
        };
        assert_eq!(decided.reply.outcomes.len(), request.ranges.len());
        self.world.collect(decided.events);
        if request
            .ranges
            .iter()
            .all(|range| range.cleaned_through.is_none())
        {
            assert_covers(&self.world.state, &before);
        }
        let again = decide::swap(&self.world.state, &request).unwrap();
        assert_eq!(again.events, [], "a swap is done once");
        for (first, second) in decided.reply.outcomes.iter().zip(&again.reply.outcomes) {
            if *first == RangeOutcome::Done {
                assert_eq!(*second, RangeOutcome::Done);
            }
        }
    }

    fn delete_objects(&mut self) {
        let state = &self.world.state;
        let epoch = state.upload_epoch().0;
        let old = |since: UploadEpoch| since.0.saturating_add(RELEASE_GRACE_EPOCHS) <= epoch;
        let released = state.released_objects();
        let old: Vec<ObjectId> = released
            .filter(|(_, since)| old(*since))
            .map(|(id, _)| id)
            .collect();
        let decided = decide::delete_objects(state, &old);
        self.world.collect(decided.events);
        for id in old {
            self.stored.remove(&id);
        }
    }

    /// What holds whatever was played: among others, that no object is forgotten before its bytes are gone.
    pub(super) fn assert_sound(&mut self) {
        let state = &self.world.state;
        merger::assert_sound(state);
        self.stored.extend(state.objects().map(|(id, _)| id));
        let stored: Vec<ObjectId> = self.stored.iter().copied().collect();
        if let Some(known) = state.live_objects(&stored) {
            assert!(known.live.iter().all(|live| *live), "{stored:?}");
        }
    }

    fn partition(&self, topic: usize, partition: i32) -> Option<PartitionId> {
        let topic = self.world.state.topic_by_name(NAMES[topic])?;
        let partition = PartitionId::new(topic.id(), PartitionIndex(partition));
        self.world
            .state
            .watermarks(partition)
            .is_some()
            .then_some(partition)
    }

    fn end_of(&self, topic: usize, partition: i32) -> Option<i64> {
        let partition = self.partition(topic, partition)?;
        let watermarks = self.world.state.watermarks(partition)?;
        Some(watermarks.high_watermark.0)
    }

    fn burst(&mut self, topic: usize, partition: i32, commits: u32) {
        let sessions = self.sessions.iter();
        let mut live = sessions.filter(|(id, _)| self.world.state.session(*id).is_some());
        let (Some(partition), Some((id, slot))) =
            (self.partition(topic, partition), live.next().copied())
        else {
            return;
        };
        for number in 0..commits {
            let mut commit = self
                .world
                .next_commit(id, slot, &[(partition, vec![plain(1)])]);
            commit.answered_through = CommitNumber(commit.number.0.saturating_sub(1));
            let decided = self.world.decide(id, &commit).unwrap();
            self.world.sent(id, commit.number);
            self.world.collect(decided.events);
            if number % 61 == 60 {
                self.world.end_row();
            }
        }
    }

    fn begin_round(&mut self) {
        self.writer.round = Some(self.world.rows.len() as u64);
        let state = &mut self.world.state;
        let dirty = state.take_dirty().into_iter();
        let (emptied, keys): (Vec<_>, Vec<_>) = dirty.partition(|key| state.is_emptied_chunk(key));
        self.writer.to_encode = keys;
        self.writer.emptied = emptied;
    }

    fn commit(&mut self, id: SessionId, slot: WriterSlot, batches: &[Send], acknowledge: bool) {
        let mut runs: BTreeMap<PartitionId, Vec<BatchSummary>> = BTreeMap::new();
        for send in batches {
            let topic = self.world.state.topic_by_name(NAMES[send.topic]);
            let topic = topic.map_or(TopicId(uuid::Uuid::nil()), |topic| topic.id());
            let partition = PartitionId::new(topic, PartitionIndex(send.partition));
            let producer = ProducerId(send.producer);
            let next = self.next.entry((partition, producer)).or_insert((0, 0));
            if send.raise_epoch {
                *next = (next.0 + 1, 0);
            }
            let sequence = next.1.saturating_add(send.ahead).max(0);
            if send.ahead == 0 {
                next.1 = next.1.saturating_add(i32::try_from(send.records).unwrap());
            }
            let batch = of_producer(send.producer, next.0, sequence, send.records);
            runs.entry(partition).or_default().push(batch);
        }
        let runs: Vec<_> = runs.into_iter().collect();
        let mut commit = self.world.next_commit(id, slot, &runs);
        if acknowledge {
            commit.answered_through = CommitNumber(commit.number.0.saturating_sub(2));
        }
        let Ok(decided) = self.world.decide(id, &commit) else {
            assert_eq!(
                self.world.state.session(id),
                None,
                "only ended sessions are refused"
            );
            return;
        };
        self.world.sent(id, commit.number);
        let names: BTreeSet<BatchRef> = decided.reply.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names.len(),
            commit
                .runs
                .iter()
                .map(|run| run.batches.len())
                .sum::<usize>()
        );
        self.world.collect(decided.events);
        for (name, outcome) in decided.reply {
            assert_eq!(
                self.world.state.is_held(id, name),
                outcome == BatchOutcome::Held
            );
        }
        self.sent.push((id, commit));
    }

    fn commit_again(&mut self, back: usize) {
        let Some((id, commit)) = self.sent.iter().rev().nth(back) else {
            return;
        };
        if let Ok(decided) = self.world.decide(*id, commit) {
            assert_eq!(decided.events, []);
        }
    }

    fn encode(&mut self, count: usize) {
        let from = self.writer.to_encode.len().saturating_sub(count);
        for key in self.writer.to_encode.split_off(from) {
            let page = self.world.state.encode_page(&key);
            if page.is_none() && self.world.state.is_emptied_chunk(&key) {
                self.world.state.mark_dirty(&[key]);
                continue;
            }
            self.writer.encoded.push((key, page));
        }
    }

    /// Writes what was encoded if that is durable. `only_some`: a part of the round ahead of the rest.
    fn write(&mut self, only_some: bool) {
        let durable = self.world.rows.len() as u64;
        let Some(round) = self.writer.round else {
            return;
        };
        if round > durable {
            return;
        }
        if !only_some {
            self.encode(usize::MAX);
        }
        let all_durable = self
            .writer
            .encoded
            .iter()
            .all(|(_, page)| page.as_ref().is_none_or(|page| page.seq.0 <= durable))
            // What is gone must be durably gone.
            && self.world.state.seq().0 <= durable;
        if !all_durable {
            return;
        }
        for (key, page) in self.writer.encoded.drain(..) {
            match page {
                Some(page) => self.writer.stored.insert(key, page),
                None => self.writer.stored.remove(&key),
            };
        }
        if self.writer.to_encode.is_empty() {
            for key in std::mem::take(&mut self.writer.emptied) {
                self.writer.stored.remove(&key);
            }
            self.writer.through = round;
            self.writer.round = None;
        }
    }

    /// What a new leader would come to.
    pub(super) fn recover(&self) -> State {
        let pages: Vec<Page> = self.writer.stored.values().cloned().collect();
        let mut state = State::from_pages(Budgets::default(), &pages).unwrap();
        for (seq, row) in (1u64..).zip(&self.world.rows) {
            if seq <= self.writer.through {
                continue;
            }
            for event in decode_row(row).unwrap() {
                state.apply(JournalSeq(seq), &event);
            }
        }
        state
    }
}

/// Offsets of each log that extents have, as ranges that don't touch.
fn covered(state: &State) -> BTreeMap<PartitionId, Vec<(i64, i64)>> {
    let mut all = BTreeMap::new();
    for partition in state.planned_partitions(None) {
        let mut covered: Vec<(i64, i64)> = Vec::new();
        for extent in partition.extents() {
            let (base, end) = (extent.base_offset.0, extent.end_offset.0);
            match covered.last_mut() {
                Some(last) if last.1 == base => last.1 = end,
                _ => covered.push((base, end)),
            }
        }
        all.insert(partition.id, covered);
    }
    all
}

#[track_caller]
fn assert_covers(state: &State, before: &BTreeMap<PartitionId, Vec<(i64, i64)>>) {
    let after = covered(state);
    for (id, before) in before {
        let start = state.any_partition(*id).unwrap().log_start;
        for (base, end) in before.iter().filter(|(_, end)| *end > start) {
            let base = *base.max(&start);
            let holds = after[id].iter().any(|(a, b)| *a <= base && *end <= *b);
            assert!(
                holds,
                "{id}: {base}..{end} of {before:?} in {:?}",
                after[id]
            );
        }
    }
}

fn pick<T: Copy>(all: &[T], index: usize) -> Option<T> {
    all.get(index % all.len().max(1)).copied()
}

#[track_caller]
pub(super) fn assert_same(recovered: &State, lost: &State) {
    for (recovered, lost) in recovered.all_pages().iter().zip(lost.all_pages()) {
        assert_eq!(*recovered, lost);
    }
    assert_eq!(recovered.usage(), lost.usage());
    assert!(recovered == lost);
    for topic in lost.topics() {
        let found = recovered.topic_by_name(topic.name());
        assert_eq!(found.map(|topic| topic.id()), Some(topic.id()));
    }
    for (number, group) in lost.groups() {
        let found = recovered.group_by_name(&group.name);
        assert_eq!(found.map(|(number, _)| number), Some(number));
    }
}
