//! What Postgres's errors mean, for the journal first of all: the only place where an SQLSTATE is looked at.
//!
//! Source: PostgreSQL 15, appendix A (error codes), and the meaning of the severities in its protocol: an
//! `ERROR` rolled the statement back, a `FATAL` or `PANIC` ended the session and may hide a commit.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use super::JournalError;

/// Whether a call could have changed something by the time it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It only reads, or nothing was sent yet.
    None,
    /// It writes, and was sent.
    Possible,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// It may have happened, where it could.
    Doubt,
    /// It did not happen, and may work later.
    Later,
    /// It did not happen, and never will before somebody changes something.
    Never,
}

use Meaning::{Doubt, Later, Never};

/// SQLSTATEs (or their two-character classes), what follows, and what to do about it. The first that
/// fits counts.
const MEANINGS: &[(&str, Meaning, &str)] = &[
    ("08", Doubt, ""),
    ("40003", Doubt, ""),
    ("57P01", Doubt, ""),
    ("57P02", Doubt, ""),
    ("57P05", Doubt, ""),
    ("25P03", Doubt, ""),
    ("57P03", Later, "the server is starting or stopping"),
    ("57P04", Never, "the database was dropped"),
    (
        "25006",
        Later,
        "the server is read-only: connect to the primary",
    ),
    ("40", Later, ""),
    ("53100", Later, "free some space on the server's disk"),
    (
        "53300",
        Later,
        "raise the server's max_connections, or that of the role",
    ),
    ("53", Later, ""),
    ("55", Later, ""),
    ("57", Later, ""),
    ("58", Later, ""),
    (
        "28",
        Never,
        "check user and password in the database's address",
    ),
    (
        "3D000",
        Never,
        "create the database, or correct its name in the address",
    ),
    (
        "42501",
        Never,
        "grant the role the right to create and write tables",
    ),
    (
        "42",
        Never,
        "the schema is not the one that this program made: use another database",
    ),
    (
        "XX001",
        Never,
        "the server's data is damaged: restore it from a backup",
    ),
    (
        "XX002",
        Never,
        "an index of the server is damaged: rebuild it (REINDEX)",
    ),
    ("22", Never, ""),
    ("23", Never, ""),
];

/// What `error` means for a call with `effect`.
pub(super) fn failure(error: &sqlx::Error, effect: Effect) -> JournalError {
    let Some(reply) = server_error(error) else {
        // The connection broke, or the answer made no sense.
        return meant(Doubt, effect, error.to_string());
    };
    let code = reply.code();
    let (_, meaning, advice) = known(code).unwrap_or(&("", Later, ""));
    let ended = matches!(reply.severity(), PgSeverity::Fatal | PgSeverity::Panic);
    let meaning = match meaning {
        Later if ended => Doubt,
        meaning => *meaning,
    };
    meant(meaning, effect, told(reply, advice))
}

/// What `error` says, and what to do about it, for tables that nobody depends on: where they are not as
/// this program makes them, it makes them again.
pub(crate) fn described(error: &sqlx::Error) -> String {
    let Some(reply) = server_error(error) else {
        return error.to_string();
    };
    let advice = match known(reply.code()) {
        Some(("42", ..)) | None => "",
        Some((_, _, advice)) => *advice,
    };
    told(reply, advice)
}

/// The entry for a code.
fn known(code: &str) -> Option<&'static (&'static str, Meaning, &'static str)> {
    MEANINGS
        .iter()
        .find(|(prefix, ..)| code.starts_with(prefix))
}

fn told(reply: &PgDatabaseError, advice: &str) -> String {
    let separator = if advice.is_empty() { "" } else { ": " };
    let (message, code) = (reply.message(), reply.code());
    format!("{message} (SQLSTATE {code}){separator}{advice}")
}

fn meant(meaning: Meaning, effect: Effect, reason: String) -> JournalError {
    match (meaning, effect) {
        (Doubt, Effect::Possible) => JournalError::InDoubt { reason },
        (Doubt, Effect::None) | (Later, _) => JournalError::Unavailable { reason },
        (Never, _) => JournalError::Unusable { reason },
    }
}

fn server_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error
        .as_database_error()?
        .try_downcast_ref::<PgDatabaseError>()
}

/// Whether a lock was not to be had in the time that was allowed for it.
pub(super) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    server_error(error).is_some_and(|e| e.code() == "55P03")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_doubt_only_where_something_was_written() {
        let lost = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(matches!(
            failure(&lost(), Effect::Possible),
            JournalError::InDoubt { .. }
        ));
        assert!(matches!(
            failure(&lost(), Effect::None),
            JournalError::Unavailable { .. }
        ));
    }

    #[test]
    fn every_entry_is_reached() {
        for (i, (code, ..)) in MEANINGS.iter().enumerate() {
            let hides = |(earlier, ..): &(&str, Meaning, &str)| code.starts_with(*earlier);
            assert!(!MEANINGS[..i].iter().any(hides), "{code} comes too late");
        }
    }
}
