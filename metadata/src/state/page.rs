//! Pages: packed parts of the state, so that a new leader need not replay the journal from its
//! beginning.
//!
//! A page is `[version u8][CRC32C of what follows, u32 little endian][body]`. A body is a protobuf message
//! of `proto/pages.proto`; that of extents, of which nearly all pages are, is the table of `extents`. A
//! change of what a body means, and any change of that table, raises the version. Keys order topics
//! before partition heads before extents, and groups before their offsets, so that loading in key order
//! finds what each page belongs to.

use aquifer_format::ids::{Incarnation, Offset, PartitionId, SessionId, TopicId, UploadEpoch};
use bytes::Bytes;
use prost::Message;

use crate::{
    event::{group::GroupNumber, proto},
    journal::{Page, PageKey},
};

use super::{
    entity::{Position, State},
    group::ChunkKey,
};

mod decode;
mod encode;
mod extents;
mod groups;
mod key;
pub mod view;

/// The version of pages that this release writes, and the newest one that it reads.
pub const PAGE_VERSION: u8 = 1;
const FRAME_BYTES: usize = 5;

/// Kinds of pages, in loading order. The number is the key's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageKind {
    /// Cluster, incarnation, upload epoch, id counters.
    Counters = 1,
    /// Registration slots.
    Slots = 2,
    /// A commit session.
    Session = 3,
    /// A topic.
    Topic = 4,
    /// A partition without its extents.
    Head = 5,
    /// At most 512 extents of a partition.
    Extents = 6,
    /// Released objects of one incarnation and upload epoch.
    Released = 7,
    /// Cluster-wide dynamic broker configs.
    BrokerConfigs = 8,
    /// A group without its offsets.
    Group = 9,
    /// Committed offsets of a group for some partitions of a topic.
    Offsets = 10,
    /// Configs of groups.
    GroupConfigs = 11,
    /// Merged extents of a partition.
    Merged = 12,
}

/// The name of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PageRef {
    Counters,
    Slots,
    Session(SessionId),
    Topic(TopicId),
    Head(PartitionId),
    Extents(PartitionId, Offset),
    Released(Incarnation, UploadEpoch),
    BrokerConfigs,
    Group(GroupNumber),
    Offsets(ChunkKey),
    GroupConfigs,
    Merged(PartitionId, Offset),
}

/// Why a page cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Its key is not one of ours.
    #[error("metadata page {key:?} has an unknown key: run a newer release")]
    UnknownKey {
        /// The key.
        key: PageKey,
    },
    /// A newer release wrote it.
    #[error(
        "metadata page {key:?} has format version {found}, this release reads up to {PAGE_VERSION}: run a newer release"
    )]
    NewerVersion {
        /// Its key.
        key: PageKey,
        /// Its version.
        found: u8,
    },
    /// It is damaged.
    #[error("metadata page {key:?} is damaged: {reason}")]
    Damaged {
        /// Its key.
        key: PageKey,
        /// What is wrong.
        reason: String,
    },
}

impl State {
    /// Pages that changed since they were last taken; from here on they count as written. They may be
    /// encoded at any later moment: once they are all written, replay may begin after the last row of
    /// which *all* events were applied now.
    pub fn take_dirty(&mut self) -> Vec<PageKey> {
        let mut pages = std::mem::take(&mut self.dirty.0);
        pages.sort_unstable();
        pages.dedup();
        for page in &pages {
            if let Some(flag) = self.dirty_flag(*page) {
                *flag = false;
            }
        }
        pages.into_iter().map(PageRef::key).collect()
    }

    /// Says that these pages were not written after all.
    pub fn mark_dirty(&mut self, keys: &[PageKey]) {
        for page in keys.iter().filter_map(PageRef::parse) {
            if let Some(flag) = self.dirty_flag(page) {
                if *flag {
                    continue;
                }
                *flag = true;
            }
            self.dirty.0.push(page);
        }
    }

    /// How many pages changed since they were last taken.
    #[must_use]
    pub fn dirty_pages(&self) -> usize {
        self.dirty.0.len()
    }

    /// The page of that key as it is now, to be written once the row of the last event applied is durable
    /// (for what is gone nothing else would say so); None = there is no such thing (any more), and a page that was
    /// written earlier is to be removed.
    #[must_use]
    pub fn encode_page(&self, key: &PageKey) -> Option<Page> {
        let page = PageRef::parse(key)?;
        let (at, message) = self.encode_message(page)?;
        Some(Page {
            key: key.clone(),
            seq: at.seq(),
            bytes: message,
        })
    }

    /// Whether this is the page of a chunk of extents that is gone while its partition is there. Such a
    /// page is removed by the same write that lets replay begin after the event that emptied the chunk:
    /// without the page, replaying only the end of what was in it would draw other boundaries between the
    /// chunks that follow.
    #[must_use]
    pub fn is_emptied_chunk(&self, key: &PageKey) -> bool {
        let (id, first, merged) = match PageRef::parse(key) {
            Some(PageRef::Extents(id, first)) => (id, first, false),
            Some(PageRef::Merged(id, first)) => (id, first, true),
            _ => return false,
        };
        self.any_partition(id).is_some_and(|partition| {
            let chunks = if merged {
                partition.extents.merged()
            } else {
                partition.extents.chunks.as_slice()
            };
            let found = chunks.binary_search_by_key(&first.0, |chunk| chunk.first);
            found.is_err()
        })
    }

