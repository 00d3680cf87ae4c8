//! Tips and witnesses in the bucket ([`aquifer_format::witness`]): agents and metadata processes write
//! them, metadata processes read them.

use aquifer_format::{
    ids::{ClusterId, Incarnation},
    key::{incarnation_of_witness, tip_key, tips_prefix, witness_key, witnesses_prefix},
    witness::{Witness, WitnessError},
};

use crate::port::{GetError, ListError, ObjectStore, PutError, PutMode};

/// Objects that one listing call asks for.
const LIST_LIMIT: usize = 1_000;
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
    let mut keys: Vec<(Incarnation, String)> = Vec::new();
    loop {
        let after = keys.last().map(|(_, key)| key.as_str());
        let page = store.list(prefix, after, LIST_LIMIT).await?;
        let complete = page.len() < LIST_LIMIT;
        let known = page.into_iter().filter_map(|meta| {
            let incarnation = incarnation_of_witness(&meta.key)?;
            Some((incarnation, meta.key))
        });
        let before = keys.len();
        keys.extend(known);
        // a page of nothing but foreign objects would be asked for again and again
        if complete || keys.len() == before {
            break;
        }
    }
    let newest = keys.iter().map(|(incarnation, _)| *incarnation).max();
    let mut found = Vec::new();
    for (incarnation, key) in keys {
        if which == Which::Newest && Some(incarnation) != newest {
            continue;
        }
        let read = match get(store, &key).await {
            Ok(read) => read,
            // an older tip, deleted by the leader that wrote the next one (which a listing that began
            // later shows)
            Err(GetError::NotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        match read {
            Ok(witness) => found.push((key, witness)),
            Err(error) => return Err(ReadWitnessError::Unusable { key, error }),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use aquifer_format::{
        ids::{JournalSeq, LeaderTerm, UploadEpoch},
        mark::JournalMark,
    };
    use bytes::Bytes;

    use super::*;
    use crate::memory::MemoryStore;

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
