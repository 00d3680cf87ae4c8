//! An in-memory metadata service for the tests of agents: one plain map behind a lock, none of the
//! real service's code, with switches to make it slow, broken or unavailable.
//!
//! It spawns on the current tokio runtime and takes its (virtual, if paused) time from there; its wall
//! clock starts at a fixed date.

mod core;
mod kafka;
mod log;
mod readers;
mod sessions;
mod stream;
#[cfg(test)]
mod tests;
mod upkeep;

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::{
    ClusterId, JournalSeq, LeaderTerm, ObjectId, PartitionId, PartitionIndex, SessionId, TopicId,
    UploadEpoch,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;

use self::core::Core;
use crate::{
    client::{CommitChannel, Metadata, WatchChannel},
    commit::{BatchOutcome, BatchRef, Run},
    error::MetadataError,
    extent::Watermarks,
    kafka::KafkaCall,
    live::LiveObjects,
    locate::{LocateReply, LocateRequest, OffsetsReply, OffsetsRequest},
    mark::JournalMark,
    register::{RegisterRequest, Registration},
};

/// Entries in the channels towards agents.
const CHANNEL_ENTRIES: usize = 64;
/// The fake's wall clock when it is made: 2024-01-01, in milliseconds since 1970.
pub const FAKE_START_UNIX_MILLIS: i64 = 1_704_067_200_000;

/// The fake. Clones of the `Arc` share it.
#[derive(Debug)]
pub struct Fake {
    core: Arc<Mutex<Core>>,
}

impl Fake {
    /// An empty cluster.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let core = Core::new();
        Arc::new(Self {
            core: Arc::new(Mutex::new(core)),
        })
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    /// Its cluster id.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.core().cluster
    }

    /// Creates a topic, or panics if the name is taken.
    pub fn create_topic(&self, name: &str, partitions: u32, configs: &[(&str, &str)]) -> TopicId {
        let configs = configs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let mut core = self.core();
        let id = core
            .create_topic(name, partitions, configs)
            .expect("a test names a topic once");
        core.publish();
        id
    }

    /// Deletes a topic, if it is there.
    pub fn delete_topic(&self, topic: TopicId) {
        let mut core = self.core();
        core.delete_topic(topic);
        core.publish();
    }

    /// Appends batches as a commit would, without a session. A batch that is held stays so until its
    /// predecessor comes.
    pub fn append(&self, object: ObjectId, runs: Vec<Run>) -> Vec<(BatchRef, BatchOutcome)> {
        let mut core = self.core();
        let outcomes = core.append(object, &runs);
        core.publish();
        outcomes
    }

    /// Watermarks of a partition.
    #[must_use]
    pub fn watermarks(&self, topic: TopicId, partition: i32) -> Option<Watermarks> {
        let id = PartitionId::new(topic, PartitionIndex(partition));
        self.core().logs.get(&id).map(log::Log::watermarks)
    }

    /// Moves a partition's log start (as retention would).
    pub fn set_log_start(&self, partition: PartitionId, offset: aquifer_format::ids::Offset) {
        let mut core = self.core();
        core.set_log_start(partition, offset);
        core.publish();
    }

    /// Leaves offsets out of a partition, as an accepted loss does.
    pub fn skip_offsets(&self, partition: PartitionId, offsets: u32) {
        let mut core = self.core();
        core.skip_offsets(partition, offsets);
        core.publish();
    }

    /// Moves the upload epoch on.
    pub fn advance_upload_epoch(&self, by: u32) {
        let mut core = self.core();
        core.upload_epoch = UploadEpoch(core.upload_epoch.0 + by);
        core.publish();
    }

    /// Ends a session, as silence for 10 upload epochs would.
    pub fn end_session(&self, session: SessionId) {
        let mut core = self.core();
        core.end_session(session);
        core.publish();
    }

    /// Answers to commits leave this much later than they were decided.
    pub fn set_answer_delay(&self, delay: Duration) {
        self.core().answer_delay = delay;
    }

    /// True: answers to commits are lost, though they were decided. Break the streams, or agents wait
    /// for ever.
    pub fn set_lose_answers(&self, lose: bool) {
        self.core().lose_answers = lose;
    }

    /// True: frames to watchers wait (views fall behind) until this is called with false.
    pub fn set_frames_held(&self, held: bool) {
        self.core().set_frames_held(held);
    }

    /// `Some(may_have_happened)`: every call fails, and open streams break; None: it serves again.
    pub fn set_unavailable(&self, unavailable: Option<bool>) {
        let mut core = self.core();
        core.unavailable = unavailable;
        if unavailable.is_some() {
            core.break_commit_streams();
            core.break_watches();
        }
    }

    /// Breaks every open commit stream; sessions live on.
    pub fn break_commit_streams(&self) {
        self.core().break_commit_streams();
    }

    /// Breaks every open watch.
    pub fn break_watches(&self) {
        self.core().break_watches();
    }

    /// Sets the throttle flag of common frames.
    pub fn set_throttle_produce(&self, throttle: bool) {
        let mut core = self.core();
        core.throttle_produce = throttle;
        core.publish();
    }

    /// True: every new batch is rejected with `OverBudget`.
    pub fn set_over_budget(&self, over: bool) {
        self.core().over_budget = over;
    }

    /// True: its journal counts as having lost rows: every call is refused, and open streams break.
    pub fn set_lost_rows(&self, lost: bool) {
        let mut core = self.core();
        core.lost_rows = lost.then(|| "the fake was told so".to_owned());
        if lost {
            core.break_commit_streams();
            core.break_watches();
        }
    }

    /// Why it refuses every call as having lost rows, if it does.
    #[must_use]
    pub fn lost_rows(&self) -> Option<String> {
        self.core().lost_rows.clone()
    }

    /// True: every call is refused, as if it did not admit the caller; open streams go on.
    pub fn set_refusing(&self, refusing: bool) {
        self.core().refusing = refusing;
    }

    fn available(&self) -> Result<MutexGuard<'_, Core>, MetadataError> {
        let core = self.core();
        if core.refusing {
            let reason = "the fake was told to".to_owned();
            return Err(MetadataError::Refused { reason });
        }
        if let Some(reason) = core.lost_rows.clone() {
            return Err(MetadataError::LostRows { reason });
        }
        match core.unavailable {
            None => Ok(core),
            Some(may_have_happened) => Err(MetadataError::Unavailable {
                reason: "the fake was told to be".to_owned(),
                may_have_happened,
            }),
        }
    }
}

