//! SyncGroup (version 5 in and out).

use kafka_protocol::messages::SyncGroupRequest;

use crate::coordinator::{At, Caller, Coordinator, Ledger};

impl<W> Coordinator<W> {
    /// A member asks for its assignment; the leader brings them. The answer comes among
    /// [`Coordinator::take_answers`], at once or later.
    pub(crate) fn sync(
        &mut self,
        _ledger: &mut dyn Ledger,
        _at: At,
        _caller: &Caller,
        _request: SyncGroupRequest,
        _waiter: W,
    ) {
        todo!("builder A")
    }
}
