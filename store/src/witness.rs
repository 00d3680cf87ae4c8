//! Tips and witnesses in the bucket ([`aquifer_format::witness`]): agents and metadata processes write
//! them, metadata processes read them.

use aquifer_format::{
    ids::{ClusterId, Incarnation},
    key::{incarnation_of_witness, tip_key, tips_prefix, witness_key, witnesses_prefix},
    witness::{Witness, WitnessError},
};
use futures::stream::{self, StreamExt};

use crate::port::{GetError, ListError, ObjectStore, PutError, PutMode};

/// Objects that one listing call asks for.
const LIST_LIMIT: usize = 1_000;
/// Objects that are read at a time: each agent may have left a witness.
const READS_AT_ONCE: usize = 16;
/// How often an object is read until it is called damaged in the bucket itself.
const READS_MAX: u32 = 10;

/// Why a tip or witness is not known to be in the bucket.
#[derive(Debug, thiserror::Error)]
pub enum WriteWitnessError {
    /// It could not be written.
    #[error(transparent)]
    Put(#[from] PutError),
    /// Another one stands at its key, and could not be compared.
    #[error(transparent)]
    Get(#[from] GetError),
    /// Another one stands at its key: two journals had the same place.
    #[error("another object stands at {key}: two journals say that they are this cluster's")]
    Differs {
        /// The key.
        key: String,
    },
}

/// Why tips and witnesses cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadWitnessError {
    /// The bucket did not list them.
    #[error(transparent)]
    List(#[from] ListError),
    /// The bucket did not give one.
    #[error(transparent)]
    Get(#[from] GetError),
    /// One cannot be used.
    #[error("object {key} cannot be used: {error}")]
    Unusable {
        /// Its key.
        key: String,
        /// What is wrong.
        error: WitnessError,
    },
}

/// Writes the tip of `witness.mark`. Doing it again is safe.
pub async fn put_tip(store: &dyn ObjectStore, tip: &Witness) -> Result<String, WriteWitnessError> {
    let key = tip_key(tip.cluster, &tip.mark);
    let bytes = tip.encode();
    match store
        .put(&key, vec![bytes.clone().into()], PutMode::Create)
        .await
    {
        Ok(()) => Ok(key),
        // ours, whose answer was lost, or that of a process that shares our term: then one of us is
        // on a copy of the journal
        Err(PutError::Exists { .. }) => {
            let there = get(store, &key).await?;
            if there.is_ok_and(|there| there.mark == tip.mark) {
                Ok(key)
            } else {
                Err(WriteWitnessError::Differs { key })
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes what the process with the random number `writer` remembers; once per process and mark, so
/// doing it again changes nothing.
pub async fn put_witness(
    store: &dyn ObjectStore,
    writer: u64,
    witness: &Witness,
) -> Result<String, PutError> {
    let key = witness_key(witness.cluster, &witness.mark, writer);
    let bytes = vec![witness.encode().into()];
    match store.put(&key, bytes, PutMode::Create).await {
        Ok(()) | Err(PutError::Exists { .. }) => Ok(key),
        Err(error) => Err(error),
    }
}

/// Which tips and witnesses to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those of the highest incarnation: the only ones that can say that rows were lost.
    Newest,
    /// All.
    All,
}

/// A tip or witness with its key.
pub type Kept = (String, Witness);

/// Reads a cluster's tips, in key order (the last one is the newest).
pub async fn tips(
    store: &dyn ObjectStore,
    cluster: ClusterId,
    which: Which,
) -> Result<Vec<Kept>, ReadWitnessError> {
    read(store, &tips_prefix(cluster), which).await
}

/// Reads a cluster's witnesses, in key order.
pub async fn witnesses(
    store: &dyn ObjectStore,
    cluster: ClusterId,
    which: Which,
) -> Result<Vec<Kept>, ReadWitnessError> {
    read(store, &witnesses_prefix(cluster), which).await
}

/// Reads one. What came damaged is read again: it may have been damaged on its way only.
async fn get(
    store: &dyn ObjectStore,
    key: &str,
) -> Result<Result<Witness, WitnessError>, GetError> {
    let mut read = Witness::decode(&store.get(key).await?);
    for _ in 1..READS_MAX {
        if !matches!(read, Err(WitnessError::Malformed { .. })) {
            break;
        }
        read = Witness::decode(&store.get(key).await?);
    }
    Ok(read)
}

async fn read(
    store: &dyn ObjectStore,
    prefix: &str,
    which: Which,
) -> Result<Vec<Kept>, ReadWitnessError> {
    let mut tries = 1;
    loop {
        match read_listed(store, prefix, which).await {
            // an older tip, deleted by the leader that wrote the next one: that one is to be read
            Err(ReadWitnessError::Get(GetError::NotFound { .. })) if tries < READS_MAX => {
                tries += 1
            }
            other => return other,
        }
    }
}

async fn read_listed(
    store: &dyn ObjectStore,
    prefix: &str,
    which: Which,
) -> Result<Vec<Kept>, ReadWitnessError> {
    let keys = list(store, prefix).await?;
    let newest = keys.iter().map(|(incarnation, _)| *incarnation).max();
    let wanted = keys
        .into_iter()
        .filter(|(incarnation, _)| which == Which::All || Some(*incarnation) == newest);
    let reads = wanted.map(|(_, key)| async move { (get(store, &key).await, key) });
    let reads: Vec<_> = stream::iter(reads).buffered(READS_AT_ONCE).collect().await;
    let mut found = Vec::new();
    for (read, key) in reads {
        match read? {
            Ok(witness) => found.push((key, witness)),
            Err(error) => return Err(ReadWitnessError::Unusable { key, error }),
        }
    }
    Ok(found)
}

/// The keys of tips or witnesses, in order; what has another kind of name is not ours.
async fn list(
    store: &dyn ObjectStore,
    prefix: &str,
) -> Result<Vec<(Incarnation, String)>, ListError> {
    let mut keys = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list(prefix, after.as_deref(), LIST_LIMIT).await?;
        let complete = page.len() < LIST_LIMIT;
        after = page.last().map(|meta| meta.key.clone());
        keys.extend(page.into_iter().filter_map(|meta| {
            let incarnation = incarnation_of_witness(&meta.key)?;
            Some((incarnation, meta.key))
        }));
        if complete {
            return Ok(keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use aquifer_format::{
        ids::{JournalSeq, LeaderTerm, UploadEpoch},
        mark::JournalMark,
    };
    use bytes::Bytes;

    use super::*;
    use crate::{
        Ports,
        faults::{FaultPlan, Faults, FaultyStore, Latency},
        memory::MemoryStore,
    };

    fn cluster() -> ClusterId {
        let (cluster, _) = aquifer_format::key::parse_object_key(
            "fc49/AQIDBAUGBwgJCgsMDQ4PEA/0000000001/0000000042/l0-7-00000000deadbeef",
        )
        .unwrap();
        cluster
    }

    fn witness(incarnation: u32, term: u64, seq: u64) -> Witness {
        Witness {
            cluster: cluster(),
            mark: JournalMark {
                incarnation: Incarnation(incarnation),
                term: LeaderTerm(term),
                seq: JournalSeq(seq),
                hash: [u8::try_from(seq).unwrap(); 32],
            },
            upload_epoch: UploadEpoch(1),
            high_watermarks: Vec::new(),
        }
    }

    #[tokio::test]
    async fn tips_and_witnesses_are_read_in_order_and_the_newest_incarnation_counts() {
        let store = MemoryStore::new();
        for (incarnation, term, seq) in [(1, 9, 99), (2, 1, 120), (2, 10, 130), (2, 2, 121)] {
            let tip = witness(incarnation, term, seq);
            let key = put_tip(&store, &tip).await.unwrap();
            // an answer that was lost
            assert_eq!(put_tip(&store, &tip).await.unwrap(), key);
            put_witness(&store, term, &tip).await.unwrap();
            put_witness(&store, term, &tip).await.unwrap();
            put_witness(&store, term + 1, &tip).await.unwrap();
        }
        let seqs = |kept: Vec<Kept>| -> Vec<u64> {
            kept.iter().map(|(_, witness)| witness.mark.seq.0).collect()
        };
        let newest = tips(&store, cluster(), Which::Newest).await.unwrap();
        assert_eq!(seqs(newest), [120, 121, 130]);
        let all = tips(&store, cluster(), Which::All).await.unwrap();
        assert_eq!(seqs(all), [99, 120, 121, 130]);
        let all = witnesses(&store, cluster(), Which::Newest).await.unwrap();
        assert_eq!(seqs(all), [120, 120, 121, 121, 130, 130]);
    }

    #[tokio::test]
    async fn two_journals_at_one_place_are_told() {
        let store = MemoryStore::new();
        let tip = witness(1, 2, 3);
        put_tip(&store, &tip).await.unwrap();
        let mut other = tip.clone();
        other.mark.hash = [9; 32];
        let refused = put_tip(&store, &other).await;
        assert!(
            matches!(refused, Err(WriteWitnessError::Differs { .. })),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn regression_other_objects_under_the_prefix_hide_nothing() {
        let store = MemoryStore::new();
        let first = put_tip(&store, &witness(1, 2, 3)).await.unwrap();
        // a page of them before, and one between
        let before = (0..LIST_LIMIT).map(|n| format!("{}-{n:04}", tips_prefix(cluster())));
        let between = (0..LIST_LIMIT).map(|n| format!("{first}/{n:04}"));
        for key in before.chain(between) {
            let nothing = vec![Bytes::new()];
            store.put(&key, nothing, PutMode::Create).await.unwrap();
        }
        let last = put_tip(&store, &witness(1, 2, 4)).await.unwrap();
        let read = tips(&store, cluster(), Which::All).await.unwrap();
        let keys: Vec<String> = read.into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [first, last]);
    }

    const READ: Duration = Duration::from_millis(50);

    fn slow_to_read(store: &Arc<MemoryStore>, ports: &Ports) -> FaultyStore {
        let slow = Faults::new(FaultPlan {
            get_latency: Latency::Fixed(READ),
            ..FaultPlan::default()
        });
        FaultyStore::new(Arc::<MemoryStore>::clone(store), ports.clone(), slow)
    }

    #[tokio::test(start_paused = true)]
    async fn regression_hundreds_of_witnesses_are_read_within_seconds() {
        let store = Arc::new(MemoryStore::new());
        for writer in 0..500 {
            put_witness(&*store, writer, &witness(1, 2, 3))
                .await
                .unwrap();
        }
        let ports = Ports::simulated(1, 0);
        let slow = slow_to_read(&store, &ports);
        let reading = witnesses(&slow, cluster(), Which::Newest);
        let read = ports.timeout(Duration::from_secs(3), reading).await;
        assert_eq!(read.expect("in time").unwrap().len(), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn regression_a_tip_that_is_replaced_meanwhile_is_not_missed() {
        let store = Arc::new(MemoryStore::new());
        let old = put_tip(&*store, &witness(1, 2, 3)).await.unwrap();
        let ports = Ports::simulated(1, 0);
        let slow = slow_to_read(&store, &ports);
        let replacing = async {
            // it was listed, and is not read yet
            ports.sleep(READ / 2).await;
            put_tip(&*store, &witness(1, 2, 4)).await.unwrap();
            store.delete(&[old]).await.unwrap();
        };
        let (read, ()) = tokio::join!(tips(&slow, cluster(), Which::Newest), replacing);
        let seqs: Vec<u64> = read.unwrap().iter().map(|(_, t)| t.mark.seq.0).collect();
        assert_eq!(seqs, [4]);
    }

    #[tokio::test]
    async fn damaged_ones_are_told_and_not_passed_over() {
        let store = MemoryStore::new();
        let key = put_tip(&store, &witness(1, 2, 3)).await.unwrap();
        let torn = vec![Bytes::from_static(b"{")];
        store.put(&key, torn, PutMode::Overwrite).await.unwrap();
        let read = tips(&store, cluster(), Which::Newest).await;
        assert!(
            matches!(read, Err(ReadWitnessError::Unusable { .. })),
            "{read:?}"
        );
    }
}
