//! Partitions: their records, producers, sizes and replicas.

use super::{
    BOOL, INT8, INT32, INT64,
    Kind::{Array, String, Struct},
    Shape, one,
};

/// DeleteRecords.
pub const DELETE_RECORDS: Shape = Shape {
    name: "DeleteRecords",
    flexible_since: 2,
    fields: &[
        one(Array(&Struct(&[
            one(String), // topic
            one(Array(&Struct(&[
                one(INT32), // partition
                one(INT64), // first offset to keep
            ]))),
        ]))),
        one(INT32), // timeout
    ],
};

/// DescribeProducers.
pub const DESCRIBE_PRODUCERS: Shape = Shape {
    name: "DescribeProducers",
    flexible_since: 0,
    fields: &[one(Array(&Struct(&[
        one(String),        // topic
        one(Array(&INT32)), // its partitions
    ])))],
};

/// DescribeLogDirs, versions 1 and later.
pub const DESCRIBE_LOG_DIRS: Shape = Shape {
    name: "DescribeLogDirs",
    flexible_since: 2,
    fields: &[one(Array(&Struct(&[
        one(String),        // topic
        one(Array(&INT32)), // its partitions
    ])))
    .null_since(0)],
};

/// ElectLeaders.
pub const ELECT_LEADERS: Shape = Shape {
    name: "ElectLeaders",
    flexible_since: 2,
    fields: &[
        one(INT8).since(1), // what kind of election
        one(Array(&Struct(&[
            one(String),        // topic
            one(Array(&INT32)), // its partitions
        ])))
        .null_since(0),
        one(INT32), // timeout
    ],
};

/// AlterPartitionReassignments.
pub const ALTER_PARTITION_REASSIGNMENTS: Shape = Shape {
    name: "AlterPartitionReassignments",
    flexible_since: 0,
    fields: &[
        one(INT32),         // timeout
        one(BOOL).since(1), // whether the number of replicas may change
        one(Array(&Struct(&[
            one(String), // topic
            one(Array(&Struct(&[
                one(INT32),                       // partition
                one(Array(&INT32)).null_since(0), // its new replicas
            ]))),
        ]))),
    ],
};

/// ListPartitionReassignments.
pub const LIST_PARTITION_REASSIGNMENTS: Shape = Shape {
    name: "ListPartitionReassignments",
    flexible_since: 0,
    fields: &[
        one(INT32), // timeout
        one(Array(&Struct(&[
            one(String),        // topic
            one(Array(&INT32)), // its partitions
        ])))
        .null_since(0),
    ],
};
