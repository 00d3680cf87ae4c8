//! Parts: how pages and rows lie in the bucket.
//!
//! A zstd frame of: four letters, version, kind, then entries until its end. All numbers are big-endian.
//!
//! | kind | an entry |
//! |---|---|
//! | base, pages | u32 length of the key, key, u64 row, u32 length, bytes |
//! | gone | u32 length of the key, key |
//! | rows | u64 seq, u64 term, 32 bytes previous, 32 bytes hash, u32 length, bytes |

use std::io::{Read, Write};

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use bytes::{Buf, BufMut, Bytes};

use crate::journal::{Page, PageKey, Row, RowHash};

const MAGIC: &[u8; 4] = b"AQBK";
const VERSION: u8 = 1;
/// Level of compression: pages and rows come compressed, each for itself; what they have in common is what is left.
const LEVEL: i32 = 3;
/// A part is full with so many bytes, uncompressed: one PUT that does not need an upload in parts.
const FULL_BYTES: usize = 8 << 20;
/// No part has more, uncompressed: it holds the one entry that made it full, and databases take less than this.
const READ_BYTES_MAX: u64 = 2 << 30;

/// What a part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PartKind {
    /// Pages, of a backup that has all of them.
    Base,
    /// Pages that were written since the backup before.
    Pages,
    /// Names of pages that went since then.
    Gone,
    /// Rows.
    Rows,
}

impl PartKind {
    const ALL: [Self; 4] = [Self::Base, Self::Pages, Self::Gone, Self::Rows];

    /// What keys of such parts say.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Pages => "pages",
            Self::Gone => "gone",
            Self::Rows => "rows",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Base => 1,
            Self::Pages => 2,
            Self::Gone => 3,
            Self::Rows => 4,
        }
    }
}

/// Something that a part holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Page(Page),
    Gone(PageKey),
    Row(Row),
}

/// A part that is being made.
pub(super) struct PartBuilder {
    frame: zstd::stream::write::Encoder<'static, Vec<u8>>,
    raw: usize,
}

impl PartBuilder {
    pub(super) fn new(kind: PartKind) -> Self {
        let frame = zstd::stream::write::Encoder::new(Vec::new(), LEVEL);
        let mut part = Self {
            frame: frame.expect("the level is one of zstd's"),
            raw: 0,
        };
        part.write(MAGIC);
        part.write(&[VERSION, kind.code()]);
        part
    }

    fn write(&mut self, bytes: &[u8]) {
        self.raw = self.raw.saturating_add(bytes.len());
        let written = self.frame.write_all(bytes);
        written.expect("memory takes what is written");
    }

    fn write_with_length(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("databases take no pages and rows of 4 GiB");
        self.write(&length.to_be_bytes());
        self.write(bytes);
    }

    /// Adds an entry; returns how many bytes it has, uncompressed.
    pub(super) fn push(&mut self, entry: &Entry) -> usize {
        let before = self.raw;
        match entry {
            Entry::Page(page) => {
                self.write_with_length(&page.key.0);
                self.write(&page.seq.0.to_be_bytes());
                self.write_with_length(&page.bytes);
            }
            Entry::Gone(key) => self.write_with_length(&key.0),
            Entry::Row(row) => {
                let mut head = Vec::with_capacity(80);
                head.put_u64(row.seq.0);
                head.put_u64(row.term.0);
                head.put_slice(&row.previous);
                head.put_slice(&row.hash);
                self.write(&head);
                self.write_with_length(&row.bytes);
            }
        }
        self.raw.saturating_sub(before)
    }

    pub(super) fn is_full(&self) -> bool {
        self.raw >= FULL_BYTES
    }

    pub(super) fn finish(self) -> Bytes {
        let frame = self.frame.finish();
        frame.expect("memory takes what is written").into()
    }
}

/// CRC-64/NVME of a part, as its manifest has it.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    digest.update(bytes);
    digest.finalize()
}

/// Reads a part.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<(PartKind, Vec<Entry>), String> {
    let mut raw = Vec::new();
    let frame = zstd::stream::read::Decoder::new(bytes).map_err(|e| e.to_string())?;
    let mut frame = frame.take(READ_BYTES_MAX + 1);
    frame.read_to_end(&mut raw).map_err(|e| e.to_string())?;
    if frame.limit() == 0 {
        return Err(format!("it is larger than {READ_BYTES_MAX} bytes"));
    }
    let mut rest = Bytes::from(raw);
    if take(&mut rest, MAGIC.len())? != MAGIC.as_slice() {
        return Err("it is no part of a backup".to_owned());
    }
    let (version, code) = (take(&mut rest, 1)?[0], take(&mut rest, 1)?[0]);
    if version != VERSION {
        return Err(format!(
            "it is of version {version}, and this program knows {VERSION}: restore with the program that wrote it"
        ));
    }
    let kind = PartKind::ALL.into_iter().find(|kind| kind.code() == code);
    let kind = kind.ok_or_else(|| format!("{code} is no kind of part"))?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        entries.push(read_entry(kind, &mut rest)?);
    }
    Ok((kind, entries))
}

