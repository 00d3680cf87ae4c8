//! Where keys go that do not fit into the memory.

use std::{fmt::Debug, io, path::PathBuf};

/// Files that one job writes from their beginning and reads back, gone with the process. Numbers are the
/// caller's.
pub trait Spill: Send + Debug {
    /// Appends to file `file`.
    fn append(&mut self, file: u32, bytes: &[u8]) -> io::Result<()>;
    /// Reads up to `into.len()` bytes of it from `position` on; returns how many (0 = its end).
    fn read(&mut self, file: u32, position: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Bytes that may still be appended.
    fn room(&self) -> u64;
    /// Forgets all files.
    fn clear(&mut self) -> io::Result<()>;
}

/// In a folder: files without a name, so that nothing stays of a process that is killed.
#[derive(Debug)]
pub struct FolderSpill {
    folder: PathBuf,
    bytes_max: u64,
}

impl FolderSpill {
    /// In `folder`, up to so many bytes.
    #[must_use]
    pub fn new(folder: PathBuf, bytes_max: u64) -> Self {
        Self { folder, bytes_max }
    }
}

impl Spill for FolderSpill {
    fn append(&mut self, file: u32, bytes: &[u8]) -> io::Result<()> {
        let _ = (file, bytes, &self.folder);
        todo!("builder E")
    }

    fn read(&mut self, file: u32, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let _ = (file, position, into);
        todo!("builder E")
    }

    fn room(&self) -> u64 {
        self.bytes_max
    }

    fn clear(&mut self) -> io::Result<()> {
        todo!("builder E")
    }
}

/// In memory: for tests and the simulation.
#[derive(Debug, Default)]
pub struct MemorySpill {
    files: std::collections::BTreeMap<u32, Vec<u8>>,
}

impl Spill for MemorySpill {
    fn append(&mut self, file: u32, bytes: &[u8]) -> io::Result<()> {
        self.files.entry(file).or_default().extend_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, file: u32, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.files.get(&file).map_or(&[][..], Vec::as_slice);
        let from = usize::try_from(position)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let read = into.len().min(bytes.len() - from);
        into[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }

    fn room(&self) -> u64 {
        u64::MAX
    }

    fn clear(&mut self) -> io::Result<()> {
        self.files.clear();
        Ok(())
    }
}
