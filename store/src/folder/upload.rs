//! Objects that are written in parts: a file in `.writing` until all are there.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Inner, names, put_error, refusal, sync_folder};
use crate::{
    parts::{self, Parts},
    port::{Payload, PutError, Upload},
};

/// An upload; the file goes when it is dropped.
#[derive(Debug)]
pub(super) struct FolderUpload {
    key: String,
    work: Arc<Work>,
}

#[derive(Debug)]
struct Work {
    inner: Arc<Inner>,
    /// The folder of the object, and its name in it.
    folder: String,
    name: String,
    temporary: PathBuf,
    /// Locked: whoever finds it unlocked knows that its writer is gone.
    file: File,
    parts: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    written: Parts<()>,
    /// It was finished, or aborted.
    ended: bool,
}

impl FolderUpload {
    /// Makes the file. Blocks.
    pub(super) fn begin(inner: Arc<Inner>, key: String) -> io::Result<Self> {
        let (folder, name) = names::of_key(&key).map_err(refusal)?;
        inner.ensure_folder(&folder)?;
        let (temporary, file) = inner.temporary()?;
        Ok(Self {
            key,
            work: Arc::new(Work {
                inner,
                folder,
                name,
                temporary,
                file,
                parts: Mutex::default(),
            }),
        })
    }

    async fn blocking(
        &self,
        work: impl FnOnce(&Work) -> io::Result<()> + Send + 'static,
    ) -> Result<(), PutError> {
        let shared = Arc::clone(&self.work);
        tokio::task::spawn_blocking(move || work(&shared))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| put_error(&self.key, &error))
    }
}

impl Work {
    /// Writes a part to its place. It is on disk before the next one comes, so that the end has little to wait
    /// for.
    fn write(&self, number: u32, payload: &Payload) -> io::Result<()> {
        let mut position = u64::from(number) * parts::part_bytes();
        for piece in payload {
            self.file.write_all_at(piece, position)?;
            position += u64::try_from(piece.len()).map_err(io::Error::other)?;
        }
        self.file.sync_data()
    }

    fn finish(&self, bytes: u64) -> io::Result<()> {
        // A part that was written again may have been longer.
        self.file.set_len(bytes)?;
        self.file.sync_all()?;
        let folder = self.inner.root.join(&self.folder);
        fs::rename(&self.temporary, folder.join(&self.name))?;
        self.parts.lock().ended = true;
        sync_folder(&folder)
    }

    fn abort(&self) -> io::Result<()> {
        let mut state = self.parts.lock();
        if !state.ended {
            state.ended = true;
            fs::remove_file(&self.temporary)?;
        }
        Ok(())
    }

    /// Whether the object is there, whole and on disk.
    fn is_there(&self, bytes: u64) -> io::Result<bool> {
        let folder = self.inner.root.join(&self.folder);
        match fs::metadata(folder.join(&self.name)) {
            Ok(there) if there.len() == bytes => sync_folder(&folder).map(|()| true),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Whether this works does not matter: the next start removes it.
        let _ = self.abort();
    }
}

#[async_trait]
impl Upload for FolderUpload {
    async fn part(&self, number: u32, payload: Payload) -> Result<(), PutError> {
        let bytes = parts::check(&self.key, number, &payload)?;
        if self.work.parts.lock().ended {
            return Err(parts::ended(&self.key));
        }
        self.blocking(move |work| work.write(number, &payload))
            .await?;
        self.work.parts.lock().written.add(number, bytes, ());
        Ok(())
    }

    async fn finish(&self, parts: u32, bytes: u64) -> Result<(), PutError> {
        let ended = {
            let state = self.work.parts.lock();
            if !state.ended {
                state.written.all(&self.key, parts, bytes)?;
            }
            state.ended
        };
        self.blocking(move |work| {
            if ended {
                return match work.is_there(bytes)? {
                    true => Ok(()),
                    false => Err(refusal(
                        "the upload is not there any more: it was finished or aborted".to_owned(),
                    )),
                };
            }
            work.finish(bytes)
        })
        .await
    }

    async fn abort(&self) -> Result<(), PutError> {
        self.blocking(Work::abort).await
    }
}
