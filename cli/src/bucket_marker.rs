//! The object that says whose bucket it is.
//!
//! A server whose metadata names another cluster, or none, must not write into a marked bucket: it would
//! mix two clusters, or hide the loss of a database.

use anyhow::{Context, Result, bail};
use aquifer_format::{
    ids::{ClusterId, Incarnation},
    key::marker_key,
};
use aquifer_store::{GetError, ObjectStore, PutError, PutMode};
use serde::{Deserialize, Serialize};

/// Version of the marker's form.
const VERSION: u32 = 1;

/// What the marker says, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    version: u32,
    cluster: String,
    incarnation: u32,
}

impl Marker {
    /// The marker of a cluster.
    pub(crate) fn new(cluster: ClusterId, incarnation: Incarnation) -> Self {
        Self {
            version: VERSION,
            cluster: cluster.to_string(),
            incarnation: incarnation.0,
        }
    }

    /// The marker in the bucket, if there is one.
    pub(crate) async fn read(store: &dyn ObjectStore) -> Result<Option<Self>> {
        let bytes = match store.get(marker_key()).await {
            Ok(bytes) => bytes,
            Err(GetError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let marker: Self = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "the marker {} in bucket {} cannot be read; it was not written by this version",
                marker_key(),
                store.describe()
            )
        })?;
        if marker.version > VERSION {
            bail!(
                "bucket {} was written by a newer version of aquifer (marker version {}, this one \
                 knows {VERSION}); start that version",
                store.describe(),
                marker.version
            );
        }
        Ok(Some(marker))
    }

    /// Refuses a bucket that is marked while the metadata has no cluster yet.
    pub(crate) fn refuse_without_cluster(
        &self,
        store: &dyn ObjectStore,
        journal: &str,
    ) -> Result<()> {
        bail!(
            "bucket {} belongs to cluster {}, but the metadata in {journal} is empty; bring the \
             metadata of that cluster back, or choose another bucket",
            store.describe(),
            self.cluster
        )
    }

    /// Refuses a bucket of another cluster.
    pub(crate) fn check(&self, cluster: ClusterId, store: &dyn ObjectStore) -> Result<()> {
        if self.cluster == cluster.to_string() {
            return Ok(());
        }
        bail!(
            "bucket {} belongs to cluster {}, but the metadata is that of cluster {cluster}; bring \
             the two that belong together",
            store.describe(),
            self.cluster
        )
    }

    /// Marks the bucket, unless it is marked for this cluster and incarnation already.
    pub(crate) async fn write(&self, cluster: ClusterId, store: &dyn ObjectStore) -> Result<()> {
        let bytes = serde_json::to_vec(self).context("a marker can be written as JSON")?;
        let mode = match Self::read(store).await? {
            Some(there) if there == *self => return Ok(()),
            Some(there) => {
                there.check(cluster, store)?;
                PutMode::Overwrite
            }
            None => PutMode::Create,
        };
        match store.put(marker_key(), vec![bytes.into()], mode).await {
            Ok(()) => Ok(()),
            Err(PutError::Exists { .. }) => match Self::read(store).await? {
                Some(there) => there.check(cluster, store),
                None => bail!("the marker of bucket {} comes and goes", store.describe()),
            },
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use aquifer_store::memory::MemoryStore;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_bucket_is_marked_once_and_for_one_cluster() {
        let store = MemoryStore::new();
        let [one, other] = [1, 2].map(|n| ClusterId(Uuid::from_u128(n)));
        assert_eq!(Marker::read(&store).await.unwrap(), None);
        let marker = Marker::new(one, Incarnation(1));
        marker.write(one, &store).await.unwrap();
        marker.write(one, &store).await.unwrap();
        let there = Marker::read(&store).await.unwrap().unwrap();
        assert_eq!(there, marker);
        there.check(one, &store).unwrap();
        assert!(there.check(other, &store).is_err());
        assert!(there.refuse_without_cluster(&store, "x").is_err());
        let foreign = Marker::new(other, Incarnation(1));
        assert!(foreign.write(other, &store).await.is_err());
        let later = Marker::new(one, Incarnation(2));
        later.write(one, &store).await.unwrap();
        assert_eq!(Marker::read(&store).await.unwrap(), Some(later));
    }

    #[tokio::test]
    async fn markers_of_newer_versions_and_other_things_are_refused() {
        for (text, says) in [
            (
                r#"{"version":2,"cluster":"x","incarnation":1}"#,
                "newer version",
            ),
            ("nonsense", "cannot be read"),
        ] {
            let store = MemoryStore::new();
            let payload = vec![bytes::Bytes::from_static(text.as_bytes())];
            store
                .put(marker_key(), payload, PutMode::Create)
                .await
                .unwrap();
            let error = Marker::read(&store).await.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
