//! A running server.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use s3s::service::S3ServiceBuilder;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    admin, clock,
    counters::Counters,
    faults::Faults,
    latency::Latency,
    objects::Objects,
    random::Random,
    s3::{Keys, Service},
    wire::{Front, OutBody},
};

/// How to run a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where S3 is served; port 0 = any free one.
    pub listen: SocketAddr,
    /// Where the admin endpoint is served; None = nowhere.
    pub admin: Option<SocketAddr>,
    /// The only access key that there is.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// Buckets to begin with.
    pub buckets: Vec<String>,
    /// How long requests take; can be changed while it runs.
    pub latency: Latency,
    /// Seed of latencies and faults.
    pub seed: u64,
    /// Most bytes in all objects together; further puts are answered with 507 StorageFull.
    pub bytes_max: u64,
}

impl Default for Settings {
    /// Any free port of this machine, no admin endpoint, the keys `test` and `test-secret`, one bucket
    /// `bucket`, no latency, 1 GiB.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin: None,
            access_key: "test".to_owned(),
            secret_key: "test-secret".to_owned(),
            buckets: vec!["bucket".to_owned()],
            latency: Latency::NONE,
            seed: 1,
            bytes_max: 1 << 30,
        }
    }
}

/// A running server; dropping it closes every connection and forgets every object.
#[derive(Debug)]
pub struct Server {
    control: Arc<Control>,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    _closed: DropGuard,
}

/// What the library's methods and the admin endpoint do.
#[derive(Debug)]
pub(crate) struct Control {
    front: Arc<Front>,
    objects: Arc<Objects>,
}

impl Control {
    pub(crate) fn faults(&self) -> Faults {
        self.front.faults.lock().clone()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        *self.front.faults.lock() = faults;
    }

    pub(crate) fn latency(&self) -> Latency {
        *self.front.latency.lock()
    }

    pub(crate) fn set_latency(&self, latency: Latency) {
        *self.front.latency.lock() = latency;
    }

    pub(crate) fn counters(&self, prefix: &str) -> Counters {
        self.front.counters.lock().below(prefix)
    }

    pub(crate) fn reset_counters(&self) {
        *self.front.counters.lock() = Counters::default();
    }

    pub(crate) fn create_bucket(&self, name: &str) -> bool {
        self.objects.create_bucket(name)
    }

    pub(crate) fn totals(&self, bucket: &str) -> Option<(usize, u64)> {
        self.objects.totals(bucket)
    }
}

impl Server {
    /// Starts it on the current runtime.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let objects = Arc::new(Objects::new(settings.bytes_max));
        for bucket in &settings.buckets {
            objects.create_bucket(bucket);
        }
        let faults = Arc::new(Mutex::new(Faults::default()));
        let mut builder = S3ServiceBuilder::new(Service {
            objects: Arc::clone(&objects),
            faults: Arc::clone(&faults),
        });
        builder.set_auth(Keys {
            access_key: settings.access_key,
            secret_key: settings.secret_key,
        });
        let closed = CancellationToken::new();
        let front = Arc::new(Front {
            service: builder.build(),
            faults,
            latency: Mutex::new(settings.latency),
            random: Mutex::new(Random::new(settings.seed)),
            counters: Mutex::default(),
            closed: closed.clone(),
        });
        let control = Arc::new(Control {
            front: Arc::clone(&front),
            objects,
        });
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let admin_listener = match settings.admin {
            Some(address) => Some(TcpListener::bind(address).await?),
            None => None,
        };
        let serve = move |request| Arc::clone(&front).handle(request);
        clock::spawn(accept(listener, serve, closed.clone()));
        let mut admin = None;
        if let Some(listener) = admin_listener {
            admin = Some(listener.local_addr()?);
            let control = Arc::clone(&control);
            let serve = move |request| {
                let control = Arc::clone(&control);
                async move { Ok::<_, Infallible>(admin::answer(&control, request).await) }
            };
            clock::spawn(accept(listener, serve, closed.clone()));
        }
        Ok(Self {
            control,
            address,
            admin,
            _closed: closed.drop_guard(),
        })
    }

    /// Where S3 is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the admin endpoint is, if there is one.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What goes wrong just now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.control.faults()
    }

    /// Sets what goes wrong from the next request on.
    pub fn set_faults(&self, faults: Faults) {
        self.control.set_faults(faults);
    }

    /// Sets how long requests take from the next one on.
    pub fn set_latency(&self, latency: Latency) {
        self.control.set_latency(latency);
    }

    /// What was counted, with the keys that begin with `prefix`.
    #[must_use]
    pub fn counters(&self, prefix: &str) -> Counters {
        self.control.counters(prefix)
    }

    /// Counts from 0 again.
    pub fn reset_counters(&self) {
        self.control.reset_counters();
    }

    /// Makes a bucket; false = it is there.
    pub fn create_bucket(&self, name: &str) -> bool {
        self.control.create_bucket(name)
    }

    /// How many objects a bucket has, and their bytes together; None = there is no such bucket.
    #[must_use]
    pub fn totals(&self, bucket: &str) -> Option<(usize, u64)> {
        self.control.totals(bucket)
    }

    /// Bytes of an object, past every fault, latency and counter.
    #[must_use]
    pub fn object(&self, bucket: &str, key: &str) -> Option<Bytes> {
        let found = self.control.objects.get(bucket, key);
        found.ok().map(|version| version.bytes)
    }
}

async fn accept<S, F, E>(listener: TcpListener, serve: S, closed: CancellationToken)
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<OutBody>, E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    loop {
        let accepted = tokio::select! {
            biased;
            () = closed.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (serve, closed) = (serve.clone(), closed.clone());
                clock::spawn(async move {
                    tokio::select! {
                        biased;
                        () = closed.cancelled() => {}
                        () = connection(stream, serve) => {}
                    }
                });
            }
            // too many open files: wait for one to be closed
            Err(_) => clock::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}

async fn connection<S, F, E>(stream: TcpStream, serve: S)
where
    S: Fn(Request<Incoming>) -> F + Send,
    F: Future<Output = Result<Response<OutBody>, E>> + Send,
    E: std::error::Error + Send + Sync + 'static,
{
    // latencies are the model's, not Nagle's
    let _ = stream.set_nodelay(true);
    // an error is the client's going away, or an answer that was to be lost
    let _ = http1::Builder::new()
        .keep_alive(true)
        .serve_connection(TokioIo::new(stream), service_fn(serve))
        .await;
}
