//! Clients of the simulation: idempotent producers with five requests in flight, tailing readers, and one
//! that reads everything at the end. They speak the wire protocol through an in-memory pipe.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use aquifer_format::{
    batch::BatchBuilder,
    codec::Codec,
    ids::{ProducerEpoch, ProducerId, Sequence},
    record,
};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        CreateTopicsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest,
        ProduceRequest, ResponseHeader,
        create_topics_request::CreatableTopic,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    },
    protocol::{Decodable, HeaderVersion, Request},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::world::{TOPIC, World};
use crate::{
    fetch::{self, Ask},
    wire::{encode, first_result, produce_request, topic_name},
};

/// Requests that a stock producer has under way on a connection.
const IN_FLIGHT: usize = 5;

/// A connection to an agent; every failure means: open another.
pub(super) struct Link {
    io: DuplexStream,
    correlation: i32,
}

impl Link {
    pub(super) fn new(io: DuplexStream) -> Self {
        Self { io, correlation: 0 }
    }

    async fn send<R: Request>(&mut self, version: i16, request: &R) -> Option<i32> {
        self.correlation += 1;
        self.io
            .write_all(&encode(self.correlation, version, request))
            .await
            .ok()?;
        Some(self.correlation)
    }

    /// The answer to the oldest unanswered request; None after 30 s, as stock clients do.
    async fn receive<R: Request>(&mut self, world: &World, version: i16) -> Option<R::Response> {
        let read = async {
            let length = self.io.read_i32().await.ok()?;
            let mut frame = vec![0; usize::try_from(length).ok()?];
            self.io.read_exact(&mut frame).await.ok()?;
            Some(Bytes::from(frame))
        };
        let mut frame = world.ports.timeout(Duration::from_secs(30), read).await??;
        let header = <R::Response as HeaderVersion>::header_version(version);
        ResponseHeader::decode(&mut frame, header).expect("a response header");
        Some(R::Response::decode(&mut frame, version).expect("a response body"))
    }

    pub(super) async fn call<R: Request>(
        &mut self,
        world: &World,
        version: i16,
        request: &R,
    ) -> Option<R::Response> {
        self.send(version, request).await?;
        self.receive::<R>(world, version).await
    }
}

/// Creates the topic, however often it takes.
pub(super) async fn create_topic(world: &World, partitions: i32) {
    let topic = CreatableTopic::default()
        .with_name(topic_name(TOPIC))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    loop {
        let mut link = world.connect().await;
        if let Some(response) = link.call(world, 7, &request).await {
            let code = response.topics[0].error_code;
            // 36: an earlier try whose answer was lost.
            if code == 0 || code == 36 {
                return;
            }
        }
        world.pause(100).await;
    }
}

async fn producer_id(world: &World) -> (i64, i16) {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1)
        .with_transaction_timeout_ms(60_000);
    loop {
        let mut link = world.connect().await;
        if let Some(response) = link.call(world, 4, &request).await
            && response.error_code == 0
        {
            return (response.producer_id.0, response.producer_epoch);
        }
        world.pause(100).await;
    }
}

/// A batch that is not acknowledged.
struct Batch {
    values: Vec<String>,
    bytes: Bytes,
}

struct Sender {
    id: u64,
    producer: (i64, i16),
    sequence: i32,
    made: u64,
}

impl Sender {
    fn next(&mut self, world: &World) -> Batch {
        let count = 1 + world.random(3);
        let values: Vec<String> = (0..count)
            .map(|i| format!("p{}-{}-{i}", self.id, self.made))
            .collect();
        let (id, epoch) = self.producer;
        let mut builder = BatchBuilder::new(Codec::None).producer(
            ProducerId(id),
            ProducerEpoch(epoch),
            Sequence(self.sequence),
        );
        for value in &values {
            builder.append(
                world.ports.clock.unix_millis(),
                None,
                Some(value.as_bytes()),
                &[],
            );
        }
        self.made += 1;
        self.sequence += i32::try_from(count).expect("small");
        world
            .history()
            .sent
            .entry(self.id)
            .or_default()
            .extend(values.clone());
        Batch {
            values,
            bytes: builder.build().expect("a small batch").bytes,
        }
    }
}

