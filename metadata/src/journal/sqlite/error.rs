//! What SQLite's result codes mean for the journal.

use std::path::Path;

use super::JournalError;

/// Whether a call could have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It only reads.
    None,
    /// It writes.
    Possible,
}

// Primary result codes (https://www.sqlite.org/rescode.html): the low eight bits of the extended ones.
const PERM: i64 = 3;
const BUSY: i64 = 5;
const LOCKED: i64 = 6;
const NOMEM: i64 = 7;
const READONLY: i64 = 8;
const IOERR: i64 = 10;
const CORRUPT: i64 = 11;
const FULL: i64 = 13;
const CANTOPEN: i64 = 14;
const NOTADB: i64 = 26;

fn result_code(error: &sqlx::Error) -> Option<i64> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i64>().ok().map(|code| code & 0xff)
}

/// Why the file can't be opened.
pub(super) fn opening(error: &sqlx::Error, path: &Path) -> JournalError {
    let path = path.display();
    match result_code(error) {
        Some(BUSY | LOCKED) => JournalError::Unavailable {
            reason: format!(
                "{path} is open in another process: stop it, or use another data folder"
            ),
        },
        Some(PERM | READONLY | CANTOPEN) => JournalError::Unavailable {
            reason: format!(
                "cannot open {path} for writing ({error}): check the rights of file and folder"
            ),
        },
        Some(NOTADB) => JournalError::Unusable {
            reason: format!("{path} is not a journal: use another data folder"),
        },
        _ => failure(error, Effect::None),
    }
}

/// Why a call failed.
pub(super) fn failure(error: &sqlx::Error, effect: Effect) -> JournalError {
    let reason = error.to_string();
    match result_code(error) {
        Some(CORRUPT | NOTADB) => JournalError::Unusable {
            reason: format!("{reason}: the file is damaged, restore it from a backup"),
        },
        Some(FULL) => JournalError::Unavailable {
            reason: format!("{reason}: free some space on the disk"),
        },
        // All of these are answered before anything is written.
        Some(PERM | BUSY | LOCKED | NOMEM | READONLY | CANTOPEN) => {
            JournalError::Unavailable { reason }
        }
        // The sync of a commit may fail when its bytes have reached the disk already.
        Some(IOERR) | None if effect == Effect::Possible => JournalError::InDoubt { reason },
        Some(IOERR) | None => JournalError::Unavailable { reason },
        Some(_) => JournalError::Unusable { reason },
    }
}