fn read_entry(kind: PartKind, rest: &mut Bytes) -> Result<Entry, String> {
    Ok(match kind {
        PartKind::Base | PartKind::Pages => Entry::Page(Page {
            key: PageKey(take_with_length(rest)?.to_vec()),
            seq: JournalSeq(take(rest, 8)?.get_u64()),
            bytes: take_with_length(rest)?,
        }),
        PartKind::Gone => Entry::Gone(PageKey(take_with_length(rest)?.to_vec())),
        PartKind::Rows => Entry::Row(Row {
            seq: JournalSeq(take(rest, 8)?.get_u64()),
            term: LeaderTerm(take(rest, 8)?.get_u64()),
            previous: take_hash(rest)?,
            hash: take_hash(rest)?,
            bytes: take_with_length(rest)?,
        }),
    })
}

fn take(rest: &mut Bytes, bytes: usize) -> Result<Bytes, String> {
    if rest.len() < bytes {
        return Err("it ends in the middle of an entry".to_owned());
    }
    Ok(rest.split_to(bytes))
}

fn take_with_length(rest: &mut Bytes) -> Result<Bytes, String> {
    let length = take(rest, 4)?.get_u32();
    take(rest, usize::try_from(length).unwrap_or(usize::MAX))
}

fn take_hash(rest: &mut Bytes) -> Result<RowHash, String> {
    let mut hash = RowHash::default();
    hash.copy_from_slice(&take(rest, 32)?);
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(kind: PartKind, entries: &[Entry]) -> Bytes {
        let mut part = PartBuilder::new(kind);
        for entry in entries {
            part.push(entry);
        }
        part.finish()
    }

    fn raw(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::decode_all(bytes).unwrap()
    }

    #[test]
    fn parts_stay_as_they_were_shipped() {
        let key = PageKey(vec![1, 2]);
        let page = Entry::Page(Page {
            key: key.clone(),
            seq: JournalSeq(0x0304),
            bytes: Bytes::from_static(b"page"),
        });
        let mut expected =
            b"AQBK\x01\x01\0\0\0\x02\x01\x02\0\0\0\0\0\0\x03\x04\0\0\0\x04page".to_vec();
        assert_eq!(
            raw(&part(PartKind::Base, std::slice::from_ref(&page))),
            expected
        );
        expected[5] = 2;
        assert_eq!(raw(&part(PartKind::Pages, &[page])), expected);
        assert_eq!(
            raw(&part(PartKind::Gone, &[Entry::Gone(key)])),
            b"AQBK\x01\x03\0\0\0\x02\x01\x02"
        );
        let mut row = Row::new(
            LeaderTerm(5),
            JournalSeq(6),
            [7; 32],
            Bytes::from_static(b"row"),
        );
        row.hash = [8; 32];
        let mut expected = b"AQBK\x01\x04\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x05".to_vec();
        expected.extend_from_slice(&[7; 32]);
        expected.extend_from_slice(&[8; 32]);
        expected.extend_from_slice(b"\0\0\0\x03row");
        assert_eq!(raw(&part(PartKind::Rows, &[Entry::Row(row)])), expected);
    }

    #[test]
    fn what_is_no_part_is_refused_and_says_why() {
        let frame = |raw: &[u8]| zstd::stream::encode_all(raw, 1).unwrap();
        for (bytes, says) in [
            (b"nothing of the kind".to_vec(), ""),
            (frame(b"AQ"), "ends in the middle"),
            (frame(b"ABCD\x01\x01"), "no part of a backup"),
            (frame(b"AQBK\x02\x01"), "version 2"),
            (frame(b"AQBK\x01\x09"), "no kind of part"),
            (frame(b"AQBK\x01\x03\0\0\0\x05abc"), "ends in the middle"),
            (frame(b"AQBK\x01\x03\xff\xff\xff\xff"), "ends in the middle"),
        ] {
            let error = read(&bytes).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    fn entries() -> impl Strategy<Value = (PartKind, Vec<Entry>)> {
        let key = || prop::collection::vec(any::<u8>(), 0..20).prop_map(PageKey);
        let bytes = || prop::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from);
        let page = (key(), any::<u64>(), bytes()).prop_map(|(key, seq, bytes)| {
            let seq = JournalSeq(seq);
            Entry::Page(Page { key, seq, bytes })
        });
        let row = (any::<u64>(), any::<u64>(), any::<[u8; 32]>(), bytes()).prop_map(
            |(term, seq, previous, bytes)| {
                Entry::Row(Row::new(LeaderTerm(term), JournalSeq(seq), previous, bytes))
            },
        );
        prop_oneof![
            prop::collection::vec(page, 0..20).prop_map(|pages| (PartKind::Pages, pages)),
            prop::collection::vec(key().prop_map(Entry::Gone), 0..20)
                .prop_map(|gone| (PartKind::Gone, gone)),
            prop::collection::vec(row, 0..20).prop_map(|rows| (PartKind::Rows, rows)),
        ]
    }

    proptest! {
        #[test]
        fn entries_come_back((kind, entries) in entries(), cut: prop::sample::Index) {
            let bytes = part(kind, &entries);
            prop_assert_eq!(read(&bytes), Ok((kind, entries)));
            let cut = cut.index(bytes.len());
            prop_assert!(read(&bytes[..cut]).is_err(), "cut at {}", cut);
        }
    }
}
