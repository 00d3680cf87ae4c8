//! FindCoordinator (10), versions 0 to 6: which broker coordinates a group or a transactional id.
//!
//! Coordination is the metadata leader's, so any agent will do: the one that is asked names itself, at the node
//! id that was asked, which saves the client a connection. While it must not be named, or is of another zone,
//! the key chooses one of the client's zone. Transactions do not work yet: InitProducerId says so at once, where
//! COORDINATOR_NOT_AVAILABLE would make clients ask for ever. Share coordinators (key type 2) are
//! INVALID_REQUEST, as with a Kafka that has share groups switched off.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, FindCoordinatorRequest, FindCoordinatorResponse,
        find_coordinator_response::Coordinator,
    },
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext, nodes::Nodes};
use crate::{broker::Broker, placement::Node};

/// Key types: group, transactional id.
const KEY_TYPES: std::ops::RangeInclusive<i8> = 0..=1;
/// First version with a list of keys (KIP-699).
const BATCHED_SINCE: i16 = 4;
/// The text of an answer without an error, in the versions that have one for the whole answer.
const NO_ERROR: &str = "NONE";

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: FindCoordinatorRequest = context.decode(body)?;
    let nodes = Nodes::of(broker, context);
    let asked = nodes.asked(broker, context);
    let find = |key: &StrBytes| coordinator(&nodes, asked, request.key_type, key);
    if context.api_version >= BATCHED_SINCE {
        let coordinators = request.coordinator_keys.iter().map(find).collect();
        return context.reply(&FindCoordinatorResponse::default().with_coordinators(coordinators));
    }
    let found = find(&request.key);
    let mut response = FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port);
    if context.api_version >= 1 {
        let text = match found.error_code {
            0 => Some(StrBytes::from_static_str(NO_ERROR)),
            _ => found.error_message,
        };
        response = response.with_error_message(text);
    }
    context.reply(&response)
}

fn coordinator(
    nodes: &Nodes,
    asked: Option<Node<'_>>,
    key_type: i8,
    key: &StrBytes,
) -> Coordinator {
    let failed = |error: ResponseError, why| {
        Coordinator::default()
            .with_key(key.clone())
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_static_str(why)))
    };
    if !KEY_TYPES.contains(&key_type) {
        return failed(
            ResponseError::InvalidRequest,
            "there are no coordinators of this type",
        );
    }
    match asked.or_else(|| nodes.candidates().coordinator(key)) {
        Some(node) => Coordinator::default()
            .with_key(key.clone())
            .with_node_id(BrokerId(node.id()))
            .with_host(nodes.host(&node))
            .with_port(node.port()),
        None => failed(
            ResponseError::CoordinatorNotAvailable,
            "no agent is available just now",
        ),
    }
}
