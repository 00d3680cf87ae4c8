//! The statements of the SQL projection. Names without a schema are the projection's: the session's
//! `search_path` is its schema alone.

/// What a session needs. Commits are not waited for: unlogged tables do not survive a crash in any case.
/// Whoever locks a table is waited for shortly, and nothing of a leader that vanished is waited for long.
pub(super) const SESSION: &str = "
SET statement_timeout = '2min';
SET lock_timeout = '5s';
SET idle_in_transaction_session_timeout = '10s';
SET synchronous_commit = off;
SET default_transaction_isolation = 'read committed';
SET tcp_keepalives_idle = 10;
SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3;
SET client_min_messages = 'warning'";

/// What this session is, and whether it may use the schema; NULL = the schema is not there. Binds: schema.
pub(super) const PLACE: &str = "
SELECT
    current_setting('search_path') AS path,
    current_user::TEXT AS role,
    (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1) AS usable";

/// Has names without a schema looked for in this one alone, until the session or a failed transaction
/// ends. Binds: schema.
pub(super) const SET_PATH: &str = "SELECT set_config('search_path', $1, FALSE)";

/// The tables of these names and their comments. Binds: schema, names.
pub(super) const TABLES: &str = "
SELECT
    c.relname::TEXT AS name,
    COALESCE(obj_description(c.oid, 'pg_class'), '') AS comment
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname::TEXT = ANY ($2)
ORDER BY c.relname";

/// The tables, their indexes and comments, as far as they are missing.
pub(super) const LAYOUT: &str = include_str!("layout.sql");

/// Drops the tables of another layout.
pub(super) const DROP: &str = "DROP TABLE IF EXISTS refresh, topics, partitions, objects";

/// Whose the tables are. Every layout has these columns.
pub(super) const OWNER: &str = "SELECT cluster_id::TEXT AS cluster_id, term FROM refresh";

/// Takes the tables for a term, unless a later one has them. Binds: cluster, term.
pub(super) const CLAIM: &str = "
INSERT INTO refresh (cluster_id, term, seq, upload_epoch)
VALUES ($1::UUID, $2, 0, 0)
ON CONFLICT (only_row) DO UPDATE SET term = EXCLUDED.term
WHERE refresh.term <= EXCLUDED.term AND refresh.cluster_id = EXCLUDED.cluster_id";

/// The topics that are there.
pub(super) const TOPIC_IDS: &str = "SELECT topic_id::TEXT AS id FROM topics";

/// The objects that are there.
pub(super) const OBJECT_KEYS: &str = "SELECT object_key AS key FROM objects";

/// Notes a refresh, if the tables are still this term's and all there; first, so that whoever takes them
/// waits for no more than one refresh. Binds: cluster, term, seq, upload epoch.
pub(super) const NOTE: &str = "
UPDATE refresh
SET seq = $3, upload_epoch = $4, refreshed_at = clock_timestamp()
WHERE cluster_id = $1::UUID AND term = $2
    AND to_regclass('topics') IS NOT NULL
    AND to_regclass('partitions') IS NOT NULL
    AND to_regclass('objects') IS NOT NULL";

/// Binds: topic ids.
pub(super) const DELETE_TOPICS: &str = "DELETE FROM topics WHERE topic_id = ANY ($1::UUID[])";

/// Binds: topic ids.
pub(super) const DELETE_PARTITIONS: &str =
    "DELETE FROM partitions WHERE topic_id = ANY ($1::UUID[])";

/// Binds: object keys.
pub(super) const DELETE_OBJECTS: &str = "DELETE FROM objects WHERE object_key = ANY ($1)";

/// Deletes partitions that no topic has.
pub(super) const DELETE_STRAY_PARTITIONS: &str = "
DELETE FROM partitions AS p
WHERE NOT EXISTS (SELECT FROM topics AS t WHERE t.topic_id = p.topic_id)";

/// Binds: a column of the table each.
pub(super) const PUT_TOPICS: &str = "
INSERT INTO topics AS t (topic_id, name, partitions, leader_epoch, configs)
SELECT u.topic_id::UUID, u.name, u.partitions, u.leader_epoch, u.configs::JSONB
FROM UNNEST($1::TEXT[], $2::TEXT[], $3::INTEGER[], $4::INTEGER[], $5::TEXT[])
    AS u (topic_id, name, partitions, leader_epoch, configs)
ON CONFLICT (topic_id) DO UPDATE
SET name = EXCLUDED.name,
    partitions = EXCLUDED.partitions,
    leader_epoch = EXCLUDED.leader_epoch,
    configs = EXCLUDED.configs
WHERE (t.name, t.partitions, t.leader_epoch, t.configs)
    IS DISTINCT FROM
    (EXCLUDED.name, EXCLUDED.partitions, EXCLUDED.leader_epoch, EXCLUDED.configs)";

/// Binds: a column of the table each, but for the topic's name; timestamps in ms.
pub(super) const PUT_PARTITIONS: &str = "
INSERT INTO partitions AS p (
    topic_id, partition, topic, log_start_offset, high_watermark, size_bytes, extents, max_timestamp,
    producers, held_batches)
SELECT
    t.topic_id, u.partition, t.name, u.log_start_offset, u.high_watermark, u.size_bytes, u.extents,
    to_timestamp(u.max_timestamp_ms / 1000.0), u.producers, u.held_batches
FROM UNNEST(
    $1::TEXT[], $2::INTEGER[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[], $6::BIGINT[], $7::BIGINT[],
    $8::BIGINT[], $9::BIGINT[])
    AS u (
        topic_id, partition, log_start_offset, high_watermark, size_bytes, extents, max_timestamp_ms,
        producers, held_batches)
JOIN topics AS t ON t.topic_id = u.topic_id::UUID
ON CONFLICT (topic_id, partition) DO UPDATE
SET topic = EXCLUDED.topic,
    log_start_offset = EXCLUDED.log_start_offset,
    high_watermark = EXCLUDED.high_watermark,
    size_bytes = EXCLUDED.size_bytes,
    extents = EXCLUDED.extents,
    max_timestamp = EXCLUDED.max_timestamp,
    producers = EXCLUDED.producers,
    held_batches = EXCLUDED.held_batches
WHERE (
        p.topic, p.log_start_offset, p.high_watermark, p.size_bytes, p.extents, p.max_timestamp,
        p.producers, p.held_batches)
    IS DISTINCT FROM (
        EXCLUDED.topic, EXCLUDED.log_start_offset, EXCLUDED.high_watermark, EXCLUDED.size_bytes,
        EXCLUDED.extents, EXCLUDED.max_timestamp, EXCLUDED.producers, EXCLUDED.held_batches)";

/// Binds: a column of the table each.
pub(super) const PUT_OBJECTS: &str = "
INSERT INTO objects AS o (
    object_key, level, writer, incarnation, upload_epoch, bytes, extents, released_in)
SELECT
    u.object_key, u.level, u.writer, u.incarnation, u.upload_epoch, u.bytes, u.extents, u.released_in
FROM UNNEST(
    $1::TEXT[], $2::INTEGER[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[], $6::BIGINT[], $7::BIGINT[],
    $8::BIGINT[])
    AS u (object_key, level, writer, incarnation, upload_epoch, bytes, extents, released_in)
ON CONFLICT (object_key) DO UPDATE
SET bytes = EXCLUDED.bytes, extents = EXCLUDED.extents, released_in = EXCLUDED.released_in
WHERE (o.bytes, o.extents, o.released_in)
    IS DISTINCT FROM
    (EXCLUDED.bytes, EXCLUDED.extents, EXCLUDED.released_in)";
