//! `aquifer compactor`: from start to stop; and compaction beside what else a process does.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use aquifer_compaction::{Worker, WorkerSettings};
use aquifer_format::ids::ClusterId;
use aquifer_metadata::bucket::Marker;
use aquifer_metadata_api::{
    MetadataError, Upkeep,
    grpc::{Endpoint, GrpcMetadata, GrpcSettings},
    secret::ClusterSecret,
    upkeep::ObjectsRequest,
};
use aquifer_store::{Monotonic, ObjectStore, Ports, location::Wrapping};
use tokio::sync::watch;
use tracing::{debug, info};

use crate::{
    arguments::compactor::{Beside, Compactor, Work},
    http::{self, Readiness},
    open_files, secret,
    signals::{Stop, on_threads},
};

/// Connections to expect: to the bucket and to the leader.
const CONNECTIONS: usize = 1_024;
/// How long jobs that are under way may take when a compactor stops.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same of a process that does something else, too: others wait for that.
const PATIENCE_BESIDE: Duration = Duration::from_secs(5);
/// How long ago a leader must have answered for the process to be ready.
const HEARD_MAX: Duration = Duration::from_secs(30);
/// Pause before a leader is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until a signal ends it.
pub(crate) fn run(arguments: &Compactor) -> Result<()> {
    on_threads(|stop| serve(arguments, stop))
}

async fn serve(arguments: &Compactor, mut stop: Stop) -> Result<()> {
    open_files::raise(CONNECTIONS);
    let ports = Ports::system();
    let secret = secret::read(&arguments.secret)?;
    let endpoints = arguments
        .metadata
        .iter()
        .map(|text| text.parse::<Endpoint>().map_err(|error| anyhow!(error)))
        .collect::<Result<Vec<_>>>()?;
    let (readiness, http_address) = http::start(&ports, arguments.http.http_listen).await?;
    let waiting = format!(
        "waiting for the metadata service at {}",
        arguments.metadata.join(", ")
    );
    readiness.say(Err(waiting.clone()));
    let starting = async {
        let bucket = &arguments.bucket.bucket;
        let store = aquifer_store::open(bucket, &ports, Wrapping::default()).await?;
        let compaction = Compaction::of(&ports, &arguments.work, endpoints, &secret, store);
        let cluster = compaction.cluster(&readiness, &waiting).await?;
        compaction.check(cluster).await?;
        anyhow::Ok((compaction, cluster))
    };
    let Some((compaction, cluster)) = stop.unless_asked(starting).await.transpose()? else {
        info!("stopped before it was ready");
        return Ok(());
    };
    compaction.worker.start();
    info!(%cluster, http = %http_address, "ready");
    let heard = compaction.worker.heard();
    let telling = follow_leader(ports.clone(), heard, readiness, waiting);
    ports.tasks.spawn(telling);
    stop.asked().await;
    info!("stopping: the jobs under way are finished, for up to 30 s; once more stops at once");
    stop.finish(compaction.stop(PATIENCE)).await?;
    info!("stopped");
    Ok(())
}

/// Says that the process is ready while a leader answers.
async fn follow_leader(
    ports: Ports,
    heard: watch::Receiver<Option<Monotonic>>,
    readiness: Readiness,
    waiting: String,
) {
    loop {
        let now = ports.clock.now();
        let last = *heard.borrow();
        let answers = last.is_some_and(|last| now.since(last) <= HEARD_MAX);
        readiness.say(if answers {
            Ok("compacting")
        } else {
            Err(waiting.clone())
        });
        ports.sleep(PAUSE).await;
    }
}

/// A worker of this process, with tasks of its own.
pub(crate) struct Compaction {
    worker: Arc<Worker>,
    ports: Ports,
    store: Arc<dyn ObjectStore>,
    metadata: Arc<dyn Upkeep>,
}

impl Compaction {
    /// One that asks any of these metadata processes.
    fn of(
        ports: &Ports,
        work: &Work,
        endpoints: Vec<Endpoint>,
        secret: &ClusterSecret,
        store: Arc<dyn ObjectStore>,
    ) -> Self {
        let ports = ports.another_node();
        let settings = GrpcSettings::new(endpoints, secret.clone());
        let metadata = Arc::new(GrpcMetadata::new(ports.clone(), settings));
        Self::new(ports, work, metadata, store)
    }

