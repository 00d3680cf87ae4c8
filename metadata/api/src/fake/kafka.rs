//! Kafka calls to the fake.

mod configs;
mod records;
mod topics;

use std::fmt::Display;

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{InitProducerIdRequest, InitProducerIdResponse},
    protocol::{Decodable, Encodable},
};

use super::core::Core;
use crate::{
    error::MetadataError,
    kafka::{KafkaCall, LeaderApi, pinned_version},
};

pub(super) fn answer(core: &mut Core, call: KafkaCall) -> Result<Bytes, MetadataError> {
    match call.api {
        LeaderApi::CreateTopics => with(core, call, topics::create_topics),
        LeaderApi::DeleteTopics => with(core, call, topics::delete_topics),
        LeaderApi::CreatePartitions => with(core, call, topics::create_partitions),
        LeaderApi::InitProducerId => with(core, call, init_producer_id),
        LeaderApi::AlterConfigs => with(core, call, configs::alter_configs),
        LeaderApi::IncrementalAlterConfigs => with(core, call, configs::incremental_alter_configs),
        LeaderApi::DeleteRecords => with(core, call, records::delete_records),
        LeaderApi::DescribeProducers => with(core, call, records::describe_producers),
        LeaderApi::DescribeLogDirs => with(core, call, records::describe_log_dirs),
        LeaderApi::OffsetCommit
        | LeaderApi::OffsetFetch
        | LeaderApi::JoinGroup
        | LeaderApi::Heartbeat
        | LeaderApi::LeaveGroup
        | LeaderApi::SyncGroup
        | LeaderApi::DescribeGroups
        | LeaderApi::ListGroups
        | LeaderApi::DescribeConfigs
        | LeaderApi::DeleteGroups
        | LeaderApi::OffsetDelete
        | LeaderApi::ConsumerGroupHeartbeat
        | LeaderApi::ConsumerGroupDescribe
        | LeaderApi::ListConfigResources => Err(refused("the fake has no groups")),
    }
}

fn refused(why: impl Display) -> MetadataError {
    MetadataError::Refused {
        reason: why.to_string(),
    }
}

/// Decodes, answers, publishes what changed, encodes.
fn with<Q: Decodable, A: Encodable>(
    core: &mut Core,
    call: KafkaCall,
    answer: impl FnOnce(&mut Core, Q) -> A,
) -> Result<Bytes, MetadataError> {
    let version = pinned_version(call.api);
    let mut body = call.body;
    let request = Q::decode(&mut body, version).map_err(refused)?;
    let response = answer(core, request);
    core.publish();
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, version).map_err(refused)?;
    Ok(bytes.freeze())
}

fn init_producer_id(core: &mut Core, request: InitProducerIdRequest) -> InitProducerIdResponse {
    if request.transactional_id.is_some() {
        return InitProducerIdResponse::default()
            .with_error_code(ResponseError::InvalidRequest.code())
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
    }
    let id = core.next_producer_id();
    InitProducerIdResponse::default()
        .with_producer_id(id.0.into())
        .with_producer_epoch(0)
}