    /// Every page, in key order.
    #[must_use]
    pub fn all_pages(&self) -> Vec<Page> {
        let pages = self.every_page();
        pages
            .into_iter()
            .filter_map(|page| self.encode_page(&page.key()))
            .collect()
    }

    /// A hash of everything in the state, equal for equal states.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        for page in self.all_pages() {
            digest.update(&page.key.0);
            digest.update(&page.bytes);
        }
        digest.finalize()
    }

    fn every_page(&self) -> Vec<PageRef> {
        let mut pages = vec![PageRef::Counters, PageRef::Slots];
        pages.extend(self.sessions.keys().map(|id| PageRef::Session(*id)));
        for (id, topic) in self.topics.iter().chain(&self.trash) {
            pages.push(PageRef::Topic(*id));
            for (index, partition) in topic.indexed() {
                let partition_id = PartitionId::new(*id, index);
                if partition.at != Position::default() {
                    pages.push(PageRef::Head(partition_id));
                }
                let chunks = partition.extents.chunks.iter();
                pages.extend(
                    chunks.map(|chunk| PageRef::Extents(partition_id, Offset(chunk.first))),
                );
                let merged = partition.extents.merged().iter();
                pages
                    .extend(merged.map(|chunk| PageRef::Merged(partition_id, Offset(chunk.first))));
            }
        }
        let released = self.released.0.keys();
        pages.extend(released.map(|(incarnation, epoch)| PageRef::Released(*incarnation, *epoch)));
        if self.broker_configs.at != Position::default() {
            pages.push(PageRef::BrokerConfigs);
        }
        pages.extend(self.groups.all.keys().map(|group| PageRef::Group(*group)));
        pages.extend(self.groups.offsets.keys().map(|key| PageRef::Offsets(*key)));
        if self.groups.configs.at != Position::default() {
            pages.push(PageRef::GroupConfigs);
        }
        pages.sort_unstable();
        pages
    }

    fn dirty_flag(&mut self, page: PageRef) -> Option<&mut bool> {
        match page {
            PageRef::Counters => Some(&mut self.counters.dirty),
            PageRef::Slots => Some(&mut self.slots.dirty),
            PageRef::Session(id) => Some(&mut self.sessions.get_mut(&id)?.dirty),
            PageRef::Topic(id) => Some(&mut self.any_topic_mut(id)?.dirty),
            PageRef::Head(id) => Some(&mut self.partition_mut(id.topic, id.partition)?.dirty),
            PageRef::Extents(id, first) => {
                let chunks = &mut self.partition_mut(id.topic, id.partition)?.extents.chunks;
                let at = chunks
                    .binary_search_by_key(&first.0, |chunk| chunk.first)
                    .ok()?;
                Some(&mut chunks[at].dirty)
            }
            PageRef::Merged(id, first) => {
                let partition = self.partition_mut(id.topic, id.partition)?;
                let chunks = partition.extents.merged.as_mut()?;
                let at = chunks
                    .binary_search_by_key(&first.0, |chunk| chunk.first)
                    .ok()?;
                Some(&mut chunks[at].dirty)
            }
            PageRef::Released(incarnation, epoch) => {
                Some(&mut self.released.0.get_mut(&(incarnation, epoch))?.dirty)
            }
            PageRef::BrokerConfigs => Some(&mut self.broker_configs.dirty),
            PageRef::Group(group) => Some(&mut self.groups.all.get_mut(&group)?.dirty),
            PageRef::Offsets(key) => Some(&mut self.groups.offsets.get_mut(&key)?.dirty),
            PageRef::GroupConfigs => Some(&mut self.groups.configs.dirty),
        }
    }
}

/// Equal in everything that a page holds and in what is derived from it (usage, references), whatever
/// is dirty.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.usage == other.usage
            && self.objects.iter().eq(other.objects.iter())
            && self.holds == other.holds
            && self.all_pages() == other.all_pages()
    }
}

fn frame(message: &impl Message) -> Bytes {
    let mut bytes = begin(message.encoded_len());
    message
        .encode(&mut bytes)
        .expect("a vector grows as needed");
    seal(bytes)
}

/// A frame for a body of about so many bytes, which is to be added.
fn begin(body_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME_BYTES + body_bytes);
    bytes.extend_from_slice(&[PAGE_VERSION, 0, 0, 0, 0]);
    bytes
}

/// The page, now that its body is in the frame.
fn seal(mut bytes: Vec<u8>) -> Bytes {
    let checksum = crc32c(&bytes[FRAME_BYTES..]);
    bytes[1..FRAME_BYTES].copy_from_slice(&checksum.to_le_bytes());
    bytes.into()
}

fn unframe(page: &Page) -> Result<&[u8], PageError> {
    let damaged = |reason: &str| PageError::Damaged {
        key: page.key.clone(),
        reason: reason.to_owned(),
    };
    let (frame, message) = page
        .bytes
        .split_at_checked(FRAME_BYTES)
        .ok_or_else(|| damaged("it is too short"))?;
    match frame[0] {
        0 => return Err(damaged("it has no version")),
        1..=PAGE_VERSION => {}
        found => {
            let key = page.key.clone();
            return Err(PageError::NewerVersion { key, found });
        }
    }
    if frame[1..] != crc32c(message).to_le_bytes() {
        return Err(damaged("its checksum does not match"));
    }
    Ok(message)
}

fn crc32c(bytes: &[u8]) -> u32 {
    let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(checksum & u64::from(u32::MAX)).expect("32 bits fit")
}
