//! What every implementation of [`Metadata`] and [`Upkeep`] must do, as a suite that each of them runs.
//!
//! Holds take two seconds of the service's clock, so a run over real time takes about ten seconds.

mod commits;
mod configs;
mod fixture;
mod holds;
mod idempotence;
mod kafka;
mod live;
mod partitions;
mod reads;
mod records;
mod upkeep;
mod watching;

use std::{future::Future, sync::Arc};

use crate::{Metadata, Upkeep};

/// Runs every check, each against a fresh, empty service that `factory` makes. Panics at the first
/// broken rule.
pub async fn run<F, Fut>(factory: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Metadata>>,
{
    commits::registrations_have_sessions_of_their_own(factory().await).await;
    commits::pipelined_commits_are_placed_in_order(factory().await).await;
    commits::batches_of_unknown_partitions_are_rejected_alone(factory().await).await;
    commits::a_commit_sent_again_gets_the_same_answer(factory().await).await;
    commits::a_gap_in_the_numbers_is_refused(factory().await).await;
    commits::another_stream_breaks_the_earlier_one(factory().await).await;
    commits::unknown_sessions_are_told(factory().await).await;
    idempotence::sequences_are_judged_as_kafka_does(factory().await).await;
    idempotence::sequences_wrap(factory().await).await;
    holds::a_gap_is_held_until_its_predecessor_comes(factory().await).await;
    holds::another_session_can_fill_the_gap(factory().await).await;
    holds::a_hold_ends_after_two_seconds(factory().await).await;
    holds::holds_are_released_on_demand(factory().await).await;
    holds::held_batches_are_answered_on_a_new_stream(factory().await).await;
    reads::locate_finds_what_was_answered(factory().await).await;
    reads::locate_obeys_its_limits(factory().await).await;
    reads::dead_batches_leave_gaps_in_the_run(factory().await).await;
    reads::offsets_are_found_by_time(factory().await).await;
    reads::log_append_time_is_the_leaders(factory().await).await;
    live::known_objects_are_told(factory().await).await;
    live::too_long_a_list_is_refused(factory().await).await;
    watching::a_watch_begins_with_the_whole_state(factory().await).await;
    watching::a_barrier_is_reached_by_watchers(factory().await).await;
    watching::interests_miss_and_repeat_nothing(factory().await).await;
    watching::agents_are_those_that_watch(factory().await).await;
    watching::deleted_topics_are_told(factory().await).await;
    watching::what_was_shown_is_known_again(factory().await).await;
    watching::a_row_that_is_missing_ends_service(factory().await).await;
    watching::another_row_at_a_known_place_ends_service(factory().await).await;
    kafka::topics_are_created_once(factory().await).await;
    kafka::topics_are_deleted(factory().await).await;
    kafka::producer_ids_are_given_once(factory().await).await;
    partitions::partitions_are_added(factory().await).await;
    partitions::what_adds_no_partition_is_refused(factory().await).await;
    configs::configs_of_a_topic_are_altered_one_by_one(factory().await).await;
    configs::configs_of_a_topic_are_replaced(factory().await).await;
    configs::mistakes_leave_configs_as_they_are(factory().await).await;
    configs::broker_configs_reach_watchers(factory().await).await;
    configs::timestamp_types_hold_from_their_alteration_on(factory().await).await;
    configs::protected_topics_are_not_deleted(factory().await).await;
    records::deleted_records_are_gone(factory().await).await;
    records::what_cannot_be_deleted_is_refused(factory().await).await;
    records::producers_are_described(factory().await).await;
    records::partitions_are_measured(factory().await).await;
}

/// Runs the checks of [`Upkeep`], in the same way.
pub async fn run_upkeep<F, Fut>(factory: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Upkeep>>,
{
    upkeep::a_job_is_one_workers(factory().await).await;
    upkeep::ranges_are_swapped_once(factory().await).await;
    upkeep::deleted_topics_come_back(factory().await).await;
}
