//! `aquifer topic describe --extents`: where a topic's records are in the bucket.

use anyhow::{Context as _, Result, anyhow, bail};
use aquifer_format::{
    ids::{ClusterId, Offset, PartitionId, PartitionIndex, TopicId},
    key::object_key,
};
use aquifer_metadata::{inspect, state::State};
use aquifer_metadata_api::{
    Metadata,
    extent::Extent,
    grpc::{Endpoint, GrpcMetadata, GrpcSettings},
    locate::{LocatePartition, LocateReply, LocateRequest, Located},
};
use aquifer_store::Ports;
use kafka_protocol::messages::{
    MetadataRequest, TopicName, metadata_request::MetadataRequestTopic,
};
use serde_json::json;

use super::{done, no_topic, selected};
use crate::{
    arguments::topic::TopicDescribe,
    instant,
    journal_source::JournalSource,
    output::{Column, Printer, Record, number, text},
    protocol::{Connection, string},
    runtime::wait,
    secret,
    usage::usage,
};

/// Runs the command.
pub(super) fn run(describe: &TopicDescribe) -> Result<()> {
    const COLUMNS: [Column; 9] = [
        number("partition"),
        number("base offset"),
        number("end offset"),
        number("records"),
        text("newest timestamp"),
        number("position"),
        number("stored"),
        number("expanded"),
        text("object"),
    ];
    let records = wait(async {
        let source = Source::open(describe, &Ports::system()).await?;
        records(&source, describe).await
    })??;
    Printer::stdout(describe.output).table(&COLUMNS, &records)
}

/// Where extents are looked up.
struct Source {
    knows: Knows,
    cluster: ClusterId,
    topic: TopicId,
    partitions: i32,
}

/// Who knows.
enum Knows {
    /// A running metadata service.
    Service(Box<GrpcMetadata>),
    /// What its journal holds.
    Journal(Box<State>),
}

impl Source {
    async fn open(describe: &TopicDescribe, ports: &Ports) -> Result<Self> {
        if !describe.metadata.is_empty() {
            return Self::service(describe, ports).await;
        }
        let (postgres, data) = (describe.postgres.as_deref(), describe.data.as_deref());
        if postgres.is_none() && data.is_none() {
            return Err(usage(
                "Kafka's protocol knows no extents: say with --metadata, --postgres or --data where the \
                 metadata is",
            ));
        }
        let source = JournalSource::open(postgres, data, ports).await?;
        let looked = inspect::look(&*source.journal).await;
        let state = looked.context("the journal cannot be read")?.state;
        let cluster = state.cluster().context("the journal is empty")?;
        let name = &describe.topic;
        let topic = state.topic_by_name(name).ok_or_else(|| no_topic(name))?;
        let (topic, partitions) = (topic.id(), i32::try_from(topic.partitions())?);
        Ok(Self {
            knows: Knows::Journal(Box::new(state)),
            cluster,
            topic,
            partitions,
        })
    }

    async fn service(describe: &TopicDescribe, ports: &Ports) -> Result<Self> {
        let secret = secret::read(&describe.secret)?;
        let endpoints = describe
            .metadata
            .iter()
            .map(|text| {
                text.parse::<Endpoint>()
                    .map_err(|error| usage(error.to_string()))
            })
            .collect::<Result<Vec<_>>>()?;
        let (topic, partitions) = topic_of_cluster(describe)?;
        let settings = GrpcSettings {
            call_timeout: describe.bootstrap.timeout.0,
            ..GrpcSettings::new(endpoints, secret)
        };
        let metadata = GrpcMetadata::new(ports.clone(), settings);
        let known = metadata.live_objects(Vec::new()).await?;
        Ok(Self {
            knows: Knows::Service(Box::new(metadata)),
            cluster: known.cluster,
            topic,
            partitions,
        })
    }

    async fn locate(&self, partition: PartitionId, from: Offset) -> Result<Located> {
        let wanted = LocatePartition {
            partition,
            from,
            max_bytes: u64::MAX,
        };
        let request = LocateRequest {
            partitions: vec![wanted],
        };
        let LocateReply { partitions } = match &self.knows {
            Knows::Service(metadata) => metadata.locate(request).await?,
            Knows::Journal(state) => state.locate(&request),
        };
        let located = partitions.into_iter().next().flatten();
        located.ok_or_else(|| {
            anyhow!(
                "the metadata service does not know partition {partition}: is it that of the cluster at \
                 --bootstrap, and is the topic still there?"
            )
        })
    }
}

/// The topic's id and number of partitions, from the cluster.
fn topic_of_cluster(describe: &TopicDescribe) -> Result<(TopicId, i32)> {
    let name = &describe.topic;
    let wanted = MetadataRequestTopic::default().with_name(Some(TopicName(string(name))));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![wanted]))
        .with_allow_auto_topic_creation(false);
    let answer = Connection::open(&describe.bootstrap)?.call(&request, 10..=12)?;
    let topic = answer.topics.first();
    let topic = topic.ok_or_else(|| anyhow!("the cluster says nothing of topic {name}"))?;
    done("describe", name, topic.error_code, None)?;
    let partitions = i32::try_from(topic.partitions.len())?;
    Ok((TopicId(topic.topic_id), partitions))
}

async fn records(source: &Source, describe: &TopicDescribe) -> Result<Vec<Record>> {
    let there: Vec<i32> = (0..source.partitions).collect();
    let mut records = Vec::new();
    for index in selected(&describe.topic, &there, &describe.partition)? {
        let partition = PartitionId::new(source.topic, PartitionIndex(index));
        let extents = extents(source, partition).await?;
        let shown = |extent| record(&describe.topic, index, source.cluster, extent);
        records.extend(extents.iter().map(shown));
    }
    Ok(records)
}

/// All extents that were there when it began, in offset order.
async fn extents(source: &Source, partition: PartitionId) -> Result<Vec<Extent>> {
    let marks = source.locate(partition, Offset(0)).await?.watermarks;
    let mut from = marks.log_start;
    let mut extents: Vec<Extent> = Vec::new();
    while from < marks.high_watermark {
        let located = source.locate(partition, from).await?;
        let Some(last) = located.extents.last() else {
            if located.watermarks.log_start > from {
                from = located.watermarks.log_start;
                continue;
            }
            break;
        };
        if last.end_offset <= from {
            bail!("the metadata service repeats itself at offset {from} of {partition}");
        }
        from = last.end_offset;
        let known = |extent: &Extent| extent.base_offset < marks.high_watermark;
        extents.extend(located.extents.into_iter().filter(known));
    }
    Ok(extents)
}

fn record(topic: &str, partition: i32, cluster: ClusterId, extent: &Extent) -> Record {
    let key = object_key(cluster, &extent.object);
    let (first, next) = (extent.base_offset.0, extent.end_offset.0);
    Record {
        cells: vec![
            partition.to_string(),
            first.to_string(),
            next.to_string(),
            next.saturating_sub(first).to_string(),
            instant::format(extent.max_timestamp),
            extent.run_position.to_string(),
            extent.run_bytes.to_string(),
            extent.raw_bytes.to_string(),
            key.clone(),
        ],
        json: json!({
            "topic": topic,
            "partition": partition,
            "base_offset": first,
            "end_offset": next,
            "max_timestamp": extent.max_timestamp,
            "log_append_time": extent.log_append_time,
            "object": key,
            "run_position": extent.run_position,
            "run_bytes": extent.run_bytes,
            "expanded_position": extent.raw_start,
            "expanded_bytes": extent.raw_bytes,
        }),
    }
}
