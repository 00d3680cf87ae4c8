//! The tables in Postgres: in a schema of their own, over a connection of their own.

use std::{str::FromStr, time::Duration};

use aquifer_format::{
    ids::{LeaderTerm, ObjectId, TopicId},
    key::parse_object_key,
};
use aquifer_store::Ports;
use async_trait::async_trait;
use futures::TryStreamExt;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgRow, PgTransaction},
};
use uuid::Uuid;

use super::{
    SchemaName,
    delta::{Delta, Known},
    tables::{Opened, Owner, ProjectionError, Tables},
};
use crate::journal::sqlstate::described;

mod rows;
mod sql;
mod standing;

use standing::{NAMES, Standing, standing};

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to open or write the tables: the first time they may be gigabytes.
const CALL_TIMEOUT: Duration = Duration::from_secs(300);

/// The tables in Postgres.
#[derive(Debug)]
pub struct PostgresTables {
    options: PgConnectOptions,
    schema: SchemaName,
    ports: Ports,
    /// While the tables are open. Any failure drops it.
    connection: Option<PgConnection>,
}

impl PostgresTables {
    /// Tables in `schema` of the database at `url`. Nothing is connected yet.
    ///
    /// # Errors
    /// If the address cannot be understood.
    pub fn new(url: &str, schema: SchemaName, ports: Ports) -> Result<Self, ProjectionError> {
        let options = PgConnectOptions::from_str(url).map_err(|error| {
            refusal(format!(
                "the address of the database cannot be understood ({error})"
            ))
        })?;
        Ok(Self {
            options: options
                .application_name("aquifer-projection")
                .disable_statement_logging(),
            schema,
            ports,
            connection: None,
        })
    }
}

#[async_trait]
impl Tables for PostgresTables {
    async fn open(&mut self, owner: &Owner) -> Result<Opened, ProjectionError> {
        self.connection = None;
        let connecting = connect(&self.options);
        let connected = self.ports.timeout(CONNECT_TIMEOUT, connecting).await;
        let connected = connected.unwrap_or_else(|| Err(no_answer(CONNECT_TIMEOUT)));
        let mut connection = connected?;
        let opening = open(&mut connection, &self.schema, owner);
        let opened = self.ports.timeout(CALL_TIMEOUT, opening).await;
        let opened = opened.unwrap_or_else(|| Err(no_answer(CALL_TIMEOUT)))?;
        if matches!(opened, Opened::Ours(_)) {
            self.connection = Some(connection);
        }
        Ok(opened)
    }

    async fn write(
        &mut self,
        owner: &Owner,
        delta: &Delta,
    ) -> Result<Option<u64>, ProjectionError> {
        let Some(mut connection) = self.connection.take() else {
            return Err(refusal("the tables are not open".to_owned()));
        };
        let writing = write(&mut connection, owner, delta);
        let written = self.ports.timeout(CALL_TIMEOUT, writing).await;
        let written = written.unwrap_or_else(|| Err(no_answer(CALL_TIMEOUT)))?;
        self.connection = Some(connection);
        Ok(written)
    }

    fn close(&mut self) {
        self.connection = None;
    }
}

fn refusal(reason: String) -> ProjectionError {
    ProjectionError { reason }
}

fn failed(error: sqlx::Error) -> ProjectionError {
    refusal(described(&error))
}

fn no_answer(limit: Duration) -> ProjectionError {
    refusal(format!("no answer from the database in {limit:?}"))
}

/// A number as the server's `BIGINT`.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, ProjectionError> {
    let mut connection = options.connect().await.map_err(failed)?;
    sqlx::raw_sql(sql::SESSION)
        .execute(&mut connection)
        .await
        .map_err(failed)?;
    Ok(connection)
}

async fn open(
    connection: &mut PgConnection,
    schema: &SchemaName,
    owner: &Owner,
) -> Result<Opened, ProjectionError> {
    let place = sqlx::query(sql::PLACE)
        .bind(schema.as_str())
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let is_there = check_place(&place, schema)?;
    let mut tx = connection.begin().await.map_err(failed)?;
    if !is_there {
        // the name needs no quotes: see `SchemaName`
        let create = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
    }
    sqlx::query(sql::SET_PATH)
        .bind(schema.as_str())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    if let Some(newer) = make_tables(&mut tx, schema, owner).await? {
        return Ok(Opened::Newer(newer));
    }
    let claimed = sqlx::query(sql::CLAIM)
        .bind(owner.cluster.0.to_string())
        .bind(signed(owner.term.0))
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    if claimed.rows_affected() == 0 {
        let newer = newer_owner(&mut tx, schema, owner).await?;
        return match newer {
            Some(term) => Ok(Opened::Newer(term)),
            None => Err(refusal(
                "somebody else took the tables at the same time".to_owned(),
            )),
        };
    }
    let known = known(&mut tx, owner).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    Ok(Opened::Ours(known))
}

