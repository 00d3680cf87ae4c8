//! Clusters whose database is gone, in virtual time.

use aquifer_format::ids::PartitionIndex;
use aquifer_store::{PutMode, memory::MemoryStore};

use super::*;
use crate::{
    backup::{BackupSettings, Writer},
    bucket::Marker,
    journal::memory::MemoryJournal,
    leader::tests::{Writer as Agent, create_topic, locate, partition},
    member::tests::Cluster,
    recovery::recover,
};

/// A cluster with a backup at offset 50 of a partition that went on to 90; its database is gone.
async fn lost() -> (Cluster, PartitionId) {
    let cluster = Cluster::new();
    let process = cluster.start();
    let metadata = process.leads().await;
    let topic = create_topic(&*metadata, "orders", 2).await;
    let to = partition(topic.expect("creates"), 0);
    let mut agent = Agent::new(&metadata).await;
    for _ in 0..5 {
        agent.append(to, 10).await;
    }
    let mut writer = Writer::new(
        cluster.ports.clone(),
        Arc::<MemoryJournal>::clone(&cluster.journal),
        Arc::<MemoryStore>::clone(&cluster.store),
        Arc::clone(&metadata),
        BackupSettings::default(),
    );
    writer.back_up().await.expect("the backup is written");
    cluster.sleep(20_000).await;
    for _ in 0..2 {
        agent.append(to, 10).await;
    }
    writer.back_up().await.expect("the backup is written");
    for _ in 0..2 {
        agent.append(to, 10).await;
    }
    process.member.stop().await;
    (cluster, to)
}

/// Another database.
fn empty(cluster: &Cluster) -> Cluster {
    let journal = MemoryJournal::new(Arc::clone(&cluster.ports.clock));
    Cluster {
        ports: cluster.ports.clone(),
        switches: journal.switches(),
        journal: Arc::new(journal),
        store: Arc::<MemoryStore>::clone(&cluster.store),
    }
}

async fn restored(cluster: &Cluster) -> Result<Restored, RestoreError> {
    let journal = Arc::<MemoryJournal>::clone(&cluster.journal);
    let store = Arc::<MemoryStore>::clone(&cluster.store);
    restore(journal, store, &cluster.ports, &RestoreSettings::default()).await
}

#[tokio::test(start_paused = true)]
async fn a_cluster_goes_on_from_its_backup_above_everything_that_was_shown() {
    let (old, to) = lost().await;
    let cluster = empty(&old);
    let report = restored(&cluster).await.expect("it is restored");
    assert_eq!(report.incarnation, Incarnation(2));
    let of = |index| {
        let found = report
            .partitions
            .iter()
            .find(|p| p.partition.partition == index);
        found.expect("it is reported").clone()
    };
    let orders = of(to.partition);
    assert_eq!(orders.topic, "orders");
    assert_eq!((orders.backup, orders.vouched), (Offset(70), Offset(70)));
    assert_eq!(orders.goes_on, Offset(1_000_070));
    assert_eq!(of(PartitionIndex(1)).vouched, Offset(0));
    // agents that wrote no bytes
    assert_eq!(report.missing.len(), 7);
    assert_eq!((report.unvouched, report.lost), ((0, 0), vec![]));
    let again = restored(&cluster).await;
    assert!(matches!(again, Err(RestoreError::NotEmpty)), "{again:?}");

    let loaded = recover(&*cluster.journal, Budgets::default()).await;
    let loaded = loaded.expect("it can be loaded");
    assert_eq!(loaded.state.incarnation(), Incarnation(2));
    let process = cluster.start();
    let metadata = process.leads().await;
    let found = locate(&metadata, to).await.expect("it answers");
    assert_eq!(found.watermarks.high_watermark, Offset(1_000_070));
    let last = found.extents.last().map(|extent| extent.end_offset);
    assert_eq!(last, Some(Offset(70)));
    let mut agent = Agent::new(&metadata).await;
    assert_eq!(agent.append(to, 1).await, Offset(1_000_070));
    process.member.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_restored_is_the_state_of_the_backup() {
    let (old, _) = lost().await;
    let marker = Marker::read(&*old.store).await.expect("it answers");
    let id = marker.expect("it is marked").cluster;
    let newest = chain::newest(&*old.store, id).await;
    let (key, manifest) = newest.expect("it can be read").expect("there is one");
    let state = load(&*old.store, &key, &manifest, Budgets::default()).await;
    let mut state = state.expect("it can be loaded");
    let cluster = empty(&old);
    restored(&cluster).await.expect("it is restored");
    let rows = cluster.switches.rows();
    assert_eq!(rows.len(), 1);
    apply(&mut state, &rows[0]).expect("its row can be read");
    let loaded = recover(&*cluster.journal, Budgets::default()).await;
    let loaded = loaded.expect("it can be loaded");
    assert_eq!(loaded.state.fingerprint(), state.fingerprint());
    assert_eq!(loaded.hashes.tail_hash(), rows[0].hash);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_backup_is_named_and_changes_nothing() {
    let (old, _) = lost().await;
    let all = old.store.list("aquifer-backup/", None, 1_000).await;
    let newest = all.expect("lists").pop().expect("there are backups").key;
    let folder = newest.rsplit_once('/').expect("keys have folders").0;
    for name in ["manifest", "rows-00000"] {
        let key = format!("{folder}/{name}");
        let good = old.store.get(&key).await.expect("it is there");
        for bad in [Some(&b"other"[..]), Some(&good[..good.len() - 1]), None] {
            match bad {
                Some(bad) => {
                    let bytes = vec![bytes::Bytes::copy_from_slice(bad)];
                    let put = old.store.put(&key, bytes, PutMode::Overwrite).await;
                    put.expect("it is written");
                }
                None if name == "manifest" => continue,
                None => old
                    .store
                    .delete(std::slice::from_ref(&key))
                    .await
                    .expect("it is gone"),
            }
            let cluster = empty(&old);
            match restored(&cluster).await {
                Err(RestoreError::Damaged { key: named, .. }) => assert_eq!(named, key),
                other => panic!("{key}: {other:?}"),
            }
            assert_eq!(cluster.switches.rows(), []);
        }
        let put = old.store.put(&key, vec![good], PutMode::Overwrite).await;
        put.expect("it is written");
    }
    restored(&empty(&old)).await.expect("it is whole again");
}

#[tokio::test(start_paused = true)]
async fn a_bucket_without_a_backup_restores_nothing() {
    let cluster = Cluster::new();
    let nobodys = restored(&cluster).await;
    assert!(
        matches!(nobodys, Err(RestoreError::NoBackup)),
        "{nobodys:?}"
    );
    let process = cluster.start();
    process.leads().await;
    process.member.stop().await;
    let none = restored(&empty(&cluster)).await;
    assert!(matches!(none, Err(RestoreError::NoBackup)), "{none:?}");
}
