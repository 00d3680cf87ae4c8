//! Calls of groups: the coordinator, its time, and whoever waits for it.

use aquifer_format::ids::JournalSeq;
use aquifer_metadata_api::{
    MetadataError,
    kafka::{KafkaCall, LeaderApi, pinned_version},
};
use bytes::Bytes;
use kafka_protocol::messages::{JoinGroupRequest, SyncGroupRequest};

use super::{
    Sequencer,
    group::Group,
    kafka::{decode, encode},
    lag,
    request::Reply,
};
use crate::{
    coordinator::{Answer, At, Caller, Ledger},
    event::Event,
    state::{State, decide},
};

/// A call that waits in the coordinator.
#[derive(Debug)]
pub(super) struct Waiting {
    api: LeaderApi,
    reply: Reply<Bytes>,
}

/// Carries out what the coordinator decides, as part of the row that is open.
struct Events<'a> {
    state: &'a mut State,
    group: &'a mut Group,
    seq: JournalSeq,
}

impl Ledger for Events<'_> {
    fn state(&self) -> &State {
        self.state
    }

    fn apply(&mut self, event: Event) {
        lag::count_committed(&event);
        let changes = &mut self.group.changes;
        self.state.apply_noting(self.seq, &event, changes);
        self.group.batches += weight(&event);
        self.group.events.push(event);
    }
}

/// How much of a row an event takes, in batches (about 32 bytes).
fn weight(event: &Event) -> usize {
    match event {
        Event::OffsetsCommitted(committed) => {
            let metadata = committed.offsets.iter().map(|(_, o)| o.metadata.len());
            committed.offsets.len() + metadata.sum::<usize>() / 32
        }
        Event::OffsetsRemoved { partitions, .. } => 1 + partitions.len() / 8,
        Event::GroupChanged { changes, .. } => changes.iter().map(|c| 1 + c.bytes() / 32).sum(),
        _ => 1,
    }
}

impl Sequencer {
    fn group_time(&self) -> At {
        At {
            now: self.now(),
            unix_millis: self.wall_clock().unix_millis,
        }
    }

    /// A call that the coordinator answers, now or later.
    pub(super) fn group_call(&mut self, call: KafkaCall, reply: Reply<Bytes>) {
        if call.api.waits() {
            match self.waiting_call(call, reply) {
                Ok(()) => self.answer_waiting(),
                Err((reply, error)) => self.answer(reply, Err(error)),
            }
            return;
        }
        let answered = self.group_answer(call);
        self.answer(reply, answered);
        // what it changed may let others go on
        self.answer_waiting();
    }

    fn waiting_call(
        &mut self,
        call: KafkaCall,
        reply: Reply<Bytes>,
    ) -> Result<(), (Reply<Bytes>, MetadataError)> {
        let (api, version) = (call.api, pinned_version(call.api));
        let (at, caller) = (self.group_time(), Caller::of(&call.envelope));
        let seq = self.open_seq();
        let mut ledger = Events {
            state: &mut self.state,
            group: &mut self.group,
            seq,
        };
        if api == LeaderApi::JoinGroup {
            match decode::<JoinGroupRequest>(call.body, version) {
                Ok(request) => {
                    let waiting = Waiting { api, reply };
                    self.coordinator
                        .join(&mut ledger, at, &caller, request, waiting);
                }
                Err(error) => return Err((reply, error)),
            }
        } else {
            match decode::<SyncGroupRequest>(call.body, version) {
                Ok(request) => {
                    let waiting = Waiting { api, reply };
                    self.coordinator
                        .sync(&mut ledger, at, &caller, request, waiting);
                }
                Err(error) => return Err((reply, error)),
            }
        }
        Ok(())
    }

    #[rustfmt::skip]
    fn group_answer(&mut self, call: KafkaCall) -> Result<Bytes, MetadataError> {
        let (api, body, version) = (call.api, call.body, pinned_version(call.api));
        let (at, caller) = (self.group_time(), Caller::of(&call.envelope));
        let seq = self.open_seq();
        let coordinator = &mut self.coordinator;
        let ledger = &mut Events { state: &mut self.state, group: &mut self.group, seq };
        match api {
            LeaderApi::Heartbeat => encode(&coordinator.heartbeat(ledger, at, &decode(body, version)?), version),
            LeaderApi::LeaveGroup => encode(&coordinator.leave(ledger, at, &caller, &decode(body, version)?), version),
            LeaderApi::OffsetCommit => encode(&coordinator.offset_commit(ledger, at, &caller, &decode(body, version)?), version),
            LeaderApi::OffsetFetch => encode(&coordinator.offset_fetch(ledger.state, &caller, &decode(body, version)?), version),
            LeaderApi::OffsetDelete => encode(&coordinator.offset_delete(ledger, &decode(body, version)?), version),
            LeaderApi::DeleteGroups => encode(&coordinator.delete_groups(ledger, &decode(body, version)?), version),
            LeaderApi::DescribeGroups => encode(&coordinator.describe(ledger.state, &decode(body, version)?), version),
            LeaderApi::ListGroups => encode(&coordinator.list(ledger.state, &decode(body, version)?), version),
            LeaderApi::ConsumerGroupHeartbeat => encode(&coordinator.consumer_heartbeat(ledger, at, &caller, &decode(body, version)?), version),
            LeaderApi::ConsumerGroupDescribe => encode(&coordinator.consumer_describe(ledger.state, &decode(body, version)?), version),
            LeaderApi::DescribeConfigs => encode(&decide::describe_group_configs(ledger.state, &decode(body, version)?), version),
            LeaderApi::ListConfigResources => encode(&decide::list_group_configs(ledger.state, &decode(body, version)?), version),
            other => Err(MetadataError::Refused { reason: format!("{other:?} is no call of groups") }),
        }
    }

    /// Does what is due in groups.
    pub(super) fn group_tick(&mut self) {
        let at = self.group_time();
        let seq = self.open_seq();
        let before = self.group.events.len();
        let mut ledger = Events {
            state: &mut self.state,
            group: &mut self.group,
            seq,
        };
        self.coordinator.tick(&mut ledger, at);
        lag::count_expired(&self.group.events[before..]);
        self.answer_waiting();
    }

    /// Lets answers to calls that waited leave with this group.
    fn answer_waiting(&mut self) {
        for (waiting, answer) in self.coordinator.take_answers() {
            let version = pinned_version(waiting.api);
            let bytes = match answer {
                Answer::Join(response) => encode(&response, version),
                Answer::Sync(response) => encode(&response, version),
            };
            self.answer(waiting.reply, bytes);
        }
    }
}
