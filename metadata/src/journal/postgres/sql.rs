//! The statements of the Postgres journal. `$1` is the shard everywhere.

/// What a session needs. No `statement_timeout`: a cancelled commit may be visible here and missing on a
/// replica. A client that vanishes in the middle of a transaction gives its locks up soon.
pub(super) const SESSION: &str = "
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = '10s';
SET default_transaction_isolation = 'read committed';
SET default_transaction_deferrable = off;
SET tcp_keepalives_idle = 10;
SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3;
SET client_min_messages = 'warning'";

/// Whether this server keeps what it acknowledges.
pub(super) const SERVER: &str = "
SELECT
    pg_is_in_recovery() AS replica,
    current_setting('transaction_read_only') AS read_only,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('server_version_num')::INTEGER AS version";

/// Whether migrations were ever run in this database.
pub(super) const HAS_SCHEMA: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";

/// The schema versions that the database has.
pub(super) const SCHEMA_VERSIONS: &str =
    "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";

/// The server process behind this connection.
pub(super) const BACKEND: &str = "SELECT pg_backend_pid()";

/// A stretch of seqs in each of the two tables, and what follows from it. Binds: shard.
pub(super) const TABLES: &str = "
SELECT
    active_table,
    (SELECT MIN(seq) FROM journal_a WHERE shard = $1) AS first_a,
    (SELECT MAX(seq) FROM journal_a WHERE shard = $1) AS last_a,
    (SELECT MIN(seq) FROM journal_b WHERE shard = $1) AS first_b,
    (SELECT MAX(seq) FROM journal_b WHERE shard = $1) AS last_b,
    pg_total_relation_size('journal_a') AS bytes_a,
    pg_total_relation_size('journal_b') AS bytes_b,
    (SELECT through_seq FROM checkpoints WHERE shard = $1) AS through_seq
FROM fences
WHERE shard = $1";

/// Has the next rows appended to the first table, if it is empty. Waits for the appends under way.
/// Binds: shard, term.
pub(super) const SWITCH_TO_A: &str = "
UPDATE fences SET active_table = 'a'
WHERE shard = $1 AND term = $2 AND NOT EXISTS (SELECT FROM journal_a)";

/// The same for the second table.
pub(super) const SWITCH_TO_B: &str = "
UPDATE fences SET active_table = 'b'
WHERE shard = $1 AND term = $2 AND NOT EXISTS (SELECT FROM journal_b)";

/// Appends a row to the first table, where that is the active one, the fence has its term (share-locked:
/// a change that is under way is waited for, and one that comes waits) and the row before it is there
/// with the expected hash. The row itself may be there already, from an earlier try.
/// Binds: shard, seq, term, previous, hash, bytes.
pub(super) const APPEND_A: &str = "
INSERT INTO journal_a (shard, seq, term, previous, hash, bytes)
SELECT $1, $2, $3, $4, $5, $6
FROM fences
WHERE fences.shard = $1
  AND fences.term = $3
  AND fences.active_table = 'a'
  AND NOT EXISTS (SELECT FROM journal_a WHERE shard = $1 AND seq >= $2)
  AND NOT EXISTS (SELECT FROM journal_b WHERE shard = $1 AND seq >= $2)
  AND (
      EXISTS (SELECT FROM journal_a WHERE shard = $1 AND seq = $2 - 1 AND hash = $4)
      OR EXISTS (SELECT FROM journal_b WHERE shard = $1 AND seq = $2 - 1 AND hash = $4)
      OR ($2 = 1 AND $4 = decode(repeat('00', 32), 'hex'))
  )
FOR SHARE OF fences
ON CONFLICT DO NOTHING";

/// The same for the second table.
pub(super) const APPEND_B: &str = "
INSERT INTO journal_b (shard, seq, term, previous, hash, bytes)
SELECT $1, $2, $3, $4, $5, $6
FROM fences
WHERE fences.shard = $1
  AND fences.term = $3
  AND fences.active_table = 'b'
  AND NOT EXISTS (SELECT FROM journal_a WHERE shard = $1 AND seq >= $2)
  AND NOT EXISTS (SELECT FROM journal_b WHERE shard = $1 AND seq >= $2)
  AND (
      EXISTS (SELECT FROM journal_a WHERE shard = $1 AND seq = $2 - 1 AND hash = $4)
      OR EXISTS (SELECT FROM journal_b WHERE shard = $1 AND seq = $2 - 1 AND hash = $4)
      OR ($2 = 1 AND $4 = decode(repeat('00', 32), 'hex'))
  )
