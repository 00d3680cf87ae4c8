-- The journal of a metadata service.
-- Every key begins with the shard, which is 0 as long as there is one sequencer.

-- Who may write, and where to. Appends and page writes share-lock the row, so that a change waits for
-- those under way and keeps out those that come later.
CREATE TABLE fences (
    shard        SMALLINT NOT NULL PRIMARY KEY,
    -- Term of the leader; changed only by a take-over.
    term         BIGINT NOT NULL,
    -- The journal table that rows are appended to; changed when it is full and the other one is empty.
    active_table TEXT NOT NULL DEFAULT 'a' CHECK (active_table IN ('a', 'b'))
);

INSERT INTO fences (shard, term) VALUES (0, 0);

-- Who leads. Renewed about once a second, which is why it is not in the row of the fence.
CREATE TABLE leases (
    shard      SMALLINT NOT NULL PRIMARY KEY,
    term       BIGINT NOT NULL,
    holder     TEXT NOT NULL,
    endpoint   TEXT NOT NULL,
    -- Given up: the holder is empty and this is in the past.
    expires_at TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 50);

INSERT INTO leases (shard, term, holder, endpoint, expires_at) VALUES (0, 0, '', '', '-infinity');

-- Two tables of rows, used in turn: the older one is truncated once the pages reflect all of it and
-- the newer one has rows. Deleting row by row would cost a vacuum of everything ever written.
CREATE TABLE journal_a (
    shard    SMALLINT NOT NULL,
    seq      BIGINT NOT NULL,
    term     BIGINT NOT NULL,
    previous BYTEA NOT NULL,
    hash     BYTEA NOT NULL,
    bytes    BYTEA NOT NULL,
    PRIMARY KEY (shard, seq)
);

CREATE TABLE journal_b (
    shard    SMALLINT NOT NULL,
    seq      BIGINT NOT NULL,
    term     BIGINT NOT NULL,
    previous BYTEA NOT NULL,
    hash     BYTEA NOT NULL,
    bytes    BYTEA NOT NULL,
    PRIMARY KEY (shard, seq)
);

CREATE TABLE pages (
    shard SMALLINT NOT NULL,
    key   BYTEA NOT NULL,
    -- Journal position that the page reflects.
    seq   BIGINT NOT NULL,
    bytes BYTEA NOT NULL,
    PRIMARY KEY (shard, key)
);

CREATE TABLE checkpoints (
    shard       SMALLINT NOT NULL PRIMARY KEY,
    -- Journal position up to which the pages together reflect everything.
    through_seq BIGINT NOT NULL
);

INSERT INTO checkpoints (shard, through_seq) VALUES (0, 0);

-- Rows and pages come compressed; the server's own try would only cost time before each commit.
ALTER TABLE journal_a ALTER COLUMN bytes SET STORAGE EXTERNAL;
ALTER TABLE journal_b ALTER COLUMN bytes SET STORAGE EXTERNAL;
ALTER TABLE pages ALTER COLUMN bytes SET STORAGE EXTERNAL;
