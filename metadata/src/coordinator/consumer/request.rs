//! What a ConsumerGroupHeartbeat must be to be looked at
//! (`GroupCoordinatorService.throwIfConsumerGroupHeartbeatRequestIsInvalid`), and within which bounds.

use aquifer_format::ids::{PartitionId, PartitionIndex, TopicId};
use aquifer_metadata_api::config::group::GroupCoordinatorConfig;
use kafka_protocol::{ResponseError, messages::ConsumerGroupHeartbeatRequest};

use super::{LEAVES, LEAVES_FOR_A_WHILE};
use crate::{
    coordinator::{assignor, limits, refusal::Refusal},
    event::group::TopicPartitions,
};

/// Client versions from here on make their member ids themselves (KIP-1082).
const MEMBER_ID_REQUIRED_VERSION: i16 = 1;

/// Checks a heartbeat without looking at its group. `version`: the client's.
pub(super) fn check(
    settings: &GroupCoordinatorConfig,
    version: i16,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<(), Refusal> {
    if !settings.consumer_protocol {
        return Err(Refusal::bare(ResponseError::UnsupportedVersion));
    }
    let epoch = request.member_epoch;
    if version >= MEMBER_ID_REQUIRED_VERSION || epoch > 0 || epoch == LEAVES {
        not_empty(Some(request.member_id.as_str()), "MemberId can't be empty.")?;
    }
    not_empty(Some(request.group_id.as_str()), "GroupId can't be empty.")?;
    not_empty(request.instance_id.as_deref(), "InstanceId can't be empty.")?;
    not_empty(request.rack_id.as_deref(), "RackId can't be empty.")?;
    if epoch == 0 {
        check_join(request)?;
    } else if epoch == LEAVES_FOR_A_WHILE {
        if request.instance_id.is_none() {
            return Err(invalid("InstanceId can't be null."));
        }
    } else if epoch < LEAVES_FOR_A_WHILE {
        return Err(invalid("MemberEpoch is invalid."));
    }
    check_assignor(settings, request)?;
    check_bounds(request)
}

fn check_join(request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    if request.rebalance_timeout_ms == -1 {
        return Err(invalid(
            "RebalanceTimeoutMs must be provided in first request.",
        ));
    }
    if request
        .topic_partitions
        .as_ref()
        .is_none_or(|owned| !owned.is_empty())
    {
        return Err(invalid("TopicPartitions must be empty when (re-)joining."));
    }
    if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
        return Err(invalid(
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        ));
    }
    Ok(())
}

fn check_assignor(
    settings: &GroupCoordinatorConfig,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<(), Refusal> {
    let Some(asked) = &request.server_assignor else {
        return Ok(());
    };
    let supported = assignor::supported(&settings.consumer.assignors);
    if supported.contains(&asked.as_str()) {
        return Ok(());
    }
    let supported = supported.join(", ");
    Err(Refusal::new(
        ResponseError::UnsupportedAssignor,
        format!(
            "ServerAssignor {} is not supported. Supported assignors: {supported}.",
            asked.as_str()
        ),
    ))
}

/// Bounds that Kafka leaves to the size of requests and records.
fn check_bounds(request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    if request.group_id.len() > limits::GROUP_ID_BYTES_MAX {
        let max = limits::GROUP_ID_BYTES_MAX;
        return Err(Refusal::new(
            ResponseError::InvalidGroupId,
            format!("The group id has more than {max} bytes."),
        ));
    }
    let topics = request.subscribed_topic_names.as_deref().unwrap_or(&[]);
    if topics.len() > limits::SUBSCRIBED_TOPICS_MAX {
        let max = limits::SUBSCRIBED_TOPICS_MAX;
        return Err(invalid(format!(
            "A member subscribes to at most {max} topics by name; use SubscribedTopicRegex for more."
        )));
    }
    let max = limits::NAME_BYTES_MAX;
    let too_long = |text: &str| text.len() > max;
    let optional = [&request.instance_id, &request.rack_id];
    if too_long(&request.member_id)
        || optional.into_iter().flatten().any(|text| too_long(text))
        || topics.iter().any(|name| too_long(name))
    {
        return Err(invalid(format!(
            "A member id, instance id, rack or topic name has more than {max} bytes."
        )));
    }
    Ok(())
}

/// What the member says that it has.
pub(super) fn owned(request: &ConsumerGroupHeartbeatRequest) -> Option<TopicPartitions> {
    let topics = request.topic_partitions.as_ref()?;
    let partitions = topics.iter().flat_map(|topic| {
        let id = TopicId(topic.topic_id);
        let indexes = topic.partitions.iter();
        indexes.map(move |index| PartitionId::new(id, PartitionIndex(*index)))
    });
    Some(partitions.collect())
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::new(ResponseError::InvalidRequest, text)
}

fn not_empty(text: Option<&str>, otherwise: &str) -> Result<(), Refusal> {
    // as Java trims
    match text {
        Some(text) if text.trim_matches(|c: char| c <= ' ').is_empty() => Err(invalid(otherwise)),
        _ => Ok(()),
    }
}
