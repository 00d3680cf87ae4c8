//! Commits of the current session: their numbers, what of them is unanswered, and what is to be sent
//! (again).

use std::collections::{BTreeMap, VecDeque};

use aquifer_format::ids::{CommitNumber, ObjectId};
use aquifer_metadata_api::commit::{BatchOutcome, BatchRef, Commit, CommitAnswer, CommitCall, Run};
use aquifer_store::Monotonic;

use super::requests::{BatchTag, RequestId};

/// An uploaded object, to be committed.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) object: ObjectId,
    pub(super) object_bytes: u64,
    pub(super) runs: Vec<Run>,
    /// Which request each batch came with, as the batches lie in `runs`.
    pub(super) tags: Vec<Vec<BatchTag>>,
    /// When the upload was done.
    pub(super) uploaded_at: Monotonic,
}

fn requests(tags: &[Vec<BatchTag>]) -> Vec<RequestId> {
    let mut requests: Vec<_> = tags.iter().flatten().map(|tag| tag.request).collect();
    requests.sort_unstable();
    requests.dedup();
    requests
}

/// A commit that has a number and is not completely answered.
#[derive(Debug)]
struct Open {
    commit: Commit,
    tags: Vec<Vec<BatchTag>>,
    decided: Vec<Vec<bool>>,
    undecided: usize,
    numbered_at: Monotonic,
    /// Whether the leader may have seen it.
    sent: bool,
}

/// The session's commits.
#[derive(Debug, Default)]
pub(super) struct Commits {
    last: u64,
    open: BTreeMap<u64, Open>,
    outbox: VecDeque<Outgoing>,
}

#[derive(Debug)]
enum Outgoing {
    Commit(u64),
    ReleaseHolds(Vec<BatchRef>),
}

/// What an answer said of one batch.
pub(super) type Outcome = (BatchTag, BatchRef, BatchOutcome);

/// What an answer changed.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) outcomes: Vec<Outcome>,
    /// Set when this was the last answer to the commit: when it got its number.
    pub(super) complete: Option<Monotonic>,
}

/// Requests of a session that ended. (All batches of a request are in one commit.)
#[derive(Debug, Default)]
pub(super) struct EndedSession {
    /// Their commits were sent: they may be in the log.
    pub(super) unknown: Vec<RequestId>,
    /// Their commits were not sent: they are not in the log and never will be.
    pub(super) not_sent: Vec<RequestId>,
}

