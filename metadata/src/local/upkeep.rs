//! Calls of compactors in the leader's own process.

use aquifer_format::ids::UploadEpoch;
use aquifer_metadata_api::{
    MetadataError, Upkeep,
    upkeep::{
        DeletedTopics, Finish, InputsReply, InputsRequest, LeaseReply, LeaseRequest, ObjectsReply,
        ObjectsRequest, Renewal, Renewed, RestoreTopic, RestoredTopic, SwapReply, SwapRequest,
    },
};
use async_trait::async_trait;

use super::LocalMetadata;
use crate::sequencer::request::{Reply, Request, UpkeepCall};

impl LocalMetadata {
    /// A backup has everything that was durable when the upload epoch was `epoch`.
    pub(crate) async fn backed_up(&self, epoch: UploadEpoch) {
        // without a leader nothing waits for it
        let _ = self.requests.send(Request::BackedUp(epoch)).await;
    }

    async fn upkeep<T>(
        &self,
        call: impl FnOnce(Reply<T>) -> UpkeepCall,
    ) -> Result<T, MetadataError> {
        self.call(|reply| Request::Upkeep(Box::new(call(reply))))
            .await
    }
}

#[async_trait]
impl Upkeep for LocalMetadata {
    async fn lease_job(&self, request: LeaseRequest) -> Result<LeaseReply, MetadataError> {
        self.upkeep(|reply| UpkeepCall::Lease(request, reply)).await
    }

    async fn renew_job(&self, renewal: Renewal) -> Result<Renewed, MetadataError> {
        self.upkeep(|reply| UpkeepCall::Renew(renewal, reply)).await
    }

    async fn job_inputs(&self, request: InputsRequest) -> Result<InputsReply, MetadataError> {
        self.upkeep(|reply| UpkeepCall::Inputs(request, reply))
            .await
    }

    async fn swap(&self, request: SwapRequest) -> Result<SwapReply, MetadataError> {
        self.upkeep(|reply| UpkeepCall::Swap(request, reply)).await
    }

    async fn finish_job(&self, finish: Finish) -> Result<(), MetadataError> {
        self.upkeep(|reply| UpkeepCall::Finish(finish, reply)).await
    }

    async fn objects(&self, request: ObjectsRequest) -> Result<ObjectsReply, MetadataError> {
        self.upkeep(|reply| UpkeepCall::Objects(request, reply))
            .await
    }

    async fn deleted_topics(&self) -> Result<DeletedTopics, MetadataError> {
        self.upkeep(UpkeepCall::DeletedTopics).await
    }

    async fn restore_topic(&self, request: RestoreTopic) -> Result<RestoredTopic, MetadataError> {
        self.upkeep(|reply| UpkeepCall::RestoreTopic(request, reply))
            .await
    }
}
