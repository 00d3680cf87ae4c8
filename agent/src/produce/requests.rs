//! Requests that wait for their answer: what was decided of each batch, and how far each connection
//! is through its window.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use aquifer_metadata_api::commit::{BatchRef, Placement, Rejection};
use aquifer_store::Monotonic;
use tokio::sync::oneshot;

use crate::connection::{ConnectionHandle, ConnectionId};

/// Number of a request within the produce path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RequestId(u64);

/// Names a batch by the request that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BatchTag {
    /// The request.
    pub(super) request: RequestId,
    /// Which of its batches.
    pub(super) index: usize,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchResult {
    /// It is in the log, put there now or when it was sent before.
    Placed(Placement),
    /// It is not in the log.
    Rejected(Rejection),
    /// The agent fenced itself before it took the batch. It is not in the log and never will be.
    NotLeader,
    /// The bucket did not take it. It is not in the log and never will be.
    NotStored,
    /// The session under which it was to be committed ended before it was. It is not in the log and
    /// never will be.
    NotCommitted,
    /// Nothing is known yet and the client must have an answer. It may be in the log later.
    TimedOut,
}

/// What became of a request: a result per batch, or none where its connection is to be closed.
pub(super) type RequestResult = Result<Vec<BatchResult>, SessionEnded>;

/// The commit session ended with the outcome unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the commit session ended before the outcome was known")]
pub struct SessionEnded;

#[derive(Clone, Copy, Debug)]
enum Slot {
    Waiting,
    Held { batch: BatchRef, released: bool },
    Done(BatchResult),
}

#[derive(Debug)]
struct Request {
    connection: Arc<ConnectionHandle>,
    slots: Vec<Slot>,
    undecided: usize,
    accepted: Monotonic,
    deadline: Monotonic,
    reply: oneshot::Sender<RequestResult>,
}

impl Request {
    /// Whether it waits for nothing but held batches.
    fn is_held(&self) -> bool {
        !self.slots.iter().any(|slot| matches!(slot, Slot::Waiting))
    }
}

/// All requests that were accepted and not answered.
#[derive(Debug)]
pub(super) struct Requests {
    next: u64,
    open: BTreeMap<RequestId, Request>,
    /// Per connection, in order of arrival: requests whose answer cannot have left yet. A decided one
    /// stays while one before it is undecided, since answers keep their order.
    windows: BTreeMap<ConnectionId, VecDeque<RequestId>>,
    deadlines: BTreeSet<(Monotonic, RequestId)>,
    /// How many requests a stock producer has under way on one connection.
    window: usize,
}

/// A request was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// When it had been accepted.
    pub(super) accepted: Monotonic,
}

impl Requests {
    pub(super) fn new(window: usize) -> Self {
        Self {
            next: 0,
            open: BTreeMap::new(),
            windows: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            window,
        }
    }

