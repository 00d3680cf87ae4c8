//! The cluster: its brokers, coordinators, versions and features.

use super::{
    BOOL, INT8, INT16, INT32,
    Kind::{Array, String, Struct},
    Shape, UUID, one,
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

/// ListGroups.
pub const LIST_GROUPS: Shape = Shape {
    name: "ListGroups",
    flexible_since: 3,
    fields: &[
        one(Array(&String)).since(4), // states
        one(Array(&String)).since(5), // types
    ],
};

/// DescribeQuorum.
pub const DESCRIBE_QUORUM: Shape = Shape {
    name: "DescribeQuorum",
    flexible_since: 0,
    fields: &[one(Array(&Struct(&[
        one(String), // topic
        one(Array(&Struct(&[
            one(INT32), // partition
        ]))),
    ])))],
};

/// UpdateFeatures.
pub const UPDATE_FEATURES: Shape = Shape {
    name: "UpdateFeatures",
    flexible_since: 0,
    fields: &[
        one(INT32), // timeout
        one(Array(&Struct(&[
            one(String),        // feature
            one(INT16),         // level that it shall have
            one(BOOL).until(0), // whether that may be a lower one
            one(INT8).since(1), // what kind of change it is
        ]))),
        one(BOOL).since(1), // validate only
    ],
};
