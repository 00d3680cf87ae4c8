//! What the sequencer is asked, and what leaves once it is durable.

use aquifer_format::ids::{JournalSeq, LeaderTerm, ObjectId, SessionId, UploadEpoch};
use aquifer_metadata_api::{
    MetadataError,
    commit::{CommitAnswer, CommitCall},
    kafka::KafkaCall,
    live::LiveObjects,
    locate::{LocateReply, LocateRequest, OffsetsReply, OffsetsRequest},
    mark::JournalMark,
    register::{RegisterRequest, Registration},
    upkeep::{
        DeletedTopics, Finish, InputsReply, InputsRequest, LeaseReply, LeaseRequest, ObjectsReply,
        ObjectsRequest, Renewal, Renewed, RestoreTopic, RestoredTopic, SwapReply, SwapRequest,
    },
    watch::{Frame, InterestChange},
};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    hub::{WatcherId, WatcherQueue},
    state::{StateSlice, WalkRequest, decide::HoldOutcome},
};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, MetadataError>>;
/// The agent's end of a stream of commits.
pub(crate) type Answers = mpsc::Sender<Result<CommitAnswer, MetadataError>>;

/// Names one opened stream of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamId(pub(crate) u64);

/// A stream of commits that was opened.
#[derive(Debug)]
pub(crate) struct OpenedCommits {
    pub(crate) stream: StreamId,
    /// Cancelled when the stream is broken: no more calls are taken.
    pub(crate) broken: CancellationToken,
}

/// A watch that was opened.
#[derive(Debug)]
pub(crate) struct OpenedWatch {
    pub(crate) watcher: WatcherId,
    pub(crate) frames: mpsc::UnboundedReceiver<Frame>,
    pub(crate) queue: WatcherQueue,
}

/// A request, in the order of arrival.
#[derive(Debug)]
pub(crate) enum Request {
    Register(RegisterRequest, Reply<Registration>),
    OpenCommits {
        session: SessionId,
        answers: Answers,
        reply: Reply<OpenedCommits>,
    },
    Call {
        session: SessionId,
        stream: StreamId,
        call: CommitCall,
    },
    CloseCommits {
        session: SessionId,
        stream: StreamId,
    },
    Locate(LocateRequest, Reply<LocateReply>),
    Offsets(OffsetsRequest, Reply<OffsetsReply>),
    Barrier(Reply<(LeaderTerm, JournalSeq)>),
    LiveObjects(Vec<ObjectId>, Reply<LiveObjects>),
    OpenWatch(SessionId, Option<JournalMark>, Reply<OpenedWatch>),
    Interest(WatcherId, InterestChange),
    CloseWatch(WatcherId),
    Kafka(Box<KafkaCall>, Reply<Bytes>),
    Walk(WalkRequest, Reply<StateSlice>),
    Upkeep(Box<UpkeepCall>),
    /// A backup has everything that was durable when the upload epoch was this one.
    BackedUp(UploadEpoch),
}

/// A call of a compactor or an operator.
#[derive(Debug)]
pub(crate) enum UpkeepCall {
    Lease(LeaseRequest, Reply<LeaseReply>),
    Renew(Renewal, Reply<Renewed>),
    Inputs(InputsRequest, Reply<InputsReply>),
    Swap(SwapRequest, Reply<SwapReply>),
    Finish(Finish, Reply<()>),
    Objects(ObjectsRequest, Reply<ObjectsReply>),
    DeletedTopics(Reply<DeletedTopics>),
    RestoreTopic(RestoreTopic, Reply<RestoredTopic>),
}

