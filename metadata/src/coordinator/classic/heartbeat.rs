//! Heartbeat (version 4 in and out).

use kafka_protocol::{
    ResponseError,
    messages::{HeartbeatRequest, HeartbeatResponse},
};

use super::{check_member, is_group_id};
use crate::{
    coordinator::{At, Coordinator, Ledger},
    event::group::ClassicState,
    state::State,
};

impl<W> Coordinator<W> {
    /// A member lives. Without an event.
    pub(crate) fn heartbeat(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        request: &HeartbeatRequest,
    ) -> HeartbeatResponse {
        let heard = self.heard(ledger.state(), at, request);
        let code = heard.err().map_or(0, |error| error.code());
        HeartbeatResponse::default().with_error_code(code)
    }

    fn heard(
        &mut self,
        state: &State,
        at: At,
        request: &HeartbeatRequest,
    ) -> Result<(), ResponseError> {
        if !is_group_id(&request.group_id) {
            return Err(ResponseError::InvalidGroupId);
        }
        let found = state.group_by_name(&request.group_id);
        let (number, group) = found.ok_or(ResponseError::UnknownMemberId)?;
        let Some(classic) = group.classic() else {
            return self.heard_in_consumer_group(state, at, number, request);
        };
        let instance = request.group_instance_id.as_deref();
        check_member(classic, &request.member_id, instance)?;
        if request.generation_id != classic.phase.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        let found = classic.members.get_key_value(request.member_id.as_str());
        let (id, entry) = found.ok_or(ResponseError::UnknownMemberId)?;
        self.begin_session(at, number, id, entry.member.session_timeout_ms);
        match classic.phase.state {
            ClassicState::Empty => Err(ResponseError::UnknownMemberId),
            ClassicState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            // consumers may send heartbeats before they sync
            ClassicState::CompletingRebalance | ClassicState::Stable => Ok(()),
        }
    }
}
