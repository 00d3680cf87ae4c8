//! The calls of compactors and operators.

use aquifer_metadata_api::{
    Upkeep,
    grpc::{
        malformed,
        proto::{self, upkeep_server},
        wire::upkeep as wire,
    },
};
use tonic::{Request, Response, Status};

use super::service::{Service, answered, failed};

#[tonic::async_trait]
impl upkeep_server::Upkeep for Service {
    async fn lease_job(
        &self,
        request: Request<proto::LeaseJobRequest>,
    ) -> Result<Response<proto::LeaseJobReply>, Status> {
        let leader = self.leader()?;
        let request = wire::lease_from(request.get_ref());
        let reply = leader.lease_job(request).await.map_err(failed(&leader))?;
        Ok(answered(&leader, wire::lease_reply_to(&reply)))
    }

    async fn renew_job(
        &self,
        request: Request<proto::RenewJobRequest>,
    ) -> Result<Response<proto::RenewJobReply>, Status> {
        let leader = self.leader()?;
        let renewal = wire::renewal_from(request.into_inner()).map_err(malformed)?;
        let renewed = leader.renew_job(renewal).await.map_err(failed(&leader))?;
        Ok(answered(&leader, wire::renewed_to(&renewed)))
    }

    async fn job_inputs(
        &self,
        request: Request<proto::JobInputsRequest>,
    ) -> Result<Response<proto::JobInputsReply>, Status> {
        let leader = self.leader()?;
        let request = wire::inputs_from(request.into_inner()).map_err(malformed)?;
        let reply = leader.job_inputs(request).await.map_err(failed(&leader))?;
        Ok(answered(&leader, wire::inputs_reply_to(&reply)))
    }

    async fn swap(
        &self,
        request: Request<proto::SwapRequest>,
    ) -> Result<Response<proto::SwapReply>, Status> {
        let leader = self.leader()?;
        let request = wire::swap_from(request.into_inner()).map_err(malformed)?;
        let reply = leader.swap(request).await.map_err(failed(&leader))?;
        Ok(answered(&leader, wire::swap_reply_to(&reply)))
    }

    async fn finish_job(
        &self,
        request: Request<proto::FinishJobRequest>,
    ) -> Result<Response<proto::FinishJobReply>, Status> {
        let leader = self.leader()?;
        let finish = wire::finish_from(request.into_inner()).map_err(malformed)?;
        leader.finish_job(finish).await.map_err(failed(&leader))?;
        Ok(answered(&leader, proto::FinishJobReply {}))
    }

    async fn objects(
        &self,
        request: Request<proto::ObjectsRequest>,
    ) -> Result<Response<proto::ObjectsReply>, Status> {
        let leader = self.leader()?;
        let request = wire::objects_from(request.into_inner()).map_err(malformed)?;
        let reply = leader.objects(request).await.map_err(failed(&leader))?;
        Ok(answered(&leader, wire::objects_reply_to(&reply)))
    }

    async fn deleted_topics(
        &self,
        _: Request<proto::DeletedTopicsRequest>,
    ) -> Result<Response<proto::DeletedTopicsReply>, Status> {
        let leader = self.leader()?;
        let topics = leader.deleted_topics().await.map_err(failed(&leader))?;
        Ok(answered(&leader, wire::deleted_topics_to(&topics)))
    }

    async fn restore_topic(
        &self,
        request: Request<proto::RestoreTopicRequest>,
    ) -> Result<Response<proto::RestoreTopicReply>, Status> {
        let leader = self.leader()?;
        let request = wire::restore_from(request.into_inner()).map_err(malformed)?;
        let restored = leader
            .restore_topic(request)
            .await
            .map_err(failed(&leader))?;
        Ok(answered(&leader, wire::restored_to(&restored)))
    }
}
