//! A TCP proxy that cuts a connection at a chosen message.

use std::sync::Arc;

use aquifer_store::Ports;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Where the next connection is cut. Each cut happens once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nowhere.
    Never,
    /// The next request doesn't reach the server.
    Request,
    /// The next request reaches the server, its answer is lost.
    Reply,
    /// The next COMMIT doesn't reach the server.
    CommitRequest,
    /// The next COMMIT reaches the server, its answer is lost.
    CommitReply,
}

/// The proxy.
#[derive(Clone, Debug)]
pub(crate) struct CutProxy {
    pub(crate) port: u16,
    cut: Arc<Mutex<Cut>>,
}

impl CutProxy {
    pub(crate) async fn start(ports: &Ports, server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            cut: Arc::new(Mutex::new(Cut::Never)),
        };
        let (cut, tasks) = (Arc::clone(&proxy.cut), ports.tasks.clone());
        ports.tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                tasks.spawn(forward(client, server, Arc::clone(&cut)));
            }
        });
        proxy
    }

    pub(crate) fn cut(&self, cut: Cut) {
        *self.cut.lock() = cut;
    }

    pub(crate) fn was_cut(&self) -> bool {
        *self.cut.lock() == Cut::Never
    }
}

async fn forward(client: TcpStream, server: TcpStream, cut: Arc<Mutex<Cut>>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Set when the answers of this connection are lost from now on.
    let deaf = Arc::new(Mutex::new(false));
    tokio::select! {
        biased;
        () = requests(from_client, to_server, cut, Arc::clone(&deaf)) => {}
        () = replies(from_server, to_client, deaf) => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    cut: Arc<Mutex<Cut>>,
    deaf: Arc<Mutex<bool>>,
) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        let commit = buffer[..bytes].windows(7).any(|w| w == b"COMMIT\0");
        {
            let mut cut = cut.lock();
            match *cut {
                Cut::Request => {
                    *cut = Cut::Never;
                    return;
                }
                Cut::CommitRequest if commit => {
                    *cut = Cut::Never;
                    return;
                }
                Cut::Reply => *deaf.lock() = true,
                Cut::CommitReply if commit => *deaf.lock() = true,
                _ => {}
            }
            if *deaf.lock() {
                *cut = Cut::Never;
            }
        }
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}

async fn replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, deaf: Arc<Mutex<bool>>) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        if *deaf.lock() || to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}
