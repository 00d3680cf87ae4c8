//! The bed: a state whose every event goes through an encoded row, a coordinator, and a clock.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::JournalSeq;
use aquifer_store::Monotonic;

use crate::{
    coordinator::{Answer, At, Caller, Coordinator, Ledger},
    event::{Event, decode_row, encode_row},
    state::{Budgets, State, tests::world::World},
};

/// Who waits: the number of the call.
pub(crate) type Waiter = u64;

/// Events go through an encoded row of their own, as in the service.
pub(crate) struct Rows {
    pub(crate) state: State,
    pub(crate) rows: u64,
}

impl Ledger for Rows {
    fn state(&self) -> &State {
        &self.state
    }

    fn apply(&mut self, event: Event) {
        self.rows += 1;
        let events = decode_row(&encode_row(&[event])).expect("what was encoded is read");
        for event in &events {
            self.state.apply(JournalSeq(self.rows), event);
        }
    }
}

/// See the module.
pub(crate) struct Bed {
    pub(crate) ledger: Rows,
    pub(crate) coordinator: Coordinator<Waiter>,
    pub(crate) at: At,
    /// What was answered so far, in order.
    pub(crate) answered: Vec<(Waiter, Answer)>,
}

impl Bed {
    /// A bed with a cluster that has begun.
    pub(crate) fn new() -> Self {
        let World { state, rows, .. } = World::with_budgets(Budgets::default());
        let at = At {
            now: Monotonic(Duration::from_secs(1_000)),
            unix_millis: 1_700_000_000_000,
        };
        Self {
            coordinator: Coordinator::recovered(&state, at),
            ledger: Rows {
                state,
                rows: rows.len() as u64,
            },
            at,
            answered: Vec::new(),
        }
    }

    /// Lets time pass, doing what becomes due when it does.
    pub(crate) fn pass(&mut self, millis: u64) {
        let end = self.at.now.plus(Duration::from_millis(millis));
        while let Some(due) = self.coordinator.next_due().filter(|due| *due <= end) {
            self.advance(due.max(self.at.now));
            self.coordinator.tick(&mut self.ledger, self.at);
            self.answered.extend(self.coordinator.take_answers());
        }
        self.advance(end);
    }

    fn advance(&mut self, to: Monotonic) {
        let passed = to.since(self.at.now);
        self.at.now = to;
        self.at.unix_millis += i64::try_from(passed.as_millis()).expect("a short time");
    }

    /// Another leader takes over: the state from its pages, nothing else.
    pub(crate) fn take_over(&mut self) {
        let pages = self.ledger.state.all_pages();
        let state = State::from_pages(Budgets::default(), &pages).expect("its own pages");
        self.ledger.state = state;
        self.coordinator = Coordinator::recovered(&self.ledger.state, self.at);
    }
}

/// A caller with that version of its request.
pub(crate) fn caller(version: i16, call_id: u128) -> Caller {
    Caller {
        version,
        client_id: Arc::from("test"),
        host: Arc::from("/127.0.0.1"),
        call_id,
    }
}
