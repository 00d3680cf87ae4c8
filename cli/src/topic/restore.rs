//! `aquifer topic deleted` and `aquifer topic restore`.

use anyhow::Result;
use aquifer_metadata_api::{
    grpc::{Endpoint, GrpcMetadata, GrpcSettings},
    upkeep::{DeletedTopic, DeletedTopics, RestoreTopic, Upkeep as _},
};
use aquifer_store::Ports;
use serde_json::json;

use crate::{
    arguments::topic::{MetadataService, TopicDeleted, TopicRestore},
    instant,
    output::{Column, Printer, Record, number, text},
    runtime::wait,
    secret,
    usage::usage,
};

/// `aquifer topic deleted`.
pub(super) fn run_list(arguments: &TopicDeleted) -> Result<()> {
    const COLUMNS: [Column; 6] = [
        text("topic"),
        number("partitions"),
        number("bytes"),
        text("deleted"),
        text("goes for good"),
        text("id"),
    ];
    let deleted = wait(async {
        let metadata = service(&arguments.service)?;
        Ok::<_, anyhow::Error>(metadata.deleted_topics().await?)
    })??;
    let records: Vec<Record> = deleted.topics.iter().map(record).collect();
    Printer::stdout(arguments.output).table(&COLUMNS, &records)
}

/// `aquifer topic restore`.
pub(super) fn run(arguments: &TopicRestore) -> Result<()> {
    let restored = wait(async {
        let metadata = service(&arguments.service)?;
        let topic = wanted(&metadata.deleted_topics().await?, &arguments.topic);
        Ok::<_, anyhow::Error>(metadata.restore_topic(topic).await?)
    })??;
    let (name, id) = (&restored.name, restored.id.to_string());
    let json = json!({ "topic": name, "id": id, "restored": true });
    Printer::stdout(arguments.output).say(&format!("restored topic {name}"), &json)
}

fn service(arguments: &MetadataService) -> Result<GrpcMetadata> {
    let secret = secret::read(&arguments.secret)?;
    let endpoints = arguments
        .metadata
        .iter()
        .map(|text| {
            text.parse::<Endpoint>()
                .map_err(|error| usage(error.to_string()))
        })
        .collect::<Result<Vec<_>>>()?;
    let settings = GrpcSettings::new(endpoints, secret);
    Ok(GrpcMetadata::new(Ports::system(), settings))
}

/// A name comes before an id: ids are names that a topic can have.
fn wanted(deleted: &DeletedTopics, topic: &str) -> RestoreTopic {
    let mut topics = deleted.topics.iter();
    if topics.clone().any(|deleted| deleted.name == topic) {
        return RestoreTopic::Name(topic.to_owned());
    }
    match topics.find(|deleted| deleted.id.to_string() == topic) {
        Some(found) => RestoreTopic::Id(found.id),
        None => RestoreTopic::Name(topic.to_owned()),
    }
}

fn record(topic: &DeletedTopic) -> Record {
    let id = topic.id.to_string();
    Record {
        cells: vec![
            topic.name.clone(),
            topic.partitions.to_string(),
            topic.bytes.to_string(),
            instant::format(topic.deleted_at_ms),
            instant::format(topic.purged_at_ms),
            id.clone(),
        ],
        json: json!({
            "topic": topic.name,
            "id": id,
            "partitions": topic.partitions,
            "bytes": topic.bytes,
            "deleted_at_ms": topic.deleted_at_ms,
            "purged_at_ms": topic.purged_at_ms,
        }),
    }
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::TopicId;
    use kafka_protocol::messages::metadata_response::MetadataResponseTopic;

    use super::*;

    const NIL: &str = "AAAAAAAAAAAAAAAAAAAAAA";

    fn topic(name: &str) -> DeletedTopic {
        DeletedTopic {
            id: TopicId(MetadataResponseTopic::default().topic_id),
            name: name.to_owned(),
            partitions: 3,
            bytes: 5,
            deleted_at_ms: 0,
            purged_at_ms: 86_400_000,
        }
    }

    #[test]
    fn a_topic_is_named_by_its_name_or_its_id() {
        let id = topic("logs").id;
        for (there, asked, expected) in [
            ("logs", "logs", RestoreTopic::Name("logs".to_owned())),
            ("logs", NIL, RestoreTopic::Id(id)),
            (NIL, NIL, RestoreTopic::Name(NIL.to_owned())),
            // whoever decides it says that there is none
            ("logs", "other", RestoreTopic::Name("other".to_owned())),
        ] {
            let topics = vec![topic(there)];
            assert_eq!(wanted(&DeletedTopics { topics }, asked), expected);
        }
    }

    #[test]
    fn people_see_when_a_topic_goes_for_good() {
        let record = record(&topic("logs"));
        let cells = [
            "logs",
            "3",
            "5",
            "1970-01-01T00:00:00.000Z",
            "1970-01-02T00:00:00.000Z",
            NIL,
        ];
        assert_eq!(record.cells, cells);
        assert_eq!(record.json["purged_at_ms"], 86_400_000);
    }
}
