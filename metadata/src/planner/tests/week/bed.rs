//! Agents, time and the bucket, and what is noted of them.

use std::{collections::BTreeMap, ops::Range};

use aquifer_format::ids::{
    CommitNumber, JournalSeq, ObjectId, ObjectLevel, Offset, PartitionId, PartitionIndex,
    SessionId, WriterSlot,
};
use aquifer_metadata_api::commit::{BatchSummary, Commit, Run};

use super::{
    AGENT_OBJECT_BYTES, Load, Shape,
    compactor::Compactors,
    leader::{Costs, Leader},
};
use crate::{
    planner::Level,
    state::{
        budget,
        tests::world::{World, plain},
    },
};

/// Seconds that pass at once.
const TURN: u64 = 4;
/// Length of an upload epoch.
const EPOCH_SECONDS: u64 = 60;
/// Time between two backups, as by default.
const BACKUP_SECONDS: u64 = 300;
/// Time between two looks of retention, as by default.
const RETENTION_SECONDS: u64 = 300;
/// Time between two looks of the planner, as by default, where objects are of [`AGENT_OBJECT_BYTES`].
const LOOK_SECONDS: u64 = 10;
/// Each writes its own partitions, which lie apart.
const AGENTS: usize = 16;
/// Partitions are of different sizes, in quarters of the mean: what they have to be merged for comes at different
/// times.
const SIZES: [u64; 4] = [1, 3, 5, 7];
const RECORD_BYTES: u32 = 1_024;
/// Bytes of an object before its first run.
const HEADER_BYTES: u64 = 8;

/// What was seen in a period; what ends in `max` is the most at any time.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) seconds: u64,
    pub(super) extents_max: [u64; 3],
    pub(super) objects_max: u64,
    /// Objects of level 0.
    pub(super) small_max: u64,
    pub(super) released_max: u64,
    pub(super) metadata_bytes_max: u64,
    /// Whether producers would have been slowed down.
    pub(super) throttled: bool,
    pub(super) ingested_bytes: u64,
    pub(super) agent_puts: u64,
    /// Of compactors, as what follows.
    pub(super) written_bytes: u64,
    pub(super) gets: u64,
    /// Parts, beginnings and ends of uploads, too.
    pub(super) puts: u64,
    /// Bulk requests.
    pub(super) deletes: u64,
    /// To the leader.
    pub(super) calls: u64,
    /// Ranges that were swapped.
    pub(super) done: u64,
    /// Ranges that were not, but for those of lost jobs.
    pub(super) not_done: u64,
    /// Jobs whose worker died, or stood still for too long.
    pub(super) lost_jobs: u64,
    /// Objects that no extent ever named.
    pub(super) swept: u64,
    pub(super) costs: Costs,
}

impl Sample {
    /// By compactors.
    pub(super) fn written_per_byte(&self) -> f64 {
        self.written_bytes as f64 / self.ingested_bytes.max(1) as f64
    }
}

/// The objects, and which partitions those of agents have.
pub(super) struct Bucket {
    /// Places in `order`, which go on at its beginning; merged objects have none here.
    pub(super) objects: BTreeMap<ObjectId, Range<usize>>,
    /// All partitions, agent by agent.
    order: Vec<PartitionId>,
}

impl Bucket {
    /// What an object's footer says.
    pub(super) fn partitions(&self, id: &ObjectId) -> impl Iterator<Item = PartitionId> + '_ {
        let (places, order) = (self.objects.get(id).cloned(), &self.order);
        let places = places.expect("what is merged is there");
        places.map(move |place| order[place % order.len()])
    }
}

/// The cluster.
pub(super) struct Bed {
    shape: Shape,
    leader: Leader,
    compactors: Compactors,
    bucket: Bucket,
    session: SessionId,
    slot: WriterSlot,
    commits: u64,
    /// Whose turn it is in the bucket's order.
    place: usize,
    /// Bytes that are in no object yet.
    waiting_bytes: u64,
    elapsed: u64,
    next_look: u64,
    sample: Sample,
}

impl Bed {
    pub(super) fn new(shape: Shape) -> Self {
        let mut world = World::new();
        let retention_ms = (shape.retention_seconds() * 1_000).to_string();
        let partitions = i32::try_from(shape.partitions).expect("not so many partitions");
        let configs = [("retention.ms", retention_ms.as_str())];
        let topic = world.create_with("week", partitions, &configs);
        let registration = world.register();
        let all: Vec<PartitionId> = (0..partitions)
            .map(|index| PartitionId::new(topic, PartitionIndex(index)))
            .collect();
        let of_agent = |agent: usize| all.iter().skip(agent).step_by(AGENTS).copied();
        let rows = u64::try_from(world.rows.len()).expect("some rows");
        Self {
            leader: Leader::new(world.state, JournalSeq(rows), world.now.unix_millis),
            compactors: Compactors::new(shape.bytes_per_second),
            bucket: Bucket {
                objects: BTreeMap::new(),
                order: (0..AGENTS).flat_map(of_agent).collect(),
            },
            session: registration.session,
            slot: registration.slot,
            commits: 0,
            place: 0,
            waiting_bytes: 0,
            elapsed: 0,
            next_look: 0,
            sample: Sample::default(),
            shape,
        }
    }

    /// Lets so much time pass.
    pub(super) fn run(&mut self, load: &Load, seconds: u64) -> Sample {
        for _ in 0..seconds / TURN {
            self.turn(load);
        }
        let mut sample = std::mem::take(&mut self.sample);
        sample.seconds = seconds;
        sample.costs = self.leader.take_costs();
        sample
    }

