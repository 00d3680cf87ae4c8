//! `aquifer server`: a metadata process and an agent in one.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use aquifer_metadata_api::grpc::Endpoint;
use aquifer_store::{Ports, location::Wrapping};
use tracing::info;

use crate::{
    address::{Advertised, authority},
    agent::{ServedAgent, Sockets, follow_fence},
    arguments::cluster::Server,
    http::{self, Readiness},
    metadata::{ServedMetadata, bind},
    open_files, secret,
    signals::{Stop, on_threads},
    sweeping,
};

/// Runs until a signal ends it.
pub(crate) fn run(arguments: &Server) -> Result<()> {
    on_threads(|stop| serve(arguments, stop))
}

async fn serve(arguments: &Server, mut stop: Stop) -> Result<()> {
    let serving = &arguments.serving;
    open_files::raise(serving.tuning.connections_max);
    let ports = Ports::system();
    let secret = secret::read(&arguments.secret)?;
    let sockets = Sockets::open(serving).await?;
    let listener = bind(arguments.metadata_listen, "--metadata-listen").await?;
    let (host, port) = Advertised::resolve(
        arguments.metadata_advertise.as_ref(),
        listener.local_addr()?,
        "--metadata-advertise",
    );
    // The agent in here asks the process itself, which names the leader.
    let own = authority("127.0.0.1", listener.local_addr()?.port());
    let endpoint: Endpoint = own.parse().map_err(|error| anyhow!("{error}"))?;
    let http = http::bind(arguments.http.http_listen).await?;
    let http_address = http.local_addr()?;
    let readiness = Readiness::default();
    let metrics = http::collect_metrics(&ports)?;
    http::serve(&ports, http, http::router(readiness.clone(), metrics));
    let store = aquifer_store::open(&arguments.bucket.bucket, &ports, Wrapping::default()).await?;
    let metadata = ServedMetadata::start(
        &ports,
        &arguments.postgres.postgres,
        Arc::clone(&store),
        listener,
        authority(&host, port),
        secret.clone(),
    )
    .await?;
    let sweeps = sweeping::settings(&arguments.sweeping);
    ports.tasks.spawn(sweeping::while_leading(
        ports.clone(),
        Arc::clone(&store),
        metadata.member.role(),
        sweeps,
    ));
    let started = ServedAgent::start(&ports, serving, sockets, vec![endpoint], &secret, store);
    let agent = tokio::select! {
        biased;
        () = stop.asked() => {
            metadata.stop().await;
            info!("stopped before it was ready");
            return Ok(());
        }
        agent = started => agent.context("the agent in this process cannot start")?,
    };
    agent.announce(http_address);
    ports
        .tasks
        .spawn(follow_fence(agent.broker.readiness(), readiness.clone()));
    stop.asked().await;
    info!("stopping: clients move, what was accepted is finished; once more stops at once");
    tokio::select! {
        biased;
        () = async { agent.stop().await; metadata.stop().await } => {}
        () = stop.asked() => bail!("stopped at once; what was not acknowledged may be lost"),
    }
    info!("stopped");
    Ok(())
}
