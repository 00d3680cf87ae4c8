//! What readers and watchers of the fake see.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aquifer_format::{
    ids::{JournalSeq, ObjectId, Offset, PartitionId, SessionId},
    limits::LOCATE_EXTENTS_MAX,
};
use tokio::sync::mpsc;

use super::core::{Core, INCARNATION, TERM};
use crate::{
    error::MetadataError,
    extent::Extent,
    live::{self, LiveObjects},
    locate::{
        LocatePartition, LocateReply, LocateRequest, Located, OffsetSpec, OffsetsFound,
        OffsetsReply, OffsetsRequest,
    },
    mark::JournalMark,
    watch::{AgentView, CommonFrame, ExtentsFrame, Frame, InterestChange},
};

#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) session: SessionId,
    frames: mpsc::UnboundedSender<Frame>,
    waiting: Vec<Frame>,
    interests: BTreeMap<PartitionId, Offset>,
}

impl Core {
    pub(super) fn locate(&self, request: &LocateRequest) -> LocateReply {
        let partitions = request.partitions.iter().map(|p| self.locate_one(p));
        LocateReply {
            partitions: partitions.collect(),
        }
    }

    fn locate_one(&self, wanted: &LocatePartition) -> Option<Located> {
        let log = self.logs.get(&wanted.partition)?;
        let mut bytes = 0;
        let mut extents: Vec<Extent> = Vec::new();
        if wanted.from >= log.log_start {
            for extent in log.extents.iter().filter(|e| e.end_offset > wanted.from) {
                if !extents.is_empty() && bytes >= wanted.max_bytes
                    || extents.len() == LOCATE_EXTENTS_MAX
                {
                    break;
                }
                bytes += u64::from(extent.raw_bytes);
                extents.push(*extent);
            }
        }
        Some(Located {
            watermarks: log.watermarks(),
            extents,
        })
    }

    pub(super) fn live_objects(&self, objects: &[ObjectId]) -> Result<LiveObjects, MetadataError> {
        live::check(objects)?;
        let live = objects.iter().map(|object| self.known.contains(object));
        Ok(LiveObjects {
            cluster: self.cluster,
            incarnation: INCARNATION,
            upload_epoch: self.upload_epoch,
            live: live.collect(),
        })
    }

    pub(super) fn offsets(&self, request: &OffsetsRequest) -> OffsetsReply {
        let find = |(partition, spec): &(PartitionId, OffsetSpec)| {
            let log = self.logs.get(partition)?;
            let extent = match *spec {
                OffsetSpec::Watermarks => None,
                OffsetSpec::Timestamp(at) => log.extents.iter().find(|e| e.max_timestamp >= at),
                OffsetSpec::MaxTimestamp => {
                    log.extents.iter().rev().max_by_key(|e| e.max_timestamp)
                }
            };
            Some(OffsetsFound {
                watermarks: log.watermarks(),
                extent: extent.copied(),
            })
        };
        OffsetsReply {
            partitions: request.partitions.iter().map(find).collect(),
        }
    }

    pub(super) fn open_watch(
        &mut self,
        session: SessionId,
    ) -> Result<(u64, mpsc::UnboundedReceiver<Frame>), MetadataError> {
        self.session(session)?;
        let id = self.next();
        let (frames, queue) = mpsc::unbounded_channel();
        self.agents_changed = true;
        let watcher = Watcher {
            session,
            frames,
            waiting: Vec::new(),
            interests: BTreeMap::new(),
        };
        self.watchers.insert(id, watcher);
        let reset = CommonFrame {
            reset: true,
            topics: self.topics.values().cloned().collect(),
            watermarks: self
                .logs
                .iter()
                .map(|(id, log)| (*id, log.watermarks()))
                .collect(),
            agents: Some(self.agents()),
            broker_configs: Some(Arc::clone(&self.broker_configs)),
            ..self.common_frame()
        };
        let held = self.frames_held;
        let watcher = self.watchers.get_mut(&id).expect("inserted just above");
        watcher.push(Frame::Common(Arc::new(reset)), held);
        // the others hear of the new agent, the new one hears it twice
        self.publish();
        Ok((id, queue))
    }

    /// Compares what a caller remembers with what there is; nobody is served any more if that is less.
    pub(super) fn judge(&mut self, seen: Option<JournalMark>) -> Result<(), MetadataError> {
        let Some(seen) = seen.filter(|seen| seen.incarnation == INCARNATION) else {
            return Ok(());
        };
        if seen.seq <= self.seq && seen.hash == row_hash(seen.seq) {
            return Ok(());
        }
        let reason = format!("a caller was shown {seen}, the newest row is {}", self.seq);
        self.lost_rows = Some(reason.clone());
        self.break_commit_streams();
        self.break_watches();
        Err(MetadataError::LostRows { reason })
    }

