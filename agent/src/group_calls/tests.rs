//! How often, how long and as what a call of a group is sent, on virtual time.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use aquifer_metadata_api::fake::FAKE_START_UNIX_MILLIS;
use aquifer_store::Monotonic;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
};

use super::*;
use crate::{
    connection::{ConnectionHandle, ConnectionId, zone::ClientZone},
    testing::{
        groups::{self, GroupLeader, Outcome, answer, unavailable},
        settings,
    },
};

struct Bed {
    broker: Arc<Broker>,
    leader: Arc<GroupLeader>,
    context: RequestContext,
}

async fn bed(script: impl Fn(usize, &KafkaCall) -> Outcome + Send + Sync + 'static) -> Bed {
    let ports = Ports::simulated(7, FAKE_START_UNIX_MILLIS);
    let (broker, leader) = groups::broker(settings(), ports, script).await;
    let peer = SocketAddr::from(([10, 0, 0, 1], 40_000));
    let context = RequestContext {
        connection: Arc::new(ConnectionHandle::new(ConnectionId(1), peer)),
        node_index: 0,
        client_id: "client".to_owned(),
        zone: ClientZone::default(),
        api_key: 12,
        api_version: 4,
        received: broker.ports.clock.now(),
    };
    Bed {
        broker,
        leader,
        context,
    }
}

impl Bed {
    fn now(&self) -> Monotonic {
        self.broker.ports.clock.now()
    }

    async fn heartbeat(&self, patience: Duration) -> Result<HeartbeatResponse, MetadataError> {
        let request = HeartbeatRequest::default();
        let api = LeaderApi::Heartbeat;
        call(&self.broker, &self.context, api, &request, patience).await
    }

    async fn join(&self, patience: Duration) -> Result<JoinGroupResponse, MetadataError> {
        let request = JoinGroupRequest::default();
        let api = LeaderApi::JoinGroup;
        call(&self.broker, &self.context, api, &request, patience).await
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_call_that_can_be_repeated_is_until_it_is_answered() {
    let bed = bed(|n, call| match n {
        0 => Outcome::Fail(unavailable(false)),
        1 => Outcome::Fail(unavailable(true)),
        2 => Outcome::Fail(MetadataError::LostRows {
            reason: "lost".to_owned(),
        }),
        _ => answer(call.api, &HeartbeatResponse::default().with_error_code(27)),
    })
    .await;
    let response = bed.heartbeat(3 * SECOND).await.unwrap();
    assert_eq!(response.error_code, 27);
    let calls = bed.leader.calls();
    assert_eq!(calls.len(), 4);
    let first = &calls[0];
    assert_ne!(first.envelope.call_id, 0);
    assert_eq!(first.envelope.client_id, "client");
    assert_eq!(first.envelope.host, "10.0.0.1");
    for call in &calls {
        assert_eq!(call.envelope.call_id, first.envelope.call_id);
        assert_eq!(call.body, first.body);
    }
    // Another request is another call.
    bed.heartbeat(3 * SECOND).await.unwrap();
    let last = bed.leader.calls().pop().unwrap();
    assert_ne!(last.envelope.call_id, first.envelope.call_id);
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_with_its_patience() {
    type Script = fn(usize, &KafkaCall) -> Outcome;
    let scripts: [(Script, bool); 3] = [
        (|_, _| Outcome::Never, true),
        (|_, _| Outcome::Fail(unavailable(false)), false),
        // What an earlier sending may have done is not forgotten.
        (|n, _| Outcome::Fail(unavailable(n == 0)), true),
    ];
    for (script, happened) in scripts {
        let bed = bed(script).await;
        let began = bed.now();
        let error = bed.heartbeat(3 * SECOND).await.unwrap_err();
        let MetadataError::Unavailable {
            may_have_happened, ..
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(may_have_happened, happened);
        let took = bed.now().since(began);
        let most = 3 * SECOND + PAUSE_MIN;
        assert!(took >= 2 * SECOND && took <= most, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_changes_something_anew_is_sent_again_only_if_it_did_not_happen() {
    for (happened, sent) in [(true, 1), (false, 3)] {
        let bed = bed(move |n, call| {
            if n < 2 {
                return Outcome::Fail(unavailable(happened));
            }
            if call.api == LeaderApi::LeaveGroup {
                answer(call.api, &LeaveGroupResponse::default())
            } else {
                answer(call.api, &DeleteGroupsResponse::default())
            }
        })
        .await;
        let leave = LeaveGroupRequest::default();
        let api = LeaderApi::LeaveGroup;
        let left: Result<LeaveGroupResponse, _> =
            call(&bed.broker, &bed.context, api, &leave, 3 * SECOND).await;
        assert_eq!(left.is_err(), happened);
        assert_eq!(bed.leader.calls().len(), sent);
        assert_eq!(bed.leader.calls()[0].envelope.call_id, 0);
    }
    let bed = bed(|_, _| {
        Outcome::Fail(MetadataError::Refused {
            reason: "no".to_owned(),
        })
    })
    .await;
    let api = LeaderApi::DeleteGroups;
    let request = DeleteGroupsRequest::default();
    let refused: Result<DeleteGroupsResponse, _> =
        call(&bed.broker, &bed.context, api, &request, 3 * SECOND).await;
    assert!(matches!(refused, Err(MetadataError::Refused { .. })));
    assert_eq!(bed.leader.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_member_waits_in_slices_without_a_gap() {
    let bed = bed(|n, call| {
        let joined = JoinGroupResponse::default().with_generation_id(9);
        match n {
            0 | 1 => Outcome::Never,
            _ => Outcome::After(5 * SECOND, groups::encoded(call.api, &joined)),
        }
    })
    .await;
    let began = bed.now();
    let joined = bed.join(300 * SECOND).await.unwrap();
    assert_eq!(joined.generation_id, 9);
    let took = bed.now().since(began);
    assert!(
        took >= 65 * SECOND && took < 65 * SECOND + PAUSE_MIN,
        "{took:?}"
    );
    let calls = bed.leader.calls();
    let ids: BTreeSet<_> = calls.iter().map(|call| call.envelope.call_id).collect();
    assert_eq!((calls.len(), ids.len()), (3, 1));
    assert!(calls.iter().all(|call| call.envelope.deadline_ms == 30_000));
}

#[tokio::test(start_paused = true)]
async fn members_that_wait_are_bounded() {
    let bed = bed(|_, _| Outcome::Never).await;
    let places = u32::try_from(WAITING_MAX).unwrap();
    let others = bed.broker.waiting_calls().acquire_many(places - 1).await;
    let others = others.unwrap();
    let mut waits = std::pin::pin!(bed.join(10 * SECOND));
    assert!(
        bed.broker
            .ports
            .timeout(SECOND, waits.as_mut())
            .await
            .is_none()
    );
    // It waits at the leader; one more does not get there.
    assert_eq!(bed.leader.calls().len(), 1);
    let error = bed.join(10 * SECOND).await.unwrap_err();
    assert!(matches!(
        error,
        MetadataError::Unavailable {
            may_have_happened: false,
            ..
        }
    ));
    assert_eq!(bed.leader.calls().len(), 1);
    assert!(waits.await.is_err());
    drop(others);
    assert!(bed.join(SECOND).await.is_err());
    assert_eq!(bed.leader.calls().len(), 2);
}
