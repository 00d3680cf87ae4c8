//! Configs of groups: the broker configs that all groups follow, and those that can be set on one
//! (resource type GROUP).

use super::{Configs, broker::Values, value};

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
    /// What holds with these broker configs. Total: a value that is not valid counts as not set.
    #[must_use]
    pub fn resolve(broker_configs: &Configs) -> Self {
        let values = Values(broker_configs);
        let int = |name: &str| i32::try_from(values.long(name)).unwrap_or(i32::MAX);
        let size = |name: &str| usize::try_from(values.long(name)).unwrap_or(usize::MAX);
        let list = |name: &str| {
            let items = value::list(values.text(name)).map(str::to_owned);
            items.collect::<Vec<_>>()
        };
        let protocols = list("group.coordinator.rebalance.protocols");
        let migration = values.text("group.consumer.migration.policy");
        Self {
            consumer_protocol: protocols.iter().any(|name| name == "consumer"),
            initial_rebalance_delay_ms: int("group.initial.rebalance.delay.ms").max(0),
            session_timeout_min_ms: int("group.min.session.timeout.ms"),
            session_timeout_max_ms: int("group.max.session.timeout.ms"),
            members_max: size("group.max.size"),
            offset_metadata_bytes_max: size("offset.metadata.max.bytes"),
            offsets_retention_ms: values
                .long("offsets.retention.minutes")
                .saturating_mul(60_000),
            offsets_check_interval_ms: values.long("offsets.retention.check.interval.ms").max(1),
            consumer: ConsumerGroupConfig {
                session_timeout_ms: int("group.consumer.session.timeout.ms"),
                session_timeout_bounds_ms: (
                    int("group.consumer.min.session.timeout.ms"),
                    int("group.consumer.max.session.timeout.ms"),
                ),
                heartbeat_interval_ms: int("group.consumer.heartbeat.interval.ms"),
                heartbeat_interval_bounds_ms: (
                    int("group.consumer.min.heartbeat.interval.ms"),
                    int("group.consumer.max.heartbeat.interval.ms"),
                ),
                members_max: size("group.consumer.max.size"),
                assignors: list("group.consumer.assignors"),
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
