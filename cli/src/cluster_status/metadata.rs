//! The metadata service's part of `aquifer cluster status`.

use anyhow::Result;
use aquifer_metadata::{inspect, state::Budgets, status};
use aquifer_metadata_api::{
    MetadataError,
    grpc::{
        CompactionBacklog, Endpoint, GrpcSettings, Leading, ProcessRole, ProcessStatus, ask_status,
    },
};
use aquifer_store::{Ports, location::Wrapping};
use futures::future::join_all;
use serde_json::{Value, json};

use super::Report;
use crate::{
    arguments::status::ClusterStatus,
    journal_source::open_postgres,
    metadata_admin::{status_facts, status_json},
    output::Record,
    runtime::wait,
    secret,
    usage::usage,
};

/// Asks what can be asked: processes, database, bucket. Arguments that cannot be are an error; what is found
/// is part of the report.
pub(super) fn ask(arguments: &ClusterStatus, report: &mut Report) -> Result<()> {
    if !arguments.metadata.is_empty() {
        let endpoints = arguments
            .metadata
            .iter()
            .map(|text| {
                text.parse::<Endpoint>()
                    .map_err(|error| usage(error.to_string()))
            })
            .collect::<Result<Vec<_>>>()?;
        let secret = secret::read(&arguments.secret)?;
        let settings = GrpcSettings {
            connect_timeout: arguments.bootstrap.timeout.0,
            ..GrpcSettings::new(endpoints.clone(), secret)
        };
        let ports = Ports::system();
        let asked = endpoints
            .iter()
            .map(|one| ask_status(&ports, &settings, one));
        let answers = wait(join_all(asked))?;
        let answers = arguments.metadata.iter().map(String::as_str).zip(answers);
        judge(&answers.collect::<Vec<_>>(), report);
    }
    if let Some(postgres) = &arguments.postgres {
        let looked = wait(look(postgres, arguments.bucket.as_deref(), report))?;
        if let Err(error) = looked {
            report.problem(format!("{error:#}"));
        }
    }
    Ok(())
}

type Answer<'a> = (&'a str, Result<ProcessStatus, MetadataError>);

