//! `aquifer-s3-server`: the S3 test server as a process. It prints one line when it is ready, and ends on
//! SIGINT and SIGTERM.

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
};

use aquifer_s3_server::{Server, Settings, latency::Latency};
use clap::Parser;

/// An S3 server for tests: objects in memory, latencies and faults on demand
#[derive(Debug, Parser)]
#[command(name = "aquifer-s3-server", version)]
struct Arguments {
    /// Where S3 is served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Where faults, latencies and counters are served (JSON)
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// The only access key
    #[arg(long, value_name = "KEY", default_value = "test")]
    access_key: String,
    /// Its secret
    #[arg(long, value_name = "SECRET", default_value = "test-secret")]
    secret_key: String,
    /// A bucket to begin with; may be given several times
    #[arg(long, value_name = "NAME", default_value = "bucket")]
    bucket: Vec<String>,
    /// How long requests take: none, standard or express
    #[arg(long, value_name = "MODEL", default_value = "none")]
    latency: Latency,
    /// Seed of latencies and faults
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Most bytes in all objects together
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 30)]
    bytes_max: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aquifer-s3-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> io::Result<()> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let server = Server::start(Settings {
        listen: arguments.listen,
        admin: arguments.admin,
        access_key: arguments.access_key,
        secret_key: arguments.secret_key,
        buckets: arguments.bucket,
        latency: arguments.latency,
        seed: arguments.seed,
        bytes_max: arguments.bytes_max,
    })
    .await?;
    let admin = server
        .admin()
        .map(|admin| format!(", admin on http://{admin}"))
        .unwrap_or_default();
    writeln!(io::stdout(), "ready: S3 on {}{admin}", server.endpoint())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}
