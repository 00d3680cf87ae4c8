//! Fetch sessions (KIP-227): a client names its partitions once, then only what changes.
//!
//! The cache is bounded in sessions and in partitions. Who finds no place is answered session id 0 and
//! goes on without one. Kafka's `FetchSession` is the model: ids and epochs, what an incremental
//! answer leaves out, and the order of partitions, in which those that brought records go last so that
//! none starves under `max_bytes`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aquifer_format::{ids::TopicId, limits::TOPIC_NAME_CHARS_MAX, map::FixedMap};
use aquifer_store::{Clock, Monotonic, Ports, Rand};
use kafka_protocol::ResponseError;
use parking_lot::Mutex;

use super::PartitionAnswer;

/// Epoch of a request that begins a session.
const INITIAL_EPOCH: i32 = 0;
/// Epoch of a request that wants none, and ends the one that it names.
const FINAL_EPOCH: i32 = -1;
/// A session that was used more lately is not pushed out by a new one
/// (Kafka's `FetchSessionCacheShard`, `min.incremental.fetch.session.eviction.ms`: 2 minutes).
const EVICTION_MIN: Duration = Duration::from_secs(120);

/// Bounds of the cache.
#[derive(Clone, Copy, Debug)]
pub struct SessionSettings {
    /// Most sessions (Kafka's `max.incremental.fetch.session.cache.slots`; its default, too).
    pub sessions_max: usize,
    /// Most partitions in all sessions together. A partition takes about 200 bytes, so the default is
    /// 100 MB at most.
    pub partitions_max: usize,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            sessions_max: 1000,
            partitions_max: 500_000,
        }
    }
}

/// How a request names a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TopicKey {
    /// Version 13 and later.
    Id(TopicId),
    /// Before.
    Name(Arc<str>),
}

impl TopicKey {
    /// Whether a topic can have it. Other names would only take memory, which the bound on partitions
    /// does not count.
    fn can_exist(&self) -> bool {
        match self {
            Self::Id(_) => true,
            Self::Name(name) => name.len() <= TOPIC_NAME_CHARS_MAX,
        }
    }
}

/// A partition that a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicKey,
    pub(crate) index: i32,
    /// The leader epoch that the client knows; negative = none.
    pub(crate) leader_epoch: i32,
    pub(crate) offset: i64,
    pub(crate) bytes_max: i32,
}

/// The part of a request that is about its session.
#[derive(Debug)]
pub(crate) struct SessionRequest {
    pub(crate) id: i32,
    pub(crate) epoch: i32,
    /// Whether topics are named by id.
    pub(crate) by_id: bool,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) forgotten: Vec<(TopicKey, i32)>,
}

/// What to answer, and how.
#[derive(Debug)]
pub(crate) enum Context {
    /// Everything that was asked for; no session.
    Sessionless,
    /// Everything, and begin a session.
    Begin { by_id: bool },
    /// What has changed; `places` belong to the partitions one by one.
    Incremental {
        id: i32,
        epoch: i32,
        places: Vec<u64>,
    },
}

#[derive(Debug)]
struct Known {
    wanted: Wanted,
    /// What the client was told last; -1 = tell it again.
    high_watermark: i64,
    log_start: i64,
}

#[derive(Debug)]
struct Session {
    /// The epoch that the next request must have.
    epoch: i32,
    by_id: bool,
    used: Monotonic,
    /// In the order in which they are served.
    partitions: BTreeMap<u64, Known>,
    places: BTreeMap<(TopicKey, i32), u64>,
    next_place: u64,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: FixedMap<i32, Session>,
    partitions: usize,
}

/// The cache of sessions.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    inner: Mutex<Inner>,
    clock: Arc<dyn Clock>,
    rand: Arc<dyn Rand>,
    settings: SessionSettings,
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

impl FetchSessions {
    pub(crate) fn new(ports: &Ports, settings: SessionSettings) -> Self {
        Self {
            inner: Mutex::default(),
            clock: Arc::clone(&ports.clock),
            rand: Arc::clone(&ports.rand),
            settings,
        }
    }

    /// Finds out what a request wants. Errors: FETCH_SESSION_ID_NOT_FOUND (70),
    /// INVALID_FETCH_SESSION_EPOCH (71), FETCH_SESSION_TOPIC_ID_ERROR (106).
    pub(crate) fn open(
        &self,
        request: SessionRequest,
    ) -> Result<(Context, Vec<Wanted>), ResponseError> {
        let mut inner = self.inner.lock();
        if request.epoch == INITIAL_EPOCH || request.epoch == FINAL_EPOCH {
            if request.id != 0 {
                inner.remove(request.id);
            }
            let context = if request.epoch == FINAL_EPOCH {
                Context::Sessionless
            } else {
                Context::Begin {
                    by_id: request.by_id,
                }
            };
            return Ok((context, request.wanted));
        }
        let inner = &mut *inner;
        let session = inner
            .sessions
            .get_mut(&request.id)
            .ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.epoch != request.epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        if session.by_id != request.by_id {
            return Err(ResponseError::FetchSessionTopicIdError);
        }
        let before = session.partitions.len();
        for (topic, index) in request.forgotten {
            session.forget(&(topic, index));
        }
        let room = self
            .settings
            .partitions_max
            .saturating_sub(inner.partitions);
        let possible = request.wanted.iter().all(|wanted| wanted.topic.can_exist());
        if !possible || session.partitions.len() + request.wanted.len() > before + room {
            // Too much to remember: the client begins again, with a full request.
            inner.remove(request.id);
            return Err(ResponseError::FetchSessionIdNotFound);
        }
        for wanted in request.wanted {
            session.put(wanted, -1, -1);
        }
        session.used = self.clock.now();
        session.epoch = next_epoch(session.epoch);
        inner.partitions = inner.partitions + session.partitions.len() - before;
        if session.partitions.is_empty() {
            // Nothing left to follow: Kafka ends the session, and answers that there is none.
            inner.remove(request.id);
            return Ok((Context::Sessionless, Vec::new()));
        }
        let context = Context::Incremental {
            id: request.id,
            epoch: session.epoch,
            places: session.partitions.keys().copied().collect(),
        };
        let wanted = session.partitions.values().map(|p| p.wanted.clone());
        Ok((context, wanted.collect()))
    }

