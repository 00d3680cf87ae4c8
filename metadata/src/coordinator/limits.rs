//! Limits of groups that are not configs.

use crate::state::State;

/// Longest group id in bytes. Kafka takes any that fits a record.
pub(super) const GROUP_ID_BYTES_MAX: usize = 1_024;
/// As much of a client id as is kept of a member and goes into its id.
pub(super) const CLIENT_ID_BYTES_MAX: usize = 255;
/// Longest `group.instance.id`, rack, protocol type or protocol name in bytes.
pub(super) const NAME_BYTES_MAX: usize = 1_024;
/// What the members of one group may say, and be assigned, in all: what one row or message can hold. Kafka's
/// limit is the largest record of its offsets topic (1 MiB).
pub(super) const GROUP_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Most topics that a member of a consumer group names.
pub(super) const SUBSCRIBED_TOPICS_MAX: usize = 10_000;
/// Longest regular expression in bytes.
pub(super) const REGEX_BYTES_MAX: usize = 1_024;
/// Most memory of a compiled regular expression in bytes.
pub(super) const REGEX_COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// Timers that are served before requests have their turn.
pub(super) const TIMERS_PER_TICK: usize = 256;
/// Groups that are looked at for expired offsets before requests have their turn.
pub(super) const GROUPS_PER_EXPIRY_STEP: usize = 256;
/// Committed offsets that are looked at for lag before requests have their turn.
pub(super) const OFFSETS_PER_LAG_STEP: usize = 4_096;
/// How long a new member, or one that joins, may be silent (Kafka's `NEW_MEMBER_JOIN_TIMEOUT_MS`).
pub(super) const NEW_MEMBER_TIMEOUT_MS: u64 = 5 * 60 * 1_000;

/// Whether there is memory for a member that takes `bytes`, and took `before` until now; None = it is new. Once
/// the budget is used up nobody new is let in. Members go on, and may grow until it is used twice: each may say
/// more whenever it joins again, and there are many.
pub(super) fn has_memory(state: &State, before: Option<u64>, bytes: u64) -> bool {
    let (used, budget) = (state.usage().group_bytes, state.budgets().group_bytes);
    match before {
        None => used < budget,
        Some(before) => bytes <= before || used < budget.saturating_mul(2),
    }
}
