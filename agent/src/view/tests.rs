//! The view over a leader that says exactly what a test wants.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aquifer_format::ids::{
    ClusterId, Incarnation, JournalSeq, LeaderEpoch, LeaderTerm, ObjectId, ObjectLevel, Offset,
    PartitionId, PartitionIndex, SessionId, TopicId, UploadEpoch, WriterSlot,
};
use aquifer_metadata_api::{
    CommitChannel, Metadata, MetadataError, WatchChannel,
    extent::{Extent, Watermarks},
    kafka::KafkaCall,
    live::LiveObjects,
    locate::{LocateReply, LocateRequest, OffsetsReply, OffsetsRequest},
    mark::JournalMark,
    register::{AgentAddress, RegisterRequest, Registration},
    watch::{AgentView, CommonFrame, ExtentsFrame, Frame, InterestChange, TopicView},
};
use aquifer_store::Ports;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Parking, View, ViewSettings};
use crate::session::AgentSession;

type Opened = (mpsc::Receiver<InterestChange>, mpsc::Sender<Frame>);

/// A leader whose watches the test holds the other end of.
#[derive(Debug)]
struct Scripted {
    opened: mpsc::UnboundedSender<Opened>,
    position: Mutex<(LeaderTerm, JournalSeq)>,
    /// What the last watch was opened with.
    seen: Mutex<Option<JournalMark>>,
    lost_rows: Mutex<bool>,
}

fn unavailable() -> MetadataError {
    MetadataError::Unavailable {
        reason: "not part of the script".to_owned(),
        may_have_happened: false,
    }
}

#[async_trait]
impl Metadata for Scripted {
    async fn register(&self, _: RegisterRequest) -> Result<Registration, MetadataError> {
        Ok(Registration {
            slot: WriterSlot(1),
            session: SessionId(1),
            cluster: ClusterId(Uuid::from_u128(1)),
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(1),
        })
    }

    async fn commits(&self, _: SessionId) -> Result<CommitChannel, MetadataError> {
        Err(unavailable())
    }

    async fn locate(&self, _: LocateRequest) -> Result<LocateReply, MetadataError> {
        Err(unavailable())
    }

    async fn offsets(&self, _: OffsetsRequest) -> Result<OffsetsReply, MetadataError> {
        Err(unavailable())
    }

    async fn barrier(&self) -> Result<(LeaderTerm, JournalSeq), MetadataError> {
        Ok(*self.position.lock())
    }

    async fn live_objects(&self, _: Vec<ObjectId>) -> Result<LiveObjects, MetadataError> {
        Err(unavailable())
    }

    async fn watch(
        &self,
        _: SessionId,
        seen: Option<JournalMark>,
    ) -> Result<WatchChannel, MetadataError> {
        *self.seen.lock() = seen;
        if *self.lost_rows.lock() {
            let reason = "told so".to_owned();
            return Err(MetadataError::LostRows { reason });
        }
        // Room for some minutes of the agent saying that it lives.
        let (interests, told) = mpsc::channel(256);
        let (say, frames) = mpsc::channel(16);
        self.opened.send((told, say)).map_err(|_| unavailable())?;
        Ok(WatchChannel { interests, frames })
    }

    async fn kafka(&self, _: KafkaCall) -> Result<Bytes, MetadataError> {
        Err(unavailable())
    }
}

struct Script {
    view: Arc<View>,
    session: Arc<AgentSession>,
    ports: Ports,
    leader: Arc<Scripted>,
    opened: mpsc::UnboundedReceiver<Opened>,
    told: mpsc::Receiver<InterestChange>,
    say: mpsc::Sender<Frame>,
    seq: u64,
}

