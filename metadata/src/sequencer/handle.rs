//! One request after the other.

use aquifer_format::ids::{JournalSeq, LeaderTerm, PartitionId, SessionId};
use aquifer_metadata_api::{
    MetadataError,
    commit::{BatchOutcome, Commit, CommitAnswer, CommitCall},
    mark::JournalMark,
    register::{RegisterRequest, Registration},
    watch::{AgentView, InterestChange},
};
use tokio_util::sync::CancellationToken;

use super::{
    Sequencer, Stream,
    group::tail_from,
    request::{Answers, Departure, OpenedCommits, OpenedWatch, Reply, Request, StreamId},
};
use crate::{
    hub::{Acknowledgement, NewWatcher, WatcherId},
    state::decide::{self, HoldOutcome},
};

/// How much of the state one slice of a walk looks at: at most some hundred microseconds of work.
const WALK_ROOM: usize = 8_192;

impl Sequencer {
    pub(super) fn handle(&mut self, request: Request) {
        match request {
            Request::Register(request, reply) => self.register(&request, reply),
            Request::OpenCommits {
                session,
                answers,
                reply,
            } => self.open_commits(session, answers, reply),
            Request::Call {
                session,
                stream,
                call,
            } => self.call(session, stream, call),
            Request::CloseCommits { session, stream } => {
                if self.streams.get(&session).is_some_and(|s| s.id == stream) {
                    self.streams.remove(&session);
                }
            }
            Request::Locate(request, reply) => {
                let found = self.state.locate(&request);
                self.answer(reply, Ok(found));
            }
            Request::Offsets(request, reply) => {
                let found = self.state.offsets(&request);
                self.answer(reply, Ok(found));
            }
            Request::Barrier(reply) => {
                let position: (LeaderTerm, JournalSeq) = (self.term, self.shown_seq());
                self.answer(reply, Ok(position));
            }
            Request::LiveObjects(objects, reply) => {
                let known =
                    self.state
                        .live_objects(&objects)
                        .ok_or_else(|| MetadataError::Unavailable {
                            reason: "the cluster has not begun".to_owned(),
                            may_have_happened: false,
                        });
                self.answer(reply, known);
            }
            Request::OpenWatch(session, seen, reply) => self.open_watch(session, seen, reply),
            Request::Interest(watcher, change) => self.interest(watcher, change),
            Request::CloseWatch(watcher) => self.hub.close(watcher),
            Request::Kafka(call, reply) => self.kafka(*call, reply),
            Request::Walk(walk, reply) => {
                let slice = self.state.walk(&walk, WALK_ROOM);
                self.answer(reply, Ok(slice));
            }
            Request::Upkeep(call) => self.upkeep(*call),
            Request::BackedUp(epoch) => self.planner.backed_up(epoch),
        }
    }

