//! A bucket in the cloud, through `object_store`: S3 and what speaks its protocol, Google Cloud Storage, Azure
//! Blob Storage. Each has a file of its own for its settings, its credentials and how it is reached.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    ClientOptions, Error as StoreError, GetOptions, ObjectStore as CloudClient, ObjectStoreExt,
    PutOptions, PutPayload, RetryConfig, multipart::MultipartStore, path::Path,
};

use crate::{
    keys,
    port::{
        DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Payload, PutError, PutMode,
        UnfinishedUpload, Upload,
    },
};

mod azure;
pub(crate) mod connection;
mod credentials;
mod endpoint;
pub(crate) mod failure;
mod google;
mod s3;
mod service;
mod upload;

pub use azure::AzureSettings;
pub use connection::AccessKeys;
use credentials::SdkCredentials;
use failure::{Failure, classify, status_of};
pub use google::GoogleSettings;
pub use s3::S3Settings;
pub(crate) use service::Service;
use upload::Sdk;

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use bucket {bucket}: {reason}")]
pub struct RemoteError {
    /// The bucket.
    pub bucket: String,
    /// What is wrong, and what to do about it.
    pub reason: String,
}

/// No object is as large (S3: 50 TB); a range that ends behind it means "to the end".
const END_MAX: u64 = 1 << 50;

/// A client of a service: objects whole and in parts.
trait Cloud: CloudClient + MultipartStore {}

impl<T: CloudClient + MultipartStore> Cloud for T {}

/// A bucket in the cloud; [`S3Settings::open`], [`GoogleSettings::open`] and [`AzureSettings::open`] make it.
///
/// S3 Express lists in no order. There each listing goes through everything below the prefix and keeps the
/// smallest keys, as many as were asked for; who pages through all of a bucket of n objects, `limit` at a time,
/// has its server list n / `limit` times n objects.
#[derive(Clone, Debug)]
pub struct RemoteStore {
    client: Arc<dyn Cloud>,
    service: Service,
    bucket: String,
    /// Goes before each key, with a slash between; empty = none.
    prefix: String,
    priced: bool,
    lists_in_order: bool,
    /// Those of S3, whose expiry is seen here; the other clients have their own.
    credentials: Option<Arc<SdkCredentials>>,
    /// What can list uploads; of S3 only.
    sdk: Option<Arc<Sdk>>,
}

impl RemoteStore {
    pub(crate) fn service(&self) -> Service {
        self.service
    }

    /// The bucket without the prefix, for people.
    pub(crate) fn bucket_url(&self) -> String {
        format!("{}://{}", self.service.scheme(), self.bucket)
    }

