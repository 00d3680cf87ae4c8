//! What watchers are told: one common frame per group commit for all of them, extents for those who
//! are interested.
//!
//! Each watcher has a queue that is bounded in frames and (about) in bytes. A watcher that cannot keep
//! up is cut: its channel ends after what it has, and its next watch begins with a reset.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use aquifer_format::ids::{JournalSeq, Offset, PartitionId, SessionId};
use aquifer_metadata_api::{
    MetadataError,
    config::Configs,
    extent::{Extent, Watermarks},
    watch::{AgentView, CommonFrame, ExtentsFrame, Frame},
};
use aquifer_store::Monotonic;
use tokio::sync::{mpsc, oneshot};

use crate::{journal::RowHash, registry::Registry, sequencer::request::OpenedWatch};

mod interests;
#[cfg(test)]
mod tests;

pub(crate) use interests::Interests;

/// Frames that wait for one watcher at most: more than two seconds of group commits on a fast disk.
const QUEUE_FRAMES_MAX: usize = 4_096;
/// Bytes that wait for one watcher at most (a common frame that several wait for counts for each).
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Interests of one watcher at most; a bound on what one agent's bug can cost.
const INTERESTS_MAX: usize = 1_000_000;

/// Names a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WatcherId(pub(crate) u64);

/// How full a watcher's queue is; whoever takes a frame out says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatcherQueue(Arc<Queued>);

#[derive(Debug, Default)]
struct Queued {
    frames: AtomicUsize,
    bytes: AtomicUsize,
}

impl WatcherQueue {
    /// Counts a frame; false = there is no room for it.
    fn enter(&self, bytes: usize) -> bool {
        let frames = self.0.frames.fetch_add(1, Ordering::Relaxed);
        let before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        // a frame that is larger than the bound (a reset of a large cluster) may wait alone
        frames < QUEUE_FRAMES_MAX && (before == 0 || before + bytes <= QUEUE_BYTES_MAX)
    }

    /// A frame was handed over.
    pub(crate) fn leave(&self, frame: &Frame) {
        self.0.frames.fetch_sub(1, Ordering::Relaxed);
        self.0
            .bytes
            .fetch_sub(frame_bytes(frame), Ordering::Relaxed);
    }
}

/// About how much memory a frame takes.
fn frame_bytes(frame: &Frame) -> usize {
    match frame {
        Frame::Common(common) => {
            let topics = common.topics.iter();
            256 + common.topics.len() * 256
                + topics.map(|t| configs_bytes(&t.configs)).sum::<usize>()
                + common.watermarks.len() * size_of::<(PartitionId, Watermarks)>()
                + common.agents.as_ref().map_or(0, Vec::len) * 128
                + common.broker_configs.as_deref().map_or(0, configs_bytes)
        }
        Frame::Extents(extents) => {
            let count: usize = extents.extents.iter().map(|(_, of)| of.len()).sum();
            128 + count * size_of::<Extent>() + extents.complete_from.len() * 32
        }
    }
}

fn configs_bytes(configs: &Configs) -> usize {
    let bytes = configs.iter().map(|(name, value)| name.len() + value.len());
    configs.len() * 64 + bytes.sum::<usize>()
}

/// A watch whose reset is not durable yet.
#[derive(Debug)]
pub(crate) struct NewWatcher {
    pub(crate) session: SessionId,
    pub(crate) agent: AgentView,
    pub(crate) reply: oneshot::Sender<Result<OpenedWatch, MetadataError>>,
}

/// An interest that is complete from this group on.
#[derive(Debug)]
pub(crate) struct Acknowledgement {
    pub(crate) watcher: WatcherId,
    pub(crate) partition: PartitionId,
    pub(crate) complete_from: Offset,
    /// What lies between there and where the interest begins.
    pub(crate) extents: Vec<Extent>,
}

/// What watchers are told of one group.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) seq: JournalSeq,
    /// None = nothing but acknowledgements.
    pub(crate) common: Option<CommonFrame>,
    /// For new watchers, instead of `common`.
    pub(crate) reset: Option<CommonFrame>,
    pub(crate) new_watchers: Vec<NewWatcher>,
    pub(crate) acknowledgements: Vec<Acknowledgement>,
    /// Of partitions that somebody is interested in, sorted; those of each in offset order.
    pub(crate) extents: Vec<(PartitionId, Vec<Extent>)>,
}

impl Publication {
    /// Says what the hash of its row is, once that is known.
    pub(crate) fn set_hash(&mut self, hash: RowHash) {
        for frame in self.common.iter_mut().chain(&mut self.reset) {
            frame.hash = hash;
        }
    }
}

#[derive(Debug)]
struct Watcher {
    session: SessionId,
    agent: AgentView,
    frames: mpsc::UnboundedSender<Frame>,
    queue: WatcherQueue,
}

impl Watcher {
    /// False = it is too slow, or gone.
    fn push(&self, frame: Frame) -> bool {
        self.queue.enter(frame_bytes(&frame)) && self.frames.send(frame).is_ok()
    }
}

/// All watchers, and the agents that they stand for.
#[derive(Debug)]
pub(crate) struct Hub {
    watchers: BTreeMap<WatcherId, Watcher>,
    interests: Interests,
    next: u64,
    pub(crate) registry: Registry,
    /// Sessions of watches that ended since the registry heard of that.
    ended: Vec<SessionId>,
}

impl Hub {
    /// Without watchers; the leader begins now.
    pub(crate) fn new(now: Monotonic) -> Self {
        Self {
            watchers: BTreeMap::new(),
            interests: Interests::default(),
            next: 0,
            registry: Registry::new(now),
            ended: Vec::new(),
        }
    }

