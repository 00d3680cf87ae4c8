//! Topics as a whole.

use super::{
    BOOL, INT16, INT32,
    Kind::{Array, String, Struct},
    Shape, UUID, one,
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

/// CreatePartitions.
pub const CREATE_PARTITIONS: Shape = Shape {
    name: "CreatePartitions",
    flexible_since: 2,
    fields: &[
        one(Array(&Struct(&[
            one(String), // topic
            one(INT32),  // partitions that it shall have
            one(Array(&Struct(&[
                one(Array(&INT32)), // replicas of a new one
            ])))
            .null_since(0),
        ]))),
        one(INT32), // timeout
        one(BOOL),  // validate only
    ],
};
