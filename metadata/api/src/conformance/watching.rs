//! Watches and barriers.

use std::sync::Arc;

use super::{
    fixture::{
        Watcher, Writer, address, assert_contiguous, locate_all, partition, plain, soon, topic,
    },
    kafka::delete_topic,
};
use crate::{
    Metadata, MetadataError, mark::JournalMark, register::RegisterRequest, watch::InterestChange,
};

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
    for named in [false, true] {
        let presence = InterestChange::Presence { named };
        let said = watcher.channel.interests.send(presence).await;
        said.expect("the watch is open");
        while watcher.agents.len() != usize::from(named) {
            watcher.step().await;
        }
    }
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

pub(super) async fn what_was_shown_is_known_again(metadata: Arc<dyn Metadata>) {
    let orders = topic(&*metadata, "orders", 1, &[]).await;
    let mut writer = Writer::new(&metadata).await;
    let mut watcher = Watcher::new(&writer).await;
    let early = watcher.mark;
    writer.append(partition(orders, 0), 3).await;
    let (_, barrier) = metadata.barrier().await.expect("a barrier");
    watcher.reach(barrier).await;
    let late = watcher.mark;
    assert!(late.seq > early.seq && late.seq >= barrier, "{late}");
    let session = writer.registration.session;
    // a row of another incarnation says nothing: its loss was accepted
    let before = JournalMark {
        incarnation: aquifer_format::ids::Incarnation(late.incarnation.0 - 1),
        seq: aquifer_format::ids::JournalSeq(u64::MAX),
        ..late
    };
    for seen in [None, Some(early), Some(late), Some(before)] {
        let request = RegisterRequest {
            seen,
            ..RegisterRequest::new(address())
        };
        let registered = metadata.register(request).await;
        registered.expect("nothing was lost");
        let watch = metadata.watch(session, seen).await;
        watch.expect("nothing was lost");
    }
    metadata.barrier().await.expect("it still serves");
}

pub(super) async fn a_row_that_is_missing_ends_service(metadata: Arc<dyn Metadata>) {
    let writer = Writer::new(&metadata).await;
    let watcher = Watcher::new(&writer).await;
    let seen = JournalMark {
        seq: aquifer_format::ids::JournalSeq(watcher.mark.seq.0 + 1_000),
        ..watcher.mark
    };
    let request = RegisterRequest {
        seen: Some(seen),
        ..RegisterRequest::new(address())
    };
    let refused = metadata.register(request).await;
    assert!(
        matches!(refused, Err(MetadataError::LostRows { .. })),
        "{refused:?}"
    );
    ends(&*metadata, watcher).await;
}

pub(super) async fn another_row_at_a_known_place_ends_service(metadata: Arc<dyn Metadata>) {
    let writer = Writer::new(&metadata).await;
    let watcher = Watcher::new(&writer).await;
    let seen = JournalMark {
        hash: [7; 32],
        ..watcher.mark
    };
    let session = writer.registration.session;
    let refused = metadata.watch(session, Some(seen)).await;
    let refused = refused.expect_err("the row is another one");
    assert!(
        matches!(refused, MetadataError::LostRows { .. }),
        "{refused:?}"
    );
    ends(&*metadata, watcher).await;
}

/// The service answers nothing any more, and its watches end.
async fn ends(metadata: &dyn Metadata, mut watcher: Watcher) {
    while let Some(frame) = soon("the end of the watch", watcher.channel.frames.recv()).await {
        drop(frame);
    }
    let refused = soon("a refusal", metadata.barrier()).await;
    assert!(
        matches!(
            refused,
            Err(MetadataError::LostRows { .. } | MetadataError::Unavailable { .. })
        ),
        "{refused:?}"
    );
}
