//! The buckets and what is in them, behind one lock: whatever is decided under it is atomic.

use std::{
    collections::BTreeMap,
    ops::Bound,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use s3s::dto::LifecycleRule;

use crate::clock::{self, Instant};

/// Why an operation did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    InvalidPart,
    PreconditionFailed,
    Full { bytes_max: u64 },
}

/// A condition on a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    /// If-None-Match: *
    Absent,
    /// If-Match
    Is(String),
}

/// One state of an object.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) bytes: Bytes,
    pub(crate) etag: String,
    pub(crate) modified: SystemTime,
    visible_at: Instant,
}

#[derive(Clone, Debug)]
struct Entry {
    current: Version,
    /// What readers see until the current one shows.
    before: Option<Version>,
}

impl Entry {
    fn seen(&self, now: Instant) -> Option<&Version> {
        if self.current.visible_at <= now {
            Some(&self.current)
        } else {
            self.before.as_ref()
        }
    }
}

#[derive(Debug)]
struct Upload {
    key: String,
    parts: BTreeMap<i32, (Bytes, String)>,
}

#[derive(Debug, Default)]
struct Bucket {
    objects: BTreeMap<String, Entry>,
    uploads: BTreeMap<String, Upload>,
    lifecycle: Option<Vec<LifecycleRule>>,
    versioning: Option<String>,
}

#[derive(Debug, Default)]
struct Inner {
    buckets: BTreeMap<String, Bucket>,
    bytes: u64,
    counter: u64,
}

impl Inner {
    fn bucket(&mut self, name: &str) -> Result<&mut Bucket, Refusal> {
        self.buckets.get_mut(name).ok_or(Refusal::NoSuchBucket)
    }

    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Takes room for bytes.
    fn take(&mut self, bytes: u64, bytes_max: u64) -> Result<(), Refusal> {
        let after = self.bytes.saturating_add(bytes);
        if after > bytes_max {
            return Err(Refusal::Full { bytes_max });
        }
        self.bytes = after;
        Ok(())
    }

    fn free(&mut self, version: Option<&Version>) {
        let bytes = version.map_or(0, |version| length(&version.bytes));
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// A page of a listing.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) objects: Vec<(String, Version)>,
    pub(crate) prefixes: Vec<String>,
    /// Where the next page begins (after this key or prefix); None = this was the last.
    pub(crate) next: Option<String>,
}

/// What a listing asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listing<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) delimiter: &'a str,
    pub(crate) after: &'a str,
    pub(crate) limit: usize,
}

/// All buckets.
#[derive(Debug)]
pub(crate) struct Objects {
    inner: Mutex<Inner>,
    bytes_max: u64,
}

