//! A leader that a worker does not reach for a while, as if the worker were stopped (SIGSTOP).

use std::sync::Arc;

use aquifer_format::ids::{JournalSeq, LeaderTerm, ObjectId, SessionId};
use aquifer_metadata_api::{
    CommitChannel, Metadata, MetadataError, WatchChannel,
    kafka::KafkaCall,
    live::LiveObjects,
    locate::{LocateReply, LocateRequest, OffsetsReply, OffsetsRequest},
    mark::JournalMark,
    register::{RegisterRequest, Registration},
    upkeep::{
        DeletedTopics, Finish, InputsReply, InputsRequest, LeaseReply, LeaseRequest, ObjectsReply,
        ObjectsRequest, Renewal, Renewed, RestoreTopic, RestoredTopic, SwapReply, SwapRequest,
        Upkeep,
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

#[derive(Debug)]
pub(super) struct Gate {
    inner: Arc<dyn Upkeep>,
    open: watch::Receiver<bool>,
}

impl Gate {
    /// Open until the sender says otherwise.
    pub(super) fn new(inner: Arc<dyn Upkeep>) -> (watch::Sender<bool>, Arc<Self>) {
        let (opens, open) = watch::channel(true);
        (opens, Arc::new(Self { inner, open }))
    }

    async fn leader(&self) -> &dyn Upkeep {
        let _ = self.open.clone().wait_for(|open| *open).await;
        self.inner.as_ref()
    }
}

#[async_trait]
impl Metadata for Gate {
    async fn register(&self, request: RegisterRequest) -> Result<Registration, MetadataError> {
        self.leader().await.register(request).await
    }

    async fn commits(&self, session: SessionId) -> Result<CommitChannel, MetadataError> {
        self.leader().await.commits(session).await
    }

    async fn locate(&self, request: LocateRequest) -> Result<LocateReply, MetadataError> {
        self.leader().await.locate(request).await
    }

    async fn offsets(&self, request: OffsetsRequest) -> Result<OffsetsReply, MetadataError> {
        self.leader().await.offsets(request).await
    }

    async fn barrier(&self) -> Result<(LeaderTerm, JournalSeq), MetadataError> {
        self.leader().await.barrier().await
    }

    async fn live_objects(&self, objects: Vec<ObjectId>) -> Result<LiveObjects, MetadataError> {
        self.leader().await.live_objects(objects).await
    }

    async fn watch(
        &self,
        session: SessionId,
        mark: Option<JournalMark>,
    ) -> Result<WatchChannel, MetadataError> {
        self.leader().await.watch(session, mark).await
    }

    async fn kafka(&self, call: KafkaCall) -> Result<Bytes, MetadataError> {
        self.leader().await.kafka(call).await
    }
}

#[async_trait]
impl Upkeep for Gate {
    async fn lease_job(&self, request: LeaseRequest) -> Result<LeaseReply, MetadataError> {
        self.leader().await.lease_job(request).await
    }

    async fn renew_job(&self, renewal: Renewal) -> Result<Renewed, MetadataError> {
        self.leader().await.renew_job(renewal).await
    }

    async fn job_inputs(&self, request: InputsRequest) -> Result<InputsReply, MetadataError> {
        self.leader().await.job_inputs(request).await
    }

    async fn swap(&self, request: SwapRequest) -> Result<SwapReply, MetadataError> {
        self.leader().await.swap(request).await
    }

    async fn finish_job(&self, finish: Finish) -> Result<(), MetadataError> {
        self.leader().await.finish_job(finish).await
    }

    async fn objects(&self, request: ObjectsRequest) -> Result<ObjectsReply, MetadataError> {
        self.leader().await.objects(request).await
    }

    async fn deleted_topics(&self) -> Result<DeletedTopics, MetadataError> {
        self.leader().await.deleted_topics().await
    }

    async fn restore_topic(&self, request: RestoreTopic) -> Result<RestoredTopic, MetadataError> {
        self.leader().await.restore_topic(request).await
    }
}
