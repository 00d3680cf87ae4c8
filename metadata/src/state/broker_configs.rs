//! Broker configs: those that administrators set for the whole cluster while it runs, over those that this
//! server was started with.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_metadata_api::config::{BrokerConfig, Configs, TimestampType, TopicConfig, layered};

use super::{
    apply::Changes,
    entity::{Position, State},
    page::PageRef,
};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct BrokerConfigs {
    pub(super) at: Position,
    pub(super) dirty: bool,
    dynamic: Arc<Configs>,
    /// What this server was started with. Only decisions look at it.
    server: Configs,
    effective: Configs,
    /// Topics have `message.timestamp.type=LogAppendTime` where they say nothing else.
    log_append_time: bool,
}

impl BrokerConfigs {
    pub(super) fn dynamic(&self) -> &Configs {
        &self.dynamic
    }

    /// What this server was started with.
    pub(super) fn server(&self) -> &Configs {
        &self.server
    }

    /// The dynamic ones, then those of the server.
    pub(super) fn effective(&self) -> &Configs {
        &self.effective
    }

    pub(super) fn log_append_time(&self) -> bool {
        self.log_append_time
    }

    pub(super) fn set(&mut self, at: Position, configs: Configs) {
        self.at = at;
        self.dynamic = Arc::new(configs);
        self.resolve();
    }

    fn resolve(&mut self) {
        self.effective = layered(&self.server, &self.dynamic);
        let topic = TopicConfig::resolve(&Configs::new(), &self.effective);
        self.log_append_time = topic.timestamp_type == TimestampType::LogAppendTime;
    }
}

impl State {
    /// Says which broker configs this server was started with: the layer below the dynamic ones, for
    /// decisions. They are no part of the state.
    pub fn set_server_configs(&mut self, configs: Configs) {
        self.broker_configs.server = configs;
        self.broker_configs.resolve();
        self.resolve_topics();
        self.resolve_groups();
    }

    /// The cluster-wide dynamic broker configs.
    #[must_use]
    pub fn broker_configs(&self) -> Arc<Configs> {
        Arc::clone(&self.broker_configs.dynamic)
    }

    /// The broker configs that hold here, defaults filled in.
    #[must_use]
    pub fn broker_config(&self) -> BrokerConfig {
        BrokerConfig::resolve(self.broker_configs.effective())
    }

    pub(super) fn broker_configs_set(
        &mut self,
        configs: &BTreeMap<String, String>,
        changes: &mut Changes,
    ) {
        if self.broker_configs.at >= self.position {
            return;
        }
        self.broker_configs.set(self.position, configs.clone());
        self.dirty
            .mark(&mut self.broker_configs.dirty, PageRef::BrokerConfigs);
        changes.broker_configs = true;
        self.resolve_topics();
        self.resolve_groups();
    }

    /// Resolves the configs of every topic anew.
    pub(super) fn resolve_topics(&mut self) {
        for topic in self.topics.values_mut() {
            topic.resolve(&self.broker_configs);
        }
    }
}
