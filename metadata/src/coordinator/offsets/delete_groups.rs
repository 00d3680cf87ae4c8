//! DeleteGroups (version 2 in and out).

use std::collections::BTreeSet;

use kafka_protocol::{
    ResponseError,
    messages::{
        DeleteGroupsRequest, DeleteGroupsResponse, delete_groups_response::DeletableGroupResult,
    },
};

use super::is_empty;
use crate::{
    coordinator::{Coordinator, Ledger},
    event::Event,
};

impl<W> Coordinator<W> {
    /// Deletes groups without members, with their offsets. Each name is answered once.
    pub(crate) fn delete_groups(
        &mut self,
        ledger: &mut dyn Ledger,
        request: &DeleteGroupsRequest,
    ) -> DeleteGroupsResponse {
        let mut response = DeleteGroupsResponse::default();
        let mut seen = BTreeSet::new();
        for name in &request.groups_names {
            if !seen.insert(name.as_str()) {
                continue;
            }
            let deleted = self.delete_group(ledger, name);
            response.results.push(
                DeletableGroupResult::default()
                    .with_group_id(name.clone())
                    .with_error_code(deleted.err().map_or(0, |error| error.code())),
            );
        }
        response
    }

    fn delete_group(&mut self, ledger: &mut dyn Ledger, name: &str) -> Result<(), ResponseError> {
        let found = ledger.state().group_by_name(name);
        let (group, found) = found.ok_or(ResponseError::GroupIdNotFound)?;
        if !is_empty(found) {
            return Err(ResponseError::NonEmptyGroup);
        }
        ledger.apply(Event::GroupDeleted { group });
        self.forget(group);
        Ok(())
    }
}
