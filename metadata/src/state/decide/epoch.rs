//! What happens with time, and at the beginning of it.

use aquifer_format::ids::{ClusterId, Incarnation, PartitionId, UploadEpoch};

use crate::{
    event::Event,
    state::{entity::State, partition::Partition},
};

/// Upload epochs (minutes) after which a silent producer is forgotten: Kafka's
/// `producer.id.expiration.ms`, a day.
const PRODUCER_IDLE_EPOCHS_MAX: u32 = 1_440;

/// The first event of a cluster.
#[must_use]
pub fn genesis(cluster: ClusterId, incarnation: Incarnation, upload_epoch: UploadEpoch) -> Event {
    Event::Genesis {
        cluster,
        incarnation,
        upload_epoch,
    }
}

/// A minute passed.
#[must_use]
pub fn advance_upload_epoch(state: &State) -> Event {
    Event::UploadEpochAdvanced {
        upload_epoch: UploadEpoch(state.counters.upload_epoch.0.saturating_add(1)),
    }
}

/// Forgets producers that were silent for a day. To be called once per upload epoch.
#[must_use]
pub fn expire_producers(state: &State) -> Vec<Event> {
    let now = state.counters.upload_epoch;
    let Some(through) = now.0.checked_sub(PRODUCER_IDLE_EPOCHS_MAX).map(UploadEpoch) else {
        return Vec::new();
    };
    let mut partitions = Vec::new();
    for (id, topic) in &state.topics {
        let idle = topic
            .indexed()
            .filter(|(_, partition)| has_idle_producer(partition, through));
        partitions.extend(idle.map(|(index, _)| PartitionId::new(*id, index)));
    }
    if partitions.is_empty() {
        return Vec::new();
    }
    vec![Event::ProducersExpired {
        last_seen_through: through,
        partitions,
    }]
}

fn has_idle_producer(partition: &Partition, through: UploadEpoch) -> bool {
    partition.producers.as_ref().is_some_and(|producers| {
        let mut all = producers.0.values();
        all.any(|producer| producer.last_seen <= through)
    })
}
