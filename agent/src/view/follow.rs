//! The task that follows the watch: opens it, applies frames, tells the leader of interests.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::LeaderTerm;
use aquifer_metadata_api::{
    MetadataError, WatchChannel,
    register::Registration,
    watch::{CommonFrame, ExtentsFrame, Frame, InterestChange, PRESENCE_EVERY},
};
use tokio::sync::watch;

use super::View;
use crate::session::AgentSession;

/// First and longest pause before a broken watch is opened again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Pause before the leader is told again that this agent lives, where the watch takes no news just now.
const PRESENCE_RETRY: Duration = Duration::from_millis(100);
/// How long those who wait for a partition are left waiting for its extents after its watermark
/// moved. The extents come right behind it; where none come (only a mark moved), this is the delay.
const EXTENTS_LATE: Duration = Duration::from_millis(10);
/// How often interests that nobody uses are looked for.
const INTEREST_SWEEP: Duration = Duration::from_secs(15);

pub(super) async fn follow(view: Arc<View>, agent: Arc<AgentSession>) {
    let mut registrations = agent.subscribe();
    let mut pause = BACK_OFF.0;
    loop {
        let session = registrations.borrow_and_update().session;
        let opened = view.metadata.watch(session, agent.seen()).await;
        agent.note_watch(&opened);
        match opened {
            Ok(channel) => {
                if follow_channel(&view, &agent, channel, &mut registrations).await {
                    pause = BACK_OFF.0;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot watch the metadata service; trying again");
                if let MetadataError::UnknownSession { session } = error {
                    agent.report_lost(session);
                }
            }
        }
        metrics::counter!("aquifer_view_watch_reopened_total").increment(1);
        let jitter = view.ports.rand.next_u64() % 16;
        let next = pause + pause.mul_f64(0.05) * u32::try_from(jitter).expect("below 16");
        // A new registration is worth a try at once.
        let _ = view.ports.timeout(next, registrations.changed()).await;
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

/// Follows one watch until it breaks or the session changes; true if it brought anything.
async fn follow_channel(
    view: &View,
    agent: &AgentSession,
    mut channel: WatchChannel,
    registrations: &mut watch::Receiver<Registration>,
) -> bool {
    let mut began = false;
    let mut registered = true;
    let mut sweep_at = view.ports.clock.now().plus(INTEREST_SWEEP);
    let mut named = view.named.subscribe();
    let mut present_at = view.ports.clock.now();
    loop {
        let expecting = view.parked.is_expecting();
        let telling = began && view.parked.has_unsent();
        tokio::select! {
            biased;
            // Before the frames: however many come, the leader must hear that this agent lives.
            () = view.ports.clock.sleep_until(present_at), if began => {
                let presence = InterestChange::Presence { named: *named.borrow_and_update() };
                let pause = match channel.interests.try_send(presence) {
                    Ok(()) => PRESENCE_EVERY,
                    Err(_) => PRESENCE_RETRY,
                };
                present_at = view.ports.clock.now().plus(pause);
            }
            Ok(()) = named.changed(), if began => present_at = view.ports.clock.now(),
            frame = channel.frames.recv() => match frame {
                Some(Frame::Common(frame)) => {
                    if !apply_common(view, &frame, began) {
                        return began;
                    }
                    agent.saw(frame.mark());
                    began = true;
                }
                Some(Frame::Extents(frame)) => apply_extents(view, &frame),
                None => return began,
            },
            changed = registrations.changed(), if registered => {
                if changed.is_ok() {
                    return true;
                }
                // The agent is going down; the watch is of use until then.
                registered = false;
            }
            permit = channel.interests.reserve(), if telling => match permit {
                Ok(permit) => {
                    if let Some(change) = view.parked.next_unsent() {
                        permit.send(change);
                    }
                }
                Err(_) => return began,
            },
            () = view.parked.changed.notified() => {}
            () = view.ports.sleep(EXTENTS_LATE), if expecting => view.parked.wake_expected(),
            () = view.ports.clock.sleep_until(sweep_at) => {
                view.parked.drop_unused();
                sweep_at = view.ports.clock.now().plus(INTEREST_SWEEP);
            }
        }
    }
}

/// False = the frame does not continue what this view has seen: watch again.
fn apply_common(view: &View, frame: &CommonFrame, began: bool) -> bool {
    let (term, seq) = *view.position.borrow();
    if frame.term < term {
        tracing::warn!(frame = %frame.term, seen = %term, "a frame of a deposed metadata leader");
        return false;
    }
    if !began && !frame.reset {
        tracing::error!(seq = %frame.seq, "a watch did not begin with a reset");
        return false;
    }
    if frame.reset && term != LeaderTerm(0) && frame.seq < seq {
        // An older state would take back what readers were shown.
        tracing::warn!(frame = %frame.seq, seen = %seq, "a reset behind what was seen");
        if frame.incarnation == view.incarnation() {
            return false;
        }
    }
    let changes = view.snapshot.write().apply(frame);
    {
        let mut extents = view.extents.lock();
        if changes.new_incarnation {
            extents.clear();
        }
        for topic in &changes.deleted {
            extents.forget_topic(*topic);
        }
    }
    if frame.reset {
        let snapshot = view.snapshot.read();
        view.parked
            .reset(|partition| snapshot.watermarks(partition).map(|w| w.high_watermark));
        drop(snapshot);
        view.parked.changed.notify_one();
    } else {
        view.parked.moved(&changes.moved);
        for topic in &changes.deleted {
            view.parked.wake_topic(*topic);
        }
    }
    view.position.send_replace((frame.term, frame.seq));
    // Where a watermark fell only the whole state can say how things are.
    !changes.fell
}

fn apply_extents(view: &View, frame: &ExtentsFrame) {
    {
        let now = view.upload_epoch();
        let mut extents = view.extents.lock();
        for (partition, new) in &frame.extents {
            if let Some(first) = new.first() {
                extents.insert(*partition, first.base_offset, new, now);
            }
        }
    }
    view.parked.extents_arrived(&frame.complete_from);
}
