//! Clients of both protocols on the bed, that do what clients do, and what must hold whatever happens to them: one
//! owner per partition, no lost commit, an answer to every call that waits, no event where nothing happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aquifer_format::ids::{PartitionId, PartitionIndex, TopicId};
use aquifer_store::Monotonic;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ConsumerGroupHeartbeatRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
        JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
        SyncGroupResponse, TopicName,
        consumer_group_heartbeat_request::TopicPartitions as Owned,
        join_group_request::JoinGroupRequestProtocol,
        leave_group_request::MemberIdentity,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::StrBytes,
};

use super::bed::{Bed, Waiter, caller};
use crate::{
    coordinator::{Answer, Ledger, consumer_protocol},
    event::group::{ClassicState, GroupNumber},
    state::{
        decide,
        group::{ClassicGroup, ConsumerGroup},
        tests::world::{Counting, create_request},
    },
};

const TOPIC: &str = "t";
pub(super) const PARTITIONS: i32 = 6;
/// Session and rebalance timeout of classic members.
const TIMEOUT_MS: i32 = 10_000;
/// A rebalance that is under way may end with its whole time, and be followed by another one that the call takes part
/// in; then there is the delay before a first generation.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Groups by who is in them, and their clients: two classic ones, one of them static, and two of the consumer
/// protocol, one of them static, in each that has both.
pub(super) const CLIENTS: [(&str, Kind); 10] = [
    ("classic", Kind::Classic(None)),
    ("classic", Kind::Classic(None)),
    ("classic", Kind::Classic(Some("fixed"))),
    ("modern", Kind::Modern(None)),
    ("modern", Kind::Modern(None)),
    ("modern", Kind::Modern(Some("fixed"))),
    ("mixed", Kind::Classic(None)),
    ("mixed", Kind::Classic(Some("fixed"))),
    ("mixed", Kind::Modern(None)),
    ("mixed", Kind::Modern(Some("other"))),
];

/// Which protocol a client speaks, with its instance id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Classic(Option<&'static str>),
    Modern(Option<&'static str>),
}

/// What a client is about.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "ten of them")]
enum Doing {
    /// It is to join.
    Out,
    /// It waits for an answer, to the request of that call.
    Waiting(u128, Box<Call>),
    /// It joined, and is to sync; with the assignments that it makes if it leads.
    Joined(Vec<(String, Bytes)>),
    /// It has partitions.
    In,
}

/// A request that may wait.
#[derive(Clone, Debug, PartialEq)]
enum Call {
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
}

#[derive(Clone, Debug)]
struct Client {
    group: &'static str,
    kind: Kind,
    id: String,
    /// Generation or epoch.
    epoch: i32,
    owned: BTreeSet<i32>,
    doing: Doing,
    /// The next answer does not arrive.
    loses: bool,
}

/// A call that waits: until when it must be answered, and whose it is; None = of a client that is no more.
#[derive(Clone, Copy, Debug)]
struct Waits {
    until: Monotonic,
    client: Option<usize>,
}

/// See the module.
pub(super) struct Machine {
    bed: Bed,
    topic: TopicId,
    clients: Vec<Client>,
    waiting: BTreeMap<Waiter, Waits>,
    /// Answers that were looked at.
    seen: usize,
    unique: u64,
    committed: BTreeMap<(GroupNumber, PartitionId), i64>,
    /// Who was told to have a partition in a generation of a classic group.
    told: BTreeMap<(GroupNumber, i32, i32), String>,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

fn put_topic(bytes: &mut BytesMut) {
    bytes.put_i32(1);
    bytes.put_i16(1);
    bytes.put_slice(TOPIC.as_bytes());
}

fn subscription() -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    put_topic(&mut bytes);
    bytes.put_i32(-1);
    bytes.freeze()
}

fn assignment(partitions: &[i32]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    put_topic(&mut bytes);
    bytes.put_i32(i32::try_from(partitions.len()).expect("few"));
    partitions.iter().for_each(|index| bytes.put_i32(*index));
    bytes.put_i32(-1);
    bytes.freeze()
}