    fn path(&self, key: &str) -> Result<Path, String> {
        keys::check(key)?;
        let full = match self.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        };
        Path::parse(full).map_err(|error| error.to_string())
    }

    fn key(&self, path: &Path) -> Option<String> {
        let path = path.as_ref();
        match self.prefix.as_str() {
            "" => Some(path.to_owned()),
            prefix => path
                .strip_prefix(prefix)?
                .strip_prefix('/')
                .map(str::to_owned),
        }
    }

    async fn read_path(&self, key: &str) -> Result<Path, GetError> {
        self.path(key).map_err(|_| GetError::NotFound {
            key: key.to_owned(),
        })
    }

    async fn failure(&self, error: &StoreError) -> Failure {
        let failure = classify(self.service, error);
        if failure.credentials_expired
            && let Some(credentials) = &self.credentials
        {
            credentials.forget().await;
        }
        failure
    }

    async fn get_error(&self, key: &str, error: &StoreError) -> GetError {
        let key = key.to_owned();
        let failure = self.failure(error).await;
        match error {
            StoreError::NotFound { .. } if !failure.is_final => GetError::NotFound { key },
            _ if failure.is_final => GetError::Refused {
                key,
                reason: failure.reason,
            },
            _ => GetError::Failed {
                key,
                reason: failure.reason,
                slow_down: failure.slow_down,
            },
        }
    }

    async fn put_error(&self, key: &str, error: &StoreError) -> PutError {
        let key = key.to_owned();
        let failure = self.failure(error).await;
        if failure.is_final {
            return PutError::Refused {
                key,
                reason: failure.reason,
            };
        }
        if let StoreError::NotFound { .. } = error {
            // Nothing else that a put needs can be missing.
            let advice = self.service.missing_bucket();
            return PutError::Refused {
                key,
                reason: format!("{}; {advice}", failure.reason),
            };
        }
        PutError::Failed {
            key,
            reason: failure.reason,
            slow_down: failure.slow_down,
        }
    }

    /// A refused create: services say so when something is there (412, Azure 409), and S3 also when another
    /// create of the key was under way just then (409) and may have come to nothing. So look.
    async fn conflict(&self, key: &str, path: &Path) -> PutError {
        let key = key.to_owned();
        match self.client.head(path).await {
            Ok(_) => PutError::Exists { key },
            Err(StoreError::NotFound { .. }) => PutError::Failed {
                key,
                reason: "a conflicting write was under way, and nothing is there now".to_owned(),
                slow_down: false,
            },
            Err(error) => self.put_error(&key, &error).await,
        }
    }

    /// The listing of keys with `prefix` after `after`, from the store's own pages.
    fn listing(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> stream::BoxStream<'static, Result<object_store::ObjectMeta, StoreError>> {
        // The store takes whole segments as a prefix; the rest is left out here.
        let segments = prefix.rfind('/').map_or("", |slash| &prefix[..slash]);
        let within = |tail: &str| match (self.prefix.as_str(), tail) {
            ("", tail) => tail.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, tail) => format!("{prefix}/{tail}"),
        };
        let folder = Path::from_iter(within(segments).split('/').filter(|s| !s.is_empty()));
        let after = after.filter(|after| self.lists_in_order && !after.is_empty());
        match after.and_then(|after| Path::parse(within(after)).ok()) {
            Some(offset) => self.client.list_with_offset(Some(&folder), &offset),
            None => self.client.list(Some(&folder)),
        }
    }
}

/// Tries are the business of the retrying wrapper, where they are seen and bounded.
fn no_retries() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

fn client_options() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(3))
        // The retrying wrapper gives up earlier; this one frees connections that hang.
        .with_timeout(Duration::from_secs(60))
        .with_pool_max_idle_per_host(64)
}

/// Adds an object to those that were found, of which only the `limit` smallest keys are kept.
fn keep_smallest(found: &mut BTreeMap<String, u64>, key: String, bytes: u64, limit: usize) {
    found.insert(key, bytes);
    if found.len() > limit {
        found.pop_last();
    }
}

/// Whether the range begins beyond the end: the server said so, or the client when it saw the object's
/// length (Azurite answers such a range with the whole object; that error has no type of its own).
fn is_beyond_end(error: &StoreError) -> bool {
    let text = error.to_string();
    status_of(&text) == Some(416) || text.contains("Wanted range starting at")
}

