//! Configs of groups and of subscriptions to clients' metrics. They cannot be altered: what is listed are
//! Kafka's defaults.

use std::borrow::Cow;

use aquifer_metadata_api::config::{
    ConfigType,
    ConfigType::{Int, List, String as Text},
    describe::{ConfigSource, Described, Synonym},
};

/// Name, type, default, documentation.
type Row = (&'static str, ConfigType, &'static str, &'static str);

#[rustfmt::skip]
const CLIENT_METRICS: &[Row] = &[
    ("interval.ms", Int, "300000", "time between two pushes of metrics"),
    ("match", List, "", "which clients push metrics"),
    ("metrics", List, "", "which metrics they push, by how their names begin"),
];

#[rustfmt::skip]
const GROUP: &[Row] = &[
    ("consumer.heartbeat.interval.ms", Int, "5000", "time between two heartbeats of a member of a consumer group"),
    ("consumer.session.timeout.ms", Int, "45000", "time without a heartbeat after which a member of a consumer group is gone"),
    ("share.auto.offset.reset", Text, "latest", "no effect: there are no share groups"),
    ("share.heartbeat.interval.ms", Int, "5000", "no effect: there are no share groups"),
    ("share.isolation.level", Text, "read_uncommitted", "no effect: there are no share groups"),
    ("share.record.lock.duration.ms", Int, "30000", "no effect: there are no share groups"),
    ("share.session.timeout.ms", Int, "45000", "no effect: there are no share groups"),
    ("streams.heartbeat.interval.ms", Int, "5000", "no effect: there are no streams groups"),
    ("streams.initial.rebalance.delay.ms", Int, "3000", "no effect: there are no streams groups"),
    ("streams.num.standby.replicas", Int, "0", "no effect: there are no streams groups"),
    ("streams.session.timeout.ms", Int, "45000", "no effect: there are no streams groups"),
];

/// The configs of a subscription to clients' metrics, whatever its name. They have no synonyms.
pub(super) fn client_metrics() -> Vec<Described> {
    CLIENT_METRICS.iter().map(described).collect()
}

/// The configs of a group, whatever its name.
pub(super) fn group() -> Vec<Described> {
    let described = GROUP.iter().map(described).map(|mut config| {
        config.synonyms.push(Synonym {
            name: config.name.clone(),
            value: config.value.clone(),
            source: ConfigSource::Default,
        });
        config
    });
    described.collect()
}

fn described((name, kind, default, documentation): &Row) -> Described {
    Described {
        name: (*name).to_owned(),
        value: Some((*default).to_owned()),
        source: ConfigSource::Default,
        read_only: false,
        sensitive: false,
        kind: *kind,
        synonyms: Vec::new(),
        documentation: Cow::Borrowed(*documentation),
    }
}
