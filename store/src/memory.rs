//! A bucket in memory: deterministic, gone with the process. For tests and the simulation.

use std::{collections::BTreeMap, ops::Range};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::{
    keys,
    port::{DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Payload, PutError, PutMode},
};

/// Objects in a map. It never waits and never fails, but for keys that no store takes.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, Bytes>>,
}

impl MemoryStore {
    /// An empty bucket.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of objects and their bytes together.
    #[must_use]
    pub fn totals(&self) -> (usize, u64) {
        let objects = self.objects.lock();
        (objects.len(), objects.values().map(length).sum())
    }

    fn find(&self, key: &str) -> Result<Bytes, GetError> {
        self.objects
            .lock()
            .get(key)
            .cloned()
            .ok_or_else(|| GetError::NotFound {
                key: key.to_owned(),
            })
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The pieces as one; no copy where there is only one.
fn joined(payload: Payload) -> Bytes {
    match <[Bytes; 1]>::try_from(payload) {
        Ok([only]) => only,
        Err(pieces) => {
            let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
            for piece in pieces {
                all.extend_from_slice(&piece);
            }
            all.freeze()
        }
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError> {
        keys::check(key).map_err(|reason| PutError::Refused {
            key: key.to_owned(),
            reason,
        })?;
        let mut objects = self.objects.lock();
        if mode == PutMode::Create && objects.contains_key(key) {
            return Err(PutError::Exists {
                key: key.to_owned(),
            });
        }
        objects.insert(key.to_owned(), joined(payload));
        Ok(())
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError> {
        let bytes = self.find(key)?;
        let range = keys::cut(&range, length(&bytes));
        let index = |at| usize::try_from(at).expect("cut to the length of a buffer in memory");
        Ok(bytes.slice(index(range.start)..index(range.end)))
    }

    async fn get(&self, key: &str) -> Result<Bytes, GetError> {
        self.find(key)
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, GetError> {
        self.find(key).map(|bytes| ObjectMeta {
            key: key.to_owned(),
            bytes: length(&bytes),
        })
    }

    async fn delete(&self, keys: &[String]) -> Result<(), DeleteError> {
        let mut objects = self.objects.lock();
        for key in keys {
            objects.remove(key);
        }
        Ok(())
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ListError> {
        let objects = self.objects.lock();
        let from = after.map_or(prefix, |after| after.max(prefix));
        Ok(objects
            .range::<str, _>((
                std::ops::Bound::Included(from),
                std::ops::Bound::<&str>::Unbounded,
            ))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
            .take(limit)
            .map(|(key, bytes)| ObjectMeta {
                key: key.clone(),
                bytes: length(bytes),
            })
            .collect())
    }

    fn priced_per_request(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "mem://".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn memory_conforms() {
        crate::conformance::check(Arc::new(MemoryStore::new()), "m/").await;
    }
}