/// What a leader assigns: partitions to members in turn.
fn shares(members: &[String]) -> Vec<(String, Bytes)> {
    let count = members.len();
    let of = |place: usize| {
        let all = (0..PARTITIONS).zip((0..count).cycle());
        let mine: Vec<i32> = all.filter(|(_, to)| *to == place).map(|(p, _)| p).collect();
        assignment(&mine)
    };
    let shares = members.iter().enumerate();
    shares.map(|(place, id)| (id.clone(), of(place))).collect()
}

impl Machine {
    pub(super) fn new() -> Self {
        let mut bed = Bed::new();
        let rand = Counting::default();
        let request = create_request(TOPIC, PARTITIONS, &[]);
        let decided = decide::create_topics(&bed.ledger.state, &rand, &request);
        let topic = TopicId(decided.reply.topics[0].topic_id);
        for event in decided.events {
            bed.ledger.apply(event);
        }
        let client = |(group, kind): (&'static str, Kind)| Client {
            group,
            kind,
            id: String::new(),
            epoch: 0,
            owned: BTreeSet::new(),
            doing: Doing::Out,
            loses: false,
        };
        Self {
            bed,
            topic,
            clients: CLIENTS.map(client).to_vec(),
            waiting: BTreeMap::new(),
            seen: 0,
            unique: 0,
            committed: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    fn next(&mut self) -> u64 {
        self.unique += 1;
        self.unique
    }

    /// A client does what is next for it.
    pub(super) fn step(&mut self, client: usize) {
        match self.clients[client].kind {
            Kind::Classic(_) => self.classic_step(client),
            Kind::Modern(_) => self.beat(client, 0),
        }
        self.check();
    }

    /// The next answer to a client does not arrive.
    pub(super) fn lose(&mut self, client: usize) {
        self.clients[client].loses = true;
    }

    fn classic_step(&mut self, client: usize) {
        match self.clients[client].doing.clone() {
            Doing::Waiting(..) => {}
            Doing::Out => {
                let request = self.join_request(client);
                self.call(client, Call::Join(request));
            }
            Doing::Joined(assignments) => {
                let request = self.sync_request(client, &assignments);
                self.call(client, Call::Sync(request));
            }
            Doing::In => {
                let who = &self.clients[client];
                let request = HeartbeatRequest::default()
                    .with_group_id(group_id(who.group))
                    .with_generation_id(who.epoch)
                    .with_member_id(text(&who.id))
                    .with_group_instance_id(instance(who.kind));
                let rows = self.bed.ledger.rows;
                let at = self.bed.at;
                let coordinator = &mut self.bed.coordinator;
                let answer = coordinator.heartbeat(&mut self.bed.ledger, at, &request);
                assert_eq!(self.bed.ledger.rows, rows, "a heartbeat has no event");
                if !std::mem::take(&mut self.clients[client].loses) {
                    self.refused(client, answer.error_code);
                }
            }
        }
    }

    fn join_request(&self, client: usize) -> JoinGroupRequest {
        let who = &self.clients[client];
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(subscription());
        JoinGroupRequest::default()
            .with_group_id(group_id(who.group))
            .with_session_timeout_ms(TIMEOUT_MS)
            .with_rebalance_timeout_ms(TIMEOUT_MS)
            .with_member_id(text(&who.id))
            .with_group_instance_id(instance(who.kind))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    }

    fn sync_request(&self, client: usize, assignments: &[(String, Bytes)]) -> SyncGroupRequest {
        let who = &self.clients[client];
        let assignments = assignments.iter().map(|(id, assignment)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(id))
                .with_assignment(assignment.clone())
        });
        SyncGroupRequest::default()
            .with_group_id(group_id(who.group))
            .with_generation_id(who.epoch)
            .with_member_id(text(&who.id))
            .with_group_instance_id(instance(who.kind))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(assignments.collect())
    }

    fn call(&mut self, client: usize, call: Call) {
        let id = u128::from(self.next());
        self.clients[client].doing = Doing::Waiting(id, Box::new(call));
        self.send(client);
    }

    /// Sends the call of a client that waits: first, or again.
    fn send(&mut self, client: usize) {
        let Doing::Waiting(id, call) = self.clients[client].doing.clone() else {
            return;
        };
        // of an earlier one nobody waits any more: it is the same call
        self.waiting.retain(|_, waits| waits.client != Some(client));
        let waiter = self.next();
        let until = self.bed.at.now.plus(WAIT_MAX);
        let client = Some(client);
        self.waiting.insert(waiter, Waits { until, client });
        let (at, bed) = (self.bed.at, &mut self.bed);
        let ledger = &mut bed.ledger;
        match *call {
            Call::Join(request) => {
                let caller = caller(9, id);
                bed.coordinator.join(ledger, at, &caller, request, waiter);
            }
            Call::Sync(request) => {
                let caller = caller(5, id);
                bed.coordinator.sync(ledger, at, &caller, request, waiter);
            }
        }
        self.take_answers();
    }

