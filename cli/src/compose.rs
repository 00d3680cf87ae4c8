//! The composition of `aquifer dev`: which implementation stands behind which port. This is the one
//! place that knows all of them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use aquifer_agent::{
    broker::Broker, produce::ProduceSettings, produce::settings::FlushSettings,
    settings::AgentSettings,
};
use aquifer_compaction::sweep::{SweepSettings, Sweeper};
use aquifer_metadata::{
    Leader, LeaderSettings, Role,
    journal::{Journal, sqlite::SqliteJournal},
};
use aquifer_metadata_api::{Upkeep, register::AgentAddress};
use aquifer_store::{ObjectStore, Ports, location::Wrapping};
use tokio::sync::watch;

use crate::{
    arguments::{BlockCompression, ClientMetrics, Clients, Dev, Tuning},
    broker_configs,
    compactor::Compaction,
    data_folder::DataFolder,
    upkeep,
};

/// How long the end of the metadata service may take.
const LEADER_PATIENCE: Duration = Duration::from_secs(5);

/// Everything that runs in one process.
pub(crate) struct Process {
    pub(crate) broker: Arc<Broker>,
    pub(crate) leader: Leader,
    journal: Arc<SqliteJournal>,
    compaction: Option<Compaction>,
    /// Ends with the process, and whoever follows it.
    _role: watch::Sender<Role>,
    /// The agent's tasks end before the metadata service does.
    agent_ports: Ports,
}

impl Process {
    /// Opens journal and bucket, leads the metadata service, and starts an agent that clients will reach
    /// at `address`. Returns once it can serve.
    pub(crate) async fn start(
        ports: &Ports,
        data: &DataFolder,
        address: AgentAddress,
        dev: &Dev,
    ) -> Result<Self> {
        let path = data.journal();
        let journal = SqliteJournal::open(&path, Arc::clone(&ports.clock)).await?;
        let journal = Arc::new(journal);
        let url = format!("file://{}", data.bucket().display());
        let store = aquifer_store::open(&url, ports, Wrapping::default()).await?;
        let settings = LeaderSettings {
            broker_configs: broker_configs::configs(&dev.clients.broker_configs),
            group_lag_metrics: dev.groups.group_lag_metrics.into(),
            ..LeaderSettings::default()
        };
        let settings = upkeep::with(settings, &dev.upkeep);
        let backups = settings.backup;
        let leader = Leader::start_on(
            Arc::clone(&journal) as Arc<dyn Journal>,
            Arc::clone(&store),
            ports.clone(),
            settings,
        )
        .await
        .with_context(|| format!("the metadata in {} cannot be served", path.display()))?;
        let metadata = leader.metadata();
        let (role, leading) = watch::channel(Role::Leader(Arc::clone(&metadata)));
        let journal_port = Arc::clone(&journal) as Arc<dyn Journal>;
        upkeep::start_backups(ports, journal_port, Arc::clone(&store), leading, backups);
        let compaction = Compaction::beside(
            ports,
            &dev.compaction,
            Arc::clone(&metadata) as Arc<dyn Upkeep>,
            Arc::clone(&store),
        );
        Sweeper::new(
            Arc::clone(&store),
            metadata,
            ports.clone(),
            SweepSettings::default(),
        )
        .start();
        let agent_ports = ports.another_node();
        let broker = start_broker(&agent_ports, &leader, &store, address, dev).await?;
        Ok(Self {
            broker,
            leader,
            journal,
            compaction,
            _role: role,
            agent_ports,
        })
    }

    /// Finishes what was accepted and stops, in this order: the agent, the metadata service, the journal.
    pub(crate) async fn stop(&self) -> Result<()> {
        let compaction = Compaction::stop_beside(self.compaction.as_ref());
        tokio::join!(self.broker.drain(), compaction);
        self.agent_ports.tasks.kill();
        self.leader.stop(LEADER_PATIENCE).await;
        self.journal.close().await?;
        Ok(())
    }
}

async fn start_broker(
    ports: &Ports,
    leader: &Leader,
    store: &Arc<dyn ObjectStore>,
    address: AgentAddress,
    dev: &Dev,
) -> Result<Arc<Broker>> {
    let priced = store.priced_per_request();
    let settings = agent_settings(address, &dev.clients, priced)?;
    let starting = Broker::start(
        settings,
        ports.clone(),
        leader.metadata(),
        Arc::clone(store),
        None,
    );
    // An agent waits for metadata as long as it takes; here it is in the same process.
    tokio::select! {
        biased;
        reason = leader.stopped() => bail!("{reason}"),
        broker = starting => broker.context("the agent cannot start"),
    }
}

/// An agent's settings as the flags have them; `priced`: whether its bucket's requests cost money.
pub(crate) fn agent_settings(
    address: AgentAddress,
    clients: &Clients,
    priced: bool,
) -> Result<AgentSettings> {
    let mut settings = AgentSettings::new(address);
    let tuning = &clients.tuning;
    settings.auto_create_topics = clients.auto_create_topics;
    settings.broker_configs = broker_configs::configs(&clients.broker_configs);
    broker_configs::warn_of_idle(&settings.broker_configs);
    settings.telemetry.kept = clients.client_metrics == ClientMetrics::Keep;
    settings.connections.connections_max = tuning.connections_max;
    settings.connections.idle_max = tuning.idle_max.0;
    settings.connections.drain_max = tuning.drain_max.0;
    settings.fetch.cache.bytes_max = tuning.cache_memory.0;
    settings.produce = produce_settings(tuning, priced)?;
    Ok(settings)
}

fn produce_settings(tuning: &Tuning, priced: bool) -> Result<ProduceSettings> {
    let mut flush = if priced {
        FlushSettings::priced()
    } else {
        FlushSettings::unpriced()
    };
    flush.bytes_max = tuning.flush_bytes.0;
    flush.bytes_soft = flush.bytes_soft.min(flush.bytes_max);
    if let Some(interval) = tuning.flush_interval {
        flush = flush.with_interval(interval.0);
    }
    Ok(ProduceSettings {
        flush: Some(flush),
        bytes_in_flight_max: u32::try_from(tuning.produce_memory.0)
            .context("--produce-memory is less than 4GiB")?,
        block_compression_level: match tuning.block_compression {
            BlockCompression::Zstd => Some(1),
            BlockCompression::None => None,
        },
        ..ProduceSettings::default()
    })
}