impl UpkeepCall {
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Lease(_, reply) => reply.is_closed(),
            Self::Renew(_, reply) => reply.is_closed(),
            Self::Inputs(_, reply) => reply.is_closed(),
            Self::Swap(_, reply) => reply.is_closed(),
            Self::Finish(_, reply) => reply.is_closed(),
            Self::Objects(_, reply) => reply.is_closed(),
            Self::DeletedTopics(reply) => reply.is_closed(),
            Self::RestoreTopic(_, reply) => reply.is_closed(),
        }
    }

    fn refuse(self, error: MetadataError) {
        match self {
            Self::Lease(_, reply) => send(reply, Err(error)),
            Self::Renew(_, reply) => send(reply, Err(error)),
            Self::Inputs(_, reply) => send(reply, Err(error)),
            Self::Swap(_, reply) => send(reply, Err(error)),
            Self::Finish(_, reply) => send(reply, Err(error)),
            Self::Objects(_, reply) => send(reply, Err(error)),
            Self::DeletedTopics(reply) => send(reply, Err(error)),
            Self::RestoreTopic(_, reply) => send(reply, Err(error)),
        }
    }
}

impl Request {
    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Self::Register(_, reply) => reply.is_closed(),
            Self::OpenCommits { reply, .. } => reply.is_closed(),
            Self::Locate(_, reply) => reply.is_closed(),
            Self::Offsets(_, reply) => reply.is_closed(),
            Self::Barrier(reply) => reply.is_closed(),
            Self::LiveObjects(_, reply) => reply.is_closed(),
            Self::OpenWatch(_, _, reply) => reply.is_closed(),
            Self::Kafka(_, reply) => reply.is_closed(),
            Self::Walk(_, reply) => reply.is_closed(),
            Self::Upkeep(call) => call.is_abandoned(),
            Self::Call { .. }
            | Self::BackedUp(_)
            | Self::CloseCommits { .. }
            | Self::Interest(..)
            | Self::CloseWatch(_) => false,
        }
    }

    /// Answers that it did not happen.
    pub(crate) fn refuse(self, error: MetadataError) {
        match self {
            Self::Register(_, reply) => send(reply, Err(error)),
            Self::OpenCommits { reply, .. } => send(reply, Err(error)),
            Self::Locate(_, reply) => send(reply, Err(error)),
            Self::Offsets(_, reply) => send(reply, Err(error)),
            Self::Barrier(reply) => send(reply, Err(error)),
            Self::LiveObjects(_, reply) => send(reply, Err(error)),
            Self::OpenWatch(_, _, reply) => send(reply, Err(error)),
            Self::Kafka(_, reply) => send(reply, Err(error)),
            Self::Walk(_, reply) => send(reply, Err(error)),
            Self::Upkeep(call) => call.refuse(error),
            // their streams end with the sequencer
            Self::Call { .. }
            | Self::BackedUp(_)
            | Self::CloseCommits { .. }
            | Self::Interest(..)
            | Self::CloseWatch(_) => {}
        }
    }
}

/// An answer nobody waits for is nobody's loss.
fn send<T>(to: Reply<T>, value: Result<T, MetadataError>) {
    drop(to.send(value));
}

/// An answer that waits until what it tells of is durable.
pub(crate) trait Depart: Send {
    /// Sends it.
    fn leave(self: Box<Self>);
    /// Sends `error` instead.
    fn fail(self: Box<Self>, error: MetadataError);
}

struct Answer<T> {
    to: Reply<T>,
    value: Result<T, MetadataError>,
}

impl<T: Send> Depart for Answer<T> {
    fn leave(self: Box<Self>) {
        send(self.to, self.value);
    }

    fn fail(self: Box<Self>, error: MetadataError) {
        send(self.to, Err(error));
    }
}

/// What leaves when a group is durable, in order.
pub(crate) enum Departure {
    /// The answer to a call.
    Reply(Box<dyn Depart>),
    /// An item of a stream of commits.
    Commit {
        session: SessionId,
        stream: StreamId,
        to: Answers,
        item: Result<CommitAnswer, MetadataError>,
    },
    /// The later answer to a batch that had been held; goes to the session's stream of that moment.
    Hold(HoldOutcome),
}

impl Departure {
    pub(crate) fn reply<T: Send + 'static>(to: Reply<T>, value: Result<T, MetadataError>) -> Self {
        Self::Reply(Box::new(Answer { to, value }))
    }
}
