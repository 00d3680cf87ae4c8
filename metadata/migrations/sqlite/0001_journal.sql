-- The journal of an embedded metadata service: one process at a time has this file open.
-- Every key begins with the shard, which is 0 as long as there is one sequencer.

CREATE TABLE fences (
    shard INTEGER NOT NULL PRIMARY KEY,
    -- Term of the leader that may write.
    term  INTEGER NOT NULL
) STRICT;

INSERT INTO fences (shard, term) VALUES (0, 0);

CREATE TABLE journal_rows (
    shard    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    term     INTEGER NOT NULL,
    previous BLOB NOT NULL,
    hash     BLOB NOT NULL,
    bytes    BLOB NOT NULL,
    PRIMARY KEY (shard, seq)
) STRICT;

CREATE TABLE pages (
    shard INTEGER NOT NULL,
    key   BLOB NOT NULL,
    -- Journal position that the page reflects.
    seq   INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (shard, key)
) STRICT;

CREATE TABLE checkpoints (
    shard        INTEGER NOT NULL PRIMARY KEY,
    -- Journal position up to which the pages together reflect everything.
    through_seq  INTEGER NOT NULL
) STRICT;

INSERT INTO checkpoints (shard, through_seq) VALUES (0, 0);