    pub(super) fn close_watch(&mut self, id: u64) {
        if self.watchers.remove(&id).is_some() {
            self.agents_changed = true;
            self.publish();
        }
    }

    pub(super) fn break_watches(&mut self) {
        self.watchers.clear();
    }

    pub(super) fn set_frames_held(&mut self, held: bool) {
        self.frames_held = held;
        if !held {
            for watcher in self.watchers.values_mut() {
                for frame in std::mem::take(&mut watcher.waiting) {
                    watcher.push(frame, false);
                }
            }
        }
    }

    pub(super) fn interest(&mut self, id: u64, change: InterestChange) {
        let Some(watcher) = self.watchers.get_mut(&id) else {
            return;
        };
        match change {
            InterestChange::Presence { named } => {
                let session = watcher.session;
                if let Some(known) = self.sessions.get_mut(&session)
                    && known.named != named
                {
                    known.named = named;
                    self.agents_changed = true;
                    self.publish();
                }
            }
            InterestChange::Remove { partition } => {
                watcher.interests.remove(&partition);
            }
            InterestChange::Add { partition, from } => {
                let end = self.logs.get(&partition).map_or(from, |log| log.end);
                watcher.interests.insert(partition, end);
                let acknowledgement = ExtentsFrame {
                    seq: self.seq,
                    complete_from: vec![(partition, end)],
                    extents: Vec::new(),
                };
                watcher.push(Frame::Extents(acknowledgement), self.frames_held);
            }
        }
    }

    fn agents(&self) -> Vec<AgentView> {
        let live: BTreeSet<SessionId> = self.watchers.values().map(|w| w.session).collect();
        let sessions = self.sessions.iter().filter(|(id, _)| live.contains(id));
        let mut agents: Vec<AgentView> = sessions
            .filter(|(_, s)| s.named)
            .map(|(_, s)| AgentView {
                slot: s.slot,
                address: s.address.clone(),
            })
            .collect();
        agents.sort_by_key(|a| a.slot);
        agents.dedup_by_key(|a| a.slot);
        agents
    }

    fn common_frame(&self) -> CommonFrame {
        CommonFrame {
            term: TERM,
            seq: self.seq,
            hash: row_hash(self.seq),
            incarnation: INCARNATION,
            reset: false,
            upload_epoch: self.upload_epoch,
            topics: Vec::new(),
            deleted_topics: Vec::new(),
            watermarks: Vec::new(),
            agents: None,
            agents_complete: true,
            throttle_produce: self.throttle_produce,
            broker_configs: None,
        }
    }

    /// Ends a group commit: watchers hear what changed.
    pub(super) fn publish(&mut self) {
        self.seq.0 += 1;
        let topics = std::mem::take(&mut self.changed_topics);
        let changed = std::mem::take(&mut self.changed_logs);
        let mut frame = self.common_frame();
        for topic in topics {
            match self.topics.get(&topic) {
                Some(view) => frame.topics.push(Arc::clone(view)),
                None => frame.deleted_topics.push(topic),
            }
        }
        let mut extents = BTreeMap::new();
        for partition in changed {
            let Some(log) = self.logs.get_mut(&partition) else {
                continue;
            };
            frame.watermarks.push((partition, log.watermarks()));
            extents.insert(partition, log.extents[log.published..].to_vec());
            log.published = log.extents.len();
        }
        if std::mem::take(&mut self.agents_changed) {
            frame.agents = Some(self.agents());
        }
        if std::mem::take(&mut self.broker_configs_changed) {
            frame.broker_configs = Some(Arc::clone(&self.broker_configs));
        }
        let frame = Arc::new(frame);
        for watcher in self.watchers.values_mut() {
            watcher.push(Frame::Common(Arc::clone(&frame)), self.frames_held);
            let wanted = |(partition, extents): (&PartitionId, &Vec<Extent>)| {
                let from = *watcher.interests.get(partition)?;
                let new = extents.iter().filter(|e| e.base_offset >= from).copied();
                let new: Vec<Extent> = new.collect();
                (!new.is_empty()).then_some((*partition, new))
            };
            let extents: Vec<_> = extents.iter().filter_map(wanted).collect();
            if !extents.is_empty() {
                let frame = ExtentsFrame {
                    seq: self.seq,
                    complete_from: Vec::new(),
                    extents,
                };
                watcher.push(Frame::Extents(frame), self.frames_held);
            }
        }
    }
}

/// The fake's rows have no content: what stands at `seq` is always the same.
fn row_hash(seq: JournalSeq) -> [u8; 32] {
    let mut hash = [0xfa; 32];
    hash[..8].copy_from_slice(&seq.0.to_be_bytes());
    hash
}

impl Watcher {
    fn push(&mut self, frame: Frame, held: bool) {
        if held {
            self.waiting.push(frame);
        } else {
            // a watch that the agent dropped is closed by its task
            let _ = self.frames.send(frame);
        }
    }
}
