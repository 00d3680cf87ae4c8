//! When an agent fences itself, and when it comes back: pure, decided from what was seen.

use std::{fmt, time::Duration};

use aquifer_store::Monotonic;

use super::PROBE_MAX;

/// When an agent fences itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceSettings {
    /// After this long in which the bucket answered nothing that it was asked. 10 s: stalls of a few
    /// seconds are a bucket's everyday, and clients give a request 30 s.
    pub bucket_silent_max: Duration,
    /// After this long without a sign of the metadata leader. 10 s: a leader's death (lease of 3 s, then
    /// a take-over) passes without it.
    pub metadata_silent_max: Duration,
    /// After the process stood still for this long (SIGSTOP, a suspended machine). 3 s: then other
    /// agents no longer name this one.
    pub stopped_max: Duration,
    /// How long everything has to be well again before the agent comes back; it comes back from
    /// standing still as soon as the metadata leader was heard of. 2 s: what comes and goes by the second
    /// does not move clients to and fro.
    pub recover_after: Duration,
    /// How often the metadata leader is asked for a sign, and how often the bucket is tried while it does
    /// not answer.
    pub probe_every: Duration,
    /// How often the bucket is tried while nothing else asks it. 3 s cost about $0.35 a month, and an idle
    /// agent notices a silent bucket no later than a busy one.
    pub idle_probe_every: Duration,
}

impl Default for FenceSettings {
    fn default() -> Self {
        Self {
            bucket_silent_max: Duration::from_secs(10),
            metadata_silent_max: Duration::from_secs(10),
            stopped_max: Duration::from_secs(3),
            recover_after: Duration::from_secs(2),
            probe_every: Duration::from_secs(1),
            idle_probe_every: Duration::from_secs(3),
        }
    }
}

/// Why an agent has fenced itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The process stood still: others may know more by now.
    Stopped,
    /// The metadata journal lost rows; nobody serves until an operator accepted that.
    LostRows,
    /// A watermark fell within one incarnation, which only a bug can make happen.
    WatermarkFell,
    /// The metadata leader gives no sign.
    Metadata,
    /// The bucket does not answer.
    Bucket,
}

impl Cause {
    /// For metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::LostRows => "lost_rows",
            Self::WatermarkFell => "watermark_fell",
            Self::Metadata => "metadata",
            Self::Bucket => "bucket",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "the process stood still",
            Self::LostRows => {
                "the metadata journal lost rows, and nobody serves until the loss is accepted"
            }
            Self::WatermarkFell => "a watermark fell within one incarnation",
            Self::Metadata => "the metadata service is out of reach",
            Self::Bucket => "the bucket is out of reach",
        })
    }
}

/// What is seen at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) now: Monotonic,
    /// Since when the bucket answered nothing of what it was asked; None = it answers.
    pub(super) bucket_failing_since: Option<Monotonic>,
    /// When the bucket answered last.
    pub(super) bucket_answered_at: Monotonic,
    /// The metadata leader was in reach at this time, or later.
    pub(super) metadata_heard_at: Monotonic,
    /// Whether the metadata journal lost rows.
    pub(super) lost_rows: bool,
    /// Whether a watermark fell.
    pub(super) watermark_fell: bool,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Fenced(Cause),
    Back,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Serving,
    Fenced {
        cause: Cause,
        since: Monotonic,
        well_since: Option<Monotonic>,
    },
}

/// The state machine.
#[derive(Debug)]
pub(super) struct FencePolicy {
    settings: FenceSettings,
    looked_at: Monotonic,
    state: State,
}

impl FencePolicy {
    pub(super) fn new(settings: FenceSettings, now: Monotonic) -> Self {
        Self {
            settings,
            looked_at: now,
            state: State::Serving,
        }
    }

    /// Whether nobody has looked for so long that the process must have stood still.
    pub(super) fn stood_still(&self, now: Monotonic) -> bool {
        now.since(self.looked_at) >= self.settings.stopped_max
    }

    /// Since when the bucket is silent: its last answer, which is at most an idle probe older than the
    /// first request that it did not answer. (Of another kind of requests it may answer all.)
    fn bucket_silent_since(&self, seen: &Seen) -> Option<Monotonic> {
        let unasked_max = self.settings.idle_probe_every + self.settings.probe_every;
        let failing_since = seen.bucket_failing_since?;
        let earliest = Monotonic(failing_since.0.saturating_sub(unasked_max));
        Some(seen.bucket_answered_at.max(earliest).min(failing_since))
    }

    /// What is wrong, the worst first.
    fn trouble(&self, seen: &Seen) -> Option<Cause> {
        let settings = &self.settings;
        let silent = seen.now.since(seen.metadata_heard_at);
        let bucket_silent = self.bucket_silent_since(seen).map(|at| seen.now.since(at));
        if self.stood_still(seen.now) {
            Some(Cause::Stopped)
        } else if seen.lost_rows {
            Some(Cause::LostRows)
        } else if seen.watermark_fell {
            Some(Cause::WatermarkFell)
        } else if silent >= settings.metadata_silent_max {
            Some(Cause::Metadata)
        } else if bucket_silent.is_some_and(|silent| silent >= settings.bucket_silent_max) {
            Some(Cause::Bucket)
        } else {
            None
        }
    }

