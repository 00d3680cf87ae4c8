//! Keys of pages: a kind byte, then ids in big endian, so that bytes order as ids do.

use aquifer_format::ids::{
    Incarnation, Offset, PartitionId, PartitionIndex, SessionId, TopicId, UploadEpoch,
};
use uuid::Uuid;

use super::{PageKind, PageRef};
use crate::{event::group::GroupNumber, journal::PageKey, state::group::ChunkKey};

impl PageRef {
    pub(in crate::state) fn kind(self) -> PageKind {
        match self {
            Self::Counters => PageKind::Counters,
            Self::Slots => PageKind::Slots,
            Self::Session(_) => PageKind::Session,
            Self::Topic(_) => PageKind::Topic,
            Self::Head(_) => PageKind::Head,
            Self::Extents(..) => PageKind::Extents,
            Self::Released(..) => PageKind::Released,
            Self::BrokerConfigs => PageKind::BrokerConfigs,
            Self::Group(_) => PageKind::Group,
            Self::Offsets(_) => PageKind::Offsets,
            Self::GroupConfigs => PageKind::GroupConfigs,
            Self::Merged(..) => PageKind::Merged,
        }
    }

    pub(in crate::state) fn key(self) -> PageKey {
        let mut bytes = vec![self.kind() as u8];
        match self {
            Self::Counters | Self::Slots | Self::BrokerConfigs | Self::GroupConfigs => {}
            Self::Session(id) => bytes.extend(id.0.to_be_bytes()),
            Self::Topic(id) => bytes.extend(id.0.as_bytes()),
            Self::Head(id) => partition_to(id, &mut bytes),
            Self::Extents(id, first) | Self::Merged(id, first) => {
                partition_to(id, &mut bytes);
                bytes.extend((first.0 ^ i64::MIN).to_be_bytes());
            }
            Self::Released(incarnation, epoch) => {
                bytes.extend(incarnation.0.to_be_bytes());
                bytes.extend(epoch.0.to_be_bytes());
            }
            Self::Group(group) => bytes.extend(group.0.to_be_bytes()),
            Self::Offsets(key) => {
                bytes.extend(key.group.0.to_be_bytes());
                bytes.extend(key.topic.0.as_bytes());
                bytes.extend(key.chunk.to_be_bytes());
            }
        }
        PageKey(bytes)
    }

    /// None = not a key of ours.
    pub(in crate::state) fn parse(key: &PageKey) -> Option<Self> {
        let (kind, mut rest) = key.0.split_first()?;
        let rest = &mut rest;
        let page = match kind {
            1 => Self::Counters,
            2 => Self::Slots,
            3 => Self::Session(SessionId(u64::from_be_bytes(take(rest)?))),
            4 => Self::Topic(TopicId(Uuid::from_bytes(take(rest)?))),
            5 => Self::Head(partition_from(rest)?),
            6 => {
                let id = partition_from(rest)?;
                let first = i64::from_be_bytes(take(rest)?) ^ i64::MIN;
                Self::Extents(id, Offset(first))
            }
            7 => Self::Released(
                Incarnation(u32::from_be_bytes(take(rest)?)),
                UploadEpoch(u32::from_be_bytes(take(rest)?)),
            ),
            8 => Self::BrokerConfigs,
            9 => Self::Group(GroupNumber(u64::from_be_bytes(take(rest)?))),
            10 => Self::Offsets(ChunkKey {
                group: GroupNumber(u64::from_be_bytes(take(rest)?)),
                topic: TopicId(Uuid::from_bytes(take(rest)?)),
                chunk: u32::from_be_bytes(take(rest)?),
            }),
            11 => Self::GroupConfigs,
            12 => {
                let id = partition_from(rest)?;
                let first = i64::from_be_bytes(take(rest)?) ^ i64::MIN;
                Self::Merged(id, Offset(first))
            }
            _ => return None,
        };
        rest.is_empty().then_some(page)
    }
}

fn partition_to(id: PartitionId, bytes: &mut Vec<u8>) {
    bytes.extend(id.topic.0.as_bytes());
    bytes.extend(id.partition.0.cast_unsigned().to_be_bytes());
}

fn partition_from(rest: &mut &[u8]) -> Option<PartitionId> {
    let topic = TopicId(Uuid::from_bytes(take(rest)?));
    let index = u32::from_be_bytes(take(rest)?).cast_signed();
    Some(PartitionId::new(topic, PartitionIndex(index)))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*first)
}
