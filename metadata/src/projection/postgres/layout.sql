-- The tables of the SQL projection, in a schema of their own. They are derived from what the leader has
-- in memory: unlogged, so that writing them costs no write-ahead log, no replica's bandwidth and no
-- space in backups; a crash of the server empties them, and the leader fills them again.
--
-- Each table's comment begins with the layout's number. Whoever changes the tables raises it: tables of
-- another layout are dropped and made anew.

CREATE UNLOGGED TABLE IF NOT EXISTS refresh (
    only_row     BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    cluster_id   UUID NOT NULL,
    term         BIGINT NOT NULL,
    seq          BIGINT NOT NULL,
    upload_epoch BIGINT NOT NULL,
    refreshed_at TIMESTAMPTZ
) WITH (fillfactor = 10);

COMMENT ON TABLE refresh IS
    'Aquifer SQL projection, layout 1. How old the other tables are; one row.';
COMMENT ON COLUMN refresh.only_row IS 'Always true: there is one row.';
COMMENT ON COLUMN refresh.cluster_id IS 'The cluster. Kafka''s tools show it in base64.';
COMMENT ON COLUMN refresh.term IS 'Term of the metadata leader that writes the tables.';
COMMENT ON COLUMN refresh.seq IS
    'Everything that the metadata journal says before this row is in the tables, and some of what came later.';
COMMENT ON COLUMN refresh.upload_epoch IS
    'Minutes of the cluster''s life at the last refresh; what objects.upload_epoch is to be compared with.';
COMMENT ON COLUMN refresh.refreshed_at IS
    'When the tables were last refreshed, by the server''s clock; NULL = not yet.';

CREATE UNLOGGED TABLE IF NOT EXISTS topics (
    topic_id     UUID PRIMARY KEY,
    name         TEXT NOT NULL,
    partitions   INTEGER NOT NULL,
    leader_epoch INTEGER NOT NULL,
    configs      JSONB NOT NULL
);

CREATE INDEX IF NOT EXISTS topics_by_name ON topics (name);

COMMENT ON TABLE topics IS 'Aquifer SQL projection, layout 1. Every topic.';
COMMENT ON COLUMN topics.topic_id IS
    'Id of the topic; one that is deleted and created again has another. Kafka''s tools show it in base64.';
COMMENT ON COLUMN topics.name IS 'Name of the topic.';
COMMENT ON COLUMN topics.partitions IS 'How many partitions it has.';
COMMENT ON COLUMN topics.leader_epoch IS 'Leader epoch of all its partitions.';
COMMENT ON COLUMN topics.configs IS
    'Configs that were set on the topic, as an object of texts; what is not there has the default.';

CREATE UNLOGGED TABLE IF NOT EXISTS partitions (
    topic_id         UUID NOT NULL,
    partition        INTEGER NOT NULL,
    topic            TEXT NOT NULL,
    log_start_offset BIGINT NOT NULL,
    high_watermark   BIGINT NOT NULL,
    size_bytes       BIGINT NOT NULL,
    extents          BIGINT NOT NULL,
    max_timestamp    TIMESTAMPTZ,
    producers        BIGINT NOT NULL,
    held_batches     BIGINT NOT NULL,
    PRIMARY KEY (topic_id, partition)
) WITH (fillfactor = 70);

CREATE INDEX IF NOT EXISTS partitions_by_topic ON partitions (topic, partition);

COMMENT ON TABLE partitions IS 'Aquifer SQL projection, layout 1. Every partition of every topic.';
COMMENT ON COLUMN partitions.topic_id IS 'Id of the topic.';
COMMENT ON COLUMN partitions.partition IS 'Index of the partition within the topic, from 0.';
COMMENT ON COLUMN partitions.topic IS 'Name of the topic.';
COMMENT ON COLUMN partitions.log_start_offset IS 'The first offset that can be read.';
COMMENT ON COLUMN partitions.high_watermark IS 'The offset that the next record gets.';
COMMENT ON COLUMN partitions.size_bytes IS
    'Bytes of the record batches, as they expand: what Kafka calls the size of a log.';
COMMENT ON COLUMN partitions.extents IS
    'How many ranges of objects the records are in; a reader of all of them makes about as many requests.';
COMMENT ON COLUMN partitions.max_timestamp IS
    'The largest timestamp of a record that the partition has; NULL = no record has one.';
COMMENT ON COLUMN partitions.producers IS
    'How many idempotent producers are remembered, so that what they send again is recognized.';
COMMENT ON COLUMN partitions.held_batches IS
    'How many batches wait, for at most some seconds, for one of the same producer that comes before them.';

CREATE UNLOGGED TABLE IF NOT EXISTS objects (
    object_key   TEXT PRIMARY KEY,
    level        INTEGER NOT NULL,
    writer       BIGINT NOT NULL,
    incarnation  BIGINT NOT NULL,
    upload_epoch BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    extents      BIGINT NOT NULL,
    released_in  BIGINT
) WITH (fillfactor = 90);

COMMENT ON TABLE objects IS
    'Aquifer SQL projection, layout 1. Every object of records that the metadata knows in the bucket.';
COMMENT ON COLUMN objects.object_key IS 'Key of the object, behind the prefix of the cluster''s bucket.';
COMMENT ON COLUMN objects.level IS
    '0 = as an agent wrote it; 1 = merged; 2 = merged, of one partition alone.';
COMMENT ON COLUMN objects.writer IS 'Registration slot of its writer: node ids are 16 times that and up.';
COMMENT ON COLUMN objects.incarnation IS
    'Incarnation of the cluster in which it was written; each accepted loss begins another.';
COMMENT ON COLUMN objects.upload_epoch IS
    'When its upload began, in minutes of the cluster''s life; see refresh.upload_epoch.';
COMMENT ON COLUMN objects.bytes IS 'Size of the object in the bucket.';
COMMENT ON COLUMN objects.extents IS
    'How many ranges of it are still part of a partition''s log, or wait to be; 0 = none, it is released.';
COMMENT ON COLUMN objects.released_in IS
    'When the last of them went, as upload_epoch counts; NULL = it is still needed.';