#[async_trait]
impl ObjectStore for RemoteStore {
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError> {
        let path = self.path(key).map_err(|reason| PutError::Refused {
            key: key.to_owned(),
            reason,
        })?;
        let payload: PutPayload = payload.into_iter().collect();
        let options = PutOptions::from(match mode {
            PutMode::Create => object_store::PutMode::Create,
            PutMode::Overwrite => object_store::PutMode::Overwrite,
        });
        match self.client.put_opts(&path, payload, options).await {
            Ok(_) => Ok(()),
            Err(
                StoreError::AlreadyExists { .. }
                | StoreError::Precondition { .. }
                | StoreError::NotModified { .. },
            ) if mode == PutMode::Create => Err(self.conflict(key, &path).await),
            Err(error) => Err(self.put_error(key, &error).await),
        }
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError> {
        if range.start >= range.end {
            // HTTP has no empty ranges.
            return self.head(key).await.map(|_| Bytes::new());
        }
        let path = self.read_path(key).await?;
        // Some servers count in signed numbers.
        let end = range.end.min(END_MAX.max(range.start.saturating_add(1)));
        let options = GetOptions::new().with_range(Some(range.start..end));
        let read = match self.client.get_opts(&path, options).await {
            Ok(found) => found.bytes().await,
            Err(error) if is_beyond_end(&error) => return Ok(Bytes::new()),
            Err(error) => Err(error),
        };
        match read {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(self.get_error(key, &error).await),
        }
    }

    async fn get(&self, key: &str) -> Result<Bytes, GetError> {
        let path = self.read_path(key).await?;
        let read = match self.client.get_opts(&path, GetOptions::new()).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match read {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(self.get_error(key, &error).await),
        }
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, GetError> {
        let path = self.read_path(key).await?;
        match self.client.head(&path).await {
            Ok(meta) => Ok(ObjectMeta {
                key: key.to_owned(),
                bytes: meta.size,
            }),
            Err(error) => Err(self.get_error(key, &error).await),
        }
    }

    async fn delete(&self, keys: &[String]) -> Result<(), DeleteError> {
        let mut left: BTreeSet<String> = keys
            .iter()
            .filter(|key| self.path(key).is_ok())
            .cloned()
            .collect();
        let paths: Vec<_> = left
            .iter()
            .filter_map(|key| self.path(key).ok())
            .map(Ok)
            .collect();
        let mut deleted = self.client.delete_stream(stream::iter(paths).boxed());
        let mut reason = String::new();
        while let Some(result) = deleted.next().await {
            match result {
                Ok(path) => {
                    self.key(&path).map(|key| left.remove(&key));
                }
                Err(StoreError::NotFound { path, .. }) => {
                    let key = Path::parse(path).ok().and_then(|path| self.key(&path));
                    key.map(|key| left.remove(&key));
                }
                Err(error) => reason = self.failure(&error).await.reason,
            }
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(DeleteError {
                keys: left.into_iter().collect(),
                reason,
            })
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ListError> {
        let mut listing = self.listing(prefix, after);
        let mut found = BTreeMap::new();
        loop {
            let next = match listing.try_next().await {
                Ok(next) => next,
                Err(error) => {
                    return Err(ListError {
                        prefix: prefix.to_owned(),
                        reason: self.failure(&error).await.reason,
                    });
                }
            };
            let Some(meta) = next else { break };
            let Some(key) = self.key(&meta.location) else {
                continue;
            };
            if key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after) {
                keep_smallest(&mut found, key, meta.size, limit);
                if self.lists_in_order && found.len() >= limit {
                    break;
                }
            } else if self.lists_in_order && key.as_str() > prefix && !key.starts_with(prefix) {
                break;
            }
        }
        let found = found.into_iter();
        Ok(found
            .map(|(key, bytes)| ObjectMeta { key, bytes })
            .collect())
    }

    async fn begin_upload(&self, key: &str) -> Result<Box<dyn Upload>, PutError> {
        Ok(Box::new(self.upload(key).await?))
    }

    /// Of S3 only. Azure forgets parts after a week; Google Cloud Storage where a lifecycle rule says so.
    async fn unfinished_uploads(
        &self,
        prefix: &str,
        after: Option<&UnfinishedUpload>,
        limit: usize,
    ) -> Result<Vec<UnfinishedUpload>, ListError> {
        // Boxed: the SDK's futures are large.
        Box::pin(self.list_uploads(prefix, after, limit)).await
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), DeleteError> {
        self.abort(&upload.key, &upload.id)
            .await
            .map_err(|error| DeleteError {
                keys: vec![upload.key.clone()],
                reason: error.to_string(),
            })
    }

    fn priced_per_request(&self) -> bool {
        self.priced
    }

    fn describe(&self) -> String {
        match self.prefix.as_str() {
            "" => self.bucket_url(),
            prefix => format!("{}/{prefix}", self.bucket_url()),
        }
    }
}

#[cfg(test)]
mod azurite;
#[cfg(test)]
mod fake_gcs;
#[cfg(test)]
pub(crate) mod moto;
#[cfg(test)]
mod server_process;
#[cfg(test)]
mod tests;