    /// How many watchers there are.
    pub(crate) fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Who wants which extents.
    pub(crate) fn interests(&self) -> &Interests {
        &self.interests
    }

    /// Tells the registry of watches that ended.
    pub(crate) fn settle(&mut self, now: Monotonic) {
        for session in std::mem::take(&mut self.ended) {
            self.registry.closed(session, now);
        }
    }

    /// The agent of a watcher says that it lives.
    pub(crate) fn present(&mut self, watcher: WatcherId, named: bool, now: Monotonic) {
        if let Some(known) = self.watchers.get(&watcher) {
            self.registry
                .present(known.session, &known.agent, named, now);
        }
    }

    /// Whether `session` watches.
    pub(crate) fn watches(&self, session: SessionId) -> bool {
        self.watchers.values().any(|w| w.session == session)
    }

    /// Begins to send extents of `partition` from `begin` on; false = no such watcher.
    pub(crate) fn add_interest(
        &mut self,
        watcher: WatcherId,
        partition: PartitionId,
        begin: Offset,
    ) -> bool {
        let Some(known) = self.watchers.get(&watcher) else {
            return false;
        };
        if self.interests.count(watcher) >= INTERESTS_MAX {
            tracing::warn!(session = %known.session, "cutting a watcher with too many interests");
            self.close(watcher);
            return false;
        }
        self.interests.add(watcher, partition, begin);
        true
    }

    /// Ends an interest.
    pub(crate) fn remove_interest(&mut self, watcher: WatcherId, partition: PartitionId) {
        self.interests.remove(watcher, partition);
    }

    /// Ends a watch.
    pub(crate) fn close(&mut self, watcher: WatcherId) {
        self.interests.forget(watcher);
        if let Some(watcher) = self.watchers.remove(&watcher) {
            self.ended.push(watcher.session);
        }
    }

    /// Ends the watches of a session that has ended.
    pub(crate) fn close_session(&mut self, session: SessionId) {
        self.watchers.retain(|id, watcher| {
            let stays = watcher.session != session;
            if !stays {
                self.interests.forget(*id);
            }
            stays
        });
        self.registry.ended(session);
    }

    /// Tells every watcher of a group that is durable now.
    pub(crate) fn publish(&mut self, publication: Publication) {
        let mut extents = self.extents_frames(publication.acknowledgements, &publication.extents);
        let common = publication.common.map(Arc::new);
        let mut cut = Vec::new();
        for (id, watcher) in &self.watchers {
            let common = common.as_ref();
            let mut kept =
                common.is_none_or(|common| watcher.push(Frame::Common(Arc::clone(common))));
            if let Some(mut frame) = extents.remove(id) {
                frame.seq = publication.seq;
                kept = kept && watcher.push(Frame::Extents(frame));
            }
            if !kept {
                cut.push(*id);
            }
        }
        for id in cut {
            self.interests.forget(id);
            if let Some(watcher) = self.watchers.remove(&id) {
                self.ended.push(watcher.session);
                if !watcher.frames.is_closed() {
                    metrics::counter!("aquifer_metadata_watchers_cut_total").increment(1);
                    tracing::warn!(session = %watcher.session, "cutting a watcher that does not keep up");
                }
            }
        }
        if let Some(reset) = publication.reset.map(Arc::new) {
            for new in publication.new_watchers {
                self.attach(new, &reset);
            }
        }
    }

    /// What each watcher is told of extents, if anything.
    fn extents_frames(
        &self,
        acknowledgements: Vec<Acknowledgement>,
        new: &[(PartitionId, Vec<Extent>)],
    ) -> BTreeMap<WatcherId, ExtentsFrame> {
        let mut frames: BTreeMap<WatcherId, ExtentsFrame> = BTreeMap::new();
        // Where the extents are that came with the last acknowledgement. They end where new ones begin.
        let mut tails: BTreeMap<(WatcherId, PartitionId), usize> = BTreeMap::new();
        for acknowledgement in acknowledgements {
            let Acknowledgement {
                watcher,
                partition,
                complete_from,
                extents: tail,
            } = acknowledgement;
            let frame = frames.entry(watcher).or_default();
            frame.complete_from.push((partition, complete_from));
            if tail.is_empty() {
                tails.remove(&(watcher, partition));
            } else {
                tails.insert((watcher, partition), frame.extents.len());
                frame.extents.push((partition, tail));
            }
        }
        for (partition, new) in new {
            for (watcher, begin) in self.interests.of(partition) {
                let wanted = new.partition_point(|extent| extent.base_offset < *begin);
                if wanted == new.len() {
                    continue;
                }
                let frame = frames.entry(*watcher).or_default();
                let tail = tails.get(&(*watcher, *partition));
                match tail.and_then(|at| frame.extents.get_mut(*at)) {
                    Some((_, tail)) => tail.extend_from_slice(&new[wanted..]),
                    None => frame.extents.push((*partition, new[wanted..].to_vec())),
                }
            }
        }
        frames
    }

    fn attach(&mut self, new: NewWatcher, reset: &Arc<CommonFrame>) {
        self.next += 1;
        let id = WatcherId(self.next);
        let (frames, receiver) = mpsc::unbounded_channel();
        let session = new.session;
        let watcher = Watcher {
            session,
            agent: new.agent,
            frames,
            queue: WatcherQueue::default(),
        };
        // alone in its queue: there is room
        watcher.push(Frame::Common(Arc::clone(reset)));
        let opened = OpenedWatch {
            watcher: id,
            frames: receiver,
            queue: watcher.queue.clone(),
        };
        if new.reply.send(Ok(opened)).is_ok() {
            self.watchers.insert(id, watcher);
        } else {
            self.ended.push(session);
        }
    }
}
