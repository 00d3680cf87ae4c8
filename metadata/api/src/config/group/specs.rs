//! Configs that can be set on a group: Kafka 4.2's `GroupConfig`.

use crate::config::{
    ConfigError, ConfigType,
    ConfigType::{Int, String as Text},
    Configs, Effect, ValidValues,
    ValidValues::{Any, AtLeast, OneOf},
    broker, value,
};

/// Longest value in bytes. None that is valid needs more.
const VALUE_BYTES_MAX: usize = 256;
const AUTO_OFFSET_RESET: &str = "share.auto.offset.reset";

/// Where a group has a value from that was not set on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// From this broker config.
    Broker(&'static str),
    /// It is this one.
    Value(&'static str),
}

/// One config of groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupConfigSpec {
    /// Its name.
    pub name: &'static str,
    /// Type of its value.
    pub kind: ConfigType,
    /// Its value where the group has none.
    pub unset: Unset,
    /// Valid values.
    pub valid: ValidValues,
    /// Broker configs that bound it: at least and at most.
    pub bounds: (Option<&'static str>, Option<&'static str>),
    /// What it is, or why it does nothing, for people.
    pub doc: &'static str,
    /// Whether it does something here.
    pub effect: Effect,
}

const NO_SHARE: (&str, Effect) = (
    "no effect: there are no share groups",
    Effect::None("there are no share groups"),
);
const NO_STREAMS: (&str, Effect) = (
    "no effect: there are no streams groups",
    Effect::None("there are no streams groups"),
);

const fn spec(
    name: &'static str,
    kind: ConfigType,
    unset: Unset,
    valid: ValidValues,
    bounds: (Option<&'static str>, Option<&'static str>),
    (doc, effect): (&'static str, Effect),
) -> GroupConfigSpec {
    GroupConfigSpec {
        name,
        kind,
        unset,
        valid,
        bounds,
        doc,
        effect,
    }
}

/// Every config of groups, sorted by name.
#[rustfmt::skip]
pub const GROUP_CONFIGS: &[GroupConfigSpec] = &[
    spec("consumer.heartbeat.interval.ms", Int, Unset::Broker("group.consumer.heartbeat.interval.ms"), AtLeast(1),
        (Some("group.consumer.min.heartbeat.interval.ms"), Some("group.consumer.max.heartbeat.interval.ms")),
        ("time between two heartbeats of a member of a consumer group", Effect::AsInKafka)),
    spec("consumer.session.timeout.ms", Int, Unset::Broker("group.consumer.session.timeout.ms"), AtLeast(1),
        (Some("group.consumer.min.session.timeout.ms"), Some("group.consumer.max.session.timeout.ms")),
        ("time without a heartbeat after which a member of a consumer group is gone", Effect::AsInKafka)),
    spec(AUTO_OFFSET_RESET, Text, Unset::Value("latest"), Any, (None, None), NO_SHARE),
    spec("share.heartbeat.interval.ms", Int, Unset::Broker("group.share.heartbeat.interval.ms"), AtLeast(1),
        (Some("group.share.min.heartbeat.interval.ms"), Some("group.share.max.heartbeat.interval.ms")), NO_SHARE),
    spec("share.isolation.level", Text, Unset::Value("read_uncommitted"), OneOf(&["read_committed", "read_uncommitted"]),
        (None, None), NO_SHARE),
    spec("share.record.lock.duration.ms", Int, Unset::Broker("group.share.record.lock.duration.ms"), AtLeast(1_000),
        (Some("group.share.min.record.lock.duration.ms"), Some("group.share.max.record.lock.duration.ms")), NO_SHARE),
    spec("share.session.timeout.ms", Int, Unset::Broker("group.share.session.timeout.ms"), AtLeast(1),
        (Some("group.share.min.session.timeout.ms"), Some("group.share.max.session.timeout.ms")), NO_SHARE),
    spec("streams.heartbeat.interval.ms", Int, Unset::Value("5000"), AtLeast(1),
        (Some("group.streams.min.heartbeat.interval.ms"), Some("group.streams.max.heartbeat.interval.ms")), NO_STREAMS),
    spec("streams.initial.rebalance.delay.ms", Int, Unset::Value("3000"), AtLeast(0), (None, None), NO_STREAMS),
    spec("streams.num.standby.replicas", Int, Unset::Value("0"), AtLeast(0),
        (None, Some("group.streams.max.standby.replicas")), NO_STREAMS),
    spec("streams.session.timeout.ms", Int, Unset::Value("45000"), AtLeast(1),
        (Some("group.streams.min.session.timeout.ms"), Some("group.streams.max.session.timeout.ms")), NO_STREAMS),
];

/// Pairs of which the first must be greater than the second.
const GREATER: [(&str, &str); 3] = [
    (
        "consumer.session.timeout.ms",
        "consumer.heartbeat.interval.ms",
    ),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    (
        "streams.session.timeout.ms",
        "streams.heartbeat.interval.ms",
    ),
];

impl GroupConfigSpec {
    /// The value that a group without an own one has.
    #[must_use]
    pub fn inherited<'a>(&self, broker_configs: &'a Configs) -> &'a str {
        match self.unset {
            Unset::Broker(name) => broker::Values(broker_configs).text(name),
            Unset::Value(value) => value,
        }
    }

    fn check(&self, value: &str) -> Result<(), ConfigError> {
        let wrong = |reason: String| ConfigError::Invalid {
            name: self.name.to_owned(),
            value: value.chars().take(VALUE_BYTES_MAX).collect(),
            reason,
        };
        if value.len() > VALUE_BYTES_MAX {
            let reason = format!("Value must have no more than {VALUE_BYTES_MAX} bytes");
            return Err(wrong(reason));
        }
        if self.name == AUTO_OFFSET_RESET && !is_offset_reset(value.trim()) {
            let reason = format!(
                "Invalid value `{value}` for configuration {}. The value must be either 'earliest', \
                 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'.",
                self.name
            );
            return Err(wrong(reason));
        }
        value::check(self.name, self.kind, self.valid, value)
    }
}

