//! Sequences of idempotent producers, where no batch is held.

use std::sync::Arc;

use super::fixture::{Writer, appended, partition, sequenced, topic};
use crate::{
    Metadata,
    commit::{BatchOutcome, Rejection},
};

fn duplicate(outcome: BatchOutcome) -> i64 {
    let BatchOutcome::Duplicate(placement) = outcome else {
        panic!("no duplicate: {outcome:?}");
    };
    placement.base_offset.0
}

pub(super) async fn sequences_are_judged_as_kafka_does(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 2, &[]).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    let out_of_order = BatchOutcome::Rejected(Rejection::OutOfOrderSequence);
    let stale = BatchOutcome::Rejected(Rejection::StaleProducerEpoch);

    assert_eq!(appended(writer.one(to, sequenced(7, 1, 0, 3)).await), 0);
    assert_eq!(appended(writer.one(to, sequenced(7, 1, 3, 2)).await), 3);
    assert_eq!(duplicate(writer.one(to, sequenced(7, 1, 0, 3)).await), 0);
    assert_eq!(duplicate(writer.one(to, sequenced(7, 1, 3, 2)).await), 3);
    assert_eq!(writer.one(to, sequenced(7, 1, 1, 2)).await, out_of_order);
    assert_eq!(writer.one(to, sequenced(7, 0, 5, 1)).await, stale);
    // a new epoch begins with 0; this one may be held until that is certain
    let early = writer.build(&[(to, vec![sequenced(7, 2, 5, 1)])]);
    writer.send(early.clone()).await;
    assert_eq!(writer.finals(&early).await, [out_of_order]);
    assert_eq!(appended(writer.one(to, sequenced(7, 2, 0, 1)).await), 5);
    assert_eq!(writer.one(to, sequenced(7, 1, 5, 1)).await, stale);
    assert_eq!(appended(writer.one(to, sequenced(8, 0, 0, 1)).await), 6);
    // the same sequences on another partition are another stream
    let other = partition(topic, 1);
    assert_eq!(appended(writer.one(other, sequenced(7, 2, 0, 1)).await), 0);
}

pub(super) async fn sequences_wrap(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 1, &[]).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    assert_eq!(appended(writer.one(to, sequenced(7, 0, 0, 1)).await), 0);
    // an unknown producer far into its sequence is accepted once its hold has ended
    let commit = writer.build(&[(to, vec![sequenced(9, 0, i32::MAX - 3, 3)])]);
    writer.send(commit.clone()).await;
    assert_eq!(appended(writer.finals(&commit).await[0]), 1);
    assert_eq!(
        appended(writer.one(to, sequenced(9, 0, i32::MAX, 3)).await),
        4
    );
    assert_eq!(appended(writer.one(to, sequenced(9, 0, 2, 1)).await), 7);
    assert_eq!(
        duplicate(writer.one(to, sequenced(9, 0, i32::MAX, 3)).await),
        4
    );
}
