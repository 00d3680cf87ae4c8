//! Heartbeat (version 4 in and out).

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::coordinator::{At, Coordinator, Ledger};

impl<W> Coordinator<W> {
    /// A member lives. Mostly without an event.
    pub(crate) fn heartbeat(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _request: &HeartbeatRequest,
    ) -> HeartbeatResponse {
        todo!("builder A")
    }
}