impl Script {
    async fn new() -> Self {
        let ports = Ports::simulated(1, 0);
        let (sender, mut opened) = mpsc::unbounded_channel();
        let leader = Arc::new(Scripted {
            opened: sender,
            position: Mutex::new((LeaderTerm(1), JournalSeq(1))),
            seen: Mutex::default(),
            lost_rows: Mutex::default(),
        });
        let request = RegisterRequest {
            previous_slot: None,
            agent: address(),
            seen: None,
        };
        let seam = Arc::clone(&leader) as Arc<dyn Metadata>;
        let session = AgentSession::register(Arc::clone(&seam), ports.clone(), request)
            .await
            .unwrap();
        let followed = Arc::clone(&session);
        let view = View::start(seam, followed, ports.clone(), ViewSettings::default());
        let (told, say) = opened.recv().await.unwrap();
        Self {
            view,
            session,
            ports,
            leader,
            opened,
            told,
            say,
            seq: 0,
        }
    }

    async fn say(&self, frame: Frame) {
        self.say.send(frame).await.unwrap();
        self.settle().await;
    }

    async fn common(&mut self, change: impl FnOnce(&mut CommonFrame)) {
        self.seq += 1;
        let mut frame = CommonFrame {
            term: LeaderTerm(1),
            seq: JournalSeq(self.seq),
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
        };
        change(&mut frame);
        self.say(Frame::Common(Arc::new(frame))).await;
    }

    /// A reset with topic `t` of two partitions.
    async fn reset(&mut self, marks: &[(i32, i64)]) {
        let marks = marks
            .iter()
            .map(|(i, high)| (partition(*i), marks_at(*high)));
        let marks: Vec<_> = marks.collect();
        self.common(|frame| {
            frame.reset = true;
            frame.topics = vec![topic(7, "t")];
            frame.watermarks = marks;
            frame.agents = Some(vec![agent(2), agent(1)]);
        })
        .await;
    }

    async fn high(&mut self, index: i32, high: i64) {
        self.common(|frame| frame.watermarks = vec![(partition(index), marks_at(high))])
            .await;
    }

    async fn extents(&self, complete: &[(i32, i64)], new: &[(i32, i64, i64)]) {
        let complete = complete
            .iter()
            .map(|(i, from)| (partition(*i), Offset(*from)));
        let new = new
            .iter()
            .map(|(i, base, end)| (partition(*i), vec![extent(*base, *end)]));
        self.say(Frame::Extents(ExtentsFrame {
            seq: JournalSeq(self.seq),
            complete_from: complete.collect(),
            extents: new.collect(),
        }))
        .await;
    }

    /// Lets tasks run, without time passing.
    async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// The next watch, after the one at hand broke.
    async fn reopened(&mut self) {
        (self.told, self.say) = self.opened.recv().await.unwrap();
    }

    fn told(&mut self) -> Vec<(bool, i32, i64)> {
        let mut told = Vec::new();
        while let Ok(change) = self.told.try_recv() {
            told.push(match change {
                InterestChange::Presence { .. } => continue,
                InterestChange::Add { partition, from } => (true, partition.partition.0, from.0),
                InterestChange::Remove { partition } => (false, partition.partition.0, 0),
            });
        }
        told
    }
}

fn address() -> AgentAddress {
    AgentAddress {
        host: "h".to_owned(),
        port: 1,
        node_ids: 1,
        zone: String::new(),
        peer: String::new(),
    }
}

fn agent(slot: u32) -> AgentView {
    AgentView {
        slot: WriterSlot(slot),
        address: address(),
    }
}

fn topic(id: u128, name: &str) -> Arc<TopicView> {
    Arc::new(TopicView {
        id: TopicId(Uuid::from_u128(id)),
        name: name.to_owned(),
        partitions: 2,
        leader_epoch: LeaderEpoch(0),
        configs: BTreeMap::new(),
    })
}

fn partition(index: i32) -> PartitionId {
    PartitionId::new(TopicId(Uuid::from_u128(7)), PartitionIndex(index))
}

fn marks_at(high: i64) -> Watermarks {
    Watermarks {
        log_start: Offset(0),
        high_watermark: Offset(high),
        last_stable: Offset(high),
        leader_epoch: LeaderEpoch(0),
    }
}

