//! Batches that wait for a predecessor.

use std::sync::Arc;

use super::fixture::{Writer, appended, partition, refs, sequenced, soon, topic};
use crate::{
    Metadata,
    commit::{BatchOutcome, CommitCall, Rejection},
};

const OUT_OF_ORDER: BatchOutcome = BatchOutcome::Rejected(Rejection::OutOfOrderSequence);

pub(super) async fn a_gap_is_held_until_its_predecessor_comes(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 1, &[]).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    writer.one(to, sequenced(7, 0, 0, 2)).await;
    let third = writer.build(&[(to, vec![sequenced(7, 0, 4, 2)])]);
    let fourth = writer.build(&[(to, vec![sequenced(7, 0, 6, 1), sequenced(8, 0, 0, 1)])]);
    writer.send(third.clone()).await;
    writer.send(fourth.clone()).await;
    writer.answer().await;
    writer.answer().await;
    assert_eq!(writer.outcomes[&refs(&third)[0]], BatchOutcome::Held);
    assert_eq!(writer.outcomes[&refs(&fourth)[0]], BatchOutcome::Held);
    // another producer's batch of the same commit is not held with it
    assert_eq!(appended(writer.outcomes[&refs(&fourth)[1]]), 2);
    // nor is a reader shown anything of it
    let located = super::fixture::locate_all(&*metadata, to, 0).await;
    assert_eq!(located.watermarks.high_watermark.0, 3);
    assert_eq!(appended(writer.one(to, sequenced(7, 0, 2, 2)).await), 3);
    assert_eq!(appended(writer.finals(&third).await[0]), 5);
    assert_eq!(appended(writer.finals(&fourth).await[0]), 7);
    let located = super::fixture::locate_all(&*metadata, to, 0).await;
    super::fixture::assert_contiguous(&located.extents, 0, 8);
}

pub(super) async fn another_session_can_fill_the_gap(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 1, &[]).await;
    let to = partition(topic, 0);
    let mut one = Writer::new(&metadata).await;
    let mut other = Writer::new(&metadata).await;
    one.one(to, sequenced(7, 0, 0, 1)).await;
    let held = other.build(&[(to, vec![sequenced(7, 0, 2, 1)])]);
    other.send(held.clone()).await;
    other.answer().await;
    assert_eq!(other.outcomes[&refs(&held)[0]], BatchOutcome::Held);
    assert_eq!(appended(one.one(to, sequenced(7, 0, 1, 1)).await), 1);
    assert_eq!(appended(other.finals(&held).await[0]), 2);
}

pub(super) async fn a_hold_ends_after_two_seconds(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 2, &[]).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    writer.one(to, sequenced(7, 0, 0, 1)).await;
    let gap = writer.build(&[(to, vec![sequenced(7, 0, 5, 1)])]);
    let unknown = writer.build(&[(to, vec![sequenced(8, 0, 5, 1)])]);
    writer.send(gap.clone()).await;
    writer.send(unknown.clone()).await;
    assert_eq!(writer.finals(&gap).await, [OUT_OF_ORDER]);
    assert_eq!(appended(writer.finals(&unknown).await[0]), 1);
    // the producer goes on where it was let in
    assert_eq!(appended(writer.one(to, sequenced(8, 0, 6, 1)).await), 2);
    // KAFKA-15591: what never held a record accepts only first sequence 0
    let empty = partition(topic, 1);
    let commit = writer.build(&[(empty, vec![sequenced(8, 0, 5, 1)])]);
    writer.send(commit.clone()).await;
    assert_eq!(writer.finals(&commit).await, [OUT_OF_ORDER]);
}

pub(super) async fn holds_are_released_on_demand(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 1, &[]).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    writer.one(to, sequenced(7, 0, 0, 1)).await;
    let gap = writer.build(&[(to, vec![sequenced(7, 0, 5, 1)])]);
    let unknown = writer.build(&[(to, vec![sequenced(8, 0, 5, 1)])]);
    writer.send(gap.clone()).await;
    writer.send(unknown.clone()).await;
    writer.answer().await;
    writer.answer().await;
    let mut all = refs(&gap);
    all.extend(refs(&unknown));
    for batch in &all {
        assert_eq!(writer.outcomes[batch], BatchOutcome::Held);
    }
    let release = CommitCall::ReleaseHolds(all);
    writer.call(release.clone()).await;
    assert_eq!(writer.finals(&gap).await, [OUT_OF_ORDER]);
    assert_eq!(appended(writer.finals(&unknown).await[0]), 1);
    // what is not held any more is ignored
    writer.call(release).await;
    assert_eq!(appended(writer.one(to, sequenced(8, 0, 6, 1)).await), 2);
}

pub(super) async fn held_batches_are_answered_on_a_new_stream(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 1, &[]).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    writer.one(to, sequenced(7, 0, 0, 1)).await;
    let held = writer.build(&[(to, vec![sequenced(7, 0, 2, 1)])]);
    let filler = writer.build(&[(to, vec![sequenced(7, 0, 1, 1)])]);
    writer.send(held.clone()).await;
    writer.answer().await;
    writer.reopen().await;
    writer.outcomes.clear();
    writer.send(held.clone()).await;
    writer.send(filler.clone()).await;
    assert_eq!(appended(writer.finals(&filler).await[0]), 1);
    assert_eq!(appended(writer.finals(&held).await[0]), 2);
    // and once more, when all is decided
    writer.reopen().await;
    writer.outcomes.clear();
    writer.send(held.clone()).await;
    assert_eq!(appended(writer.finals(&held).await[0]), 2);
    drop(soon("another call", writer.metadata.barrier()).await);
}
