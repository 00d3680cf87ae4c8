//! Fetch responses, encoded by hand around the record batches so that these are not copied.
//!
//! Everything but the records goes into one buffer, and so do the patched batch headers; the answer is
//! that buffer's slices and the batches' in turn. The protocol crate's decoder checks the result in
//! tests, in every version.

use aquifer_format::batch::RecordBatch;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use std::ops::Range;

use super::{run::Selected, session::TopicKey};

/// First version with compact arrays and tagged fields.
const FLEXIBLE: i16 = 12;
/// Of a batch's header, what comes before the CRC's range and may be patched freely: base offset,
/// length, leader epoch.
const PATCHED_BYTES: usize = 16;
/// Where the leader epoch begins.
const LEADER_EPOCH_AT: usize = 12;
/// Batches up to this size are copied into the buffer: a segment of its own costs more than the copy,
/// both here and in the kernel (a vectored write takes 1,024 of them).
const COPIED_BYTES_MAX: usize = 1024;

/// What is answered for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionAnswer {
    pub(crate) topic: TopicKey,
    pub(crate) index: i32,
    pub(crate) error: i16,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable: i64,
    pub(crate) log_start: i64,
    /// Node id and epoch of the leader, where the client must learn it (KIP-951).
    pub(crate) leader: Option<(i32, i32)>,
    pub(crate) records: Vec<Selected>,
    pub(crate) records_bytes: u64,
}

impl PartitionAnswer {
    /// An error, and nothing else.
    pub(crate) fn error(topic: TopicKey, index: i32, code: i16) -> Self {
        Self {
            topic,
            index,
            error: code,
            high_watermark: -1,
            last_stable: -1,
            log_start: -1,
            leader: None,
            records: Vec::new(),
            records_bytes: 0,
        }
    }
}

