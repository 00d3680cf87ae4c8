//! Access control.

use super::{
    Field, INT8,
    Kind::{Array, String, Struct},
    Shape, one,
};

/// DescribeAcls, versions 1 and later.
pub const DESCRIBE_ACLS: Shape = Shape {
    name: "DescribeAcls",
    flexible_since: 2,
    fields: FILTER,
};

/// CreateAcls, versions 1 and later.
pub const CREATE_ACLS: Shape = Shape {
    name: "CreateAcls",
    flexible_since: 2,
    fields: &[one(Array(&Struct(&[
        one(INT8),   // type of the resource
        one(String), // its name
        one(INT8),   // type of that name
        one(String), // principal
        one(String), // host
        one(INT8),   // operation
        one(INT8),   // allow or deny
    ])))],
};

/// DeleteAcls, versions 1 and later.
pub const DELETE_ACLS: Shape = Shape {
    name: "DeleteAcls",
    flexible_since: 2,
    fields: &[one(Array(&Struct(FILTER)))],
};

const FILTER: &[Field] = &[
    one(INT8),                 // type of the resource
    one(String).null_since(0), // its name
    one(INT8),                 // type of that name
    one(String).null_since(0), // principal
    one(String).null_since(0), // host
    one(INT8),                 // operation
    one(INT8),                 // allow or deny
];

/// DescribeUserScramCredentials.
pub const DESCRIBE_USER_SCRAM_CREDENTIALS: Shape = Shape {
    name: "DescribeUserScramCredentials",
    flexible_since: 0,
    fields: &[one(Array(&Struct(&[
        one(String), // user
    ])))
    .null_since(0)],
};
