//! A writer and a watcher that the checks drive.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use aquifer_format::ids::{
    CommitNumber, JournalSeq, ObjectId, ObjectLevel, Offset, PartitionId, PartitionIndex,
    ProducerEpoch, ProducerId, Sequence, TopicId,
};

use super::kafka::create_topics;
use crate::{
    CommitChannel, Metadata, WatchChannel,
    commit::{BatchOutcome, BatchRef, BatchSummary, Commit, CommitAnswer, CommitCall, Run},
    config::Configs,
    error::MetadataError,
    extent::Extent,
    locate::{LocatePartition, LocateRequest, Located},
    mark::JournalMark,
    register::{AgentAddress, RegisterRequest, Registration},
    watch::{AgentView, CommonFrame, ExtentsFrame, Frame, TopicView},
};

/// Nothing in the suite takes as long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Position of every run in its object.
pub(super) const RUN_POSITION: u64 = 8;

#[allow(
    clippy::disallowed_methods,
    reason = "the suite runs on any clock, and a check must not hang for ever"
)]
pub(super) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let Ok(output) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("{what} did not come within {PATIENCE:?}");
    };
    output
}

/// A topic made through the Kafka call.
pub(super) async fn topic(
    metadata: &dyn Metadata,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> TopicId {
    let results = create_topics(metadata, &[(name, partitions, configs)]).await;
    let created = results.first().expect("one result per topic");
    assert_eq!(created.error_code, 0, "creating {name}: {created:?}");
    TopicId(created.topic_id)
}

pub(super) fn partition(topic: TopicId, index: i32) -> PartitionId {
    PartitionId::new(topic, PartitionIndex(index))
}

pub(super) fn address() -> AgentAddress {
    AgentAddress {
        host: "127.0.0.1".to_owned(),
        port: 9092,
        node_ids: 1,
        zone: "zone-a".to_owned(),
        peer: "127.0.0.1:9400".to_owned(),
    }
}

/// A batch of a plain producer: 100 bytes per record.
pub(super) fn plain(records: u32, max_timestamp: i64) -> BatchSummary {
    BatchSummary {
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
        first_sequence: Sequence::NONE,
        records,
        bytes: records * 100,
        max_timestamp,
    }
}

/// A batch of an idempotent producer.
pub(super) fn sequenced(producer: i64, epoch: i16, first: i32, records: u32) -> BatchSummary {
    BatchSummary {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(epoch),
        first_sequence: Sequence(first),
        ..plain(records, 1_000)
    }
}

/// An agent with an open stream of commits.
pub(super) struct Writer {
    pub(super) metadata: Arc<dyn Metadata>,
    pub(super) registration: Registration,
    pub(super) channel: CommitChannel,
    next: u64,
    /// Outcomes so far, the newest per batch.
    pub(super) outcomes: BTreeMap<BatchRef, BatchOutcome>,
}

impl Writer {
    pub(super) async fn new(metadata: &Arc<dyn Metadata>) -> Self {
        let request = RegisterRequest::new(address());
        let registration = metadata.register(request).await.expect("registers");
        let channel = metadata.commits(registration.session).await;
        Self {
            metadata: Arc::clone(metadata),
            registration,
            channel: channel.expect("a new session has a stream"),
            next: 1,
            outcomes: BTreeMap::new(),
        }
    }

    /// Opens the stream again.
    pub(super) async fn reopen(&mut self) {
        let channel = self.metadata.commits(self.registration.session).await;
        self.channel = channel.expect("the session lives");
    }

    /// The next commit, of one object with these runs.
    pub(super) fn build(&mut self, runs: &[(PartitionId, Vec<BatchSummary>)]) -> Commit {
        let number = self.next;
        self.next += 1;
        let run = |(partition, batches): &(PartitionId, Vec<BatchSummary>)| Run {
            partition: *partition,
            position: RUN_POSITION,
            stored_bytes: batches.iter().map(|b| b.bytes).sum::<u32>() + 32,
            batches: batches.clone(),
        };
        let mut runs: Vec<Run> = runs.iter().map(run).collect();
        runs.sort_by_key(|r| r.partition);
        Commit {
            number: CommitNumber(number),
            answered_through: CommitNumber(0),
            object: ObjectId {
                incarnation: self.registration.incarnation,
                upload_epoch: self.registration.upload_epoch,
                writer: self.registration.slot,
                level: ObjectLevel::L0,
                unique: number,
            },
            object_bytes: 1 << 20,
            locations: vec![0],
            runs,
        }
    }

    pub(super) async fn send(&self, commit: Commit) {
        self.call(CommitCall::Commit(commit)).await;
    }

    pub(super) async fn call(&self, call: CommitCall) {
        let sent = soon("room for a call", self.channel.calls.send(call)).await;
        sent.expect("the stream is open");
    }

    /// The next item of the stream.
    pub(super) async fn item(&mut self) -> Option<Result<CommitAnswer, MetadataError>> {
        soon("an answer", self.channel.answers.recv()).await
    }

    /// Takes one answer.
    pub(super) async fn answer(&mut self) -> CommitAnswer {
        let item = self.item().await.expect("the stream goes on");
        let answer = item.expect("the call is in order");
        for (batch, outcome) in &answer.outcomes {
            assert_eq!(batch.number, answer.number, "{answer:?}");
            let before = self.outcomes.insert(*batch, *outcome);
            let decided = before.is_some_and(|b| b != BatchOutcome::Held);
            assert!(
                !decided || before == Some(*outcome),
                "the outcome of {batch:?} changed from {before:?} to {outcome:?}"
            );
        }
        answer
    }

    /// Takes answers until every batch of `number` has a final outcome; returns them in order.
    pub(super) async fn finals(&mut self, commit: &Commit) -> Vec<BatchOutcome> {
        loop {
            let known: Vec<BatchOutcome> = refs(commit)
                .iter()
                .filter_map(|r| self.outcomes.get(r).copied())
                .filter(|o| *o != BatchOutcome::Held)
                .collect();
            if known.len() == refs(commit).len() {
                return known;
            }
            self.answer().await;
        }
    }

    /// Commits one batch per call and waits for its first outcome.
    pub(super) async fn one(&mut self, to: PartitionId, batch: BatchSummary) -> BatchOutcome {
        let commit = self.build(&[(to, vec![batch])]);
        let reference = refs(&commit)[0];
        self.send(commit).await;
        while !self.outcomes.contains_key(&reference) {
            self.answer().await;
        }
        self.outcomes[&reference]
    }

    /// Appends one plain batch; returns its base offset.
    pub(super) async fn append(&mut self, to: PartitionId, records: u32) -> Offset {
        let outcome = self.one(to, plain(records, 1_000)).await;
        let BatchOutcome::Appended(placement) = outcome else {
            panic!("a plain batch was not appended: {outcome:?}");
        };
        placement.base_offset
    }
}

/// The batches of a commit, in order.
pub(super) fn refs(commit: &Commit) -> Vec<BatchRef> {
    let number = commit.number;
    let of_run = |(run, r): (u32, &Run)| {
        let batches = u32::try_from(r.batches.len()).expect("few batches");
        (0..batches).map(move |batch| BatchRef { number, run, batch })
    };
    (0u32..).zip(&commit.runs).flat_map(of_run).collect()
}

/// Base offset of a batch that was appended.
pub(super) fn appended(outcome: BatchOutcome) -> i64 {
    let BatchOutcome::Appended(placement) = outcome else {
        panic!("not appended: {outcome:?}");
    };
    placement.base_offset.0
}

/// What there is from `from` on, however many calls it takes.
pub(super) async fn locate_all(
    metadata: &dyn Metadata,
    partition: PartitionId,
    from: i64,
) -> Located {
    let mut all: Option<Located> = None;
    let mut from = Offset(from);
    loop {
        let located = locate(metadata, partition, from.0, u64::MAX).await;
        let located = located.expect("the partition exists");
        let Some(last) = located.extents.last() else {
            return all.unwrap_or(located);
        };
        from = last.end_offset;
        match &mut all {
            Some(all) => all.extents.extend(located.extents),
            None => all = Some(located),
        }
    }
}

pub(super) async fn locate(
    metadata: &dyn Metadata,
    partition: PartitionId,
    from: i64,
    max_bytes: u64,
) -> Option<Located> {
    let wanted = LocatePartition {
        partition,
        from: Offset(from),
        max_bytes,
    };
    let request = LocateRequest {
        partitions: vec![wanted],
    };
    let reply = metadata.locate(request).await.expect("locates");
    let mut partitions = reply.partitions;
    assert_eq!(partitions.len(), 1);
    partitions.pop().flatten()
}

/// Asserts that extents lie one after the other from `from` to `to`.
pub(super) fn assert_contiguous(extents: &[Extent], from: i64, to: i64) {
    let mut at = from;
    for extent in extents {
        assert_eq!(extent.base_offset.0, at, "gap or overlap: {extents:?}");
        assert!(extent.end_offset > extent.base_offset, "{extent:?}");
        at = extent.end_offset.0;
    }
    assert_eq!(at, to, "extents end early: {extents:?}");
}

/// A watch whose frames are checked and gathered.
pub(super) struct Watcher {
    pub(super) channel: WatchChannel,
    pub(super) seq: JournalSeq,
    /// The newest row that it was shown.
    pub(super) mark: JournalMark,
    pub(super) topics: BTreeMap<TopicId, Arc<TopicView>>,
    pub(super) agents: Vec<AgentView>,
    pub(super) high: BTreeMap<PartitionId, Offset>,
    pub(super) starts: BTreeMap<PartitionId, Offset>,
    pub(super) broker_configs: Arc<Configs>,
    pub(super) complete: BTreeMap<PartitionId, Offset>,
    pub(super) extents: BTreeMap<PartitionId, Vec<Extent>>,
}

impl Watcher {
    /// Opens a watch and takes its reset.
    pub(super) async fn new(writer: &Writer) -> Self {
        let session = writer.registration.session;
        let channel = writer.metadata.watch(session, None).await.expect("watches");
        let mut watcher = Self {
            channel,
            seq: JournalSeq(0),
            mark: JournalMark::default(),
            topics: BTreeMap::new(),
            agents: Vec::new(),
            high: BTreeMap::new(),
            starts: BTreeMap::new(),
            broker_configs: Arc::default(),
            complete: BTreeMap::new(),
            extents: BTreeMap::new(),
        };
        let frame = soon("a reset", watcher.channel.frames.recv()).await;
        let Some(Frame::Common(frame)) = frame else {
            panic!("the first frame is not a common one: {frame:?}");
        };
        assert!(frame.reset, "the first frame is no reset");
        assert!(frame.agents.is_some(), "a reset names the agents");
        assert!(
            frame.broker_configs.is_some(),
            "a reset has the broker configs"
        );
        watcher.common(&frame);
        watcher
    }

    /// Takes the next frame.
    pub(super) async fn step(&mut self) {
        let frame = soon("a frame", self.channel.frames.recv()).await;
        match frame.expect("the watch goes on") {
            Frame::Common(frame) => {
                assert!(!frame.reset, "a watch that keeps up is not reset");
                self.common(&frame);
            }
            Frame::Extents(frame) => self.take_extents(frame),
        }
    }

    /// Takes frames until everything was shown that was decided before the call.
    pub(super) async fn catch_up(&mut self, metadata: &dyn Metadata) {
        let (_, barrier) = metadata.barrier().await.expect("a barrier");
        self.reach(barrier).await;
    }

    /// Takes frames until the state of `seq` was shown.
    pub(super) async fn reach(&mut self, seq: JournalSeq) {
        while self.seq < seq {
            self.step().await;
        }
    }

    fn common(&mut self, frame: &CommonFrame) {
        let soft = frame.topics.is_empty()
            && frame.deleted_topics.is_empty()
            && frame.watermarks.is_empty()
            && frame.broker_configs.is_none();
        assert!(
            frame.seq > self.seq || soft && frame.seq == self.seq,
            "a second common frame of {} (after {}): {frame:?}",
            frame.seq,
            self.seq
        );
        assert_eq!(
            frame.seq == self.seq,
            frame.hash == self.mark.hash,
            "two rows have one hash, or one row has two: {frame:?} after {}",
            self.mark
        );
        self.seq = frame.seq;
        self.mark = frame.mark();
        for topic in &frame.topics {
            self.topics.insert(topic.id, Arc::clone(topic));
        }
        for topic in &frame.deleted_topics {
            let known = self.topics.remove(topic);
            assert!(known.is_some(), "an unknown topic was deleted");
        }
        for (partition, watermarks) in &frame.watermarks {
            let before = self.high.insert(*partition, watermarks.high_watermark);
            assert!(
                before.is_none_or(|before| before <= watermarks.high_watermark),
                "the high watermark of {partition} fell"
            );
            let before = self.starts.insert(*partition, watermarks.log_start);
            assert!(
                before.is_none_or(|before| before <= watermarks.log_start),
                "the log start of {partition} fell"
            );
        }
        if let Some(configs) = &frame.broker_configs {
            self.broker_configs = Arc::clone(configs);
        }
        if let Some(agents) = &frame.agents {
            self.agents.clone_from(agents);
        }
    }

    fn take_extents(&mut self, frame: ExtentsFrame) {
        assert_eq!(frame.seq, self.seq, "extents come after their common frame");
        for (partition, from) in frame.complete_from {
            self.complete.insert(partition, from);
        }
        for (partition, extents) in frame.extents {
            self.extents.entry(partition).or_default().extend(extents);
        }
    }
}
