//! The requests that are served, as tables. Field order is that of the wire; the source is Apache
//! Kafka's message definitions (`clients/src/main/resources/common/message/*Request.json`, 4.1).
//!
//! Notation: `one(KIND)` is a field, `.since(v)` and `.until(v)` bound its versions, `.null_since(v)`
//! are the versions in which it may be null, `.tagged(t)` is a field that is sent with tag t.

use Kind::{Array, Bytes, String, Struct};

/// What a field is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// So many bytes.
    Fixed(u8),
    /// Text: 16-bit length, or compact.
    String,
    /// Bytes or record batches: 32-bit length, or compact.
    Bytes,
    /// Elements: 32-bit count, or compact.
    Array(&'static Kind),
    /// Fields one after the other; behind a presence byte where it may be null.
    Struct(&'static [Field]),
}

/// A field of a structure.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// What it is.
    pub kind: Kind,
    /// First version that has it.
    pub since: i16,
    /// Last version that has it.
    pub until: i16,
    /// First version in which it may be null.
    pub null_since: i16,
    /// Its tag, for a tagged field.
    pub tag: Option<u32>,
}

impl Field {
    const fn since(mut self, version: i16) -> Self {
        self.since = version;
        self
    }

    const fn until(mut self, version: i16) -> Self {
        self.until = version;
        self
    }

    const fn null_since(mut self, version: i16) -> Self {
        self.null_since = version;
        self
    }

    const fn tagged(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }

    /// Whether `version` has it.
    #[must_use]
    pub fn in_version(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
    }

    /// Whether it may be null in `version`.
    #[must_use]
    pub fn nullable_in(&self, version: i16) -> bool {
        version >= self.null_since
    }
}

const fn one(kind: Kind) -> Field {
    Field {
        kind,
        since: 0,
        until: i16::MAX,
        null_since: i16::MAX,
        tag: None,
    }
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Name of the API, for log lines.
    pub name: &'static str,
    /// First version that is flexible: compact lengths and tagged fields, header version 2.
    pub flexible_since: i16,
    /// The body.
    pub fields: &'static [Field],
}

impl Shape {
    /// Whether `version` is flexible.
    #[must_use]
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_since
    }
}

const BOOL: Kind = Kind::Fixed(1);
const INT8: Kind = Kind::Fixed(1);
const INT16: Kind = Kind::Fixed(2);
const INT32: Kind = Kind::Fixed(4);
const INT64: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);

/// Produce, versions 3 and later.
pub const PRODUCE: Shape = Shape {
    name: "Produce",
    flexible_since: 9,
    fields: &[
        one(String).null_since(0), // transactional id
        one(INT16),                // acks
        one(INT32),                // timeout
        one(Array(&Struct(&[
            one(String).until(12), // topic name
            one(UUID).since(13),   // topic id
            one(Array(&Struct(&[
                one(INT32),               // partition
                one(Bytes).null_since(0), // record batches
            ]))),
        ]))),
    ],
};

/// Fetch, versions 4 and later.
pub const FETCH: Shape = Shape {
    name: "Fetch",
    flexible_since: 12,
    fields: &[
        one(String).since(12).null_since(12).tagged(0), // cluster id
        one(INT32).until(14),                           // replica id
        one(Struct(&[one(INT32), one(INT64)])).since(15).tagged(1), // replica id and epoch
        one(INT32),                                     // max wait
        one(INT32),                                     // min bytes
        one(INT32),                                     // max bytes
        one(INT8),                                      // isolation level
        one(INT32).since(7),                            // session id
        one(INT32).since(7),                            // session epoch
        one(Array(&Struct(&[
            one(String).until(12), // topic name
            one(UUID).since(13),   // topic id
            one(Array(&Struct(&[
                one(INT32),                     // partition
                one(INT32).since(9),            // current leader epoch
                one(INT64),                     // fetch offset
                one(INT32).since(12),           // last fetched epoch
                one(INT64).since(5),            // log start offset
                one(INT32),                     // max bytes
                one(UUID).since(17).tagged(0),  // directory of a follower
                one(INT64).since(18).tagged(1), // high watermark of a follower
            ]))),
        ]))),
        one(Array(&Struct(&[
            one(String).until(12), // forgotten topic's name
            one(UUID).since(13),   // or id
            one(Array(&INT32)),    // its partitions
        ])))
        .since(7),
        one(String).since(11), // rack
    ],
};

