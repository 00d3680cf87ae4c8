//! The network between agents of one process, for the simulation and tests: a map from address to
//! server, with switches for what goes wrong.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use aquifer_store::{Ports, Tasks};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, future, stream};
use parking_lot::Mutex;

use super::{
    network::{PeerError, PeerNetwork, UnitAnswer, UnitRequest},
    server::UnitServer,
};

/// What goes wrong at an agent's place in a [`MemoryNetwork`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerFault {
    /// Nothing.
    #[default]
    None,
    /// Connections to it are refused.
    Unreachable,
    /// It takes requests and never answers, as a stopped process does.
    Silent,
    /// It begins to answer and sends no byte.
    SilentBody,
    /// Each piece of an answer comes this long after the one before.
    SlowBody(Duration),
    /// Answers begin after this time.
    Slow(Duration),
    /// The last bit of each piece is wrong.
    Corrupt,
    /// Answers end after their first piece, without an error.
    Short,
}

#[derive(Debug)]
struct Node {
    /// A task of the agent holds it, so that it goes when the agent does.
    server: Weak<UnitServer>,
    tasks: Tasks,
}

/// All agents' places, by address.
#[derive(Debug)]
pub struct MemoryNetwork {
    nodes: Mutex<BTreeMap<String, Node>>,
    faults: Mutex<BTreeMap<String, PeerFault>>,
    ports: Ports,
}

impl MemoryNetwork {
    /// A network without agents; time is that of `ports`.
    #[must_use]
    pub fn new(ports: Ports) -> Arc<Self> {
        Arc::new(Self {
            nodes: Mutex::default(),
            faults: Mutex::default(),
            ports,
        })
    }

    /// Changes what goes wrong at `peer`, for answers that begin later.
    pub fn set_fault(&self, peer: &str, fault: PeerFault) {
        self.faults.lock().insert(peer.to_owned(), fault);
    }

    /// The place of the agent that registers with the address `peer`; None = it only asks.
    #[must_use]
    pub fn agent(self: &Arc<Self>, peer: Option<&str>) -> Arc<MemoryPeers> {
        Arc::new(MemoryPeers {
            network: Arc::clone(self),
            own: peer.map(str::to_owned),
        })
    }
}

/// One agent's place in a [`MemoryNetwork`].
#[derive(Debug)]
pub struct MemoryPeers {
    network: Arc<MemoryNetwork>,
    own: Option<String>,
}

#[async_trait]
impl PeerNetwork for MemoryPeers {
    fn serve(&self, server: Arc<UnitServer>, ports: &Ports) {
        if let Some(own) = &self.own {
            let tasks = ports.tasks.clone();
            let node = Node {
                server: Arc::downgrade(&server),
                tasks,
            };
            ports.tasks.spawn(async move {
                future::pending::<()>().await;
                drop(server);
            });
            self.network.nodes.lock().insert(own.clone(), node);
        }
    }

    async fn ask(&self, peer: &str, request: &UnitRequest) -> Result<UnitAnswer, PeerError> {
        let unreachable = || PeerError::Unreachable {
            reason: "nobody listens".to_owned(),
        };
        let fault = self.network.faults.lock().get(peer).copied();
        let fault = fault.unwrap_or_default();
        match fault {
            PeerFault::Unreachable => return Err(unreachable()),
            PeerFault::Silent => return future::pending().await,
            PeerFault::Slow(time) => self.network.ports.sleep(time).await,
            PeerFault::None
            | PeerFault::SilentBody
            | PeerFault::SlowBody(_)
            | PeerFault::Corrupt
            | PeerFault::Short => {}
        }
        let server = {
            let nodes = self.network.nodes.lock();
            let node = nodes.get(peer).filter(|node| !node.tasks.is_killed());
            let server = node.and_then(|node| node.server.upgrade());
            server.ok_or_else(unreachable)?
        };
        let answer = server.answer(request)?;
        let UnitAnswer { bytes, body } = answer;
        let body = match fault {
            PeerFault::SilentBody => stream::pending().boxed(),
            PeerFault::SlowBody(pause) => {
                let ports = self.network.ports.clone();
                let body = body.then(move |piece| {
                    let ports = ports.clone();
                    async move {
                        ports.sleep(pause).await;
                        piece
                    }
                });
                body.boxed()
            }
            PeerFault::Corrupt => body.map(|piece| piece.map(flip)).boxed(),
            PeerFault::Short => body.take(1).boxed(),
            PeerFault::None | PeerFault::Unreachable | PeerFault::Silent | PeerFault::Slow(_) => {
                body
            }
        };
        Ok(UnitAnswer { bytes, body })
    }
}

fn flip(piece: Bytes) -> Bytes {
    let mut piece = piece.to_vec();
    if let Some(last) = piece.last_mut() {
        *last ^= 1;
    }
    piece.into()
}
