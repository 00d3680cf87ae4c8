//! `aquifer metadata`: a metadata process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Result, anyhow, bail};
use aquifer_metadata::{
    LeaderSettings,
    grpc::{self, GrpcServer, GrpcServerSettings},
    journal::postgres::{PostgresJournal, PostgresSettings},
    member::{Member, MemberSettings},
    role::Role,
};
use aquifer_metadata_api::secret::ClusterSecret;
use aquifer_store::{ObjectStore, Ports, location::Wrapping};
use tokio::{net::TcpListener, sync::watch};
use tracing::info;

use crate::{
    address::{Advertised, Listen, authority},
    arguments::cluster::{Metadata, MetadataProcess},
    http::{self, Readiness},
    metadata_admin, open_files, secret,
    signals::{Stop, on_threads},
    sweeping,
};

/// Connections to expect: some per agent.
const CONNECTIONS: usize = 4_096;
/// How long calls that are under way may take when the process stops.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a process until a signal ends it, or does what is asked.
pub(crate) fn run(arguments: &Metadata) -> Result<()> {
    let process = &arguments.process;
    match (&arguments.action, &process.postgres, &process.bucket) {
        (Some(action), ..) => on_threads(|_| metadata_admin::act(action)),
        (None, Some(postgres), Some(bucket)) => {
            on_threads(|stop| serve(process, &postgres.postgres, &bucket.bucket, stop))
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
    let store = aquifer_store::open(bucket, &ports, Wrapping::default()).await?;
    let served = ServedMetadata::start(
        &ports,
        postgres,
        Arc::clone(&store),
        listener,
        authority(&host, port),
        secret,
    )
    .await?;
    served.announce(http_address);
    ports
        .tasks
        .spawn(follow_role(served.member.role(), readiness.clone()));
    let sweeps = sweeping::settings(&arguments.sweeping);
    ports.tasks.spawn(sweeping::while_leading(
        ports.clone(),
        store,
        served.member.role(),
        sweeps,
    ));
    stop.asked().await;
    info!("stopping: the lease is given up; once more stops at once");
    tokio::select! {
        biased;
        () = served.stop() => {}
        () = stop.asked() => bail!("stopped at once"),
    }
    info!("stopped");
    Ok(())
}

/// Opens the address for agents.
pub(crate) async fn bind(listen: Listen, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(listen.0).await.map_err(|error| {
        anyhow!("cannot listen on {listen} for agents: {error}; choose another address with {flag}")
    })
}

/// Says what the process does.
async fn follow_role(mut role: watch::Receiver<Role>, readiness: Readiness) {
    loop {
        match &*role.borrow_and_update() {
            Role::Leader(_) => readiness.ready("leading"),
            Role::Standby { .. } => readiness.ready("standing by"),
            Role::Refusing { reason } => readiness.unready(reason.clone()),
        }
        if role.changed().await.is_err() {
            return;
        }
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
        endpoint: String,
        secret: ClusterSecret,
    ) -> Result<Self> {
        let settings = PostgresSettings::new(postgres);
        let journal = PostgresJournal::connect(settings, ports.clone()).await?;
        let settings = MemberSettings {
            leader: LeaderSettings {
                holder: endpoint.clone(),
                endpoint: endpoint.clone(),
                ..LeaderSettings::default()
            },
            ..MemberSettings::default()
        };
        let member = Member::start(Arc::new(journal), store, ports, settings);
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
