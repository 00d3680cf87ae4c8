//! `aquifer server`: a metadata process and an agent in one.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::Arc,
};

use anyhow::{Result, anyhow};
use aquifer_metadata::Role;
use aquifer_metadata_api::grpc::Endpoint;
use aquifer_store::{Ports, location::Wrapping};
use tokio::sync::watch;
use tracing::info;

use crate::{
    address::{Advertised, authority},
    agent::{ServedAgent, Sockets, follow_fence},
    arguments::cluster::Server,
    compactor::Compaction,
    http::{self, Readiness},
    metadata::{ServedMetadata, bind, follow_role, leader_settings},
    open_files, secret,
    signals::{Stop, on_threads},
    sql_projection, sweeping, upkeep,
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
    let starting = async {
        let bucket = &arguments.bucket.bucket;
        let store = aquifer_store::open(bucket, &ports, Wrapping::default()).await?;
        // Settings that cannot be are told before the database is touched.
        let settings = sockets.settings(serving, &*store)?;
        readiness.say(Err("waiting for the database".to_owned()));
        let starting = ServedMetadata::start(
            &ports,
            &arguments.postgres.postgres,
            Arc::clone(&store),
            listener,
            upkeep::with(
                leader_settings(
                    authority(&host, port),
                    settings.broker_configs.clone(),
                    &arguments.groups,
                ),
                &arguments.upkeep,
            ),
            secret.clone(),
        );
        anyhow::Ok((starting.await?, store, settings))
    };
    let Some((metadata, store, settings)) = stop.unless_asked(starting).await.transpose()? else {
        info!("stopped before it was ready");
        return Ok(());
    };
    let sweeps = sweeping::settings(&arguments.sweeping);
    ports.tasks.spawn(sweeping::while_leading(
        ports.clone(),
        Arc::clone(&store),
        metadata.member.role(),
        sweeps,
    ));
    sql_projection::start(
        &ports,
        &arguments.projection,
        &arguments.postgres.postgres,
        metadata.member.role(),
    )?;
    let compaction = Compaction::beside_agent(
        &ports,
        &arguments.compaction,
        endpoint.clone(),
        &secret,
        Arc::clone(&store),
    );
    let endpoints = vec![endpoint];
    let starting = ServedAgent::start(&ports, settings, sockets, endpoints, &secret, store);
    let starting = telling(starting, metadata.member.role(), &readiness);
    let agent = match stop.unless_asked(starting).await {
        Some(Ok(agent)) => agent,
        Some(Err(error)) => {
            // So that another process leads at once; the error is what there is to tell, also where a
            // signal ends this.
            stop.unless_asked(metadata.stop()).await;
            return Err(error.context("the agent in this process cannot start"));
        }
        None => {
            stop.finish(metadata.stop()).await?;
            info!("stopped before it was ready");
            return Ok(());
        }
    };
    agent.announce(http_address);
    ports
        .tasks
        .spawn(follow_fence(agent.broker.readiness(), readiness.clone()));
    stop.asked().await;
    info!("stopping: clients move, what was accepted is finished; once more stops at once");
    let ending = async {
        tokio::join!(agent.stop(), Compaction::stop_beside(compaction.as_ref()));
        metadata.stop().await;
    };
    stop.finish(ending).await?;
    info!("stopped");
    Ok(())
}

/// What the start of the agent comes to. Until then health says what it waits for: it cannot serve before
/// the metadata service does, often the one in this process.
async fn telling<T>(
    starting: impl Future<Output = T>,
    role: watch::Receiver<Role>,
    readiness: &Readiness,
) -> T {
    let mut starting = pin!(starting);
    let waiting = follow_role(role, |said| {
        let reason = said.err();
        readiness.say(Err(
            reason.unwrap_or_else(|| "the agent is starting".to_owned())
        ));
    });
    tokio::select! {
        biased;
        started = &mut starting => return started,
        () = waiting => {}
    }
    starting.await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets what is polled beside the caller go on.
    async fn let_others_run() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn health_says_what_the_agent_waits_for_until_it_has_started() {
        let (tell, role) = watch::channel(Role::Standby { leader: None });
        let (finish, starting) = tokio::sync::oneshot::channel();
        let readiness = Readiness::default();
        let says = |text: &str| {
            let (status, said) = readiness.answer();
            assert_eq!(status, axum::http::StatusCode::SERVICE_UNAVAILABLE);
            assert!(said.contains(text), "{said}");
        };
        let steps = async {
            let_others_run().await;
            says("waiting for the metadata leader");
            tell.send_replace(Role::Refusing {
                reason: "lost rows".to_owned(),
            });
            let_others_run().await;
            says("lost rows");
            let leader = Some("other:9645".to_owned());
            tell.send_replace(Role::Standby { leader });
            let_others_run().await;
            says("the agent is starting");
            finish.send(7).unwrap();
        };
        let (started, ()) = tokio::join!(telling(starting, role, &readiness), steps);
        assert_eq!(started, Ok(7));
    }

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