/// Produces the plan's batches; returns when all are acknowledged.
pub(super) async fn produce(world: Arc<World>, id: u64) {
    let partition = i32::try_from(id).expect("few") % world.plan.partitions;
    let producer = producer_id(&world).await;
    let mut sender = Sender {
        id,
        producer,
        sequence: 0,
        made: 0,
    };
    let mut unacked: VecDeque<Batch> = VecDeque::new();
    while sender.made < world.plan.batches || !unacked.is_empty() {
        let mut link = world.connect().await;
        // Everything that is not acknowledged goes again, in order, with its old sequences.
        let mut sent = 0;
        loop {
            while unacked.len() < IN_FLIGHT && sender.made < world.plan.batches {
                unacked.push_back(sender.next(&world));
            }
            while sent < unacked.len() {
                let request = produce_request(TOPIC, partition, -1, unacked[sent].bytes.clone());
                if link.send(9, &request).await.is_none() {
                    break;
                }
                sent += 1;
            }
            if sent == 0 {
                break;
            }
            let Some(response) = link.receive::<ProduceRequest>(&world, 9).await else {
                break;
            };
            let (code, offset, _) = first_result(&response);
            world.trace(format!("producer {id}: {code} at {partition}/{offset}"));
            match code {
                0 => {
                    let batch = unacked.pop_front().expect("one was sent");
                    sent -= 1;
                    {
                        let mut history = world.history();
                        for (value, offset) in batch.values.into_iter().zip(offset..) {
                            history.acked.push((partition, offset, value));
                        }
                    }
                    if world.random(8) == 0 {
                        look(&world, partition, offset).await;
                    }
                }
                // Fatal for an idempotent producer whose earlier batches were all acknowledged.
                2 | 10 | 45 | 47 | 59 | 87 => {
                    let text = format!(
                        "refused: error {code} for producer {id}, {:?}",
                        unacked[0].values
                    );
                    world.history().violations.push(text);
                    return;
                }
                _ => break,
            }
            if world.random(4) == 0 {
                world.pause(world.random(200)).await;
            }
        }
        drop(link);
        world.pause(50 + world.random(100)).await;
    }
    world.note_produced();
    world.trace(format!("producer {id}: done"));
}

/// Reads what was just acknowledged through whatever agent; it is never out of range.
async fn look(world: &World, partition: i32, offset: i64) {
    let mut link = world.connect().await;
    let mut next = offset;
    fetch_once(world, &mut link, partition, &mut next).await;
}

/// Follows a partition from its beginning until the world has calmed down and its end is reached.
pub(super) async fn tail(world: Arc<World>, partition: i32) {
    let mut next = 0;
    loop {
        let mut link = world.connect().await;
        // A new connection now and then, so that every agent serves every offset.
        for _ in 0..1 + world.random(20) {
            let calm = world.is_calm();
            let Some(count) = fetch_once(&world, &mut link, partition, &mut next).await else {
                break;
            };
            if calm && count == 0 {
                return;
            }
        }
        world.pause(world.random(50)).await;
    }
}

/// One fetch: how many records came; None = look for another agent.
async fn fetch_once(
    world: &World,
    link: &mut Link,
    partition: i32,
    next: &mut i64,
) -> Option<usize> {
    let ask = Ask {
        max_wait_ms: 500,
        ..Ask::default()
    };
    let request = fetch::request(TOPIC, &[(partition, *next)], ask);
    let response = link.call::<FetchRequest>(world, 12, &request).await?;
    let data = fetch::partition(&response, partition);
    if data.error_code == 1 {
        let text = format!(
            "out of range: {partition}/{next}, high watermark {}",
            data.high_watermark
        );
        world.history().violations.push(text);
    }
    if data.error_code != 0 {
        world.trace(format!("reader of {partition}: error {}", data.error_code));
        return None;
    }
    let mut count = 0;
    for batch in fetch::batches(data) {
        for record in record::records(&batch, 1 << 20).expect("readable records") {
            let record = record.expect("a readable record");
            let offset = batch.header.base_offset.0 + i64::from(record.offset_delta);
            if offset < *next {
                continue;
            }
            let value = record.value.unwrap_or_default();
            world
                .history()
                .note_read(partition, offset, &String::from_utf8_lossy(&value));
            if offset != *next {
                let text = format!("skipped: reader of {partition} wanted {next}, got {offset}");
                world.history().violations.push(text);
            }
            *next = offset + 1;
            count += 1;
        }
    }
    world.trace(format!(
        "reader of {partition}: {count} records, next {next}"
    ));
    Some(count)
}

/// Reads every partition from its beginning to the end that ListOffsets names.
pub(super) async fn read_everything(world: Arc<World>) {
    let world = &*world;
    for partition in 0..world.plan.partitions {
        let end = latest(world, partition).await;
        world.history().note_end(partition, end);
        let mut next = 0;
        while next < end {
            let mut link = world.connect().await;
            while next < end
                && fetch_once(world, &mut link, partition, &mut next)
                    .await
                    .is_some()
            {}
        }
    }
}

async fn latest(world: &World, partition: i32) -> i64 {
    let wanted = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(TOPIC))
        .with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    loop {
        let mut link = world.connect().await;
        if let Some(response) = link.call(world, 7, &request).await {
            let found = &response.topics[0].partitions[0];
            if found.error_code == 0 {
                return found.offset;
            }
        }
        world.pause(100).await;
    }
}
