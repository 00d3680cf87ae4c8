//! DescribeLogDirs (35), versions 1 to 4: the size of each partition in the bucket, which only the metadata
//! leader knows.
//!
//! Tools ask every node and add up, so the answer has all partitions on the node that the client takes for
//! the controller and none on the others. They have the bucket without partitions: no directory at all would
//! be an error to the Java client.

use std::sync::Arc;

use aquifer_metadata_api::{MetadataError, kafka::LeaderApi};
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{DescribeLogDirsRequest, DescribeLogDirsResponse},
};

use super::{Close, Reply, RequestContext, nodes::Nodes};
use crate::{broker::Broker, leader};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let mut request: DescribeLogDirsRequest = context.decode(body)?;
    if !Nodes::of(broker, context).at_controller(broker, context) {
        request.topics = Some(Vec::new());
    }
    let answered: Result<DescribeLogDirsResponse, _> =
        leader::call(broker, context, LeaderApi::DescribeLogDirs, &request, 0).await;
    let response = answered.unwrap_or_else(|error| {
        tracing::debug!(%error, "log directories cannot be described");
        // No directory at all is an error to clients, also before version 3, which has no field for it.
        let code = match error {
            MetadataError::Refused { .. } => ResponseError::UnknownServerError,
            _ => ResponseError::RequestTimedOut,
        };
        DescribeLogDirsResponse::default().with_error_code(code.code())
    });
    context.reply(&response)
}
