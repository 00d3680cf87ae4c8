//! How the leader in this process looks after the bucket, and backs its metadata up.

use std::sync::Arc;

use aquifer_metadata::{
    LeaderSettings, Role,
    backup::{self, BackupSettings},
    journal::Journal,
    planner::PlannerSettings,
};
use aquifer_store::{ObjectStore, Ports};
use tokio::sync::watch;

use crate::arguments::compactor::Upkeep;

/// The settings with what the flags say of it.
pub(crate) fn with(settings: LeaderSettings, arguments: &Upkeep) -> LeaderSettings {
    let interval = arguments.backup_interval.0;
    let backup = (!interval.is_zero()).then(|| BackupSettings {
        interval,
        ..BackupSettings::default()
    });
    let defaults = PlannerSettings::default();
    let fan_in = usize::from(arguments.compaction_fan_in);
    LeaderSettings {
        planner: PlannerSettings {
            small_objects: fan_in,
            small_objects_min: defaults.small_objects_min.min(fan_in),
            small_age_epochs: arguments.compaction_age,
            waits_for_backup: backup.is_some(),
            ..defaults
        },
        backup,
        upload_epoch: arguments.upload_epoch.0,
        ..settings
    }
}

/// Backs metadata up whenever this process leads, if it is to.
pub(crate) fn start_backups(
    ports: &Ports,
    journal: Arc<dyn Journal>,
    store: Arc<dyn ObjectStore>,
    role: watch::Receiver<Role>,
    settings: Option<BackupSettings>,
) {
    if let Some(settings) = settings {
        let backups = backup::while_leading(ports.clone(), journal, store, role, settings);
        ports.tasks.spawn(backups);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::{
        arguments::{Arguments, Command},
        units::Span,
    };

    fn upkeep(backup_interval: Duration) -> Upkeep {
        Upkeep {
            backup_interval: Span(backup_interval),
            compaction_age: 2,
            compaction_fan_in: 4,
            upload_epoch: Span(Duration::from_millis(500)),
        }
    }

    #[test]
    fn only_a_cluster_is_backed_up_by_default() {
        let parsed = |words: &[&str]| Arguments::try_parse_from(words).unwrap().command;
        let Command::Dev(dev) = parsed(&["aquifer", "dev"]) else {
            panic!("another command");
        };
        assert_eq!(dev.upkeep.backup_interval, Span(Duration::ZERO));
        let words = [
            "aquifer",
            "metadata",
            "--postgres=p",
            "--bucket=b",
            "--cluster-secret=s",
        ];
        let Command::Metadata(metadata) = parsed(&words) else {
            panic!("another command");
        };
        let interval = metadata.process.upkeep.backup_interval;
        assert_eq!(interval, Span(Duration::from_secs(300)));
    }

    #[test]
    fn deletions_wait_for_backups_only_where_there_are_any() {
        for (interval, is_on) in [(Duration::ZERO, false), (Duration::from_secs(9), true)] {
            let settings = with(LeaderSettings::default(), &upkeep(interval));
            assert_eq!(settings.planner.waits_for_backup, is_on);
            let expected = is_on.then_some(interval);
            assert_eq!(settings.backup.map(|backup| backup.interval), expected);
        }
    }

    #[test]
    fn a_small_fan_in_asks_for_no_more_objects_than_it_merges() {
        let settings = with(LeaderSettings::default(), &upkeep(Duration::ZERO));
        assert_eq!(settings.planner.small_objects, 4);
        assert_eq!(settings.planner.small_objects_min, 4);
        assert_eq!(settings.planner.small_age_epochs, 2);
        assert_eq!(settings.upload_epoch, Duration::from_millis(500));
    }
}
