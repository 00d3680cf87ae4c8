//! Configs of groups, and the broker configs that groups follow.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_metadata_api::config::group::GroupCoordinatorConfig;

use crate::state::{entity::State, page::PageRef};

impl State {
    pub(in crate::state) fn group_configs_set(
        &mut self,
        group: &str,
        configs: &BTreeMap<String, String>,
    ) {
        let entity = &mut self.groups.configs;
        if entity.at >= self.position {
            return;
        }
        if configs.is_empty() {
            entity.by_group.remove(group);
        } else {
            entity.by_group.insert(group.to_owned(), configs.clone());
        }
        entity.at = self.position;
        self.dirty.mark(&mut entity.dirty, PageRef::GroupConfigs);
    }

    /// Takes what groups follow out of the broker configs.
    pub(in crate::state) fn resolve_groups(&mut self) {
        let resolved = GroupCoordinatorConfig::resolve(self.broker_configs.effective());
        self.groups.settings = Arc::new(resolved);
    }
}
