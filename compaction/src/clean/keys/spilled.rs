//! Keys that are spilled: noted in files by key, settled into files of superseded offsets, read in order.

use std::io;

use super::newest::{KeyHash, NewestOffsets};
use crate::clean::Spill;

/// A note: the key's 16 bytes and the offset's 8.
const NOTE_BYTES: usize = 24;
/// What a note may take in all: itself, and the record's offset if it is superseded.
const NOTE_ROOM: u64 = 32;
/// Files of notes are numbered by this many bits of the keys.
const FILE_BITS: u32 = 9;
const FILES: u32 = 1 << FILE_BITS;
/// Largest buffer of a file.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// What one step reads: some milliseconds.
const STEP_NOTES_MAX: usize = 32 * 1024;
/// Bits of a key by which the notes of a file are taken in parts.
const PART_BITS_MAX: u32 = 24;

/// The first pass.
#[derive(Debug)]
pub(super) struct Notes {
    memory_bytes: usize,
    /// A buffer per file.
    buffers: Vec<Vec<u8>>,
    buffer_bytes: usize,
    notes: u64,
    notes_max: u64,
    /// The first offset of each range of as many records as fit into the memory at once.
    ranges: Vec<i64>,
    range_records: u64,
}

impl Notes {
    pub(super) fn new(memory_bytes: usize, room: u64) -> Self {
        let buffers = vec![Vec::new(); FILES as usize];
        let share = memory_bytes / buffers.len() / NOTE_BYTES * NOTE_BYTES;
        Self {
            memory_bytes,
            buffers,
            buffer_bytes: share.clamp(NOTE_BYTES, BUFFER_BYTES_MAX),
            notes: 0,
            notes_max: room / NOTE_ROOM,
            ranges: Vec::new(),
            range_records: (memory_bytes as u64 / 128).max(16),
        }
    }

    pub(super) fn note(
        &mut self,
        spill: &mut dyn Spill,
        hash: KeyHash,
        offset: i64,
    ) -> io::Result<bool> {
        if self.notes >= self.notes_max {
            return Ok(false);
        }
        if self.notes.is_multiple_of(self.range_records) {
            self.ranges.push(offset);
        }
        self.notes += 1;
        let file = file_of(hash);
        let Some(buffer) = self.buffers.get_mut(file as usize) else {
            return Ok(false);
        };
        for word in [hash.high, hash.low, offset.cast_unsigned()] {
            buffer.extend_from_slice(&word.to_be_bytes());
        }
        if buffer.len() >= self.buffer_bytes {
            spill.append(file, buffer)?;
            buffer.clear();
        }
        Ok(true)
    }

    /// Ends the first pass.
    pub(super) fn settle(self, spill: &mut dyn Spill) -> io::Result<Settling> {
        for (file, buffer) in (0..).zip(&self.buffers) {
            if !buffer.is_empty() {
                spill.append(file, buffer)?;
            }
        }
        let share = self.memory_bytes / 4 / self.ranges.len().max(1) / 8 * 8;
        Ok(Settling {
            place: Place::default(),
            newest: NewestOffsets::new(self.memory_bytes / 2),
            buffers: vec![Vec::new(); self.ranges.len()],
            buffer_bytes: share.clamp(8, BUFFER_BYTES_MAX),
            ranges: self.ranges,
            chunk: vec![
                0;
                (self.memory_bytes / 8 / NOTE_BYTES).clamp(1, STEP_NOTES_MAX) * NOTE_BYTES
            ],
        })
    }
}

/// Between the passes: each file is read twice, once for the newest offset of each key, once for the records
/// that are older than it. If its keys do not fit into the memory, it is taken in parts.
#[derive(Debug)]
pub(super) struct Settling {
    place: Place,
    newest: NewestOffsets,
    /// A buffer per range.
    buffers: Vec<Vec<u8>>,
    buffer_bytes: usize,
    ranges: Vec<i64>,
    chunk: Vec<u8>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    file: u32,
    /// Keys of the file are taken in 2^this parts,
    part_bits: u32,
    /// and this is the part.
    part: u64,
    /// Whether its superseded records are being written.
    writes: bool,
    position: u64,
}

impl Place {
    fn has(self, hash: KeyHash) -> bool {
        self.part_bits == 0 || (hash.high << FILE_BITS) >> (64 - self.part_bits) == self.part
    }

    /// Halves the part. The first half is next; parts before it were done.
    fn halved(self) -> Self {
        Self {
            part_bits: self.part_bits + 1,
            part: self.part * 2,
            position: 0,
            ..self
        }
    }

    /// Behind the last note of the file.
    fn next(self) -> Self {
        let last = self.part + 1 == 1 << self.part_bits;
        if !self.writes {
            Self {
                writes: true,
                position: 0,
                ..self
            }
        } else if last {
            Self {
                file: self.file + 1,
                ..Self::default()
            }
        } else {
            Self {
                part: self.part + 1,
                writes: false,
                position: 0,
                ..self
            }
        }
    }
}