FOR SHARE OF fences
ON CONFLICT DO NOTHING";

/// What stands around a row. Binds: shard, seq.
pub(super) const LOOK: &str = "
SELECT
    term AS fence,
    active_table,
    COALESCE(
        (SELECT hash FROM journal_a WHERE shard = $1 AND seq = $2),
        (SELECT hash FROM journal_b WHERE shard = $1 AND seq = $2)) AS here,
    COALESCE(
        (SELECT hash FROM journal_a WHERE shard = $1 AND seq = $2 - 1),
        (SELECT hash FROM journal_b WHERE shard = $1 AND seq = $2 - 1)) AS before,
    GREATEST(
        (SELECT MAX(seq) FROM journal_a WHERE shard = $1),
        (SELECT MAX(seq) FROM journal_b WHERE shard = $1)) AS tail
FROM fences
WHERE shard = $1";

/// Rows in order, from both tables. Binds: shard, first seq, limit.
pub(super) const READ: &str = "
SELECT term, seq, previous, hash, bytes FROM (
    (SELECT * FROM journal_a WHERE shard = $1 AND seq >= $2 ORDER BY seq LIMIT $3)
    UNION ALL
    (SELECT * FROM journal_b WHERE shard = $1 AND seq >= $2 ORDER BY seq LIMIT $3)
) AS journal_rows
ORDER BY seq
LIMIT $3";

/// One snapshot for several statements.
pub(super) const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Keeps a truncation away, *before* the snapshot is taken: to a snapshot that is older than it, a
/// truncated table looks empty.
pub(super) const HOLD_TABLES: &str = "LOCK TABLE journal_a, journal_b IN ACCESS SHARE MODE";

/// The newest row. Binds: shard.
pub(super) const TAIL: &str = "
SELECT seq, hash FROM (
    (SELECT seq, hash FROM journal_a WHERE shard = $1 ORDER BY seq DESC LIMIT 1)
    UNION ALL
    (SELECT seq, hash FROM journal_b WHERE shard = $1 ORDER BY seq DESC LIMIT 1)
) AS newest
ORDER BY seq DESC
LIMIT 1";

/// What the pages reflect. Binds: shard.
pub(super) const THROUGH: &str = "SELECT through_seq FROM checkpoints WHERE shard = $1";

/// Pages in key order. Binds: shard.
pub(super) const PAGES: &str = "SELECT key, seq, bytes FROM pages WHERE shard = $1 ORDER BY key";

/// Some pages, in no order. Binds: shard, keys (array).
pub(super) const PAGES_OF: &str =
    "SELECT key, seq, bytes FROM pages WHERE shard = $1 AND key = ANY($2::BYTEA[])";

/// What follows up to [`LET_GO`] locks nothing for longer.
pub(super) const UNTIL_LET_GO: &str = "SAVEPOINT held";

/// Lets go of the locks that were taken since; the snapshot stays.
pub(super) const LET_GO: &str = "ROLLBACK TO SAVEPOINT held";

/// A transaction that waits for whoever takes its pages.
pub(super) const PATIENT: &str = "SET LOCAL idle_in_transaction_session_timeout = '5min'";

/// Locks the fence for a change, and says whether a restore may begin: neither row nor page, nobody holds the
/// lease, and the fence is below a term. Binds: shard, term.
pub(super) const IS_EMPTY: &str = "
SELECT term < $2
    AND NOT EXISTS (SELECT FROM journal_a)
    AND NOT EXISTS (SELECT FROM journal_b)
    AND NOT EXISTS (SELECT FROM pages)
    AND NOT EXISTS (
        SELECT FROM leases WHERE shard = $1 AND holder <> '' AND expires_at > clock_timestamp()
    ) AS empty
FROM fences
WHERE shard = $1
FOR UPDATE";

/// Puts the first row into an empty journal. Binds: shard, seq, term, previous, hash, bytes.
pub(super) const INSERT: &str = "
INSERT INTO journal_a (shard, seq, term, previous, hash, bytes)
VALUES ($1, $2, $3, $4, $5, $6)";

