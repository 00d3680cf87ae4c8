//! Configs of groups: the broker configs that all groups follow, and those that can be set on one
//! (resource type GROUP).

mod specs;

pub use self::specs::{GROUP_CONFIGS, GroupConfigSpec, Unset, find, validate_all};
use super::{Configs, broker::Values, value};

/// Assignors that there are, by the names and classes that Kafka knows them by.
const ASSIGNORS: [(&str, &str); 2] = [
    (
        "uniform",
        "org.apache.kafka.coordinator.group.assignor.UniformAssignor",
    ),
    (
        "range",
        "org.apache.kafka.coordinator.group.assignor.RangeAssignor",
    ),
];

/// What groups follow, from the broker configs, defaults filled in. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCoordinatorConfig {
    /// `group.coordinator.rebalance.protocols` has `consumer`.
    pub consumer_protocol: bool,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i32,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max_ms: i32,
    /// `group.max.size`.
    pub members_max: usize,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_check_interval_ms: i64,
    /// Of consumer groups.
    pub consumer: ConsumerGroupConfig,
}

/// What consumer groups follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    /// `group.consumer.session.timeout.ms`.
    pub session_timeout_ms: i32,
    /// `group.consumer.min.session.timeout.ms` and `group.consumer.max.session.timeout.ms`.
    pub session_timeout_bounds_ms: (i32, i32),
    /// `group.consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.min.heartbeat.interval.ms` and `group.consumer.max.heartbeat.interval.ms`.
    pub heartbeat_interval_bounds_ms: (i32, i32),
    /// `group.consumer.max.size`.
    pub members_max: usize,
    /// `group.consumer.assignors`: names, the first is the default.
    pub assignors: Vec<String>,
    /// `group.consumer.migration.policy`.
    pub migration: MigrationPolicy,
}

/// Whether a group with members may move between the protocols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Never.
    Disabled,
    /// To the consumer protocol.
    Upgrade,
    /// To the classic protocol.
    Downgrade,
    /// Both.
    #[default]
    Bidirectional,
}

