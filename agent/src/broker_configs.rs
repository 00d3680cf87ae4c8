//! The broker configs of this agent: what it was started with, and over it the dynamic ones of all brokers.

use std::{sync::Arc, time::Duration};

use aquifer_metadata_api::config::{
    BrokerConfig, Configs, TopicConfig, broker,
    describe::{Described, describe_broker, describe_default, describe_topic},
    layered,
};

use crate::{api::nodes::Nodes, placement::Node, settings::AgentSettings};

/// Broker configs and what they mean.
#[derive(Debug, Default)]
pub struct BrokerConfigs {
    statics: Configs,
    dynamic: Arc<Configs>,
    layered: Configs,
    effective: BrokerConfig,
}

impl BrokerConfigs {
    /// Those of an agent that was started with `statics`, before it has heard of dynamic ones.
    #[must_use]
    pub fn new(statics: Configs) -> Self {
        Self::of(statics, Arc::default())
    }

    /// The same agent's with other dynamic ones.
    #[must_use]
    pub fn with_dynamic(&self, dynamic: Arc<Configs>) -> Self {
        Self::of(self.statics.clone(), dynamic)
    }

    fn of(statics: Configs, dynamic: Arc<Configs>) -> Self {
        let layered = layered(&statics, &dynamic);
        Self {
            effective: BrokerConfig::resolve(&layered),
            statics,
            dynamic,
            layered,
        }
    }

    /// The dynamic ones.
    #[must_use]
    pub fn dynamic(&self) -> &Arc<Configs> {
        &self.dynamic
    }

    /// What holds, defaults included.
    #[must_use]
    pub fn effective(&self) -> &BrokerConfig {
        &self.effective
    }

    /// What holds for a topic with these overrides.
    #[must_use]
    pub fn topic(&self, overrides: &Configs) -> TopicConfig {
        TopicConfig::resolve(overrides, &self.layered)
    }

    /// The configs of a topic with these overrides, as DescribeConfigs lists them.
    pub(crate) fn describe_topic(&self, overrides: &Configs) -> Vec<Described> {
        describe_topic(overrides, &self.dynamic, &self.statics)
    }

    /// The configs of a broker, as DescribeConfigs lists them. `listener`: what its clients' listener is
    /// called.
    pub(crate) fn describe_node(
        &self,
        nodes: &Nodes,
        node: &Node<'_>,
        listener: &str,
    ) -> Vec<Described> {
        let mut statics = self.statics.clone();
        statics.extend(of_node(nodes, node, listener));
        describe_broker(&self.dynamic, &statics)
    }

    /// The dynamic configs of all brokers, as DescribeConfigs lists them.
    pub(crate) fn describe_default(&self) -> Vec<Described> {
        describe_default(&self.dynamic)
    }
}

/// What DescribeLogDirs calls the bucket.
const LOG_DIR: &str = "/bucket";

