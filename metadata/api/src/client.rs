//! The client trait.

use aquifer_format::ids::{JournalSeq, LeaderTerm, ObjectId, SessionId};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    commit::{CommitAnswer, CommitCall},
    error::MetadataError,
    kafka::KafkaCall,
    live::LiveObjects,
    locate::{LocateReply, LocateRequest, OffsetsReply, OffsetsRequest},
    mark::JournalMark,
    register::{RegisterRequest, Registration},
    watch::{Frame, InterestChange},
};

/// A pipelined stream of commits of one session. Dropping it ends the stream, never the session.
#[derive(Debug)]
pub struct CommitChannel {
    /// Commits, in number order. A closed channel means that the stream broke: open another and send
    /// every commit that was not completely answered again, in number order, with the same content.
    pub calls: mpsc::Sender<CommitCall>,
    /// Answers, in any order between commits; several per commit where batches are held. The stream
    /// ends (None) when it broke, and with an `Err` item where a call could not be taken; after
    /// either nothing more comes.
    pub answers: mpsc::Receiver<Result<CommitAnswer, MetadataError>>,
}

/// A watch of the cluster's state.
#[derive(Debug)]
pub struct WatchChannel {
    /// Changes of what extents this agent wants, and that it lives.
    pub interests: mpsc::Sender<InterestChange>,
    /// Frames in journal order; the first is a reset. None = the stream broke, watch again.
    pub frames: mpsc::Receiver<Frame>,
}

/// The metadata service, as agents and compactors see it.
///
/// Cancel safety: dropping a call's future never undoes it; its outcome is then unknown. Every method
/// may answer [`MetadataError::Unavailable`], and where that says `may_have_happened` the caller looks
/// before it tries again (commits are idempotent by (session, number) and are simply sent again).
#[async_trait]
pub trait Metadata: Send + Sync + std::fmt::Debug + 'static {
    /// Registers a writer: gives it a slot and a commit session. Each call makes a new session; the
    /// slot is kept where the request names the one that it had (and it has not been given away).
    async fn register(&self, request: RegisterRequest) -> Result<Registration, MetadataError>;

    /// Opens the session's stream of commits. An earlier stream of the same session is broken by it.
    /// Unknown or ended sessions: [`MetadataError::UnknownSession`].
    async fn commits(&self, session: SessionId) -> Result<CommitChannel, MetadataError>;

    /// Finds the extents that hold given offsets. Exact: watermarks in the reply are durable and not
    /// older than the call.
    async fn locate(&self, request: LocateRequest) -> Result<LocateReply, MetadataError>;

    /// Resolves offset specifications (latest, earliest, by timestamp). Exact, as [`Self::locate`].
    async fn offsets(&self, request: OffsetsRequest) -> Result<OffsetsReply, MetadataError>;

    /// The position of everything that the leader had decided when the call arrived, once that is
    /// durable. A watcher that has reached it (same or later term) has seen all of it: this is how an
    /// agent asks "is there really no such topic?".
    async fn barrier(&self) -> Result<(LeaderTerm, JournalSeq), MetadataError>;

    /// Says which of these objects the metadata knows. Exact, as [`Self::locate`]. More than
    /// [`aquifer_format::limits::LIVE_OBJECTS_MAX`] are [`MetadataError::Refused`]; an empty list asks only
    /// for the cluster and its upload epoch.
    async fn live_objects(&self, objects: Vec<ObjectId>) -> Result<LiveObjects, MetadataError>;

    /// Watches topics, watermarks, agents and, where interested, extents. `seen` is the newest row that
    /// the caller was shown by an earlier watch; see [`RegisterRequest::seen`].
    async fn watch(
        &self,
        session: SessionId,
        seen: Option<JournalMark>,
    ) -> Result<WatchChannel, MetadataError>;

    /// Passes a Kafka request at its pinned version ([`crate::kafka::pinned_version`]) to the leader and
    /// returns the encoded response body of the same version. Errors that Kafka has a code for are in
    /// that body.
    async fn kafka(&self, call: KafkaCall) -> Result<Bytes, MetadataError>;
}
