//! Time, randomness and spawning as ports.

use std::{
    fmt::Debug,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;

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

    /// Ports of the simulation: a [`VirtualClock`] that begins at `unix_start`, a [`SeededRand`], tasks of
    /// a new node on the current runtime (paused, current-thread).
    #[must_use]
    pub fn simulated(seed: u64, unix_start: UnixMillis) -> Self {
        Self {
            clock: Arc::new(VirtualClock::new(unix_start)),
            rand: Arc::new(SeededRand::new(seed)),
            tasks: Tasks::new(),
        }
    }

    /// The same clock and randomness with tasks of their own: another node of the same world.
    #[must_use]
    pub fn another_node(&self) -> Self {
        Self {
            tasks: Tasks::new(),
            ..self.clone()
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
    gate: Arc<Gate>,
}

/// What a paused node's tasks wait at.
#[derive(Debug, Default)]
struct Gate {
    paused: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Gate {
    /// Whether a task must wait; it is woken when the node goes on.
    fn holds(&self, context: &Context<'_>) -> bool {
        if !self.paused.load(Ordering::Acquire) {
            return false;
        }
        let mut waiting = self.waiting.lock();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        // whoever opens the gate clears it first and then takes the list
        self.paused.load(Ordering::Acquire)
    }
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
        let gate = Arc::clone(&self.gate);
        tokio::spawn(self.tracker.track_future(async move {
            let mut future = pin!(future);
            let gated = std::future::poll_fn(|context| {
                if gate.holds(context) {
                    return Poll::Pending;
                }
                future.as_mut().poll(context)
            });
            tokio::select! {
                biased;
                () = killed.cancelled() => {}
                () = gated => {}
            }
        }));
    }

    /// Stops every task of the node where it is, as SIGSTOP does. Time goes on.
    pub fn pause(&self) {
        self.gate.paused.store(true, Ordering::Release);
    }

    /// Lets the tasks go on, as SIGCONT does: they find that time has passed.
    pub fn resume(&self) {
        self.gate.paused.store(false, Ordering::Release);
        let waiting = std::mem::take(&mut *self.gate.waiting.lock());
        waiting.into_iter().for_each(Waker::wake);
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
        match self.start.checked_add(until.0) {
            Some(at) => tokio::time::sleep_until(at).await,
            // later than the machine can say
            None => std::future::pending().await,
        }
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

/// The simulation's clock. Its monotonic time is tokio's, which stands still but for sleeps when the
/// runtime is paused; its wall clock is a fixed start plus that. Nothing of the machine's time shows.
#[derive(Debug)]
pub struct VirtualClock {
    monotonic: SystemClock,
    unix_start: UnixMillis,
}

impl VirtualClock {
    /// A clock that starts now and calls that `unix_start`.
    #[must_use]
    pub fn new(unix_start: UnixMillis) -> Self {
        Self {
            monotonic: SystemClock::new(),
            unix_start,
        }
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Monotonic {
        self.monotonic.now()
    }

    fn unix_millis(&self) -> UnixMillis {
        let since = i64::try_from(self.now().0.as_millis()).unwrap_or(i64::MAX);
        self.unix_start.saturating_add(since)
    }

    async fn sleep_until(&self, until: Monotonic) {
        self.monotonic.sleep_until(until).await;
    }
}

/// Randomness that is the same for the same seed: SplitMix64 (Steele, Lea, Flood: "Fast splittable
/// pseudorandom number generators", 2014). Not for secrets.
#[derive(Debug)]
pub struct SeededRand {
    state: AtomicU64,
}

impl SeededRand {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: AtomicU64::new(seed),
        }
    }
}

impl Rand for SeededRand {
    fn next_u64(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self
            .state
            .fetch_add(GAMMA, Ordering::Relaxed)
            .wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_stream() {
        // First outputs of the reference implementation for seed 1234567.
        let rand = SeededRand::new(1_234_567);
        let stream: Vec<u64> = (0..3).map(|_| rand.next_u64()).collect();
        assert_eq!(
            stream,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn virtual_time_moves_by_sleeps_only() {
        let ports = Ports::simulated(1, 1_000_000);
        assert_eq!(ports.clock.unix_millis(), 1_000_000);
        ports.sleep(Duration::from_secs(3600)).await;
        assert_eq!(ports.clock.unix_millis(), 4_600_000);
        assert_eq!(ports.clock.now(), Monotonic(Duration::from_secs(3600)));
        let late = ports
            .timeout(Duration::from_secs(1), ports.sleep(Duration::from_secs(2)))
            .await;
        assert_eq!(late, None);
    }

    #[tokio::test(start_paused = true)]
    async fn regression_a_time_that_never_comes_is_waited_for() {
        let ports = Ports::simulated(1, 0);
        for forever in [Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
            let waiting = ports.clock.sleep_until(Monotonic(forever));
            let late = ports.timeout(Duration::from_secs(3600), waiting).await;
            assert_eq!(late, None, "{forever:?}");
        }
        let second = ports.sleep(Duration::from_secs(1));
        assert_eq!(ports.timeout(Duration::MAX, second).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn killing_a_node_ends_its_tasks_and_no_others() {
        let one = Ports::simulated(1, 0);
        let two = one.another_node();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        for (ports, name) in [(&one, "one"), (&two, "two")] {
            let (clock, sender) = (Arc::clone(&ports.clock), sender.clone());
            ports.tasks.spawn(async move {
                clock.sleep_until(Monotonic(Duration::from_secs(1))).await;
                let _ = sender.send(name);
            });
        }
        drop(sender);
        one.tasks.kill();
        one.tasks.wait().await;
        assert_eq!(receiver.recv().await, Some("two"));
        assert_eq!(receiver.recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_node_stands_still_and_then_finds_that_time_has_passed() {
        let one = Ports::simulated(1, 0);
        let two = one.another_node();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        for (ports, name) in [(&one, "one"), (&two, "two")] {
            let (clock, sender) = (Arc::clone(&ports.clock), sender.clone());
            ports.tasks.spawn(async move {
                clock.sleep_until(Monotonic(Duration::from_secs(1))).await;
                let _ = sender.send((name, clock.now()));
            });
        }
        one.tasks.pause();
        two.sleep(Duration::from_secs(5)).await;
        let at = |seconds| Monotonic(Duration::from_secs(seconds));
        assert_eq!(receiver.try_recv(), Ok(("two", at(1))));
        assert!(receiver.try_recv().is_err());
        one.tasks.resume();
        assert_eq!(receiver.recv().await, Some(("one", at(5))));
        one.tasks.pause();
        one.tasks.kill();
        one.tasks.wait().await;
    }
}