/// What makes one broker different from another.
fn of_node(nodes: &Nodes, node: &Node<'_>, listener: &str) -> Configs {
    let (id, host, port) = (node.id().to_string(), nodes.host(node), node.port());
    let rack = nodes.rack(node).map(|rack| rack.to_string());
    let all = [
        ("node.id", Some(id.clone())),
        ("broker.id", Some(id)),
        ("broker.rack", rack),
        ("process.roles", Some("broker".to_owned())),
        (
            "advertised.listeners",
            Some(format!("{listener}://{host}:{port}")),
        ),
        ("listeners", Some(format!("{listener}://:{port}"))),
        ("log.dirs", Some(LOG_DIR.to_owned())),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// Settings in which those that are broker configs, too, have the values of these.
#[must_use]
pub fn applied(mut settings: AgentSettings) -> AgentSettings {
    let configs = BrokerConfig::resolve(&settings.broker_configs);
    let given = |name: &str| settings.broker_configs.contains_key(name);
    if given("auto.create.topics.enable") {
        settings.auto_create_topics = configs.auto_create_topics;
    }
    if given("max.connections") {
        settings.connections.connections_max = usize_of(configs.max_connections);
    }
    if given("connections.max.idle.ms") {
        settings.connections.idle_max = configs.connections_max_idle.unwrap_or(Duration::MAX);
    }
    if given("queued.max.request.bytes") {
        let bytes_max = configs.queued_max_request_bytes.unwrap_or(u64::MAX);
        settings.connections.request_bytes_total_max =
            usize::try_from(bytes_max).unwrap_or(usize::MAX);
    }
    if given("fetch.max.bytes") {
        settings.fetch.response_bytes_max = configs.fetch_max_bytes;
    }
    if given("max.incremental.fetch.session.cache.slots") {
        settings.fetch.sessions.sessions_max = usize_of(configs.fetch_sessions_max);
    }
    settings
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The broker configs that settings amount to: those that are not Kafka's defaults.
#[must_use]
pub fn of_settings(settings: &AgentSettings) -> Configs {
    let (connections, fetch) = (&settings.connections, &settings.fetch);
    let all = [
        (
            "auto.create.topics.enable",
            settings.auto_create_topics.to_string(),
        ),
        ("max.connections", connections.connections_max.to_string()),
        (
            "connections.max.idle.ms",
            connections.idle_max.as_millis().to_string(),
        ),
        (
            "queued.max.request.bytes",
            connections.request_bytes_total_max.to_string(),
        ),
        ("fetch.max.bytes", fetch.response_bytes_max.to_string()),
        (
            "max.incremental.fetch.session.cache.slots",
            fetch.sessions.sessions_max.to_string(),
        ),
    ];
    let default = |name: &str| broker::find(name).and_then(|spec| spec.default);
    let mut configs: Configs = all
        .into_iter()
        .filter(|(name, value)| default(name) != Some(value.as_str()))
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    configs.extend(settings.broker_configs.clone());
    configs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;

    fn configs(pairs: &[(&str, &str)]) -> Configs {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn settings_that_are_not_kafkas_defaults_are_listed() {
        let mut settings = settings();
        let of = of_settings(&settings);
        assert_eq!(of.get("auto.create.topics.enable"), None);
        assert_eq!(of.get("connections.max.idle.ms"), None);
        assert_eq!(of["max.connections"], "20000");
        settings.auto_create_topics = false;
        settings.broker_configs = configs(&[("num.partitions", "7"), ("max.connections", "3")]);
        let of = of_settings(&settings);
        assert_eq!(of["auto.create.topics.enable"], "false");
        assert_eq!(of["num.partitions"], "7");
        assert_eq!(of["max.connections"], "3");
        // Each is one that Kafka knows, with a value that it takes.
        for (name, value) in &of {
            let spec = broker::find(name).expect("a broker config");
            assert_eq!(spec.check(value), Ok(()), "{name}={value}");
        }
    }

    #[test]
    fn settings_follow_the_broker_configs_that_are_given() {
        let mut settings = settings();
        let before = settings.clone();
        settings.broker_configs = configs(&[
            ("auto.create.topics.enable", "false"),
            ("max.connections", "3"),
            ("connections.max.idle.ms", "-1"),
            ("queued.max.request.bytes", "-1"),
            ("fetch.max.bytes", "2000"),
            ("max.incremental.fetch.session.cache.slots", "4"),
        ]);
        let settings = applied(settings);
        assert!(!settings.auto_create_topics);
        assert_eq!(settings.connections.connections_max, 3);
        assert_eq!(settings.connections.idle_max, Duration::MAX);
        assert_eq!(settings.connections.request_bytes_total_max, usize::MAX);
        assert_eq!(settings.fetch.response_bytes_max, 2000);
        assert_eq!(settings.fetch.sessions.sessions_max, 4);
        assert_eq!(of_settings(&settings), settings.broker_configs);
        // What is not given stays.
        let same = applied(before.clone());
        assert_eq!(of_settings(&same), of_settings(&before));
        assert_eq!(same.connections.idle_max, before.connections.idle_max);
    }

    #[test]
    fn dynamic_configs_go_before_those_of_the_start() {
        let started = BrokerConfigs::new(configs(&[
            ("max.connections", "3"),
            ("log.retention.hours", "1"),
        ]));
        assert_eq!(started.effective().max_connections, 3);
        assert_eq!(
            started.topic(&Configs::new()).retention_ms,
            Some(60 * 60 * 1000)
        );
        let changed = started.with_dynamic(Arc::new(configs(&[
            ("max.connections", "4"),
            ("log.retention.ms", "5"),
        ])));
        assert_eq!(changed.effective().max_connections, 4);
        assert_eq!(changed.topic(&Configs::new()).retention_ms, Some(5));
        let own = configs(&[("retention.ms", "6")]);
        assert_eq!(changed.topic(&own).retention_ms, Some(6));
        let back = changed.with_dynamic(Arc::default());
        assert_eq!(back.effective().max_connections, 3);
    }
}
