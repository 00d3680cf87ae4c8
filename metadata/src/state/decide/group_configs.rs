//! DescribeConfigs (version 4) and ListConfigResources (version 1) of groups: what agents do not know.

use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, ListConfigResourcesRequest,
    ListConfigResourcesResponse,
};

use crate::state::entity::State;

/// Describes the groups among the resources of a request; there are no others in it.
pub(crate) fn describe_group_configs(
    _state: &State,
    _request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    todo!("builder C")
}

/// Lists groups that have configs.
pub(crate) fn list_group_configs(
    _state: &State,
    _request: &ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    todo!("builder C")
}
