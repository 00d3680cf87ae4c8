//! A TCP proxy between two processes that makes their network bad, as wanted: slow, narrow, silent, cut,
//! reset. Everything can be switched while connections are open, per direction.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

/// Chunks between the reading and the writing side of one direction.
const CHUNKS: usize = 64;
/// Largest chunk.
const CHUNK_BYTES: usize = 64 * 1024;

/// A direction, seen from the client that connects to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What the client sends.
    ToServer,
    /// What the client receives.
    ToClient,
}

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// They arrive.
    #[default]
    Pass,
    /// None arrives, and none is lost: as when packets are dropped, TCP sends them again once the
    /// network is back.
    Hold,
    /// They are taken and thrown away, as by a machine that died without a word. A connection that lost
    /// bytes so is reset when this ends.
    Swallow,
}

/// The state of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// What becomes of bytes.
    pub flow: Flow,
    /// Each byte arrives this much later.
    pub delay: Duration,
    /// Bytes per second and connection; None = as many as there are.
    pub bytes_per_second: Option<u64>,
}

/// What becomes of new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// They are connected to the server.
    #[default]
    Connect,
    /// They are accepted and nothing more: half-open.
    Ignore,
    /// They are accepted and reset.
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Cut,
    Reset,
}

/// What the proxy's owner and its connections share.
#[derive(Debug)]
struct Control {
    to_server: watch::Sender<Conditions>,
    to_client: watch::Sender<Conditions>,
    admission: watch::Sender<Admission>,
    end: watch::Sender<(u64, End)>,
    bytes_to_server: AtomicU64,
    bytes_to_client: AtomicU64,
    connections: AtomicUsize,
}

/// A running proxy; dropping it closes every connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    control: Arc<Control>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy on a free port of 127.0.0.1 in front of `server`.
    ///
    /// # Errors
    /// No port can be listened on.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let control = Arc::new(Control {
            to_server: watch::channel(Conditions::default()).0,
            to_client: watch::channel(Conditions::default()).0,
            admission: watch::channel(Admission::default()).0,
            end: watch::channel((0, End::Cut)).0,
            bytes_to_server: AtomicU64::new(0),
            bytes_to_client: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, server, Arc::clone(&control)));
        Ok(Self {
            address,
            control,
            _accepting: accepting,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the conditions of one direction, for open and new connections.
    pub fn set(&self, direction: Direction, conditions: Conditions) {
        self.side(direction).send_replace(conditions);
    }

    /// Sets the conditions of both directions.
    pub fn set_both(&self, conditions: Conditions) {
        self.set(Direction::ToServer, conditions);
        self.set(Direction::ToClient, conditions);
    }

    /// Sets what becomes of new connections.
    pub fn set_admission(&self, admission: Admission) {
        self.control.admission.send_replace(admission);
    }

    /// Everything as it was at the start.
    pub fn heal(&self) {
        self.set_both(Conditions::default());
        self.set_admission(Admission::Connect);
    }

    /// Closes every open connection in order (FIN) on both sides.
    pub fn cut(&self) {
        self.control
            .end
            .send_modify(|end| *end = (end.0 + 1, End::Cut));
    }

    /// Resets every open connection (RST) on both sides.
    pub fn reset(&self) {
        self.control
            .end
            .send_modify(|end| *end = (end.0 + 1, End::Reset));
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.control.connections.load(Ordering::Relaxed)
    }

    /// Bytes that arrived so far.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> u64 {
        match direction {
            Direction::ToServer => self.control.bytes_to_server.load(Ordering::Relaxed),
            Direction::ToClient => self.control.bytes_to_client.load(Ordering::Relaxed),
        }
    }

    fn side(&self, direction: Direction) -> &watch::Sender<Conditions> {
        match direction {
            Direction::ToServer => &self.control.to_server,
            Direction::ToClient => &self.control.to_client,
        }
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, control: Arc<Control>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    open.spawn(connection(client, server, Arc::clone(&control)));
                }
                // too many open files: wait for one to be closed
                Err(_) => sleep(Duration::from_millis(20)).await,
            },
            Some(_) = open.join_next() => {}
        }
    }
}

