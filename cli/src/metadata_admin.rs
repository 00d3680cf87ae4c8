//! `aquifer metadata migrate|status|accept-loss`: what operators do to the metadata service's state.

use std::sync::Arc;

use anyhow::{Result, bail};
use aquifer_metadata::{
    accept_loss::{AcceptSettings, Accepted, accept_loss},
    journal::postgres::{PostgresJournal, PostgresSettings},
    state::Budgets,
    status::{Status, status},
};
use aquifer_store::{ObjectStore, Ports, location::Wrapping};
use serde_json::json;

use crate::{
    arguments::cluster::{
        AcceptLoss, Bucket, MetadataAction, MetadataMigrate, MetadataStatus, Postgres,
    },
    journal_source::open_postgres,
    output::Printer,
    signals::on_threads,
};

/// Does what is asked, or ends at once on a signal.
pub(crate) fn run(action: &MetadataAction) -> Result<()> {
    on_threads(|mut stop| async move {
        match stop.unless_asked(act(action)).await {
            Some(done) => done,
            None => bail!("stopped: {}", left_behind(action)),
        }
    })
}

/// What is known of an action that was given up half way.
fn left_behind(action: &MetadataAction) -> &'static str {
    match action {
        MetadataAction::Migrate(_) => {
            "whether the tables are up to date is not known; it can be run again"
        }
        MetadataAction::Status(_) => "nothing was changed",
        MetadataAction::AcceptLoss(_) => {
            "whether the loss was accepted, `aquifer metadata status` tells; a lease that this took runs \
             out by itself, within a minute"
        }
        MetadataAction::Restore(_) => {
            "whether it was restored, `aquifer metadata status` tells; an empty database stayed empty"
        }
    }
}

async fn act(action: &MetadataAction) -> Result<()> {
    let ports = Ports::system();
    match action {
        MetadataAction::Migrate(arguments) => migrate(arguments, ports).await,
        MetadataAction::Status(arguments) => show_status(arguments, &ports).await,
        MetadataAction::AcceptLoss(arguments) => accept(arguments, &ports).await,
        MetadataAction::Restore(arguments) => crate::metadata_restore::run(arguments, &ports).await,
    }
}

async fn migrate(arguments: &MetadataMigrate, ports: Ports) -> Result<()> {
    let settings = PostgresSettings::new(&arguments.postgres.postgres);
    let version = PostgresJournal::migrate(settings, ports).await?;
    Printer::stdout(arguments.output).say(
        &format!("the database has the tables of version {version}"),
        &json!({ "schema_version": version }),
    )
}

/// Database and bucket, neither of them changed.
async fn open(
    postgres: &Postgres,
    bucket: &Bucket,
    ports: &Ports,
) -> Result<(Arc<PostgresJournal>, Arc<dyn ObjectStore>)> {
    let journal = open_postgres(&postgres.postgres, ports).await?;
    let store = aquifer_store::open(&bucket.bucket, ports, Wrapping::default()).await?;
    Ok((Arc::new(journal), store))
}

async fn show_status(arguments: &MetadataStatus, ports: &Ports) -> Result<()> {
    let (journal, store) = open(&arguments.postgres, &arguments.bucket, ports).await?;
    let status = status(&*journal, &*store, Budgets::default()).await?;
    Printer::stdout(arguments.output).facts(&status_facts(&status), &status_json(&status))?;
    match status.problem {
        Some(problem) => bail!("nobody may serve: {problem}"),
        None => Ok(()),
    }
}

pub(crate) fn status_facts(status: &Status) -> Vec<(&'static str, String)> {
    let cluster = match status.cluster {
        Some(cluster) => cluster.to_string(),
        None => "none: the database is empty".to_owned(),
    };
    let lease = match &status.lease {
        Some(lease) => format!(
            "{} with term {}, at {}",
            lease.holder, lease.term, lease.endpoint
        ),
        None => "nobody yet".to_owned(),
    };
    let agree = match &status.problem {
        None => "yes".to_owned(),
        Some(problem) => format!("no: {problem}"),
    };
    vec![
        ("cluster", cluster),
        ("incarnation", status.incarnation.to_string()),
        ("newest row", status.newest.to_string()),
        ("pages through row", status.pages_through.to_string()),
        ("upload epoch", status.upload_epoch.to_string()),
        ("last leader", lease),
        ("topics", status.topics.to_string()),
        ("partitions", status.partitions.to_string()),
        ("agents", status.agents.to_string()),
        ("tips in the bucket", status.bucket.tips.len().to_string()),
        (
            "witnesses in the bucket",
            status.bucket.witnesses.len().to_string(),
        ),
        ("database and bucket agree", agree),
    ]
}

pub(crate) fn status_json(status: &Status) -> serde_json::Value {
    let lease = status.lease.as_ref().map(
        |lease| json!({"holder": lease.holder, "term": lease.term.0, "endpoint": lease.endpoint}),
    );
    json!({
        "cluster": status.cluster.map(|cluster| cluster.to_string()),
        "incarnation": status.incarnation.0,
        "newest": {"term": status.newest.term.0, "seq": status.newest.seq.0},
        "pages_through": status.pages_through.0,
        "upload_epoch": status.upload_epoch.0,
        "lease": lease,
        "topics": status.topics,
        "partitions": status.partitions,
        "agents": status.agents,
        "tips": status.bucket.tips.len(),
        "witnesses": status.bucket.witnesses.len(),
        "problem": status.problem.as_ref().map(ToString::to_string),
    })
}

async fn accept(arguments: &AcceptLoss, ports: &Ports) -> Result<()> {
    let (journal, store) = open(&arguments.postgres, &arguments.bucket, ports).await?;
    let settings = AcceptSettings {
        gap: arguments.gap,
        even_if_nothing_is_missing: arguments.even_if_nothing_is_missing,
        ..AcceptSettings::default()
    };
    let accepted = accept_loss(journal, store, ports, &settings).await?;
    let mut printer = Printer::stdout(arguments.output);
    if printer.is_json() {
        return printer.say("", &accepted_json(&accepted));
    }
    let lines = accepted_lines(&accepted);
    lines.iter().try_for_each(|line| printer.heading(line))
}

fn accepted_lines(accepted: &Accepted) -> Vec<String> {
    let mut lines = vec![format!(
        "accepted: incarnation {} begins at {}, upload epoch {}, with what {} tips and witnesses remember",
        accepted.incarnation, accepted.mark, accepted.upload_epoch, accepted.witnesses
    )];
    if let Some(seen) = &accepted.seen {
        lines.push(format!("what was missing: {seen}"));
    }
    for (partition, before, after) in &accepted.partitions {
        lines.push(format!(
            "{partition}: the database had {before}, goes on at {after}"
        ));
    }
    lines
}

fn accepted_json(accepted: &Accepted) -> serde_json::Value {
    let partitions = accepted
        .partitions
        .iter()
        .map(|(partition, before, after)| {
            json!({
                "topic_id": partition.topic.to_string(),
                "partition": partition.partition.0,
                "had": before.0,
                "goes_on_at": after.0,
            })
        });
    json!({
        "incarnation": accepted.incarnation.0,
        "term": accepted.mark.term.0,
        "seq": accepted.mark.seq.0,
        "upload_epoch": accepted.upload_epoch.0,
        "missing": accepted.seen,
        "witnesses": accepted.witnesses,
        "partitions": partitions.collect::<Vec<_>>(),
    })
}
