//! `aquifer group delete`.

use anyhow::{Result, anyhow};
use kafka_protocol::{
    ResponseError,
    messages::{DeleteGroupsRequest, GroupId},
};
use serde_json::json;

use super::{Failures, cluster::Cluster, no_group};
use crate::{
    arguments::group::GroupDelete,
    output::Printer,
    protocol::{refusal, string},
};

/// Runs the command.
pub(super) fn run(delete: &GroupDelete) -> Result<()> {
    let mut cluster = Cluster::open(&delete.bootstrap)?;
    let mut printer = Printer::stdout(delete.output);
    let mut failures = Failures::default();
    for name in &delete.groups {
        match delete_one(&mut cluster, name) {
            Ok(()) => printer.say(
                &format!("deleted group {name}"),
                &json!({ "group": name, "deleted": true }),
            )?,
            Err(error) => failures.add(error),
        }
    }
    failures.result()
}

fn delete_one(cluster: &mut Cluster<'_>, name: &str) -> Result<()> {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(string(name))]);
    let answer = cluster.ask(name, &request, 0..=2, |answer| {
        answer.results.first().map_or(0, |result| result.error_code)
    })?;
    let result = answer.results.first().ok_or_else(|| {
        anyhow!("whether group {name} was deleted is not known: the cluster did not say")
    })?;
    done(name, result.error_code)
}

/// What a coordinator's answer means for whoever asked.
fn done(name: &str, code: i16) -> Result<()> {
    let Some(refused) = refusal(code, None) else {
        return Ok(());
    };
    match ResponseError::try_from_code(code) {
        Some(ResponseError::GroupIdNotFound) => Err(no_group(name)),
        Some(ResponseError::NonEmptyGroup) => Err(anyhow!(
            "cannot delete group {name}: it has members; stop them first ({refused})"
        )),
        _ => Err(anyhow!("cannot delete group {name}: {refused}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do() {
        done("g", 0).unwrap();
        for (code, says) in [
            (69, "there is no group g"),
            (68, "stop them first (NON_EMPTY_GROUP)"),
            (30, "cannot delete group g: GROUP_AUTHORIZATION_FAILED"),
        ] {
            let error = done("g", code).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
