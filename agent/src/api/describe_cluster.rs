//! DescribeCluster (60), versions 0 to 2: brokers and controller, without topics (KIP-700).

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, DescribeClusterRequest, DescribeClusterResponse,
        describe_cluster_response::DescribeClusterBroker,
    },
    protocol::StrBytes,
};

use super::{
    Close, Reply, RequestContext,
    nodes::{CLUSTER_OPERATIONS, Nodes, OPERATIONS_NOT_ASKED},
};
use crate::broker::Broker;

/// Endpoint type of brokers; 2 are controllers, which clients cannot reach here (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: DescribeClusterRequest = context.decode(body)?;
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            return refuse(
                context,
                ResponseError::MismatchedEndpointType,
                "this endpoint is a broker's, not a controller's",
            );
        }
        _ => {
            return refuse(
                context,
                ResponseError::UnsupportedEndpointType,
                "unknown endpoint type",
            );
        }
    }
    let nodes = Nodes::of(broker, context);
    let candidates = nodes.candidates();
    let cluster = broker.session.registration().cluster;
    let controller = candidates.controller(cluster).map_or(-1, |node| node.id());
    let brokers = candidates
        .nodes()
        .map(|node| {
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(node.id()))
                .with_host(nodes.host(&node))
                .with_port(node.port())
                .with_rack(nodes.rack(&node))
        })
        .collect();
    let operations = if request.include_cluster_authorized_operations {
        CLUSTER_OPERATIONS
    } else {
        OPERATIONS_NOT_ASKED
    };
    context.reply(
        &DescribeClusterResponse::default()
            .with_endpoint_type(BROKERS)
            .with_cluster_id(StrBytes::from_string(cluster.to_string()))
            .with_controller_id(BrokerId(controller))
            .with_brokers(brokers)
            .with_cluster_authorized_operations(operations),
    )
}

/// Says what was wrong, and what kind of endpoint this is.
fn refuse(
    context: &RequestContext,
    error: ResponseError,
    why: &'static str,
) -> Result<Reply, Close> {
    context.reply(
        &DescribeClusterResponse::default()
            .with_endpoint_type(BROKERS)
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_static_str(why))),
    )
}
