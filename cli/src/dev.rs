//! `aquifer dev`: from start to stop.

use std::{io::Write as _, net::SocketAddr};

use anyhow::{Context, Result, anyhow, bail};
use aquifer_agent::listener::Listener;
use aquifer_metadata_api::register::AgentAddress;
use aquifer_store::Ports;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::{info, warn};

use crate::{
    arguments::Dev,
    compose::Process,
    data_folder::DataFolder,
    http::{self, Readiness},
    open_files,
};

/// Runs until a signal ends it.
pub(crate) fn run(dev: &Dev) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(async {
        let stop = Stop::new()?;
        serve(dev, stop).await
    })
}

async fn serve(dev: &Dev, mut stop: Stop) -> Result<()> {
    open_files::raise(dev.tuning.connections_max);
    let ports = Ports::system();
    let data = DataFolder::open(&dev.data)?;
    let kafka = Listener::bind(dev.kafka_listen.0, dev.node_ids)
        .map_err(|error| anyhow!("{error}; Kafka's address is set with --kafka-listen"))?;
    let http = TcpListener::bind(dev.http_listen.0)
        .await
        .map_err(|error| {
            anyhow!(
                "cannot listen on {} for health and metrics: {error}; choose another address with \
             --http-listen",
                dev.http_listen
            )
        })?;
    let http_address = http.local_addr()?;
    let readiness = Readiness::default();
    let metrics = http::collect_metrics(&ports)?;
    http::serve(&ports, http, http::router(readiness.clone(), metrics));

    let address = advertised(dev, &kafka);
    let shown = format!("{}:{}", address.host, address.port);
    let process = tokio::select! {
        biased;
        () = stop.asked() => {
            info!("stopped before it was ready");
            return Ok(());
        }
        process = Process::start(&ports, &data, address, dev) => process?,
    };
    kafka.start(&process.broker);
    readiness.set(true);
    announce(dev, &process, &shown, http_address);

    let ended = tokio::select! {
        biased;
        () = stop.asked() => None,
        reason = process.leader.stopped() => Some(reason),
    };
    readiness.set(false);
    if let Some(reason) = ended {
        bail!("the metadata service stopped: {reason}");
    }
    info!("stopping: finishing what was accepted; once more stops at once");
    tokio::select! {
        biased;
        stopped = process.stop() => stopped?,
        () = stop.asked() => bail!("stopped at once; what was not acknowledged may be lost"),
    }
    info!("stopped");
    Ok(())
}

/// What clients are told to connect to.
fn advertised(dev: &Dev, kafka: &Listener) -> AgentAddress {
    let bound = kafka.address();
    let host = match &dev.advertise_host {
        Some(host) => host.clone(),
        None if kafka.is_wildcard() => {
            let host = machine_name().unwrap_or_else(|| "127.0.0.1".to_owned());
            warn!(
                host,
                "clients are told this machine's name; set --advertise-host if they cannot resolve it"
            );
            host
        }
        None => bound.ip().to_string(),
    };
    AgentAddress {
        host,
        port: bound.port(),
        node_ids: dev.node_ids,
        zone: dev.zone.clone(),
        peer: String::new(),
    }
}

fn machine_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Says where to connect: a line on stdout, for people and scripts.
fn announce(dev: &Dev, process: &Process, kafka: &str, http: SocketAddr) {
    info!(cluster = %process.leader.cluster(), kafka, %http, "ready");
    // Nobody has to read it.
    let _ = writeln!(
        std::io::stdout(),
        "aquifer is ready: Kafka clients connect to {kafka}, health and metrics are at \
         http://{http}, data is in {}",
        dev.data.display()
    );
}

/// Signals that ask to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for signals")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for signals")?,
        })
    }

    /// Returns at the next one.
    async fn asked(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
