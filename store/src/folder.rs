//! A bucket in a local folder, as durable as the disk under it.
//!
//! Layout: an object lies in `{first two characters of its key}/{its name}`, where the name is the
//! whole key with `/` written as `~` (see [`names`]). Not a folder per segment: keys begin with a hash
//! and name the minute, so nearly every object would need four new folders, and each must reach the
//! disk in its parent before the object counts as written (measured on ext4: 7.8 ms per put; one flat
//! folder: 0.7 ms). Two characters keep one folder's listing short.
//!
//! A put writes a file in `.writing`, syncs it, gives it its name by a hard link (create: the file
//! system lets exactly one of many win) or a rename (overwrite), and syncs the folder. An upload in parts is
//! such a file, too, whose parts are written in place.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, ErrorKind, IoSlice, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    keys,
    port::{
        DeleteError, GetError, ListError, ObjectMeta, ObjectStore, Payload, PutError, PutMode,
        UnfinishedUpload, Upload,
    },
};

mod names;
mod upload;

/// Where files lie while they are written. No key's folder has this name: it has more than two
/// characters.
const WRITING: &str = ".writing";

/// Why a folder cannot be used as a bucket.
#[derive(Debug, thiserror::Error)]
#[error("cannot use folder {} as a bucket: {reason}", path.display())]
pub struct FolderError {
    /// The folder.
    pub path: PathBuf,
    /// What is wrong, and what to do about it.
    pub reason: String,
}

/// A bucket in a folder. Clones share it.
#[derive(Clone, Debug)]
pub struct FolderStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Folders of which it is known that their own entry in the root is on disk.
    synced: Mutex<BTreeSet<String>>,
    next_temporary: AtomicU64,
}

impl FolderStore {
    /// Opens the folder, making it where it is missing, checks that it can be written to and removes
    /// what writers that died have left half done. Blocks for a few disk accesses.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, FolderError> {
        let root = root.into();
        let inner = Inner {
            root: root.clone(),
            synced: Mutex::new(BTreeSet::new()),
            next_temporary: AtomicU64::new(0),
        };
        inner.prepare().map_err(|error| FolderError {
            path: root,
            reason: explain(&error),
        })?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

impl Inner {
    fn prepare(&self) -> io::Result<()> {
        create_synced(&self.root)?;
        let writing = self.root.join(WRITING);
        create_synced(&writing)?;
        for entry in fs::read_dir(&writing)? {
            remove_if_abandoned(&entry?.path())?;
        }
        // Tells of a missing right now, not at the first produce request.
        let (probe, file) = self.temporary()?;
        drop(file);
        fs::remove_file(probe)
    }

