//! `aquifer topic`: create, list, describe, alter, delete.

use anyhow::{Result, anyhow, bail};
use kafka_protocol::{
    ResponseError,
    messages::{
        CreateTopicsRequest, DeleteTopicsRequest, TopicName,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        delete_topics_request::DeleteTopicState,
    },
    protocol::StrBytes,
};
use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    metadata::{Metadata, MetadataPartition, MetadataTopic},
    types::RDKafkaErrorCode,
};
use serde_json::json;

use crate::{
    arguments::{
        Bootstrap,
        topic::{Topic, TopicAction, TopicCreate, TopicDelete, TopicDescribe, TopicList},
    },
    client::{self, Context},
    output::{Column, Printer, Record, number, text},
    protocol::{Connection, refusal, string},
};

mod alter;
mod extents;
mod restore;

/// Runs the command.
pub(crate) fn run(topic: &Topic) -> Result<()> {
    match &topic.action {
        TopicAction::Create(create) => run_create(create),
        TopicAction::List(list) => run_list(list),
        TopicAction::Describe(describe) if describe.extents => extents::run(describe),
        TopicAction::Describe(describe) => run_describe(describe),
        TopicAction::Alter(alter) => alter::run(alter),
        TopicAction::Delete(delete) => run_delete(delete),
        TopicAction::Deleted(deleted) => restore::run_list(deleted),
        TopicAction::Restore(topic) => restore::run(topic),
    }
}

type Watcher = BaseConsumer<Context>;

fn watcher(bootstrap: &Bootstrap) -> Result<Watcher> {
    let settings = [("allow.auto.create.topics", "false")];
    client::create(&client::config(bootstrap, &settings), Context::default())
}

fn metadata(watcher: &Watcher, topic: Option<&str>, bootstrap: &Bootstrap) -> Result<Metadata> {
    watcher
        .fetch_metadata(topic, client::timeout(bootstrap))
        .map_err(|error| client::explain(&error, watcher.context(), bootstrap))
}

fn run_create(create: &TopicCreate) -> Result<()> {
    let name = &create.topic;
    let configs = create.topic_config.iter().map(|config| {
        CreatableTopicConfig::default()
            .with_name(string(&config.key))
            .with_value(Some(string(&config.value)))
    });
    let topic = CreatableTopic::default()
        .with_name(TopicName(string(name)))
        .with_num_partitions(create.partitions)
        // The cluster's own: the bucket replicates, whatever is asked for.
        .with_replication_factor(-1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(timeout_ms(&create.bootstrap))
        .with_validate_only(create.dry_run);
    let answer = Connection::open(&create.bootstrap)?.call(&request, 4..=7)?;
    let result = answer
        .topics
        .first()
        .ok_or_else(|| silence("created", name))?;
    let mut printer = Printer::stdout(create.output);
    let exists = ResponseError::TopicAlreadyExists.code();
    if create.if_not_exists && result.error_code == exists {
        let json = json!({ "topic": name, "created": false });
        return printer.say(&format!("topic {name} is there already"), &json);
    }
    done(
        "create",
        name,
        result.error_code,
        result.error_message.as_ref(),
    )?;
    let text = format!(
        "{} topic {name} with {} partition{}",
        if create.dry_run {
            "could create"
        } else {
            "created"
        },
        create.partitions,
        if create.partitions == 1 { "" } else { "s" }
    );
    let json =
        json!({ "topic": name, "partitions": create.partitions, "created": !create.dry_run });
    printer.say(&text, &json)
}

fn run_delete(delete: &TopicDelete) -> Result<()> {
    let topics = delete
        .topics
        .iter()
        .map(|name| DeleteTopicState::default().with_name(Some(TopicName(string(name)))));
    let request = DeleteTopicsRequest::default()
        .with_topics(topics.collect())
        .with_timeout_ms(timeout_ms(&delete.bootstrap));
    let answer = Connection::open(&delete.bootstrap)?.call(&request, 6..=6)?;
    let mut printer = Printer::stdout(delete.output);
    let mut failure = Ok(());
    for result in answer.responses {
        let name = result.name.map(|name| name.0.to_string());
        let name = name.unwrap_or_default();
        match done(
            "delete",
            &name,
            result.error_code,
            result.error_message.as_ref(),
        ) {
            Ok(()) => printer.say(
                &format!("deleted topic {name}"),
                &json!({ "topic": name, "deleted": true }),
            )?,
            Err(error) if failure.is_ok() => failure = Err(error),
            Err(error) => eprintln!("aquifer: {error:#}"),
        }
    }
    failure
}

/// How long brokers may take.
fn timeout_ms(bootstrap: &Bootstrap) -> i32 {
    i32::try_from(bootstrap.timeout.0.as_millis()).unwrap_or(i32::MAX)
}

/// What a broker's answer means for whoever asked.
fn done(what: &str, name: &str, code: i16, message: Option<&StrBytes>) -> Result<()> {
    let Some(refused) = refusal(code, message) else {
        return Ok(());
    };
    let advice = match ResponseError::try_from_code(code) {
        Some(ResponseError::TopicAlreadyExists) => "it exists already",
        Some(ResponseError::UnknownTopicOrPartition) => "there is no such topic",
        Some(ResponseError::InvalidTopicException) => {
            "a name has 1 to 249 letters, digits, '.', '_' and '-'"
        }
        Some(ResponseError::InvalidConfig) => "a --topic-config is unknown or has a wrong value",
        Some(ResponseError::InvalidPartitions) => "that number of partitions is not possible",
        _ => bail!("cannot {what} topic {name}: {refused}"),
    };
    Err(anyhow!("cannot {what} topic {name}: {advice} ({refused})"))
}

fn silence(what: &str, name: &str) -> anyhow::Error {
    anyhow!("whether topic {name} was {what} is not known: the cluster did not say")
}

fn run_list(list: &TopicList) -> Result<()> {
    const COLUMNS: [Column; 2] = [text("topic"), number("partitions")];
    let watcher = watcher(&list.bootstrap)?;
    let metadata = metadata(&watcher, None, &list.bootstrap)?;
    let mut topics: Vec<(&str, usize)> = metadata
        .topics()
        .iter()
        .map(|topic| (topic.name(), topic.partitions().len()))
        .collect();
    topics.sort_unstable();
    let records = topics.into_iter().map(|(name, partitions)| Record {
        cells: vec![name.to_owned(), partitions.to_string()],
        json: json!({ "topic": name, "partitions": partitions }),
    });
    Printer::stdout(list.output).table(&COLUMNS, &records.collect::<Vec<_>>())
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
            Err(no_topic(name))
        }
        Some(code) => bail!("topic {name}: {code}"),
    }
}

