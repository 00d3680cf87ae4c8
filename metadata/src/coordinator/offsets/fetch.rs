//! OffsetFetch (version 9 in and out, always with groups, with topic ids as tags).

use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};

use crate::{
    coordinator::{Caller, Coordinator},
    state::State,
};

impl<W> Coordinator<W> {
    /// Answers what groups committed.
    pub(crate) fn offset_fetch(
        &self,
        _state: &State,
        _caller: &Caller,
        _request: &OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        todo!("builder C")
    }
}
