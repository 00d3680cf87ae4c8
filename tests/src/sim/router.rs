//! The way from agents to the leader of the moment; while there is none, nobody answers.

use std::sync::Arc;

use aquifer_format::ids::{JournalSeq, LeaderTerm, ObjectId, SessionId};
use aquifer_metadata_api::{
    CommitChannel, Metadata, MetadataError, WatchChannel,
    kafka::KafkaCall,
    live::LiveObjects,
    locate::{LocateReply, LocateRequest, OffsetsReply, OffsetsRequest},
    mark::JournalMark,
    register::{RegisterRequest, Registration},
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

/// Passes calls on to the current leader.
#[derive(Debug, Default)]
pub(super) struct Router {
    leader: Mutex<Option<Arc<dyn Metadata>>>,
}

impl Router {
    /// Sets the leader, or that there is none.
    pub(super) fn set(&self, leader: Option<Arc<dyn Metadata>>) {
        *self.leader.lock() = leader;
    }

    fn leader(&self) -> Result<Arc<dyn Metadata>, MetadataError> {
        self.leader
            .lock()
            .clone()
            .ok_or_else(|| MetadataError::Unavailable {
                reason: "there is no leader".to_owned(),
                may_have_happened: false,
            })
    }
}

#[async_trait]
impl Metadata for Router {
    async fn register(&self, request: RegisterRequest) -> Result<Registration, MetadataError> {
        self.leader()?.register(request).await
    }

    async fn commits(&self, session: SessionId) -> Result<CommitChannel, MetadataError> {
        self.leader()?.commits(session).await
    }

    async fn locate(&self, request: LocateRequest) -> Result<LocateReply, MetadataError> {
        self.leader()?.locate(request).await
    }

    async fn offsets(&self, request: OffsetsRequest) -> Result<OffsetsReply, MetadataError> {
        self.leader()?.offsets(request).await
    }

    async fn barrier(&self) -> Result<(LeaderTerm, JournalSeq), MetadataError> {
        self.leader()?.barrier().await
    }

    async fn live_objects(&self, objects: Vec<ObjectId>) -> Result<LiveObjects, MetadataError> {
        self.leader()?.live_objects(objects).await
    }

    async fn watch(
        &self,
        session: SessionId,
        seen: Option<JournalMark>,
    ) -> Result<WatchChannel, MetadataError> {
        self.leader()?.watch(session, seen).await
    }

    async fn kafka(&self, call: KafkaCall) -> Result<Bytes, MetadataError> {
        self.leader()?.kafka(call).await
    }
}
