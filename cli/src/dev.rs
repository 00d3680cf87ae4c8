//! `aquifer dev`: from start to stop.

use std::net::SocketAddr;

use anyhow::{Result, anyhow, bail};
use aquifer_agent::listener::Listener;
use aquifer_metadata_api::register::AgentAddress;
use aquifer_store::Ports;
use serde_json::json;
use tracing::info;

use crate::{
    address::{Advertised, authority},
    agent::follow_fence,
    arguments::Dev,
    compose::Process,
    data_folder::DataFolder,
    http, open_files,
    output::Printer,
    signals::{Stop, on_threads},
};

/// Runs until a signal ends it.
pub(crate) fn run(dev: &Dev) -> Result<()> {
    on_threads(|stop| serve(dev, stop))
}

async fn serve(dev: &Dev, mut stop: Stop) -> Result<()> {
    open_files::raise(dev.clients.tuning.connections_max);
    let ports = Ports::system();
    let data = DataFolder::open(&dev.data)?;
    let kafka = Listener::bind(dev.kafka_listen.0, dev.node_ids)
        .map_err(|error| anyhow!("{error}; Kafka's address is set with --kafka-listen"))?;
    let (readiness, http_address) = http::start(&ports, dev.http_listen).await?;

    let address = advertised(dev, &kafka);
    let shown = authority(&address.host, address.port);
    let starting = Process::start(&ports, &data, address, dev);
    let Some(process) = stop.unless_asked(starting).await.transpose()? else {
        info!("stopped before it was ready");
        return Ok(());
    };
    kafka.start(&process.broker);
    let fence = process.broker.readiness();
    ports.tasks.spawn(follow_fence(fence, readiness.clone()));
    announce(dev, &process, &shown, http_address);

    let ended = tokio::select! {
        biased;
        () = stop.asked() => None,
        reason = process.leader.stopped() => Some(reason),
    };
    if let Some(reason) = ended {
        bail!("the metadata service stopped: {reason}");
    }
    info!("stopping: finishing what was accepted; once more stops at once");
    stop.finish(process.stop()).await??;
    info!("stopped");
    Ok(())
}

/// What clients are told to connect to.
fn advertised(dev: &Dev, kafka: &Listener) -> AgentAddress {
    let host = dev.advertise_host.as_ref();
    let (host, port) = Advertised::resolve(host, kafka.address(), "--advertise-host");
    AgentAddress {
        host,
        port,
        node_ids: dev.node_ids,
        zone: dev.clients.zone.clone(),
        peer: String::new(),
    }
}

/// Says where to connect: a line on stdout, for people and scripts.
fn announce(dev: &Dev, process: &Process, kafka: &str, http: SocketAddr) {
    let cluster = process.leader.cluster();
    info!(%cluster, kafka, %http, "ready");
    let data = dev.data.display().to_string();
    let text = format!(
        "aquifer is ready: Kafka clients connect to {kafka}, health and metrics are at http://{http}, data is \
         in {data}"
    );
    let json = json!({
        "kafka": kafka,
        "http": http.to_string(),
        "data": data,
        "cluster": cluster.to_string(),
    });
    // Nobody has to read it.
    let _ = Printer::stdout(dev.output).say(&text, &json);
}
