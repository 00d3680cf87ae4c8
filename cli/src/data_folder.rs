//! The folder of `aquifer dev`, and the lock that keeps a second process out of it.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};

/// A data folder that this process has for itself, for as long as this lives (or the process does: the
/// system takes the lock back from one that was killed).
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder where it is missing, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let advice = || {
            format!(
                "cannot use data folder {} (give this user the right to write there, or choose \
                 another folder with --data)",
                path.display()
            )
        };
        fs::create_dir_all(path).with_context(advice)?;
        let file = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&file)
            .with_context(advice)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => bail!(
                "another aquifer process uses data folder {}; stop it, or choose another folder \
                 with --data",
                path.display()
            ),
            Err(TryLockError::Error(error)) => Err(anyhow!(error).context(advice())),
        }
    }

    /// Locks a folder that has data, for commands that look at it.
    pub(crate) fn existing(path: &Path) -> Result<Self> {
        if !journal_in(path).is_file() {
            bail!(
                "there is no data of `aquifer dev` in {} (name its folder with --data)",
                path.display()
            );
        }
        Self::open(path)
    }

    /// Where the journal is.
    pub(crate) fn journal(&self) -> PathBuf {
        journal_in(&self.path)
    }

    /// Where the bucket is.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.path.join("bucket")
    }
}

fn journal_in(folder: &Path) -> PathBuf {
    folder.join("metadata").join("journal.db")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_for_one_process() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let first = DataFolder::open(&path).unwrap();
        let error = DataFolder::open(&path).unwrap_err().to_string();
        assert!(error.contains("another"), "{error}");
        assert!(error.contains(&*path.to_string_lossy()), "{error}");
        drop(first);
        DataFolder::open(&path).unwrap();
    }

    #[test]
    fn a_folder_without_data_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("nothing");
        let error = DataFolder::existing(&path).unwrap_err().to_string();
        assert!(error.contains("no data"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_file_in_the_way_is_told() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        fs::write(&path, "").unwrap();
        let error = format!("{:#}", DataFolder::open(&path).unwrap_err());
        assert!(error.contains("--data"), "{error}");
    }
}
