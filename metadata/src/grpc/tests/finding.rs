//! Finding the leader, and going on when it changes.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::SessionId;
use aquifer_metadata_api::{
    Metadata, MetadataError,
    commit::{BatchOutcome, CommitCall},
    grpc::{GrpcMetadata, GrpcSettings, ProcessRole, ask_status},
    secret::ClusterSecret,
    watch::Frame,
};
use aquifer_store::Ports;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{Node, agent, client, hasty, lead, memory_journal, secret, settings, sleep};
use crate::{
    Leader,
    journal::memory::MemoryJournal,
    leader::tests::{batch, create_topic, partition, plain_commit},
    role::Role,
};

#[tokio::test]
async fn a_standby_says_who_leads() {
    let leader = lead(&memory_journal()).await;
    let leading = Node::leading(&leader).await;
    let standby = Node::standby().await;
    let leader_known = Some(leading.address());
    standby.set(Role::Standby {
        leader: leader_known,
    });
    let (term, _) = client(&[&standby])
        .barrier()
        .await
        .expect("the leader is found");
    assert_eq!(term, leader.term());
}

#[tokio::test]
async fn a_standby_that_knows_no_leader_is_passed_over() {
    let leader = lead(&memory_journal()).await;
    let (standby, leading) = (Node::standby().await, Node::leading(&leader).await);
    let frozen = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut settings = settings(&[&standby, &leading]);
    let frozen = frozen.local_addr().expect("an address").to_string();
    settings
        .endpoints
        .insert(0, frozen.parse().expect("host:port"));
    let ports = Ports::system();
    let asked = ports.clock.now();
    let client = GrpcMetadata::new(ports.clone(), settings);
    client.barrier().await.expect("the leader is found");
    let took = ports.clock.now().since(asked);
    assert!(
        took < Duration::from_millis(900),
        "waited for the one that stands still: {took:?}"
    );
}