    /// Ends a request: remembers what is answered, leaves out what an incremental answer need not say,
    /// and gives back the session id to answer. `answers` belong to the wanted partitions one by one.
    pub(crate) fn close(
        &self,
        context: Context,
        wanted: Vec<Wanted>,
        answers: &mut Vec<PartitionAnswer>,
    ) -> i32 {
        match context {
            Context::Sessionless => 0,
            Context::Begin { by_id } => self.begin(by_id, wanted, answers),
            Context::Incremental { id, epoch, places } => {
                let mut inner = self.inner.lock();
                if let Some(session) = inner.sessions.get_mut(&id)
                    && session.epoch == epoch
                {
                    let mut places = places.into_iter();
                    answers.retain(|answer| {
                        places
                            .next()
                            .is_none_or(|place| session.must_say(place, answer))
                    });
                }
                id
            }
        }
    }

    fn begin(&self, by_id: bool, wanted: Vec<Wanted>, answers: &[PartitionAnswer]) -> i32 {
        let now = self.clock.now();
        let possible = wanted.iter().all(|wanted| wanted.topic.can_exist());
        let mut inner = self.inner.lock();
        if wanted.is_empty() || !possible || !inner.has_room(wanted.len(), now, &self.settings) {
            return 0;
        }
        let mut session = Session {
            epoch: next_epoch(INITIAL_EPOCH),
            by_id,
            used: now,
            partitions: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
        };
        for (wanted, answer) in wanted.into_iter().zip(answers) {
            // After an error the client must hear of the partition again.
            let high_watermark = if answer.error == 0 {
                answer.high_watermark
            } else {
                -1
            };
            session.put(wanted, high_watermark, answer.log_start);
        }
        inner.partitions += session.partitions.len();
        let id = loop {
            let bits = self.rand.next_u64() & u64::from(i32::MAX.unsigned_abs());
            let id = i32::try_from(bits).expect("31 bits fit");
            if id != 0 && !inner.sessions.contains_key(&id) {
                break id;
            }
        };
        inner.sessions.insert(id, session);
        id
    }
}

impl Inner {
    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.partitions.len();
        }
    }

    /// Whether a session of so many partitions has a place; the one that was unused for longest may
    /// lose its.
    fn has_room(&mut self, partitions: usize, now: Monotonic, settings: &SessionSettings) -> bool {
        let full = self.sessions.len() >= settings.sessions_max
            || self.partitions + partitions > settings.partitions_max;
        if !full {
            return true;
        }
        let oldest = self.sessions.iter().min_by_key(|(id, s)| (s.used, **id));
        let Some((id, session)) = oldest else {
            return false;
        };
        if now.since(session.used) < EVICTION_MIN {
            return false;
        }
        let id = *id;
        self.remove(id);
        self.sessions.len() < settings.sessions_max
            && self.partitions + partitions <= settings.partitions_max
    }
}

impl Session {
    fn put(&mut self, wanted: Wanted, high_watermark: i64, log_start: i64) {
        let key = (wanted.topic.clone(), wanted.index);
        if let Some(known) = self
            .places
            .get(&key)
            .and_then(|place| self.partitions.get_mut(place))
        {
            known.wanted = wanted;
            return;
        }
        let place = self.next_place;
        self.next_place += 1;
        self.places.insert(key, place);
        self.partitions.insert(
            place,
            Known {
                wanted,
                high_watermark,
                log_start,
            },
        );
    }

    fn forget(&mut self, key: &(TopicKey, i32)) {
        if let Some(place) = self.places.remove(key) {
            self.partitions.remove(&place);
        }
    }

    /// Whether the client must hear of the partition (Kafka's `CachedPartition.maybeUpdateResponseData`).
    fn must_say(&mut self, place: u64, answer: &PartitionAnswer) -> bool {
        let Some(known) = self.partitions.get_mut(&place) else {
            return true;
        };
        let must = answer.error != 0
            || answer.records_bytes > 0
            || known.high_watermark != answer.high_watermark
            || known.log_start != answer.log_start;
        known.log_start = answer.log_start;
        known.high_watermark = if answer.error == 0 {
            answer.high_watermark
        } else {
            -1
        };
        if answer.records_bytes > 0 {
            self.move_last(place);
        }
        must
    }

    fn move_last(&mut self, place: u64) {
        if let Some(known) = self.partitions.remove(&place) {
            let key = (known.wanted.topic.clone(), known.wanted.index);
            self.places.insert(key, self.next_place);
            self.partitions.insert(self.next_place, known);
            self.next_place += 1;
        }
    }
}
