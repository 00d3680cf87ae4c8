//! From a URL to a store with its wrappers.

use std::{path::PathBuf, sync::Arc};

use crate::{
    faults::{Faults, FaultyStore},
    folder::{FolderError, FolderStore},
    hedge::{HedgePolicy, HedgingStore},
    memory::MemoryStore,
    metrics::MeasuredStore,
    port::ObjectStore,
    remote::{RemoteError, RemoteSettings, RemoteStore},
    retry::{RetryPolicy, RetryingStore},
    runtime::Ports,
};

/// Where a bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `mem://`: in memory, gone with the process.
    Memory,
    /// `file:///absolute/path` or `file://relative/path`.
    Folder(PathBuf),
    /// `s3://bucket/prefix?region=..&endpoint=..&path_style=..&allow_http=..&priced=..`.
    Remote(RemoteSettings),
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
            url: without_credentials(url),
            reason,
        };
        match url.split_once("://") {
            Some(("mem", "")) => Ok(Self::Memory),
            Some(("mem", _)) => Err(error("nothing comes after mem://".to_owned())),
            Some(("file", "")) => Err(error("no path is given: file:///path/to/folder".to_owned())),
            Some(("file", path)) => Ok(Self::Folder(path.into())),
            Some(("s3", _)) => remote(url).map(Self::Remote).map_err(error),
            Some((scheme, _)) => Err(error(format!(
                "{scheme}:// is not known; there are s3://bucket/prefix, file:///folder and mem://"
            ))),
            None => Err(error(
                "no scheme; write s3://bucket/prefix, file:///folder or mem://".to_owned(),
            )),
        }
    }
}

/// A URL as it may be shown: keys contain slashes, so everything up to the last @ may be one.
fn without_credentials(url: &str) -> String {
    let parts = url
        .strip_prefix("s3://")
        .and_then(|rest| rest.rsplit_once('@'));
    parts.map_or_else(|| url.to_owned(), |(_, rest)| format!("s3://...@{rest}"))
}

fn remote(url: &str) -> Result<RemoteSettings, String> {
    let parsed = url::Url::parse(url).map_err(|error| error.to_string())?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(
            "credentials do not belong in the URL; the AWS environment or profile has them"
                .to_owned(),
        );
    }
    let bucket = parsed
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or("no bucket is named: s3://bucket/prefix")?;
    if parsed.port().is_some() {
        return Err("the bucket's name comes first; a server goes to ?endpoint=...".to_owned());
    }
    let prefix = parsed.path().trim_matches('/');
    if !prefix.is_empty() {
        crate::keys::check(prefix).map_err(|reason| format!("prefix: {reason}"))?;
    }
    let mut settings = RemoteSettings {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        region: None,
        endpoint: None,
        path_style: None,
        allow_http: None,
        priced: true,
    };
    for (name, value) in parsed.query_pairs() {
        let truth = || {
            value
                .parse()
                .map_err(|_| format!("{name} is true or false, not {value:?}"))
        };
        match &*name {
            "region" => settings.region = Some(value.into_owned()),
            "endpoint" => settings.endpoint = Some(value.into_owned()),
            "path_style" => settings.path_style = Some(truth()?),
            "allow_http" => settings.allow_http = Some(truth()?),
            "priced" => settings.priced = truth()?,
            _ => {
                return Err(format!(
                    "{name:?} is not known; there are region, endpoint, path_style, allow_http \
                     and priced"
                ));
            }
        }
    }
    Ok(settings)
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

/// Opens the bucket at `url` with its wrappers. For s3 no request is made yet.
pub async fn open(
    url: &str,
    ports: &Ports,
    mut wrapping: Wrapping,
) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let location = url.parse::<Location>()?;
    if !matches!(location, Location::Remote(_)) {
        wrapping.hedge = None;
    }
    let store: Arc<dyn ObjectStore> = match location {
        Location::Memory => Arc::new(MemoryStore::new()),
        Location::Folder(path) => Arc::new(FolderStore::open(path)?),
        Location::Remote(settings) => {
            Arc::new(RemoteStore::open(settings, Arc::clone(&ports.clock)).await?)
        }
    };
    Ok(wrapping.around(store, ports))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(bucket: &str, prefix: &str) -> RemoteSettings {
        RemoteSettings {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            region: None,
            endpoint: None,
            path_style: None,
            allow_http: None,
            priced: true,
        }
    }

    #[test]
    fn urls_are_understood() {
        let check = |url: &str, location: Location| assert_eq!(url.parse(), Ok(location), "{url}");
        check("mem://", Location::Memory);
        check("file:///var/x", Location::Folder("/var/x".into()));
        check("file://./x y", Location::Folder("./x y".into()));
        check("s3://b", Location::Remote(remote("b", "")));
        check("s3://b/", Location::Remote(remote("b", "")));
        check("s3://b.c/p/q/", Location::Remote(remote("b.c", "p/q")));
        check(
            "s3://b?region=eu-west-1&endpoint=http://127.0.0.1:9000&path_style=false\
             &allow_http=true&priced=false",
            Location::Remote(RemoteSettings {
                region: Some("eu-west-1".to_owned()),
                endpoint: Some("http://127.0.0.1:9000".to_owned()),
                path_style: Some(false),
                allow_http: Some(true),
                priced: false,
                ..remote("b", "")
            }),
        );
    }

    #[test]
    fn wrong_urls_say_what_is_wrong() {
        for (url, says) in [
            ("", "no scheme"),
            ("/var/x", "no scheme"),
            ("gs://b", "gs:// is not known"),
            ("file://", "no path"),
            ("mem://x", "nothing comes after"),
            ("s3://", "no bucket"),
            ("s3:///p", "no bucket"),
            ("s3://b:9000/p", "?endpoint="),
            ("s3://key:secret@b/p", "credentials"),
            ("s3://key:secret/x@b/p", "port"),
            ("s3://b?regoin=x", "\"regoin\" is not known"),
            ("s3://b?path_style=yes", "true or false"),
            ("s3://b/a//b", "prefix"),
        ] {
            let error = url.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn opened_stores_have_all_wrappers_and_conform() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        for url in [url.as_str(), "mem://"] {
            let store = open(url, &Ports::system(), Wrapping::default())
                .await
                .unwrap();
            assert_eq!(store.describe(), url);
            assert!(!store.priced_per_request());
            crate::conformance::check(store, "o/").await;
        }
    }
}
