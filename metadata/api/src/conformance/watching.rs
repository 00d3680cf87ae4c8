//! Watches and barriers.

use std::sync::Arc;

use super::{
    fixture::{
        Watcher, Writer, address, assert_contiguous, locate_all, partition, plain, soon, topic,
    },
    kafka::delete_topic,
};
use crate::{Metadata, watch::InterestChange};

pub(super) async fn a_watch_begins_with_the_whole_state(metadata: Arc<dyn Metadata>) {
    let configs = [("retention.ms", "1000")];
    let orders = topic(&*metadata, "orders", 2, &configs).await;
    let mut writer = Writer::new(&metadata).await;
    writer.append(partition(orders, 1), 5).await;
    let (_, barrier) = metadata.barrier().await.expect("a barrier");
    let watcher = Watcher::new(&writer).await;
    assert!(watcher.seq >= barrier, "the reset is older than the call");
    let view = &watcher.topics[&orders];
    assert_eq!((view.name.as_str(), view.partitions), ("orders", 2));
    let retention = view.configs.get("retention.ms").map(String::as_str);
    assert_eq!(retention, Some("1000"));
    assert_eq!(watcher.high[&partition(orders, 0)].0, 0);
    assert_eq!(watcher.high[&partition(orders, 1)].0, 5);
}

pub(super) async fn a_barrier_is_reached_by_watchers(metadata: Arc<dyn Metadata>) {
    let mut writer = Writer::new(&metadata).await;
    let mut watcher = Watcher::new(&writer).await;
    for n in 0..10 {
        let created = topic(&*metadata, &format!("topic-{n}"), 1, &[]).await;
        let (_, barrier) = metadata.barrier().await.expect("a barrier");
        watcher.reach(barrier).await;
        assert!(watcher.topics.contains_key(&created), "topic {n}");
        let to = partition(created, 0);
        writer.append(to, n + 1).await;
        let (_, barrier) = metadata.barrier().await.expect("a barrier");
        watcher.reach(barrier).await;
        assert_eq!(watcher.high[&to].0, i64::from(n + 1));
    }
}

pub(super) async fn interests_miss_and_repeat_nothing(metadata: Arc<dyn Metadata>) {
    let orders = topic(&*metadata, "orders", 2, &[]).await;
    let (to, other) = (partition(orders, 0), partition(orders, 1));
    let mut writer = Writer::new(&metadata).await;
    let mut watcher = Watcher::new(&writer).await;
    let mut end = 0;
    for round in 0..20 {
        // interest comes and goes between pipelined commits
        let mut commits = Vec::new();
        for n in 0..10 {
            let batch = vec![plain(2, 1)];
            let commit = writer.build(&[(to, batch.clone()), (other, batch)]);
            writer.send(commit.clone()).await;
            commits.push(commit);
            if n == 5 {
                let from = aquifer_format::ids::Offset(end);
                let add = InterestChange::Add {
                    partition: to,
                    from,
                };
                let sent = watcher.channel.interests.send(add).await;
                sent.expect("the watch is open");
            }
        }
        for commit in &commits {
            writer.finals(commit).await;
        }
        end += 20;
        while !watcher.complete.contains_key(&to) {
            watcher.step().await;
        }
        let (_, barrier) = metadata.barrier().await.expect("a barrier");
        writer.append(to, 1).await;
        end += 1;
        watcher.reach(barrier).await;
        while watcher.high[&to].0 < end || last_offset(&watcher, to) < end {
            watcher.step().await;
        }
        let complete = watcher.complete.remove(&to).expect("waited for it").0;
        let mut extents = locate_all(&*metadata, to, 0).await.extents;
        extents.retain(|e| e.base_offset.0 < complete);
        let told = watcher.extents.remove(&to).expect("waited for them");
        let told = told.into_iter().filter(|e| e.base_offset.0 >= complete);
        extents.extend(told);
        assert_contiguous(&extents, 0, end);
        assert!(
            !watcher.extents.contains_key(&other),
            "round {round}: extents without interest"
        );
        let remove = InterestChange::Remove { partition: to };
        let sent = watcher.channel.interests.send(remove).await;
        sent.expect("the watch is open");
    }
}

fn last_offset(watcher: &Watcher, partition: aquifer_format::ids::PartitionId) -> i64 {
    let extents = watcher.extents.get(&partition);
    let last = extents.and_then(|extents| extents.last());
    last.map_or(0, |extent| extent.end_offset.0)
}

pub(super) async fn agents_are_those_that_watch(metadata: Arc<dyn Metadata>) {
    let one = Writer::new(&metadata).await;
    let two = Writer::new(&metadata).await;
    let mut watcher = Watcher::new(&one).await;
    assert_eq!(watcher.agents.len(), 1);
    assert_eq!(watcher.agents[0].slot, one.registration.slot);
    assert_eq!(watcher.agents[0].address, address());
    let second = Watcher::new(&two).await;
    assert_eq!(second.agents.len(), 2);
    while watcher.agents.len() != 2 {
        watcher.step().await;
    }
    drop(second);
    while watcher.agents.len() != 1 {
        watcher.step().await;
    }
    assert_eq!(watcher.agents[0].slot, one.registration.slot);
    drop(soon("a barrier", metadata.barrier()).await);
}

pub(super) async fn deleted_topics_are_told(metadata: Arc<dyn Metadata>) {
    let orders = topic(&*metadata, "orders", 1, &[]).await;
    let mut writer = Writer::new(&metadata).await;
    let mut watcher = Watcher::new(&writer).await;
    writer.append(partition(orders, 0), 1).await;
    delete_topic(&*metadata, "orders").await;
    let again = topic(&*metadata, "orders", 1, &[]).await;
    assert_ne!(again, orders, "a new topic has a new id");
    let (_, barrier) = metadata.barrier().await.expect("a barrier");
    watcher.reach(barrier).await;
    let ids: Vec<_> = watcher.topics.keys().copied().collect();
    assert_eq!(ids, [again]);
    let first = watcher.topics[&again].leader_epoch;
    assert!(first.0 >= 0);
    let located = locate_all(&*metadata, partition(again, 0), 0).await;
    assert_eq!(located.watermarks.high_watermark.0, 0);
    let outcome = writer.one(partition(orders, 0), plain(1, 1)).await;
    let unknown = crate::commit::Rejection::UnknownPartition;
    assert_eq!(outcome, crate::commit::BatchOutcome::Rejected(unknown));
}
