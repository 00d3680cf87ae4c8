//! How long requests take: log-normal distributions fitted to a median and a 99th percentile.
//!
//! Where the numbers come from. The project plans with PUTs of S3 Standard at 60 ms (median) and 250 ms
//! (p99), and of S3 Express One Zone at 8 and 25 ms. GETs of S3 Standard: a median of about 30 ms to the
//! first byte of small requests is what Durner, Leis and Neumann measured ("Exploiting Cloud Object
//! Storage for High-Performance Analytics", VLDB 2023), and AWS's own guide ("Best practices design
//! patterns: optimizing Amazon S3 performance") calls 100 to 200 ms roughly consistent for small objects
//! under load, hence 25 and 120 ms; AWS calls Express "single-digit milliseconds", hence 5 and 15 ms. They
//! are models to compare designs under, not promises of a store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{operation::Operation, random::Random};

/// z of the 99th percentile of the normal distribution.
const Z_99: f64 = 2.326_347_874;

/// No request is longer than this many times its p99: stalls are a fault of their own.
const LONGEST_FACTOR: f64 = 4.0;

/// A distribution by two of its points, in milliseconds. Both 0 = no latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The median.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
}

impl Spread {
    const fn new(p50_ms: f64, p99_ms: f64) -> Self {
        Self { p50_ms, p99_ms }
    }

    pub(crate) fn sample(&self, random: &mut Random) -> Duration {
        if self.p50_ms <= 0.0 {
            return Duration::ZERO;
        }
        let p99 = self.p99_ms.max(self.p50_ms);
        let sigma = (p99 / self.p50_ms).ln() / Z_99;
        let millis = self.p50_ms * (sigma * random.normal()).exp();
        Duration::from_secs_f64(millis.min(p99 * LONGEST_FACTOR) / 1_000.0)
    }
}

/// Latencies of a bucket. Writes (and deletes) take the one, everything else the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// PutObject, deletes and the calls of multipart uploads.
    pub put: Spread,
    /// Everything else.
    pub get: Spread,
}

impl Latency {
    /// As fast as this machine.
    pub const NONE: Self = Self {
        put: Spread::new(0.0, 0.0),
        get: Spread::new(0.0, 0.0),
    };
    /// S3 Standard.
    pub const STANDARD: Self = Self {
        put: Spread::new(60.0, 250.0),
        get: Spread::new(25.0, 120.0),
    };
    /// S3 Express One Zone.
    pub const EXPRESS: Self = Self {
        put: Spread::new(8.0, 25.0),
        get: Spread::new(5.0, 15.0),
    };

    pub(crate) fn of(&self, operation: Operation) -> &Spread {
        if operation.writes() {
            &self.put
        } else {
            &self.get
        }
    }
}

impl std::str::FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::NONE),
            "standard" => Ok(Self::STANDARD),
            "express" => Ok(Self::EXPRESS),
            _ => Err(format!("{text:?} is none of none, standard and express")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_the_median_and_the_tail_that_were_asked_for() {
        for (name, spread) in [
            ("standard put", Latency::STANDARD.put),
            ("standard get", Latency::STANDARD.get),
            ("express put", Latency::EXPRESS.put),
            ("express get", Latency::EXPRESS.get),
        ] {
            let mut random = Random::new(7);
            let mut samples: Vec<f64> = (0..20_000)
                .map(|_| spread.sample(&mut random).as_secs_f64() * 1_000.0)
                .collect();
            samples.sort_by(f64::total_cmp);
            let (p50, p99) = (samples[10_000], samples[19_800]);
            assert!((p50 / spread.p50_ms - 1.0).abs() < 0.05, "{name}: {p50}");
            assert!((p99 / spread.p99_ms - 1.0).abs() < 0.10, "{name}: {p99}");
            assert!(samples[19_999] <= spread.p99_ms * 4.0 + 0.001, "{name}");
        }
        assert_eq!(
            Latency::NONE.put.sample(&mut Random::new(1)),
            Duration::ZERO
        );
    }

    #[test]
    fn a_seed_gives_the_same_latencies() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            let put = Latency::STANDARD.put;
            (0..10).map(|_| put.sample(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}
