//! What is remembered of clients: a bounded number of them, each for a while after it was last heard of.

use std::{collections::BTreeMap, time::Duration};

use aquifer_store::Monotonic;
use uuid::Uuid;

use super::TelemetryError;

/// Shortest time for which a client is remembered (as in Kafka).
const REMEMBERED_MIN: Duration = Duration::from_secs(60);
/// Push intervals for which one is remembered (as in Kafka).
const REMEMBERED_INTERVALS: u32 = 3;

/// One client.
#[derive(Debug, Default)]
pub(super) struct Instance {
    asked_at: Option<Monotonic>,
    pushed_at: Option<Monotonic>,
    last_error: Option<TelemetryError>,
    ended: bool,
    /// Size of its last push that was kept.
    bytes: Option<usize>,
    /// Its place in the order of use.
    used: u64,
    heard_at: Option<Monotonic>,
}

impl Instance {
    /// Whether it may ask for its subscription: once per interval, and when its last push said that it needs
    /// another one.
    pub(super) fn may_ask(&mut self, now: Monotonic, interval: Duration) -> bool {
        let last = self.asked_at.max(self.pushed_at);
        let in_time = last.is_none_or(|last| now.since(last) >= interval);
        if in_time {
            self.asked_at = Some(now);
        }
        let needs_another = matches!(
            self.last_error,
            Some(TelemetryError::UnknownSubscription | TelemetryError::UnsupportedCodec)
        );
        let may = in_time || needs_another;
        if may {
            self.last_error = None;
        }
        may
    }

    /// Whether it may push: once per interval, and after it asked for its subscription.
    pub(super) fn may_push(&mut self, now: Monotonic, interval: Duration) -> bool {
        let has_asked = self.asked_at > self.pushed_at;
        let may = has_asked || self.pushed_at.is_none_or(|at| now.since(at) >= interval);
        if may {
            self.pushed_at = Some(now);
        }
        may
    }

    /// Whether its last push was to be the last one.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn ends(&mut self, ends: bool) {
        self.ended = ends;
    }

    /// Remembers how its last push went.
    pub(super) fn note(&mut self, error: Option<TelemetryError>) {
        self.last_error = error;
    }
}

/// The clients.
#[derive(Debug)]
pub(super) struct Instances {
    by_id: BTreeMap<Uuid, Instance>,
    /// The one that was silent for longest first.
    order: BTreeMap<u64, Uuid>,
    uses: u64,
    /// How many have pushed something that was kept, and the size of their last pushes together.
    pushing: usize,
    bytes: usize,
    instances_max: usize,
    remembered: Duration,
}

impl Instances {
    pub(super) fn new(instances_max: usize, push_interval: Duration) -> Self {
        let remembered = push_interval.saturating_mul(REMEMBERED_INTERVALS);
        Self {
            by_id: BTreeMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            pushing: 0,
            bytes: 0,
            instances_max: instances_max.max(1),
            remembered: remembered.max(REMEMBERED_MIN),
        }
    }

    /// What is known of a client that was just heard of.
    pub(super) fn touch(&mut self, id: Uuid, now: Monotonic) -> &mut Instance {
        self.forget_silent(now);
        if !self.by_id.contains_key(&id) && self.by_id.len() >= self.instances_max {
            self.forget_first();
        }
        self.uses += 1;
        let instance = self.by_id.entry(id).or_default();
        self.order.remove(&instance.used);
        self.order.insert(self.uses, id);
        instance.used = self.uses;
        instance.heard_at = Some(now);
        instance
    }

    /// Remembers that a client pushed so many bytes.
    pub(super) fn pushed(&mut self, id: Uuid, bytes: usize) {
        if let Some(instance) = self.by_id.get_mut(&id) {
            let before = instance.bytes.replace(bytes);
            self.pushing += usize::from(before.is_none());
            self.bytes = self
                .bytes
                .saturating_sub(before.unwrap_or(0))
                .saturating_add(bytes);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// How many of them have pushed something that was kept.
    pub(super) fn pushing(&self) -> usize {
        self.pushing
    }

    /// The size of their last pushes together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn forget_silent(&mut self, now: Monotonic) {
        while let Some(id) = self.order.values().next() {
            let heard_at = self.by_id.get(id).and_then(|instance| instance.heard_at);
            if heard_at.is_some_and(|at| now.since(at) < self.remembered) {
                return;
            }
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((_, id)) = self.order.pop_first() else {
            return;
        };
        if let Some(Instance {
            bytes: Some(bytes), ..
        }) = self.by_id.remove(&id)
        {
            self.pushing -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}
