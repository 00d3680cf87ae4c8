//! OffsetDelete (version 0 in and out).

use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::coordinator::{Coordinator, Ledger};

impl<W> Coordinator<W> {
    /// Deletes offsets of topics that nobody of the group is subscribed to.
    pub(crate) fn offset_delete(
        &mut self,
        _ledger: &mut dyn Ledger,
        _request: &OffsetDeleteRequest,
    ) -> OffsetDeleteResponse {
        todo!("builder C")
    }
}