    /// Sends every call again that waits: what agents do when they lost its answer.
    pub(super) fn send_again(&mut self, client: usize) {
        if matches!(self.clients[client].kind, Kind::Classic(_)) {
            self.send(client);
        }
        self.check();
    }

    fn take_answers(&mut self) {
        let answers = self.bed.coordinator.take_answers();
        self.bed.answered.extend(answers);
        while let Some((waiter, answer)) = self.bed.answered.get(self.seen).cloned() {
            self.seen += 1;
            let Some(waits) = self.waiting.remove(&waiter) else {
                continue; // the call came again meanwhile
            };
            if let Some(client) = waits.client {
                self.answered(client, answer);
            }
        }
    }

    fn answered(&mut self, client: usize, answer: Answer) {
        if std::mem::take(&mut self.clients[client].loses) {
            return self.send(client);
        }
        match answer {
            Answer::Join(answer) => self.joined(client, &answer),
            Answer::Sync(answer) => self.synced(client, answer),
        }
    }

    fn joined(&mut self, client: usize, answer: &JoinGroupResponse) {
        let who = &mut self.clients[client];
        assert!(
            matches!(&who.doing, Doing::Waiting(_, call) if matches!(**call, Call::Join(_))),
            "the answer to a JoinGroup came to {who:?}"
        );
        match answer.error_code {
            0 => {
                who.id = answer.member_id.to_string();
                who.epoch = answer.generation_id;
                let ids = answer.members.iter().map(|m| m.member_id.to_string());
                who.doing = Doing::Joined(shares(&ids.collect::<Vec<_>>()));
            }
            79 => {
                who.id = answer.member_id.to_string();
                who.doing = Doing::Out;
            }
            code => self.refused(client, code),
        }
    }

    fn synced(&mut self, client: usize, answer: SyncGroupResponse) {
        if answer.error_code != 0 {
            return self.refused(client, answer.error_code);
        }
        let given = if answer.assignment.is_empty() {
            Vec::new()
        } else {
            consumer_protocol::assignment(&answer.assignment).expect("an assignment")
        };
        let owned: BTreeSet<i32> = given.into_iter().flat_map(|(_, all)| all).collect();
        let who = &mut self.clients[client];
        who.owned.clone_from(&owned);
        who.doing = Doing::In;
        let (id, epoch) = (who.id.clone(), who.epoch);
        let group = self.bed.ledger.state.group_by_name(who.group);
        let (number, _) = group.expect("it has a member");
        for partition in owned {
            let before = self.told.insert((number, epoch, partition), id.clone());
            let same = before.is_none_or(|before| before == id);
            // a static member that came back has another id
            let fixed = matches!(self.clients[client].kind, Kind::Classic(Some(_)));
            assert!(same || fixed, "{partition} has two owners in {epoch}: {id}");
        }
    }

    /// What a classic client makes of an error.
    fn refused(&mut self, client: usize, code: i16) {
        let who = &mut self.clients[client];
        match code {
            0 => return,
            // REBALANCE_IN_PROGRESS, ILLEGAL_GENERATION
            22 | 27 => {}
            // UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID
            25 | 82 => who.id.clear(),
            code => panic!("{code} for {who:?}"),
        }
        who.owned.clear();
        who.doing = Doing::Out;
    }

