//! `aquifer server`: a metadata process and an agent in one.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail};
use aquifer_metadata_api::grpc::Endpoint;
use aquifer_store::{Ports, location::Wrapping};
use tracing::info;

use crate::{
    address::{Advertised, authority},
    agent::{ServedAgent, Sockets, follow_fence},
    arguments::cluster::Server,
    http,
    metadata::{ServedMetadata, bind},
    open_files, secret,
    signals::{Stop, on_threads},
    sweeping,
};

/// Runs until a signal ends it.
pub(crate) fn run(arguments: &Server) -> Result<()> {
    on_threads(|stop| serve(arguments, stop))
}

/// Where this process itself reaches what it listens on.
fn reachable(mut bound: SocketAddr) -> SocketAddr {
    match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => bound.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => bound.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    bound
}

async fn serve(arguments: &Server, mut stop: Stop) -> Result<()> {
    let serving = &arguments.serving;
    open_files::raise(serving.clients.tuning.connections_max);
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
    let endpoint: Endpoint = reachable(listener.local_addr()?)
        .to_string()
        .parse()
        .map_err(|error| anyhow!("{error}"))?;
    let (readiness, http_address) = http::start(&ports, arguments.http.http_listen).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_reaches_itself_wherever_it_listens() {
        for (bound, from_here) in [
            ("0.0.0.0:9645", "127.0.0.1:9645"),
            ("[::]:9645", "[::1]:9645"),
            ("10.0.0.5:9645", "10.0.0.5:9645"),
        ] {
            let reached = reachable(bound.parse().unwrap());
            assert_eq!(reached.to_string(), from_here);
        }
    }
}
