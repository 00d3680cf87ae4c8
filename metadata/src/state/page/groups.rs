//! Pages of groups, of their offsets and of their configs.

use bytes::Bytes;

use super::{decode::Fault, proto};
use crate::{
    event::group::GroupNumber,
    state::{
        entity::{Position, State},
        group::ChunkKey,
    },
};

impl State {
    pub(super) fn group_page(&self, _group: GroupNumber) -> Option<(Position, Bytes)> {
        todo!("builder C")
    }

    pub(super) fn offsets_page(&self, _key: ChunkKey) -> Option<(Position, Bytes)> {
        todo!("builder C")
    }

    pub(super) fn group_configs_page(&self) -> Option<(Position, Bytes)> {
        todo!("builder C")
    }

    /// Takes in a group ([`State::enter_group`]).
    pub(super) fn load_group(
        &mut self,
        _group: GroupNumber,
        _page: proto::GroupPage,
    ) -> Result<(), Fault> {
        todo!("builder C")
    }

    /// Takes in offsets ([`State::enter_chunk`]). Those of a group that is not there are left out and count
    /// as gone, as heads of partitions without a topic do.
    pub(super) fn load_offsets(
        &mut self,
        _key: ChunkKey,
        _page: &proto::OffsetsPage,
    ) -> Result<(), Fault> {
        todo!("builder C")
    }

    pub(super) fn load_group_configs(&mut self, _page: proto::GroupConfigsPage) {
        todo!("builder C")
    }
}
