//! Groups: their members and committed offsets.

use super::{
    BOOL, INT32, INT64,
    Kind::{Array, Bytes, String, Struct},
    Shape, UUID, one,
};

/// OffsetCommit, versions 2 and later.
pub const OFFSET_COMMIT: Shape = Shape {
    name: "OffsetCommit",
    flexible_since: 8,
    fields: &[
        one(String),                        // group
        one(INT32),                         // generation or member epoch
        one(String),                        // member
        one(String).since(7).null_since(7), // group instance
        one(INT64).until(4),                // retention time
        one(Array(&Struct(&[
            one(String).until(9), // topic name
            one(UUID).since(10),  // topic id
            one(Array(&Struct(&[
                one(INT32),                // partition
                one(INT64),                // offset
                one(INT32).since(6),       // leader epoch
                one(String).null_since(0), // metadata
            ]))),
        ]))),
    ],
};

/// OffsetFetch, versions 1 and later.
pub const OFFSET_FETCH: Shape = Shape {
    name: "OffsetFetch",
    flexible_since: 6,
    fields: &[
        one(String).until(7), // group
        one(Array(&Struct(&[
            one(String),        // topic
            one(Array(&INT32)), // its partitions
        ])))
        .until(7)
        .null_since(2),
        one(Array(&Struct(&[
            one(String),                        // group
            one(String).since(9).null_since(9), // member
            one(INT32).since(9),                // member epoch
            one(Array(&Struct(&[
                one(String).until(9), // topic name
                one(UUID).since(10),  // topic id
                one(Array(&INT32)),   // its partitions
            ])))
            .null_since(8),
        ])))
        .since(8),
        one(BOOL).since(7), // only offsets that no transaction may still change
    ],
};

/// JoinGroup.
pub const JOIN_GROUP: Shape = Shape {
    name: "JoinGroup",
    flexible_since: 6,
    fields: &[
        one(String),                        // group
        one(INT32),                         // session timeout
        one(INT32).since(1),                // rebalance timeout
        one(String),                        // member
        one(String).since(5).null_since(5), // group instance
        one(String),                        // type of protocols
        one(Array(&Struct(&[
            one(String), // protocol
            one(Bytes),  // its metadata
        ]))),
        one(String).since(8).null_since(8), // reason
    ],
};

/// Heartbeat.
pub const HEARTBEAT: Shape = Shape {
    name: "Heartbeat",
    flexible_since: 4,
    fields: &[
        one(String),                        // group
        one(INT32),                         // generation
        one(String),                        // member
        one(String).since(3).null_since(3), // group instance
    ],
};

/// LeaveGroup.
pub const LEAVE_GROUP: Shape = Shape {
    name: "LeaveGroup",
    flexible_since: 4,
    fields: &[
        one(String),          // group
        one(String).until(2), // member
        one(Array(&Struct(&[
            one(String),                        // member
            one(String).null_since(3),          // group instance
            one(String).since(5).null_since(5), // reason
        ])))
        .since(3),
    ],
};

/// SyncGroup.
pub const SYNC_GROUP: Shape = Shape {
    name: "SyncGroup",
    flexible_since: 4,
    fields: &[
        one(String),                        // group
        one(INT32),                         // generation
        one(String),                        // member
        one(String).since(3).null_since(3), // group instance
        one(String).since(5).null_since(5), // type of protocol
        one(String).since(5).null_since(5), // protocol
        one(Array(&Struct(&[
            one(String), // member
            one(Bytes),  // its assignment
        ]))),
    ],
};

/// DescribeGroups.
pub const DESCRIBE_GROUPS: Shape = Shape {
    name: "DescribeGroups",
    flexible_since: 5,
    fields: &[
        one(Array(&String)), // groups
        one(BOOL).since(3),  // with authorized operations
    ],
};

/// DeleteGroups.
pub const DELETE_GROUPS: Shape = Shape {
    name: "DeleteGroups",
    flexible_since: 2,
    fields: &[one(Array(&String))], // groups
};

/// OffsetDelete, which has no flexible version.
pub const OFFSET_DELETE: Shape = Shape {
    name: "OffsetDelete",
    flexible_since: i16::MAX,
    fields: &[
        one(String), // group
        one(Array(&Struct(&[
            one(String), // topic
            one(Array(&Struct(&[
                one(INT32), // partition
            ]))),
        ]))),
    ],
};

/// ConsumerGroupHeartbeat.
pub const CONSUMER_GROUP_HEARTBEAT: Shape = Shape {
    name: "ConsumerGroupHeartbeat",
    flexible_since: 0,
    fields: &[
        one(String),                        // group
        one(String),                        // member
        one(INT32),                         // member epoch
        one(String).null_since(0),          // group instance
        one(String).null_since(0),          // rack
        one(INT32),                         // rebalance timeout
        one(Array(&String)).null_since(0),  // topics that it subscribes to
        one(String).since(1).null_since(1), // regular expression of topics
        one(String).null_since(0),          // assignor
        one(Array(&Struct(&[
            one(UUID),          // topic
            one(Array(&INT32)), // its partitions that the member owns
        ])))
        .null_since(0),
    ],
};

/// ConsumerGroupDescribe.
pub const CONSUMER_GROUP_DESCRIBE: Shape = Shape {
    name: "ConsumerGroupDescribe",
    flexible_since: 0,
    fields: &[
        one(Array(&String)), // groups
        one(BOOL),           // with authorized operations
    ],
};
