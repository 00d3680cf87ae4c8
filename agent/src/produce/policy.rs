//! When the open buffer becomes an object: decided from counts and times alone.

use std::time::Duration;

use aquifer_store::Monotonic;

use super::settings::{FlushSettings, PutBudget};

/// Which rule sealed a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushReason {
    /// (a) It was full.
    Bytes,
    /// (b) It was large enough and the last seal long enough ago.
    SoftBytes,
    /// (c) A connection can send no more before it gets an answer.
    FullWindow,
    /// (d) Nothing came for a while.
    Quiet,
    /// (e) The first byte had waited long enough.
    Interval,
    /// (f) Something always came.
    Steady,
}

impl FlushReason {
    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::SoftBytes => "soft_bytes",
            Self::FullWindow => "full_window",
            Self::Quiet => "quiet",
            Self::Interval => "interval",
            Self::Steady => "steady",
        }
    }
}

/// What the policy looks at; a buffer that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferState {
    /// Bytes in it.
    pub bytes: u64,
    /// When its first byte came.
    pub first_at: Monotonic,
    /// When its last byte came.
    pub last_at: Monotonic,
    /// When the buffer before it was sealed, if there was one.
    pub sealed_at: Option<Monotonic>,
    /// Whether a connection with bytes in it has a whole window of requests waiting for an answer.
    pub full_window: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushDecision {
    /// Seal it.
    Seal(FlushReason),
    /// Decide again at this time, or when something was appended.
    Wait(Monotonic),
}

/// The flush policy.
#[derive(Clone, Copy, Debug)]
pub struct FlushPolicy {
    settings: FlushSettings,
}

impl FlushPolicy {
    /// A policy with these settings.
    #[must_use]
    pub fn new(settings: FlushSettings) -> Self {
        Self { settings }
    }

    /// Decides for a buffer at the time `now`; `tokens` is asked when the next token is there, and is
    /// not changed: whoever seals takes one.
    #[must_use]
    pub fn decide(&self, now: Monotonic, buffer: &BufferState, tokens: &Tokens) -> FlushDecision {
        let rules = &self.settings;
        if buffer.bytes >= rules.bytes_max {
            return FlushDecision::Seal(FlushReason::Bytes);
        }
        let interval_at = buffer
            .sealed_at
            .map_or(now, |sealed| sealed.plus(rules.interval_min));
        let token_at = tokens.next_at(now, buffer.bytes);
        let mut times = [
            (buffer.bytes >= rules.bytes_soft).then_some((interval_at, FlushReason::SoftBytes)),
            buffer
                .full_window
                .then_some((interval_at, FlushReason::FullWindow)),
            Some((
                buffer.last_at.plus(rules.quiet).max(token_at),
                FlushReason::Quiet,
            )),
            Some((
                buffer.first_at.plus(rules.interval_max),
                FlushReason::Interval,
            )),
            Some((
                buffer.first_at.plus(rules.interval_min).max(token_at),
                FlushReason::Steady,
            )),
        ]
        .into_iter()
        .flatten();
        let first = times.next().expect("the last three rules always apply");
        let (at, reason) = times.fold(first, |a, b| if b.0 < a.0 { b } else { a });
        if at <= now {
            FlushDecision::Seal(reason)
        } else {
            FlushDecision::Wait(at)
        }
    }
}

/// Tokens for PUTs, kept as the time that they took to come, so that nothing is rounded.
#[derive(Clone, Debug)]
pub struct Tokens {
    budget: Option<PutBudget>,
    /// What was left after the last PUT.
    saved: Duration,
    /// When that was.
    counted_at: Monotonic,
}

impl Tokens {
    /// A full budget.
    #[must_use]
    pub fn new(budget: Option<PutBudget>, now: Monotonic) -> Self {
        Self {
            saved: budget.map_or(Duration::ZERO, cap),
            budget,
            counted_at: now,
        }
    }

    /// Takes a token for a PUT of this many bytes. Where there is none, nothing is owed: the budget is
    /// never below 0.
    pub fn take(&mut self, now: Monotonic, bytes: u64) {
        if let Some(budget) = self.budget {
            let waited = now.since(self.counted_at);
            let by_bytes = by_bytes(budget, bytes).min(in_time_of_bytes(budget, waited));
            self.saved = self
                .saved
                .saturating_add(waited.max(by_bytes))
                .min(cap(budget))
                .saturating_sub(budget.token_every);
            self.counted_at = now;
        }
    }

