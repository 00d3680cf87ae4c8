//! Where an object to be looked at is: a file, or a bucket and a key.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aquifer_format::key::parse_object_key;
use aquifer_store::{Ports, location::Wrapping};
use bytes::Bytes;

use crate::{runtime::wait, usage::usage};

/// How many segments of a path an object's key is.
const KEY_SEGMENTS: usize = 5;

/// An object's bytes, and its key where it is known.
pub(super) fn read(place: &str, key: Option<&str>) -> Result<(Bytes, Option<String>)> {
    let (bucket, key) = match key {
        Some(key) => (bucket_url(place)?, key.to_owned()),
        None => match split(place) {
            Some((bucket, key)) => (bucket_url(&bucket)?, key),
            None if place.contains("://") => {
                return Err(usage(
                    "name the object behind the bucket, as `aquifer topic describe --extents` shows it",
                ));
            }
            None => return Ok((file(Path::new(place))?, None)),
        },
    };
    let ports = Ports::system();
    let bytes = wait(async {
        let store = aquifer_store::open(&bucket, &ports, Wrapping::default()).await?;
        anyhow::Ok(store.get(&key).await?)
    })??;
    Ok((bytes, Some(key)))
}

fn file(path: &Path) -> Result<Bytes> {
    if path.is_dir() {
        bail!(
            "{} is a folder: name a file, or the object's key too",
            path.display()
        );
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes.into())
}

/// The URL of a bucket that may be given as a folder. A folder that is not there is not made.
fn bucket_url(place: &str) -> Result<String> {
    let folder = match place.strip_prefix("file://") {
        Some(folder) => folder,
        None if place.contains("://") => return Ok(place.to_owned()),
        None => place,
    };
    if !Path::new(folder).is_dir() {
        bail!("there is no folder {folder}");
    }
    Ok(format!("file://{folder}"))
}

/// Bucket and key of a URL that ends with an object's key (before the parameters, if it has some).
fn split(place: &str) -> Option<(String, String)> {
    if !place.contains("://") {
        return None;
    }
    let (path, parameters) = match place.split_once('?') {
        Some((path, parameters)) => (path, format!("?{parameters}")),
        None => (place, String::new()),
    };
    let (at, _) = path.rmatch_indices('/').nth(KEY_SEGMENTS - 1)?;
    let (bucket, key) = (path.get(..at)?, path.get(at + 1..)?);
    parse_object_key(key).ok()?;
    Some((format!("{bucket}{parameters}"), key.to_owned()))
}

#[cfg(test)]
mod tests {
    use aquifer_format::{
        ids::{ClusterId, Incarnation, ObjectId, ObjectLevel, UploadEpoch, WriterSlot},
        key::object_key,
    };
    use aquifer_store::{ObjectStore, PutMode, folder::FolderStore};

    use super::*;

    fn key() -> String {
        let id = ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(2),
            writer: WriterSlot(3),
            level: ObjectLevel::L0,
            unique: 4,
        };
        // Any cluster will do.
        let marker = "AQIDBAUGBwgJCgsMDQ4PEA";
        let cluster: ClusterId = aquifer_format::key::parse_cluster_id(marker).unwrap();
        object_key(cluster, &id)
    }

    #[test]
    fn urls_end_with_a_key_or_do_not() {
        let key = key();
        for (place, bucket) in [
            (format!("s3://b/p/{key}"), Some("s3://b/p")),
            (
                format!("s3://b/{key}?endpoint=http://h:1/x"),
                Some("s3://b?endpoint=http://h:1/x"),
            ),
            (format!("gs://b/p/{key}"), Some("gs://b/p")),
            (format!("az://c/{key}?account=a"), Some("az://c?account=a")),
            (format!("file:///a/b/{key}"), Some("file:///a/b")),
            (format!("s3://b/{}", &key[1..]), None),
            ("s3://b/p".to_owned(), None),
            (format!("/a/{key}"), None),
        ] {
            let expected = bucket.map(|bucket| (bucket.to_owned(), key.clone()));
            assert_eq!(split(&place), expected, "{place}");
        }
    }

    #[test]
    fn objects_are_read_from_files_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"bytes").unwrap();
        let (bytes, key_of_file) = read(path.to_str().unwrap(), None).unwrap();
        assert_eq!((&bytes[..], key_of_file), (&b"bytes"[..], None));

        let bucket = folder.path().join("bucket");
        let (bucket_text, key) = (bucket.to_str().unwrap().to_owned(), key());
        let missing = read(&bucket_text, Some(&key)).unwrap_err().to_string();
        assert!(missing.contains("no folder"), "{missing}");
        assert!(!bucket.exists());
        let store = FolderStore::open(&bucket).unwrap();
        let put = store.put(&key, vec![Bytes::from_static(b"x")], PutMode::Create);
        wait(put).unwrap().unwrap();
        for (place, given) in [
            (bucket_text.clone(), Some(key.as_str())),
            (format!("file://{bucket_text}"), Some(key.as_str())),
            (format!("file://{bucket_text}/{key}"), None),
        ] {
            let (bytes, found) = read(&place, given).unwrap();
            assert_eq!(
                (&bytes[..], found.as_deref()),
                (&b"x"[..], Some(key.as_str()))
            );
        }
        let folder = read(&bucket_text, None).unwrap_err().to_string();
        assert!(folder.contains("is a folder"), "{folder}");
        let unnamed = read("s3://b/p", None).unwrap_err().to_string();
        assert!(unnamed.contains("behind the bucket"), "{unnamed}");
    }
}