    fn turn(&mut self, load: &Load) {
        self.leader.pass(TURN);
        self.elapsed += TURN;
        self.waiting_bytes += self.shape.bytes_per_second * TURN;
        while self.waiting_bytes >= load.object_bytes {
            self.waiting_bytes -= load.object_bytes;
            self.commit(load);
        }
        let state = &self.leader.state;
        let small = u64::try_from(state.small_objects_count()).expect("a count");
        self.sample.small_max = self.sample.small_max.max(small);
        let usage = state.usage().extent_bytes;
        self.sample.metadata_bytes_max = self.sample.metadata_bytes_max.max(usage);
        self.sample.throttled |= state.pressure().throttle;
        if self.elapsed.is_multiple_of(EPOCH_SECONDS) {
            self.leader.advance_upload_epoch();
        }
        if self.elapsed.is_multiple_of(RETENTION_SECONDS) {
            self.leader.retain();
        }
        if self.elapsed.is_multiple_of(BACKUP_SECONDS) {
            self.leader.back_up();
        }
        if self.elapsed >= self.next_look {
            // as much rarer as objects are
            let seconds = LOOK_SECONDS * load.object_bytes / AGENT_OBJECT_BYTES;
            self.next_look = self.elapsed + seconds;
            self.look();
        }
        let (leader, bucket) = (&mut self.leader, &mut self.bucket);
        self.compactors.turn(leader, bucket, &mut self.sample);
    }

    fn look(&mut self) {
        self.leader.look();
        let levels = self.leader.levels();
        let sample = &mut self.sample;
        for (most, level) in sample.extents_max.iter_mut().zip(levels) {
            *most = level.extents.max(*most);
        }
        let objects = levels.iter().map(|level| level.objects).sum();
        sample.objects_max = sample.objects_max.max(objects);
        let released = self.leader.state.released_objects().count();
        let released = u64::try_from(released).expect("a count");
        sample.released_max = sample.released_max.max(released);
    }

    /// An object with runs of the partitions whose turn it is.
    fn commit(&mut self, load: &Load) {
        let order = &self.bucket.order;
        let count = usize::try_from(load.runs).expect("not so many runs");
        let places = self.place..self.place + count;
        self.place = places.end % order.len();
        let quarter = load.object_bytes / load.runs / 4;
        let mut of_partitions: Vec<(PartitionId, u64)> = places
            .clone()
            .map(|place| place % order.len())
            .map(|place| (order[place], quarter * SIZES[place % SIZES.len()]))
            .collect();
        of_partitions.sort_unstable();
        let mut position = HEADER_BYTES;
        let mut runs = Vec::with_capacity(count);
        for (partition, bytes) in of_partitions {
            let bytes = u32::try_from(bytes).expect("a run is smaller");
            runs.push(Run {
                partition,
                position,
                stored_bytes: bytes,
                batches: vec![BatchSummary {
                    records: bytes.div_ceil(RECORD_BYTES).max(1),
                    bytes,
                    max_timestamp: self.leader.unix_millis,
                    ..plain(1)
                }],
            });
            position += u64::from(bytes);
        }
        let object = ObjectId {
            incarnation: self.leader.state.incarnation(),
            upload_epoch: self.leader.state.upload_epoch(),
            writer: self.slot,
            level: ObjectLevel::L0,
            unique: self.commits,
        };
        self.commits += 1;
        let commit = Commit {
            number: CommitNumber(self.commits),
            answered_through: CommitNumber(self.commits - 1),
            object,
            object_bytes: position,
            locations: vec![0],
            runs,
        };
        self.leader.commit(self.session, &commit);
        self.bucket.objects.insert(object, places);
        self.sample.agent_puts += 1;
        self.sample.ingested_bytes += position;
    }

    /// What there is by level.
    pub(super) fn levels(&self) -> [Level; 3] {
        self.leader.levels()
    }

    /// Logs are whole, what they cost is counted, and the bucket has what is known and nothing else.
    pub(super) fn check(&mut self) {
        self.leader.look();
        let state = &self.leader.state;
        let mut extents = 0u64;
        for id in &self.bucket.order {
            let marks = state.watermarks(*id).expect("nobody deletes it");
            let mut at: Option<Offset> = None;
            for extent in state.extents(*id, Offset(0)) {
                let follows = at.map_or(extent.base_offset <= marks.log_start, |end| {
                    extent.base_offset == end
                });
                assert!(follows, "{extent:?} of {id} is not at {at:?}, {marks:?}");
                at = Some(extent.end_offset);
                extents += 1;
            }
            assert_eq!(at, Some(marks.high_watermark), "of {id}");
        }
        let levels = self.leader.levels();
        assert_eq!(
            levels.iter().map(|level| level.extents).sum::<u64>(),
            extents
        );
        let objects: u64 = levels.iter().map(|level| level.objects).sum();
        let bytes = extents * budget::EXTENT_BYTES + objects * budget::OBJECT_BYTES;
        assert_eq!(state.usage().extent_bytes, bytes);
        let live = state.objects().map(|(id, _)| id);
        let mut known: Vec<ObjectId> = live.chain(state.released().map(|(id, ..)| id)).collect();
        known.sort_unstable();
        let (of_bucket, of_leader) = (self.bucket.objects.len(), known.len());
        assert!(
            known.iter().eq(self.bucket.objects.keys()),
            "{of_bucket} objects in the bucket, {of_leader} known"
        );
    }
}