    /// When a token is there for these bytes, if no more come: `now`, or later.
    #[must_use]
    pub fn next_at(&self, now: Monotonic, bytes: u64) -> Monotonic {
        let Some(budget) = self.budget else {
            return now;
        };
        let missing = budget.token_every.saturating_sub(self.saved);
        let wait = if by_bytes(budget, bytes) >= missing {
            let (most, each) = (budget.token_bytes_every, budget.token_every);
            scaled(missing, most.as_nanos(), each.as_nanos()).min(missing)
        } else {
            missing
        };
        self.counted_at.plus(wait).max(now)
    }
}

fn cap(budget: PutBudget) -> Duration {
    budget.token_every.saturating_mul(budget.burst)
}

/// The tokens that bytes bring, however quickly they came.
fn by_bytes(budget: PutBudget, bytes: u64) -> Duration {
    scaled(
        budget.token_every,
        u128::from(bytes),
        u128::from(budget.token_bytes),
    )
}

/// The tokens that bytes can bring in this time, however many they are.
fn in_time_of_bytes(budget: PutBudget, time: Duration) -> Duration {
    let (most, each) = (budget.token_bytes_every, budget.token_every);
    scaled(time, each.as_nanos(), most.as_nanos())
}

fn scaled(time: Duration, by: u128, of: u128) -> Duration {
    let nanos = time.as_nanos().saturating_mul(by) / of.max(1);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    fn state(bytes: u64, first: u64, last: u64, sealed: Option<u64>, full: bool) -> BufferState {
        BufferState {
            bytes,
            first_at: at(first),
            last_at: at(last),
            sealed_at: sealed.map(at),
            full_window: full,
        }
    }

    fn check(tokens: u32, now: u64, buffer: BufferState, expected: FlushDecision) {
        let settings = FlushSettings::priced();
        let mut bucket = Tokens::new(settings.budget, at(now));
        for _ in tokens..40 {
            bucket.take(at(now), 0);
        }
        let decision = FlushPolicy::new(settings).decide(at(now), &buffer, &bucket);
        assert_eq!(
            decision, expected,
            "{buffer:?} at {now} ms with {tokens} tokens"
        );
    }

    #[test]
    fn each_rule_seals_at_its_moment_and_not_before() {
        use FlushDecision::{Seal, Wait};
        use FlushReason::{Bytes, FullWindow, Interval, Quiet, SoftBytes, Steady};
        // (a) bytes, whatever else.
        check(
            0,
            1000,
            state(8 * MIB, 1000, 1000, Some(1000), false),
            Seal(Bytes),
        );
        // (b) 2 MiB and 50 ms since the last seal.
        check(
            0,
            1049,
            state(2 * MIB, 1010, 1048, Some(1000), false),
            Wait(at(1050)),
        );
        check(
            0,
            1050,
            state(2 * MIB, 1010, 1049, Some(1000), false),
            Seal(SoftBytes),
        );
        check(
            0,
            1050,
            state(256 * KIB - 1, 1010, 1050, Some(1000), false),
            Wait(at(1260)),
        );
        // 256 KiB bring a token 50 ms after the one before.
        check(
            0,
            1050,
            state(2 * MIB - 1, 1010, 1050, Some(1000), false),
            Wait(at(1100)),
        );
        check(
            0,
            1000,
            state(2 * MIB, 1000, 1000, None, false),
            Seal(SoftBytes),
        );
        // (c) a connection can send no more.
        check(
            0,
            1049,
            state(KIB, 1010, 1048, Some(1000), true),
            Wait(at(1050)),
        );
        check(
            0,
            1050,
            state(KIB, 1010, 1049, Some(1000), true),
            Seal(FullWindow),
        );
        // (d) quiet, with a token.
        check(
            1,
            1011,
            state(KIB, 1010, 1010, Some(1000), false),
            Wait(at(1012)),
        );
        check(
            1,
            1012,
            state(KIB, 1010, 1010, Some(1000), false),
            Seal(Quiet),
        );
        check(
            0,
            1012,
            state(KIB, 1010, 1010, Some(1000), false),
            Wait(at(1260)),
        );
        // (e) 250 ms after the first byte.
        check(
            0,
            1259,
            state(KIB, 1010, 1258, Some(1000), false),
            Wait(at(1260)),
        );
        check(
            0,
            1260,
            state(KIB, 1010, 1259, Some(1000), false),
            Seal(Interval),
        );
        // (f) 50 ms after the first byte, with a token.
        check(
            1,
            1059,
            state(KIB, 1010, 1058, Some(1000), false),
            Wait(at(1060)),
        );
        check(
            1,
            1060,
            state(KIB, 1010, 1059, Some(1000), false),
            Seal(Steady),
        );
    }

    #[test]
    fn a_lone_request_waits_for_a_token_only_until_the_interval() {
        check(
            0,
            10,
            state(KIB, 0, 0, None, false),
            FlushDecision::Wait(at(250)),
        );
        // A token comes 250 ms after the budget was empty at 10 ms: later than the interval.
    }

    #[test]
    fn unpriced_stores_flush_after_the_quiet_time_without_tokens() {
        let settings = FlushSettings::unpriced();
        let policy = FlushPolicy::new(settings);
        let tokens = Tokens::new(settings.budget, at(0));
        let buffer = state(KIB, 100, 104, Some(0), false);
        assert_eq!(
            policy.decide(at(104), &buffer, &tokens),
            FlushDecision::Wait(at(105))
        );
        assert_eq!(
            policy.decide(at(105), &buffer, &tokens),
            FlushDecision::Seal(FlushReason::Interval)
        );
    }

    const BUDGET: PutBudget = PutBudget {
        token_every: Duration::from_millis(250),
        token_bytes: 256 * KIB,
        token_bytes_every: Duration::from_millis(50),
        burst: 2,
    };

    fn empty() -> Tokens {
        let mut tokens = Tokens::new(Some(BUDGET), at(0));
        tokens.take(at(0), 0);
        tokens.take(at(0), 0);
        tokens
    }

    #[test]
    fn tokens_come_at_their_rate_and_never_go_below_zero() {
        let mut tokens = empty();
        assert_eq!(tokens.next_at(at(0), KIB), at(250));
        for _ in 0..10 {
            tokens.take(at(0), KIB);
        }
        assert_eq!(tokens.next_at(at(0), KIB), at(250), "nothing is owed");
        assert_eq!(tokens.next_at(at(100), KIB), at(250));
        tokens.take(at(300), KIB);
        assert_eq!(
            tokens.next_at(at(300), KIB),
            at(500),
            "50 ms were left over"
        );
        tokens.take(at(10_000), KIB);
        tokens.take(at(10_000), KIB);
        assert_eq!(
            tokens.next_at(at(10_000), KIB),
            at(10_250),
            "the burst is capped"
        );
    }

    #[test]
    fn bytes_bring_tokens_up_to_their_own_rate() {
        let tokens = empty();
        let next_at = |bytes| tokens.next_at(at(0), bytes);
        assert_eq!(next_at(256 * KIB - 1), at(250), "not a whole one");
        assert_eq!(next_at(256 * KIB), at(50));
        assert_eq!(next_at(100 * MIB), at(50), "no sooner with more");
        assert_eq!(
            tokens.next_at(at(70), 256 * KIB),
            at(70),
            "it is there already"
        );

        let mut tokens = empty();
        tokens.take(at(50), 100 * MIB);
        assert_eq!(
            tokens.next_at(at(50), 256 * KIB),
            at(100),
            "50 ms bring no more than one"
        );
        tokens.take(at(200), 384 * KIB);
        assert_eq!(
            tokens.next_at(at(200), 128 * KIB),
            at(225),
            "half of one was left over"
        );
        tokens.take(at(500), KIB);
        assert_eq!(
            tokens.next_at(at(500), KIB),
            at(575),
            "where time brings more than the bytes do, time counts alone"
        );
    }

    /// Whatever comes and whenever a token is used: PUTs are at most those that time pays, or 20 a second
    /// and one per 256 KiB of what was written, whichever is more, behind the burst.
    #[test]
    fn puts_are_bounded_by_time_and_bytes() {
        for (kib, fewest, most) in [(1, 38, 42), (64, 38, 42), (256, 198, 202), (4096, 198, 202)] {
            let mut tokens = empty();
            let (mut now, mut puts) = (0, 0);
            while now < 10_000 {
                // Each PUT holds this much, as soon as it may be sent.
                let next = tokens.next_at(at(now), kib * KIB);
                now = u64::try_from(next.0.as_millis()).unwrap();
                tokens.take(next, kib * KIB);
                puts += 1;
            }
            assert!(
                (fewest..=most).contains(&puts),
                "{puts} PUTs of {kib} KiB in 10 s"
            );
        }
    }
}
