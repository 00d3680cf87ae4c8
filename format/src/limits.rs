//! Every limit on what may be sent, stored or remembered, in one place.

/// Largest request frame from a client, in bytes (Kafka's `socket.request.max.bytes`).
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Largest record batch by default, in bytes (Kafka's `message.max.bytes`: 1 MiB + 12).
pub const MESSAGE_BYTES_MAX_DEFAULT: u32 = 1_048_588;
/// Largest message to the metadata service, in bytes: a commit of an object whose footer is as large as
/// it may be, or a call of a client that is; each may grow when it is written in another version.
pub const METADATA_REQUEST_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Largest message from the metadata service, in bytes: the whole state of a cluster of some million
/// partitions, or the extents of every partition of a fetch.
pub const METADATA_MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Length of a v2 record-batch header in bytes.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Aimed-at size of a block's expanded bytes; a block is larger only if one batch is.
pub const BLOCK_BYTES: usize = 1024 * 1024;
/// Largest expanded block: a batch may be as large as a request.
pub const BLOCK_RAW_BYTES_MAX: usize = REQUEST_BYTES_MAX + 1024;
/// Length of a block's header in bytes.
pub const BLOCK_HEADER_BYTES: usize = 16;
/// Most expanded bytes of one run; several of the largest requests fit.
pub const RUN_EXPANDED_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Largest index at the end of a run: its blocks are some thousand at most, so the rest is room for some
/// hundred thousand aborted transactions.
pub const RUN_INDEX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest footer of an object: some hundred thousand runs.
pub const FOOTER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What to read of an object's end to have most footers at once.
pub const FOOTER_READ_BYTES: usize = 64 * 1024;
/// Most bytes that the records of one batch may expand to when we must look inside.
pub const BATCH_EXPANDED_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Most extents in one `locate` answer per partition.
pub const LOCATE_EXTENTS_MAX: usize = 512;
/// Most extents in one extent page.
pub const PAGE_EXTENTS_MAX: usize = 512;
/// Batches remembered per (producer, partition) (Kafka keeps 5).
pub const PRODUCER_BATCHES_MAX: usize = 16;
/// Upload epochs (minutes) after which a first commit of an object is refused.
pub const COMMIT_AGE_EPOCHS_MAX: u32 = 10;
/// Upload epochs (minutes) by which an object must be behind before a sweeper may delete it as never
/// committed: six times [`COMMIT_AGE_EPOCHS_MAX`], so that even a leader that is wrong about the epoch by
/// most of an hour loses nothing.
pub const SWEEP_AGE_EPOCHS_MIN: u32 = 60;
/// Most objects in one question which are live.
pub const LIVE_OBJECTS_MAX: usize = 4_096;
/// Upload epochs of silence after which a commit session ends.
pub const SESSION_IDLE_EPOCHS_MAX: u32 = 10;
/// How long a batch is held for its predecessor, in milliseconds.
pub const HOLD_MS_MAX: u64 = 2_000;
/// Node ids per registration slot.
pub const NODE_IDS_PER_SLOT: i32 = 16;
/// Longest topic name.
pub const TOPIC_NAME_CHARS_MAX: usize = 249;
/// Most partitions of one topic.
pub const TOPIC_PARTITIONS_MAX: u32 = 100_000;
/// Most array elements and unknown tagged fields in one request. An element of two bytes on the wire
/// becomes a structure of about 100 bytes: so a request takes at most about 10 MiB more than its own
/// size when it is decoded. The largest honest ones are a fetch session's or a deletion's list of
/// all partitions or topics of a client.
pub const REQUEST_ELEMENTS_MAX: usize = 100_000;
/// Largest request other than Produce, in bytes: what [`REQUEST_ELEMENTS_MAX`] long topic names take,
/// rounded.
pub const REQUEST_BYTES_MAX_WITHOUT_RECORDS: usize = 16 * 1024 * 1024;
/// Largest first request of a connection, in bytes. Clients begin with ApiVersions; some old ones at
/// once with Produce.
pub const FIRST_REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Shortest record: one byte each for length, attributes, timestamp delta, offset delta, key length,
/// value length and header count.
pub const RECORD_BYTES_MIN: usize = 7;

/// Most objects that one job of a compactor reads.
pub const JOB_OBJECTS_MAX: usize = 128;
/// Most partitions in one question for a job's inputs.
pub const JOB_PARTITIONS_MAX: usize = 4_096;
/// Most extents in one answer to it: some milliseconds of the leader's time.
pub const JOB_EXTENTS_MAX: usize = 16_384;
/// Most ranges in one swap.
pub const SWAP_RANGES_MAX: usize = 512;
/// Most extents that one swap replaces, or puts in their place.
pub const SWAP_EXTENTS_MAX: usize = 16_384;
/// Most objects that one swap puts extents into.
pub const SWAP_OBJECTS_MAX: usize = 64;
/// Most objects that one job deletes: what the largest bulk request of a bucket takes.
pub const DELETE_OBJECTS_MAX: usize = 1_000;
/// Upload epochs (minutes) between the release of an object and the deletion of its bytes: longer than
/// anybody reads by an extent that was located before. Who still does is told "not found" and locates again.
pub const RELEASE_GRACE_EPOCHS: u32 = 10;
/// Upload epochs for which an agent reads by an extent that it learnt of; then it asks again. What was swapped is
/// read as it was for no longer, so a log is not compacted a second time within that: a reader who sees a record
/// that the first time took away also sees what superseded it.
pub const EXTENT_EPOCHS_MAX: u32 = RELEASE_GRACE_EPOCHS / 2;
/// Extents in one page of merged extents from which on the next ones at its end begin another one.
pub const MERGED_PAGE_EXTENTS: usize = 512;
/// Most extents in one page of merged extents: others may come between those that it has.
pub const MERGED_PAGE_EXTENTS_MAX: usize = 4 * MERGED_PAGE_EXTENTS;
/// Largest part of an upload in parts but for the last, which is smaller: all have this size. S3 and what
/// speaks its protocol take at least 5 MiB and at most 10,000 parts.
pub const UPLOAD_PART_BYTES: usize = 8 * 1024 * 1024;
