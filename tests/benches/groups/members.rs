//! Members of groups, in raw requests.

use std::{collections::BTreeMap, net::SocketAddr, sync::Mutex, thread};

use aquifer_tests::wire::{Connection, topic_name};
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, HeartbeatRequest,
        JoinGroupRequest, OffsetCommitRequest, SyncGroupRequest,
        consumer_group_heartbeat_request::TopicPartitions,
        join_group_request::JoinGroupRequestProtocol,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::StrBytes,
};
use uuid::Uuid;

/// Members of each group.
pub(crate) const MEMBERS: usize = 50;
/// Partitions of each member.
pub(crate) const OWNED: usize = 5;
/// Partitions of the topic that all groups consume: five for each member.
pub(crate) const PARTITIONS: i32 = 250;
/// That topic.
pub(crate) const TOPIC: &str = "groups";

/// Groups that are formed at the same time: each takes a connection per member meanwhile.
const AT_ONCE: usize = 8;
/// The session timeout of classic members in milliseconds: all groups are formed before one ends.
const SESSION_MS: i32 = 300_000;
const REBALANCE_MS: i32 = 60_000;
/// Heartbeats until each member has what it is to have.
const ROUNDS_MAX: usize = 200;

/// The error of a first join: come again with the member id in this answer.
const MEMBER_ID_REQUIRED: i16 = 79;

/// By which protocol a member is coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Classic,
    Consumer,
}

/// A member that has its partitions.
#[derive(Debug)]
pub(crate) struct Member {
    kind: Kind,
    group: StrBytes,
    id: StrBytes,
    /// Generation, or member epoch.
    epoch: i32,
    owned: Vec<i32>,
    committed: i64,
}

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

impl Member {
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Heartbeats; the error code.
    pub(crate) fn heartbeat(&mut self, connection: &mut Connection) -> i16 {
        match self.kind {
            Kind::Classic => {
                let request = HeartbeatRequest::default()
                    .with_group_id(GroupId(self.group.clone()))
                    .with_generation_id(self.epoch)
                    .with_member_id(self.id.clone());
                connection.call(4, &request).error_code
            }
            Kind::Consumer => {
                let request = beat(&self.group, &self.id, self.epoch);
                let answer = connection.call(1, &request);
                if answer.error_code == 0 {
                    self.epoch = answer.member_epoch;
                }
                answer.error_code
            }
        }
    }

    /// Commits the next offset of each of its partitions; the first error code.
    pub(crate) fn commit(&mut self, connection: &mut Connection) -> i16 {
        self.committed += 1;
        let partitions = self.owned.iter().map(|partition| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(self.committed)
        });
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(TOPIC))
            .with_partitions(partitions.collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(self.group.clone()))
            .with_generation_id_or_member_epoch(self.epoch)
            .with_member_id(self.id.clone())
            .with_topics(vec![topic]);
        let answer = connection.call(9, &request);
        let mut codes = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let refused = codes.find(|partition| partition.error_code != 0);
        refused.map_or(0, |partition| partition.error_code)
    }
}

/// So many groups of each kind.
///
/// # Panics
/// If one cannot be formed.
pub(crate) fn form_groups(address: SocketAddr, groups: usize) -> Vec<Member> {
    let mut members = Vec::new();
    for kind in [Kind::Classic, Kind::Consumer] {
        let left = Mutex::new((0..groups).collect::<Vec<_>>());
        let next = || left.lock().expect("no panic holds it").pop();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    scope.spawn(|| {
                        let mut formed = Vec::new();
                        while let Some(number) = next() {
                            formed.extend(match kind {
                                Kind::Classic => classic_group(address, number),
                                Kind::Consumer => consumer_group(address, number),
                            });
                        }
                        formed
                    })
                })
                .collect();
            for worker in workers {
                members.extend(worker.join().expect("no panic"));
            }
        });
    }
    members
}

/// Partitions of the member at this place.
fn share_of(place: usize) -> Vec<i32> {
    let first = place * OWNED;
    let partitions = first..first + OWNED;
    partitions.map(|p| i32::try_from(p).expect("few")).collect()
}

/// A list of one topic as Kafka's consumers write it, in version 0, with or without partitions.
fn consumer_protocol(partitions: Option<&[i32]>) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&0i16.to_be_bytes());
    bytes.extend_from_slice(&1i32.to_be_bytes());
    let length = i16::try_from(TOPIC.len()).expect("a short name");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(TOPIC.as_bytes());
    if let Some(partitions) = partitions {
        let count = i32::try_from(partitions.len()).expect("few");
        bytes.extend_from_slice(&count.to_be_bytes());
        for partition in partitions {
            bytes.extend_from_slice(&partition.to_be_bytes());
        }
    }
    // no user data
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    bytes.freeze()
}