    fn new(
        ports: Ports,
        work: &Work,
        metadata: Arc<dyn Upkeep>,
        store: Arc<dyn ObjectStore>,
    ) -> Self {
        let worker = Worker::new(
            Arc::clone(&store),
            Arc::clone(&metadata),
            ports.clone(),
            settings(work),
        );
        Self {
            worker,
            ports,
            store,
            metadata,
        }
    }

    /// Begins to compact in a process that serves, unless it is not to. It asks `metadata`.
    pub(crate) fn beside(
        ports: &Ports,
        arguments: &Beside,
        metadata: Arc<dyn Upkeep>,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Self> {
        arguments.compact.then(|| {
            let compaction = Self::new(ports.another_node(), &arguments.work, metadata, store);
            compaction.worker.start();
            compaction
        })
    }

    /// The same over the network, as the agent in such a process asks.
    pub(crate) fn beside_agent(
        ports: &Ports,
        arguments: &Beside,
        endpoint: Endpoint,
        secret: &ClusterSecret,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Self> {
        arguments.compact.then(|| {
            let compaction = Self::of(ports, &arguments.work, vec![endpoint], secret, store);
            compaction.worker.start();
            compaction
        })
    }

    /// Ends the jobs under way of a process that does something else, too.
    pub(crate) async fn stop_beside(compaction: Option<&Self>) {
        if let Some(compaction) = compaction {
            compaction.stop(PATIENCE_BESIDE).await;
        }
    }

    async fn stop(&self, patience: Duration) {
        self.worker.stop(patience).await;
        self.ports.tasks.kill();
    }

    /// The cluster that the leader leads; waits for one as long as it takes.
    async fn cluster(&self, readiness: &Readiness, waiting: &str) -> Result<ClusterId> {
        loop {
            let request = ObjectsRequest {
                after: None,
                limit: 1,
            };
            match self.metadata.objects(request).await {
                Ok(reply) => return Ok(reply.cluster),
                Err(error @ MetadataError::Refused { .. }) => {
                    bail!("the compactor cannot start: {error}");
                }
                Err(error) => {
                    debug!(%error, "no leader yet");
                    readiness.say(Err(format!("{waiting} ({error})")));
                }
            }
            self.ports.sleep(PAUSE).await;
        }
    }

    /// Refuses a bucket that is not the cluster's.
    async fn check(&self, cluster: ClusterId) -> Result<()> {
        // The metadata service marks the bucket before it serves.
        let marker = Marker::read(&*self.store).await;
        match marker.context("the bucket's marker cannot be read")? {
            Some(marker) => marker.check(cluster, &*self.store)?,
            None => bail!(
                "bucket {} is not that of cluster {cluster}: it has no marker; give compactors and metadata \
                 processes the same --bucket",
                self.store.describe()
            ),
        }
        Ok(())
    }
}

/// A worker's settings as the flags have them.
fn settings(work: &Work) -> WorkerSettings {
    WorkerSettings {
        jobs: usize::from(work.compaction_jobs),
        memory_bytes: usize::try_from(work.compaction_memory.0).unwrap_or(usize::MAX),
        spill: work.compaction_spill.clone(),
        ..WorkerSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    #[test]
    fn a_worker_is_set_up_as_the_flags_say() {
        let work = Work {
            compaction_jobs: 3,
            compaction_memory: Bytes(64 << 20),
            compaction_spill: Some("/spill".into()),
        };
        let settings = settings(&work);
        assert_eq!(settings.jobs, 3);
        assert_eq!(settings.memory_bytes, 64 << 20);
        assert_eq!(settings.spill, Some("/spill".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_ready_while_a_leader_answers() {
        let ports = Ports::simulated(1, 0);
        let (heard, hearing) = watch::channel(None);
        let readiness = Readiness::default();
        let telling = follow_leader(
            ports.clone(),
            hearing,
            readiness.clone(),
            "waiting".to_owned(),
        );
        ports.tasks.spawn(telling);
        let is_ready = || readiness.answer().0.is_success();
        ports.sleep(PAUSE * 2).await;
        assert!(!is_ready());
        heard.send_replace(Some(ports.clock.now()));
        ports.sleep(PAUSE * 2).await;
        assert!(is_ready());
        ports.sleep(HEARD_MAX).await;
        assert!(!is_ready());
    }
}