    /// A heartbeat of the consumer protocol; `leaves`: -1, -2, or 0.
    fn beat(&mut self, client: usize, leaves: i32) {
        if self.clients[client].id.is_empty() {
            self.clients[client].id = format!("modern-{}", self.next());
        }
        let (topic, who) = (self.topic, &self.clients[client]);
        let owned = Owned::default()
            .with_topic_id(topic.0)
            .with_partitions(who.owned.iter().copied().collect());
        let owned = if who.owned.is_empty() {
            vec![]
        } else {
            vec![owned]
        };
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(who.group))
            .with_member_id(text(&who.id))
            .with_member_epoch(if leaves < 0 { leaves } else { who.epoch })
            .with_instance_id(instance(who.kind))
            .with_rebalance_timeout_ms(TIMEOUT_MS)
            .with_subscribed_topic_names(Some(vec![TopicName(text(TOPIC))]))
            .with_topic_partitions(Some(owned));
        let (rows, idle) = (self.bed.ledger.rows, self.is_idle(client));
        let (at, bed) = (self.bed.at, &mut self.bed);
        let caller = caller(1, 0);
        let answer = bed
            .coordinator
            .consumer_heartbeat(&mut bed.ledger, at, &caller, &request);
        if leaves == 0 && idle {
            assert_eq!(self.bed.ledger.rows, rows, "nothing changed: {request:?}");
        }
        self.take_answers();
        let who = &mut self.clients[client];
        if leaves < 0 {
            (who.epoch, who.doing) = (0, Doing::Out);
            who.owned.clear();
            return;
        }
        if std::mem::take(&mut who.loses) {
            return;
        }
        match answer.error_code {
            0 => {
                who.epoch = answer.member_epoch;
                if let Some(assignment) = answer.assignment {
                    let all = assignment.topic_partitions.into_iter();
                    who.owned = all.flat_map(|topic| topic.partitions).collect();
                }
                who.doing = Doing::In;
            }
            // UNKNOWN_MEMBER_ID, GROUP_ID_NOT_FOUND of a group that was downgraded, FENCED_INSTANCE_ID,
            // FENCED_MEMBER_EPOCH; UNRELEASED_INSTANCE_ID until the session of the one before is over
            25 | 69 | 82 | 110 | 111 => {
                who.epoch = 0;
                who.owned.clear();
                who.doing = Doing::Out;
            }
            code => panic!("{code} {:?} for {who:?}", answer.error_message),
        }
    }

    /// Whether the client has nothing to say, and its group nothing to do.
    fn is_idle(&self, client: usize) -> bool {
        let who = &self.clients[client];
        let group = self.bed.ledger.state.group_by_name(who.group);
        let Some(group) = group.and_then(|(_, group)| group.consumer()) else {
            return false;
        };
        let Some(entry) = group.members.get(who.id.as_str()) else {
            return false;
        };
        let has: BTreeSet<i32> = entry
            .current
            .assigned
            .iter()
            .map(|id| id.partition.0)
            .collect();
        group.state().name() == "Stable" && entry.current.epoch == who.epoch && has == who.owned
    }

    /// A client leaves as it should.
    pub(super) fn leave(&mut self, client: usize) {
        let who = self.clients[client].clone();
        match who.kind {
            Kind::Modern(Some(_)) if who.epoch > 0 => self.beat(client, -2),
            Kind::Modern(_) if who.epoch > 0 => self.beat(client, -1),
            Kind::Classic(_) if !who.id.is_empty() => {
                let member = MemberIdentity::default()
                    .with_member_id(text(&who.id))
                    .with_group_instance_id(instance(who.kind));
                let request = LeaveGroupRequest::default()
                    .with_group_id(group_id(who.group))
                    .with_members(vec![member]);
                self.forget(client);
                let (at, id, bed) = (self.bed.at, caller(5, 0), &mut self.bed);
                bed.coordinator.leave(&mut bed.ledger, at, &id, &request);
                self.take_answers();
            }
            _ => {}
        }
        self.check();
    }

    /// A client dies, and another one begins in its place.
    pub(super) fn crash(&mut self, client: usize) {
        self.forget(client);
    }

    fn forget(&mut self, client: usize) {
        for waits in self.waiting.values_mut() {
            if waits.client == Some(client) {
                waits.client = None;
            }
        }
        let who = &mut self.clients[client];
        who.id.clear();
        who.owned.clear();
        (who.epoch, who.doing, who.loses) = (0, Doing::Out, false);
    }

    /// A member commits: what it may, and what another generation may not.
    pub(super) fn commit(&mut self, client: usize, partition: i32, offset: i64) {
        let who = self.clients[client].clone();
        if who.doing != Doing::In || who.id.is_empty() {
            return;
        }
        let group = self.bed.ledger.state.group_by_name(who.group);
        let Some((number, _)) = group else {
            return;
        };
        let id = PartitionId::new(self.topic, PartitionIndex(partition));
        if self.try_commit(&who, who.epoch, partition, offset) == 0 {
            self.committed.insert((number, id), offset);
        }
        let later = who.epoch + 1_000;
        let code = self.try_commit(&who, later, partition, offset + 1);
        assert_ne!(code, 0, "fenced: {later} of {who:?}");
        self.check();
    }

    fn try_commit(&mut self, who: &Client, epoch: i32, partition: i32, offset: i64) -> i16 {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text("")));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(TOPIC)))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(who.group))
            .with_generation_id_or_member_epoch(epoch)
            .with_member_id(text(&who.id))
            .with_group_instance_id(instance(who.kind))
            .with_topics(vec![topic]);
        let (at, caller, bed) = (self.bed.at, caller(9, 1), &mut self.bed);
        let answer = bed
            .coordinator
            .offset_commit(&mut bed.ledger, at, &caller, &request);
        self.take_answers();
        answer.topics[0].partitions[0].error_code
    }

    /// Time passes; nobody waits longer than they may.
    pub(super) fn pass(&mut self, millis: u64) {
        self.bed.pass(millis);
        self.take_answers();
        self.check();
    }

    /// Another leader takes over, and agents send what waits again.
    pub(super) fn take_over(&mut self) {
        self.bed.take_over();
        // of clients that are gone nobody sends anything
        self.waiting.clear();
        for client in 0..self.clients.len() {
            self.send(client);
        }
        self.check();
    }

    /// What must hold at any time.
    fn check(&self) {
        let now = self.bed.at.now;
        for (waiter, waits) in &self.waiting {
            assert!(now <= waits.until, "{waiter} waits too long: {waits:?}");
        }
        let state = &self.bed.ledger.state;
        for (number, group) in state.groups() {
            if let Some(group) = group.consumer() {
                one_owner(number, group);
            } else if let Some(group) = group.classic() {
                a_leader_is_a_member(number, group);
            }
        }
        for ((group, id), offset) in &self.committed {
            if state.group(*group).is_some() {
                let found = state
                    .committed_offset(*group, *id)
                    .map(|found| found.offset.0);
                assert_eq!(found, Some(*offset), "{group:?} {id:?}");
            }
        }
    }

    /// Everybody does what clients do until nothing is left to do: then every partition has its owner.
    pub(super) fn calm_down(&mut self) {
        for _ in 0..150 {
            for client in 0..self.clients.len() {
                self.step(client);
            }
            self.pass(1_000);
        }
        for group in ["classic", "modern", "mixed"] {
            let mut owners: BTreeMap<i32, &str> = BTreeMap::new();
            for who in self.clients.iter().filter(|who| who.group == group) {
                assert_eq!(who.doing, Doing::In, "{who:?}");
                for partition in &who.owned {
                    let before = owners.insert(*partition, &who.id);
                    assert_eq!(before, None, "{partition} of {group} has two owners");
                }
            }
            let all = usize::try_from(PARTITIONS).expect("few");
            assert_eq!(owners.len(), all, "{group}: {owners:?}");
        }
    }
}