    /// Lets an answer leave with this group.
    pub(super) fn answer<T: Send + 'static>(
        &mut self,
        to: Reply<T>,
        value: Result<T, MetadataError>,
    ) {
        self.group.departures.push(Departure::reply(to, value));
    }

    fn register(&mut self, request: &RegisterRequest, reply: Reply<Registration>) {
        if let Err(error) = self.judge(request.seen.as_ref()) {
            return self.answer(reply, Err(error));
        }
        let registered = decide::register(&self.state, request).map(|decided| {
            let (registration, holds) = self.accept(decided);
            self.heard
                .insert(registration.session, registration.upload_epoch);
            self.settle(holds);
            registration
        });
        self.answer(reply, registered);
    }

    fn open_commits(&mut self, session: SessionId, answers: Answers, reply: Reply<OpenedCommits>) {
        if self.state.session(session).is_none() {
            return self.answer(reply, Err(MetadataError::UnknownSession { session }));
        }
        self.hear(session);
        self.next_stream += 1;
        let id = StreamId(self.next_stream);
        let broken = CancellationToken::new();
        let stream = Stream {
            id,
            answers,
            _broken: broken.clone().drop_guard(),
        };
        // an earlier stream breaks here
        self.streams.insert(session, stream);
        self.answer(reply, Ok(OpenedCommits { stream: id, broken }));
    }

    fn hear(&mut self, session: SessionId) {
        let epoch = self.state.upload_epoch();
        self.heard.insert(session, epoch);
    }

    fn call(&mut self, session: SessionId, id: StreamId, call: CommitCall) {
        let Some(stream) = self.streams.get(&session).filter(|s| s.id == id) else {
            return;
        };
        let answers = stream.answers.clone();
        self.hear(session);
        match call {
            CommitCall::Commit(commit) => self.commit(session, id, answers, &commit),
            CommitCall::ReleaseHolds(batches) => {
                let batches: Vec<_> = batches.into_iter().map(|b| (session, b)).collect();
                let decided = decide::release_holds(&self.state, &self.wall_clock(), &batches);
                let ((), holds) = self.accept(decided);
                self.settle(holds);
            }
        }
    }

    fn commit(&mut self, session: SessionId, stream: StreamId, to: Answers, commit: &Commit) {
        self.group.batches += commit.runs.iter().map(|r| r.batches.len()).sum::<usize>();
        let decided = decide::commit(&self.state, &self.wall_clock(), session, commit);
        let item = match decided {
            Ok(decided) => {
                let (outcomes, holds) = self.accept(decided);
                let held = outcomes.iter().filter(|(_, o)| *o == BatchOutcome::Held);
                let held = held.map(|(batch, _)| (session, *batch)).collect();
                let now = self.now();
                self.timers.hold(now, held);
                let answer = CommitAnswer {
                    number: commit.number,
                    outcomes,
                };
                (Ok(answer), holds)
            }
            Err(error) => {
                tracing::warn!(%session, %error, "a commit was not taken");
                // after an error nothing more comes: what is in the queue is not looked at
                self.streams.remove(&session);
                (Err(MetadataError::from(error)), Vec::new())
            }
        };
        let (item, holds): (_, Vec<HoldOutcome>) = item;
        self.group.departures.push(Departure::Commit {
            session,
            stream,
            to,
            item,
        });
        self.settle(holds);
    }

    fn open_watch(
        &mut self,
        session: SessionId,
        seen: Option<JournalMark>,
        reply: Reply<OpenedWatch>,
    ) {
        if let Err(error) = self.judge(seen.as_ref()) {
            return self.answer(reply, Err(error));
        }
        let known = self.state.sessions().find(|(id, ..)| *id == session);
        let Some((_, slot, address)) = known else {
            return self.answer(reply, Err(MetadataError::UnknownSession { session }));
        };
        let agent = AgentView {
            slot,
            address: address.clone(),
        };
        self.hear(session);
        let now = self.now();
        self.hub.registry.opened(session, agent.clone(), now);
        self.group.new_watchers.push(NewWatcher {
            session,
            agent,
            reply,
        });
    }

    fn interest(&mut self, watcher: WatcherId, change: InterestChange) {
        match change {
            InterestChange::Presence { named } => {
                let now = self.now();
                self.hub.present(watcher, named, now);
            }
            InterestChange::Remove { partition } => self.hub.remove_interest(watcher, partition),
            InterestChange::Add { partition, from } => {
                let (complete_from, extents) = tail_from(&self.state, partition, from);
                let begin = self.end_of(partition).unwrap_or(from);
                if self.hub.add_interest(watcher, partition, begin) {
                    self.group.acknowledgements.push(Acknowledgement {
                        watcher,
                        partition,
                        complete_from,
                        extents,
                    });
                }
            }
        }
    }

    fn end_of(&self, partition: PartitionId) -> Option<aquifer_format::ids::Offset> {
        let watermarks = self.state.watermarks(partition)?;
        Some(watermarks.high_watermark)
    }
}
