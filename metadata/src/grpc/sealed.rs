//! Common frames, encoded once for all watchers.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use aquifer_metadata_api::{
    grpc::{proto, wire},
    watch::CommonFrame,
};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// Frames that are remembered before those that nobody holds any more are looked for.
const SWEEP_MIN: usize = 64;

/// The encoded frames of those that some watcher still holds.
#[derive(Debug, Default)]
pub(super) struct SealedFrames {
    known: Mutex<Known>,
    encoded: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    /// By address. An entry keeps its frame's memory from being used again, so an address names one frame.
    frames: BTreeMap<usize, Entry>,
    sweep_at: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    frame: Weak<CommonFrame>,
    sealed: Arc<OnceCell<proto::Sealed>>,
}

impl SealedFrames {
    /// The frame, encoded by whoever asks first; the others wait for that.
    pub(super) async fn seal(&self, frame: &Arc<CommonFrame>) -> proto::Sealed {
        let sealed = self.known.lock().cell(frame);
        let sealed = sealed.get_or_init(|| async {
            self.encoded.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("aquifer_metadata_watch_frames_encoded_total").increment(1);
            wire::sealed_to(frame)
        });
        sealed.await.clone()
    }

    /// How many were encoded.
    pub(super) fn encoded(&self) -> u64 {
        self.encoded.load(Ordering::Relaxed)
    }
}

impl Known {
    fn cell(&mut self, frame: &Arc<CommonFrame>) -> Arc<OnceCell<proto::Sealed>> {
        if self.frames.len() >= self.sweep_at {
            self.frames
                .retain(|_, entry| entry.frame.strong_count() > 0);
            self.sweep_at = SWEEP_MIN.max(self.frames.len() * 2);
        }
        let entry = self.frames.entry(Arc::as_ptr(frame).addr());
        let entry = entry.or_insert_with(|| Entry {
            frame: Arc::downgrade(frame),
            sealed: Arc::default(),
        });
        Arc::clone(&entry.sealed)
    }
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{Incarnation, JournalSeq, LeaderTerm, UploadEpoch};

    use super::*;

    fn frame(seq: u64) -> Arc<CommonFrame> {
        Arc::new(CommonFrame {
            term: LeaderTerm(1),
            seq: JournalSeq(seq),
            hash: [0; 32],
            incarnation: Incarnation(1),
            reset: false,
            upload_epoch: UploadEpoch(1),
            topics: Vec::new(),
            deleted_topics: Vec::new(),
            watermarks: Vec::new(),
            agents: None,
            agents_complete: true,
            throttle_produce: false,
            broker_configs: None,
        })
    }

    #[tokio::test]
    async fn a_frame_is_encoded_once_and_never_taken_for_another() {
        let sealed = SealedFrames::default();
        // each is gone before the next one is made: allocators give the same memory again
        for seq in 1..=1_000 {
            let frame = frame(seq);
            let expected = wire::sealed_to(&frame);
            for _ in 0..3 {
                assert_eq!(sealed.seal(&frame).await, expected, "{seq}");
            }
        }
        assert_eq!(sealed.encoded(), 1_000);
        let kept = sealed.known.lock().frames.len();
        assert!(
            kept <= SWEEP_MIN,
            "{kept} frames are kept that nobody holds"
        );
    }
}
