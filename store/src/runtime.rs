//! Time, randomness and spawning as ports.

use std::{fmt::Debug, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;

/// Milliseconds since 1970-01-01 UTC, as record timestamps have them.
pub type UnixMillis = i64;

/// A point on the monotonic clock: time since an arbitrary start of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// The time from `earlier` to this point; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This point moved on by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// Time. The simulation runs on a virtual one.
#[async_trait]
pub trait Clock: Send + Sync + Debug + 'static {
    /// The monotonic clock.
    fn now(&self) -> Monotonic;
    /// The wall clock; only for times that people and clients see, never for decisions of safety.
    fn unix_millis(&self) -> UnixMillis;
    /// Returns when the monotonic clock has reached `until`. Cancel safe.
    async fn sleep_until(&self, until: Monotonic);
}

/// Randomness. The simulation runs on a seeded one.
pub trait Rand: Send + Sync + Debug + 'static {
    /// 64 random bits.
    fn next_u64(&self) -> u64;
}

/// The ports that every component is given.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rand: Arc<dyn Rand>,
    /// Tasks of this node: they end together.
    pub tasks: Tasks,
}

impl Ports {
    /// Real time, the system's randomness, tasks of a new node on the current runtime.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            rand: Arc::new(SystemRand::new()),
            tasks: Tasks::new(),
        }
    }

    /// Sleeps for `duration` on the port's clock.
    pub async fn sleep(&self, duration: Duration) {
        self.clock
            .sleep_until(self.clock.now().plus(duration))
            .await;
    }

    /// Runs `future` for at most `duration`; None = the time ran out (the future is dropped).
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Option<F::Output> {
        let until = self.clock.now().plus(duration);
        tokio::select! {
            biased;
            value = future => Some(value),
            () = self.clock.sleep_until(until) => None,
        }
    }
}

/// The tasks of one node (an agent, a metadata service): spawned through it, so that the simulation can
/// kill a node by dropping all of them at one instant, and a real process can wait for them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: tokio_util::task::TaskTracker,
    killed: tokio_util::sync::CancellationToken,
}

impl Tasks {
    /// An empty set of tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task of this node. It ends at once, wherever it is, when the node is killed.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the port that the ban names"
    )]
    pub fn spawn<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let killed = self.killed.clone();
        tokio::spawn(self.tracker.track_future(async move {
            tokio::select! {
                biased;
                () = killed.cancelled() => {}
                () = future => {}
            }
        }));
    }

    /// Ends every task of the node at its current await point, as a crash would.
    pub fn kill(&self) {
        self.killed.cancel();
    }

    /// Whether the node was killed.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.killed.is_cancelled()
    }

    /// Returns when no task is left.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: tokio::time::Instant,
}

impl SystemClock {
    /// A clock that starts now.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the port that the ban names"
    )]
    pub fn new() -> Self {
        Self {
            start: tokio::time::Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the port that the ban names"
    )]
    fn now(&self) -> Monotonic {
        Monotonic(self.start.elapsed())
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this is the port that the ban names"
    )]
    fn unix_millis(&self) -> UnixMillis {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this is the port that the ban names"
    )]
    async fn sleep_until(&self, until: Monotonic) {
        tokio::time::sleep_until(self.start + until.0).await;
    }
}

/// The system's randomness.
#[derive(Debug, Default)]
pub struct SystemRand;

impl SystemRand {
    /// The system's randomness.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Rand for SystemRand {
    #[allow(
        clippy::disallowed_types,
        reason = "this is the port that the ban names"
    )]
    fn next_u64(&self) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
    }
}