/// ListOffsets, versions 1 and later.
pub const LIST_OFFSETS: Shape = Shape {
    name: "ListOffsets",
    flexible_since: 6,
    fields: &[
        one(INT32),         // replica id
        one(INT8).since(2), // isolation level
        one(Array(&Struct(&[
            one(String), // topic
            one(Array(&Struct(&[
                one(INT32),          // partition
                one(INT32).since(4), // current leader epoch
                one(INT64),          // timestamp
            ]))),
        ]))),
        one(INT32).since(10), // timeout
    ],
};

/// Metadata.
pub const METADATA: Shape = Shape {
    name: "Metadata",
    flexible_since: 9,
    fields: &[
        one(Array(&Struct(&[
            one(UUID).since(10),        // topic id
            one(String).null_since(10), // name
        ])))
        .null_since(1),
        one(BOOL).since(4),           // may create topics
        one(BOOL).since(8).until(10), // with cluster's authorized operations
        one(BOOL).since(8),           // with topics' authorized operations
    ],
};

/// FindCoordinator.
pub const FIND_COORDINATOR: Shape = Shape {
    name: "FindCoordinator",
    flexible_since: 3,
    fields: &[
        one(String).until(3),         // key
        one(INT8).since(1),           // key type
        one(Array(&String)).since(4), // keys
    ],
};

/// ApiVersions.
pub const API_VERSIONS: Shape = Shape {
    name: "ApiVersions",
    flexible_since: 3,
    fields: &[
        one(String).since(3), // name of the client's library
        one(String).since(3), // its version
    ],
};

/// CreateTopics, versions 2 and later.
pub const CREATE_TOPICS: Shape = Shape {
    name: "CreateTopics",
    flexible_since: 5,
    fields: &[
        one(Array(&Struct(&[
            one(String), // name
            one(INT32),  // partitions
            one(INT16),  // replication factor
            one(Array(&Struct(&[
                one(INT32),         // partition
                one(Array(&INT32)), // its replicas
            ]))),
            one(Array(&Struct(&[
                one(String),               // config
                one(String).null_since(0), // its value
            ]))),
        ]))),
        one(INT32), // timeout
        one(BOOL),  // validate only
    ],
};

/// DeleteTopics, versions 1 and later.
pub const DELETE_TOPICS: Shape = Shape {
    name: "DeleteTopics",
    flexible_since: 4,
    fields: &[
        one(Array(&Struct(&[
            one(String).null_since(6), // name
            one(UUID),                 // or id
        ])))
        .since(6),
        one(Array(&String)).until(5), // names
        one(INT32),                   // timeout
    ],
};

/// InitProducerId.
pub const INIT_PRODUCER_ID: Shape = Shape {
    name: "InitProducerId",
    flexible_since: 2,
    fields: &[
        one(String).null_since(0), // transactional id
        one(INT32),                // transaction timeout
        one(INT64).since(3),       // producer id
        one(INT16).since(3),       // producer epoch
    ],
};

/// OffsetForLeaderEpoch, versions 2 and later.
pub const OFFSET_FOR_LEADER_EPOCH: Shape = Shape {
    name: "OffsetForLeaderEpoch",
    flexible_since: 4,
    fields: &[
        one(INT32).since(3), // replica id
        one(Array(&Struct(&[
            one(String), // topic
            one(Array(&Struct(&[
                one(INT32), // partition
                one(INT32), // current leader epoch
                one(INT32), // leader epoch
            ]))),
        ]))),
    ],
};

/// DescribeCluster.
pub const DESCRIBE_CLUSTER: Shape = Shape {
    name: "DescribeCluster",
    flexible_since: 0,
    fields: &[
        one(BOOL),          // with authorized operations
        one(INT8).since(1), // endpoint type
        one(BOOL).since(2), // with fenced brokers
    ],
};

/// DescribeTopicPartitions.
pub const DESCRIBE_TOPIC_PARTITIONS: Shape = Shape {
    name: "DescribeTopicPartitions",
    flexible_since: 0,
    fields: &[
        one(Array(&Struct(&[one(String)]))),                   // topics
        one(INT32),                                            // partition limit
        one(Struct(&[one(String), one(INT32)])).null_since(0), // cursor: topic, partition
    ],
};
