//! Groups, by a whole leader: what is left of them when it dies, and that nobody else answers for it.

use std::time::Duration;

use aquifer_metadata_api::{
    Metadata,
    kafka::{Envelope, KafkaCall, LeaderApi, pinned_version},
};
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
        OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
        SyncGroupRequest, SyncGroupResponse, TopicName,
        join_group_request::JoinGroupRequestProtocol,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch_request::OffsetFetchRequestGroup,
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::{Decodable, Encodable, StrBytes},
};

use super::World;
use crate::journal::memory::{Call, Fault};

const GROUP: &str = "billing";

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id() -> GroupId {
    GroupId(text(GROUP))
}

/// A call with the patience of somebody who joins a group.
fn kafka_call<Q: Encodable>(api: LeaderApi, request: &Q) -> KafkaCall {
    let version = pinned_version(api);
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("encodes");
    let envelope = Envelope {
        client_api_key: api.api_key(),
        client_api_version: version,
        principal: String::new(),
        client_id: "client".to_owned(),
        host: "10.0.0.1".to_owned(),
        zone: String::new(),
        listener: String::new(),
        deadline_ms: 60_000,
        call_id: 7,
    };
    let body = body.freeze();
    KafkaCall {
        api,
        envelope,
        body,
    }
}

async fn call<Q: Encodable, R: Decodable>(world: &World, api: LeaderApi, request: &Q) -> R {
    let answer = world.metadata.kafka(kafka_call(api, request)).await;
    let mut answer = answer.expect("answers");
    R::decode(&mut answer, pinned_version(api)).expect("decodes")
}

/// A static member joins, alone, and assigns itself.
async fn join(world: &World) -> (StrBytes, i32) {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"subscribed"));
    let request = JoinGroupRequest::default()
        .with_group_id(group_id())
        .with_session_timeout_ms(45_000)
        .with_rebalance_timeout_ms(60_000)
        .with_group_instance_id(Some(text("instance")))
        .with_protocol_type(text("test"))
        .with_protocols(vec![protocol]);
    let joined: JoinGroupResponse = call(world, LeaderApi::JoinGroup, &request).await;
    assert_eq!(joined.error_code, 0, "{joined:?}");
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(b"everything"));
    let request =
        sync_request(&joined.member_id, joined.generation_id).with_assignments(vec![assignment]);
    let synced: SyncGroupResponse = call(world, LeaderApi::SyncGroup, &request).await;
    assert_eq!(
        (synced.error_code, &synced.assignment[..]),
        (0, &b"everything"[..])
    );
    (joined.member_id, joined.generation_id)
}

fn sync_request(member: &StrBytes, generation: i32) -> SyncGroupRequest {
    SyncGroupRequest::default()
        .with_group_id(group_id())
        .with_generation_id(generation)
        .with_member_id(member.clone())
        .with_group_instance_id(Some(text("instance")))
        .with_protocol_type(Some(text("test")))
        .with_protocol_name(Some(text("range")))
}

async fn heartbeat(world: &World, member: &StrBytes, generation: i32) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(group_id())
        .with_generation_id(generation)
        .with_member_id(member.clone())
        .with_group_instance_id(Some(text("instance")));
    let response: HeartbeatResponse = call(world, LeaderApi::Heartbeat, &request).await;
    response.error_code
}

async fn commit(world: &World, member: &StrBytes, generation: i32, offset: i64) -> i16 {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("orders")))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id())
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(member.clone())
        .with_topics(vec![topic]);
    let response: OffsetCommitResponse = call(world, LeaderApi::OffsetCommit, &request).await;
    response.topics[0].partitions[0].error_code
}

fn fetch_request() -> OffsetFetchRequest {
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(group_id())
        .with_topics(None);
    OffsetFetchRequest::default().with_groups(vec![group])
}

/// The offset of partition 0.
async fn fetch(world: &World) -> Option<i64> {
    let request = fetch_request();
    let response: OffsetFetchResponse = call(world, LeaderApi::OffsetFetch, &request).await;
    let topic = response.groups[0].topics.first()?;
    topic.partitions.first().map(|p| p.committed_offset)
}

#[tokio::test(start_paused = true)]
async fn the_next_leader_knows_generation_assignment_and_offsets() {
    let world = World::new().await;
    world.topic("orders", 1).await;
    let (member, generation) = join(&world).await;
    assert_eq!(commit(&world, &member, generation, 42).await, 0);
    let world = world.restart().await;
    assert_eq!(heartbeat(&world, &member, generation).await, 0);
    assert_eq!(fetch(&world).await, Some(42));
    let request = sync_request(&member, generation);
    let synced: SyncGroupResponse = call(&world, LeaderApi::SyncGroup, &request).await;
    assert_eq!(
        (synced.error_code, &synced.assignment[..]),
        (0, &b"everything"[..])
    );
    assert_eq!(commit(&world, &member, generation, 43).await, 0);
    assert_eq!(commit(&world, &member, generation - 1, 7).await, 22);
    assert_eq!(
        commit(&world, &text("somebody else"), generation, 7).await,
        25
    );
    assert_eq!(fetch(&world).await, Some(43));
}

#[tokio::test(start_paused = true)]
async fn the_next_leader_gives_members_a_whole_session() {
    let world = World::new().await;
    world.topic("orders", 1).await;
    let (member, generation) = join(&world).await;
    world.sleep(40_000).await;
    let world = world.restart().await;
    world.sleep(40_000).await;
    assert_eq!(heartbeat(&world, &member, generation).await, 0);
    world.sleep(46_000).await;
    let code = heartbeat(&world, &member, generation).await;
    assert_ne!(code, 0, "silent for longer than its session");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_and_fetches_write_no_row() {
    let world = World::new().await;
    world.topic("orders", 1).await;
    let (member, generation) = join(&world).await;
    commit(&world, &member, generation, 42).await;
    let of_groups = |world: &World| world.switches.rows().len();
    let before = of_groups(&world);
    for _ in 0..5 {
        assert_eq!(heartbeat(&world, &member, generation).await, 0);
        assert_eq!(fetch(&world).await, Some(42));
    }
    assert_eq!(of_groups(&world), before);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_not_sure_of_its_lease_answers_no_fetch() {
    let world = World::new().await;
    world.topic("orders", 1).await;
    assert_eq!(commit(&world, &text(""), -1, 42).await, 0);
    for _ in 0..30 {
        world.switches.fail_next(Call::Lease, Fault::Unavailable);
    }
    world.sleep(3_000).await;
    let patience = Duration::from_secs(1);
    let call = kafka_call(LeaderApi::OffsetFetch, &fetch_request());
    let early = world
        .ports
        .timeout(patience, world.metadata.kafka(call))
        .await;
    assert!(
        !matches!(early, Some(Ok(_))),
        "another may have committed since: {early:?}"
    );
    // the lease comes back after a while
    assert_eq!(fetch(&world).await, Some(42));
}
