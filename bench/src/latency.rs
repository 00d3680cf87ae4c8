//! Latencies of one run.

use std::{sync::Mutex, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency that is told apart: clients give up before.
const MICROSECONDS_MAX: u64 = 600_000_000;

/// A histogram that several threads fill.
pub(crate) struct Latencies(Mutex<Histogram<u64>>);

impl Latencies {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, MICROSECONDS_MAX, 3)
            .expect("the bounds and three digits are valid");
        Self(Mutex::new(histogram))
    }

    pub(crate) fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(MICROSECONDS_MAX);
        let mut histogram = self.0.lock().unwrap_or_else(|e| e.into_inner());
        histogram.saturating_record(micros.max(1));
    }

    pub(crate) fn summary(&self) -> Option<Summary> {
        let histogram = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if histogram.is_empty() {
            return None;
        }
        let at = |q: f64| milliseconds(histogram.value_at_quantile(q));
        Some(Summary {
            count: histogram.len(),
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: milliseconds(histogram.max()),
        })
    }
}

/// Quantiles of a run, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a latency has far fewer than 52 bits"
)]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let latencies = Latencies::new();
        assert!(latencies.summary().is_none());
        (1..=100).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        latencies.record(Duration::from_secs(100_000));
        let summary = latencies.summary().expect("it has values");
        assert_eq!(summary.count, 101);
        assert!((summary.p50_ms - 51.0).abs() < 0.2, "{summary:?}");
        assert!((summary.max_ms - 600_000.0).abs() < 600.0, "{summary:?}");
    }
}
