//! Common frames are encoded once for all watchers; stopping.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::JournalSeq;
use aquifer_metadata_api::{
    Metadata, MetadataError, WatchChannel, commit::CommitCall, watch::Frame,
};

use super::{Node, agent, client, hasty, lead, memory_journal};
use crate::leader::tests::{batch, create_topic, partition, plain_commit};

/// Takes frames until the position was shown; returns how many common ones there were.
async fn reach(watch: &mut WatchChannel, seq: JournalSeq) -> u64 {
    let mut frames = 0;
    loop {
        match watch.frames.recv().await.expect("the watch goes on") {
            Frame::Common(frame) => {
                frames += 1;
                if frame.seq >= seq {
                    return frames;
                }
            }
            Frame::Extents(_) => {}
        }
    }
}

#[tokio::test]
async fn a_common_frame_is_encoded_once_for_all_watchers() {
    const WATCHERS: usize = 8;
    let leader = lead(&memory_journal()).await;
    let node = Node::leading(&leader).await;
    let clients: Vec<_> = (0..WATCHERS).map(|_| client(&[&node])).collect();
    let topic = create_topic(&*clients[0], "orders", 4)
        .await
        .expect("created");
    let registration = clients[0].register(agent()).await.expect("registers");
    let mut watches = Vec::new();
    for client in &clients {
        let session = client.register(agent()).await.expect("registers").session;
        watches.push(client.watch(session, None).await.expect("opens"));
    }
    let mut commits = clients[0]
        .commits(registration.session)
        .await
        .expect("opens");
    let mut number = 0;
    let mut commit = async || {
        number += 1;
        let commit = plain_commit(&registration, number, partition(topic, 0), vec![batch(1)]);
        let call = CommitCall::Commit(commit);
        commits.calls.send(call).await.expect("open");
        commits
            .answers
            .recv()
            .await
            .expect("goes on")
            .expect("taken");
    };
    // every watch has opened, and everybody has heard of it
    commit().await;
    let (_, seq) = clients[0].barrier().await.expect("a barrier");
    for watch in &mut watches {
        reach(watch, seq).await;
    }
    let before = node.server.frames_encoded();
    for _ in 0..50 {
        commit().await;
    }
    let (_, seq) = clients[0].barrier().await.expect("a barrier");
    let mut received = Vec::new();
    for watch in &mut watches {
        received.push(reach(watch, seq).await);
    }
    let encoded = node.server.frames_encoded() - before;
    assert_eq!(received, [50; WATCHERS], "a frame per group for everybody");
    assert_eq!(encoded, 50, "{WATCHERS} watchers were sent the same frames");
}

#[tokio::test]
async fn stopping_ends_streams_and_refuses_calls() {
    let leader = lead(&memory_journal()).await;
    let node = Node::leading(&leader).await;
    let client = Arc::new(hasty(&[&node]));
    let session = client.register(agent()).await.expect("registers").session;
    let mut watch = client.watch(session, None).await.expect("opens");
    let mut commits = client.commits(session).await.expect("opens");
    node.server.stop(Duration::from_secs(5)).await;
    while watch.frames.recv().await.is_some() {}
    assert!(commits.answers.recv().await.is_none());
    let refused = client.register(agent()).await;
    assert!(
        matches!(
            refused,
            Err(MetadataError::Unavailable {
                may_have_happened: false,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_agent_that_ends_its_watch_leaves_discovery() {
    let leader = lead(&memory_journal()).await;
    let node = Node::leading(&leader).await;
    let (one, two) = (client(&[&node]), client(&[&node]));
    let session = one.register(agent()).await.expect("registers").session;
    let mut watch = one.watch(session, None).await.expect("opens");
    let other = two.register(agent()).await.expect("registers").session;
    let leaving = two.watch(other, None).await.expect("opens");
    let mut agents = 0;
    let mut count = async |wanted: usize| {
        while agents != wanted {
            let Some(Frame::Common(frame)) = watch.frames.recv().await else {
                panic!("the watch goes on with common frames");
            };
            agents = frame.agents.as_ref().map_or(agents, Vec::len);
        }
    };
    count(2).await;
    drop(leaving);
    count(1).await;
}
