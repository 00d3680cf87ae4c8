//! The Kafka listener: one port per node id, from the first one upward.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::broker::Broker;

/// Connections that wait to be accepted; more are refused by the kernel.
const BACKLOG: u32 = 1024;
/// Idle time before keep-alive probes: below the 350 s after which AWS' network balancer drops a flow,
/// and the 240 s of Azure's.
const KEEP_ALIVE: Duration = Duration::from_secs(120);
/// Pause after `accept` failed, most often since the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often free neighbouring ports are looked for, when port 0 leaves the choice to us.
const FREE_PORT_TRIES: usize = 20;

/// Why the listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A port cannot be used.
    #[error("cannot listen on {address}: {source}{}", advice(source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The last node id's port would be above 65535.
    #[error(
        "{node_ids} node ids need {node_ids} ports from {port} on, but 65535 is the last one: choose a lower port"
    )]
    NoSuchPort {
        /// Port of index 0.
        port: u16,
        /// How many node ids.
        node_ids: u8,
    },
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            " (another process listens there: stop it, or choose another port)"
        }
        io::ErrorKind::PermissionDenied => " (ports below 1024 need a privilege: choose another)",
        io::ErrorKind::AddrNotAvailable => " (this machine has no such address)",
        _ => "",
    }
}

/// Open ports, not served yet.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    address: SocketAddr,
}

impl Listener {
    /// Opens ports `address.port()` to `address.port() + node_ids - 1`; port 0 takes any free ones that
    /// are adjacent. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn bind(address: SocketAddr, node_ids: u8) -> Result<Self, BindError> {
        if address.port() != 0 {
            return Self::bind_from(address, node_ids);
        }
        let mut tries = 1;
        loop {
            match Self::bind_from(address, node_ids) {
                Err(BindError::Bind { source, .. })
                    if source.kind() == io::ErrorKind::AddrInUse && tries < FREE_PORT_TRIES =>
                {
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn bind_from(address: SocketAddr, node_ids: u8) -> Result<Self, BindError> {
        let first = open(address)?;
        let bound = first.local_addr().unwrap_or(address);
        let mut sockets = vec![first];
        for index in 1..node_ids.max(1) {
            let port = bound.port().checked_add(u16::from(index));
            let port = port.ok_or(BindError::NoSuchPort {
                port: bound.port(),
                node_ids,
            })?;
            sockets.push(open(SocketAddr::new(bound.ip(), port))?);
        }
        Ok(Self {
            sockets,
            address: bound,
        })
    }

    /// The address of node id index 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it listens on every address of the machine, so that clients must be told another one.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        match self.address.ip() {
            IpAddr::V4(ip) => ip.is_unspecified(),
            IpAddr::V6(ip) => ip.is_unspecified(),
        }
    }

    /// Serves connections, in tasks of the broker's node, until the broker drains.
    pub fn start(self, broker: &Arc<Broker>) {
        for (index, socket) in self.sockets.into_iter().enumerate() {
            let node_index = u8::try_from(index).expect("there are at most 16 node ids");
            let accepting = accept(Arc::clone(broker), socket, node_index);
            broker.ports.tasks.spawn(accepting);
        }
    }
}

fn open(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A restart must not wait for the connections of the process before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|source| BindError::Bind { address, source })
}

async fn accept(broker: Arc<Broker>, socket: TcpListener, node_index: u8) {
    let draining = broker.draining().clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = draining.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                prepare(&stream);
                let serving = Arc::clone(&broker);
                // Boxed: a task would hold it twice, and most memory of a silent connection is this.
                let serve = Box::pin(async move { serving.serve(stream, node_index, peer).await });
                broker.ports.tasks.spawn(serve);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection (is the limit of open files too low?)");
                broker.ports.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Settings that make a connection quick and end it when its other end is gone; without them it works
/// all the same.
fn prepare(stream: &TcpStream) {
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE / 4);
    if let Err(error) = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keep_alive))
    {
        tracing::debug!(%error, "cannot set options of a connection");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::testing::{broker, patience, settings};

    const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
    /// An ApiVersions request, version 0, without a client id.
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 9, 0xff, 0xff];

    #[tokio::test]
    async fn every_node_id_listens_on_its_own_port() {
        let listener = Listener::bind(LOCAL, 3).unwrap();
        let address = listener.address();
        let (broker, _fake) = broker(settings()).await;
        listener.start(&broker);
        for index in 0..3 {
            let port = SocketAddr::new(address.ip(), address.port() + index);
            let mut stream = patience(TcpStream::connect(port)).await.unwrap();
            stream.write_all(&REQUEST).await.unwrap();
            let mut answer = [0; 8];
            patience(stream.read_exact(&mut answer)).await.unwrap();
            assert_eq!(answer[4..], [0, 0, 0, 9]);
        }
        patience(broker.drain()).await;
        let later = patience(TcpStream::connect(address)).await;
        assert!(later.is_err(), "nobody listens any more");
    }

    #[tokio::test]
    async fn a_port_in_use_is_said_in_one_line() {
        let listener = Listener::bind(LOCAL, 1).unwrap();
        let error = Listener::bind(listener.address(), 1)
            .unwrap_err()
            .to_string();
        assert!(error.contains("another process listens there"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }

    #[tokio::test]
    async fn the_last_port_must_exist() {
        let address = SocketAddr::new(LOCAL.ip(), 65_534);
        let error = Listener::bind(address, 4).unwrap_err().to_string();
        assert!(
            error.contains("65535") || error.contains("listen"),
            "{error}"
        );
    }
}
