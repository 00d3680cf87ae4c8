//! Connections of the Postgres journal, and what is checked of the server behind them.

use std::{str::FromStr, time::Duration};

use aquifer_store::Ports;
use sqlx::{
    ConnectOptions, Connection, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgRow},
};
use tokio::sync::{Mutex, MutexGuard};

use super::{
    super::sqlstate::{Effect, failure},
    JournalError, PostgresSettings, sql,
};

/// The oldest server whose behaviour was tested.
const SERVER_VERSION_MIN: i32 = 13_00_00;

/// Makes connections.
#[derive(Debug)]
pub(super) struct Connector {
    options: PgConnectOptions,
    timeout: Duration,
    ports: Ports,
}

/// One purpose's own connection: made when first needed, dropped after every failure and whenever a
/// call was abandoned half way.
#[derive(Debug, Default)]
pub(super) struct Line {
    slot: Mutex<Option<PgConnection>>,
}

/// A connection in use.
pub(super) struct Checkout<'a> {
    slot: MutexGuard<'a, Option<PgConnection>>,
    pub(super) connection: PgConnection,
}

impl Line {
    /// The connection, for one call at a time.
    pub(super) async fn checkout(
        &self,
        connector: &Connector,
    ) -> Result<Checkout<'_>, JournalError> {
        let mut slot = self.slot.lock().await;
        let connection = match slot.take() {
            Some(connection) => connection,
            None => connector.connect().await?,
        };
        Ok(Checkout { slot, connection })
    }
}

impl Checkout<'_> {
    /// Puts the connection back, after a call that it survived.
    pub(super) fn give_back(mut self) {
        *self.slot = Some(self.connection);
    }
}

impl Connector {
    pub(super) fn new(settings: &PostgresSettings, ports: Ports) -> Result<Self, JournalError> {
        let options =
            PgConnectOptions::from_str(&settings.url).map_err(|e| JournalError::Unusable {
                reason: format!(
                    "the address of the database cannot be understood ({e}); it looks like \
                     postgres://user:password@host:5432/database"
                ),
            })?;
        Ok(Self {
            options: options
                .application_name("aquifer-metadata")
                .disable_statement_logging(),
            timeout: settings.connect_timeout,
            ports,
        })
    }

    /// The server, for people.
    pub(super) fn describe(&self) -> String {
        format!(
            "{}:{}/{}",
            self.options.get_host(),
            self.options.get_port(),
            self.options.get_database().unwrap_or_default()
        )
    }

    /// A new connection to a server that was checked.
    pub(super) async fn connect(&self) -> Result<PgConnection, JournalError> {
        let connected = self.ports.timeout(self.timeout, self.connect_now()).await;
        connected.unwrap_or_else(|| {
            Err(JournalError::Unavailable {
                reason: format!("no answer from {} in {:?}", self.describe(), self.timeout),
            })
        })
    }

    async fn connect_now(&self) -> Result<PgConnection, JournalError> {
        let failed = |e: sqlx::Error| match failure(&e, Effect::None) {
            JournalError::Unavailable { reason } => JournalError::Unavailable {
                reason: format!("cannot connect to {}: {reason}", self.describe()),
            },
            JournalError::Unusable { reason } => JournalError::Unusable {
                reason: format!("cannot connect to {}: {reason}", self.describe()),
            },
            other => other,
        };
        let mut connection = self.options.connect().await.map_err(failed)?;
        sqlx::raw_sql(sql::SESSION)
            .execute(&mut connection)
            .await
            .map_err(failed)?;
        let server = sqlx::query(sql::SERVER)
            .fetch_one(&mut connection)
            .await
            .map_err(failed)?;
        check_server(&server).map_err(|e| match e {
            JournalError::Unavailable { reason } => JournalError::Unavailable {
                reason: format!("{}: {reason}", self.describe()),
            },
            JournalError::Unusable { reason } => JournalError::Unusable {
                reason: format!("{}: {reason}", self.describe()),
            },
            other => other,
        })?;
        Ok(connection)
    }

    /// Checks that each connection has a server process of its own. Behind a pooler that hands them out
    /// per transaction, session settings and a connection's end mean nothing.
    pub(super) async fn check_pooler(&self) -> Result<(), JournalError> {
        let failed = |e: sqlx::Error| failure(&e, Effect::None);
        let mut one = self.connect().await?;
        let mut two = self.connect().await?;
        let before: i32 = sqlx::query_scalar(sql::BACKEND)
            .fetch_one(&mut one)
            .await
            .map_err(failed)?;
        let mut held = two.begin().await.map_err(failed)?;
        let other: i32 = sqlx::query_scalar(sql::BACKEND)
            .fetch_one(&mut *held)
            .await
            .map_err(failed)?;
        let after: i32 = sqlx::query_scalar(sql::BACKEND)
            .fetch_one(&mut one)
            .await
            .map_err(failed)?;
        held.rollback().await.map_err(failed)?;
        if shares_servers(before, other, after) {
            return Err(JournalError::Unusable {
                reason: format!(
                    "{} is a pooler that hands out connections per transaction: connect to the \
                     server itself, or set the pool to session mode",
                    self.describe()
                ),
            });
        }
        // Errors while saying good-bye change nothing.
        one.close().await.ok();
        two.close().await.ok();
        Ok(())
    }
}

/// What the server processes behind two connections tell: `before` and `after` of the first, `other` of
/// the second while it holds a transaction. A connection that changes its server, or two that share one,
/// are a pooler's.
fn shares_servers(before: i32, other: i32, after: i32) -> bool {
    before != after || before == other
}

fn check_server(server: &PgRow) -> Result<(), JournalError> {
    let unusable = |reason: &str| {
        Err(JournalError::Unusable {
            reason: reason.to_owned(),
        })
    };
    let later = |reason: &str| {
        Err(JournalError::Unavailable {
            reason: reason.to_owned(),
        })
    };
    if server.get::<i32, _>("version") < SERVER_VERSION_MIN {
        return unusable("the server is older than PostgreSQL 13: use a newer one");
    }
    if server.get::<bool, _>("replica") {
        return later("the server is a read replica: connect to the primary");
    }
    if server.get::<&str, _>("read_only") != "off" {
        return later("the server is read-only: connect to the primary");
    }
    if server.get::<&str, _>("fsync") != "on" {
        return unusable(
            "fsync is off, so acknowledged rows would be lost with power: set it to on",
        );
    }
    if server.get::<&str, _>("full_page_writes") != "on" {
        return unusable(
            "full_page_writes is off, so a power loss could damage the database: set it to on",
        );
    }
    if server.get::<&str, _>("synchronous_commit") == "off" {
        return unusable(
            "synchronous_commit is off, so acknowledged rows could be lost: set it to on",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_without_a_server_of_their_own_are_a_poolers() {
        for (name, before, other, after, pooled) in [
            ("two servers", 10, 11, 10, false),
            ("one server for both", 10, 10, 10, true),
            ("moved while the other held its own", 10, 10, 12, true),
            ("moved to another one", 10, 11, 12, true),
        ] {
            assert_eq!(shares_servers(before, other, after), pooled, "{name}");
        }
    }
}
