//! `aquifer group list`.

use std::collections::BTreeMap;

use anyhow::Result;
use kafka_protocol::messages::ListGroupsRequest;
use serde_json::json;

use super::{Failures, cluster::Cluster};
use crate::{
    arguments::group::GroupList,
    output::{Column, Printer, Record, text},
    protocol::refusal,
};

/// A group as brokers list it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    name: String,
    kind: String,
    state: String,
    protocol: String,
}

/// Runs the command: every broker lists the groups that it coordinates. What some of them list is shown also
/// where others do not answer.
pub(super) fn run(list: &GroupList) -> Result<()> {
    const COLUMNS: [Column; 4] = [text("group"), text("type"), text("state"), text("protocol")];
    let mut cluster = Cluster::open(&list.bootstrap)?;
    let mut failures = Failures::default();
    let mut groups = BTreeMap::new();
    for node in cluster.nodes()? {
        match listed_by(&mut cluster, &node.address) {
            Ok(listed) => groups.extend(listed.into_iter().map(|l| (l.name.clone(), l))),
            Err(error) => failures.add(error),
        }
    }
    let records: Vec<Record> = groups
        .values()
        .filter(|group| wanted(list, group))
        .map(Listed::record)
        .collect();
    Printer::stdout(list.output).table(&COLUMNS, &records)?;
    failures.result()
}

fn listed_by(cluster: &mut Cluster<'_>, address: &str) -> Result<Vec<Listed>> {
    let answer = cluster
        .at(address)?
        .call(&ListGroupsRequest::default(), 0..=5)?;
    if let Some(refused) = refusal(answer.error_code, None) {
        return Err(refused.context(format!("broker {address} does not list its groups")));
    }
    let listed = answer.groups.into_iter().map(|group| Listed {
        name: group.group_id.0.to_string(),
        kind: group.group_type.to_string(),
        state: group.group_state.to_string(),
        protocol: group.protocol_type.to_string(),
    });
    Ok(listed.collect())
}

/// Filtered here: brokers know the filters only in newer versions of the request.
fn wanted(list: &GroupList, group: &Listed) -> bool {
    let of_state = list.state.is_empty() || list.state.contains(&group.state);
    let mut kinds = list.kind.iter();
    let of_kind =
        list.kind.is_empty() || kinds.any(|kind| kind.name().eq_ignore_ascii_case(&group.kind));
    of_state && of_kind
}

impl Listed {
    fn record(&self) -> Record {
        Record {
            cells: vec![
                self.name.clone(),
                self.kind.clone(),
                self.state.clone(),
                self.protocol.clone(),
            ],
            json: json!({
                "group": self.name,
                "type": self.kind,
                "state": self.state,
                "protocol": self.protocol,
            }),
        }
    }
}