#[async_trait]
impl Metadata for Fake {
    async fn register(&self, request: RegisterRequest) -> Result<Registration, MetadataError> {
        let mut core = self.available()?;
        core.judge(request.seen)?;
        Ok(core.register(request))
    }

    async fn commits(&self, session: SessionId) -> Result<CommitChannel, MetadataError> {
        let (calls, calls_of_agent) = mpsc::channel(CHANNEL_ENTRIES);
        let (to_agent, answers) = mpsc::channel(CHANNEL_ENTRIES);
        let stream = self.available()?.open_commits(session)?;
        stream::spawn_commits(
            Arc::clone(&self.core),
            session,
            stream,
            calls_of_agent,
            to_agent,
        );
        Ok(CommitChannel { calls, answers })
    }

    async fn locate(&self, request: LocateRequest) -> Result<LocateReply, MetadataError> {
        Ok(self.available()?.locate(&request))
    }

    async fn offsets(&self, request: OffsetsRequest) -> Result<OffsetsReply, MetadataError> {
        Ok(self.available()?.offsets(&request))
    }

    async fn barrier(&self) -> Result<(LeaderTerm, JournalSeq), MetadataError> {
        let core = self.available()?;
        Ok((core::TERM, core.seq))
    }

    async fn live_objects(&self, objects: Vec<ObjectId>) -> Result<LiveObjects, MetadataError> {
        self.available()?.live_objects(&objects)
    }

    async fn watch(
        &self,
        session: SessionId,
        seen: Option<JournalMark>,
    ) -> Result<WatchChannel, MetadataError> {
        let (interests, interests_of_agent) = mpsc::channel(CHANNEL_ENTRIES);
        let (to_agent, frames) = mpsc::channel(CHANNEL_ENTRIES);
        let (watcher, queue) = {
            let mut core = self.available()?;
            core.judge(seen)?;
            core.open_watch(session)?
        };
        stream::spawn_watch(
            Arc::clone(&self.core),
            watcher,
            queue,
            interests_of_agent,
            to_agent,
        );
        Ok(WatchChannel { interests, frames })
    }

    async fn kafka(&self, call: KafkaCall) -> Result<Bytes, MetadataError> {
        kafka::answer(&mut *self.available()?, call)
    }
}
