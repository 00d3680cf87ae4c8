//! LeaveGroup (version 5 in and out; always with a list of members).

use std::sync::Arc;

use kafka_protocol::{
    ResponseError,
    messages::{
        LeaveGroupRequest, LeaveGroupResponse, leave_group_request::MemberIdentity,
        leave_group_response::MemberResponse,
    },
};

use super::{check_member, classic_group, is_group_id, join::classic_number};
use crate::{
    coordinator::{At, Caller, Coordinator, Ledger},
    event::group::ClassicState,
};

impl<W> Coordinator<W> {
    /// Members leave.
    pub(crate) fn leave(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        _caller: &Caller,
        request: &LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        if !is_group_id(&request.group_id) {
            let code = ResponseError::InvalidGroupId.code();
            return LeaveGroupResponse::default().with_error_code(code);
        }
        let found = ledger.state().group_by_name(&request.group_id);
        let consumer = found.filter(|(_, group)| group.consumer().is_some());
        let members = if let Some((number, _)) = consumer {
            self.leave_consumer_group(ledger, at, number, &request.members)
        } else {
            self.leave_classic_group(ledger, at, &Arc::from(request.group_id.as_str()), request)
        };
        LeaveGroupResponse::default().with_members(members)
    }

    fn leave_classic_group(
        &mut self,
        ledger: &mut dyn Ledger,
        at: At,
        name: &Arc<str>,
        request: &LeaveGroupRequest,
    ) -> Vec<MemberResponse> {
        let mut answers = Vec::new();
        let mut left = false;
        for member in &request.members {
            let result = self.leave_one(ledger, name, member);
            left |= result.is_ok();
            answers.push(answer(member, result.err()));
        }
        if left && let Some(number) = classic_number(ledger.state(), name) {
            let group = classic_group(ledger.state(), number);
            if group.is_some_and(|group| group.phase.state != ClassicState::Empty) {
                self.rebalance_or_complete(ledger, at, number, "members leave");
            }
        }
        answers
    }

    fn leave_one(
        &mut self,
        ledger: &mut dyn Ledger,
        name: &Arc<str>,
        member: &MemberIdentity,
    ) -> Result<(), ResponseError> {
        let (id, instance) = (
            member.member_id.as_str(),
            member.group_instance_id.as_deref(),
        );
        if !id.is_empty() && self.classic.pending.contains(name, id) {
            self.forget_pending(name, &Arc::from(id));
            return Ok(());
        }
        let number = classic_number(ledger.state(), name);
        let number = number.ok_or(ResponseError::UnknownMemberId)?;
        let group = classic_group(ledger.state(), number);
        let group = group.ok_or(ResponseError::UnknownMemberId)?;
        let gone = if id.is_empty() {
            // an administrator names static members by their instances alone
            let found = instance.and_then(|instance| group.instances.get(instance));
            found.ok_or(ResponseError::UnknownMemberId)?
        } else {
            check_member(group, id, instance)?;
            let found = group.members.get_key_value(id);
            found.ok_or(ResponseError::UnknownMemberId)?.0
        };
        let gone = Arc::clone(gone);
        self.remove_members(ledger, number, &[gone]);
        Ok(())
    }
}

/// The answer to one that leaves.
pub(super) fn answer(member: &MemberIdentity, error: Option<ResponseError>) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(member.member_id.clone())
        .with_group_instance_id(member.group_instance_id.clone())
        .with_error_code(error.map_or(0, |error| error.code()))
}
