//! The 95th percentile of recent latencies, in a fixed amount of memory.

use std::time::Duration;

/// Buckets per doubling: a bucket is at most a quarter wide, which is as exact as a delay has to be.
const PER_OCTAVE: usize = 4;
/// The first bucket ends above 64 µs; the last one, two minutes.
const FIRST_OCTAVE: u32 = 6;
const OCTAVES: usize = 22;
const BUCKETS: usize = PER_OCTAVE * OCTAVES;
/// With fewer latencies nothing is said.
const LATENCIES_MIN: u32 = 20;
/// With so many all counts are halved, so that the last few hundred count most.
const LATENCIES_MAX: u32 = 512;

/// Counts latencies in buckets of equal ratio.
#[derive(Debug)]
pub(super) struct LatencyDigest {
    counts: [u32; BUCKETS],
    total: u32,
}

impl Default for LatencyDigest {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
        }
    }
}

fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let micros = micros.max(1 << FIRST_OCTAVE);
    let octave = micros.ilog2();
    let quarter = usize::try_from(micros >> (octave - 2) & 3).unwrap_or(0);
    let octave = usize::try_from(octave - FIRST_OCTAVE).unwrap_or(OCTAVES);
    (octave * PER_OCTAVE + quarter).min(BUCKETS - 1)
}

/// Where a bucket ends.
fn end(bucket: usize) -> Duration {
    let octave = u32::try_from(bucket / PER_OCTAVE).unwrap_or(0) + FIRST_OCTAVE;
    let quarters = u64::try_from(bucket % PER_OCTAVE).unwrap_or(0) + 5;
    Duration::from_micros(quarters << (octave - 2))
}

impl LatencyDigest {
    /// Adds a latency; of a request that was given up, the time until then.
    pub(super) fn add(&mut self, latency: Duration) {
        self.counts[bucket(latency)] += 1;
        self.total += 1;
        if self.total >= LATENCIES_MAX {
            for count in &mut self.counts {
                *count /= 2;
            }
            self.total = self.counts.iter().sum();
        }
    }

    /// 95 of 100 requests took less. None = too few are known.
    pub(super) fn percentile_95(&self) -> Option<Duration> {
        if self.total < LATENCIES_MIN {
            return None;
        }
        let wanted = (self.total * 95).div_ceil(100);
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= wanted {
                return Some(end(bucket));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_bucket_holds_what_is_below_its_end_and_not_what_is_above() {
        for micros in [1, 63, 64, 65, 100, 999, 8_000, 60_000, 250_000, 119_000_000] {
            let latency = Duration::from_micros(micros);
            let at = bucket(latency);
            assert!(latency < end(at), "{micros}");
            assert!(at == 0 || latency >= end(at - 1), "{micros}");
        }
        assert_eq!(bucket(Duration::from_secs(100_000)), BUCKETS - 1);
    }

    #[test]
    fn the_percentile_is_right_within_a_quarter_and_follows_what_is_recent() {
        let mut digest = LatencyDigest::default();
        for n in 0..19 {
            digest.add(ms(n));
            assert_eq!(digest.percentile_95(), None);
        }
        let mut digest = LatencyDigest::default();
        for n in 1..=200 {
            digest.add(ms(n));
        }
        let measured = digest.percentile_95().unwrap();
        assert!((ms(190)..=ms(238)).contains(&measured), "{measured:?}");
        for _ in 0..2_000 {
            digest.add(ms(10));
        }
        let measured = digest.percentile_95().unwrap();
        assert!((ms(10)..=ms(13)).contains(&measured), "{measured:?}");
    }
}
