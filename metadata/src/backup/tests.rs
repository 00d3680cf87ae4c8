//! Backups of leaders whose page writes fail and that are replaced, in virtual time.

use std::{collections::BTreeSet, sync::Arc};

use aquifer_format::{
    ids::ClusterId,
    key::{BACKUP_MANIFEST, backup_key},
};
use aquifer_metadata_api::kafka::LeaderApi;
use aquifer_store::{ObjectStore, faults::FaultPlan, memory::MemoryStore};
use kafka_protocol::{
    messages::{
        DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
        delete_topics_request::DeleteTopicState,
    },
    protocol::StrBytes,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    BackupSettings, Manifest, chain, while_leading,
    writer::{Failure, Writer},
};
use crate::{
    LocalMetadata,
    journal::{
        Journal, Loaded,
        memory::{Call, Fault, MemoryJournal},
    },
    leader::tests::{Writer as Agent, call, create_topic, partition},
    member::tests::{Cluster, hooked::Hooked},
    recovery::recover,
    restore,
    role::Role,
    state::Budgets,
};

/// The cluster's journal, and what it had when the last snapshot was taken.
fn watched(cluster: &Cluster) -> (Arc<dyn Journal>, Arc<Mutex<Loaded>>) {
    let seen: Arc<Mutex<Loaded>> = Arc::default();
    let (inner, slot) = (MemoryJournal::clone(&cluster.journal), Arc::clone(&seen));
    let hooked = Hooked::around(&cluster.journal, move |call| {
        let (inner, slot) = (inner.clone(), Arc::clone(&slot));
        Box::pin(async move {
            if call == Call::Snapshot {
                *slot.lock() = inner.load().await.expect("loads do not fail here");
            }
        })
    });
    (hooked, seen)
}

async fn delete_topic(metadata: &LocalMetadata, name: &str) {
    let name = TopicName(StrBytes::from_string(name.to_owned()));
    let topic = DeleteTopicState::default().with_name(Some(name));
    let request = DeleteTopicsRequest::default().with_topics(vec![topic]);
    let response: DeleteTopicsResponse = call(metadata, LeaderApi::DeleteTopics, &request)
        .await
        .expect("answers");
    assert_eq!(response.responses[0].error_code, 0);
}

