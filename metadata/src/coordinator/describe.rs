//! DescribeGroups (version 6) and ListGroups (version 5), in and out.

use kafka_protocol::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, ListGroupsRequest, ListGroupsResponse,
};

use super::Coordinator;
use crate::state::State;

impl<W> Coordinator<W> {
    /// Describes classic groups.
    pub(crate) fn describe(
        &self,
        _state: &State,
        _request: &DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        todo!("builder A")
    }

    /// Lists groups of the asked states and types.
    pub(crate) fn list(&self, _state: &State, _request: &ListGroupsRequest) -> ListGroupsResponse {
        todo!("builder A")
    }
}
