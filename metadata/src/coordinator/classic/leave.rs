//! LeaveGroup (version 5 in and out; always with a list of members).

use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::coordinator::{At, Caller, Coordinator, Ledger};

impl<W> Coordinator<W> {
    /// Members leave.
    pub(crate) fn leave(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _caller: &Caller,
        _request: &LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        todo!("builder A")
    }
}
