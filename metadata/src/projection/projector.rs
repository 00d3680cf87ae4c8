//! A leader's projector: walks, writes, rests. What goes wrong is told once, and tried again.

use std::{convert::Infallible, time::Duration};

use aquifer_metadata_api::MetadataError;
use aquifer_store::Ports;

use super::{
    ProjectionSettings,
    delta::{Known, Pass},
    tables::{Opened, Owner, ProjectionError, Tables},
};
use crate::local::LocalMetadata;

/// Rest between two slices: with what a slice takes, some percent of the sequencer's time.
const SLICE_PAUSE: Duration = Duration::from_millis(2);
/// Longest rest after failures: nobody waits for the tables, and who repaired the cause looks soon.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Why a refresh did not happen.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Tables(#[from] ProjectionError),
    #[error("term {0} has written them, which is later than this leader's")]
    Newer(aquifer_format::ids::LeaderTerm),
    #[error(transparent)]
    Leader(#[from] MetadataError),
}

pub(super) struct Projector<'a> {
    ports: &'a Ports,
    metadata: &'a LocalMetadata,
    tables: &'a mut dyn Tables,
    owner: Owner,
    interval: Duration,
    /// What the open tables hold; None = they are to be opened.
    known: Option<Known>,
    /// Failures since the last success.
    failures: u32,
}

impl<'a> Projector<'a> {
    pub(super) fn new(
        ports: &'a Ports,
        metadata: &'a LocalMetadata,
        tables: &'a mut dyn Tables,
        settings: ProjectionSettings,
    ) -> Self {
        let facts = metadata.facts();
        Self {
            ports,
            metadata,
            tables,
            owner: Owner {
                cluster: facts.cluster,
                term: facts.term,
            },
            interval: settings.interval,
            known: None,
            failures: 0,
        }
    }

    /// Goes on until it is dropped.
    pub(super) async fn run(mut self) -> Infallible {
        loop {
            let began = self.ports.clock.now();
            let pause = match self.refresh().await {
                Ok(rows) => {
                    let took = self.ports.clock.now().since(began);
                    self.succeeded(rows, took);
                    self.interval
                }
                Err(failure) => self.failed(&failure),
            };
            self.ports.sleep(pause).await;
        }
    }

    /// Brings the tables up to date; returns how many rows changed.
    async fn refresh(&mut self) -> Result<u64, Failure> {
        let known = match self.known.take() {
            Some(known) => known,
            None => self.open().await?,
        };
        let mut pass = Pass::new(known);
        loop {
            let slice = self.metadata.walk(pass.wanted()).await?;
            if pass.take(slice) {
                break;
            }
            self.ports.sleep(SLICE_PAUSE).await;
        }
        let (delta, known) = pass.finish();
        if let Some(rows) = self.tables.write(&self.owner, &delta).await? {
            self.known = Some(known);
            return Ok(rows);
        }
        // a later leader has them, or somebody dropped some: then the next refresh writes all of them
        self.known = Some(self.open().await?);
        Ok(0)
    }

    async fn open(&mut self) -> Result<Known, Failure> {
        match self.tables.open(&self.owner).await? {
            Opened::Ours(known) => Ok(known),
            Opened::Newer(term) => Err(Failure::Newer(term)),
        }
    }

    fn succeeded(&mut self, rows: u64, took: Duration) {
        if self.failures > 0 {
            tracing::info!("the SQL projection is written again");
        }
        self.failures = 0;
        refreshed("written");
        metrics::histogram!("aquifer_metadata_projection_refresh_seconds")
            .record(took.as_secs_f64());
        metrics::counter!("aquifer_metadata_projection_rows_written_total").increment(rows);
    }

    /// Returns how long to rest.
    fn failed(&mut self, failure: &Failure) -> Duration {
        if let Failure::Leader(error) = failure {
            // its role says so soon, or its callers do
            tracing::debug!(%error, "the SQL projection was not refreshed: the leader does not answer");
            return self.interval;
        }
        if self.failures == 0 {
            tracing::warn!(
                "the SQL projection cannot be written: {failure}; the service goes on without it, and tries until it can"
            );
        }
        refreshed("failed");
        let doubled = 1u32 << self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let longest = BACKOFF_MAX.max(self.interval);
        self.interval.saturating_mul(doubled).min(longest)
    }
}

fn refreshed(outcome: &'static str) {
    metrics::counter!("aquifer_metadata_projection_refreshes_total", "outcome" => outcome)
        .increment(1);
}