    /// Takes a request of `batches` batches (at least one).
    pub(super) fn insert(
        &mut self,
        connection: Arc<ConnectionHandle>,
        batches: usize,
        accepted: Monotonic,
        deadline: Monotonic,
        reply: oneshot::Sender<RequestResult>,
    ) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        self.windows
            .entry(connection.id())
            .or_default()
            .push_back(id);
        self.deadlines.insert((deadline, id));
        let request = Request {
            connection,
            slots: vec![Slot::Waiting; batches],
            undecided: batches,
            accepted,
            deadline,
            reply,
        };
        self.open.insert(id, request);
        id
    }

    /// How many requests are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether the connection has a whole window of requests without an answer.
    pub(super) fn window_is_full(&self, connection: ConnectionId) -> bool {
        self.windows
            .get(&connection)
            .is_some_and(|queue| queue.len() >= self.window)
    }

    /// When the first open request must be answered.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Notes that a batch is held. Later results of batches that were decided are ignored, here and
    /// in [`Self::decide`]: a commit that was sent again is answered again.
    pub(super) fn hold(&mut self, tag: BatchTag, batch: BatchRef) -> Option<ConnectionId> {
        let request = self.open.get_mut(&tag.request)?;
        let slot = request.slots.get_mut(tag.index)?;
        if let Slot::Waiting = slot {
            *slot = Slot::Held {
                batch,
                released: false,
            };
        }
        Some(request.connection.id())
    }

    /// Notes what became of a batch; answers its request if that was the last one.
    pub(super) fn decide(&mut self, tag: BatchTag, result: BatchResult) -> Option<Answered> {
        let request = self.open.get_mut(&tag.request)?;
        let slot = request.slots.get_mut(tag.index)?;
        if let Slot::Done(_) = slot {
            return None;
        }
        *slot = Slot::Done(result);
        request.undecided -= 1;
        if request.undecided > 0 {
            return None;
        }
        self.answer(tag.request, BatchResult::TimedOut)
    }

    /// The connection of an open request.
    pub(super) fn connection_of(&self, id: RequestId) -> Option<ConnectionId> {
        self.open.get(&id).map(|request| request.connection.id())
    }

    /// Answers a request that is still open, with `undecided` for what is not decided.
    pub(super) fn answer(&mut self, id: RequestId, undecided: BatchResult) -> Option<Answered> {
        let request = self.remove(id)?;
        let results = request
            .slots
            .iter()
            .map(|slot| match slot {
                Slot::Done(result) => *result,
                Slot::Waiting | Slot::Held { .. } => undecided,
            })
            .collect();
        // A connection that is gone does not wait for its answers.
        let _ = request.reply.send(Ok(results));
        Some(Answered {
            accepted: request.accepted,
        })
    }

    /// Closes the connection of a request that is still open, without an answer.
    pub(super) fn close(&mut self, id: RequestId) {
        if let Some(request) = self.remove(id) {
            request.connection.close();
            let _ = request.reply.send(Err(SessionEnded));
        }
    }

    /// Answers what is overdue; returns how many requests that were.
    pub(super) fn expire(&mut self, now: Monotonic) -> usize {
        let mut expired = 0;
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            self.answer(id, BatchResult::TimedOut);
            expired += 1;
        }
        expired
    }

    /// The held batches of a connection whose whole window is held: nothing can come any more that
    /// would fill their gaps, so holding them longer is of no use. Each is returned once.
    pub(super) fn holds_to_release(&mut self, connection: ConnectionId) -> Vec<BatchRef> {
        let Some(queue) = self.windows.get(&connection) else {
            return Vec::new();
        };
        let progress = queue
            .iter()
            .filter_map(|id| self.open.get(id))
            .any(|request| !request.is_held());
        if queue.len() < self.window || progress {
            return Vec::new();
        }
        let mut batches = Vec::new();
        for id in queue {
            let Some(request) = self.open.get_mut(id) else {
                continue;
            };
            for slot in &mut request.slots {
                if let Slot::Held { batch, released } = slot
                    && !*released
                {
                    *released = true;
                    batches.push(*batch);
                }
            }
        }
        batches
    }

    fn remove(&mut self, id: RequestId) -> Option<Request> {
        let request = self.open.remove(&id)?;
        self.deadlines.remove(&(request.deadline, id));
        let connection = request.connection.id();
        let queue = self
            .windows
            .get_mut(&connection)
            .expect("a request stays in its connection's window until it is answered");
        while let Some(front) = queue.front()
            && !self.open.contains_key(front)
        {
            queue.pop_front();
        }
        if queue.is_empty() {
            self.windows.remove(&connection);
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use aquifer_format::ids::{CommitNumber, Offset};

    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    fn connection(id: u64) -> Arc<ConnectionHandle> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        Arc::new(ConnectionHandle::new(ConnectionId(id), peer))
    }

    fn batch(number: u64) -> BatchRef {
        BatchRef {
            number: CommitNumber(number),
            run: 0,
            batch: 0,
        }
    }

    fn placed(offset: i64) -> BatchResult {
        BatchResult::Placed(Placement {
            base_offset: Offset(offset),
            log_append_time: None,
            log_start: Offset(0),
        })
    }

    struct Case {
        requests: Requests,
        connection: Arc<ConnectionHandle>,
    }

    impl Case {
        fn new() -> Self {
            Self {
                requests: Requests::new(5),
                connection: connection(1),
            }
        }

        fn insert(&mut self, batches: usize) -> (RequestId, oneshot::Receiver<RequestResult>) {
            let (reply, answer) = oneshot::channel();
            let connection = Arc::clone(&self.connection);
            let id = self
                .requests
                .insert(connection, batches, at(0), at(25_000), reply);
            (id, answer)
        }
    }

    #[test]
    fn a_request_is_answered_when_its_last_batch_is_decided() {
        let mut case = Case::new();
        let (request, mut answer) = case.insert(2);
        let tag = |index| BatchTag { request, index };
        assert!(case.requests.decide(tag(1), placed(7)).is_none());
        assert!(
            case.requests.decide(tag(1), placed(8)).is_none(),
            "repeated results are ignored"
        );
        assert!(answer.try_recv().is_err());
        assert!(case.requests.decide(tag(0), placed(3)).is_some());
        assert_eq!(answer.try_recv(), Ok(Ok(vec![placed(3), placed(7)])));
        assert_eq!(case.requests.len(), 0);
        assert!(case.requests.windows.is_empty() && case.requests.deadlines.is_empty());
    }

    #[test]
    fn decided_requests_count_in_the_window_until_those_before_them_are_decided() {
        let mut case = Case::new();
        let ids: Vec<_> = (0..5).map(|_| case.insert(1)).collect();
        assert!(case.requests.window_is_full(ConnectionId(1)));
        let tag = |at: usize| BatchTag {
            request: ids[at].0,
            index: 0,
        };
        case.requests.decide(tag(4), placed(4));
        case.requests.decide(tag(1), placed(1));
        assert!(case.requests.window_is_full(ConnectionId(1)));
        case.requests.decide(tag(0), placed(0));
        assert!(!case.requests.window_is_full(ConnectionId(1)));
    }

    #[test]
    fn holds_are_released_once_when_the_whole_window_is_held() {
        let mut case = Case::new();
        let ids: Vec<_> = (0..5).map(|_| case.insert(1)).collect();
        for (number, (request, _)) in ids.iter().enumerate() {
            assert_eq!(case.requests.holds_to_release(ConnectionId(1)), []);
            let number = u64::try_from(number).unwrap();
            case.requests.hold(
                BatchTag {
                    request: *request,
                    index: 0,
                },
                batch(number),
            );
        }
        let expected: Vec<_> = (0..5).map(batch).collect();
        assert_eq!(case.requests.holds_to_release(ConnectionId(1)), expected);
        assert_eq!(case.requests.holds_to_release(ConnectionId(1)), []);
    }

    #[test]
    fn four_held_requests_and_one_in_progress_are_left_alone() {
        let mut case = Case::new();
        let ids: Vec<_> = (0..5).map(|_| case.insert(1)).collect();
        for (request, _) in &ids[1..] {
            case.requests.hold(
                BatchTag {
                    request: *request,
                    index: 0,
                },
                batch(1),
            );
        }
        assert_eq!(case.requests.holds_to_release(ConnectionId(1)), []);
    }

    #[test]
    fn overdue_requests_are_answered_with_what_is_known() {
        let mut case = Case::new();
        let (request, mut answer) = case.insert(2);
        case.requests
            .decide(BatchTag { request, index: 0 }, placed(1));
        assert_eq!(case.requests.expire(at(24_999)), 0);
        assert_eq!(case.requests.expire(at(25_000)), 1);
        assert_eq!(
            answer.try_recv(),
            Ok(Ok(vec![placed(1), BatchResult::TimedOut]))
        );
        assert_eq!(case.requests.next_deadline(), None);
    }

    #[test]
    fn a_lost_session_closes_the_connection_without_an_answer() {
        let mut case = Case::new();
        let (request, mut answer) = case.insert(1);
        case.requests.close(request);
        assert!(case.connection.is_closed());
        assert_eq!(answer.try_recv(), Ok(Err(SessionEnded)));
    }
}