    /// Whether there is nothing that a fenced agent would have to wait for. Slow answers are answers.
    fn is_well(&self, seen: &Seen, since: Monotonic) -> bool {
        let probe_every = self.settings.probe_every;
        let failing = seen.bucket_failing_since.map(|at| seen.now.since(at));
        let silent = seen.now.since(seen.metadata_heard_at);
        !seen.lost_rows
            && !seen.watermark_fell
            && failing.is_none_or(|failing| failing < 3 * probe_every)
            && seen.metadata_heard_at > since
            // A sign counts from when it was asked for: until the next one, two answers and a pause.
            && silent < 2 * PROBE_MAX + probe_every
    }

    /// Looks at what is seen, at least every fraction of a second.
    pub(super) fn look(&mut self, seen: &Seen) -> Option<Change> {
        let trouble = self.trouble(seen);
        self.looked_at = seen.now;
        match (self.state, trouble) {
            (State::Serving, None) => None,
            (State::Serving, Some(cause)) => {
                self.fence(cause, seen.now);
                Some(Change::Fenced(cause))
            }
            // It stood still once more: what was well then says nothing.
            (State::Fenced { .. }, Some(Cause::Stopped)) => {
                self.fence(Cause::Stopped, seen.now);
                None
            }
            (
                State::Fenced {
                    cause,
                    since,
                    well_since,
                },
                trouble,
            ) => {
                let cause = trouble.unwrap_or(cause);
                let well = trouble.is_none() && self.is_well(seen, since);
                let begins = match cause {
                    Cause::Stopped => seen.metadata_heard_at,
                    _ => seen.now,
                };
                let well_since = well.then(|| well_since.unwrap_or(begins));
                let wait = match cause {
                    Cause::Stopped => Duration::ZERO,
                    _ => self.settings.recover_after,
                };
                // By signs of the leader, not by the clock: the time between two may be long.
                if well_since.is_some_and(|at| seen.metadata_heard_at >= at.plus(wait)) {
                    self.state = State::Serving;
                    return Some(Change::Back);
                }
                self.state = State::Fenced {
                    cause,
                    since,
                    well_since,
                };
                None
            }
        }
    }

