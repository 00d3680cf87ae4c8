//! Health and metrics over HTTP.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};
use aquifer_store::Ports;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

/// Bounds of duration histograms, in seconds: from what a folder takes to what a client waits for.
const SECONDS: [f64; 16] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];

/// How often histograms are folded, so that they don't grow while nobody asks for them.
const UPKEEP: std::time::Duration = std::time::Duration::from_secs(5);

/// Whether the process serves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on, or no longer.
    pub(crate) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Starts to collect what the process measures.
pub(crate) fn collect_metrics(ports: &Ports) -> Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .context("the bounds of histograms are wrong")?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("metrics are collected already")?;
    let (upkeep, clock) = (handle.clone(), Arc::clone(&ports.clock));
    ports.tasks.spawn(async move {
        loop {
            clock.sleep_until(clock.now().plus(UPKEEP)).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// What is served.
pub(crate) fn router(readiness: Readiness, metrics: PrometheusHandle) -> Router {
    let ready = get(|State(readiness): State<Readiness>| async move {
        if readiness.get() {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        }
    });
    Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", ready)
        .with_state(readiness)
        .route(
            "/metrics",
            get(move || {
                let text = metrics.render();
                async move { ([("content-type", "text/plain; version=0.0.4")], text) }
            }),
        )
}

/// Serves until the process ends.
pub(crate) fn serve(ports: &Ports, listener: TcpListener, router: Router) {
    ports.tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "health and metrics are no longer served");
        }
    });
}