async fn newest(store: &MemoryStore, cluster: ClusterId) -> Option<(String, Manifest)> {
    let newest = chain::newest(store, cluster).await;
    newest.expect("the newest backup can be read")
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_a_backup_folds_to_the_pages_of_its_snapshot() {
    let cluster = Cluster::new();
    let (journal, seen) = watched(&cluster);
    let (faulty, faults) = cluster.faulty_store();
    let settings = BackupSettings {
        increments_max: 5,
        ..BackupSettings::default()
    };
    let mut process = cluster.start();
    let mut metadata = process.leads().await;
    let id = metadata.facts().cluster;
    let writer = |metadata: &Arc<LocalMetadata>| {
        let (journal, store) = (Arc::clone(&journal), Arc::clone(&faulty));
        let metadata = Arc::clone(metadata);
        Writer::new(cluster.ports.clone(), journal, store, metadata, settings)
    };
    let mut backups = writer(&metadata);
    let mut topics = vec![create_topic(&*metadata, "t0", 3).await.expect("creates")];
    let mut names = vec!["t0".to_owned()];
    let (mut written, mut failed, mut compared) = (0, 0, 0);
    for round in 1..=120 {
        let random = cluster.ports.rand.next_u64();
        let mut plan = FaultPlan::default();
        match random % 10 {
            0 | 1 => {
                let name = format!("t{round}");
                topics.push(create_topic(&*metadata, &name, 3).await.expect("creates"));
                names.push(name);
            }
            2 if names.len() > 1 => {
                delete_topic(&metadata, &names.remove(0)).await;
                topics.remove(0);
            }
            3 => {
                let faults = [
                    Fault::InDoubtAfterEffect,
                    Fault::InDoubtBeforeEffect,
                    Fault::Unavailable,
                ];
                let fault = faults[usize::try_from((random >> 8) % 3).expect("small")];
                cluster.switches.fail_next(Call::PutPages, fault);
            }
            4 => cluster
                .switches
                .fail_next(Call::Snapshot, Fault::InDoubtAfterEffect),
            5 => cluster
                .switches
                .fail_next(Call::Snapshot, Fault::Unavailable),
            6 => plan.error = 0.4,
            7 => plan.lost_response = 0.4,
            8 if random >> 32 & 1 == 0 => {
                process.tasks.kill();
                process = cluster.start();
                metadata = process.leads().await;
                backups = writer(&metadata);
            }
            _ => {}
        }
        // objects of sessions that go on for long are too old
        let mut agent = Agent::new(&metadata).await;
        for topic in &topics {
            agent.append(partition(*topic, 0), 3).await;
        }
        cluster.sleep((random >> 16) % 20_000).await;
        faults.set(plan);
        let outcome = backups.back_up().await;
        faults.set(FaultPlan::default());
        if outcome.is_err() {
            failed += 1;
            continue;
        }
        written += 1;
        let (key, manifest) = newest(&cluster.store, id).await.expect("there is one");
        let pages = chain::pages(&*cluster.store, &manifest).await;
        let then = seen.lock().clone();
        assert_eq!(pages.expect("they are there"), then.pages, "round {round}");
        assert_eq!(manifest.pages_through, then.pages_through);
        let now = recover(&*cluster.journal, Budgets::default()).await;
        let now = now.expect("it is there");
        let state = restore::load(&*cluster.store, &key, &manifest, Budgets::default()).await;
        if now.hashes.tail() == manifest.mark.seq {
            compared += 1;
            let state = state.expect("it can be loaded");
            assert_eq!(
                state.fingerprint(),
                now.state.fingerprint(),
                "round {round}"
            );
        }
    }
    assert!(
        written > 50 && failed > 5 && compared > 30,
        "{written} {failed} {compared}"
    );
    // what fails leaves parts; the next one removes them
    backups.back_up().await.expect("nothing fails");
    backups.back_up().await.expect("nothing fails");
    let keys = chain::list(&*cluster.store, id).await.expect("lists");
    let complete = chain::complete(id, &keys);
    assert_eq!(complete.len(), 2);
    let mut named = BTreeSet::new();
    for backup in &complete {
        let manifest = chain::manifest(&*cluster.store, id, backup).await;
        let manifest = manifest.expect("it can be read");
        named.extend(manifest.keys().map(str::to_owned));
        named.insert(backup_key(id, backup, BACKUP_MANIFEST));
    }
    assert_eq!(keys, named.into_iter().collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_leader_backs_up_in_turn_and_another_one_begins_anew() {
    let cluster = Cluster::new();
    let process = cluster.start();
    let metadata = process.leads().await;
    let id = metadata.facts().cluster;
    create_topic(&*metadata, "a", 3).await.expect("creates");
    let (role, told) = watch::channel(Role::Standby { leader: None });
    let store: Arc<dyn ObjectStore> = Arc::<MemoryStore>::clone(&cluster.store);
    let journal: Arc<dyn Journal> = Arc::<MemoryJournal>::clone(&cluster.journal);
    let settings = BackupSettings::default();
    let ports = cluster.ports.another_node();
    ports
        .tasks
        .spawn(while_leading(ports.clone(), journal, store, told, settings));
    cluster.sleep(600_000).await;
    assert_eq!(newest(&cluster.store, id).await, None, "it does not lead");
    role.send_replace(Role::Leader(Arc::clone(&metadata)));
    cluster.sleep(61_000).await;
    let (first, base) = newest(&cluster.store, id).await.expect("a first one");
    assert!(base.pages.iter().all(|part| part.key.contains("/base-")));
    create_topic(&*metadata, "b", 3).await.expect("creates");
    cluster.sleep(300_000).await;
    let (second, increment) = newest(&cluster.store, id).await.expect("another one");
    assert!(second > first);
    assert_eq!(increment.pages[..base.pages.len()], base.pages);
    assert!(increment.pages.len() > base.pages.len());
    process.tasks.kill();
    let process = cluster.start();
    let metadata = process.leads().await;
    role.send_replace(Role::Leader(metadata));
    cluster.sleep(61_000).await;
    let (third, anew) = newest(&cluster.store, id).await.expect("another one");
    assert!(third > second);
    assert!(anew.pages.iter().all(|part| part.key.contains("/base-")));
    drop(process);
    drop(role);
}

#[tokio::test(start_paused = true)]
async fn regression_who_was_deposed_before_the_snapshot_writes_no_manifest() {
    let cluster = Cluster::new();
    let process = cluster.start();
    let metadata = process.leads().await;
    let id = metadata.facts().cluster;
    // a later leader may write pages before any row of its own
    let tasks = process.tasks.clone();
    let journal = Hooked::around(&cluster.journal, move |call| {
        if call == Call::Snapshot {
            tasks.kill();
        }
        Box::pin(async {})
    });
    let store: Arc<dyn ObjectStore> = Arc::<MemoryStore>::clone(&cluster.store);
    let settings = BackupSettings::default();
    let mut backups = Writer::new(cluster.ports.clone(), journal, store, metadata, settings);
    let outcome = backups.back_up().await;
    assert!(matches!(outcome, Err(Failure::Leader(_))), "{outcome:?}");
    assert_eq!(newest(&cluster.store, id).await, None);
}
