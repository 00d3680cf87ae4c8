//! Lease calls, on a connection of their own: a slow page write must not cost the lease.

use std::time::Duration;

use aquifer_format::ids::LeaderTerm;
use sqlx::{Connection, PgConnection, Row as _, postgres::PgRow};

use super::{
    super::{
        chain::{from_signed, to_signed},
        sqlstate::{Effect, failure},
    },
    JournalError, Lease, LeaseOutcome, SHARD, sql,
};

fn doubt(error: sqlx::Error) -> JournalError {
    failure(&error, Effect::Possible)
}

fn lease_from(row: &PgRow) -> Result<Lease, JournalError> {
    Ok(Lease {
        term: LeaderTerm(from_signed(row.get("term"))?),
        holder: row.get("holder"),
        endpoint: row.get("endpoint"),
    })
}

fn milliseconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)
}

/// Takes the lease, and raises the fence with it, if it is free, ran out or is the holder's own.
pub(super) async fn take(
    connection: &mut PgConnection,
    holder: &str,
    endpoint: &str,
    ttl: Duration,
) -> Result<LeaseOutcome, JournalError> {
    let mut tx = connection.begin().await.map_err(doubt)?;
    let row = sqlx::query(sql::LOCK_LEASE)
        .bind(SHARD)
        .fetch_one(&mut *tx)
        .await
        .map_err(doubt)?;
    let there = lease_from(&row)?;
    if row.get::<bool, _>("valid") && there.holder != holder {
        tx.rollback().await.map_err(doubt)?;
        return Ok(LeaseOutcome::HeldBy(there));
    }
    let term: i64 = sqlx::query_scalar(sql::RAISE_FENCE)
        .bind(SHARD)
        .fetch_one(&mut *tx)
        .await
        .map_err(doubt)?;
    sqlx::query(sql::TAKE_LEASE)
        .bind(SHARD)
        .bind(term)
        .bind(holder)
        .bind(endpoint)
        .bind(milliseconds(ttl))
        .execute(&mut *tx)
        .await
        .map_err(doubt)?;
    tx.commit().await.map_err(doubt)?;
    Ok(LeaseOutcome::Held(Lease {
        term: LeaderTerm(from_signed(term)?),
        holder: holder.to_owned(),
        endpoint: endpoint.to_owned(),
    }))
}

/// Renews the lease that `holder` took with `term`, if nobody took it since.
pub(super) async fn renew(
    connection: &mut PgConnection,
    term: LeaderTerm,
    holder: &str,
    endpoint: &str,
    ttl: Duration,
) -> Result<LeaseOutcome, JournalError> {
    let renewed = sqlx::query(sql::RENEW_LEASE)
        .bind(SHARD)
        .bind(to_signed(term.0))
        .bind(holder)
        .bind(endpoint)
        .bind(milliseconds(ttl))
        .fetch_optional(&mut *connection)
        .await
        .map_err(doubt)?;
    if let Some(row) = renewed {
        return Ok(LeaseOutcome::Held(lease_from(&row)?));
    }
    let row = sqlx::query(sql::LEASE)
        .bind(SHARD)
        .fetch_one(connection)
        .await
        .map_err(doubt)?;
    Ok(LeaseOutcome::HeldBy(lease_from(&row)?))
}

/// Gives the lease of `term` up.
pub(super) async fn release(
    connection: &mut PgConnection,
    term: LeaderTerm,
) -> Result<(), JournalError> {
    sqlx::query(sql::RELEASE_LEASE)
        .bind(SHARD)
        .bind(to_signed(term.0))
        .execute(connection)
        .await
        .map_err(doubt)?;
    Ok(())
}
