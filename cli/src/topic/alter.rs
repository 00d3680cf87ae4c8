//! `aquifer topic alter`.

use anyhow::{Context as _, Result};
use kafka_protocol::messages::{
    CreatePartitionsRequest, TopicName, create_partitions_request::CreatePartitionsTopic,
};
use serde_json::json;

use super::{done, silence, timeout_ms};
use crate::{
    arguments::topic::TopicAlter,
    configs::{Change, Resource, alter, check_names},
    output::Printer,
    protocol::{Connection, string},
    usage::usage,
};

/// Runs the command. Configs come first: unlike more partitions they can be set back if what follows fails.
pub(super) fn run(arguments: &TopicAlter) -> Result<()> {
    let (name, dry_run) = (&arguments.topic, arguments.dry_run);
    let set = arguments.set_config.iter().map(Change::set);
    let delete = arguments
        .delete_config
        .iter()
        .map(|key| Change::delete(key));
    let changes: Vec<Change> = set.chain(delete).collect();
    if changes.is_empty() && arguments.new_partitions.is_none() {
        return Err(usage(
            "nothing is to be altered: give --new-partitions, --set-config or --delete-config",
        ));
    }
    let mut connection = Connection::open(&arguments.bootstrap)?;
    let mut printer = Printer::stdout(arguments.output);
    if !changes.is_empty() {
        let resource = Resource::Topic(name);
        if !arguments.delete_config.is_empty() {
            check_names(
                &mut connection,
                &arguments.bootstrap,
                resource,
                &arguments.delete_config,
            )?;
        }
        alter(&mut connection, &resource, &changes, dry_run)?;
        let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        let did = if dry_run { "could alter" } else { "altered" };
        let text = format!("{did} {} of topic {name}", keys.join(", "));
        let json = json!({ "topic": name, "configs": keys, "altered": !dry_run });
        printer.say(&text, &json)?;
    }
    if let Some(partitions) = arguments.new_partitions {
        let altered = add_partitions(arguments, &mut connection, partitions);
        if !changes.is_empty() && !dry_run {
            altered.context("the configs were altered, the partitions were not")?;
        } else {
            altered?;
        }
        let text = if dry_run {
            format!("topic {name} could have {partitions} partitions")
        } else {
            format!("topic {name} has {partitions} partitions now")
        };
        let json = json!({ "topic": name, "partitions": partitions, "altered": !dry_run });
        printer.say(&text, &json)?;
    }
    Ok(())
}

fn add_partitions(
    arguments: &TopicAlter,
    connection: &mut Connection,
    partitions: i32,
) -> Result<()> {
    let name = &arguments.topic;
    let topic = CreatePartitionsTopic::default()
        .with_name(TopicName(string(name)))
        .with_count(partitions)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(timeout_ms(&arguments.bootstrap))
        .with_validate_only(arguments.dry_run);
    let answer = connection.call(&request, 0..=3)?;
    let result = answer.results.first();
    let result = result.ok_or_else(|| silence("altered", name))?;
    done(
        "alter",
        name,
        result.error_code,
        result.error_message.as_ref(),
    )
}