fn instance(kind: Kind) -> Option<StrBytes> {
    let (Kind::Classic(instance) | Kind::Modern(instance)) = kind;
    instance.map(text)
}

/// A partition is one member's, until it says that it gave it up.
fn one_owner(number: GroupNumber, group: &ConsumerGroup) {
    let mut owners: BTreeMap<PartitionId, &str> = BTreeMap::new();
    for (member, entry) in &group.members {
        let current = &entry.current;
        for id in current.assigned.iter().chain(current.revoking.iter()) {
            let before = owners.insert(id, member);
            assert_eq!(before, None, "{id:?} of {number:?} has two owners");
        }
    }
    assert!(group.assignment_epoch <= group.epoch, "{number:?}");
}

fn a_leader_is_a_member(number: GroupNumber, group: &ClassicGroup) {
    let phase = &group.phase;
    match phase.state {
        ClassicState::Empty => assert!(group.members.is_empty(), "{number:?}: {phase:?}"),
        ClassicState::PreparingRebalance => {}
        ClassicState::CompletingRebalance | ClassicState::Stable => {
            let leads = phase.leader.as_ref();
            let leads = leads.is_some_and(|leader| group.members.contains_key(leader));
            assert!(leads, "{number:?}: {phase:?}");
        }
    }
}
