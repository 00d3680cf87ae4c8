//! Schema versions of the databases: numbered migrations, applied at each start.

use sqlx::{
    SqlSafeStr,
    migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator},
};

use super::JournalError;

/// A numbered change of the schema. Once shipped it never changes; new ones are appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    version: i64,
    description: &'static str,
    sql: &'static str,
}

/// Steps of the Postgres schema.
pub(super) const POSTGRES: &[Step] = &[Step {
    version: 1,
    description: "journal",
    sql: include_str!("../../migrations/postgres/0001_journal.sql"),
}];

/// Steps of the SQLite schema.
pub(super) const SQLITE: &[Step] = &[Step {
    version: 1,
    description: "journal",
    sql: include_str!("../../migrations/sqlite/0001_journal.sql"),
}];

/// The newest version that this program knows.
pub(super) fn newest(steps: &[Step]) -> i64 {
    steps.last().map_or(0, |step| step.version)
}

/// Whether a database that has had these versions can be used without a change; `remedy` says who changes
/// it.
///
/// # Errors
/// `Unusable` if it has not all of `steps`, or more.
pub(super) fn check(versions: &[i64], steps: &[Step], remedy: &str) -> Result<(), JournalError> {
    let newest = newest(steps);
    if let Some(newer) = versions.iter().find(|version| **version > newest) {
        return Err(newer_version(*newer, newest));
    }
    if steps.iter().all(|step| versions.contains(&step.version)) {
        return Ok(());
    }
    let there = match versions.last() {
        Some(version) => format!("has schema version {version}, and this program needs {newest}"),
        None => "has no schema yet".to_owned(),
    };
    Err(JournalError::Unusable {
        reason: format!("the database {there}: {remedy}"),
    })
}

fn newer_version(version: i64, newest: i64) -> JournalError {
    JournalError::Unusable {
        reason: format!(
            "the database has schema version {version}, and this program knows versions up to \
             {newest}: run the newer program that wrote it"
        ),
    }
}

/// Brings the database of `connection` to the newest of `steps`.
///
/// # Errors
/// `Unusable` if the database is of a newer version, or of one that this program never had; else what
/// `on_error` makes of the database's error.
pub(super) async fn migrate<C: Migrate>(
    connection: &mut C,
    steps: &[Step],
    on_error: impl Fn(&sqlx::Error) -> JournalError,
) -> Result<(), JournalError> {
    let migrations = steps.iter().map(|step| {
        Migration::new(
            step.version,
            step.description.into(),
            MigrationType::Simple,
            step.sql.into_sql_str(),
            false,
        )
    });
    let newest = newest(steps);
    let outcome = Migrator::with_migrations(migrations.collect())
        .run_direct(None, connection, false)
        .await;
    let unusable = |reason: String| Err(JournalError::Unusable { reason });
    match outcome {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(version)) => Err(newer_version(version, newest)),
        Err(MigrateError::VersionMismatch(version)) => unusable(format!(
            "the database's schema version {version} was made by another program, or by an \
             unreleased build: use another database"
        )),
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
            Err(on_error(&error))
        }
        Err(error) => unusable(format!(
            "the database's schema cannot be brought up to date: {error}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_that_is_missing_or_newer_is_told_with_what_to_do() {
        let steps = [1, 2].map(|version| Step {
            version,
            description: "",
            sql: "",
        });
        let remedy = "run `aquifer metadata migrate` first";
        assert!(check(&[1, 2], &steps, remedy).is_ok());
        for (versions, says) in [
            (vec![], "aquifer metadata migrate"),
            (vec![1], "aquifer metadata migrate"),
            (vec![1, 2, 3], "newer program"),
        ] {
            let error = check(&versions, &steps, remedy).unwrap_err().to_string();
            assert!(error.contains(says), "{versions:?}: {error}");
        }
    }
}
