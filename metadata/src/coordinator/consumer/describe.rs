//! ConsumerGroupDescribe (version 1 in and out).

use kafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};

use crate::{coordinator::Coordinator, state::State};

impl<W> Coordinator<W> {
    /// Describes consumer groups.
    pub(crate) fn consumer_describe(
        &self,
        _state: &State,
        _request: &ConsumerGroupDescribeRequest,
    ) -> ConsumerGroupDescribeResponse {
        todo!("builder B")
    }
}