/// The error that says that a topic is not there.
pub(crate) fn no_topic(name: &str) -> anyhow::Error {
    anyhow!("there is no topic {name}; `aquifer topic list` shows those that there are")
}

/// Those of `there` that are wanted; all of them, if nothing is said.
fn selected(name: &str, there: &[i32], wanted: &[i32]) -> Result<Vec<i32>> {
    if let Some(missing) = wanted.iter().find(|id| !there.contains(id)) {
        bail!(
            "topic {name} has no partition {missing}; it has {}",
            there.len()
        );
    }
    let mut selected = if wanted.is_empty() { there } else { wanted }.to_vec();
    selected.sort_unstable();
    selected.dedup();
    Ok(selected)
}

fn run_describe(describe: &TopicDescribe) -> Result<()> {
    const COLUMNS: [Column; 5] = [
        number("partition"),
        number("leader"),
        number("log start offset"),
        number("high watermark"),
        number("records"),
    ];
    let name = &describe.topic;
    let watcher = watcher(&describe.bootstrap)?;
    let metadata = metadata(&watcher, Some(name), &describe.bootstrap)?;
    let topic = found(&metadata, name)?;
    let there: Vec<i32> = topic
        .partitions()
        .iter()
        .map(MetadataPartition::id)
        .collect();
    let leader = |id: i32| {
        let partition = topic.partitions().iter().find(|p| p.id() == id);
        partition.map_or(-1, MetadataPartition::leader)
    };
    let mut records = Vec::new();
    for id in selected(name, &there, &describe.partition)? {
        let (first, next) = watcher
            .fetch_watermarks(name, id, client::timeout(&describe.bootstrap))
            .map_err(|error| client::explain(&error, watcher.context(), &describe.bootstrap))?;
        let leader = leader(id);
        let count = next.saturating_sub(first);
        let cells = [i64::from(id), i64::from(leader), first, next, count];
        records.push(Record {
            cells: cells.iter().map(ToString::to_string).collect(),
            json: json!({
                "topic": name, "partition": id, "leader": leader,
                "log_start_offset": first, "high_watermark": next,
            }),
        });
    }
    Printer::stdout(describe.output).table(&COLUMNS, &records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_topic_and_the_brokers_reason() {
        let told = |code: ResponseError, message: &str| {
            let message = string(message);
            let refused = done("delete", "logs", code.code(), Some(&message));
            refused.unwrap_err().to_string()
        };
        assert_eq!(
            told(ResponseError::PolicyViolation, "it is protected"),
            "cannot delete topic logs: POLICY_VIOLATION: it is protected"
        );
        let unknown = told(ResponseError::UnknownTopicOrPartition, "This server ...");
        assert!(
            unknown.contains("there is no such topic (UNKNOWN"),
            "{unknown}"
        );
        done("create", "logs", 0, None).unwrap();
    }

    #[test]
    fn partitions_are_selected() {
        assert_eq!(selected("t", &[1, 0, 2], &[]).unwrap(), [0, 1, 2]);
        assert_eq!(selected("t", &[0, 1, 2], &[2, 0, 2]).unwrap(), [0, 2]);
        let missing = selected("t", &[0], &[3]).unwrap_err().to_string();
        assert!(missing.contains("no partition 3"), "{missing}");
    }
}
