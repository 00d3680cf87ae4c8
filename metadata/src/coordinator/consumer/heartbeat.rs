//! ConsumerGroupHeartbeat (version 1 in and out).

use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use crate::coordinator::{At, Caller, Coordinator, Ledger};

impl<W> Coordinator<W> {
    /// A member joins, lives, says what it owns, or leaves. Mostly without an event.
    pub(crate) fn consumer_heartbeat(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _caller: &Caller,
        _request: &ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        todo!("builder B")
    }
}
