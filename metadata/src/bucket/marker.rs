//! The object that says whose bucket it is.
//!
//! A service whose metadata names another cluster, or none, must not write into a marked bucket: it would
//! mix two clusters, or hide the loss of a database. It is JSON with a checksum behind it.

use aquifer_format::{
    ids::{ClusterId, Incarnation},
    key::{marker_key, parse_cluster_id},
    sealed,
};
use aquifer_store::{GetError, ObjectStore, PutError, PutMode};
use serde::{Deserialize, Serialize};

use super::BucketError;

/// Version of the marker's form.
const VERSION: u32 = 1;
/// How often it is read until it is called damaged in the bucket itself, and not on its way.
const READS_MAX: u32 = 10;

/// What the marker says, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Body {
    version: u32,
    cluster: String,
    incarnation: u32,
}

/// What the marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Whose bucket it is.
    pub cluster: ClusterId,
    /// The incarnation of the last leader that started.
    pub incarnation: Incarnation,
}

impl Marker {
    /// The marker in the bucket, if there is one.
    ///
    /// # Errors
    /// The bucket cannot be read, or the marker is not one that this release wrote.
    pub async fn read(store: &dyn ObjectStore) -> Result<Option<Self>, BucketError> {
        let mut body = None;
        for _ in 0..READS_MAX {
            let bytes = match store.get(marker_key()).await {
                Ok(bytes) => bytes,
                Err(GetError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let text = sealed::open(&bytes).ok();
            body = text.and_then(|text| serde_json::from_slice::<Body>(text).ok());
            if body.is_some() {
                break;
            }
        }
        let refused = |reason: String| Err(BucketError::Refused { reason });
        let Some(body) = body else {
            return refused(format!(
                "the marker {} in bucket {} cannot be read; it was not written by this version",
                marker_key(),
                store.describe()
            ));
        };
        if body.version > VERSION {
            return refused(format!(
                "bucket {} was written by a newer version of aquifer (marker version {}, this one \
                 knows {VERSION}); start that version",
                store.describe(),
                body.version
            ));
        }
        match parse_cluster_id(&body.cluster) {
            Some(cluster) => Ok(Some(Self {
                cluster,
                incarnation: Incarnation(body.incarnation),
            })),
            None => refused(format!(
                "the marker {} in bucket {} names no cluster; it was not written by this version",
                marker_key(),
                store.describe()
            )),
        }
    }

    /// Refuses a bucket that is marked while the metadata has no cluster yet.
    #[must_use]
    pub fn refuse_without_cluster(&self, store: &dyn ObjectStore) -> BucketError {
        BucketError::Refused {
            reason: format!(
                "bucket {} belongs to cluster {}, but the metadata is empty; bring the metadata of \
                 that cluster back, or choose another bucket",
                store.describe(),
                self.cluster
            ),
        }
    }

    /// Refuses a bucket of another cluster.
    ///
    /// # Errors
    /// It is another cluster's.
    pub fn check(&self, cluster: ClusterId, store: &dyn ObjectStore) -> Result<(), BucketError> {
        if self.cluster == cluster {
            return Ok(());
        }
        Err(BucketError::Refused {
            reason: format!(
                "bucket {} belongs to cluster {}, but the metadata is that of cluster {cluster}; \
                 bring the two that belong together",
                store.describe(),
                self.cluster
            ),
        })
    }

    /// Marks the bucket, unless it is marked for this cluster and incarnation already.
    ///
    /// # Errors
    /// It is another cluster's, or cannot be written.
    pub async fn write(&self, store: &dyn ObjectStore) -> Result<(), BucketError> {
        let mode = match Self::read(store).await? {
            Some(there) => {
                there.check(self.cluster, store)?;
                if there.incarnation >= self.incarnation {
                    return Ok(());
                }
                PutMode::Overwrite
            }
            None => PutMode::Create,
        };
        let body = Body {
            version: VERSION,
            cluster: self.cluster.to_string(),
            incarnation: self.incarnation.0,
        };
        let text = serde_json::to_vec(&body).expect("strings and numbers can be written as JSON");
        let bytes = sealed::seal(text);
        match store.put(marker_key(), vec![bytes.into()], mode).await {
            Ok(()) => Ok(()),
            // a lost race, or an earlier try of our own
            Err(PutError::Exists { .. }) => match Self::read(store).await? {
                Some(there) => there.check(self.cluster, store),
                None => Err(BucketError::Unreachable {
                    reason: format!("the marker of bucket {} comes and goes", store.describe()),
                }),
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
        let marker = |cluster, incarnation| Marker {
            cluster,
            incarnation: Incarnation(incarnation),
        };
        marker(one, 1).write(&store).await.unwrap();
        marker(one, 1).write(&store).await.unwrap();
        let there = Marker::read(&store).await.unwrap().unwrap();
        assert_eq!(there, marker(one, 1));
        there.check(one, &store).unwrap();
        assert!(there.check(other, &store).is_err());
        assert!(marker(other, 1).write(&store).await.is_err());
        marker(one, 2).write(&store).await.unwrap();
        // it never goes back
        marker(one, 1).write(&store).await.unwrap();
        assert_eq!(Marker::read(&store).await.unwrap(), Some(marker(one, 2)));
    }

    #[tokio::test]
    async fn markers_of_newer_versions_and_other_things_are_refused() {
        for (text, says) in [
            (
                r#"{"version":2,"cluster":"x","incarnation":1}"#,
                "newer version",
            ),
            (
                r#"{"version":1,"cluster":"x","incarnation":1}"#,
                "no cluster",
            ),
            ("nonsense", "cannot be read"),
        ] {
            let store = MemoryStore::new();
            let payload = vec![sealed::seal(text.as_bytes().to_vec()).into()];
            store
                .put(marker_key(), payload, PutMode::Create)
                .await
                .unwrap();
            let error = Marker::read(&store).await.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