/// Whether the schema is there; an error if it is not one to write to.
fn check_place(place: &PgRow, schema: &SchemaName) -> Result<bool, ProjectionError> {
    let role: &str = place.get("role");
    if schema.is_on(place.get("path"), role) {
        return Err(refusal(format!(
            "the search_path of the role {role} has the schema {schema}, so that tables of others could \
             come to stand in it: choose another one with --sql-projection-schema"
        )));
    }
    match place.get::<Option<bool>, _>("usable") {
        None => Ok(false),
        Some(true) => Ok(true),
        Some(false) => Err(refusal(format!(
            "the role {role} may not use the schema {schema}: GRANT USAGE, CREATE ON SCHEMA {schema} TO \
             {role}"
        ))),
    }
}

/// Makes the tables that are missing. Some = a leader of a later term has them, and nothing was made.
async fn make_tables(
    tx: &mut PgTransaction<'_>,
    schema: &SchemaName,
    owner: &Owner,
) -> Result<Option<LeaderTerm>, ProjectionError> {
    let tables = sqlx::query(sql::TABLES)
        .bind(schema.as_str())
        .bind(NAMES.to_vec())
        .fetch_all(&mut **tx)
        .await
        .map_err(failed)?;
    let tables: Vec<(String, String)> = tables
        .iter()
        .map(|row| (row.get("name"), row.get("comment")))
        .collect();
    let (refresh, outdated, complete) = match standing(&tables) {
        Standing::Foreign(name) => {
            return Err(refusal(format!(
                "the schema {schema} has a table {name} that is not the projection's: choose another \
                 schema with --sql-projection-schema"
            )));
        }
        Standing::Current { refresh, complete } => (refresh, false, complete),
        Standing::Outdated { refresh } => (refresh, true, false),
    };
    if refresh && let Some(newer) = newer_owner(tx, schema, owner).await? {
        return Ok(Some(newer));
    }
    if outdated {
        sqlx::raw_sql(sql::DROP)
            .execute(&mut **tx)
            .await
            .map_err(failed)?;
    }
    if !complete {
        sqlx::raw_sql(sql::LAYOUT)
            .execute(&mut **tx)
            .await
            .map_err(failed)?;
    }
    Ok(None)
}

/// The later term that has the tables, if one has them; an error if another cluster does.
async fn newer_owner(
    tx: &mut PgTransaction<'_>,
    schema: &SchemaName,
    owner: &Owner,
) -> Result<Option<LeaderTerm>, ProjectionError> {
    let found = sqlx::query(sql::OWNER)
        .fetch_optional(&mut **tx)
        .await
        .map_err(failed)?;
    let Some(found) = found else {
        return Ok(None);
    };
    let cluster: &str = found.get("cluster_id");
    if cluster != owner.cluster.0.to_string() {
        return Err(refusal(format!(
            "the schema {schema} has the tables of another cluster ({cluster}): choose another schema \
             with --sql-projection-schema, or drop that one if the cluster is gone"
        )));
    }
    let term = u64::try_from(found.get::<i64, _>("term")).unwrap_or(0);
    Ok((term > owner.term.0).then_some(LeaderTerm(term)))
}

/// What the tables hold.
async fn known(tx: &mut PgTransaction<'_>, owner: &Owner) -> Result<Known, sqlx::Error> {
    let mut topics: Vec<TopicId> = Vec::new();
    let mut rows = sqlx::query(sql::TOPIC_IDS).fetch(&mut **tx);
    while let Some(row) = rows.try_next().await? {
        topics.extend(Uuid::parse_str(row.get("id")).ok().map(TopicId));
    }
    drop(rows);
    let mut objects: Vec<ObjectId> = Vec::new();
    let mut rows = sqlx::query(sql::OBJECT_KEYS).fetch(&mut **tx);
    while let Some(row) = rows.try_next().await? {
        if let Ok((cluster, id)) = parse_object_key(row.get("key"))
            && cluster == owner.cluster
        {
            objects.push(id);
        }
    }
    drop(rows);
    Ok(Known::of_others(topics, objects))
}

async fn write(
    connection: &mut PgConnection,
    owner: &Owner,
    delta: &Delta,
) -> Result<Option<u64>, ProjectionError> {
    let mut tx = connection.begin().await.map_err(failed)?;
    let noted = sqlx::query(sql::NOTE)
        .bind(owner.cluster.0.to_string())
        .bind(signed(owner.term.0))
        .bind(signed(delta.seq.0))
        .bind(i64::from(delta.upload_epoch.0))
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    if noted.rows_affected() == 0 {
        tx.rollback().await.map_err(failed)?;
        return Ok(None);
    }
    let changed = rows::put(&mut tx, owner.cluster, delta).await;
    let changed = changed.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    Ok(Some(changed))
}
