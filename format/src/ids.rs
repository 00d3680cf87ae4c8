//! Typed identifiers and counters.
//!
//! Every number that means something of its own is a newtype, so that a signature with two of them
//! cannot be called with the arguments swapped. None of them validates: the bounds live where the
//! value enters the system (the frame guard, `State`), and [`crate::limits`] names them.

use std::fmt;

use uuid::Uuid;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A position in a partition's log, counted in records from 0.
    Offset(i64)
);
number!(
    /// Kafka's partition leader epoch. Here it is one constant per topic id (see
    /// `docs/architecture.md`).
    LeaderEpoch(i32)
);
number!(
    /// Kafka's partition index within its topic, from 0.
    PartitionIndex(i32)
);
number!(
    /// Identity of an idempotent or transactional producer, from 0. Batches of plain producers carry
    /// [`ProducerId::NONE`].
    ProducerId(i64)
);
number!(
    /// Generation of a producer id; a higher one fences the lower ones.
    ProducerEpoch(i16)
);
number!(
    /// Position of a record in one producer's stream to one partition; wraps from 2^31-1 to 0.
    Sequence(i32)
);
number!(
    /// Counter that a restored cluster, or one that accepted a loss, raises (never reused).
    Incarnation(u32)
);
number!(
    /// Minutes of the cluster's life, counted by the metadata leader through the journal. No two
    /// machines' clocks are ever compared; ages are differences of upload epochs.
    UploadEpoch(u32)
);
number!(
    /// Registration slot of an agent (or another writer of objects). Kafka node ids are
    /// `slot * 16 + i`.
    WriterSlot(u32)
);
number!(
    /// Term of a metadata leader: it rises with each take-over of the lease.
    LeaderTerm(u64)
);
number!(
    /// Dense position of a row in the metadata journal, from 1.
    JournalSeq(u64)
);
number!(
    /// A commit session of one agent registration.
    SessionId(u64)
);
number!(
    /// Dense number of a commit within its session, from 1, given when the commit is sent.
    CommitNumber(u64)
);

impl WriterSlot {
    /// What compactors write under: they register nowhere. Their objects' unique numbers are 64 random bits.
    pub const COMPACTOR: Self = Self(u32::MAX);
}

impl ProducerId {
    /// What batches of producers without an id carry.
    pub const NONE: Self = Self(-1);
}

impl ProducerEpoch {
    /// What batches of producers without an id carry.
    pub const NONE: Self = Self(-1);
}

impl Sequence {
    /// What batches of producers without an id carry.
    pub const NONE: Self = Self(-1);

    /// The sequence `records` further on, wrapping from 2^31-1 to 0 as Kafka's
    /// `DefaultRecordBatch.incrementSequence` does.
    #[must_use]
    pub fn plus(self, records: u32) -> Self {
        let sum = i64::from(self.0) + i64::from(records);
        Self(i32::try_from(sum % (1 << 31)).unwrap_or(i32::MAX))
    }
}

impl Offset {
    /// The offset `records` further on (saturating).
    #[must_use]
    pub fn plus(self, records: u32) -> Self {
        Self(self.0.saturating_add(i64::from(records)))
    }
}

/// Identity of a cluster, shown to clients in Kafka's 22-character form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub Uuid);

/// Identity of a topic; a topic that is deleted and created again gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub Uuid);

/// One partition of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The topic.
    pub topic: TopicId,
    /// Its partition.
    pub partition: PartitionIndex,
}

impl PartitionId {
    /// The partition `partition` of `topic`.
    #[must_use]
    pub fn new(topic: TopicId, partition: PartitionIndex) -> Self {
        Self { topic, partition }
    }
}

/// How far an object has come through the compactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectLevel {
    /// Written by an agent; batches have the producer's base offsets, the extents have the real ones.
    L0,
    /// Merged by the compactor; batches have absolute offsets.
    L1,
    /// A large partition's own object; batches have absolute offsets.
    L2,
}

/// Identity of an object in the bucket; [`crate::key`] turns it into a key and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Incarnation of the cluster that wrote it.
    pub incarnation: Incarnation,
    /// Upload epoch at which its upload began.
    pub upload_epoch: UploadEpoch,
    /// Who wrote it.
    pub writer: WriterSlot,
    /// Level of its contents.
    pub level: ObjectLevel,
    /// Unique for (incarnation, upload epoch, writer): a random start plus a counter.
    pub unique: u64,
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Writes 16 bytes as Kafka's `Uuid.toString`: 22 characters of URL-safe base64 without padding.
fn fmt_kafka_uuid(uuid: Uuid, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let bits = uuid.as_u128();
    let mut text = [0u8; 22];
    for (i, c) in text.iter_mut().enumerate() {
        let value = if i < 21 {
            bits >> (128 - 6 * (i + 1))
        } else {
            bits << 4
        };
        *c = BASE64_URL[usize::try_from(value & 63).expect("six bits fit")];
    }
    f.write_str(std::str::from_utf8(&text).expect("base64 is ascii"))
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_kafka_uuid(self.0, f)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_kafka_uuid(self.0, f)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero_after_the_maximum() {
        for (from, records, to) in [
            (0, 1, 1),
            (i32::MAX - 1, 1, i32::MAX),
            (i32::MAX, 1, 0),
            (i32::MAX - 3, 10, 6),
        ] {
            assert_eq!(
                Sequence(from).plus(records),
                Sequence(to),
                "{from} + {records}"
            );
        }
    }

    #[test]
    fn cluster_ids_print_as_kafka_prints_them() {
        let id = ClusterId(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10));
        assert_eq!(id.to_string(), "AQIDBAUGBwgJCgsMDQ4PEA");
    }
}
