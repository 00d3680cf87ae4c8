//! The state of the fake: every call is one group commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use aquifer_format::ids::{
    ClusterId, Incarnation, JournalSeq, LeaderEpoch, LeaderTerm, ObjectId, Offset, PartitionId,
    PartitionIndex, ProducerId, SessionId, TopicId, UploadEpoch,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    FAKE_START_UNIX_MILLIS,
    log::{Log, Owner},
    readers::Watcher,
    sessions::Session,
    upkeep::Work,
};
use crate::{
    commit::{BatchOutcome, Rejection},
    config::{Configs, TimestampType, TopicConfig, alter::Altered},
    watch::TopicView,
};

/// The fake never changes its leader.
pub(super) const TERM: LeaderTerm = LeaderTerm(1);
pub(super) const INCARNATION: Incarnation = Incarnation(1);

/// Everything that the fake knows.
#[derive(Debug)]
pub(super) struct Core {
    start: Instant,
    pub(super) cluster: ClusterId,
    pub(super) seq: JournalSeq,
    pub(super) upload_epoch: UploadEpoch,
    pub(super) topics: BTreeMap<TopicId, Arc<TopicView>>,
    pub(super) logs: BTreeMap<PartitionId, Log>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) watchers: BTreeMap<u64, Watcher>,
    /// Every object that a commit named, also if nothing refers to it any more: the fake keeps what was
    /// released for ever.
    pub(super) known: BTreeSet<ObjectId>,
    pub(super) holds: BTreeMap<Owner, (PartitionId, Instant)>,
    counter: u64,
    pub(super) slots: u32,
    pub(super) changed_topics: BTreeSet<TopicId>,
    pub(super) changed_logs: BTreeSet<PartitionId>,
    pub(super) agents_changed: bool,
    /// Dynamic configs of all brokers.
    pub(super) broker_configs: Arc<Configs>,
    pub(super) broker_configs_changed: bool,
    pub(super) frames_held: bool,
    pub(super) answer_delay: Duration,
    pub(super) lose_answers: bool,
    pub(super) unavailable: Option<bool>,
    pub(super) lost_rows: Option<String>,
    pub(super) refusing: bool,
    pub(super) throttle_produce: bool,
    pub(super) over_budget: bool,
    pub(super) work: Work,
}

#[allow(
    clippy::disallowed_methods,
    reason = "a fake for tests; this crate does not know the Clock port, and a paused runtime has virtual time"
)]
pub(super) fn instant() -> Instant {
    Instant::now()
}