/// Raises the fence to a term; the next row goes where the first one is. Binds: shard, term.
pub(super) const SET_FENCE: &str =
    "UPDATE fences SET term = $2, active_table = 'a' WHERE shard = $1";

/// Writes pages unless newer ones are there. Binds: shard, keys, seqs, bytes (arrays of one length).
pub(super) const PUT_PAGES: &str = "
INSERT INTO pages (shard, key, seq, bytes)
SELECT $1, new.key, new.seq, new.bytes
FROM UNNEST($2::BYTEA[], $3::BIGINT[], $4::BYTEA[]) AS new (key, seq, bytes)
ON CONFLICT (shard, key) DO UPDATE SET seq = EXCLUDED.seq, bytes = EXCLUDED.bytes
WHERE pages.seq <= EXCLUDED.seq";

/// Removes pages. Binds: shard, keys (array).
pub(super) const REMOVE_PAGES: &str =
    "DELETE FROM pages WHERE shard = $1 AND key = ANY($2::BYTEA[])";

/// Notes what the pages reflect. Binds: shard, through.
pub(super) const CHECKPOINT: &str = "
UPDATE checkpoints SET through_seq = GREATEST(through_seq, $2) WHERE shard = $1";

/// Whether a term may write, and goes on to be able to until this transaction ends, in a journal that has
/// a certain row (seq 0 = any journal). Binds: shard, term, seq, hash.
pub(super) const CHECK_FENCE: &str = "
SELECT 1
FROM fences
WHERE shard = $1
  AND term = $2
  AND (
      $3 = 0
      OR EXISTS (SELECT FROM journal_a WHERE shard = $1 AND seq = $3 AND hash = $4)
      OR EXISTS (SELECT FROM journal_b WHERE shard = $1 AND seq = $3 AND hash = $4)
  )
FOR SHARE OF fences";

/// How long appends may be kept waiting by a truncation that waits for a reader.
pub(super) const SHORT_LOCK: &str = "SET LOCAL lock_timeout = '100ms'";

/// Keeps everybody out of the first table.
pub(super) const LOCK_A: &str = "LOCK TABLE journal_a IN ACCESS EXCLUSIVE MODE";

/// Keeps everybody out of the second table.
pub(super) const LOCK_B: &str = "LOCK TABLE journal_b IN ACCESS EXCLUSIVE MODE";

/// Empties the first table.
pub(super) const TRUNCATE_A: &str = "TRUNCATE journal_a";

/// Empties the second table.
pub(super) const TRUNCATE_B: &str = "TRUNCATE journal_b";

/// The lease, locked for a change. Binds: shard.
pub(super) const LOCK_LEASE: &str = "
SELECT term, holder, endpoint, expires_at > clock_timestamp() AS valid
FROM leases
WHERE shard = $1
FOR UPDATE";

/// The lease. Binds: shard.
pub(super) const LEASE: &str = "SELECT term, holder, endpoint FROM leases WHERE shard = $1";

/// A take-over, first half; waits for the appends and page writes that are under way. Binds: shard.
pub(super) const RAISE_FENCE: &str =
    "UPDATE fences SET term = term + 1 WHERE shard = $1 RETURNING term";

/// A take-over, second half. Binds: shard, term, holder, endpoint, time-to-live in milliseconds.
pub(super) const TAKE_LEASE: &str = "
UPDATE leases
SET term = $2, holder = $3, endpoint = $4,
    expires_at = clock_timestamp() + $5 * INTERVAL '1 millisecond'
WHERE shard = $1";

/// Renews the lease, if nobody took it and it was not given up (nobody has it then). Binds: shard, term,
/// holder, endpoint, time-to-live in milliseconds.
pub(super) const RENEW_LEASE: &str = "
UPDATE leases
SET endpoint = $4, expires_at = clock_timestamp() + $5 * INTERVAL '1 millisecond'
WHERE shard = $1 AND term = $2 AND holder = $3 AND holder <> ''
RETURNING term, holder, endpoint";

/// Gives the lease up. Binds: shard, term.
pub(super) const RELEASE_LEASE: &str = "
UPDATE leases SET holder = '', expires_at = '-infinity' WHERE shard = $1 AND term = $2";
