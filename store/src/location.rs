//! From a URL to a store with its wrappers.

use std::{path::PathBuf, sync::Arc};

use crate::{
    faults::{Faults, FaultyStore},
    folder::{FolderError, FolderStore},
    hedge::{HedgePolicy, HedgingStore},
    memory::MemoryStore,
    metrics::MeasuredStore,
    port::ObjectStore,
    remote::{AzureSettings, GoogleSettings, RemoteError, S3Settings},
    retry::{RetryPolicy, RetryingStore},
    runtime::Ports,
};

mod bucket_url;

/// Where a bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `mem://`: in memory, gone with the process.
    Memory,
    /// `file:///absolute/path` or `file://relative/path`.
    Folder(PathBuf),
    /// `s3://bucket/prefix?region=..&endpoint=..&path_style=..&allow_http=..&priced=..`.
    S3(S3Settings),
    /// `gs://bucket/prefix?endpoint=..&allow_http=..&priced=..`: Google Cloud Storage.
    Google(GoogleSettings),
    /// `az://container/prefix?account=..&endpoint=..&allow_http=..&priced=..`: Azure Blob Storage.
    Azure(AzureSettings),
}

/// Why a URL is no location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bucket URL {url:?}: {reason}")]
pub struct LocationError {
    /// What was given, without credentials.
    pub url: String,
    /// What is wrong, and what to do about it.
    pub reason: String,
}

/// Why a bucket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is wrong.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The bucket cannot be used.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl std::str::FromStr for Location {
    type Err = LocationError;

    fn from_str(url: &str) -> Result<Self, LocationError> {
        let error = |reason: String| LocationError {
            url: bucket_url::without_credentials(url),
            reason,
        };
        match url.split_once("://") {
            Some(("mem", "")) => Ok(Self::Memory),
            Some(("mem", _)) => Err(error("nothing comes after mem://".to_owned())),
            Some(("file", "")) => Err(error("no path is given: file:///path/to/folder".to_owned())),
            Some(("file", path)) => Ok(Self::Folder(path.into())),
            Some(("s3", _)) => bucket_url::s3(url).map(Self::S3).map_err(error),
            Some(("gs", _)) => bucket_url::google(url).map(Self::Google).map_err(error),
            Some(("az", _)) => bucket_url::azure(url).map(Self::Azure).map_err(error),
            Some((scheme, _)) => Err(error(format!(
                "{scheme}:// is not known; there are s3://bucket/prefix, gs://bucket/prefix, \
                 az://container/prefix, file:///folder and mem://"
            ))),
            None => Err(error(
                "no scheme; write s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, \
                 file:///folder or mem://"
                    .to_owned(),
            )),
        }
    }
}

/// What lies around a store.
#[derive(Clone, Debug)]
pub struct Wrapping {
    /// How failures are tried again.
    pub retry: RetryPolicy,
    /// When slow requests get a second one; None = never. What lies in a folder or in memory is asked
    /// once, whatever this says: it is the same disk.
    pub hedge: Option<HedgePolicy>,
    /// Faults to inject (tests).
    pub faults: Option<Faults>,
}

impl Default for Wrapping {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            hedge: Some(HedgePolicy::default()),
            faults: None,
        }
    }
}

impl Wrapping {
    /// Puts the wrappers around `store`, from the inside out: faults, where wanted; metrics, which
    /// see every request; hedging, of every try; retries.
    #[must_use]
    pub fn around(self, store: Arc<dyn ObjectStore>, ports: &Ports) -> Arc<dyn ObjectStore> {
        let store = match self.faults {
            Some(faults) => Arc::new(FaultyStore::new(store, ports.clone(), faults)),
            None => store,
        };
        let store: Arc<dyn ObjectStore> =
            Arc::new(MeasuredStore::new(store, Arc::clone(&ports.clock)));
        let store: Arc<dyn ObjectStore> = match self.hedge {
            Some(policy) => Arc::new(HedgingStore::new(store, ports.clone(), policy)),
            None => store,
        };
        Arc::new(RetryingStore::new(store, ports.clone(), self.retry))
    }
}

/// Opens the bucket at `url` with its wrappers. For buckets in the cloud no request is made yet.
pub async fn open(
    url: &str,
    ports: &Ports,
    mut wrapping: Wrapping,
) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let store: Arc<dyn ObjectStore> = match url.parse::<Location>()? {
        Location::Memory => {
            wrapping.hedge = None;
            Arc::new(MemoryStore::new())
        }
        Location::Folder(path) => {
            wrapping.hedge = None;
            Arc::new(FolderStore::open(path)?)
        }
        Location::S3(settings) => Arc::new(settings.open(Arc::clone(&ports.clock)).await?),
        Location::Google(settings) => Arc::new(settings.open()?),
        Location::Azure(settings) => Arc::new(settings.open()?),
    };
    Ok(wrapping.around(store, ports))
}

#[cfg(test)]
mod tests;
