//! Writing rows: column by column, some thousand rows in a statement.

use aquifer_format::{
    ids::{ClusterId, ObjectId, ObjectLevel, TopicId},
    key::object_key,
};
use aquifer_metadata_api::watch::TopicView;
use sqlx::postgres::PgTransaction;

use super::{super::delta::Delta, sql};
use crate::state::{ObjectRow, PartitionRow};

/// Rows in one statement: bounds what client and server hold at a time.
const STATEMENT_ROWS: usize = 4_096;
/// The last millisecond of the year 9999. Producers may give any number for a timestamp, and the server
/// refuses what is far beyond.
const TIMESTAMP_MAX: i64 = 253_402_300_799_999;

/// Carries a delta out; returns how many rows changed.
pub(super) async fn put(
    tx: &mut PgTransaction<'_>,
    cluster: ClusterId,
    delta: &Delta,
) -> Result<u64, sqlx::Error> {
    let mut changed = 0;
    changed += delete_topics(tx, &delta.deleted_topics).await?;
    changed += delete_objects(tx, cluster, &delta.deleted_objects).await?;
    changed += put_topics(tx, &delta.topics).await?;
    changed += put_partitions(tx, &delta.partitions).await?;
    changed += put_objects(tx, cluster, &delta.objects).await?;
    if delta.whole {
        let done = sqlx::query(sql::DELETE_STRAY_PARTITIONS)
            .execute(&mut **tx)
            .await?;
        changed += done.rows_affected();
    }
    Ok(changed)
}

async fn delete_topics(tx: &mut PgTransaction<'_>, topics: &[TopicId]) -> Result<u64, sqlx::Error> {
    let mut changed = 0;
    for some in topics.chunks(STATEMENT_ROWS) {
        let ids: Vec<String> = some.iter().map(|id| id.0.to_string()).collect();
        for statement in [sql::DELETE_PARTITIONS, sql::DELETE_TOPICS] {
            let done = sqlx::query(statement)
                .bind(ids.clone())
                .execute(&mut **tx)
                .await?;
            changed += done.rows_affected();
        }
    }
    Ok(changed)
}

async fn delete_objects(
    tx: &mut PgTransaction<'_>,
    cluster: ClusterId,
    objects: &[ObjectId],
) -> Result<u64, sqlx::Error> {
    let mut changed = 0;
    for some in objects.chunks(STATEMENT_ROWS) {
        let keys: Vec<String> = some.iter().map(|id| object_key(cluster, id)).collect();
        let done = sqlx::query(sql::DELETE_OBJECTS)
            .bind(keys)
            .execute(&mut **tx)
            .await?;
        changed += done.rows_affected();
    }
    Ok(changed)
}

async fn put_topics(tx: &mut PgTransaction<'_>, topics: &[TopicView]) -> Result<u64, sqlx::Error> {
    let mut changed = 0;
    for some in topics.chunks(STATEMENT_ROWS) {
        let ids: Vec<String> = some.iter().map(|t| t.id.0.to_string()).collect();
        let names: Vec<String> = some.iter().map(|t| text(&t.name)).collect();
        let partitions: Vec<i32> = some.iter().map(|t| integer(t.partitions)).collect();
        let epochs: Vec<i32> = some.iter().map(|t| t.leader_epoch.0).collect();
        let configs: Vec<String> = some.iter().map(configs).collect();
        let done = sqlx::query(sql::PUT_TOPICS)
            .bind(ids)
            .bind(names)
            .bind(partitions)
            .bind(epochs)
            .bind(configs)
            .execute(&mut **tx)
            .await?;
        changed += done.rows_affected();
    }
    Ok(changed)
}

