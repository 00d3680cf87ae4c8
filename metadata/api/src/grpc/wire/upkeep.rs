//! Messages of `upkeep.proto`. A pair of functions per type of [`crate::upkeep`] that travels, named like those of
//! the neighbours: `lease_to`, `lease_from`, `lease_reply_to`, `lease_reply_from`, `renewal_*`, `renewed_*`,
//! `inputs_*`, `inputs_reply_*`, `swap_*`, `swap_reply_*`, `finish_*`, `objects_*`, `objects_reply_*`,
//! `deleted_topics_*`, `restore_*`, `restored_*`.
