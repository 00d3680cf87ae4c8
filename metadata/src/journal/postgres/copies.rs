//! Copies of the pages: what a backup takes, and what a restore brings back.

use std::time::Duration;

use aquifer_format::ids::JournalSeq;
use aquifer_store::Ports;
use futures::TryStreamExt;
use sqlx::{Connection, PgConnection, PgTransaction, Row as _};
use tokio::sync::mpsc;

use super::{
    super::{
        chain::{from_signed, hash_from, to_signed},
        pieces::Pieces,
        sqlstate::{Effect, failure},
    },
    JournalError, Page, PageKey, Row, RowAt, SHARD, Snapshot, WantedPages, no_answer, pages, sql,
};

/// Keys that one statement asks for.
const KEYS_AT_ONCE: usize = 4_096;

fn unread(error: sqlx::Error) -> JournalError {
    failure(&error, Effect::None)
}

fn doubt(error: sqlx::Error) -> JournalError {
    failure(&error, Effect::Possible)
}

/// Sends the pages that are `wanted` to `to`. Each answer of the server is waited for at most `patience`; how long
/// the one who takes the pages needs is not counted.
pub(super) async fn snapshot(
    connection: &mut PgConnection,
    (ports, patience): (&Ports, Duration),
    wanted: WantedPages,
    to: mpsc::Sender<Vec<Page>>,
) -> Result<Snapshot, JournalError> {
    let late = || no_answer(patience, Effect::None);
    let beginning = ports.timeout(patience, begin(connection)).await;
    let (mut tx, snapshot) = beginning.unwrap_or_else(|| Err(late()))?;
    let mut pieces = Pieces::new(to);
    let (keys, all) = match wanted() {
        Some(keys) => (keys, false),
        None => (Vec::new(), true),
    };
    if all {
        let mut rows = sqlx::query(sql::PAGES).bind(SHARD).fetch(&mut *tx);
        loop {
            let next = ports.timeout(patience, rows.try_next()).await;
            match next.ok_or_else(late)?.map_err(unread)? {
                Some(row) => pieces.push(pages::page_from(&row)?).await?,
                None => break,
            }
        }
    }
    for some in keys.chunks(KEYS_AT_ONCE) {
        let reading = ports.timeout(patience, read(&mut tx, some)).await;
        for page in reading.unwrap_or_else(|| Err(late()))? {
            pieces.push(page).await?;
        }
    }
    let ending = ports.timeout(patience, tx.commit()).await;
    ending.ok_or_else(late)?.map_err(unread)?;
    pieces.finish().await?;
    Ok(snapshot)
}

/// Begins a snapshot, and reads what it is of.
async fn begin(
    connection: &mut PgConnection,
) -> Result<(PgTransaction<'_>, Snapshot), JournalError> {
    let mut tx = connection
        .begin_with(sql::BEGIN_SNAPSHOT)
        .await
        .map_err(unread)?;
    for statement in [sql::PATIENT, sql::UNTIL_LET_GO, sql::HOLD_TABLES] {
        sqlx::query(statement)
            .execute(&mut *tx)
            .await
            .map_err(unread)?;
    }
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
    let tail: Option<RowAt> = match tail {
        Some(row) => Some((
            JournalSeq(from_signed(row.get("seq"))?),
            hash_from(row.get("hash"))?,
        )),
        None => None,
    };
    // A copy of everything takes minutes; truncations, which appends wait for, need not wait for it.
    sqlx::query(sql::LET_GO)
        .execute(&mut *tx)
        .await
        .map_err(unread)?;
    let snapshot = Snapshot {
        pages_through: JournalSeq(from_signed(through)?),
        tail,
    };
    Ok((tx, snapshot))
}

async fn read(tx: &mut PgTransaction<'_>, keys: &[PageKey]) -> Result<Vec<Page>, JournalError> {
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.0.as_slice()).collect();
    let rows = sqlx::query(sql::PAGES_OF)
        .bind(SHARD)
        .bind(keys)
        .fetch_all(&mut **tx)
        .await
        .map_err(unread)?;
    rows.iter().map(pages::page_from).collect()
}

/// Makes a journal of `pages` and `row`; false = there is one already, or somebody is about to begin one.
pub(super) async fn restore(
    connection: &mut PgConnection,
    (ports, patience): (&Ports, Duration),
    mut from: mpsc::Receiver<Vec<Page>>,
    row: &Row,
) -> Result<bool, JournalError> {
    let late = || no_answer(patience, Effect::None);
    let beginning = ports
        .timeout(patience, begin_restore(connection, row))
        .await;
    let Some(mut tx) = beginning.unwrap_or_else(|| Err(late()))? else {
        return Ok(false);
    };
    while let Some(piece) = from.recv().await {
        let writing = ports.timeout(patience, pages::put_all(&mut tx, piece));
        writing.await.ok_or_else(late)?.map_err(unread)?;
    }
    let ending = ports.timeout(patience, end_restore(tx, row)).await;
    ending.unwrap_or_else(|| Err(no_answer(patience, Effect::Possible)))?;
    Ok(true)
}

async fn begin_restore<'a>(
    connection: &'a mut PgConnection,
    row: &Row,
) -> Result<Option<PgTransaction<'a>>, JournalError> {
    let mut tx = connection.begin().await.map_err(unread)?;
    sqlx::query(sql::PATIENT)
        .execute(&mut *tx)
        .await
        .map_err(unread)?;
    let empty: bool = sqlx::query_scalar(sql::IS_EMPTY)
        .bind(SHARD)
        .bind(to_signed(row.term.0))
        .fetch_one(&mut *tx)
        .await
        .map_err(unread)?;
    if empty {
        return Ok(Some(tx));
    }
    tx.rollback().await.map_err(unread)?;
    Ok(None)
}

async fn end_restore(mut tx: PgTransaction<'_>, row: &Row) -> Result<(), JournalError> {
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
    tx.commit().await.map_err(doubt)
}
