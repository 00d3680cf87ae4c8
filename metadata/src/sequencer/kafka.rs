//! Calls of Kafka's protocol.

use aquifer_metadata_api::{
    MetadataError,
    kafka::{KafkaCall, LeaderApi, pinned_version},
};
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        AlterConfigsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
        DeleteTopicsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
        IncrementalAlterConfigsRequest, InitProducerIdRequest,
    },
    protocol::{Decodable, Encodable},
};

use super::{Sequencer, request::Reply};
use crate::state::decide::{self, Decided};

impl Sequencer {
    pub(super) fn kafka(&mut self, call: KafkaCall, reply: Reply<Bytes>) {
        let version = pinned_version(call.api);
        let answered = match call.api {
            LeaderApi::CreateTopics => decode::<CreateTopicsRequest>(call.body, version)
                .map(|r| decide::create_topics(&self.state, &*self.ports.rand, &r))
                .and_then(|decided| self.carry_out(decided, version)),
            LeaderApi::DeleteTopics => decode::<DeleteTopicsRequest>(call.body, version)
                .map(|r| {
                    let client_version = call.envelope.client_api_version;
                    decide::delete_topics(&self.state, &self.wall_clock(), client_version, &r)
                })
                .and_then(|decided| self.carry_out(decided, version)),
            LeaderApi::InitProducerId => decode::<InitProducerIdRequest>(call.body, version)
                .map(|r| decide::init_producer_id(&self.state, &r))
                .and_then(|decided| self.carry_out(decided, version)),
            LeaderApi::CreatePartitions => decode::<CreatePartitionsRequest>(call.body, version)
                .map(|r| decide::create_partitions(&self.state, &r))
                .and_then(|decided| self.carry_out(decided, version)),
            LeaderApi::AlterConfigs => decode::<AlterConfigsRequest>(call.body, version)
                .map(|r| decide::alter_configs(&self.state, &r))
                .and_then(|decided| self.carry_out(decided, version)),
            LeaderApi::IncrementalAlterConfigs => {
                decode::<IncrementalAlterConfigsRequest>(call.body, version)
                    .map(|r| decide::incremental_alter_configs(&self.state, &r))
                    .and_then(|decided| self.carry_out(decided, version))
            }
            LeaderApi::DeleteRecords => decode::<DeleteRecordsRequest>(call.body, version)
                .map(|r| decide::delete_records(&self.state, &r))
                .and_then(|decided| self.carry_out(decided, version)),
            LeaderApi::DescribeProducers => decode::<DescribeProducersRequest>(call.body, version)
                .map(|r| decide::describe_producers(&self.state, &r))
                .and_then(|response| encode(&response, version)),
            LeaderApi::DescribeLogDirs => decode::<DescribeLogDirsRequest>(call.body, version)
                .map(|r| decide::describe_log_dirs(&self.state, &r))
                .and_then(|response| encode(&response, version)),
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
            | LeaderApi::ListConfigResources => return self.group_call(call, reply),
        };
        self.answer(reply, answered);
    }

    fn carry_out<T: Encodable>(
        &mut self,
        decided: Decided<T>,
        version: i16,
    ) -> Result<Bytes, MetadataError> {
        // encoded first: what cannot be answered does not happen
        let bytes = encode(&decided.reply, version)?;
        let (_, holds) = self.accept(decided);
        self.settle(holds);
        Ok(bytes)
    }
}

pub(super) fn decode<T: Decodable>(mut body: Bytes, version: i16) -> Result<T, MetadataError> {
    T::decode(&mut body, version).map_err(|error| MetadataError::Refused {
        reason: format!("the body is not a request of version {version}: {error}"),
    })
}

pub(super) fn encode(body: &impl Encodable, version: i16) -> Result<Bytes, MetadataError> {
    let mut bytes = BytesMut::new();
    let encoded = body.encode(&mut bytes, version);
    encoded.map_err(|error| MetadataError::Refused {
        reason: format!("the response does not fit version {version}: {error}"),
    })?;
    Ok(bytes.freeze())
}
