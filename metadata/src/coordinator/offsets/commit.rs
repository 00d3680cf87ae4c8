//! OffsetCommit (version 9 in and out, with topic ids and retention as tags).

use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use crate::coordinator::{At, Caller, Coordinator, Ledger};

impl<W> Coordinator<W> {
    /// Commits offsets: one event for all partitions of the request.
    pub(crate) fn offset_commit(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _caller: &Caller,
        _request: &OffsetCommitRequest,
    ) -> OffsetCommitResponse {
        todo!("builder C")
    }
}
