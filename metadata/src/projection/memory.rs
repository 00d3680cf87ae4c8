//! The tables in memory: the fake for tests. Clones share one content, as leaders share a database.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::ids::{LeaderTerm, ObjectId, PartitionId, TopicId};
use aquifer_metadata_api::watch::TopicView;
use async_trait::async_trait;
use parking_lot::Mutex;

use super::{
    delta::{Delta, Known},
    tables::{Opened, Owner, ProjectionError, Tables},
};
use crate::state::{ObjectRow, PartitionRow};

/// What the tables hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Content {
    pub(crate) topics: BTreeMap<TopicId, TopicView>,
    pub(crate) partitions: BTreeMap<PartitionId, PartitionRow>,
    pub(crate) objects: BTreeMap<ObjectId, ObjectRow>,
}

impl Content {
    /// What whoever opens them is told.
    pub(crate) fn known(&self) -> Known {
        Known::of_others(self.topics.keys().copied(), self.objects.keys().copied())
    }

    /// As the database does it: what is gone first, then partitions of the topics that are there.
    pub(crate) fn carry_out(&mut self, delta: &Delta) -> u64 {
        let before = self.clone();
        for id in &delta.deleted_topics {
            self.topics.remove(id);
            self.partitions
                .retain(|partition, _| partition.topic != *id);
        }
        for id in &delta.deleted_objects {
            self.objects.remove(id);
        }
        for topic in &delta.topics {
            self.topics.insert(topic.id, topic.clone());
        }
        for row in &delta.partitions {
            if self.topics.contains_key(&row.id.topic) {
                self.partitions.insert(row.id, row.clone());
            }
        }
        for row in &delta.objects {
            self.objects.insert(row.id, row.clone());
        }
        if delta.whole {
            let topics = &self.topics;
            self.partitions
                .retain(|id, _| topics.contains_key(&id.topic));
        }
        u64::from(before != *self)
    }
}

#[derive(Debug, Default)]
struct Inner {
    content: Content,
    term: LeaderTerm,
    broken: bool,
    opened: u64,
    closed: u64,
    writes: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryTables(Arc<Mutex<Inner>>);

impl MemoryTables {
    pub(crate) fn content(&self) -> Content {
        self.0.lock().content.clone()
    }

    /// Whether all calls fail from now on.
    pub(crate) fn set_broken(&self, broken: bool) {
        self.0.lock().broken = broken;
    }

    /// As if a leader of that term had taken them.
    pub(crate) fn set_term(&self, term: LeaderTerm) {
        self.0.lock().term = term;
    }

    /// How often they were opened, closed, and written.
    pub(crate) fn calls(&self) -> (u64, u64, u64) {
        let inner = self.0.lock();
        (inner.opened, inner.closed, inner.writes)
    }
}

fn broken() -> ProjectionError {
    ProjectionError {
        reason: "they are broken".to_owned(),
    }
}

#[async_trait]
impl Tables for MemoryTables {
    async fn open(&mut self, owner: &Owner) -> Result<Opened, ProjectionError> {
        let mut inner = self.0.lock();
        inner.opened += 1;
        if inner.broken {
            return Err(broken());
        }
        if inner.term > owner.term {
            return Ok(Opened::Newer(inner.term));
        }
        inner.term = owner.term;
        Ok(Opened::Ours(inner.content.known()))
    }

    async fn write(
        &mut self,
        owner: &Owner,
        delta: &Delta,
    ) -> Result<Option<u64>, ProjectionError> {
        let mut inner = self.0.lock();
        if inner.broken {
            return Err(broken());
        }
        if inner.term != owner.term {
            return Ok(None);
        }
        inner.writes += 1;
        Ok(Some(inner.content.carry_out(delta)))
    }

    fn close(&mut self) {
        self.0.lock().closed += 1;
    }
}
