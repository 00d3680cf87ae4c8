//! Objects that are written in parts.

use std::sync::OnceLock;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use object_store::{Error as StoreError, PutPayload, multipart::PartId, path::Path};
use parking_lot::Mutex;

use super::{RemoteStore, connection::Connection, failure::chain};
use crate::{
    parts::{self, Parts},
    port::{GetError, ListError, ObjectStore, Payload, PutError, UnfinishedUpload, Upload},
};

/// Most uploads in one page of their listing (S3's limit).
const PAGE_MAX: usize = 1_000;

/// The SDK's client, made when it is wanted: few processes list uploads.
#[derive(Debug)]
pub(super) struct Sdk {
    connection: Connection,
    client: OnceLock<Client>,
}

impl Sdk {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            client: OnceLock::new(),
        }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| self.connection.client())
    }
}

/// An upload of S3, Google Cloud Storage or Azure.
#[derive(Debug)]
pub(super) struct RemoteUpload {
    store: RemoteStore,
    key: String,
    path: Path,
    id: String,
    parts: Mutex<Parts<PartId>>,
}

impl RemoteStore {
    pub(super) async fn upload(&self, key: &str) -> Result<RemoteUpload, PutError> {
        let path = self
            .path(key)
            .map_err(|reason| parts::refused(key, reason))?;
        match self.client.create_multipart(&path).await {
            Ok(id) => Ok(RemoteUpload {
                store: self.clone(),
                key: key.to_owned(),
                path,
                id,
                parts: Mutex::default(),
            }),
            Err(error) => Err(self.put_error(key, &error).await),
        }
    }

    pub(super) async fn abort(&self, key: &str, id: &str) -> Result<(), PutError> {
        let Ok(path) = self.path(key) else {
            return Ok(());
        };
        let aborted = self.client.abort_multipart(&path, &id.to_owned()).await;
        let Err(error) = aborted else {
            return Ok(());
        };
        if self.has_ended(&error).await {
            return Ok(());
        }
        Err(self.put_error(key, &error).await)
    }

    /// Whether the error says that there is no such upload (any more).
    async fn has_ended(&self, error: &StoreError) -> bool {
        let missing = matches!(error, StoreError::NotFound { .. });
        missing && !self.failure(error).await.is_final
    }

    /// The error of a part, or of the end.
    async fn upload_error(&self, key: &str, error: &StoreError) -> PutError {
        if self.has_ended(error).await {
            parts::ended(key)
        } else {
            self.put_error(key, error).await
        }
    }

    /// `tail` behind the prefix of the store's keys.
    fn below_prefix(&self, tail: &str) -> String {
        match self.prefix.as_str() {
            "" => tail.to_owned(),
            prefix => format!("{prefix}/{tail}"),
        }
    }

    pub(super) async fn list_uploads(
        &self,
        prefix: &str,
        after: Option<&UnfinishedUpload>,
        limit: usize,
    ) -> Result<Vec<UnfinishedUpload>, ListError> {
        let Some(sdk) = &self.sdk else {
            return Ok(Vec::new());
        };
        let below = self.below_prefix("");
        let mut key_marker = after.map(|after| self.below_prefix(&after.key));
        let mut id_marker = after.map(|after| after.id.clone());
        let mut found = Vec::new();
        while found.len() < limit {
            let most = (limit - found.len()).min(PAGE_MAX);
            let page = sdk
                .client()
                .list_multipart_uploads()
                .bucket(&self.bucket)
                .prefix(self.below_prefix(prefix))
                .max_uploads(i32::try_from(most).unwrap_or(i32::MAX))
                .set_key_marker(key_marker)
                .set_upload_id_marker(id_marker)
                .send()
                .await
                .map_err(|error| ListError {
                    prefix: prefix.to_owned(),
                    reason: chain(&error),
                })?;
            let uploads = page.uploads().iter().filter_map(|upload| {
                Some(UnfinishedUpload {
                    key: upload.key()?.strip_prefix(&below)?.to_owned(),
                    id: upload.upload_id()?.to_owned(),
                })
            });
            found.extend(uploads.take(most));
            key_marker = page.next_key_marker().map(str::to_owned);
            id_marker = page.next_upload_id_marker().map(str::to_owned);
            if !page.is_truncated().unwrap_or(false) || key_marker.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl Upload for RemoteUpload {
    async fn part(&self, number: u32, payload: Payload) -> Result<(), PutError> {
        let bytes = parts::check(&self.key, number, &payload)?;
        let index = usize::try_from(number).expect("32 bits fit");
        let payload: PutPayload = payload.into_iter().collect();
        let client = &self.store.client;
        match client.put_part(&self.path, &self.id, index, payload).await {
            Ok(part) => {
                self.parts.lock().add(number, bytes, part);
                Ok(())
            }
            Err(error) => Err(self.store.upload_error(&self.key, &error).await),
        }
    }

    async fn finish(&self, parts: u32, bytes: u64) -> Result<(), PutError> {
        let all = self.parts.lock().all(&self.key, parts, bytes)?;
        let client = &self.store.client;
        let finished = client.complete_multipart(&self.path, &self.id, all).await;
        let Err(error) = finished else {
            return Ok(());
        };
        // The try before may have done it, or this one, with its answer lost.
        match self.store.head(&self.key).await {
            Ok(there) if there.bytes == bytes => Ok(()),
            Err(GetError::Failed {
                key,
                reason,
                slow_down,
            }) => Err(PutError::Failed {
                key,
                reason,
                slow_down,
            }),
            Ok(_) | Err(GetError::NotFound { .. } | GetError::Refused { .. }) => {
                Err(self.store.upload_error(&self.key, &error).await)
            }
        }
    }

    async fn abort(&self) -> Result<(), PutError> {
        self.store.abort(&self.key, &self.id).await
    }
}