    /// A new file in `.writing`, locked: whoever finds it unlocked knows that its writer is gone.
    fn temporary(&self) -> io::Result<(PathBuf, File)> {
        loop {
            let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
            let path = self
                .root
                .join(WRITING)
                .join(format!("{}-{number}", std::process::id()));
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    file.lock()?;
                    return Ok((path, file));
                }
                // Another container may have our process id, in the same folder.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn put(&self, key: &str, payload: Payload, mode: PutMode) -> io::Result<()> {
        let (folder, name) = names::of_key(key).map_err(refusal)?;
        self.ensure_folder(&folder)?;
        let folder = self.root.join(folder);
        let target = folder.join(name);
        if mode == PutMode::Create && target.try_exists()? {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let (temporary, mut file) = self.temporary()?;
        let written = write_all(&mut file, payload)
            .and_then(|()| file.sync_all())
            .and_then(|()| match mode {
                PutMode::Create => fs::hard_link(&temporary, &target),
                PutMode::Overwrite => fs::rename(&temporary, &target),
            });
        if mode == PutMode::Create || written.is_err() {
            // Whether this works does not matter: the next start removes it.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        sync_folder(&folder)
    }

    /// Makes the folder and returns once its entry in the root is on disk, whoever made it.
    fn ensure_folder(&self, folder: &str) -> io::Result<()> {
        if self.synced.lock().contains(folder) {
            return Ok(());
        }
        match fs::create_dir(self.root.join(folder)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        sync_folder(&self.root)?;
        self.synced.lock().insert(folder.to_owned());
        Ok(())
    }

    fn open(&self, key: &str) -> io::Result<File> {
        let (folder, name) =
            names::of_key(key).map_err(|_| io::Error::from(ErrorKind::NotFound))?;
        File::open(self.root.join(folder).join(name))
    }

    fn read(&self, key: &str, range: &Range<u64>) -> io::Result<Bytes> {
        let file = self.open(key)?;
        let range = keys::cut(range, file.metadata()?.len());
        let bytes = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut buffer = vec![0; bytes];
        file.read_exact_at(&mut buffer, range.start)?;
        Ok(buffer.into())
    }

    fn delete(&self, keys: &[String]) -> Result<(), DeleteError> {
        let mut left = Vec::new();
        let mut reason = String::new();
        let mut touched = BTreeSet::new();
        for key in keys {
            // A key that no file can have is not there.
            let Ok((folder, name)) = names::of_key(key) else {
                continue;
            };
            match fs::remove_file(self.root.join(&folder).join(name)) {
                Ok(()) => {
                    touched.insert(folder);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    reason = explain(&error);
                    left.push(key.clone());
                }
            }
        }
        for folder in touched {
            if let Err(error) = sync_folder(&self.root.join(&folder)) {
                reason = explain(&error);
                let in_folder = |key: &&String| names::of_key(key).is_ok_and(|(f, _)| f == folder);
                left.extend(keys.iter().filter(in_folder).cloned());
            }
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(DeleteError { keys: left, reason })
        }
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        for folder in self.folders_of(prefix, after)? {
            let mut here = Vec::new();
            for entry in fs::read_dir(self.root.join(folder))? {
                let entry = entry?;
                let name = entry.file_name();
                // Files that no put of ours has made (an editor's backup, say) are no objects.
                let Some(key) = name.to_str().and_then(names::to_key) else {
                    continue;
                };
                if key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after) {
                    here.push((key, entry));
                }
            }
            here.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            for (key, entry) in here {
                if found.len() == limit {
                    return Ok(found);
                }
                match entry.metadata() {
                    Ok(meta) => found.push(ObjectMeta {
                        key,
                        bytes: meta.len(),
                    }),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }

    /// Folders that can hold keys with `prefix` after `after`, in the order of their keys.
    fn folders_of(&self, prefix: &str, after: Option<&str>) -> io::Result<Vec<String>> {
        let wanted = names::folder_characters(prefix);
        let from = after.map(names::folder_characters);
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(characters) = name.to_str().and_then(names::folder_to_characters)
                && entry.file_type()?.is_dir()
                && characters.starts_with(&wanted)
                && from.as_ref().is_none_or(|from| characters >= *from)
            {
                folders.push((characters, name.to_string_lossy().into_owned()));
            }
        }
        folders.sort_unstable();
        Ok(folders.into_iter().map(|(_, folder)| folder).collect())
    }
}

fn refusal(reason: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, reason)
}

/// Writes the pieces without copying them together.
fn write_all(file: &mut File, payload: Payload) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = payload.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = slices.as_mut_slice();
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes a folder and its missing parents, each on disk in its own parent.
fn create_synced(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                create_synced(parent)?;
            }
            fs::create_dir(path)?;
        }
        Err(error) => return Err(error),
    }
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        // A parent that may be entered but not read cannot be opened to be synced: that is how
        // system folders such as `/` can be set up, and the folder was made long ago then.
        Some(parent) => sync_folder(parent).or_else(|error| match error.kind() {
            ErrorKind::PermissionDenied => Ok(()),
            _ => Err(error),
        }),
        None => Ok(()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes a file in `.writing` if its writer (which holds a lock on it) is gone.
fn remove_if_abandoned(path: &Path) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if file.try_lock().is_err() {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether doing it again cannot help before somebody has changed something.
fn is_final(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename
            | ErrorKind::NotADirectory
            | ErrorKind::Unsupported
    )
}

/// What happened, with what to do where that is known.
fn explain(error: &io::Error) -> String {
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => {
            "give this user the right to read and write it, or name another folder"
        }
        ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on the disk",
        ErrorKind::Unsupported => "the file system has no hard links; use another one",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "a file of that name is in the way",
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}

fn put_error(key: &str, error: &io::Error) -> PutError {
    let key = key.to_owned();
    match error.kind() {
        ErrorKind::AlreadyExists => PutError::Exists { key },
        _ if is_final(error) => PutError::Refused {
            key,
            reason: explain(error),
        },
        _ => PutError::Failed {
            key,
            reason: explain(error),
            slow_down: false,
        },
    }
}

fn get_error(key: &str, error: &io::Error) -> GetError {
    let key = key.to_owned();
    match error.kind() {
        ErrorKind::NotFound => GetError::NotFound { key },
        _ if is_final(error) => GetError::Refused {
            key,
            reason: explain(error),
        },
        _ => GetError::Failed {
            key,
            reason: explain(error),
            slow_down: false,
        },
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn put(&self, key: &str, payload: Payload, mode: PutMode) -> Result<(), PutError> {
        let owned = key.to_owned();
        self.blocking(move |inner| inner.put(&owned, payload, mode))
            .await
            .map_err(|error| put_error(key, &error))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, GetError> {
        let owned = key.to_owned();
        self.blocking(move |inner| inner.read(&owned, &range))
            .await
            .map_err(|error| get_error(key, &error))
    }

    async fn get(&self, key: &str) -> Result<Bytes, GetError> {
        self.get_range(key, 0..u64::MAX).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, GetError> {
        let owned = key.to_owned();
        self.blocking(move |inner| inner.open(&owned)?.metadata())
            .await
            .map(|meta| ObjectMeta {
                key: key.to_owned(),
                bytes: meta.len(),
            })
            .map_err(|error| get_error(key, &error))
    }

    async fn delete(&self, keys: &[String]) -> Result<(), DeleteError> {
        let owned = keys.to_vec();
        self.blocking(move |inner| Ok(inner.delete(&owned)))
            .await
            .unwrap_or_else(|error| {
                Err(DeleteError {
                    keys: keys.to_vec(),
                    reason: error.to_string(),
                })
            })
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ListError> {
        let (owned, from) = (prefix.to_owned(), after.map(str::to_owned));
        self.blocking(move |inner| inner.list(&owned, from.as_deref(), limit))
            .await
            .map_err(|error| ListError {
                prefix: prefix.to_owned(),
                reason: explain(&error),
            })
    }

    async fn begin_upload(&self, key: &str) -> Result<Box<dyn Upload>, PutError> {
        let (inner, owned) = (Arc::clone(&self.inner), key.to_owned());
        let begun = self
            .blocking(move |_| upload::FolderUpload::begin(inner, owned))
            .await;
        match begun {
            Ok(upload) => Ok(Box::new(upload)),
            Err(error) => Err(put_error(key, &error)),
        }
    }

    /// None: an upload goes with whoever is at it, at the latest when the folder is opened the next time.
    async fn unfinished_uploads(
        &self,
        _prefix: &str,
        _after: Option<&UnfinishedUpload>,
        _limit: usize,
    ) -> Result<Vec<UnfinishedUpload>, ListError> {
        Ok(Vec::new())
    }

    async fn abort_upload(&self, _upload: &UnfinishedUpload) -> Result<(), DeleteError> {
        Ok(())
    }

    fn priced_per_request(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("file://{}", self.inner.root.display())
    }
}

#[cfg(test)]
mod tests;