pub(crate) fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl Objects {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            inner: Mutex::default(),
            bytes_max,
        }
    }

    /// Makes a bucket; false = it is there.
    pub(crate) fn create_bucket(&self, name: &str) -> bool {
        let mut inner = self.inner.lock();
        if inner.buckets.contains_key(name) {
            return false;
        }
        inner.buckets.insert(name.to_owned(), Bucket::default());
        true
    }

    pub(crate) fn has_bucket(&self, name: &str) -> bool {
        self.inner.lock().buckets.contains_key(name)
    }

    /// Objects and their bytes in one bucket, shown or not.
    pub(crate) fn totals(&self, bucket: &str) -> Option<(usize, u64)> {
        let inner = self.inner.lock();
        let objects = &inner.buckets.get(bucket)?.objects;
        let bytes = objects.values().map(|o| length(&o.current.bytes)).sum();
        Some((objects.len(), bytes))
    }

    /// Writes an object; it shows `late` from now. Returns its entity tag.
    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        bytes: Bytes,
        condition: &Condition,
        late: Duration,
    ) -> Result<String, Refusal> {
        let now = clock::now();
        let mut inner = self.inner.lock();
        let entry = inner.bucket(bucket)?.objects.get(key);
        match (condition, entry) {
            (Condition::Always, _) | (Condition::Absent, None) => {}
            (Condition::Is(_), None) => return Err(Refusal::NoSuchKey),
            (Condition::Is(etag), Some(there)) if there.current.etag == *etag => {}
            (Condition::Absent | Condition::Is(_), Some(_)) => {
                return Err(Refusal::PreconditionFailed);
            }
        }
        inner.take(length(&bytes), self.bytes_max)?;
        let etag = format!("{:032x}", inner.next());
        let current = Version {
            bytes,
            etag: etag.clone(),
            modified: clock::wall(),
            visible_at: now + late,
        };
        let old = inner.bucket(bucket)?.objects.remove(key);
        inner.free(old.as_ref().map(|old| &old.current));
        let before = old
            .filter(|_| !late.is_zero())
            .and_then(|old| old.seen(now).cloned());
        let entry = Entry { current, before };
        inner.bucket(bucket)?.objects.insert(key.to_owned(), entry);
        Ok(etag)
    }

    pub(crate) fn get(&self, bucket: &str, key: &str) -> Result<Version, Refusal> {
        let now = clock::now();
        let mut inner = self.inner.lock();
        let entry = inner.bucket(bucket)?.objects.get(key);
        let seen = entry.and_then(|entry| entry.seen(now));
        seen.cloned().ok_or(Refusal::NoSuchKey)
    }

    pub(crate) fn delete(&self, bucket: &str, key: &str) -> Result<(), Refusal> {
        let mut inner = self.inner.lock();
        let old = inner.bucket(bucket)?.objects.remove(key);
        inner.free(old.as_ref().map(|old| &old.current));
        Ok(())
    }

    pub(crate) fn list(&self, bucket: &str, wanted: Listing<'_>) -> Result<Page, Refusal> {
        let now = clock::now();
        let mut inner = self.inner.lock();
        let objects = &inner.bucket(bucket)?.objects;
        let from = wanted.after.max(wanted.prefix);
        let range = objects.range::<str, _>((Bound::Included(from), Bound::Unbounded));
        let mut page = Page::default();
        let mut last = "";
        for (key, entry) in range.take_while(|(key, _)| key.starts_with(wanted.prefix)) {
            let Some(version) = entry.seen(now) else {
                continue;
            };
            let folded = fold(key, wanted);
            let name = folded.unwrap_or(key);
            if (!wanted.after.is_empty() && name <= wanted.after) || name == last {
                continue;
            }
            if page.objects.len() + page.prefixes.len() >= wanted.limit {
                page.next = Some(last.to_owned());
                break;
            }
            match folded {
                Some(prefix) => page.prefixes.push(prefix.to_owned()),
                None => page.objects.push((key.clone(), version.clone())),
            }
            last = name;
        }
        Ok(page)
    }

    pub(crate) fn begin_upload(&self, bucket: &str, key: &str) -> Result<String, Refusal> {
        let mut inner = self.inner.lock();
        let id = format!("upload-{:016}", inner.next());
        let upload = Upload {
            key: key.to_owned(),
            parts: BTreeMap::new(),
        };
        inner.bucket(bucket)?.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    pub(crate) fn put_part(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        number: i32,
        bytes: Bytes,
    ) -> Result<String, Refusal> {
        let mut inner = self.inner.lock();
        let found = inner.bucket(bucket)?.uploads.get(upload);
        if found.is_none_or(|upload| upload.key != key) {
            return Err(Refusal::NoSuchUpload);
        }
        inner.take(length(&bytes), self.bytes_max)?;
        let etag = format!("{:032x}", inner.next());
        let upload = inner.bucket(bucket)?.uploads.get_mut(upload);
        let upload = upload.ok_or(Refusal::NoSuchUpload)?;
        let old = upload.parts.insert(number, (bytes, etag.clone()));
        let freed = old.map_or(0, |(bytes, _)| length(&bytes));
        inner.bytes = inner.bytes.saturating_sub(freed);
        Ok(etag)
    }

    /// Joins the named parts, which are ascending, to an object.
    pub(crate) fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        parts: &[(i32, String)],
        condition: &Condition,
        late: Duration,
    ) -> Result<String, Refusal> {
        let whole = {
            let mut inner = self.inner.lock();
            let upload = inner.bucket(bucket)?.uploads.get(id);
            let upload = upload.filter(|upload| upload.key == key);
            let upload = upload.ok_or(Refusal::NoSuchUpload)?;
            let ascending = parts.is_sorted_by(|a, b| a.0 < b.0);
            let mut whole = BytesMut::new();
            for (number, etag) in parts {
                match upload.parts.get(number) {
                    Some((bytes, there)) if there == etag && ascending => {
                        whole.extend_from_slice(bytes);
                    }
                    _ => return Err(Refusal::InvalidPart),
                }
            }
            whole.freeze()
        };
        let etag = self.put(bucket, key, whole, condition, late)?;
        // a second completion of the upload, at the same time, has done so already
        match self.abort_upload(bucket, key, id) {
            Ok(()) | Err(Refusal::NoSuchUpload) => Ok(etag),
            Err(refusal) => Err(refusal),
        }
    }

    pub(crate) fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> Result<(), Refusal> {
        let mut inner = self.inner.lock();
        let uploads = &mut inner.bucket(bucket)?.uploads;
        if uploads.get(id).is_none_or(|upload| upload.key != key) {
            return Err(Refusal::NoSuchUpload);
        }
        let upload = uploads.remove(id).ok_or(Refusal::NoSuchUpload)?;
        let freed: u64 = upload.parts.values().map(|(bytes, _)| length(bytes)).sum();
        inner.bytes = inner.bytes.saturating_sub(freed);
        Ok(())
    }

    /// Uploads that are under way, as (key, id), in order, behind `after`; and whether there are more than
    /// `limit`.
    pub(crate) fn uploads(
        &self,
        bucket: &str,
        prefix: &str,
        after: (&str, &str),
        limit: usize,
    ) -> Result<(Vec<(String, String)>, bool), Refusal> {
        let mut inner = self.inner.lock();
        let uploads = &inner.bucket(bucket)?.uploads;
        let mut found: Vec<(String, String)> = uploads
            .iter()
            .map(|(id, upload)| (upload.key.clone(), id.clone()))
            .filter(|(key, id)| key.starts_with(prefix) && (key.as_str(), id.as_str()) > after)
            // Without an id the marker stands for all uploads of its key.
            .filter(|(key, _)| !after.1.is_empty() || key.as_str() != after.0)
            .collect();
        found.sort_unstable();
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    pub(crate) fn lifecycle(&self, bucket: &str) -> Result<Option<Vec<LifecycleRule>>, Refusal> {
        Ok(self.inner.lock().bucket(bucket)?.lifecycle.clone())
    }

    pub(crate) fn set_lifecycle(
        &self,
        bucket: &str,
        rules: Option<Vec<LifecycleRule>>,
    ) -> Result<(), Refusal> {
        self.inner.lock().bucket(bucket)?.lifecycle = rules;
        Ok(())
    }

    pub(crate) fn versioning(&self, bucket: &str) -> Result<Option<String>, Refusal> {
        Ok(self.inner.lock().bucket(bucket)?.versioning.clone())
    }

    pub(crate) fn set_versioning(
        &self,
        bucket: &str,
        status: Option<String>,
    ) -> Result<(), Refusal> {
        self.inner.lock().bucket(bucket)?.versioning = status;
        Ok(())
    }
}

/// The common prefix that a key is shown as, where there is one.
fn fold<'a>(key: &'a str, wanted: Listing<'_>) -> Option<&'a str> {
    if wanted.delimiter.is_empty() {
        return None;
    }
    let rest = key.get(wanted.prefix.len()..)?;
    let at = rest.find(wanted.delimiter)?;
    key.get(..wanted.prefix.len() + at + wanted.delimiter.len())
}

#[cfg(test)]
mod tests;
