//! Offsets that expire (`offsets.retention.minutes`), and groups that have nothing left.

use crate::coordinator::{At, Coordinator, Ledger};

impl<W> Coordinator<W> {
    /// A step of the look for expired offsets; sets the timer of the next one.
    pub(in crate::coordinator) fn expire_offsets(&mut self, _ledger: &mut dyn Ledger, _at: At) {
        todo!("builder C")
    }
}