impl Settling {
    /// Reads a chunk of a file. Some = it was the last.
    pub(super) fn step(&mut self, spill: &mut dyn Spill) -> io::Result<Option<Superseded>> {
        if self.place.file == FILES {
            return self.end(spill).map(Some);
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        let read = read_full(spill, self.place.file, self.place.position, &mut chunk)?;
        self.place.position += read as u64;
        if read == 0 {
            self.place = self.place.next();
            if !self.place.writes {
                self.newest.clear();
            }
        } else if self.place.writes {
            for (hash, offset) in notes_in(&chunk[..read]) {
                let newest = self.newest.newest(hash);
                if self.place.has(hash) && newest.is_some_and(|newest| offset < newest) {
                    self.write(spill, offset)?;
                }
            }
        } else {
            self.take(&chunk[..read])?;
        }
        self.chunk = chunk;
        Ok(None)
    }

    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        for (hash, offset) in notes_in(chunk) {
            if self.place.has(hash) && !self.newest.note(hash, offset) {
                if self.place.part_bits == PART_BITS_MAX {
                    return Err(io::Error::other("the memory is too small to sort the keys"));
                }
                self.place = self.place.halved();
                self.newest.clear();
                return Ok(());
            }
        }
        Ok(())
    }

    fn write(&mut self, spill: &mut dyn Spill, offset: i64) -> io::Result<()> {
        let behind = self.ranges.partition_point(|first| *first <= offset);
        let range = behind.saturating_sub(1);
        let Some(buffer) = self.buffers.get_mut(range) else {
            return Ok(());
        };
        buffer.extend_from_slice(&offset.to_be_bytes());
        if buffer.len() >= self.buffer_bytes {
            spill.append(file_of_range(range), buffer)?;
            buffer.clear();
        }
        Ok(())
    }

    fn end(&mut self, spill: &mut dyn Spill) -> io::Result<Superseded> {
        for (range, buffer) in self.buffers.iter().enumerate() {
            if !buffer.is_empty() {
                spill.append(file_of_range(range), buffer)?;
            }
        }
        Ok(Superseded {
            ranges: self.ranges.len(),
            ..Superseded::default()
        })
    }
}

/// The second pass: offsets of superseded records, in order.
#[derive(Debug, Default)]
pub(super) struct Superseded {
    ranges: usize,
    next: usize,
    /// Those of the range that was read last, and which of them is next.
    offsets: Vec<i64>,
    at: usize,
}

impl Superseded {
    pub(super) fn has(&mut self, spill: &mut dyn Spill, offset: i64) -> io::Result<bool> {
        loop {
            match self.offsets.get(self.at) {
                Some(superseded) if *superseded < offset => self.at += 1,
                Some(superseded) => return Ok(*superseded == offset),
                None if self.next < self.ranges => self.load(spill)?,
                None => return Ok(false),
            }
        }
    }

    fn load(&mut self, spill: &mut dyn Spill) -> io::Result<()> {
        let file = file_of_range(self.next);
        self.next += 1;
        self.at = 0;
        self.offsets.clear();
        let mut chunk = [0; 8 * 1_024];
        let mut position = 0;
        loop {
            let read = read_full(spill, file, position, &mut chunk)?;
            if read == 0 {
                break;
            }
            position += read as u64;
            self.offsets
                .extend(words_in(&chunk[..read]).map(u64::cast_signed));
        }
        self.offsets.sort_unstable();
        Ok(())
    }
}

fn file_of(hash: KeyHash) -> u32 {
    u32::try_from(hash.high >> (64 - FILE_BITS)).unwrap_or(0)
}

fn file_of_range(range: usize) -> u32 {
    u32::try_from(range).map_or(u32::MAX, |range| FILES.saturating_add(range))
}

/// Reads until `into` is full or the file ends.
fn read_full(
    spill: &mut dyn Spill,
    file: u32,
    position: u64,
    into: &mut [u8],
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        let read = spill.read(file, position + filled as u64, &mut into[filled..])?;
        if read == 0 {
            break;
        }
        filled += read;
    }
    Ok(filled)
}

fn words_in(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes
        .chunks_exact(8)
        .filter_map(|word| word.first_chunk().map(|word| u64::from_be_bytes(*word)))
}

fn notes_in(bytes: &[u8]) -> impl Iterator<Item = (KeyHash, i64)> {
    bytes.chunks_exact(NOTE_BYTES).filter_map(|note| {
        let mut words = words_in(note);
        let (high, low) = (words.next()?, words.next()?);
        let offset = words.next()?.cast_signed();
        Some((KeyHash { high, low }, offset))
    })
}
