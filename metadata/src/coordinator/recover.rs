//! A leader begins: every session anew, every rebalance with its whole time.

use std::collections::BTreeMap;

use super::{
    At, Coordinator,
    classic::ClassicSoft,
    parked::Parked,
    subscriptions::Subscriptions,
    timers::{Timer, Timers},
};
use crate::state::State;

impl<W> Coordinator<W> {
    /// The coordinator of a recovered state.
    pub(crate) fn recovered(state: &State, at: At) -> Self {
        let mut coordinator = Self {
            timers: Timers::default(),
            parked: Parked::default(),
            classic: ClassicSoft::default(),
            subscriptions: Subscriptions::default(),
            answers: Vec::new(),
            expiry_from: None,
            rebalances: BTreeMap::new(),
        };
        for (number, group) in state.groups() {
            if group.classic().is_some() {
                coordinator.resume_classic(state, at, number);
            } else {
                coordinator.resume_consumer(state, at, number);
            }
        }
        let check = state.group_settings().offsets_check_interval_ms;
        let check = std::time::Duration::from_millis(u64::try_from(check).unwrap_or(1));
        coordinator
            .timers
            .set(Timer::OffsetExpiry, at.now.plus(check));
        coordinator
    }
}
