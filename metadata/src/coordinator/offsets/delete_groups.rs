//! DeleteGroups (version 2 in and out).

use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::coordinator::{Coordinator, Ledger};

impl<W> Coordinator<W> {
    /// Deletes groups without members, with their offsets.
    pub(crate) fn delete_groups(
        &mut self,
        _ledger: &mut dyn Ledger,
        _request: &DeleteGroupsRequest,
    ) -> DeleteGroupsResponse {
        todo!("builder C")
    }
}
