//! JoinGroup (version 9 in and out; the client's version decides whether a first join is told its member id
//! and to come again).

use kafka_protocol::messages::JoinGroupRequest;

use crate::coordinator::{At, Caller, Coordinator, Ledger};

impl<W> Coordinator<W> {
    /// A member joins. The answer comes among [`Coordinator::take_answers`], at once or later.
    pub(crate) fn join(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _caller: &Caller,
        _request: JoinGroupRequest,
        _waiter: W,
    ) {
        todo!("builder A")
    }
}