/// The config of groups called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static GroupConfigSpec> {
    GROUP_CONFIGS.iter().find(|spec| spec.name == name)
}

/// Checks all configs of a group at once, in the order of Kafka's `GroupConfig.validate`.
///
/// # Errors
/// The first mistake, in Kafka's words.
pub fn validate_all(configs: &Configs, broker_configs: &Configs) -> Result<(), ConfigError> {
    if let Some(name) = configs.keys().find(|name| find(name).is_none()) {
        let name = name.clone();
        return Err(ConfigError::UnknownOfGroup { name });
    }
    for (name, value) in configs {
        if let Some(spec) = find(name) {
            spec.check(value)?;
        }
    }
    let number = |spec: &GroupConfigSpec| -> i64 {
        let own = configs.get(spec.name).map(String::as_str);
        let text = own.unwrap_or_else(|| spec.inherited(broker_configs));
        text.trim().parse().unwrap_or(0)
    };
    let values = broker::Values(broker_configs);
    // what the brokers say themselves was theirs to check
    for spec in GROUP_CONFIGS
        .iter()
        .filter(|spec| configs.contains_key(spec.name))
    {
        let value = number(spec);
        if let (Some(min), _) = spec.bounds
            && value < values.long(min)
        {
            return Err(ConfigError::OutOfBounds {
                name: spec.name,
                relation: "greater than or equal to",
                other: min,
            });
        }
        if let (_, Some(max)) = spec.bounds
            && value > values.long(max)
        {
            return Err(ConfigError::OutOfBounds {
                name: spec.name,
                relation: "less than or equal to",
                other: max,
            });
        }
    }
    for (greater, less) in GREATER {
        let is_set = configs.contains_key(greater) || configs.contains_key(less);
        if let (Some(one), Some(two)) = (find(greater), find(less))
            && is_set
            && number(one) <= number(two)
        {
            return Err(ConfigError::OutOfBounds {
                name: greater,
                relation: "greater than",
                other: less,
            });
        }
    }
    Ok(())
}

fn is_offset_reset(value: &str) -> bool {
    match value.strip_prefix("by_duration:") {
        Some(duration) => is_duration(duration),
        None => matches!(value, "earliest" | "latest"),
    }
}

