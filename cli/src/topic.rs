//! `aquifer topic`: create, list, describe, delete.

use std::io::{self, Write};

use anyhow::{Context as _, Result, anyhow, bail};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication, TopicResult},
    consumer::{BaseConsumer, Consumer},
    metadata::{Metadata, MetadataTopic},
    types::RDKafkaErrorCode,
};
use serde_json::json;

use crate::{
    arguments::{
        Bootstrap, OutputForm, Topic, TopicAction, TopicCreate, TopicDelete, TopicDescribe,
        TopicList,
    },
    client::{self, Context},
};

/// Runs the command.
pub(crate) fn run(topic: &Topic) -> Result<()> {
    match &topic.action {
        TopicAction::Create(create) => run_create(create),
        TopicAction::List(list) => run_list(list),
        TopicAction::Describe(describe) => run_describe(describe),
        TopicAction::Delete(delete) => run_delete(delete),
    }
}

type Admin = AdminClient<Context>;
type Watcher = BaseConsumer<Context>;

/// An administration client that has seen the cluster, so that a wrong address is told at once.
fn admin(bootstrap: &Bootstrap) -> Result<Admin> {
    let admin: Admin = client::create(&client::config(bootstrap, &[])?, Context::default())?;
    admin
        .inner()
        .fetch_metadata(None, client::timeout(bootstrap))
        .map_err(|error| client::explain(&error, admin.inner().context(), bootstrap))?;
    Ok(admin)
}

fn watcher(bootstrap: &Bootstrap) -> Result<Watcher> {
    let settings = [("allow.auto.create.topics", "false")];
    client::create(&client::config(bootstrap, &settings)?, Context::default())
}

fn metadata(watcher: &Watcher, topic: Option<&str>, bootstrap: &Bootstrap) -> Result<Metadata> {
    watcher
        .fetch_metadata(topic, client::timeout(bootstrap))
        .map_err(|error| client::explain(&error, watcher.context(), bootstrap))
}

fn wait<F: Future>(future: F) -> Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    Ok(runtime.block_on(future))
}

fn say(text: &str) -> Result<()> {
    writeln!(io::stdout(), "{text}").or_else(closed_is_fine)
}

/// A reader that went away has seen what it wanted.
fn closed_is_fine(error: io::Error) -> Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error.into()),
    }
}

fn run_create(create: &TopicCreate) -> Result<()> {
    let mut topic = NewTopic::new(
        &create.topic,
        create.partitions,
        // The bucket replicates; any factor that clients like is taken.
        TopicReplication::Fixed(1),
    );
    for config in &create.topic_config {
        let (key, value) = client::key_value(config, "--topic-config")?;
        topic = topic.set(key, value);
    }
    let admin = admin(&create.bootstrap)?;
    let options = options(&create.bootstrap);
    let results = wait(admin.create_topics([&topic], &options))?
        .map_err(|error| client::explain(&error, admin.inner().context(), &create.bootstrap))?;
    match results.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) if create.if_not_exists => {
            say(&format!("topic {} is there already", create.topic))
        }
        Some(result) => {
            check("create", result)?;
            say(&format!(
                "created topic {} with {} partition{}",
                create.topic,
                create.partitions,
                if create.partitions == 1 { "" } else { "s" }
            ))
        }
        None => bail!(
            "the cluster did not say what became of topic {}",
            create.topic
        ),
    }
}

fn run_delete(delete: &TopicDelete) -> Result<()> {
    let admin = admin(&delete.bootstrap)?;
    let names: Vec<&str> = delete.topics.iter().map(String::as_str).collect();
    let options = options(&delete.bootstrap);
    let results = wait(admin.delete_topics(&names, &options))?
        .map_err(|error| client::explain(&error, admin.inner().context(), &delete.bootstrap))?;
    let mut failure = Ok(());
    for result in results {
        match check("delete", result) {
            Ok(name) => say(&format!("deleted topic {name}"))?,
            Err(error) if failure.is_ok() => failure = Err(error),
            Err(error) => eprintln!("aquifer: {error:#}"),
        }
    }
    failure
}

