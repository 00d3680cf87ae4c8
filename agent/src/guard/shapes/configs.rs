//! Configs of topics, brokers and clients.

use super::{
    BOOL, INT8,
    Kind::{Array, String, Struct},
    Shape, one,
};

/// DescribeConfigs, versions 1 and later.
pub const DESCRIBE_CONFIGS: Shape = Shape {
    name: "DescribeConfigs",
    flexible_since: 4,
    fields: &[
        one(Array(&Struct(&[
            one(INT8),                         // type of the resource
            one(String),                       // its name
            one(Array(&String)).null_since(0), // configs
        ]))),
        one(BOOL),          // with synonyms
        one(BOOL).since(3), // with documentation
    ],
};

/// AlterConfigs.
pub const ALTER_CONFIGS: Shape = Shape {
    name: "AlterConfigs",
    flexible_since: 2,
    fields: &[
        one(Array(&Struct(&[
            one(INT8),   // type of the resource
            one(String), // its name
            one(Array(&Struct(&[
                one(String),               // config
                one(String).null_since(0), // its value
            ]))),
        ]))),
        one(BOOL), // validate only
    ],
};

/// IncrementalAlterConfigs.
pub const INCREMENTAL_ALTER_CONFIGS: Shape = Shape {
    name: "IncrementalAlterConfigs",
    flexible_since: 1,
    fields: &[
        one(Array(&Struct(&[
            one(INT8),   // type of the resource
            one(String), // its name
            one(Array(&Struct(&[
                one(String),               // config
                one(INT8),                 // what to do with it
                one(String).null_since(0), // the value
            ]))),
        ]))),
        one(BOOL), // validate only
    ],
};

/// ListConfigResources.
pub const LIST_CONFIG_RESOURCES: Shape = Shape {
    name: "ListConfigResources",
    flexible_since: 0,
    fields: &[one(Array(&INT8)).since(1)], // types
};

/// DescribeClientQuotas.
pub const DESCRIBE_CLIENT_QUOTAS: Shape = Shape {
    name: "DescribeClientQuotas",
    flexible_since: 1,
    fields: &[
        one(Array(&Struct(&[
            one(String),               // type of the entity
            one(INT8),                 // how it is matched
            one(String).null_since(0), // with what
        ]))),
        one(BOOL), // no other components
    ],
};
