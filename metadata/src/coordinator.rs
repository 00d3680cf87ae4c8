//! The group coordinator: classic groups (JoinGroup, SyncGroup, ...), consumer groups (KIP-848) and committed
//! offsets.
//!
//! What clients can see of groups is part of [`State`] and changes by events only. Beside it the leader
//! remembers what need not outlive it: when sessions and rebalances end, who waits for an answer, which member
//! ids were given out and not used yet. That is [`Coordinator`]. It does no IO and has no clock: whoever owns
//! it brings requests and the time, a [`Ledger`] that carries events out, and takes the answers away. Each
//! request is decided in small steps; what a step decides is applied at once, so that the next one sees it.
//!
//! Invariant: nothing in [`Coordinator`] decides what is true, only when something is done. A leader that
//! begins with [`Coordinator::recovered`] may take longer than its predecessor would have, nothing else.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_metadata_api::kafka::Envelope;
use aquifer_store::Monotonic;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};

use crate::{
    event::{
        Event,
        group::{GroupChange, GroupNumber, MemberId},
    },
    state::State,
};

mod answer_room;
mod assignor;
mod classic;
mod consumer;
mod consumer_protocol;
mod describe;
mod lag;
mod limits;
mod offsets;
mod parked;
mod recover;
mod refusal;
mod subscriptions;
#[cfg(test)]
mod tests;
mod timers;

#[doc(hidden)]
pub use self::consumer_protocol::fuzz_consumer_protocol;
pub(crate) use self::lag::{CountStep, GroupLag, count_step, step as lag_step};
use self::{
    classic::ClassicSoft,
    parked::Parked,
    subscriptions::Subscriptions,
    timers::{Timer, Timers},
};

/// Where events go.
pub(crate) trait Ledger {
    /// The state after everything that was applied.
    fn state(&self) -> &State;
    /// Applies an event at once; it is journaled with whatever else is decided, before any answer leaves.
    fn apply(&mut self, event: Event);
}

/// When something is decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    /// For deadlines.
    pub(crate) now: Monotonic,
    /// For what clients see, milliseconds since 1970.
    pub(crate) unix_millis: i64,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The version that the client used.
    pub(crate) version: i16,
    /// The client's `client.id`, cut to [`limits::CLIENT_ID_BYTES_MAX`].
    pub(crate) client_id: Arc<str>,
    /// The client's address as Kafka shows it ("/10.0.0.1").
    pub(crate) host: Arc<str>,
    /// Names the request, however often it is passed on.
    pub(crate) call_id: u128,
}

impl Caller {
    /// Who an envelope says.
    pub(crate) fn of(envelope: &Envelope) -> Self {
        let mut end = envelope.client_id.len().min(limits::CLIENT_ID_BYTES_MAX);
        while !envelope.client_id.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            version: envelope.client_api_version,
            client_id: Arc::from(&envelope.client_id[..end]),
            host: Arc::from(format!("/{}", envelope.host)),
            call_id: envelope.call_id,
        }
    }
}

/// The answer to a call that waited.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// To a JoinGroup.
    Join(JoinGroupResponse),
    /// To a SyncGroup.
    Sync(SyncGroupResponse),
}

/// What the leader knows of groups beside the state. `W` stands for whoever waits for an answer.
#[derive(Debug)]
pub(crate) struct Coordinator<W> {
    timers: Timers,
    parked: Parked<W>,
    classic: ClassicSoft,
    subscriptions: Subscriptions,
    /// Answers that are due, in order.
    answers: Vec<(W, Answer)>,
    /// Where the look for expired offsets goes on; None = it is not under way.
    expiry_from: Option<GroupNumber>,
    /// Counted since the last look, for metrics.
    rebalances: BTreeMap<&'static str, u64>,
}

impl<W> Coordinator<W> {
    /// Answers to calls that waited, in the order in which they came about. To be taken after each call
    /// and each tick.
    pub(crate) fn take_answers(&mut self) -> Vec<(W, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn next_due(&self) -> Option<Monotonic> {
        self.timers.next()
    }

    /// Does what is due: at most [`limits::TIMERS_PER_TICK`] things, so that requests have their turn.
    pub(crate) fn tick(&mut self, ledger: &mut dyn Ledger, at: At) {
        for _ in 0..limits::TIMERS_PER_TICK {
            let Some(timer) = self.timers.pop(at.now) else {
                return;
            };
            match timer {
                Timer::Session(group, member) => self.session_over(ledger, at, group, &member),
                Timer::Pending(name, member) => self.pending_over(ledger, at, &name, &member),
                Timer::Join(group) => self.join_over(ledger, at, group),
                Timer::Sync(group) => self.sync_over(ledger, at, group),
                Timer::Revocation(group, member) => {
                    self.revocation_over(ledger, at, group, &member);
                }
                Timer::ClassicJoin(group, member) | Timer::ClassicSync(group, member) => {
                    self.classic_in_consumer_over(ledger, at, group, &member);
                }
                Timer::OffsetExpiry => self.expire_offsets(ledger, at),
            }
        }
    }

    /// A member was silent for its session timeout.
    fn session_over(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        group: GroupNumber,
        member: &MemberId,
    ) {
        let Some(found) = ledger.state().group(group) else {
            return;
        };
        if found.classic().is_some() {
            self.classic_session_over(ledger, at, group, member);
        } else {
            self.consumer_fence(ledger, at, group, std::slice::from_ref(member));
        }
    }

    /// The group called `name`; it begins, classic and empty, if there is none.
    fn group_or_new(&mut self, ledger: &mut dyn Ledger, name: &str) -> GroupNumber {
        if let Some((number, _)) = ledger.state().group_by_name(name) {
            return number;
        }
        let group = ledger.state().next_group();
        let name = name.to_owned();
        ledger.apply(Event::GroupCreated { group, name });
        group
    }

    /// Applies changes of a group, if there are any.
    fn change(&mut self, ledger: &mut dyn Ledger, group: GroupNumber, changes: Vec<GroupChange>) {
        if !changes.is_empty() {
            ledger.apply(Event::GroupChanged { group, changes });
        }
    }

    /// Forgets a group that is gone: its timers and whoever waits (they are answered before).
    fn forget(&mut self, group: GroupNumber) {
        self.timers.cancel_group(group);
        self.classic.forget(group);
        self.subscriptions.forget(group);
    }
}
