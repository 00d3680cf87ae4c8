//! `aquifer metadata`: a metadata process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Result, anyhow, bail};
use aquifer_metadata::{
    LeaderSettings,
    grpc::{self, GrpcServer, GrpcServerSettings},
    journal::{
        Journal,
        postgres::{PostgresJournal, PostgresSettings},
    },
    member::{Member, MemberSettings},
    role::Role,
};
use aquifer_metadata_api::{config::Configs, secret::ClusterSecret};
use aquifer_store::{ObjectStore, Ports, location::Wrapping};
use tokio::{net::TcpListener, sync::watch};
use tracing::info;

use crate::{
    address::{Advertised, Listen, authority},
    arguments::{
        cluster::{Metadata, MetadataProcess},
        group::GroupMetrics,
    },
    broker_configs, http, metadata_admin, open_files, secret,
    signals::{Stop, on_threads},
    sql_projection, sweeping, upkeep,
};

/// Connections to expect: some per agent.
const CONNECTIONS: usize = 4_096;
/// How long calls that are under way may take when the process stops.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a process until a signal ends it, or does what is asked.
pub(crate) fn run(arguments: &Metadata) -> Result<()> {
    let process = &arguments.process;
    match (&arguments.action, &process.postgres, &process.bucket) {
        (Some(action), ..) => metadata_admin::run(action),
        (None, Some(postgres), Some(bucket)) => {
            on_threads(|stop| serve(process, postgres, bucket, stop))
        }
        (None, ..) => bail!("set --postgres and --bucket (see aquifer metadata --help)"),
    }
}

async fn serve(
    arguments: &MetadataProcess,
    postgres: &str,
    bucket: &str,
    mut stop: Stop,
) -> Result<()> {
    open_files::raise(CONNECTIONS);
    let ports = Ports::system();
    let secret = secret::read(&arguments.secret)?;
    let listener = bind(arguments.listen, "--listen").await?;
    let (host, port) = Advertised::resolve(
        arguments.advertise.as_ref(),
        listener.local_addr()?,
        "--advertise",
    );
    let (readiness, http_address) = http::start(&ports, arguments.http.http_listen).await?;
    let starting = async {
        let store = aquifer_store::open(bucket, &ports, Wrapping::default()).await?;
        readiness.say(Err("waiting for the database".to_owned()));
        let configs = broker_configs::configs(&arguments.broker_configs);
        broker_configs::warn_of_idle(&configs);
        let settings = leader_settings(authority(&host, port), configs, &arguments.groups);
        let settings = upkeep::with(settings, &arguments.upkeep);
        let starting = ServedMetadata::start(
            &ports,
            postgres,
            Arc::clone(&store),
            listener,
            settings,
            secret,
        );
        anyhow::Ok((starting.await?, store))
    };
    let Some((served, store)) = stop.unless_asked(starting).await.transpose()? else {
        info!("stopped before it was ready");
        return Ok(());
    };
    served.announce(http_address);
    ports
        .tasks
        .spawn(follow_role(served.member.role(), move |said| {
            readiness.say(said);
        }));
    let sweeps = sweeping::settings(&arguments.sweeping);
    ports.tasks.spawn(sweeping::while_leading(
        ports.clone(),
        store,
        served.member.role(),
        sweeps,
    ));
    let projection = &arguments.projection;
    sql_projection::start(&ports, projection, postgres, served.member.role())?;
    stop.asked().await;
    info!("stopping: the lease is given up; once more stops at once");
    stop.finish(served.stop()).await?;
    info!("stopped");
    Ok(())
}

/// Opens the address for agents.
pub(crate) async fn bind(listen: Listen, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(listen.0).await.map_err(|error| {
        anyhow!("cannot listen on {listen} for agents: {error}; choose another address with {flag}")
    })
}

/// Tells what the process does, or why it does nothing, at once and as its role changes, until that is
/// known no more.
pub(crate) async fn follow_role(
    mut role: watch::Receiver<Role>,
    tell: impl Fn(Result<&'static str, String>),
) {
    loop {
        tell(health(&role.borrow_and_update()));
        if role.changed().await.is_err() {
            return;
        }
    }
}

fn health(role: &Role) -> Result<&'static str, String> {
    match role {
        Role::Leader(_) => Ok("leading"),
        Role::Standby { leader: Some(_) } => Ok("standing by"),
        Role::Standby { leader: None } => Err(
            "waiting for the metadata leader; the log says if the database or the bucket does not answer"
                .to_owned(),
        ),
        Role::Refusing { reason } => Err(reason.clone()),
    }
}

/// How a process leads that others reach at `endpoint`.
pub(crate) fn leader_settings(
    endpoint: String,
    broker_configs: Configs,
    groups: &GroupMetrics,
) -> LeaderSettings {
    LeaderSettings {
        holder: endpoint.clone(),
        endpoint,
        broker_configs,
        group_lag_metrics: groups.group_lag_metrics.into(),
        ..LeaderSettings::default()
    }
}

/// A metadata process that serves.
pub(crate) struct ServedMetadata {
    pub(crate) member: Member,
    server: GrpcServer,
    endpoint: String,
}

impl ServedMetadata {
    /// Connects to the database and serves; whether it leads or stands by shows in its role.
    pub(crate) async fn start(
        ports: &Ports,
        postgres: &str,
        store: Arc<dyn ObjectStore>,
        listener: TcpListener,
        leader: LeaderSettings,
        secret: ClusterSecret,
    ) -> Result<Self> {
        let settings = PostgresSettings::new(postgres);
        let journal = PostgresJournal::connect(settings, ports.clone()).await?;
        let journal: Arc<dyn Journal> = Arc::new(journal);
        let endpoint = leader.endpoint.clone();
        let backups = leader.backup;
        let settings = MemberSettings {
            leader,
            ..MemberSettings::default()
        };
        let member = Member::start(Arc::clone(&journal), Arc::clone(&store), ports, settings);
        upkeep::start_backups(ports, journal, store, member.role(), backups);
        let server = grpc::serve(
            ports,
            listener,
            member.role(),
            secret,
            GrpcServerSettings::default(),
        )?;
        Ok(Self {
            member,
            server,
            endpoint,
        })
    }

    fn announce(&self, http: SocketAddr) {
        info!(
            listen = %self.server.address(),
            advertised = self.endpoint,
            %http,
            "the metadata process serves"
        );
    }

    /// Answers what was decided, and gives the lease up.
    pub(crate) async fn stop(&self) {
        self.member.stop().await;
        self.server.stop(PATIENCE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_ready_only_while_it_leads_or_knows_who_does() {
        let standby = |leader: Option<&str>| Role::Standby {
            leader: leader.map(str::to_owned),
        };
        assert_eq!(health(&standby(Some("a:1"))), Ok("standing by"));
        let waiting = health(&standby(None)).unwrap_err();
        assert!(
            waiting.contains("waiting for the metadata leader"),
            "{waiting}"
        );
        let refusing = Role::Refusing {
            reason: "lost rows".to_owned(),
        };
        assert_eq!(health(&refusing), Err("lost rows".to_owned()));
    }
}