fn extent(base: i64, end: i64) -> Extent {
    Extent {
        object: ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(1),
            writer: WriterSlot(1),
            level: ObjectLevel::L0,
            unique: u64::try_from(base).unwrap(),
        },
        run_position: 0,
        run_bytes: 10,
        raw_start: 0,
        raw_bytes: 10,
        base_offset: Offset(base),
        end_offset: Offset(end),
        max_timestamp: 0,
        log_append_time: None,
    }
}

async fn is_woken(parking: &Parking<'_>, ports: &Ports) -> bool {
    let woken = parking.woken();
    ports.timeout(Duration::ZERO, woken).await.is_some()
}

#[tokio::test(start_paused = true)]
async fn a_reset_replaces_topics_and_agents() {
    let mut script = Script::new().await;
    script.reset(&[(0, 5)]).await;
    script.view.ready().await;
    let view = Arc::clone(&script.view);
    let slots = |view: &View| view.agents().iter().map(|a| a.slot.0).collect::<Vec<_>>();
    assert_eq!(slots(&view), [1, 2]);
    assert_eq!(view.topic_by_name("t").unwrap().view.id, partition(0).topic);
    assert_eq!(view.watermarks(partition(0)), Some(marks_at(5)));
    // Nothing was said of partition 1: it is empty as far as this agent knows.
    assert_eq!(view.watermarks(partition(1)), Some(marks_at(0)));
    assert_eq!(view.watermarks(partition(2)), None);
    script
        .common(|frame| {
            frame.reset = true;
            frame.topics = vec![topic(8, "u")];
            frame.agents = Some(vec![agent(3)]);
        })
        .await;
    assert!(view.topic_by_name("t").is_none() && view.topic_by_id(partition(0).topic).is_none());
    assert_eq!(view.topics().len(), 1);
    assert_eq!(slots(&view), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_given_again_names_the_new_topic() {
    let mut script = Script::new().await;
    script.reset(&[(0, 5)]).await;
    script
        .common(|frame| {
            frame.deleted_topics = vec![partition(0).topic];
            frame.topics = vec![topic(8, "t")];
        })
        .await;
    let view = &script.view;
    assert_eq!(
        view.topic_by_name("t").unwrap().view.id.0,
        Uuid::from_u128(8)
    );
    assert!(view.topic_by_id(partition(0).topic).is_none());
    assert_eq!(view.watermarks(partition(0)), None);
}

#[tokio::test(start_paused = true)]
async fn a_watermark_that_falls_fences_the_partition_until_a_reset() {
    let mut script = Script::new().await;
    script.reset(&[(0, 5), (1, 5)]).await;
    let view = Arc::clone(&script.view);
    let parking = view.park(&[(partition(0), Offset(5)), (partition(1), Offset(5))]);
    script.high(0, 4).await;
    assert!(view.is_fenced(partition(0)) && !view.is_fenced(partition(1)));
    assert_eq!(view.watermarks(partition(0)), None);
    assert_eq!(view.watermarks(partition(1)), Some(marks_at(5)));
    assert_eq!(parking.woken().await.indexes, [0]);
    assert!(view.has_fallen());
    script.reopened().await;
    script.reset(&[(0, 6), (1, 5)]).await;
    assert!(!view.is_fenced(partition(0)) && !view.has_fallen());
    assert_eq!(view.watermarks(partition(0)), Some(marks_at(6)));
    assert!(parking.woken().await.all);
    // Another incarnation may begin anywhere.
    script
        .common(|frame| {
            frame.reset = true;
            frame.incarnation = Incarnation(2);
            frame.topics = vec![topic(7, "t")];
            frame.watermarks = vec![(partition(0), marks_at(1))];
        })
        .await;
    assert_eq!(view.watermarks(partition(0)), Some(marks_at(1)));
}

#[tokio::test(start_paused = true)]
async fn what_the_leader_answered_is_not_taken_back_by_an_older_frame() {
    let mut script = Script::new().await;
    script.reset(&[(0, 5)]).await;
    script.view.observe(partition(0), &marks_at(9));
    script.high(0, 7).await;
    assert_eq!(script.view.watermarks(partition(0)), Some(marks_at(9)));
    assert!(!script.view.is_fenced(partition(0)));
}

#[tokio::test(start_paused = true)]
async fn catching_up_waits_for_the_leaders_position() {
    let mut script = Script::new().await;
    script.reset(&[]).await;
    *script.leader.position.lock() = (LeaderTerm(1), JournalSeq(2));
    let view = Arc::clone(&script.view);
    let ports = script.ports.clone();
    let caught_up = async {
        let began = ports.clock.now();
        let found = view.topic_by_name_exact("u").await.unwrap();
        (found.is_some(), ports.clock.now().since(began))
    };
    let later = async {
        script.ports.sleep(Duration::from_millis(300)).await;
        script
            .common(|frame| frame.topics = vec![topic(8, "u")])
            .await;
    };
    let (found, ()) = futures::join!(caught_up, later);
    assert_eq!(found, (true, Duration::from_millis(300)));
    *script.leader.position.lock() = (LeaderTerm(1), JournalSeq(99));
    assert!(matches!(
        script.view.topic_by_name_exact("v").await,
        Err(MetadataError::Unavailable { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn frames_of_a_deposed_leader_are_dropped_and_the_watch_opened_again() {
    let mut script = Script::new().await;
    script
        .common(|frame| {
            frame.reset = true;
            frame.term = LeaderTerm(3);
            frame.topics = vec![topic(7, "t")];
        })
        .await;
    script
        .common(|frame| frame.topics = vec![topic(8, "u")])
        .await;
    assert!(script.view.topic_by_name("u").is_none());
    script.reopened().await;
    // A watch must begin with a reset.
    script
        .common(|frame| {
            frame.term = LeaderTerm(3);
            frame.topics = vec![topic(8, "u")];
        })
        .await;
    assert!(script.view.topic_by_name("u").is_none());
    script.reopened().await;
    script
        .common(|frame| {
            frame.term = LeaderTerm(3);
            frame.reset = true;
            frame.topics = vec![topic(8, "u")];
        })
        .await;
    assert!(script.view.topic_by_name("u").is_some());
}

#[tokio::test(start_paused = true)]
async fn only_who_waits_on_a_partition_is_woken_and_with_its_extents() {
    let mut script = Script::new().await;
    script.reset(&[(0, 5), (1, 5)]).await;
    let (view, ports) = (Arc::clone(&script.view), script.ports.clone());
    let first = view.park(&[(partition(0), Offset(5))]);
    let second = view.park(&[(partition(0), Offset(5)), (partition(1), Offset(5))]);
    script.settle().await;
    assert_eq!(script.told(), [(true, 0, 5), (true, 1, 5)]);
    // Not acknowledged: woken by the watermark, to ask the leader.
    script.high(1, 6).await;
    assert!(!is_woken(&first, &ports).await);
    assert_eq!(second.woken().await.indexes, [1]);
    // Acknowledged: woken once the extents are there.
    script.extents(&[(0, 5), (1, 5)], &[(1, 5, 6)]).await;
    script.high(0, 8).await;
    assert!(!is_woken(&first, &ports).await);
    script.extents(&[], &[(0, 5, 8)]).await;
    assert_eq!(first.woken().await.indexes, [0]);
    assert_eq!(second.woken().await.indexes, [0]);
    let found = view.extents(partition(0), Offset(6), 1000);
    assert_eq!(found, [extent(5, 8)]);
    // Only a mark moved: woken all the same, a little later.
    script.high(0, 9).await;
    assert!(!is_woken(&first, &ports).await);
    ports.sleep(Duration::from_millis(11)).await;
    assert!(is_woken(&first, &ports).await);
}

#[tokio::test(start_paused = true)]
async fn regression_who_does_not_look_keeps_no_list_of_all_that_moved() {
    let mut script = Script::new().await;
    script.reset(&[(0, 5)]).await;
    let view = Arc::clone(&script.view);
    let parking = view.park(&[(partition(0), Offset(5))]);
    script.high(0, 6).await;
    assert_eq!(parking.woken().await.indexes, [0]);
    for high in 7..50 {
        script.high(0, high).await;
    }
    let woken = parking.woken().await;
    assert!(woken.all && woken.indexes.is_empty(), "{woken:?}");
}

#[tokio::test(start_paused = true)]
async fn interests_are_told_again_after_a_reset_and_given_up_when_unused() {
    let mut script = Script::new().await;
    script.reset(&[(0, 5), (1, 5)]).await;
    let (view, ports) = (Arc::clone(&script.view), script.ports.clone());
    let parking = view.park(&[(partition(0), Offset(5))]);
    view.take_interest(partition(1), Offset(5));
    view.take_interest(partition(1), Offset(5));
    script.settle().await;
    assert_eq!(script.told(), [(true, 0, 5), (true, 1, 5)]);
    script.reset(&[(0, 6), (1, 7)]).await;
    assert!(parking.woken().await.all);
    assert_eq!(script.told(), [(true, 0, 6), (true, 1, 7)]);
    ports.sleep(Duration::from_secs(80)).await;
    script.settle().await;
    assert_eq!(script.told(), [(false, 1, 0)]);
    drop(parking);
    ports.sleep(Duration::from_secs(20)).await;
    script.settle().await;
    assert_eq!(script.told(), [(false, 0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_is_opened_again_with_back_off() {
    let mut script = Script::new().await;
    script.reset(&[(0, 5)]).await;
    let parking_view = Arc::clone(&script.view);
    let parking = parking_view.park(&[(partition(0), Offset(5))]);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let began = script.ports.clock.now();
        let (_, gone) = mpsc::channel(1);
        script.told = gone;
        script.say = mpsc::channel(1).0;
        script.reopened().await;
        waits.push(script.ports.clock.now().since(began));
    }
    assert!(waits[0] < Duration::from_millis(100), "{waits:?}");
    assert!(waits[7] > Duration::from_secs(1), "{waits:?}");
    assert!(waits[7] < Duration::from_secs(4), "{waits:?}");
    script.reset(&[(0, 9)]).await;
    assert!(parking.woken().await.all);
    assert_eq!(script.view.watermarks(partition(0)), Some(marks_at(9)));
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_list_of_agents_adds_and_a_complete_one_replaces() {
    let mut script = Script::new().await;
    script.reset(&[]).await;
    let slots =
        |script: &Script| -> Vec<u32> { script.view.agents().iter().map(|a| a.slot.0).collect() };
    assert_eq!(slots(&script), [1, 2]);
    for (list, complete, expected) in [
        (vec![2], false, vec![1, 2]),
        (vec![3, 2], false, vec![1, 2, 3]),
        (vec![3, 2], true, vec![2, 3]),
    ] {
        script
            .common(|frame| {
                frame.agents = Some(list.into_iter().map(agent).collect());
                frame.agents_complete = complete;
            })
            .await;
        assert_eq!(slots(&script), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_is_shown_when_the_watch_opens_again() {
    let mut script = Script::new().await;
    assert_eq!(*script.leader.seen.lock(), None);
    for hash in [3, 4] {
        script
            .common(|frame| {
                frame.reset = frame.seq == JournalSeq(1);
                frame.hash = [hash; 32];
            })
            .await;
    }
    let newest = JournalMark {
        incarnation: Incarnation(1),
        term: LeaderTerm(1),
        seq: JournalSeq(2),
        hash: [4; 32],
    };
    assert_eq!(script.session.seen(), Some(newest));
    // a leader that does not have it says so until the loss was accepted
    let mut lost = script.session.lost_rows();
    *script.leader.lost_rows.lock() = true;
    script.say = mpsc::channel(1).0;
    lost.wait_for(Option::is_some).await.unwrap();
    assert_eq!(*script.leader.seen.lock(), Some(newest));
    *script.leader.lost_rows.lock() = false;
    lost.wait_for(Option::is_none).await.unwrap();
    script.reopened().await;
    assert_eq!(*script.leader.seen.lock(), Some(newest));
}
