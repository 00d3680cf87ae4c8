//! `aquifer group delete-offsets`.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use kafka_protocol::{
    ResponseError,
    messages::{
        GroupId, OffsetDeleteRequest, TopicName,
        offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
    },
};
use serde_json::json;

use super::{
    Failures, check_topics,
    cluster::{Cluster, TopicPartition},
    describe_group, no_group, of_committed, offsets,
};
use crate::{
    arguments::group::GroupDeleteOffsets,
    output::{Column, Printer, Record, number, text},
    protocol::{refusal, string},
};

/// Runs the command.
pub(super) fn run(delete: &GroupDeleteOffsets) -> Result<()> {
    const COLUMNS: [Column; 3] = [text("topic"), number("partition"), number("deleted offset")];
    let name = &delete.group;
    check_topics(&delete.of)?;
    let mut cluster = Cluster::open(&delete.bootstrap)?;
    if describe_group(&mut cluster, name)?.is_none() {
        return Err(no_group(name));
    }
    let committed = offsets::committed(&mut cluster, name)?;
    let meant = of_committed(name, &delete.of, &committed)?;
    let codes = delete_all(&mut cluster, name, &meant)?;
    let mut failures = Failures::default();
    let mut records = Vec::new();
    for at in &meant {
        // one that is not answered for was not deleted
        match done(name, at, codes.get(at).copied()) {
            Err(error) => failures.add(error),
            Ok(()) => {
                let offset = committed.get(at).map(|committed| committed.offset);
                let shown = offset.map_or_else(String::new, |offset| offset.to_string());
                records.push(Record {
                    cells: vec![at.topic.clone(), at.partition.to_string(), shown],
                    json: json!({
                        "group": name, "topic": at.topic, "partition": at.partition,
                        "offset": offset, "deleted": true,
                    }),
                });
            }
        }
    }
    Printer::stdout(delete.output).table(&COLUMNS, &records)?;
    failures.result()
}

/// What became of each.
fn delete_all(
    cluster: &mut Cluster<'_>,
    group: &str,
    meant: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, i16>> {
    let topics = meant.chunk_by(|a, b| a.topic == b.topic).map(|all| {
        let partitions = all
            .iter()
            .map(|at| OffsetDeleteRequestPartition::default().with_partition_index(at.partition));
        let topic = all.first().map(|at| at.topic.as_str()).unwrap_or_default();
        OffsetDeleteRequestTopic::default()
            .with_name(TopicName(string(topic)))
            .with_partitions(partitions.collect())
    });
    let request = OffsetDeleteRequest::default()
        .with_group_id(GroupId(string(group)))
        .with_topics(topics.collect());
    let answer = cluster.ask(group, &request, 0..=0, |answer| answer.error_code)?;
    if let Some(refused) = refusal(answer.error_code, None) {
        bail!("cannot delete offsets of group {group}: {refused}");
    }
    let mut codes = BTreeMap::new();
    for topic in answer.topics {
        for partition in topic.partitions {
            let at = TopicPartition {
                topic: topic.name.0.to_string(),
                partition: partition.partition_index,
            };
            codes.insert(at, partition.error_code);
        }
    }
    Ok(codes)
}

fn done(group: &str, at: &TopicPartition, code: Option<i16>) -> Result<()> {
    let Some(code) = code else {
        bail!("whether the offset of {at} was deleted is not known: the cluster did not say");
    };
    let Some(refused) = refusal(code, None) else {
        return Ok(());
    };
    match ResponseError::try_from_code(code) {
        Some(ResponseError::GroupSubscribedToTopic) => Err(anyhow!(
            "cannot delete the offset of {at}: members of group {group} consume the topic; stop them first \
             ({refused})"
        )),
        _ => Err(anyhow!("cannot delete the offset of {at}: {refused}")),
    }
}
