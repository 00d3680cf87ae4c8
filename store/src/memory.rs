//! A bucket in memory: deterministic, gone with the process. For tests and the simulation.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::{
    keys,
    parts::{self, Parts},
    port::{
        DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Payload, PutError, PutMode,
        UnfinishedUpload, Upload,
    },
};

/// Objects in a map. It never waits and never fails, but for keys that no store takes.
#[derive(Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    objects: BTreeMap<String, Bytes>,
    /// Those that were neither finished nor aborted.
    uploads: BTreeMap<UnfinishedUpload, Parts<Bytes>>,
    uploads_begun: u64,
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
        let objects = &self.shared.lock().objects;
        (objects.len(), objects.values().map(length).sum())
    }

    fn find(&self, key: &str) -> Result<Bytes, GetError> {
        self.shared
            .lock()
            .objects
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
        let objects = &mut self.shared.lock().objects;
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
        let objects = &mut self.shared.lock().objects;
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
        let objects = &self.shared.lock().objects;
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

    async fn begin_upload(&self, key: &str) -> Result<Box<dyn Upload>, PutError> {
        keys::check(key).map_err(|reason| parts::refused(key, reason))?;
        let mut shared = self.shared.lock();
        shared.uploads_begun += 1;
        let upload = UnfinishedUpload {
            key: key.to_owned(),
            id: format!("{:016}", shared.uploads_begun),
        };
        shared.uploads.insert(upload.clone(), Parts::default());
        Ok(Box::new(MemoryUpload {
            shared: Arc::clone(&self.shared),
            upload,
        }))
    }

    async fn unfinished_uploads(
        &self,
        prefix: &str,
        after: Option<&UnfinishedUpload>,
        limit: usize,
    ) -> Result<Vec<UnfinishedUpload>, ListError> {
        let shared = self.shared.lock();
        let uploads = shared.uploads.keys();
        Ok(uploads
            .filter(|upload| upload.key.starts_with(prefix))
            .filter(|upload| after.is_none_or(|after| *upload > after))
            .take(limit)
            .cloned()
            .collect())
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), DeleteError> {
        self.shared.lock().uploads.remove(upload);
        Ok(())
    }

    fn priced_per_request(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "mem://".to_owned()
    }
}

#[derive(Debug)]
struct MemoryUpload {
    shared: Arc<Mutex<Shared>>,
    upload: UnfinishedUpload,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn part(&self, number: u32, payload: Payload) -> Result<(), PutError> {
        let key = &self.upload.key;
        let bytes = parts::check(key, number, &payload)?;
        let mut shared = self.shared.lock();
        let upload = shared.uploads.get_mut(&self.upload);
        let upload = upload.ok_or_else(|| parts::ended(key))?;
        upload.add(number, bytes, joined(payload));
        Ok(())
    }

    async fn finish(&self, parts: u32, bytes: u64) -> Result<(), PutError> {
        let key = &self.upload.key;
        let mut shared = self.shared.lock();
        let Some(upload) = shared.uploads.get(&self.upload) else {
            return match shared.objects.get(key) {
                Some(there) if length(there) == bytes => Ok(()),
                _ => Err(parts::ended(key)),
            };
        };
        let object = joined(upload.all(key, parts, bytes)?);
        shared.uploads.remove(&self.upload);
        shared.objects.insert(key.clone(), object);
        Ok(())
    }

    async fn abort(&self) -> Result<(), PutError> {
        self.shared.lock().uploads.remove(&self.upload);
        Ok(())
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

    #[tokio::test]
    async fn memory_tells_of_unfinished_uploads() {
        let store = MemoryStore::new();
        let upload = store.begin_upload("a/b").await.expect("it never fails");
        let told = store.unfinished_uploads("a/", None, 9).await;
        assert_eq!(told.expect("it never fails").len(), 1);
        drop(upload);
        let told = store.unfinished_uploads("a/", None, 9).await;
        assert_eq!(
            told.expect("it never fails").len(),
            1,
            "somebody has to abort it"
        );
    }
}
