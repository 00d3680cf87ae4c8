//! Copies of the pages: what a start loads, what a backup takes, what a restore brings back.

use aquifer_format::ids::JournalSeq;
use bytes::Bytes;
use sqlx::{Connection, Row as _, SqliteConnection, sqlite::SqliteRow};
use tokio::sync::mpsc;

use super::{
    Effect, JournalError, Loaded, Page, PageKey, Row, SHARD, WantedPages, failure, from_signed,
    hash_from, sql, to_signed,
};

fn unread(error: sqlx::Error) -> JournalError {
    failure(&error, Effect::None)
}

fn doubt(error: sqlx::Error) -> JournalError {
    failure(&error, Effect::Possible)
}

/// Reads all pages and the tail in one snapshot.
pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Loaded, JournalError> {
    snapshot(connection, Box::new(|| None)).await
}

/// Reads the pages that are `wanted`, and the tail, in one snapshot.
pub(super) async fn snapshot(
    connection: &mut SqliteConnection,
    wanted: WantedPages,
) -> Result<Loaded, JournalError> {
    let mut tx = connection.begin().await.map_err(unread)?;
    let through: i64 = sqlx::query_scalar(sql::THROUGH)
        .bind(SHARD)
        .fetch_one(&mut *tx)
        .await
        .map_err(unread)?;
    let tail = sqlx::query(sql::TAIL)
        .bind(SHARD)
        .fetch_optional(&mut *tx)
        .await
        .map_err(unread)?;
    let mut rows = Vec::new();
    match wanted() {
        None => {
            rows = sqlx::query(sql::PAGES)
                .bind(SHARD)
                .fetch_all(&mut *tx)
                .await
                .map_err(unread)?;
        }
        Some(keys) => {
            for key in keys {
                let page = sqlx::query(sql::PAGE)
                    .bind(SHARD)
                    .bind(key.0.as_slice())
                    .fetch_optional(&mut *tx)
                    .await
                    .map_err(unread)?;
                rows.extend(page);
            }
        }
    }
    tx.commit().await.map_err(unread)?;
    Ok(Loaded {
        pages: rows.iter().map(page_from).collect::<Result<_, _>>()?,
        pages_through: JournalSeq(from_signed(through)?),
        tail: match tail {
            Some(row) => Some((
                JournalSeq(from_signed(row.get("seq"))?),
                hash_from(row.get("hash"))?,
            )),
            None => None,
        },
    })
}

fn page_from(row: &SqliteRow) -> Result<Page, JournalError> {
    Ok(Page {
        key: PageKey(row.get("key")),
        seq: JournalSeq(from_signed(row.get("seq"))?),
        bytes: Bytes::from(row.get::<Vec<u8>, _>("bytes")),
    })
}

/// Makes a journal of `pages` and `row`; false = there is one already.
pub(super) async fn restore(
    connection: &mut SqliteConnection,
    mut pages: mpsc::Receiver<Vec<Page>>,
    row: &Row,
) -> Result<bool, JournalError> {
    let mut tx = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(unread)?;
    let empty: bool = sqlx::query_scalar(sql::IS_EMPTY)
        .bind(SHARD)
        .bind(to_signed(row.term.0))
        .fetch_one(&mut *tx)
        .await
        .map_err(unread)?;
    if !empty {
        tx.rollback().await.map_err(unread)?;
        return Ok(false);
    }
    while let Some(piece) = pages.recv().await {
        for page in piece {
            sqlx::query(sql::PUT_PAGE)
                .bind(SHARD)
                .bind(page.key.0.as_slice())
                .bind(to_signed(page.seq.0))
                .bind(page.bytes.as_ref())
                .execute(&mut *tx)
                .await
                .map_err(doubt)?;
        }
    }
    sqlx::query(sql::CHECKPOINT)
        .bind(SHARD)
        .bind(to_signed(row.seq.0.saturating_sub(1)))
        .execute(&mut *tx)
        .await
        .map_err(doubt)?;
    sqlx::query(sql::INSERT)
        .bind(SHARD)
        .bind(to_signed(row.seq.0))
        .bind(to_signed(row.term.0))
        .bind(row.previous.as_slice())
        .bind(row.hash.as_slice())
        .bind(row.bytes.as_ref())
        .execute(&mut *tx)
        .await
        .map_err(doubt)?;
    sqlx::query(sql::SET_FENCE)
        .bind(SHARD)
        .bind(to_signed(row.term.0))
        .execute(&mut *tx)
        .await
        .map_err(doubt)?;
    tx.commit().await.map_err(doubt)?;
    Ok(true)
}