/// A duration of ISO 8601 as Java reads it, days to seconds, that is not negative: no sign is taken.
fn is_duration(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    let Some(rest) = text.strip_prefix('P') else {
        return false;
    };
    let (date, time) = match rest.split_once('T') {
        Some((_, "")) => return false,
        Some((date, time)) => (date, time),
        None => (rest, ""),
    };
    if date.is_empty() && time.is_empty() {
        return false;
    }
    let is_number = |digits: &str| {
        (1..=12).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_fraction = |number: &str| match number.split_once('.') {
        Some((whole, part)) => {
            is_number(whole) && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit())
        }
        None => is_number(number),
    };
    let days = date.is_empty() || date.strip_suffix('D').is_some_and(is_number);
    let mut rest = time;
    for unit in ['H', 'M'] {
        if let Some((number, after)) = rest.split_once(unit) {
            if !is_number(number) {
                return false;
            }
            rest = after;
        }
    }
    days && (rest.is_empty() || rest.strip_suffix('S').is_some_and(is_fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(pairs: &[(&str, &str)]) -> Configs {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn the_table_is_sorted_and_what_it_names_exists() {
        assert!(GROUP_CONFIGS.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(GROUP_CONFIGS.len(), 11);
        let none = Configs::new();
        for spec in GROUP_CONFIGS {
            assert_eq!(spec.check(spec.inherited(&none)), Ok(()), "{}", spec.name);
            for bound in [spec.bounds.0, spec.bounds.1].into_iter().flatten() {
                assert!(broker::find(bound).is_some(), "{bound}");
            }
            let own = configs(&[(spec.name, spec.inherited(&none))]);
            assert_eq!(validate_all(&own, &none), Ok(()), "{}", spec.name);
        }
    }

    #[test]
    fn values_are_taken_within_the_brokers_bounds() {
        let brokers = configs(&[("group.consumer.max.session.timeout.ms", "50000")]);
        let taken: &[&[(&str, &str)]] = &[
            &[],
            &[("consumer.session.timeout.ms", "50000")],
            &[("consumer.heartbeat.interval.ms", " 15000 ")],
            &[("share.auto.offset.reset", "earliest")],
            &[("share.auto.offset.reset", "by_duration:P1DT2H3M4.5S")],
            &[("share.isolation.level", "read_committed")],
            &[("streams.num.standby.replicas", "2")],
        ];
        for set in taken {
            assert_eq!(validate_all(&configs(set), &brokers), Ok(()), "{set:?}");
        }
        let refused: &[(&[(&str, &str)], &str)] = &[
            (&[("nope", "1")], "Unknown group config name: nope"),
            (
                &[("nope", "1"), ("consumer.session.timeout.ms", "x")],
                "Unknown group config name: nope",
            ),
            (
                &[("consumer.session.timeout.ms", "x")],
                "Invalid value x for configuration consumer.session.timeout.ms: Not a number of type INT",
            ),
            (
                &[("consumer.session.timeout.ms", "0")],
                "Invalid value 0 for configuration consumer.session.timeout.ms: Value must be at least 1",
            ),
            (
                &[("consumer.session.timeout.ms", "50001")],
                "consumer.session.timeout.ms must be less than or equal to \
                 group.consumer.max.session.timeout.ms",
            ),
            (
                &[("consumer.heartbeat.interval.ms", "4999")],
                "consumer.heartbeat.interval.ms must be greater than or equal to \
                 group.consumer.min.heartbeat.interval.ms",
            ),
            (
                &[("streams.num.standby.replicas", "3")],
                "streams.num.standby.replicas must be less than or equal to \
                 group.streams.max.standby.replicas",
            ),
            (
                &[("share.isolation.level", "x")],
                "Invalid value x for configuration share.isolation.level: String must be one of: \
                 read_committed, read_uncommitted",
            ),
            (
                &[("share.auto.offset.reset", "none")],
                "Invalid value none for configuration share.auto.offset.reset: Invalid value `none` for \
                 configuration share.auto.offset.reset. The value must be either 'earliest', 'latest' or \
                 of the format 'by_duration:<PnDTnHnMn.nS>'.",
            ),
        ];
        for (set, text) in refused {
            let refused = validate_all(&configs(set), &brokers).map_err(|error| error.to_string());
            assert_eq!(refused, Err((*text).to_owned()), "{set:?}");
        }
        let long = "9".repeat(VALUE_BYTES_MAX + 1);
        let error = validate_all(&configs(&[("share.session.timeout.ms", &long)]), &brokers);
        assert!(
            matches!(error, Err(ConfigError::Invalid { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn a_session_is_longer_than_the_time_between_heartbeats() {
        let brokers = configs(&[
            ("group.consumer.min.session.timeout.ms", "1000"),
            ("group.consumer.max.heartbeat.interval.ms", "15000"),
        ]);
        let set = configs(&[
            ("consumer.session.timeout.ms", "6000"),
            ("consumer.heartbeat.interval.ms", "6000"),
        ]);
        let error = validate_all(&set, &brokers).unwrap_err().to_string();
        assert_eq!(
            error,
            "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms"
        );
        let set = configs(&[("consumer.session.timeout.ms", "5000")]);
        assert!(
            validate_all(&set, &brokers).is_err(),
            "5000 is what brokers say"
        );
        let set = configs(&[("consumer.session.timeout.ms", "5001")]);
        assert_eq!(validate_all(&set, &brokers), Ok(()));
    }

    #[test]
    fn durations_are_those_of_iso_8601() {
        for good in [
            "P1D",
            "PT1H",
            "PT1M",
            "PT1S",
            "PT0.5S",
            "P2DT3H4M5.678S",
            "pt10m",
            "PT1.S",
        ] {
            assert!(is_duration(good), "{good}");
        }
        for bad in [
            "", "P", "PT", "1D", "P1", "P1H", "PT1D", "P1DT", "PT-1S", "P-1D", "PT1M1H", "PT.5S",
            "PT1H1", "PTS",
        ] {
            assert!(!is_duration(bad), "{bad}");
        }
    }
}
