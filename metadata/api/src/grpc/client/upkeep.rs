//! Calls of compactors over the wire. All may be made again.

use async_trait::async_trait;

use super::{GrpcMetadata, Repeat};
use crate::{
    error::MetadataError,
    grpc::{proto, wire::upkeep as wire},
    upkeep::{
        DeletedTopics, Finish, InputsReply, InputsRequest, LeaseReply, LeaseRequest, ObjectsReply,
        ObjectsRequest, Renewal, Renewed, RestoreTopic, RestoredTopic, SwapReply, SwapRequest,
        Upkeep,
    },
};

#[async_trait]
impl Upkeep for GrpcMetadata {
    async fn lease_job(&self, request: LeaseRequest) -> Result<LeaseReply, MetadataError> {
        self.ask(
            Repeat::Always,
            &wire::lease_to(&request),
            |connection, request| async move { connection.upkeep_client().lease_job(request).await },
            wire::lease_reply_from,
        )
        .await
    }

    async fn renew_job(&self, request: Renewal) -> Result<Renewed, MetadataError> {
        self.ask(
            Repeat::Always,
            &wire::renewal_to(&request),
            |connection, request| async move { connection.upkeep_client().renew_job(request).await },
            wire::renewed_from,
        )
        .await
    }

    async fn job_inputs(&self, request: InputsRequest) -> Result<InputsReply, MetadataError> {
        self.ask(
            Repeat::Always,
            &wire::inputs_to(&request),
            |connection, request| async move { connection.upkeep_client().job_inputs(request).await },
            wire::inputs_reply_from,
        )
        .await
    }

    async fn swap(&self, request: SwapRequest) -> Result<SwapReply, MetadataError> {
        let asked = request.ranges.len();
        let request = wire::swap_to(&request);
        let answer = self.ask(
            Repeat::Always,
            &request,
            |connection, request| async move { connection.upkeep_client().swap(request).await },
            |reply| wire::swap_reply_from(&reply, asked),
        );
        Box::pin(answer).await
    }

    async fn finish_job(&self, request: Finish) -> Result<(), MetadataError> {
        self.ask(
            Repeat::Always,
            &wire::finish_to(&request),
            |connection, request| async move { connection.upkeep_client().finish_job(request).await },
            |_: proto::FinishJobReply| Ok(()),
        )
        .await
    }

    async fn objects(&self, request: ObjectsRequest) -> Result<ObjectsReply, MetadataError> {
        self.ask(
            Repeat::Always,
            &wire::objects_to(&request),
            |connection, request| async move { connection.upkeep_client().objects(request).await },
            wire::objects_reply_from,
        )
        .await
    }

    async fn deleted_topics(&self) -> Result<DeletedTopics, MetadataError> {
        self.ask(
            Repeat::Always,
            &proto::DeletedTopicsRequest {},
            |connection, request| async move {
                connection.upkeep_client().deleted_topics(request).await
            },
            wire::deleted_topics_from,
        )
        .await
    }

    /// One whose answer was lost may be refused when it is made again: the topic is there by then. So it is made
    /// again only where it surely did not happen.
    async fn restore_topic(&self, request: RestoreTopic) -> Result<RestoredTopic, MetadataError> {
        self.ask(
            Repeat::IfNotHappened,
            &wire::restore_to(&request),
            |connection, request| async move {
                connection.upkeep_client().restore_topic(request).await
            },
            wire::restored_from,
        )
        .await
    }
}