async fn put_partitions(
    tx: &mut PgTransaction<'_>,
    partitions: &[PartitionRow],
) -> Result<u64, sqlx::Error> {
    let mut changed = 0;
    for some in partitions.chunks(STATEMENT_ROWS) {
        let topics: Vec<String> = some.iter().map(|p| p.id.topic.0.to_string()).collect();
        let indexes: Vec<i32> = some.iter().map(|p| p.id.partition.0).collect();
        let starts: Vec<i64> = some.iter().map(|p| p.log_start.0).collect();
        let ends: Vec<i64> = some.iter().map(|p| p.high_watermark.0).collect();
        let sizes: Vec<i64> = some.iter().map(|p| bigint(p.size_bytes)).collect();
        let extents: Vec<i64> = some.iter().map(|p| bigint(p.extents)).collect();
        let timestamps: Vec<Option<i64>> =
            some.iter().map(|p| timestamp(p.max_timestamp)).collect();
        let producers: Vec<i64> = some.iter().map(|p| bigint(p.producers)).collect();
        let held: Vec<i64> = some.iter().map(|p| bigint(p.held_batches)).collect();
        let done = sqlx::query(sql::PUT_PARTITIONS)
            .bind(topics)
            .bind(indexes)
            .bind(starts)
            .bind(ends)
            .bind(sizes)
            .bind(extents)
            .bind(timestamps)
            .bind(producers)
            .bind(held)
            .execute(&mut **tx)
            .await?;
        changed += done.rows_affected();
    }
    Ok(changed)
}

async fn put_objects(
    tx: &mut PgTransaction<'_>,
    cluster: ClusterId,
    objects: &[ObjectRow],
) -> Result<u64, sqlx::Error> {
    let mut changed = 0;
    for some in objects.chunks(STATEMENT_ROWS) {
        let keys: Vec<String> = some.iter().map(|o| object_key(cluster, &o.id)).collect();
        let levels: Vec<i32> = some.iter().map(|o| level(o.id.level)).collect();
        let writers: Vec<i64> = some.iter().map(|o| i64::from(o.id.writer.0)).collect();
        let incarnations: Vec<i64> = some.iter().map(|o| i64::from(o.id.incarnation.0)).collect();
        let epochs: Vec<i64> = some
            .iter()
            .map(|o| i64::from(o.id.upload_epoch.0))
            .collect();
        let bytes: Vec<i64> = some.iter().map(|o| bigint(o.bytes)).collect();
        let extents: Vec<i64> = some.iter().map(|o| i64::from(o.extents)).collect();
        let released = some.iter().map(|o| Some(i64::from(o.released_in?.0)));
        let released: Vec<Option<i64>> = released.collect();
        let done = sqlx::query(sql::PUT_OBJECTS)
            .bind(keys)
            .bind(levels)
            .bind(writers)
            .bind(incarnations)
            .bind(epochs)
            .bind(bytes)
            .bind(extents)
            .bind(released)
            .execute(&mut **tx)
            .await?;
        changed += done.rows_affected();
    }
    Ok(changed)
}

/// What the server takes for a text: it has no room for a zero byte.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Configs as a JSON object.
fn configs(topic: &TopicView) -> String {
    let entries = topic.configs.iter();
    let object: serde_json::Map<String, serde_json::Value> = entries
        .map(|(name, value)| (text(name), serde_json::Value::String(text(value))))
        .collect();
    serde_json::Value::Object(object).to_string()
}

fn timestamp(ms: Option<i64>) -> Option<i64> {
    ms.filter(|ms| (0..=TIMESTAMP_MAX).contains(ms))
}

fn integer(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn level(level: ObjectLevel) -> i32 {
    match level {
        ObjectLevel::L0 => 0,
        ObjectLevel::L1 => 1,
        ObjectLevel::L2 => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aquifer_format::ids::LeaderEpoch;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_the_server_has_no_room_for_is_left_out() {
        for (ms, expected) in [
            (None, None),
            (Some(0), Some(0)),
            (Some(-1), None),
            (Some(TIMESTAMP_MAX), Some(TIMESTAMP_MAX)),
            (Some(TIMESTAMP_MAX + 1), None),
            (Some(i64::MAX), None),
        ] {
            assert_eq!(timestamp(ms), expected, "{ms:?}");
        }
        let configs_of = |value: &str| {
            configs(&TopicView {
                id: TopicId(Uuid::nil()),
                name: "a".to_owned(),
                partitions: 1,
                leader_epoch: LeaderEpoch(0),
                configs: BTreeMap::from([("k".to_owned(), value.to_owned())]),
            })
        };
        assert_eq!(configs_of("a\"b"), r#"{"k":"a\"b"}"#);
        assert_eq!(configs_of("a\0b"), "{\"k\":\"a\u{fffd}b\"}");
        assert_eq!((bigint(u64::MAX), integer(u32::MAX)), (i64::MAX, i32::MAX));
    }
}
