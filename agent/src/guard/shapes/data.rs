//! Records: written, read, looked for.

use super::{
    INT8, INT16, INT32, INT64,
    Kind::{Array, Bytes, String, Struct},
    Shape, UUID, one,
};

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
