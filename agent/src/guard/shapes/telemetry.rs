//! Metrics of clients (KIP-714).

use super::{BOOL, INT8, INT32, Kind::Bytes, Shape, UUID, one};

/// GetTelemetrySubscriptions.
pub const GET_TELEMETRY_SUBSCRIPTIONS: Shape = Shape {
    name: "GetTelemetrySubscriptions",
    flexible_since: 0,
    fields: &[one(UUID)], // client instance
};

/// PushTelemetry.
pub const PUSH_TELEMETRY: Shape = Shape {
    name: "PushTelemetry",
    flexible_since: 0,
    fields: &[
        one(UUID),  // client instance
        one(INT32), // subscription
        one(BOOL),  // whether it is the client's last one
        one(INT8),  // compression
        one(Bytes), // metrics
    ],
};