/// Where a node can be reached (KIP-951).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) node: i32,
    pub(crate) host: String,
    pub(crate) port: i32,
    pub(crate) rack: Option<String>,
}

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct FetchAnswer {
    pub(crate) throttle_ms: i32,
    pub(crate) error: i16,
    pub(crate) session_id: i32,
    /// Whether the client reads committed records only: then it is told of aborted transactions.
    pub(crate) committed: bool,
    /// Partitions of one topic that follow each other make one entry.
    pub(crate) partitions: Vec<PartitionAnswer>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// Bytes that are written one after the other: slices of one buffer, and others' bytes.
#[derive(Default)]
struct Segments {
    buffer: BytesMut,
    pieces: Vec<Piece>,
    /// Where in the buffer the next piece of it begins.
    begun: usize,
}

enum Piece {
    Buffer(Range<usize>),
    Shared(Bytes),
}

impl Segments {
    fn share(&mut self, bytes: Bytes) {
        self.cut();
        self.pieces.push(Piece::Shared(bytes));
    }

    fn cut(&mut self) {
        if self.begun < self.buffer.len() {
            self.pieces
                .push(Piece::Buffer(self.begun..self.buffer.len()));
            self.begun = self.buffer.len();
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.cut();
        let buffer = self.buffer.freeze();
        self.pieces
            .into_iter()
            .map(|piece| match piece {
                Piece::Buffer(range) => buffer.slice(range),
                Piece::Shared(bytes) => bytes,
            })
            .collect()
    }
}

fn varint(buffer: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        let [low, ..] = value.to_le_bytes();
        buffer.put_u8(low | 0x80);
        value >>= 7;
    }
    let [low, ..] = value.to_le_bytes();
    buffer.put_u8(low);
}

fn small(length: usize) -> u32 {
    u32::try_from(length).expect("an answer is bounded far below 4 GiB")
}

/// An array's count, a string's or bytes' length: `compact` ones are one higher, as a varint.
fn length_32(buffer: &mut BytesMut, compact: bool, length: usize) {
    let length = small(length);
    if compact {
        varint(buffer, length + 1);
    } else {
        buffer.put_u32(length);
    }
}

fn string(buffer: &mut BytesMut, compact: bool, text: &str) {
    if compact {
        varint(buffer, small(text.len()) + 1);
    } else {
        let length = i16::try_from(text.len())
            .expect("it came in a request of this version, or is one that a topic can have");
        buffer.put_i16(length);
    }
    buffer.put_slice(text.as_bytes());
}

impl FetchAnswer {
    /// An error at the top, from version 7 on.
    pub(crate) fn error(code: i16) -> Self {
        Self {
            error: code,
            ..Self::default()
        }
    }

    /// The response body at `version`, in pieces.
    pub(crate) fn encode(&self, version: i16) -> Vec<Bytes> {
        let compact = version >= FLEXIBLE;
        let mut out = Segments::default();
        out.buffer.reserve(self.buffer_bytes());
        out.buffer.put_i32(self.throttle_ms);
        if version >= 7 {
            out.buffer.put_i16(self.error);
            out.buffer.put_i32(self.session_id);
        }
        let topics: Vec<&[PartitionAnswer]> = self
            .partitions
            .chunk_by(|a, b| a.topic == b.topic)
            .collect();
        length_32(&mut out.buffer, compact, topics.len());
        for partitions in topics {
            match &partitions[0].topic {
                TopicKey::Id(id) => out.buffer.put_u128(id.0.as_u128()),
                TopicKey::Name(name) => string(&mut out.buffer, compact, name),
            }
            length_32(&mut out.buffer, compact, partitions.len());
            for partition in partitions {
                self.encode_partition(partition, version, &mut out);
            }
            if compact {
                varint(&mut out.buffer, 0);
            }
        }
        if compact {
            self.encode_endpoints(version, &mut out.buffer);
        }
        out.finish()
    }

    /// About what the buffer will hold.
    fn buffer_bytes(&self) -> usize {
        let per_batch = |batch: &Selected| match batch.bytes.len() {
            small if small <= COPIED_BYTES_MAX => small,
            _ => 64,
        };
        let per_partition =
            |p: &PartitionAnswer| 64 + p.records.iter().map(per_batch).sum::<usize>();
        64 + self.partitions.iter().map(per_partition).sum::<usize>()
    }

    fn encode_partition(&self, partition: &PartitionAnswer, version: i16, out: &mut Segments) {
        let compact = version >= FLEXIBLE;
        let buffer = &mut out.buffer;
        buffer.put_i32(partition.index);
        buffer.put_i16(partition.error);
        buffer.put_i64(partition.high_watermark);
        buffer.put_i64(partition.last_stable);
        if version >= 5 {
            buffer.put_i64(partition.log_start);
        }
        match (compact, self.has_aborted(partition.error)) {
            (true, true) => varint(buffer, 1),
            (true, false) => varint(buffer, 0),
            (false, true) => buffer.put_i32(0),
            (false, false) => buffer.put_i32(-1),
        }
        if version >= 11 {
            // No preferred read replica: every agent reads the same bucket.
            buffer.put_i32(-1);
        }
        let bytes = usize::try_from(partition.records_bytes).expect("fits in memory");
        length_32(buffer, compact, bytes);
        for batch in &partition.records {
            encode_batch(batch, out);
        }
        if compact {
            let buffer = &mut out.buffer;
            match partition.leader {
                None => varint(buffer, 0),
                Some((node, epoch)) => {
                    // One tagged field, number 1, of 9 bytes: node, epoch, no tags of its own.
                    buffer.put_slice(&[1, 1, 9]);
                    buffer.put_i32(node);
                    buffer.put_i32(epoch);
                    varint(buffer, 0);
                }
            }
        }
    }

    /// Whether there is a list of aborted transactions (an empty one: there are none), or null. Kafka leaves
    /// it out where it has read a log for somebody who takes uncommitted records, and where that failed; what
    /// it finds no log for has one.
    fn has_aborted(&self, error: i16) -> bool {
        match ResponseError::try_from_code(error) {
            None => self.committed,
            Some(error) => matches!(
                error,
                ResponseError::UnknownTopicOrPartition | ResponseError::UnknownTopicId
            ),
        }
    }

    fn encode_endpoints(&self, version: i16, buffer: &mut BytesMut) {
        if version < 16 || self.endpoints.is_empty() {
            varint(buffer, 0);
            return;
        }
        let mut field = BytesMut::new();
        length_32(&mut field, true, self.endpoints.len());
        for endpoint in &self.endpoints {
            field.put_i32(endpoint.node);
            string(&mut field, true, &endpoint.host);
            field.put_i32(endpoint.port);
            match &endpoint.rack {
                Some(rack) => string(&mut field, true, rack),
                None => varint(&mut field, 0),
            }
            varint(&mut field, 0);
        }
        buffer.put_slice(&[1, 0]);
        varint(buffer, small(field.len()));
        buffer.put_slice(&field);
    }
}

fn encode_batch(batch: &Selected, out: &mut Segments) {
    let Some(patch) = batch.patch else {
        if batch.bytes.len() <= COPIED_BYTES_MAX {
            out.buffer.put_slice(&batch.bytes);
        } else {
            out.share(batch.bytes.clone());
        }
        return;
    };
    if patch.log_append_time.is_some()
        && let Ok(parsed) = RecordBatch::parse(batch.bytes.clone())
    {
        let [header, rest] =
            parsed.patched(batch.base_offset, patch.leader_epoch, patch.log_append_time);
        out.buffer.put_slice(&header);
        if rest.len() <= COPIED_BYTES_MAX {
            out.buffer.put_slice(&rest);
        } else {
            out.share(rest);
        }
        return;
    }
    out.buffer.put_i64(batch.base_offset.0);
    out.buffer
        .put_slice(&batch.bytes[size_of::<i64>()..LEADER_EPOCH_AT]);
    out.buffer.put_i32(patch.leader_epoch.0);
    if batch.bytes.len() <= COPIED_BYTES_MAX {
        out.buffer.put_slice(&batch.bytes[PATCHED_BYTES..]);
    } else {
        out.share(batch.bytes.slice(PATCHED_BYTES..));
    }
}
