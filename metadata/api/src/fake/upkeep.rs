//! Jobs, swaps and the trash of the fake: one job at a time, of all small objects.

use async_trait::async_trait;

use super::Fake;
use crate::{
    error::MetadataError,
    upkeep::{
        DeletedTopics, Finish, InputsReply, InputsRequest, LeaseReply, LeaseRequest, ObjectsReply,
        ObjectsRequest, Renewal, Renewed, RestoreTopic, RestoredTopic, SwapReply, SwapRequest,
        Upkeep,
    },
};

#[async_trait]
impl Upkeep for Fake {
    async fn lease_job(&self, request: LeaseRequest) -> Result<LeaseReply, MetadataError> {
        let _ = request;
        todo!("builder C")
    }

    async fn renew_job(&self, request: Renewal) -> Result<Renewed, MetadataError> {
        let _ = request;
        todo!("builder C")
    }

    async fn job_inputs(&self, request: InputsRequest) -> Result<InputsReply, MetadataError> {
        let _ = request;
        todo!("builder C")
    }

    async fn swap(&self, request: SwapRequest) -> Result<SwapReply, MetadataError> {
        let _ = request;
        todo!("builder C")
    }

    async fn finish_job(&self, request: Finish) -> Result<(), MetadataError> {
        let _ = request;
        todo!("builder C")
    }

    async fn objects(&self, request: ObjectsRequest) -> Result<ObjectsReply, MetadataError> {
        let _ = request;
        todo!("builder C")
    }

    async fn deleted_topics(&self) -> Result<DeletedTopics, MetadataError> {
        todo!("builder C")
    }

    async fn restore_topic(&self, request: RestoreTopic) -> Result<RestoredTopic, MetadataError> {
        let _ = request;
        todo!("builder C")
    }
}