impl MigrationPolicy {
    /// Whether classic groups may become consumer groups.
    #[must_use]
    pub fn upgrades(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    /// Whether consumer groups may become classic groups.
    #[must_use]
    pub fn downgrades(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}

impl Default for GroupCoordinatorConfig {
    fn default() -> Self {
        Self::resolve(&Configs::new())
    }
}

impl GroupCoordinatorConfig {
    /// What holds with these broker configs. Total: a value that is not valid counts as not set, a maximum
    /// below its minimum is the minimum, and assignors that do not exist are left out.
    #[must_use]
    pub fn resolve(broker_configs: &Configs) -> Self {
        let values = Values(broker_configs);
        let int = |name: &str| i32::try_from(values.long(name)).unwrap_or(i32::MAX);
        // Kafka takes negative sizes where it says nothing else: nothing fits them
        let size = |name: &str| usize::try_from(values.long(name).max(0)).unwrap_or(usize::MAX);
        let list = |name: &str| {
            let items = value::list(values.text(name)).map(str::to_owned);
            items.collect::<Vec<_>>()
        };
        let protocols = list("group.coordinator.rebalance.protocols");
        let migration = values.text("group.consumer.migration.policy");
        let bounds = |min: &str, max: &str| (int(min), int(max).max(int(min)));
        let (session_timeout_min_ms, session_timeout_max_ms) = bounds(
            "group.min.session.timeout.ms",
            "group.max.session.timeout.ms",
        );
        let session_timeout_bounds_ms = bounds(
            "group.consumer.min.session.timeout.ms",
            "group.consumer.max.session.timeout.ms",
        );
        let heartbeat_interval_bounds_ms = bounds(
            "group.consumer.min.heartbeat.interval.ms",
            "group.consumer.max.heartbeat.interval.ms",
        );
        Self {
            consumer_protocol: protocols.iter().any(|name| name == "consumer"),
            initial_rebalance_delay_ms: int("group.initial.rebalance.delay.ms").max(0),
            session_timeout_min_ms,
            session_timeout_max_ms,
            members_max: size("group.max.size"),
            offset_metadata_bytes_max: size("offset.metadata.max.bytes"),
            offsets_retention_ms: values
                .long("offsets.retention.minutes")
                .saturating_mul(60_000),
            offsets_check_interval_ms: values.long("offsets.retention.check.interval.ms").max(1),
            consumer: ConsumerGroupConfig {
                session_timeout_ms: int("group.consumer.session.timeout.ms"),
                session_timeout_bounds_ms,
                heartbeat_interval_ms: int("group.consumer.heartbeat.interval.ms"),
                heartbeat_interval_bounds_ms,
                members_max: size("group.consumer.max.size"),
                assignors: assignors(&list("group.consumer.assignors")),
                migration: match migration.to_ascii_lowercase().as_str() {
                    "disabled" => MigrationPolicy::Disabled,
                    "upgrade" => MigrationPolicy::Upgrade,
                    "downgrade" => MigrationPolicy::Downgrade,
                    _ => MigrationPolicy::Bidirectional,
                },
            },
        }
    }
}

/// The assignors that exist among `named`, each once; all of them where none does.
fn assignors(named: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in named {
        let known = ASSIGNORS
            .iter()
            .find(|(short, class)| name == short || name == class);
        if let Some((short, _)) = known
            && !found.iter().any(|name| name == short)
        {
            found.push((*short).to_owned());
        }
    }
    if found.is_empty() {
        found.extend(ASSIGNORS.iter().map(|(short, _)| (*short).to_owned()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(pairs: &[(&str, &str)]) -> GroupCoordinatorConfig {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        GroupCoordinatorConfig::resolve(&pairs.iter().map(owned).collect())
    }

    #[test]
    fn groups_follow_kafkas_defaults() {
        let config = GroupCoordinatorConfig::default();
        assert!(config.consumer_protocol);
        assert_eq!(config.initial_rebalance_delay_ms, 3_000);
        let classic = (config.session_timeout_min_ms, config.session_timeout_max_ms);
        assert_eq!(classic, (6_000, 1_800_000));
        assert_eq!(config.members_max, 2_147_483_647);
        assert_eq!(config.offset_metadata_bytes_max, 4_096);
        assert_eq!(config.offsets_retention_ms, 7 * 24 * 3_600_000);
        assert_eq!(config.offsets_check_interval_ms, 600_000);
        let consumer = &config.consumer;
        assert_eq!(consumer.session_timeout_ms, 45_000);
        assert_eq!(consumer.session_timeout_bounds_ms, (45_000, 60_000));
        assert_eq!(consumer.heartbeat_interval_ms, 5_000);
        assert_eq!(consumer.heartbeat_interval_bounds_ms, (5_000, 15_000));
        assert_eq!(consumer.assignors, ["uniform", "range"]);
        assert_eq!(consumer.migration, MigrationPolicy::Bidirectional);
    }

    #[test]
    fn what_is_set_holds_as_far_as_it_makes_sense() {
        let config = resolved(&[
            ("group.coordinator.rebalance.protocols", "classic"),
            ("group.min.session.timeout.ms", "9000"),
            ("group.max.session.timeout.ms", "10"),
            ("group.max.size", "x"),
            ("offset.metadata.max.bytes", "-5"),
            ("group.consumer.migration.policy", "Upgrade"),
        ]);
        assert!(!config.consumer_protocol);
        let classic = (config.session_timeout_min_ms, config.session_timeout_max_ms);
        assert_eq!(classic, (9_000, 9_000));
        assert_eq!(config.members_max, 2_147_483_647);
        assert_eq!(config.offset_metadata_bytes_max, 0);
        let migration = config.consumer.migration;
        assert!(migration.upgrades() && !migration.downgrades());
        let cases: [(&str, &[&str]); 5] = [
            ("range", &["range"]),
            ("range,uniform,range", &["range", "uniform"]),
            (
                "org.apache.kafka.coordinator.group.assignor.RangeAssignor,mine",
                &["range"],
            ),
            ("mine", &["uniform", "range"]),
            ("", &["uniform", "range"]),
        ];
        for (set, expected) in cases {
            let config = resolved(&[("group.consumer.assignors", set)]);
            assert_eq!(config.consumer.assignors, expected, "{set}");
        }
    }
}
