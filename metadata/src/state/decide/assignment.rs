//! Manual assignments of partitions to brokers. Which brokers they name means nothing here, since any agent
//! serves any partition; what cannot be right anywhere is refused as in Kafka
//! (`ReplicationControlManager.validateManualPartitionAssignment`).

use kafka_protocol::{ResponseError, messages::BrokerId};

use super::refusal::Refusal;

/// Checks the replicas of one partition. `before`: how many those of the partitions before have.
pub(super) fn check(brokers: &[BrokerId], before: Option<usize>) -> Result<(), Refusal> {
    let refused = |text: String| {
        let text = format!("The manual partition assignment includes {text}");
        Err(Refusal::new(ResponseError::InvalidReplicaAssignment, text))
    };
    if brokers.is_empty() {
        return refused("an empty replica list.".to_owned());
    }
    let mut sorted: Vec<i32> = brokers.iter().map(|broker| broker.0).collect();
    sorted.sort_unstable();
    let mut previous = None;
    for broker in sorted {
        if broker < 0 {
            return refused(format!(
                "broker {broker}, but no such broker is registered."
            ));
        }
        if previous == Some(broker) {
            return refused(format!("the broker {broker} more than once."));
        }
        previous = Some(broker);
    }
    match before {
        Some(before) if before != brokers.len() => refused(format!(
            "a partition with {} replica(s), but this is not consistent with previous partitions, \
             which have {before} replica(s).",
            brokers.len()
        )),
        _ => Ok(()),
    }
}
