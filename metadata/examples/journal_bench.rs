//! Measures what an append costs, next to a bare fsync of the same disk.
//!
//! `cargo run --release -p aquifer-metadata --example journal_bench [appends] [folder]`

#![allow(clippy::print_stdout, reason = "it prints its measurements")]

use std::{error::Error, io::Write, path::Path, sync::Arc, time::Duration};

use aquifer_format::ids::JournalSeq;
use aquifer_metadata::journal::{
    Appended, Journal, LeaseOutcome, NO_ROW, Row,
    postgres::{PostgresJournal, PostgresSettings},
    sqlite::SqliteJournal,
};
use aquifer_store::Ports;
use bytes::Bytes;

#[path = "../tests/support/postgres.rs"]
mod postgres;

const SIZES: [usize; 2] = [1 << 10, 32 << 10];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let appends = arguments.next().map_or(Ok(1000), |text| text.parse())?;
    let folder = match arguments.next() {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let ports = Ports::system();
    println!("{appends} appends each, one in flight; times in milliseconds");
    println!(
        "{:<10} {:>9} {:>8} {:>8} {:>8}",
        "journal", "row bytes", "p50", "p99", "max"
    );
    for bytes in SIZES {
        report(
            "fsync",
            bytes,
            raw_fsync(&ports, folder.path(), bytes, appends)?,
        );
    }
    let path = folder.path().join("metadata.db");
    let sqlite = SqliteJournal::open(&path, Arc::clone(&ports.clock)).await?;
    measure("sqlite", &ports, &sqlite, appends).await?;

    let server = postgres::PostgresServer::start();
    let settings = PostgresSettings::new(server.create_database().url);
    let journal = PostgresJournal::connect(settings, ports.clone()).await?;
    measure("postgres", &ports, &journal, appends).await
}

fn raw_fsync(
    ports: &Ports,
    folder: &Path,
    bytes: usize,
    appends: usize,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut file = std::fs::File::create(folder.join("raw"))?;
    let row = noise(bytes);
    let mut times = Vec::with_capacity(appends);
    for _ in 0..appends {
        let start = ports.clock.now();
        file.write_all(&row)?;
        file.sync_data()?;
        times.push(ports.clock.now().since(start));
    }
    Ok(times)
}

async fn measure(
    name: &str,
    ports: &Ports,
    journal: &dyn Journal,
    appends: usize,
) -> Result<(), Box<dyn Error>> {
    let outcome = journal
        .lease(None, "bench", "", Duration::from_secs(600))
        .await?;
    let LeaseOutcome::Held(lease) = outcome else {
        return Err(format!("the lease is held: {outcome:?}").into());
    };
    let (mut seq, mut hash) = (0, NO_ROW);
    for bytes in SIZES {
        let content = noise(bytes);
        let mut times = Vec::with_capacity(appends);
        for _ in 0..appends {
            seq += 1;
            let row = Row::new(lease.term, JournalSeq(seq), hash, content.clone());
            hash = row.hash;
            let start = ports.clock.now();
            let outcome = journal.append(&row).await?;
            times.push(ports.clock.now().since(start));
            if outcome != Appended::Durable {
                return Err(format!("row {seq}: {outcome:?}").into());
            }
        }
        report(name, bytes, times);
    }
    Ok(())
}

/// Bytes that don't compress, as those of real rows, which are compressed already.
fn noise(bytes: usize) -> Bytes {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(bytes)
    .collect()
}

fn report(name: &str, bytes: usize, mut times: Vec<Duration>) {
    times.sort();
    let at = |hundredths: usize| {
        let index = (times.len() * hundredths / 100).min(times.len().saturating_sub(1));
        times
            .get(index)
            .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    println!(
        "{name:<10} {bytes:>9} {:>8.3} {:>8.3} {:>8.3}",
        at(50),
        at(99),
        at(100)
    );
}
