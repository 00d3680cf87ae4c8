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
        let quiet_at = buffer.last_at.plus(rules.quiet).max(tokens.next_at(now));
        let mut times = [
            (buffer.bytes >= rules.bytes_soft).then_some((interval_at, FlushReason::SoftBytes)),
            buffer
                .full_window
                .then_some((interval_at, FlushReason::FullWindow)),
            Some((quiet_at, FlushReason::Quiet)),
            Some((
                buffer.first_at.plus(rules.interval_max),
                FlushReason::Interval,
            )),
        ]
        .into_iter()
        .flatten();
        let first = times.next().expect("the last two rules always apply");
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
    saved: Duration,
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

    /// Takes a token for a PUT. Where there is none, nothing is owed: the budget is never below 0.
    pub fn take(&mut self, now: Monotonic) {
        if let Some(budget) = self.budget {
            self.saved = self
                .saved_at(budget, now)
                .saturating_sub(budget.token_every);
            self.counted_at = now;
        }
    }

    /// When a token is there: `now`, or later.
    #[must_use]
    pub fn next_at(&self, now: Monotonic) -> Monotonic {
        match self.budget {
            Some(budget) => {
                let missing = budget
                    .token_every
                    .saturating_sub(self.saved_at(budget, now));
                now.plus(missing)
            }
            None => now,
        }
    }

    fn saved_at(&self, budget: PutBudget, now: Monotonic) -> Duration {
        (self.saved + now.since(self.counted_at)).min(cap(budget))
    }
}

fn cap(budget: PutBudget) -> Duration {
    budget.token_every * budget.burst
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
            bucket.take(at(now));
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
        use FlushReason::{Bytes, FullWindow, Interval, Quiet, SoftBytes};
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
            state(2 * MIB - 1, 1010, 1050, Some(1000), false),
            Wait(at(1260)),
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

    #[test]
    fn tokens_come_at_their_rate_and_never_go_below_zero() {
        let budget = PutBudget {
            token_every: Duration::from_millis(250),
            burst: 2,
        };
        let mut tokens = Tokens::new(Some(budget), at(0));
        tokens.take(at(0));
        tokens.take(at(0));
        assert_eq!(tokens.next_at(at(0)), at(250));
        for _ in 0..10 {
            tokens.take(at(0));
        }
        assert_eq!(tokens.next_at(at(0)), at(250), "nothing is owed");
        assert_eq!(tokens.next_at(at(100)), at(250));
        tokens.take(at(300));
        assert_eq!(tokens.next_at(at(300)), at(500), "50 ms were left over");
        tokens.take(at(10_000));
        tokens.take(at(10_000));
        assert_eq!(
            tokens.next_at(at(10_000)),
            at(10_250),
            "the burst is capped"
        );
    }
}
