//! Health and metrics over HTTP.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, anyhow};
use aquifer_store::Ports;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{net::TcpListener, sync::watch};

use crate::address::Listen;

/// Bounds of duration histograms, in seconds: from what a folder takes to what a client waits for.
const SECONDS: [f64; 16] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];

/// How often histograms are folded, so that they don't grow while nobody asks for them.
const UPKEEP: std::time::Duration = std::time::Duration::from_secs(5);

/// Whether the process serves, and what it says of that.
#[derive(Clone, Debug)]
pub(crate) struct Readiness(Arc<watch::Sender<Result<&'static str, String>>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Err("starting".to_owned()))))
    }
}

impl Readiness {
    /// From now on: what the process does, or why it does not serve.
    pub(crate) fn say(&self, said: Result<&'static str, String>) {
        drop(self.0.send_replace(said));
    }

    pub(crate) fn answer(&self) -> (StatusCode, String) {
        match &*self.0.borrow() {
            Ok(what) => (StatusCode::OK, format!("ready: {what}\n")),
            Err(reason) => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {reason}\n"),
            ),
        }
    }
}

/// Serves health and metrics until the process ends. Returns what health says, and the address.
pub(crate) async fn start(ports: &Ports, listen: Listen) -> Result<(Readiness, SocketAddr)> {
    let listener = bind(listen).await?;
    let address = listener.local_addr()?;
    let readiness = Readiness::default();
    let metrics = collect_metrics(ports)?;
    serve(ports, listener, router(readiness.clone(), metrics));
    Ok((readiness, address))
}

/// Starts to collect what the process measures.
fn collect_metrics(ports: &Ports) -> Result<PrometheusHandle> {
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
fn router(readiness: Readiness, metrics: PrometheusHandle) -> Router {
    let ready = get(|State(readiness): State<Readiness>| async move { readiness.answer() });
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

/// Opens the address.
async fn bind(address: Listen) -> Result<TcpListener> {
    TcpListener::bind(address.0).await.map_err(|error| {
        anyhow!(
            "cannot listen on {address} for health and metrics: {error}; choose another address with \
             --http-listen"
        )
    })
}

/// Serves until the process ends.
fn serve(ports: &Ports, listener: TcpListener, router: Router) {
    ports.tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "health and metrics are no longer served");
        }
    });
}
