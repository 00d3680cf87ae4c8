//! The statements of the embedded journal.

/// Appends a row where the fence has its term and the row before it is the tail.
/// Binds: shard, seq, term, previous, hash, bytes.
pub(super) const APPEND: &str = "
INSERT INTO journal_rows (shard, seq, term, previous, hash, bytes)
SELECT ?1, ?2, ?3, ?4, ?5, ?6
FROM fences
WHERE fences.shard = ?1
  AND fences.term = ?3
  AND ?2 = 1 + COALESCE((SELECT MAX(seq) FROM journal_rows WHERE shard = ?1), 0)
  AND ?4 = COALESCE(
      (SELECT hash FROM journal_rows WHERE shard = ?1 AND seq = ?2 - 1), ZEROBLOB(32))";

/// What stands around a row. Binds: shard, seq.
pub(super) const LOOK: &str = "
SELECT
    term AS fence,
    (SELECT hash FROM journal_rows WHERE shard = ?1 AND seq = ?2) AS here,
    (SELECT hash FROM journal_rows WHERE shard = ?1 AND seq = ?2 - 1) AS before,
    (SELECT MAX(seq) FROM journal_rows WHERE shard = ?1) AS tail
FROM fences
WHERE shard = ?1";

/// Rows in order. Binds: shard, first seq, limit.
pub(super) const READ: &str = "
SELECT term, seq, previous, hash, bytes
FROM journal_rows
WHERE shard = ?1 AND seq >= ?2
ORDER BY seq
LIMIT ?3";

/// The newest row. Binds: shard.
pub(super) const TAIL: &str =
    "SELECT seq, hash FROM journal_rows WHERE shard = ?1 ORDER BY seq DESC LIMIT 1";

/// The term that may write. Binds: shard.
pub(super) const FENCE: &str = "SELECT term FROM fences WHERE shard = ?1";

/// A take-over. Binds: shard.
pub(super) const RAISE_FENCE: &str =
    "UPDATE fences SET term = term + 1 WHERE shard = ?1 RETURNING term";

/// The hash of a row. Binds: shard, seq.
pub(super) const HASH_AT: &str = "SELECT hash FROM journal_rows WHERE shard = ?1 AND seq = ?2";

/// Writes a page unless a newer one is there. Binds: shard, key, seq, bytes.
pub(super) const PUT_PAGE: &str = "
INSERT INTO pages (shard, key, seq, bytes)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (shard, key) DO UPDATE SET seq = excluded.seq, bytes = excluded.bytes
WHERE pages.seq <= excluded.seq";

/// Removes a page. Binds: shard, key.
pub(super) const REMOVE_PAGE: &str = "DELETE FROM pages WHERE shard = ?1 AND key = ?2";

/// Notes what the pages reflect. Binds: shard, through.
pub(super) const CHECKPOINT: &str =
    "UPDATE checkpoints SET through_seq = MAX(through_seq, ?2) WHERE shard = ?1";

/// Removes the rows that the pages reflect, but never the newest. Binds: shard.
pub(super) const TRIM: &str = "
DELETE FROM journal_rows
WHERE shard = ?1
  AND seq <= (SELECT through_seq FROM checkpoints WHERE shard = ?1)
  AND seq < (SELECT MAX(seq) FROM journal_rows WHERE shard = ?1)";

/// What the pages reflect. Binds: shard.
pub(super) const THROUGH: &str = "SELECT through_seq FROM checkpoints WHERE shard = ?1";

/// All pages. Binds: shard.
pub(super) const PAGES: &str = "SELECT key, seq, bytes FROM pages WHERE shard = ?1 ORDER BY key";

/// One page. Binds: shard, key.
pub(super) const PAGE: &str = "SELECT key, seq, bytes FROM pages WHERE shard = ?1 AND key = ?2";

/// Whether there is neither row nor page, and the fence is below a term. Binds: shard, term.
pub(super) const IS_EMPTY: &str = "
SELECT term < ?2
    AND NOT EXISTS (SELECT 1 FROM journal_rows WHERE shard = ?1)
    AND NOT EXISTS (SELECT 1 FROM pages WHERE shard = ?1)
FROM fences
WHERE shard = ?1";

/// Puts the first row into an empty journal. Binds: shard, seq, term, previous, hash, bytes.
pub(super) const INSERT: &str = "
INSERT INTO journal_rows (shard, seq, term, previous, hash, bytes)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Raises the fence to a term. Binds: shard, term.
pub(super) const SET_FENCE: &str = "UPDATE fences SET term = ?2 WHERE shard = ?1";

/// Whether migrations were ever run in this file.
pub(super) const HAS_SCHEMA: &str =
    "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')";

/// The schema versions that the file has.
pub(super) const SCHEMA_VERSIONS: &str =
    "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";
