//! Committed offsets: OffsetCommit, OffsetFetch, OffsetDelete, DeleteGroups, expiry. Rules and their order are
//! those of Kafka's `OffsetMetadataManager` and `GroupCoordinatorService`.

mod commit;
mod delete;
mod delete_groups;
mod expire;
mod fetch;