fn options(bootstrap: &Bootstrap) -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(client::timeout(bootstrap)))
        .operation_timeout(Some(client::timeout(bootstrap)))
}

fn check(what: &str, result: TopicResult) -> Result<String> {
    result.map_err(|(name, code)| {
        let advice = match code {
            RDKafkaErrorCode::TopicAlreadyExists => "it exists already",
            RDKafkaErrorCode::UnknownTopicOrPartition => "there is no such topic",
            RDKafkaErrorCode::InvalidTopic => {
                "a name has 1 to 249 letters, digits, '.', '_' and '-'"
            }
            RDKafkaErrorCode::InvalidConfig => "a --topic-config is unknown or has a wrong value",
            RDKafkaErrorCode::InvalidPartitions => "that number of partitions is not possible",
            _ => return anyhow!("cannot {what} topic {name}: {code}"),
        };
        anyhow!("cannot {what} topic {name}: {advice}")
    })
}

fn run_list(list: &TopicList) -> Result<()> {
    let watcher = watcher(&list.bootstrap)?;
    let metadata = metadata(&watcher, None, &list.bootstrap)?;
    let mut topics: Vec<(&str, usize)> = metadata
        .topics()
        .iter()
        .map(|topic| (topic.name(), topic.partitions().len()))
        .collect();
    topics.sort_unstable();
    let mut out = io::stdout().lock();
    let width = topics.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, partitions) in topics {
        let line = match list.output.output {
            OutputForm::Text => format!("{name:width$}  {partitions:>5} partitions"),
            OutputForm::Json => json!({ "topic": name, "partitions": partitions }).to_string(),
        };
        if let Err(error) = writeln!(out, "{line}") {
            return closed_is_fine(error);
        }
    }
    Ok(())
}

/// The one topic that was asked for.
pub(crate) fn found<'a>(metadata: &'a Metadata, name: &str) -> Result<&'a MetadataTopic> {
    let topic = metadata
        .topics()
        .iter()
        .find(|topic| topic.name() == name)
        .ok_or_else(|| anyhow!("the cluster says nothing of topic {name}"))?;
    match topic.error().map(RDKafkaErrorCode::from) {
        None => Ok(topic),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            bail!("there is no topic {name}; `aquifer topic list` shows those that there are")
        }
        Some(code) => bail!("topic {name}: {code}"),
    }
}

fn run_describe(describe: &TopicDescribe) -> Result<()> {
    let watcher = watcher(&describe.bootstrap)?;
    let metadata = metadata(&watcher, Some(&describe.topic), &describe.bootstrap)?;
    let topic = found(&metadata, &describe.topic)?;
    let mut lines = Vec::new();
    if describe.output.output == OutputForm::Text {
        lines.push(
            "partition  leader     first offset      next offset          records".to_owned(),
        );
    }
    let mut partitions: Vec<_> = topic.partitions().iter().collect();
    partitions.sort_unstable_by_key(|partition| partition.id());
    for partition in partitions {
        let (first, next) = watcher
            .fetch_watermarks(
                &describe.topic,
                partition.id(),
                client::timeout(&describe.bootstrap),
            )
            .map_err(|error| client::explain(&error, watcher.context(), &describe.bootstrap))?;
        let (id, leader, records) = (partition.id(), partition.leader(), next - first);
        lines.push(match describe.output.output {
            OutputForm::Text => {
                format!("{id:>9}  {leader:>6}  {first:>15}  {next:>15}  {records:>15}")
            }
            OutputForm::Json => json!({
                "topic": describe.topic, "partition": id, "leader": leader,
                "first_offset": first, "next_offset": next,
            })
            .to_string(),
        });
    }
    say(&lines.join("\n"))
}
