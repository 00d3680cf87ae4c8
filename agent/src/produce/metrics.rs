//! Metrics of the produce path. The histograms are the shares of an acknowledgement's time: in the
//! buffer, building, PUT, waiting for flushes before it, commit.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::buffer::Sealed;

/// A request was accepted.
pub(super) fn accepted(batches: usize, bytes: u64) {
    counter!("aquifer_produce_requests_total").increment(1);
    counter!("aquifer_produce_batches_total").increment(u64::try_from(batches).unwrap_or(0));
    counter!("aquifer_produce_bytes_total").increment(bytes);
}

/// The buffer was sealed.
pub(super) fn sealed(sealed: &Sealed) {
    counter!("aquifer_produce_flushes_total", "reason" => sealed.reason.name()).increment(1);
    histogram!("aquifer_produce_buffer_seconds").record(sealed.sealed_at.since(sealed.first_at));
}

/// An object was built.
pub(super) fn built(took: Duration, bytes: u64) {
    histogram!("aquifer_produce_build_seconds").record(took);
    counter!("aquifer_produce_object_bytes_total").increment(bytes);
}

/// An object was put into the bucket.
pub(super) fn put(took: Duration) {
    histogram!("aquifer_produce_put_seconds").record(took);
    counter!("aquifer_produce_objects_total").increment(1);
}

/// A PUT was sent again.
pub(super) fn resent() {
    counter!("aquifer_produce_put_resends_total").increment(1);
}

/// An uploaded flush may be committed: it waited this long for others before it.
pub(super) fn ordered(waited: Duration) {
    histogram!("aquifer_produce_order_wait_seconds").record(waited);
}

/// A commit was completely answered.
pub(super) fn committed(took: Duration) {
    histogram!("aquifer_produce_commit_seconds").record(took);
}

/// A request was answered.
pub(super) fn acked(took: Duration) {
    histogram!("aquifer_produce_ack_seconds").record(took);
}

/// A flush failed.
pub(super) fn flush_failed() {
    counter!("aquifer_produce_flushes_failed_total").increment(1);
}

/// Requests were answered REQUEST_TIMED_OUT.
pub(super) fn timed_out(requests: usize) {
    counter!("aquifer_produce_timeouts_total").increment(u64::try_from(requests).unwrap_or(0));
}

/// The commit stream was opened again.
pub(super) fn stream_opened() {
    counter!("aquifer_produce_commit_streams_total").increment(1);
}

/// How much is under way.
pub(super) fn under_way(requests: usize, flights: usize, commits: usize) {
    gauge!("aquifer_produce_requests_open").set(float(requests));
    gauge!("aquifer_produce_flushes_open").set(float(flights));
    gauge!("aquifer_produce_commits_open").set(float(commits));
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