/// What the processes say of themselves, taken together.
fn judge(answers: &[Answer<'_>], report: &mut Report) {
    let mut leaders: Vec<(&str, Leading)> = Vec::new();
    for (endpoint, answer) in answers {
        report.processes.push(record(endpoint, answer));
        match answer {
            Ok(ProcessStatus {
                role: ProcessRole::Leader(leading),
                ..
            }) => leaders.push((*endpoint, *leading)),
            Ok(ProcessStatus {
                role: ProcessRole::Refusing { reason },
                ..
            }) => report.problem(format!(
                "metadata process {endpoint} refuses to serve: {reason}"
            )),
            Ok(ProcessStatus {
                role: ProcessRole::Standby,
                ..
            }) => {}
            Err(error) => report.problem(format!("metadata process {endpoint}: {error}")),
        }
    }
    // One that was just deposed may not know it yet.
    let newest = leaders.iter().max_by_key(|(_, leading)| leading.term);
    let Some((endpoint, leading)) = newest else {
        let known = answers.iter().find_map(|(_, answer)| {
            let status = answer.as_ref().ok()?;
            status.leader.clone()
        });
        match known {
            // It is none of those that were named.
            Some(leader) => report.fact("metadata leader", leader),
            None => report.problem("no metadata process leads".to_owned()),
        }
        return;
    };
    report.fact(
        "metadata leader",
        format!("{endpoint}, term {}, row {}", leading.term, leading.seq),
    );
    report.field(
        "metadata_leader",
        json!({
            "endpoint": endpoint,
            "term": leading.term.0,
            "row": leading.seq.0,
            "incarnation": leading.incarnation.0,
        }),
    );
    if let Some(backlog) = &leading.backlog {
        tell_backlog(backlog, report);
    }
    belongs(report, &leading.cluster.to_string(), "the metadata service");
}

/// What compactors have to do: how fast that grows or shrinks is for metrics to tell.
fn tell_backlog(backlog: &CompactionBacklog, report: &mut Report) {
    let CompactionBacklog {
        small_objects,
        small_bytes,
        small_age_epochs,
        ranges,
        dirty_logs,
        deletable_objects,
    } = backlog;
    report.fact(
        "to be compacted",
        format!(
            "{small_objects} small objects, {small_bytes} bytes, the oldest of {small_age_epochs} upload epochs ago; \
             {ranges} merged ranges, {dirty_logs} logs by key, {deletable_objects} objects to delete"
        ),
    );
    report.field(
        "compaction_backlog",
        json!({
            "small_objects": small_objects,
            "small_bytes": small_bytes,
            "small_age_epochs": small_age_epochs,
            "merged_ranges": ranges,
            "dirty_logs": dirty_logs,
            "deletable_objects": deletable_objects,
        }),
    );
}

fn record(endpoint: &str, answer: &Result<ProcessStatus, MetadataError>) -> Record {
    let (role, leading, problem) = match answer {
        Ok(status) => match &status.role {
            ProcessRole::Leader(leading) => ("leads", Some(*leading), None),
            ProcessRole::Standby => ("stands by", None, None),
            ProcessRole::Refusing { reason } => ("refuses", None, Some(reason.clone())),
        },
        Err(error) => ("unknown", None, Some(error.to_string())),
    };
    let number = |of: fn(&Leading) -> u64| leading.as_ref().map(of);
    let (term, row) = (number(|l| l.term.0), number(|l| l.seq.0));
    let shown = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
    Record {
        cells: vec![
            endpoint.to_owned(),
            role.to_owned(),
            shown(term),
            shown(row),
            problem.clone().unwrap_or_else(|| "answers".to_owned()),
        ],
        json: json!({
            "endpoint": endpoint,
            "role": role,
            "term": term,
            "row": row,
            "problem": problem,
        }),
    }
}

/// Reads the journal, and compares it with the bucket where that is known.
async fn look(postgres: &str, bucket: Option<&str>, report: &mut Report) -> Result<()> {
    let ports = Ports::system();
    let journal = open_postgres(postgres, &ports).await?;
    let (facts, json, cluster) = match bucket {
        Some(url) => {
            let store = aquifer_store::open(url, &ports, Wrapping::default()).await?;
            let status = status::status(&journal, &*store, Budgets::default()).await?;
            if let Some(problem) = &status.problem {
                report.problem(problem.to_string());
            }
            (status_facts(&status), status_json(&status), status.cluster)
        }
        None => {
            let looked = inspect::look(&journal).await?;
            let cluster = looked.state.cluster();
            let (facts, json) = journal_alone(&looked);
            (facts, json, cluster)
        }
    };
    for (name, value) in facts {
        // What brokers said is there already.
        let known = match name {
            "cluster" => true,
            "topics" | "partitions" => report.cluster.is_some(),
            _ => false,
        };
        if !known {
            report.fact(name, value);
        }
    }
    report.field("journal", json);
    match cluster {
        Some(cluster) => belongs(report, &cluster.to_string(), "the database"),
        None => report.problem("the database is empty".to_owned()),
    }
    Ok(())
}

fn journal_alone(looked: &inspect::Looked) -> (Vec<(&'static str, String)>, Value) {
    let lease = match &looked.lease {
        Some(lease) => format!(
            "{} with term {}, at {}",
            lease.holder, lease.term, lease.endpoint
        ),
        None => "nobody yet".to_owned(),
    };
    let facts = vec![
        ("newest row", looked.newest.to_string()),
        ("pages through row", looked.pages_through.to_string()),
        ("upload epoch", looked.state.upload_epoch().to_string()),
        ("last leader", lease),
    ];
    let lease = looked.lease.as_ref().map(
        |lease| json!({"holder": lease.holder, "term": lease.term.0, "endpoint": lease.endpoint}),
    );
    let json = json!({
        "newest": { "term": looked.newest.term.0, "seq": looked.newest.seq.0 },
        "pages_through": looked.pages_through.0,
        "upload_epoch": looked.state.upload_epoch().0,
        "lease": lease,
    });
    (facts, json)
}

/// Says so if `whose` is another cluster's than the brokers are.
fn belongs(report: &mut Report, cluster: &str, whose: &str) {
    match &report.cluster {
        Some(brokers) if brokers != cluster => report.problem(format!(
            "{whose} is that of cluster {cluster}, the brokers are of {brokers}"
        )),
        Some(_) => {}
        None => report.fact("cluster", cluster.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{ClusterId, Incarnation, JournalSeq, LeaderTerm};

    use super::*;

    fn cluster() -> ClusterId {
        aquifer_format::key::parse_cluster_id("AQIDBAUGBwgJCgsMDQ4PEA").unwrap()
    }

    fn status(role: ProcessRole, leader: Option<&str>) -> ProcessStatus {
        ProcessStatus {
            role,
            leader: leader.map(str::to_owned),
        }
    }

    fn leader(term: u64) -> ProcessStatus {
        let leading = Leading {
            term: LeaderTerm(term),
            seq: JournalSeq(9),
            cluster: cluster(),
            incarnation: Incarnation(1),
            backlog: None,
        };
        status(ProcessRole::Leader(leading), None)
    }

    fn judged(answers: Vec<Answer<'_>>) -> Report {
        let mut report = Report::default();
        judge(&answers, &mut report);
        report
    }

    fn unreachable() -> MetadataError {
        MetadataError::Unavailable {
            reason: "refused".to_owned(),
            may_have_happened: false,
        }
    }

    #[test]
    fn a_leader_and_standbys_are_healthy() {
        let standby = status(ProcessRole::Standby, Some("a:1"));
        let report = judged(vec![("a:1", Ok(leader(3))), ("b:1", Ok(standby))]);
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!(report.json["metadata_leader"]["term"], 3);
        assert_eq!(report.processes.len(), 2);
        let report = judged(vec![("a:1", Ok(leader(3))), ("b:1", Ok(leader(4)))]);
        assert_eq!(report.json["metadata_leader"]["endpoint"], "b:1");
        // The leader need not be among those that were named.
        let standby = status(ProcessRole::Standby, Some("a:1"));
        let report = judged(vec![("b:1", Ok(standby))]);
        assert_eq!(report.problems, Vec::<String>::new());
    }

    #[test]
    fn what_compactors_are_behind_with_is_told_once_the_leader_knows() {
        let report = judged(vec![("a:1", Ok(leader(3)))]);
        assert!(!report.json.contains_key("compaction_backlog"));
        let mut knows = leader(3);
        if let ProcessRole::Leader(leading) = &mut knows.role {
            leading.backlog = Some(CompactionBacklog {
                small_objects: 7,
                dirty_logs: 2,
                ..CompactionBacklog::default()
            });
        }
        let report = judged(vec![("a:1", Ok(knows))]);
        assert_eq!(report.json["compaction_backlog"]["small_objects"], 7);
        let shown = report
            .facts
            .iter()
            .find(|(name, _)| *name == "to be compacted");
        let (_, shown) = shown.expect("it is told");
        assert!(
            shown.starts_with("7 small objects") && shown.contains("2 logs"),
            "{shown}"
        );
        assert_eq!(report.problems, Vec::<String>::new());
    }

    #[test]
    fn whatever_keeps_the_service_from_serving_is_told() {
        let refusing = ProcessRole::Refusing {
            reason: "lost rows".to_owned(),
        };
        for (answers, says) in [
            (
                vec![("a:1", Ok(status(ProcessRole::Standby, None)))],
                "no metadata process leads",
            ),
            (vec![("a:1", Ok(status(refusing, None)))], "lost rows"),
            (
                vec![("a:1", Ok(leader(1))), ("b:1", Err(unreachable()))],
                "b:1",
            ),
        ] {
            let problems = judged(answers).problems.join("; ");
            assert!(problems.contains(says), "{problems}");
        }
    }

    #[test]
    fn the_service_of_another_cluster_is_told() {
        let mut report = Report {
            cluster: Some("other".to_owned()),
            ..Report::default()
        };
        judge(&[("a:1", Ok(leader(1)))], &mut report);
        assert_eq!(report.problems.len(), 1);
        assert!(
            report.problems[0].contains("of other"),
            "{:?}",
            report.problems
        );
    }
}