#[tokio::test]
async fn without_a_leader_a_call_did_not_happen() {
    let (one, other) = (Node::standby().await, Node::standby().await);
    let error = hasty(&[&one, &other]).register(agent()).await;
    assert!(
        matches!(
            error,
            Err(MetadataError::Unavailable {
                may_have_happened: false,
                ..
            })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn callers_are_told_that_nobody_may_serve() {
    let (one, other) = (Node::standby().await, Node::standby().await);
    let role = Role::Refusing {
        reason: "the tip is ahead".to_owned(),
    };
    one.set(role.clone());
    other.set(role);
    // at once, as soon as none of them can take over
    let error = client(&[&one, &other]).register(agent()).await;
    let Err(MetadataError::LostRows { reason }) = error else {
        panic!("{error:?}");
    };
    assert!(reason.contains("the tip is ahead"), "{reason}");
    // a standby may still take over, so it is waited for
    other.set(Role::Standby { leader: None });
    let error = hasty(&[&one, &other]).register(agent()).await;
    let reason = did_not_happen(error);
    assert!(reason.contains("the tip is ahead"), "{reason}");
    let leader = lead(&memory_journal()).await;
    other.set(Role::Leader(leader.metadata()));
    hasty(&[&one, &other])
        .register(agent())
        .await
        .expect("one leads");
}

/// Why a call could not be made.
fn did_not_happen<T: std::fmt::Debug>(called: Result<T, MetadataError>) -> String {
    match called {
        Err(MetadataError::Unavailable {
            reason,
            may_have_happened: false,
        }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn regression_a_refusal_is_final_only_where_nobody_stands_by() {
    let another = ClusterSecret::new("a-secret-of-another-cluster").expect("long enough");
    let stranger = Node::admitting(another, Role::Standby { leader: None }).await;
    let standby = Node::standby().await;
    let client = hasty(&[&stranger, &standby]);
    let reason = did_not_happen(client.barrier().await);
    assert!(reason.contains("cluster secret"), "{reason}");
    let leader = lead(&memory_journal()).await;
    standby.set(Role::Leader(leader.metadata()));
    client.barrier().await.expect("one leads");
    let refused = hasty(&[&stranger]).barrier().await;
    assert!(
        matches!(refused, Err(MetadataError::Refused { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn regression_what_was_said_before_a_leader_was_found_is_forgotten() {
    let leader = lead(&memory_journal()).await;
    let node = Node::standby().await;
    node.set(Role::Refusing {
        reason: "the tip is ahead".to_owned(),
    });
    let client = hasty(&[&node]);
    let error = client.barrier().await;
    assert!(
        matches!(error, Err(MetadataError::LostRows { .. })),
        "{error:?}"
    );
    node.set(Role::Leader(leader.metadata()));
    client.barrier().await.expect("it leads");
    // the caller's time is over before it is known whether this one answers
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = silent.local_addr().expect("an address");
    node.set(Role::Standby {
        leader: Some(silent.to_string()),
    });
    did_not_happen(client.barrier().await);
}

#[tokio::test]
async fn regression_a_process_that_refuses_to_serve_is_left_for_the_leader() {
    let (_, old, new) = rivals().await;
    let (a, b) = (Node::leading(&old).await, Node::standby().await);
    let client = hasty(&[&a, &b]);
    client.barrier().await.expect("the old one leads");
    a.set(Role::Refusing {
        reason: "fsync is off".to_owned(),
    });
    b.set(Role::Leader(new.metadata()));
    let error = client.barrier().await;
    assert!(
        matches!(error, Err(MetadataError::LostRows { .. })),
        "{error:?}"
    );
    let (term, _) = client.barrier().await.expect("another one leads");
    assert_eq!(term, new.term());
}

#[tokio::test]
async fn nobody_there_means_that_it_did_not_happen() {
    let gone = Node::standby().await;
    gone.server.stop(Duration::from_secs(1)).await;
    let error = hasty(&[&gone]).register(agent()).await;
    assert!(
        matches!(
            error,
            Err(MetadataError::Unavailable {
                may_have_happened: false,
                ..
            })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn calls_and_streams_go_on_at_the_new_leader() {
    let journal = memory_journal();
    let first = lead(&journal).await;
    let (a, b) = (Node::leading(&first).await, Node::standby().await);
    let client = client(&[&a, &b]);
    let topic = create_topic(&*client, "orders", 1).await.expect("created");
    let registration = client.register(agent()).await.expect("registers");
    let session = registration.session;
    let mut commits = client.commits(session).await.expect("opens");
    let mut watch = client.watch(session, None).await.expect("opens");
    let commit = plain_commit(&registration, 1, partition(topic, 0), vec![batch(3)]);
    let call = CommitCall::Commit(commit);
    commits.calls.send(call.clone()).await.expect("open");
    let answer = commits
        .answers
        .recv()
        .await
        .expect("goes on")
        .expect("taken");

    a.set(Role::Standby { leader: None });
    // its streams end at once, while its journal is still fine
    assert!(commits.answers.recv().await.is_none(), "the stream goes on");
    while watch.frames.recv().await.is_some() {}
    let created = {
        let client = Arc::clone(&client);
        async move { create_topic(&*client, "payments", 1).await }
    };
    let take_over = async {
        sleep(300).await;
        first.stop(Duration::from_secs(1)).await;
        let second = lead(&journal).await;
        assert!(second.term() > first.term());
        b.set(Role::Leader(second.metadata()));
        a.set(Role::Standby {
            leader: Some(b.address()),
        });
        second
    };
    let (created, second) = tokio::join!(created, take_over);
    created.expect("a call that did not happen is made again");

    let mut commits = client.commits(session).await.expect("the session lives");
    commits.calls.send(call).await.expect("open");
    let again = commits
        .answers
        .recv()
        .await
        .expect("goes on")
        .expect("taken");
    assert_eq!(
        again, answer,
        "a commit that is sent again has the same answer"
    );
    assert!(matches!(
        again.outcomes[..],
        [(_, BatchOutcome::Appended(_))]
    ));
    let mut watch = client.watch(session, None).await.expect("opens");
    let Some(Frame::Common(reset)) = watch.frames.recv().await else {
        panic!("a watch begins with a common frame");
    };
    assert!(reset.reset);
    assert_eq!(reset.term, second.term());
}

#[tokio::test]
async fn a_leader_of_a_lower_term_is_not_believed() {
    let journal = memory_journal();
    let first = lead(&journal).await;
    first.stop(Duration::from_secs(1)).await;
    let second = lead(&journal).await;
    let (a, b) = (Node::standby().await, Node::leading(&second).await);
    let client = hasty(&[&a, &b]);
    client.barrier().await.expect("the second leads");
    // the first one stood still meanwhile, and believes that it leads
    a.set(Role::Leader(first.metadata()));
    b.set(Role::Standby { leader: None });
    let error = client.barrier().await;
    let Err(MetadataError::Unavailable { reason, .. }) = error else {
        panic!("{error:?}");
    };
    assert!(reason.contains("a term that is over"), "{reason}");
}

/// A leader with its journal, and one of a later term of whom it cannot know.
async fn rivals() -> (MemoryJournal, Leader, Leader) {
    let stalled = memory_journal();
    let old = lead(&stalled).await;
    let journal = memory_journal();
    lead(&journal).await.stop(Duration::from_secs(1)).await;
    let new = lead(&journal).await;
    assert!(new.term() > old.term());
    (stalled, old, new)
}

#[tokio::test]
async fn regression_an_error_of_a_lower_term_is_not_believed() {
    let (stalled, old, new) = rivals().await;
    let session = new.metadata().register(agent()).await;
    let session = session.expect("registers").session;
    let (a, b) = (Node::leading(&old).await, Node::standby().await);
    let client = client(&[&a, &b]);
    client.barrier().await.expect("the old one leads");
    stalled.switches().set_unavailable(true);
    let old = old.metadata();
    // its answers wait behind this row
    let row = create_topic(&*old, "orders", 1);
    let deposed = async {
        sleep(200).await;
        b.set(Role::Leader(new.metadata()));
        a.set(Role::Standby {
            leader: Some(b.address()),
        });
        client.barrier().await.expect("the new one leads");
        stalled.switches().set_unavailable(false);
    };
    let (row, opened, ()) = tokio::join!(row, client.commits(session), deposed);
    row.expect("it still could append");
    opened.expect("the leader knows the session");
}

#[tokio::test]
async fn a_stream_of_a_lower_term_breaks_before_it_answers() {
    let (_, old, new) = rivals().await;
    let (a, b) = (Node::leading(&old).await, Node::standby().await);
    let client = client(&[&a, &b]);
    let topic = create_topic(&*client, "orders", 1).await.expect("created");
    let registration = client.register(agent()).await.expect("registers");
    let commits = client.commits(registration.session).await;
    let mut commits = commits.expect("opens");
    b.set(Role::Leader(new.metadata()));
    // what is open there does not hear of it
    a.role.send_if_modified(|role| {
        *role = Role::Standby {
            leader: Some(b.address()),
        };
        false
    });
    let (term, _) = client.barrier().await.expect("the new one leads");
    assert_eq!(term, new.term());
    let commit = plain_commit(&registration, 1, partition(topic, 0), vec![batch(1)]);
    let sent = commits.calls.send(CommitCall::Commit(commit)).await;
    sent.expect("it is open");
    assert!(commits.answers.recv().await.is_none(), "it was believed");
}

#[tokio::test]
async fn a_process_says_what_it_is() {
    let leader = lead(&memory_journal()).await;
    let node = Node::leading(&leader).await;
    let client = client(&[&node]);
    create_topic(&*client, "orders", 1).await.expect("created");
    let (term, seq) = client.barrier().await.expect("a barrier");
    let ports = Ports::system();
    let settings = settings(&[&node]);
    let status = ask_status(&ports, &settings, &node.endpoint()).await;
    let ProcessRole::Leader(leading) = status.expect("answers").role else {
        panic!("it leads");
    };
    assert_eq!((leading.term, leading.seq), (term, seq));
    assert_eq!(leading.cluster, leader.cluster());
    node.set(Role::Refusing {
        reason: "fsync is off".to_owned(),
    });
    let status = ask_status(&ports, &settings, &node.endpoint()).await;
    let reason = "fsync is off".to_owned();
    assert_eq!(
        status.expect("answers").role,
        ProcessRole::Refusing { reason }
    );
}

#[tokio::test]
async fn sessions_that_are_unknown_are_told_apart() {
    let leader = lead(&memory_journal()).await;
    let node = Node::leading(&leader).await;
    let session = SessionId(4_711);
    let unknown = MetadataError::UnknownSession { session };
    let error = client(&[&node]).commits(session).await.err();
    assert_eq!(error, Some(unknown));
}

/// A relay that can stand still, as a stopped process does: it accepts, takes and says nothing.
async fn relay(to: String) -> (String, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (still, is_still) = watch::channel(false);
    let tasks = Ports::system().tasks;
    let spawner = tasks.clone();
    tasks.spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (to, mut is_still) = (to.clone(), is_still.clone());
            spawner.spawn(async move {
                let mut far = TcpStream::connect(to).await.expect("connects");
                let stands_still = async { drop(is_still.wait_for(|still| *still).await) };
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => return,
                    () = stands_still => {}
                }
                std::future::pending::<()>().await;
            });
        }
    });
    (address, still)
}

#[tokio::test]
async fn a_process_that_stands_still_is_noticed_and_a_slow_one_is_not_cut() {
    let journal = memory_journal();
    let leader = lead(&journal).await;
    let node = Node::leading(&leader).await;
    let (address, still) = relay(node.address()).await;
    let endpoints = vec![address.parse().expect("host:port")];
    let ports = Ports::system();
    let client = GrpcMetadata::new(ports.clone(), GrpcSettings::new(endpoints, secret()));
    let registration = client.register(agent()).await.expect("registers");
    let mut watch = client
        .watch(registration.session, None)
        .await
        .expect("opens");

    journal.switches().set_unavailable(true);
    let slow = async {
        sleep(3_500).await;
        journal.switches().set_unavailable(false);
    };
    let (registered, ()) = tokio::join!(client.register(agent()), slow);
    registered.expect("the journal was slow, the connection is not cut");

    still.send_replace(true);
    let stopped = ports.clock.now();
    while watch.frames.recv().await.is_some() {}
    let took = ports.clock.now().since(stopped);
    assert!(
        took < Duration::from_millis(2_600),
        "noticed after {took:?}"
    );
}

#[tokio::test]
async fn an_answer_that_is_lost_may_have_happened() {
    let journal = memory_journal();
    let leader = lead(&journal).await;
    let node = Node::leading(&leader).await;
    let client = client(&[&node]);
    client.barrier().await.expect("connects");
    journal.switches().set_unavailable(true);
    let killed = async {
        sleep(200).await;
        // as a kill does: connections are cut, whatever is under way
        node.ports.tasks.kill();
    };
    let (created, ()) = tokio::join!(create_topic(&*client, "orders", 1), killed);
    assert!(
        matches!(
            created,
            Err(MetadataError::Unavailable {
                may_have_happened: true,
                ..
            })
        ),
        "{created:?}"
    );
}
