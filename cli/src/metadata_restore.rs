//! `aquifer metadata restore`: a cluster comes back from its bucket.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use aquifer_format::key::object_name;
use aquifer_metadata::{
    journal::postgres::{PostgresJournal, PostgresSettings},
    restore::{RestoreSettings, Restored, RestoredPartition, restore},
};
use aquifer_store::{Ports, location::Wrapping};
use serde_json::{Value, json};

use crate::{arguments::cluster::MetadataRestore, instant, output::Printer};

/// Restores, and says which offsets it vouches for.
pub(crate) async fn run(arguments: &MetadataRestore, ports: &Ports) -> Result<()> {
    // creates the tables: a new database has none
    let settings = PostgresSettings::new(&arguments.postgres.postgres);
    let journal = PostgresJournal::connect(settings, ports.clone()).await;
    let journal = Arc::new(journal.context("the database cannot be used")?);
    let bucket = &arguments.bucket.bucket;
    let store = aquifer_store::open(bucket, ports, Wrapping::default()).await?;
    let settings = RestoreSettings {
        gap: arguments.gap,
        ..RestoreSettings::default()
    };
    let restored = restore(journal, store, ports, &settings).await?;
    let mut printer = Printer::stdout(arguments.output);
    if printer.is_json() {
        return printer.say("", &restored_json(&restored));
    }
    let lines = restored_lines(&restored);
    lines.iter().try_for_each(|line| printer.heading(line))
}

fn restored_lines(restored: &Restored) -> Vec<String> {
    let mut lines = vec![
        format!(
            "restored: incarnation {} begins with upload epoch {}, from the backup of {}",
            restored.incarnation,
            restored.upload_epoch,
            instant::format(restored.backup_unix_millis)
        ),
        "topics, configs and committed offsets are those of the backup; records that were deleted since may be back"
            .to_owned(),
    ];
    lines.extend(restored.partitions.iter().map(line));
    let (objects, bytes) = restored.unvouched;
    if objects > 0 {
        lines.push(format!(
            "{objects} objects of agents, {bytes} bytes, are newer than the backup: nobody knows the offsets of what is in them"
        ));
    }
    for object in &restored.missing {
        lines.push(format!(
            "missing: {} is not in the bucket; reads of what was in it fail",
            object_name(object)
        ));
    }
    for partition in &restored.lost {
        lines.push(format!(
            "lost: {partition} is of a topic that the backup does not know"
        ));
    }
    lines
}

fn line(partition: &RestoredPartition) -> String {
    let mut since = String::new();
    if partition.vouched > partition.backup {
        since = format!(
            " ({} from the backup, what follows from compacted objects)",
            partition.backup
        );
    }
    format!(
        "{}-{}: offsets {} to {} are as they were acknowledged{since}; goes on at {}",
        partition.topic,
        partition.partition.partition,
        partition.log_start,
        partition.vouched,
        partition.goes_on
    )
}

fn restored_json(restored: &Restored) -> Value {
    let partitions = restored.partitions.iter().map(|partition| {
        json!({
            "topic": partition.topic,
            "topic_id": partition.partition.topic.to_string(),
            "partition": partition.partition.partition.0,
            "log_start": partition.log_start.0,
            "vouched": partition.vouched.0,
            "backup": partition.backup.0,
            "goes_on_at": partition.goes_on.0,
        })
    });
    let missing = restored.missing.iter().map(object_name);
    let lost = restored.lost.iter().map(|partition| {
        json!({
            "topic_id": partition.topic.to_string(),
            "partition": partition.partition.0,
        })
    });
    let (objects, bytes) = restored.unvouched;
    json!({
        "incarnation": restored.incarnation.0,
        "upload_epoch": restored.upload_epoch.0,
        "backup_unix_millis": restored.backup_unix_millis,
        "partitions": partitions.collect::<Vec<_>>(),
        "missing": missing.collect::<Vec<_>>(),
        "unvouched": { "objects": objects, "bytes": bytes },
        "lost": lost.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{
        Incarnation, ObjectId, ObjectLevel, Offset, PartitionId, PartitionIndex, TopicId,
        UploadEpoch, WriterSlot,
    };
    use aquifer_format::key::parse_cluster_id;

    use super::*;

    #[test]
    fn what_came_back_is_told_with_what_did_not() {
        let topic = TopicId(parse_cluster_id("AQIDBAUGBwgJCgsMDQ4PEA").unwrap().0);
        let partition = PartitionId::new(topic, PartitionIndex(2));
        let restored = Restored {
            incarnation: Incarnation(2),
            upload_epoch: UploadEpoch(9),
            backup_unix_millis: 0,
            partitions: vec![RestoredPartition {
                partition,
                topic: "orders".to_owned(),
                log_start: Offset(3),
                vouched: Offset(50),
                backup: Offset(40),
                goes_on: Offset(1_000_050),
            }],
            missing: vec![ObjectId {
                incarnation: Incarnation(1),
                upload_epoch: UploadEpoch(4),
                writer: WriterSlot(5),
                level: ObjectLevel::L0,
                unique: 6,
            }],
            unvouched: (7, 8),
            lost: vec![partition],
        };
        let text = restored_lines(&restored).join("\n");
        for says in [
            "from the backup of 1970-01-01",
            "orders-2: offsets 3 to 50 are as they were acknowledged (40 from the backup",
            "goes on at 1000050",
            "7 objects of agents, 8 bytes",
            "l0-5-0000000000000006 is not in the bucket",
            "-2 is of a topic that the backup does not know",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
        let json = restored_json(&restored);
        assert_eq!(json["partitions"][0]["vouched"], 50);
        assert_eq!(json["unvouched"]["bytes"], 8);
    }
}
