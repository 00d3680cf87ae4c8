use std::sync::Arc;

use aquifer_metadata_api::{Metadata, Upkeep, conformance};
use aquifer_store::Ports;

use crate::{
    Leader, LeaderSettings, LocalMetadata,
    journal::{Journal, memory::MemoryJournal, sqlite::SqliteJournal},
};

async fn serve(ports: Ports, journal: Arc<dyn Journal>) -> Arc<LocalMetadata> {
    let leader = Leader::start(journal, ports, LeaderSettings::default()).await;
    leader.expect("an empty journal is enough").metadata()
}

#[tokio::test(start_paused = true)]
async fn the_local_client_passes_the_suite_on_the_memory_journal() {
    conformance::run(|| async {
        let ports = Ports::simulated(1, 1_704_067_200_000);
        let journal = MemoryJournal::new(Arc::clone(&ports.clock));
        serve(ports, Arc::new(journal)).await as Arc<dyn Metadata>
    })
    .await;
}

#[tokio::test]
async fn the_local_client_passes_the_suite_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = std::sync::atomic::AtomicU32::new(0);
    conformance::run(|| async {
        let ports = Ports::system();
        let file = files.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = folder.path().join(format!("{file}.db"));
        let journal = SqliteJournal::open(&path, Arc::clone(&ports.clock)).await;
        serve(ports, Arc::new(journal.expect("opens"))).await as Arc<dyn Metadata>
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_local_client_passes_the_suite_of_upkeep() {
    conformance::run_upkeep(|| async {
        let ports = Ports::simulated(1, 1_704_067_200_000);
        let journal = MemoryJournal::new(Arc::clone(&ports.clock));
        serve(ports, Arc::new(journal)).await as Arc<dyn Upkeep>
    })
    .await;
}
