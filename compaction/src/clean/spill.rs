//! Where keys go that do not fit into the memory.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

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

/// In a folder: one file without a name, so that nothing stays of a process that is killed, and no more than
/// one file is open however many the caller has.
#[derive(Debug)]
pub struct FolderSpill {
    folder: PathBuf,
    bytes_max: u64,
    file: Option<File>,
    written: u64,
    pieces: BTreeMap<u32, Vec<Piece>>,
}

/// What one call appended.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where it begins in the caller's file.
    begin: u64,
    /// Where it begins in the one file.
    position: u64,
    bytes: u64,
}

impl FolderSpill {
    /// In `folder`, up to so many bytes. The folder is made when it is needed.
    #[must_use]
    pub fn new(folder: PathBuf, bytes_max: u64) -> Self {
        Self {
            folder,
            bytes_max,
            file: None,
            written: 0,
            pieces: BTreeMap::new(),
        }
    }

    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            fs::create_dir_all(&self.folder)?;
            self.file = Some(tempfile::tempfile_in(&self.folder)?);
        }
        self.file
            .as_mut()
            .ok_or_else(|| io::Error::other("the file was just opened"))
    }

    fn piece_at(&self, file: u32, position: u64) -> Option<Piece> {
        let pieces = self.pieces.get(&file)?;
        let after = pieces.partition_point(|piece| piece.begin <= position);
        let piece = pieces.get(after.checked_sub(1)?)?;
        (position < piece.begin.saturating_add(piece.bytes)).then_some(*piece)
    }
}

impl Spill for FolderSpill {
    fn append(&mut self, file: u32, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        if length > self.room() {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("more than the {} bytes that it may take", self.bytes_max),
            ));
        }
        let position = self.written;
        let target = self.open()?;
        target.seek(SeekFrom::Start(position))?;
        target.write_all(bytes)?;
        self.written = position.saturating_add(length);
        let pieces = self.pieces.entry(file).or_default();
        let begin = pieces
            .last()
            .map_or(0, |piece| piece.begin.saturating_add(piece.bytes));
        pieces.push(Piece {
            begin,
            position,
            bytes: length,
        });
        Ok(())
    }

    fn read(&mut self, file: u32, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.piece_at(file, position) else {
            return Ok(0);
        };
        let skipped = position - piece.begin;
        let left = usize::try_from(piece.bytes - skipped).unwrap_or(usize::MAX);
        let length = left.min(into.len());
        let source = self.open()?;
        source.seek(SeekFrom::Start(piece.position.saturating_add(skipped)))?;
        source.read_exact(&mut into[..length])?;
        Ok(length)
    }

    fn room(&self) -> u64 {
        self.bytes_max.saturating_sub(self.written)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file = None;
        self.written = 0;
        self.pieces.clear();
        Ok(())
    }
}

/// In memory: for tests and the simulation.
#[derive(Debug, Default)]
pub struct MemorySpill {
    files: BTreeMap<u32, Vec<u8>>,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn all(spill: &mut dyn Spill, file: u32) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let mut into = [0; 2];
            let position = u64::try_from(all.len()).unwrap();
            let read = spill.read(file, position, &mut into).unwrap();
            if read == 0 {
                return all;
            }
            all.extend_from_slice(&into[..read]);
        }
    }

    fn check(spill: &mut dyn Spill) {
        let mut into = [0; 8];
        assert_eq!(spill.read(1, 0, &mut into).unwrap(), 0);
        spill.append(1, b"abc").unwrap();
        spill.append(2, b"xy").unwrap();
        spill.append(1, b"defg").unwrap();
        assert_eq!(all(spill, 1), b"abcdefg");
        assert_eq!(all(spill, 2), b"xy");
        assert_eq!(all(spill, 3), b"");
        assert_eq!(spill.read(1, 99, &mut into).unwrap(), 0);
        spill.clear().unwrap();
        assert_eq!(all(spill, 1), b"");
        spill.append(1, b"new").unwrap();
        assert_eq!(all(spill, 1), b"new");
    }

    #[test]
    fn files_are_read_back_as_they_were_written() {
        check(&mut MemorySpill::default());
        let folder = tempfile::tempdir().unwrap();
        check(&mut FolderSpill::new(folder.path().join("made"), 1 << 20));
    }

    #[test]
    fn a_folder_keeps_to_its_bytes_and_has_no_file_that_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = FolderSpill::new(folder.path().to_path_buf(), 10);
        spill.append(0, &[1; 6]).unwrap();
        assert_eq!(spill.room(), 4);
        let error = spill.append(1, &[1; 5]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        spill.append(1, &[1; 4]).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        spill.clear().unwrap();
        assert_eq!(spill.room(), 10);
    }
}