    fn fence(&mut self, cause: Cause, now: Monotonic) {
        self.state = State::Fenced {
            cause,
            since: now,
            well_since: None,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEP: u64 = 250;

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    struct Case {
        policy: FencePolicy,
        now: u64,
        changes: Vec<(u64, Change)>,
        /// Answers: the bucket, the metadata leader.
        bucket: bool,
        metadata: bool,
        /// How long after its last answer the bucket is asked again.
        unasked: u64,
        /// How long the leader takes to give a sign.
        barrier: u64,
        fell: bool,
        lost_rows: bool,
        answered_at: u64,
        failing_since: Option<u64>,
        heard_at: u64,
    }

    impl Case {
        fn new() -> Self {
            Self {
                policy: FencePolicy::new(FenceSettings::default(), at(0)),
                now: 0,
                changes: Vec::new(),
                bucket: true,
                metadata: true,
                unasked: 0,
                barrier: 0,
                fell: false,
                lost_rows: false,
                answered_at: 0,
                failing_since: None,
                heard_at: 0,
            }
        }

        fn look(&mut self) {
            if self.metadata && self.now % (self.barrier + 1_000) == self.barrier {
                self.heard_at = self.now - self.barrier;
            }
            if self.bucket {
                self.answered_at = self.now;
                self.failing_since = None;
            } else if self.now >= self.answered_at + self.unasked {
                self.failing_since = self.failing_since.or(Some(self.now));
            }
            let change = self.policy.look(&Seen {
                now: at(self.now),
                bucket_failing_since: self.failing_since.map(at),
                bucket_answered_at: at(self.answered_at),
                metadata_heard_at: at(self.heard_at),
                lost_rows: self.lost_rows,
                watermark_fell: self.fell,
            });
            self.changes.extend(change.map(|change| (self.now, change)));
        }

        fn pass(&mut self, ms: u64) {
            let until = self.now + ms;
            while self.now < until {
                self.now += STEP;
                self.look();
            }
        }
    }

    #[test]
    fn a_bucket_out_of_reach_fences_after_a_while_and_the_agent_comes_back() {
        let mut case = Case::new();
        case.pass(5_000);
        case.bucket = false;
        case.pass(9_750);
        assert_eq!(case.changes, []);
        case.pass(20_250);
        assert_eq!(case.changes, [(15_000, Change::Fenced(Cause::Bucket))]);
        case.bucket = true;
        case.pass(10_000);
        assert_eq!(case.changes[1..], [(38_000, Change::Back)]);
    }

    #[test]
    fn regression_a_bucket_that_nobody_asked_is_silent_since_its_last_answer() {
        for (unasked, fenced_at) in [
            (1_000, 15_000),
            (3_000, 15_000),
            (4_000, 15_000),
            (8_000, 19_000),
        ] {
            let mut case = Case::new();
            case.pass(5_000);
            (case.bucket, case.unasked) = (false, unasked);
            case.pass(20_000);
            let fenced = (fenced_at, Change::Fenced(Cause::Bucket));
            assert_eq!(case.changes, [fenced], "not asked for {unasked} ms");
        }
    }

    #[test]
    fn regression_a_leader_that_takes_seconds_to_answer_brings_the_agent_back() {
        let mut case = Case::new();
        case.barrier = 3_000;
        case.pass(5_000);
        case.bucket = false;
        case.pass(10_000);
        assert_eq!(case.changes, [(15_000, Change::Fenced(Cause::Bucket))]);
        case.bucket = true;
        case.pass(12_000);
        assert_eq!(case.changes[1..], [(27_000, Change::Back)]);
    }

    #[test]
    fn regression_a_slow_bucket_does_not_keep_the_agent_from_coming_back() {
        let mut case = Case::new();
        case.metadata = false;
        case.pass(10_000);
        assert_eq!(case.changes, [(10_000, Change::Fenced(Cause::Metadata))]);
        case.metadata = true;
        for _ in 0..3 {
            case.bucket = false;
            case.pass(1_500);
            case.bucket = true;
            case.pass(250);
        }
        assert_eq!(case.changes[1..], [(13_000, Change::Back)]);
    }

    #[test]
    fn a_metadata_service_that_comes_and_goes_does_not_bring_the_agent_back() {
        let mut case = Case::new();
        case.metadata = false;
        case.pass(10_000);
        assert_eq!(case.changes, [(10_000, Change::Fenced(Cause::Metadata))]);
        for _ in 0..5 {
            case.metadata = true;
            case.pass(1_000);
            case.metadata = false;
            case.pass(9_000);
        }
        assert_eq!(case.changes.len(), 1);
        case.metadata = true;
        case.pass(4_000);
        assert_eq!(case.changes.len(), 2);
    }

    #[test]
    fn who_stood_still_is_fenced_until_it_heard_of_the_leader() {
        let mut case = Case::new();
        case.pass(2_000);
        case.now += 3_000;
        assert!(case.policy.stood_still(at(case.now)));
        case.metadata = false;
        case.look();
        assert_eq!(case.changes, [(5_000, Change::Fenced(Cause::Stopped))]);
        case.pass(500);
        case.metadata = true;
        case.pass(1_000);
        assert_eq!(case.changes[1..], [(6_000, Change::Back)]);
    }

    #[test]
    fn a_sign_from_before_it_stood_still_says_nothing() {
        let mut case = Case::new();
        case.pass(2_000);
        case.now = 5_250;
        case.heard_at = 5_250;
        case.metadata = false;
        case.look();
        case.pass(2_000);
        assert_eq!(case.changes, [(5_250, Change::Fenced(Cause::Stopped))]);
    }

    #[test]
    fn lost_rows_fence_at_once_and_until_they_are_accepted() {
        let mut case = Case::new();
        case.pass(1_000);
        case.lost_rows = true;
        case.pass(600_000);
        assert_eq!(case.changes, [(1_250, Change::Fenced(Cause::LostRows))]);
        case.lost_rows = false;
        case.pass(5_000);
        assert_eq!(case.changes.len(), 2);
    }

    #[test]
    fn a_fallen_watermark_fences_at_once() {
        let mut case = Case::new();
        case.pass(1_000);
        case.fell = true;
        case.pass(60_000);
        let fenced = (1_250, Change::Fenced(Cause::WatermarkFell));
        assert_eq!(case.changes, [fenced]);
        case.fell = false;
        case.pass(5_000);
        assert_eq!(case.changes.len(), 2);
    }

    proptest! {
        #[test]
        fn it_fences_only_with_a_cause_and_always_comes_back(
            steps in prop::collection::vec((0u64..20_000, any::<bool>(), any::<bool>(), any::<bool>()), 1..30)
        ) {
            let mut case = Case::new();
            for (ms, bucket, metadata, stop) in steps {
                (case.bucket, case.metadata) = (bucket, metadata);
                if stop {
                    case.now += ms / STEP * STEP;
                    case.look();
                }
                let before = case.changes.len();
                let well = case.bucket && case.metadata && !stop && before == 0;
                case.pass(ms);
                prop_assert!(!well || case.changes.len() == before);
            }
            (case.bucket, case.metadata) = (true, true);
            case.pass(10_000);
            let fenced = case.changes.iter().filter(|(_, c)| *c != Change::Back).count();
            prop_assert_eq!(fenced * 2, case.changes.len());
        }
    }
}
