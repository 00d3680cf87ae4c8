//! Pages: writing them under the fence, loading them in one snapshot, and truncating what they made
//! obsolete.

use std::collections::BTreeMap;

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::{Connection, PgConnection, PgTransaction, Row as _, postgres::PgRow};

use super::{
    super::{
        chain::{from_signed, hash_from, to_signed},
        sqlstate::{Effect, failure, is_lock_timeout},
    },
    JournalError, Loaded, Page, PageKey, RowAt, SHARD, sql,
    tables::{Table, TableLimits, Tables, Upkeep},
};

/// Bytes of pages in one statement: bounds what client and server hold at a time. The client copies them
/// twice, into buffers that grow by doubling; those of this size are not new memory each time.
const STATEMENT_BYTES: usize = 1 << 20;

/// Writes and removes pages while the fence is `term` and the row `newest` is there. False = it is not,
/// and nothing was written.
pub(super) async fn put(
    connection: &mut PgConnection,
    (term, newest): (LeaderTerm, RowAt),
    pages: Vec<Page>,
    removed: &[PageKey],
    through: JournalSeq,
) -> Result<bool, sqlx::Error> {
    let mut tx = connection.begin().await?;
    put_all(&mut tx, pages).await?;
    if !removed.is_empty() {
        let keys: Vec<&[u8]> = removed.iter().map(|key| key.0.as_slice()).collect();
        sqlx::query(sql::REMOVE_PAGES)
            .bind(SHARD)
            .bind(keys)
            .execute(&mut *tx)
            .await?;
    }
    sqlx::query(sql::CHECKPOINT)
        .bind(SHARD)
        .bind(to_signed(through.0))
        .execute(&mut *tx)
        .await?;
    // Last, so that a take-over waits for no more than one commit.
    let ours = sqlx::query(sql::CHECK_FENCE)
        .bind(SHARD)
        .bind(to_signed(term.0))
        .bind(to_signed(newest.0.0))
        .bind(newest.1.as_slice())
        .fetch_optional(&mut *tx)
        .await?;
    if ours.is_none() {
        tx.rollback().await?;
        return Ok(false);
    }
    tx.commit().await?;
    Ok(true)
}

/// Writes pages unless newer ones are there.
pub(super) async fn put_all(
    tx: &mut PgTransaction<'_>,
    mut pages: Vec<Page>,
) -> Result<(), sqlx::Error> {
    // In key order, so that a deposed leader that writes at the same time can't make a deadlock; each key
    // once, which the statement needs.
    pages.sort_by_key(|page| page.seq);
    let pages: BTreeMap<PageKey, (JournalSeq, Bytes)> = pages
        .into_iter()
        .map(|page| (page.key, (page.seq, page.bytes)))
        .collect();
    let mut rest = pages.iter().peekable();
    while rest.peek().is_some() {
        let (mut keys, mut seqs, mut contents) = (Vec::new(), Vec::new(), Vec::new());
        let mut size = 0;
        while size < STATEMENT_BYTES
            && let Some((key, (seq, bytes))) = rest.next()
        {
            size += key.0.len() + bytes.len();
            keys.push(key.0.as_slice());
            seqs.push(to_signed(seq.0));
            contents.push(bytes.as_ref());
        }
        sqlx::query(sql::PUT_PAGES)
            .bind(SHARD)
            .bind(keys)
            .bind(seqs)
            .bind(contents)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Reads all pages and the tail in one snapshot.
pub(super) async fn load(connection: &mut PgConnection) -> Result<Loaded, JournalError> {
    let failed = |e: sqlx::Error| failure(&e, Effect::None);
    let mut tx = connection
        .begin_with(sql::BEGIN_SNAPSHOT)
        .await
        .map_err(failed)?;
    sqlx::query(sql::HOLD_TABLES)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    let through: i64 = sqlx::query_scalar(sql::THROUGH)
        .bind(SHARD)
        .fetch_one(&mut *tx)
        .await
        .map_err(failed)?;
    let tail = sqlx::query(sql::TAIL)
        .bind(SHARD)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
    let mut pages = Vec::new();
    let mut rows = sqlx::query(sql::PAGES).bind(SHARD).fetch(&mut *tx);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        pages.push(page_from(&row)?);
    }
    drop(rows);
    tx.commit().await.map_err(failed)?;
    Ok(Loaded {
        pages,
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

pub(super) fn page_from(row: &PgRow) -> Result<Page, JournalError> {
    Ok(Page {
        key: PageKey(row.get("key")),
        seq: JournalSeq(from_signed(row.get("seq"))?),
        bytes: Bytes::from(row.get::<Vec<u8>, _>("bytes")),
    })
}

/// What the two journal tables hold.
pub(super) async fn tables(connection: &mut PgConnection) -> Result<Tables, JournalError> {
    let row = sqlx::query(sql::TABLES)
        .bind(SHARD)
        .fetch_one(connection)
        .await
        .map_err(|e| failure(&e, Effect::None))?;
    Tables::from_row(&row)
}

/// Has the rows of `term` from now on appended to `table`, if it is empty.
pub(super) async fn switch_to(
    connection: &mut PgConnection,
    table: Table,
    term: LeaderTerm,
) -> Result<(), JournalError> {
    sqlx::query(table.switch_to())
        .bind(SHARD)
        .bind(to_signed(term.0))
        .execute(connection)
        .await
        .map_err(|e| failure(&e, Effect::Possible))?;
    Ok(())
}

/// Truncates `table`, if it is still true that it may go.
///
/// All that is decided here are facts of the database, so it does no harm in the hands of a deposed
/// leader.
pub(super) async fn truncate(
    connection: &mut PgConnection,
    table: Table,
    limits: TableLimits,
) -> Result<(), JournalError> {
    let failed = |e: sqlx::Error| failure(&e, Effect::Possible);
    let mut tx = connection.begin().await.map_err(failed)?;
    sqlx::query(sql::SHORT_LOCK)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    match sqlx::query(table.lock()).execute(&mut *tx).await {
        Ok(_) => {}
        // Somebody loads; next time.
        Err(error) if is_lock_timeout(&error) => return tx.rollback().await.map_err(failed),
        Err(error) => return Err(failed(error)),
    }
    if tables(&mut tx).await?.upkeep(limits) == Some(Upkeep::Truncate(table)) {
        sqlx::query(table.truncate())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
    }
    tx.commit().await.map_err(failed)
}
