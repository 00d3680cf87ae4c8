//! Real TCP, real time, leaders on the memory journal.

mod finding;
mod hostile;
mod sharing;

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::{
    Metadata, Upkeep, conformance,
    grpc::{Endpoint, GrpcMetadata, GrpcSettings},
    register::RegisterRequest,
    secret::ClusterSecret,
};
use aquifer_store::Ports;
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::watch};

use super::{GrpcServer, GrpcServerSettings, serve};
use crate::{
    Leader, LeaderSettings,
    journal::{Journal, memory::MemoryJournal},
    leader,
    role::Role,
};

/// A metadata process whose role the test sets.
struct Node {
    ports: Ports,
    server: GrpcServer,
    role: watch::Sender<Role>,
}

impl Node {
    async fn new(role: Role) -> Self {
        Self::admitting(secret(), role).await
    }

    async fn admitting(secret: ClusterSecret, role: Role) -> Self {
        let ports = Ports::system();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (sender, receiver) = watch::channel(role);
        let settings = GrpcServerSettings::default();
        let server = serve(&ports, listener, receiver, secret, settings);
        Self {
            ports,
            server: server.expect("serves"),
            role: sender,
        }
    }

    async fn standby() -> Self {
        Self::new(Role::Standby { leader: None }).await
    }

    async fn leading(leader: &Leader) -> Self {
        Self::new(Role::Leader(leader.metadata())).await
    }

    fn address(&self) -> String {
        self.server.address().to_string()
    }

    fn endpoint(&self) -> Endpoint {
        self.address().parse().expect("host:port")
    }

    fn set(&self, role: Role) {
        self.role.send_replace(role);
    }
}

fn secret() -> ClusterSecret {
    ClusterSecret::new("the-secret-of-the-tests").expect("visible and long enough")
}

fn settings(nodes: &[&Node]) -> GrpcSettings {
    let endpoints = nodes.iter().map(|node| node.endpoint()).collect();
    GrpcSettings::new(endpoints, secret())
}

fn client(nodes: &[&Node]) -> Arc<GrpcMetadata> {
    Arc::new(GrpcMetadata::new(Ports::system(), settings(nodes)))
}

/// A client that does not wait for long.
fn hasty(nodes: &[&Node]) -> GrpcMetadata {
    let settings = GrpcSettings {
        call_timeout: Duration::from_millis(700),
        ..settings(nodes)
    };
    GrpcMetadata::new(Ports::system(), settings)
}

fn memory_journal() -> MemoryJournal {
    MemoryJournal::new(Arc::clone(&Ports::system().clock))
}

async fn lead(journal: &MemoryJournal) -> Leader {
    let journal: Arc<dyn Journal> = Arc::new(journal.clone());
    let settings = LeaderSettings {
        // nothing here waits for a lease to run out
        lease_ttl: Duration::from_secs(60),
        ..LeaderSettings::default()
    };
    let leader = Leader::start(journal, Ports::system(), settings).await;
    leader.expect("leads")
}

fn agent() -> RegisterRequest {
    RegisterRequest::new(leader::tests::agent())
}

async fn sleep(millis: u64) {
    Ports::system().sleep(Duration::from_millis(millis)).await;
}

#[tokio::test]
async fn the_network_client_passes_the_suite() {
    let served: Mutex<Vec<(Leader, Node)>> = Mutex::default();
    conformance::run(|| async {
        let leader = lead(&memory_journal()).await;
        let node = Node::leading(&leader).await;
        let client = client(&[&node]);
        served.lock().push((leader, node));
        client as Arc<dyn Metadata>
    })
    .await;
}

#[tokio::test]
async fn the_network_client_passes_the_suite_of_upkeep() {
    let served: Mutex<Vec<(Leader, Node)>> = Mutex::default();
    conformance::run_upkeep(|| async {
        let leader = lead(&memory_journal()).await;
        let node = Node::leading(&leader).await;
        let client = client(&[&node]);
        served.lock().push((leader, node));
        client as Arc<dyn Upkeep>
    })
    .await;
}