/// Counts an open connection for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(mut client: TcpStream, server: SocketAddr, control: Arc<Control>) {
    let _counted = Counted::new(&control.connections);
    let mut end = control.end.subscribe();
    let admission = *control.admission.borrow();
    let mut upstream = match admission {
        Admission::Reset => return reset(&client),
        Admission::Ignore => {
            // an error means that the proxy is gone
            let _ = end.changed().await;
            if end.borrow().1 == End::Reset {
                reset(&client);
            }
            return;
        }
        Admission::Connect => match TcpStream::connect(server).await {
            Ok(upstream) => upstream,
            Err(_) => return reset(&client),
        },
    };
    let _ = client.set_nodelay(true);
    let _ = upstream.set_nodelay(true);
    let broken = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = upstream.split();
        let there = pump(
            from_client,
            to_server,
            control.to_server.subscribe(),
            &control.bytes_to_server,
        );
        let back = pump(
            from_server,
            to_client,
            control.to_client.subscribe(),
            &control.bytes_to_client,
        );
        tokio::select! {
            changed = end.changed() => changed.is_ok() && end.borrow().1 == End::Reset,
            // one that breaks takes the other with it
            ended = async { tokio::try_join!(there, back) } => ended.is_err(),
        }
    };
    if broken {
        reset(&client);
        reset(&upstream);
    }
}

/// Makes the closing of this socket a reset.
fn reset(stream: &TcpStream) {
    // without it the peer sees an orderly end, which no test takes for the reset that it waits for
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "bytes were swallowed")
}

/// Moves bytes of one direction until its sender ends it.
async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    conditions: watch::Receiver<Conditions>,
    moved: &AtomicU64,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let reading = read(from, sender, conditions.clone());
    tokio::try_join!(reading, write(to, receiver, conditions, moved))?;
    Ok(())
}

async fn read(
    mut from: ReadHalf<'_>,
    to: mpsc::Sender<(Instant, Bytes)>,
    mut conditions: watch::Receiver<Conditions>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut swallowed = false;
    loop {
        let now = *conditions.borrow_and_update();
        if swallowed && now.flow != Flow::Swallow {
            return Err(lost());
        }
        let read = tokio::select! {
            biased;
            changed = conditions.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(()),
            },
            read = from.read(&mut buffer), if now.flow != Flow::Hold => read?,
        };
        if now.flow == Flow::Swallow {
            swallowed = true;
            if read == 0 {
                // a dead machine does not pass the end on either
                end_of_swallowing(&mut conditions).await?;
            }
            continue;
        }
        if read == 0 {
            return Ok(());
        }
        let chunk = Bytes::copy_from_slice(&buffer[..read]);
        if to.send((Instant::now() + now.delay, chunk)).await.is_err() {
            return Ok(());
        }
    }
}

/// Waits until nothing is thrown away any more.
async fn end_of_swallowing(conditions: &mut watch::Receiver<Conditions>) -> io::Result<()> {
    let passes = |now: &Conditions| now.flow != Flow::Swallow;
    // an error means that the proxy is gone
    conditions.wait_for(passes).await.map_err(|_| lost())?;
    Ok(())
}

async fn write(
    mut to: WriteHalf<'_>,
    mut chunks: mpsc::Receiver<(Instant, Bytes)>,
    mut conditions: watch::Receiver<Conditions>,
    moved: &AtomicU64,
) -> io::Result<()> {
    while let Some((due, mut chunk)) = chunks.recv().await {
        sleep_until(due).await;
        while !chunk.is_empty() {
            // what is on its way when a hold begins waits as well
            let passes = |now: &Conditions| now.flow != Flow::Hold;
            let now = match conditions.wait_for(passes).await {
                Ok(now) => *now,
                Err(_) => return Ok(()),
            };
            if now.flow == Flow::Swallow {
                // with all that waits behind it
                while chunks.try_recv().is_ok() {}
                end_of_swallowing(&mut conditions).await?;
                return Err(lost());
            }
            let piece = match now.bytes_per_second {
                None => chunk.split_off(0),
                Some(rate) => {
                    // a twentieth of a second's worth at a time
                    let most = usize::try_from(rate / 20).unwrap_or(usize::MAX).max(1);
                    chunk.split_to(most.min(chunk.len()))
                }
            };
            to.write_all(&piece).await?;
            let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            moved.fetch_add(bytes, Ordering::Relaxed);
            if let Some(rate) = now.bytes_per_second {
                let nanos = bytes.saturating_mul(1_000_000_000) / rate.max(1);
                sleep(Duration::from_nanos(nanos)).await;
            }
        }
    }
    end_of_swallowing(&mut conditions).await?;
    to.shutdown().await
}

#[cfg(test)]
mod tests;
