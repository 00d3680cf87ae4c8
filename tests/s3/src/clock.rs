//! The only place that knows what time it is: tokio's, which a test may pause.

#![allow(
    clippy::disallowed_methods,
    reason = "a server of its own, for tests: it knows no ports"
)]

use std::{
    future::Future,
    time::{Duration, SystemTime},
};

pub(crate) use tokio::time::Instant;

pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

pub(crate) async fn sleep(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

pub(crate) fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}
