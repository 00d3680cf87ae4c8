//! Registration and the stream of commits.

use std::sync::Arc;

use aquifer_format::ids::{CommitNumber, SessionId};
use uuid::Uuid;

use super::fixture::{Writer, address, appended, partition, plain, refs, topic};
use crate::{
    Metadata,
    commit::{BatchOutcome, Rejection},
    error::MetadataError,
    register::RegisterRequest,
};

pub(super) async fn registrations_have_sessions_of_their_own(metadata: Arc<dyn Metadata>) {
    let first = Writer::new(&metadata).await.registration;
    let second = Writer::new(&metadata).await.registration;
    assert_ne!(first.session, second.session);
    assert_ne!(first.slot, second.slot);
    assert_eq!(first.cluster, second.cluster);
    let request = RegisterRequest {
        previous_slot: Some(first.slot),
        ..RegisterRequest::new(address())
    };
    let third = metadata.register(request).await.expect("registers");
    assert_ne!(third.session, first.session);
    assert_eq!(third.slot, first.slot, "a writer keeps its slot");
}

pub(super) async fn pipelined_commits_are_placed_in_order(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 2, &[]).await;
    let mut writer = Writer::new(&metadata).await;
    let mut commits = Vec::new();
    for _ in 0..40 {
        let both = vec![plain(3, 1), plain(2, 2)];
        let runs = [
            (partition(topic, 0), both.clone()),
            (partition(topic, 1), both),
        ];
        let commit = writer.build(&runs);
        writer.send(commit.clone()).await;
        commits.push(commit);
    }
    for (n, commit) in (0i64..).zip(&commits) {
        let offsets: Vec<i64> = writer
            .finals(commit)
            .await
            .into_iter()
            .map(appended)
            .collect();
        let (first, second) = (n * 5, n * 5 + 3);
        assert_eq!(offsets, [first, second, first, second], "commit {n}");
    }
}

pub(super) async fn batches_of_unknown_partitions_are_rejected_alone(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 1, &[]).await;
    let mut writer = Writer::new(&metadata).await;
    let nowhere = aquifer_format::ids::TopicId(Uuid::from_u128(u128::MAX));
    let runs = [
        (partition(topic, 0), vec![plain(1, 1)]),
        (partition(topic, 1), vec![plain(1, 1)]),
        (partition(nowhere, 0), vec![plain(1, 1)]),
    ];
    let commit = writer.build(&runs);
    writer.send(commit.clone()).await;
    let outcomes = writer.finals(&commit).await;
    for (run, outcome) in commit.runs.iter().zip(outcomes) {
        let unknown = BatchOutcome::Rejected(Rejection::UnknownPartition);
        if run.partition == partition(topic, 0) {
            assert_eq!(appended(outcome), 0);
        } else {
            assert_eq!(outcome, unknown, "{}", run.partition);
        }
    }
}

pub(super) async fn a_commit_sent_again_gets_the_same_answer(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 1, &[]).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    let first = writer.build(&[(to, vec![plain(3, 1), plain(2, 1)])]);
    let second = writer.build(&[(to, vec![plain(4, 1)])]);
    writer.send(first.clone()).await;
    writer.send(second.clone()).await;
    let before = (writer.finals(&first).await, writer.finals(&second).await);
    // on the same stream, then on another
    for _ in 0..2 {
        writer.outcomes.clear();
        writer.send(first.clone()).await;
        writer.send(second.clone()).await;
        let after = (writer.finals(&first).await, writer.finals(&second).await);
        assert_eq!(after, before);
        writer.reopen().await;
    }
    let mut third = writer.build(&[(to, vec![plain(1, 1)])]);
    third.answered_through = CommitNumber(2);
    writer.send(third.clone()).await;
    let outcomes = writer.finals(&third).await;
    assert_eq!(appended(outcomes[0]), 9, "a commit was taken twice");
}

pub(super) async fn a_gap_in_the_numbers_is_refused(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 1, &[]).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    let first = writer.build(&[(to, vec![plain(1, 1)])]);
    let second = writer.build(&[(to, vec![plain(1, 1)])]);
    let third = writer.build(&[(to, vec![plain(1, 1)])]);
    writer.send(first.clone()).await;
    writer.finals(&first).await;
    writer.send(third.clone()).await;
    let item = writer.item().await;
    assert!(
        matches!(item, Some(Err(MetadataError::Refused { .. }))),
        "{item:?}"
    );
    let item = writer.item().await;
    assert!(item.is_none(), "after a refusal: {item:?}");
    // the session lives, and nothing of the third was taken
    writer.reopen().await;
    writer.send(second.clone()).await;
    writer.send(third.clone()).await;
    assert_eq!(appended(writer.finals(&second).await[0]), 1);
    assert_eq!(appended(writer.finals(&third).await[0]), 2);
}

pub(super) async fn another_stream_breaks_the_earlier_one(metadata: Arc<dyn Metadata>) {
    let topic = topic(&*metadata, "orders", 1, &[]).await;
    let to = partition(topic, 0);
    let mut writer = Writer::new(&metadata).await;
    let session = writer.registration.session;
    let second = metadata.commits(session).await.expect("the session lives");
    let mut first = std::mem::replace(&mut writer.channel, second);
    let item = super::fixture::soon("the end of the stream", first.answers.recv()).await;
    assert!(item.is_none(), "{item:?}");
    let commit = writer.build(&[(to, vec![plain(1, 1)])]);
    writer.send(commit.clone()).await;
    assert_eq!(appended(writer.finals(&commit).await[0]), 0);
    assert_eq!(refs(&commit).len(), 1);
}

pub(super) async fn unknown_sessions_are_told(metadata: Arc<dyn Metadata>) {
    let session = SessionId(u64::MAX);
    let unknown = MetadataError::UnknownSession { session };
    assert_eq!(metadata.commits(session).await.err(), Some(unknown.clone()));
    assert_eq!(metadata.watch(session, None).await.err(), Some(unknown));
}
