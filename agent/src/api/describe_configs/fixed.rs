//! Configs of subscriptions to clients' metrics. They cannot be altered: what is listed are Kafka's defaults.

use std::borrow::Cow;

use aquifer_metadata_api::config::{
    ConfigType,
    ConfigType::{Int, List},
    describe::{ConfigSource, Described},
};

/// Name, type, default, documentation.
type Row = (&'static str, ConfigType, &'static str, &'static str);

#[rustfmt::skip]
const CLIENT_METRICS: &[Row] = &[
    ("interval.ms", Int, "300000", "time between two pushes of metrics"),
    ("match", List, "", "which clients push metrics"),
    ("metrics", List, "", "which metrics they push, by how their names begin"),
];

/// The configs of a subscription to clients' metrics, whatever its name. They have no synonyms.
pub(super) fn client_metrics() -> Vec<Described> {
    CLIENT_METRICS.iter().map(described).collect()
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
