//! Log starts that a decision moves.

use std::collections::BTreeMap;

use aquifer_format::ids::{Offset, PartitionId};

use super::hold::released_by;
use crate::{
    event::Event,
    state::{entity::State, object::ObjectIndex, partition::Partition},
};

/// New log starts, and what objects lose by them.
#[derive(Default)]
pub(super) struct LogStarts {
    moved: BTreeMap<PartitionId, Offset>,
    /// How many extents each object loses.
    lost: BTreeMap<ObjectIndex, u32>,
    extents: usize,
}

impl LogStarts {
    /// Lets the log of a partition begin at `offset`, which is above its log start; once per partition.
    pub(super) fn move_to(&mut self, id: PartitionId, partition: &Partition, offset: Offset) {
        let gone = partition.extents.iter();
        for extent in gone.take_while(|extent| extent.end() <= offset.0) {
            *self.lost.entry(extent.object).or_default() += 1;
            self.extents += 1;
        }
        self.moved.insert(id, offset);
    }

    /// How many extents go.
    pub(super) fn extents(&self) -> usize {
        self.extents
    }

    pub(super) fn into_events(self, state: &State) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.moved.is_empty() {
            events.push(Event::LogStartMoved {
                partitions: self.moved.into_iter().collect(),
            });
        }
        let released = released_by(state, &self.lost);
        if !released.is_empty() {
            events.push(Event::ObjectsReleased {
                since: state.counters.upload_epoch,
                objects: released,
            });
        }
        events
    }
}
