//! Recovery: pages, written at whatever moments and of whatever ages, and the journal after them give
//! the state that was lost. Random requests are played; a page writer works beside them, takes what is
//! dirty, encodes it bit by bit while more happens, and writes it once it is durable; at the end of
//! each row a new leader recovers.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::ids::{
    CommitNumber, JournalSeq, PartitionId, PartitionIndex, ProducerId, SessionId, TopicId,
    WriterSlot,
};
use aquifer_metadata_api::commit::{BatchOutcome, BatchRef, BatchSummary, Commit};
use kafka_protocol::messages::InitProducerIdRequest;
use proptest::{collection::vec, prelude::*};

use super::world::{World, create_request, delete_request, of_producer, register_request};
use crate::{
    event::decode_row,
    journal::{Page, PageKey},
    state::{Budgets, State, decide},
};

#[derive(Clone, Debug)]
enum Op {
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
    EndRow,
    TakeDirty,
    EncodePages {
        count: usize,
    },
    WritePages {
        only_some: bool,
    },
}

/// A batch: where, whose, and how its sequence lies to the next one.
#[derive(Clone, Debug)]
struct Send {
    topic: usize,
    partition: i32,
    producer: i64,
    ahead: i32,
    raise_epoch: bool,
    records: u32,
}

const NAMES: [&str; 3] = ["a", "b.c", "b_d"];

fn send() -> impl Strategy<Value = Send> {
    let ahead = prop_oneof![6 => Just(0), 2 => 1i32..4, 2 => -4i32..0];
    (
        0usize..3,
        0i32..3,
        -1i64..3,
        ahead,
        prop::bool::weighted(0.05),
        1u32..3,
    )
        .prop_map(
            |(topic, partition, producer, ahead, raise_epoch, records)| Send {
                topic,
                partition,
                producer,
                ahead,
                raise_epoch,
                records,
            },
        )
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0usize..3, 1i32..4, any::<bool>()).prop_map(|(topic, partitions, log_append_time)| {
            Op::Create { topic, partitions, log_append_time }
        }),
        1 => (0usize..3).prop_map(|topic| Op::Delete { topic }),
        1 => (0u16..3, prop::option::of(0u32..3)).prop_map(|(host, previous)| {
            Op::Register { host, previous }
        }),
        1 => any::<usize>().prop_map(|session| Op::EndSession { session }),
        12 => (any::<usize>(), vec(send(), 0..8), any::<bool>()).prop_map(
            |(session, batches, acknowledge)| Op::Commit { session, batches, acknowledge }
        ),
        1 => (1usize..4).prop_map(|back| Op::CommitAgain { back }),
        2 => any::<usize>().prop_map(|held| Op::Release { held }),
        1 => prop_oneof![3 => Just(1u32), 1 => Just(1_441u32)].prop_map(|epochs| Op::Advance { epochs }),
        1 => Just(Op::InitProducerId),
        1 => (0i64..50).prop_map(|gap| Op::AcceptLoss { gap }),
        12 => Just(Op::EndRow),
        3 => Just(Op::TakeDirty),
        5 => (1usize..6).prop_map(|count| Op::EncodePages { count }),
        3 => any::<bool>().prop_map(|only_some| Op::WritePages { only_some }),
    ]
}

/// The journal's pages and a writer that fills them.
#[derive(Debug, Default)]
struct Writer {
    stored: BTreeMap<PageKey, Page>,
    through: u64,
    /// The round in progress: complete up to this row.
    round: Option<u64>,
    to_encode: Vec<PageKey>,
    encoded: Vec<(PageKey, Option<Page>)>,
}

struct Player {
    world: World,
    writer: Writer,
    sessions: Vec<(SessionId, WriterSlot)>,
    next: BTreeMap<(PartitionId, ProducerId), (i16, i32)>,
    sent: Vec<(SessionId, Commit)>,
}

impl Player {
    fn new() -> Self {
        Self {
            world: World::new(),
            writer: Writer::default(),
            sessions: Vec::new(),
            next: BTreeMap::new(),
            sent: Vec::new(),
        }
    }

    fn play(&mut self, op: &Op) {
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
                let decided = decide::delete_topics(&self.world.state, &self.world.now, &request);
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
            Op::EndRow => self.world.end_row(),
            Op::TakeDirty => {
                if self.writer.round.is_none() {
                    self.writer.round = Some(self.world.rows.len() as u64);
                    self.writer.to_encode = self.world.state.take_dirty();
                }
            }
            Op::EncodePages { count } => self.encode(*count),
            Op::WritePages { only_some } => self.write(*only_some),
        }
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
            self.writer.through = round;
            self.writer.round = None;
        }
    }

    /// What a new leader would come to.
    fn recover(&self) -> State {
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

fn pick<T: Copy>(all: &[T], index: usize) -> Option<T> {
    all.get(index % all.len().max(1)).copied()
}

#[track_caller]
fn assert_same(recovered: &State, lost: &State) {
    for (recovered, lost) in recovered.all_pages().iter().zip(lost.all_pages()) {
        assert_eq!(*recovered, lost);
    }
    assert_eq!(recovered.usage(), lost.usage());
    assert!(recovered == lost);
    for topic in lost.topics() {
        let found = recovered.topic_by_name(topic.name());
        assert_eq!(found.map(|topic| topic.id()), Some(topic.id()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pages_of_any_ages_and_the_journal_after_them_are_the_state(ops in vec(op(), 1..120)) {
        let mut player = Player::new();
        player.play(&Op::Register { host: 0, previous: None });
        player.world.end_row();
        for op in &ops {
            let rows = player.world.rows.len();
            player.play(op);
            if player.world.rows.len() > rows {
                assert_same(&player.recover(), &player.world.state);
            }
        }
        player.world.end_row();
        assert_same(&player.recover(), &player.world.state);
    }
}