impl Commits {
    /// Whether there is something to send.
    pub(super) fn has_outgoing(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// How many commits are not completely answered.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Gives an upload its number and puts it last in the queue.
    pub(super) fn push(&mut self, upload: Upload, now: Monotonic) {
        let answered_through = CommitNumber(self.answered_through());
        self.last += 1;
        let decided: Vec<Vec<bool>> = upload
            .tags
            .iter()
            .map(|run| vec![false; run.len()])
            .collect();
        let open = Open {
            undecided: decided.iter().map(Vec::len).sum(),
            decided,
            commit: Commit {
                number: CommitNumber(self.last),
                answered_through,
                object: upload.object,
                object_bytes: upload.object_bytes,
                locations: vec![0],
                runs: upload.runs,
            },
            tags: upload.tags,
            numbered_at: now,
            sent: false,
        };
        self.open.insert(self.last, open);
        self.outbox.push_back(Outgoing::Commit(self.last));
    }

    /// Asks for the end of holds.
    pub(super) fn release_holds(&mut self, batches: Vec<BatchRef>) {
        self.outbox.push_back(Outgoing::ReleaseHolds(batches));
    }

    /// The next call to send.
    pub(super) fn pop_outgoing(&mut self) -> Option<CommitCall> {
        while let Some(next) = self.outbox.pop_front() {
            match next {
                Outgoing::ReleaseHolds(batches) => return Some(CommitCall::ReleaseHolds(batches)),
                Outgoing::Commit(number) => {
                    if let Some(open) = self.open.get_mut(&number) {
                        open.sent = true;
                        return Some(CommitCall::Commit(open.commit.clone()));
                    }
                }
            }
        }
        None
    }

    /// A new stream was opened: everything unanswered is sent again, in number order, with the content
    /// that it had. (Releases of holds are not: the leader ends holds by itself before long.)
    pub(super) fn resend_all(&mut self) {
        self.outbox = self.open.keys().copied().map(Outgoing::Commit).collect();
    }

    /// Takes in an answer. What was decided before is left out.
    pub(super) fn answer(&mut self, answer: &CommitAnswer) -> Answers {
        let mut answers = Answers::default();
        let Some(open) = self.open.get_mut(&answer.number.0) else {
            return answers;
        };
        for (batch, outcome) in &answer.outcomes {
            let (Ok(run), Ok(at)) = (usize::try_from(batch.run), usize::try_from(batch.batch))
            else {
                continue;
            };
            let Some(decided) = open.decided.get_mut(run).and_then(|run| run.get_mut(at)) else {
                tracing::error!(number = %answer.number, run, at, "answer names a batch that the commit does not have");
                continue;
            };
            if *decided {
                continue;
            }
            if *outcome != BatchOutcome::Held {
                *decided = true;
                open.undecided -= 1;
            }
            answers
                .outcomes
                .push((open.tags[run][at], *batch, *outcome));
        }
        if open.undecided == 0 {
            answers.complete = Some(open.numbered_at);
            self.open.remove(&answer.number.0);
        }
        answers
    }

    /// The session ended: numbers begin anew. Says what became of its requests.
    pub(super) fn end_session(&mut self) -> EndedSession {
        let mut ended = EndedSession::default();
        for open in std::mem::take(self).open.into_values() {
            let requests = requests(&open.tags);
            if open.sent {
                ended.unknown.extend(requests);
            } else {
                ended.not_sent.extend(requests);
            }
        }
        ended
    }

    fn answered_through(&self) -> u64 {
        self.open
            .first_key_value()
            .map_or(self.last, |(first, _)| first - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aquifer_format::ids::{
        Incarnation, ObjectLevel, Offset, PartitionId, PartitionIndex, TopicId, UploadEpoch,
        WriterSlot,
    };
    use aquifer_metadata_api::commit::Placement;

    use super::*;
    use crate::{
        connection::{ConnectionHandle, ConnectionId},
        produce::requests::Requests,
    };

    fn now() -> Monotonic {
        Monotonic(Duration::from_secs(1))
    }

    fn request() -> RequestId {
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let connection = std::sync::Arc::new(ConnectionHandle::new(ConnectionId(1), peer));
        let (reply, _) = tokio::sync::oneshot::channel();
        Requests::new(5).insert(connection, 9, now(), now(), reply)
    }

    fn upload(unique: u64, batches: usize) -> Upload {
        let request = request();
        let topic = TopicId(uuid::Uuid::from_u128(1));
        Upload {
            object: ObjectId {
                incarnation: Incarnation(1),
                upload_epoch: UploadEpoch(1),
                writer: WriterSlot(1),
                level: ObjectLevel::L0,
                unique,
            },
            object_bytes: 10,
            runs: vec![Run {
                partition: PartitionId::new(topic, PartitionIndex(0)),
                position: 0,
                stored_bytes: 10,
                batches: Vec::new(),
            }],
            tags: vec![
                (0..batches)
                    .map(|index| BatchTag { request, index })
                    .collect(),
            ],
            uploaded_at: now(),
        }
    }

    fn answer(number: u64, batches: &[u32], outcome: BatchOutcome) -> CommitAnswer {
        let number = CommitNumber(number);
        let outcomes = batches
            .iter()
            .map(|batch| {
                (
                    BatchRef {
                        number,
                        run: 0,
                        batch: *batch,
                    },
                    outcome,
                )
            })
            .collect();
        CommitAnswer { number, outcomes }
    }

    fn appended() -> BatchOutcome {
        BatchOutcome::Appended(Placement {
            base_offset: Offset(0),
            log_append_time: None,
            log_start: Offset(0),
        })
    }

    fn sent(commits: &mut Commits) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| commits.pop_outgoing())
            .filter_map(|call| match call {
                CommitCall::Commit(commit) => Some((commit.number.0, commit.answered_through.0)),
                CommitCall::ReleaseHolds(_) => None,
            })
            .collect()
    }

    #[test]
    fn numbers_are_dense_and_say_what_was_answered() {
        let mut commits = Commits::default();
        for unique in 0..3 {
            commits.push(upload(unique, 1), now());
        }
        assert_eq!(sent(&mut commits), [(1, 0), (2, 0), (3, 0)]);
        commits.answer(&answer(2, &[0], appended()));
        commits.push(upload(3, 1), now());
        commits.answer(&answer(1, &[0], appended()));
        commits.push(upload(4, 1), now());
        assert_eq!(sent(&mut commits), [(4, 0), (5, 2)]);
    }

    #[test]
    fn a_commit_is_answered_when_its_last_held_batch_is_decided() {
        let mut commits = Commits::default();
        commits.push(upload(0, 2), now());
        let held = commits.answer(&answer(1, &[0, 1], BatchOutcome::Held));
        assert_eq!((held.outcomes.len(), held.complete), (2, None));
        assert_eq!(commits.answer(&answer(1, &[0], appended())).complete, None);
        let repeated = commits.answer(&answer(1, &[0], appended()));
        assert!(repeated.outcomes.is_empty());
        let last = commits.answer(&answer(1, &[1], appended()));
        assert_eq!(last.complete, Some(now()));
        assert_eq!(commits.len(), 0);
    }

    #[test]
    fn a_new_stream_is_sent_everything_unanswered_in_order_and_unchanged() {
        let mut commits = Commits::default();
        for unique in 0..3 {
            commits.push(upload(unique, 1), now());
        }
        let before = sent(&mut commits);
        commits.answer(&answer(2, &[0], appended()));
        commits.release_holds(Vec::new());
        commits.resend_all();
        assert_eq!(sent(&mut commits), [before[0], before[2]]);
    }

    #[test]
    fn answers_about_batches_that_do_not_exist_change_nothing() {
        let mut commits = Commits::default();
        commits.push(upload(0, 1), now());
        assert!(
            commits
                .answer(&answer(1, &[7], appended()))
                .outcomes
                .is_empty()
        );
        assert!(
            commits
                .answer(&answer(9, &[0], appended()))
                .outcomes
                .is_empty()
        );
        assert_eq!(commits.len(), 1);
    }

    #[test]
    fn the_end_of_a_session_names_the_requests_and_begins_at_one() {
        let mut commits = Commits::default();
        commits.push(upload(0, 2), now());
        commits.pop_outgoing();
        commits.push(upload(1, 1), now());
        commits.push(upload(2, 1), now());
        let ended = commits.end_session();
        assert_eq!((ended.unknown.len(), ended.not_sent.len()), (1, 2));
        assert!(!commits.has_outgoing());
        commits.push(upload(3, 1), now());
        assert_eq!(sent(&mut commits), [(1, 0)]);
    }
}