fn join(group: &StrBytes, member: &StrBytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(consumer_protocol(None));
    JoinGroupRequest::default()
        .with_group_id(GroupId(group.clone()))
        .with_session_timeout_ms(SESSION_MS)
        .with_rebalance_timeout_ms(REBALANCE_MS)
        .with_member_id(member.clone())
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins until all are in one generation, then syncs.
fn classic_group(address: SocketAddr, number: usize) -> Vec<Member> {
    let group = text(format!("classic-{number}"));
    let open = |_| Connection::open(address);
    let mut connections: Vec<Connection> = (0..MEMBERS).map(open).collect();
    let nobody = StrBytes::default();
    let mut ids = Vec::new();
    for connection in &mut connections {
        let answer = connection.call(9, &join(&group, &nobody));
        assert_eq!(answer.error_code, MEMBER_ID_REQUIRED, "{group}");
        ids.push(answer.member_id);
    }
    let (generation, leader) = loop {
        let joined = all(&mut connections, &ids, 9, |_, id| join(&group, id));
        for answer in &joined {
            assert_eq!(answer.error_code, 0, "{group}");
        }
        let generation = joined[0].generation_id;
        let same = joined
            .iter()
            .all(|answer| answer.generation_id == generation);
        if same && joined.iter().any(|answer| answer.members.len() == MEMBERS) {
            break (generation, joined[0].leader.clone());
        }
    };
    let assignments: Vec<SyncGroupRequestAssignment> = ids
        .iter()
        .enumerate()
        .map(|(place, id)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(id.clone())
                .with_assignment(consumer_protocol(Some(&share_of(place))))
        })
        .collect();
    let synced = all(&mut connections, &ids, 5, |_, id| {
        let leads = *id == leader;
        SyncGroupRequest::default()
            .with_group_id(GroupId(group.clone()))
            .with_generation_id(generation)
            .with_member_id(id.clone())
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(if leads {
                assignments.clone()
            } else {
                Vec::new()
            })
    });
    for (place, answer) in synced.iter().enumerate() {
        assert_eq!(answer.error_code, 0, "{group}");
        assert_eq!(answer.assignment, consumer_protocol(Some(&share_of(place))));
    }
    let member = |(place, id): (usize, StrBytes)| Member {
        kind: Kind::Classic,
        group: group.clone(),
        id,
        epoch: generation,
        owned: share_of(place),
        committed: 0,
    };
    ids.into_iter().enumerate().map(member).collect()
}

/// The same request of every member at once, each on its connection; answers in their order.
fn all<R: kafka_protocol::protocol::Request>(
    connections: &mut [Connection],
    ids: &[StrBytes],
    version: i16,
    request: impl Fn(usize, &StrBytes) -> R,
) -> Vec<R::Response> {
    let mut sent = Vec::new();
    for (place, (connection, id)) in connections.iter_mut().zip(ids).enumerate() {
        sent.push(connection.send(version, &request(place, id)));
    }
    let both = connections.iter_mut().zip(sent);
    both.map(|(connection, correlation)| connection.receive::<R>(version, correlation))
        .collect()
}

fn beat(group: &StrBytes, member: &StrBytes, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(group.clone()))
        .with_member_id(member.clone())
        .with_member_epoch(epoch)
}

type Owned = BTreeMap<Uuid, Vec<i32>>;

/// A member on its way to its partitions.
struct Joining {
    id: StrBytes,
    epoch: i32,
    owned: Owned,
    /// Whether the coordinator does not know yet what it has.
    changed: bool,
}

impl Joining {
    fn hear(&mut self, answer: ConsumerGroupHeartbeatResponse) {
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        self.epoch = answer.member_epoch;
        if let Some(assignment) = answer.assignment {
            let topics = assignment.topic_partitions.into_iter();
            self.owned = topics.map(|t| (t.topic_id, t.partitions)).collect();
            self.changed = true;
        }
    }
}

/// Joins one by one, then heartbeats until all have what they are to have.
fn consumer_group(address: SocketAddr, number: usize) -> Vec<Member> {
    let group = text(format!("consumer-{number}"));
    let mut connection = Connection::open(address);
    let mut joining = Vec::new();
    for place in 0..MEMBERS {
        let unique = u128::try_from(number * MEMBERS + place + 1).expect("few");
        let mut member = Joining {
            id: text(Uuid::from_u128(unique).to_string()),
            epoch: 0,
            owned: Owned::new(),
            changed: false,
        };
        let request = beat(&group, &member.id, 0)
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_subscribed_topic_names(Some(vec![topic_name(TOPIC)]))
            .with_topic_partitions(Some(Vec::new()));
        member.hear(connection.call(1, &request));
        joining.push(member);
    }
    for _ in 0..ROUNDS_MAX {
        for member in &mut joining {
            let mut request = beat(&group, &member.id, member.epoch);
            if std::mem::take(&mut member.changed) {
                let owned = member.owned.iter().map(|(topic, partitions)| {
                    TopicPartitions::default()
                        .with_topic_id(*topic)
                        .with_partitions(partitions.clone())
                });
                request = request.with_topic_partitions(Some(owned.collect()));
            }
            member.hear(connection.call(1, &request));
        }
        let epoch = joining[0].epoch;
        let there = |member: &Joining| {
            let owned: usize = member.owned.values().map(Vec::len).sum();
            !member.changed && member.epoch == epoch && owned == OWNED
        };
        if joining.iter().all(there) {
            let member = |member: Joining| Member {
                kind: Kind::Consumer,
                group: group.clone(),
                id: member.id,
                epoch: member.epoch,
                owned: member.owned.into_values().flatten().collect(),
                committed: 0,
            };
            return joining.into_iter().map(member).collect();
        }
    }
    panic!("{group}: its members do not come to rest");
}