impl Core {
    pub(super) fn new() -> Self {
        Self {
            start: instant(),
            cluster: ClusterId(Uuid::from_u128(0x0a71_f3e5)),
            seq: JournalSeq(1),
            upload_epoch: UploadEpoch(1),
            topics: BTreeMap::new(),
            logs: BTreeMap::new(),
            sessions: BTreeMap::new(),
            watchers: BTreeMap::new(),
            known: BTreeSet::new(),
            holds: BTreeMap::new(),
            counter: 0,
            slots: 0,
            changed_topics: BTreeSet::new(),
            changed_logs: BTreeSet::new(),
            agents_changed: false,
            broker_configs: Arc::default(),
            broker_configs_changed: false,
            frames_held: false,
            answer_delay: Duration::ZERO,
            lose_answers: false,
            unavailable: None,
            lost_rows: None,
            refusing: false,
            throttle_produce: false,
            over_budget: false,
            work: Work::default(),
        }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(super) fn now(&self) -> Instant {
        instant()
    }

    pub(super) fn unix_millis(&self) -> i64 {
        let passed = instant().duration_since(self.start).as_millis();
        FAKE_START_UNIX_MILLIS + i64::try_from(passed).unwrap_or(0)
    }

    pub(super) fn next_producer_id(&mut self) -> ProducerId {
        ProducerId(i64::try_from(self.next()).unwrap_or(i64::MAX))
    }

    pub(super) fn create_topic(
        &mut self,
        name: &str,
        partitions: u32,
        configs: Configs,
    ) -> Option<TopicId> {
        if self.topic_by_name(name).is_some() {
            return None;
        }
        let number = self.next();
        let id = TopicId(Uuid::from_u128(0xf0 << 64 | u128::from(number)));
        let leader_epoch = LeaderEpoch(i32::try_from(number).unwrap_or(i32::MAX));
        let view = TopicView {
            id,
            name: name.to_owned(),
            partitions: 0,
            leader_epoch,
            configs,
        };
        self.add_partitions(&view, partitions);
        Some(id)
    }

    /// Gives a topic this many partitions; those that it has stay.
    pub(super) fn add_partitions(&mut self, topic: &TopicView, total: u32) {
        let append_time = self.config_of(&topic.configs).timestamp_type;
        for partition in topic.partitions..total {
            let partition = PartitionIndex(i32::try_from(partition).unwrap_or(i32::MAX));
            let id = PartitionId::new(topic.id, partition);
            let log = Log::new(
                topic.leader_epoch,
                append_time == TimestampType::LogAppendTime,
            );
            self.logs.insert(id, log);
            self.changed_logs.insert(id);
        }
        let view = TopicView {
            partitions: total,
            ..topic.clone()
        };
        self.changed_topics.insert(view.id);
        self.topics.insert(view.id, Arc::new(view));
    }

    pub(super) fn topic_by_name(&self, name: &str) -> Option<&Arc<TopicView>> {
        self.topics.values().find(|topic| topic.name == name)
    }

    /// The configs of a topic with these overrides.
    pub(super) fn config_of(&self, overrides: &Configs) -> TopicConfig {
        TopicConfig::resolve(overrides, &self.broker_configs)
    }

    pub(super) fn set_configs(&mut self, altered: Altered) {
        match altered {
            Altered::Topic { name, configs } => {
                let Some(topic) = self.topic_by_name(&name) else {
                    return;
                };
                let view = TopicView {
                    configs,
                    ..TopicView::clone(topic)
                };
                self.changed_topics.insert(view.id);
                self.topics.insert(view.id, Arc::new(view));
            }
            Altered::Brokers(configs) => {
                self.broker_configs = Arc::new(configs);
                self.broker_configs_changed = true;
            }
            // the fake has no groups, and forgets their configs
            Altered::Group { .. } => {}
        }
        let append_time: BTreeMap<TopicId, bool> = self
            .topics
            .values()
            .map(|topic| {
                let config = self.config_of(&topic.configs);
                let is = config.timestamp_type == TimestampType::LogAppendTime;
                (topic.id, is)
            })
            .collect();
        for (id, log) in &mut self.logs {
            log.log_append_time = append_time.get(&id.topic).copied().unwrap_or(false);
        }
    }

    pub(super) fn delete_topic(&mut self, topic: TopicId) {
        let Some(view) = self.topics.remove(&topic) else {
            return;
        };
        self.changed_topics.insert(topic);
        let gone: Vec<PartitionId> = self
            .logs
            .keys()
            .copied()
            .filter(|p| p.topic == topic)
            .collect();
        let mut logs = BTreeMap::new();
        for partition in gone {
            let mut log = self.logs.remove(&partition).expect("listed just above");
            self.changed_logs.remove(&partition);
            let unknown = BatchOutcome::Rejected(Rejection::UnknownPartition);
            let outcomes = log
                .take_held()
                .into_iter()
                .map(|owner| (owner, unknown))
                .collect();
            self.settle(outcomes);
            logs.insert(partition, log);
        }
        self.trash(view, logs);
    }

    pub(super) fn skip_offsets(&mut self, partition: PartitionId, offsets: u32) {
        if let Some(log) = self.logs.get_mut(&partition) {
            log.end = log.end.plus(offsets);
            self.changed_logs.insert(partition);
        }
    }

    pub(super) fn set_log_start(&mut self, partition: PartitionId, offset: Offset) {
        if let Some(log) = self.logs.get_mut(&partition) {
            log.log_start = log.log_start.max(offset.min(log.end));
            let before = log.extents.len();
            log.extents.retain(|e| e.end_offset > log.log_start);
            log.published = log.published.saturating_sub(before - log.extents.len());
            self.changed_logs.insert(partition);
        }
    }
}
