//! CreateTopics (version 7 in and out); also what automatic creation asks for.
//!
//! Checks, their order, codes and texts follow Kafka's `ReplicationControlManager.createTopics`.
//! Replicas mean nothing here, since the bucket is the replica: replication factors -1, 1 and 3 are
//! taken, because that is what tools ask for.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::{
    ids::{LeaderEpoch, TopicId},
    limits::TOPIC_PARTITIONS_MAX,
};
use aquifer_metadata_api::config::{self, TOPIC_CONFIGS};
use aquifer_store::Rand;
use kafka_protocol::{
    ResponseError,
    messages::{
        TopicName,
        create_topics_request::{CreatableTopic, CreateTopicsRequest},
        create_topics_response::{
            CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse,
        },
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{
    Decided,
    topic_name::{self, NameError},
};
use crate::{
    event::{Event, TopicCreated},
    state::{budget::PARTITION_BYTES, entity::State},
};

/// Partitions of a topic whose creator leaves it to us (Kafka's `num.partitions`).
const PARTITIONS_DEFAULT: u32 = 1;
/// Replication factor that is answered where the creator leaves it to us.
const REPLICATION_DEFAULT: i16 = 1;
/// Most topics of one request (Kafka bounds the records of an operation to 10,000).
const TOPICS_PER_REQUEST_MAX: usize = 10_000;
/// Longest value of a config in bytes, as Kafka's own string encoding bounds it.
const CONFIG_VALUE_BYTES_MAX: usize = 32_767;

/// Kafka's `ConfigSource` numbers.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_DEFAULT: i8 = 5;

/// A refusal: code and text.
struct Refusal(ResponseError, String);

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self(ResponseError::InvalidTopicException, error.to_string())
    }
}

/// A topic that may be created.
struct NewTopic {
    partitions: u32,
    replication: i16,
    configs: BTreeMap<String, String>,
}

/// Decides a CreateTopics request; `rand` gives the topic ids.
#[must_use]
pub fn create_topics(
    state: &State,
    rand: &dyn Rand,
    request: &CreateTopicsRequest,
) -> Decided<CreateTopicsResponse> {
    let duplicates = duplicate_names(request);
    let mut decided = Decided::only(CreateTopicsResponse::default());
    let mut creating = Creating {
        state,
        partition_bytes: state.usage.partition_bytes,
        leader_epoch: state.counters.next_leader_epoch,
    };
    let mut answered = BTreeSet::new();
    for (at, topic) in request.topics.iter().enumerate() {
        let checked = if duplicates.contains(&topic.name) {
            if !answered.insert(&topic.name) {
                continue;
            }
            let text = "Duplicate topic name.".to_owned();
            Err(Refusal(ResponseError::InvalidRequest, text))
        } else if at >= TOPICS_PER_REQUEST_MAX {
            let text = format!("More than {TOPICS_PER_REQUEST_MAX} topics in one request.");
            Err(Refusal(ResponseError::PolicyViolation, text))
        } else {
            creating.check(topic)
        };
        let result = match checked {
            Err(refusal) => refused(&topic.name, refusal),
            Ok(new) => {
                let id = if request.validate_only {
                    TopicId(Uuid::nil())
                } else {
                    let created = creating.create(&topic.name, &new, rand);
                    let id = created.topic;
                    decided.events.push(Event::TopicCreated(created));
                    id
                };
                succeeded(&topic.name, id, &new)
            }
        };
        decided.reply.topics.push(result);
    }
    decided
}

fn duplicate_names(request: &CreateTopicsRequest) -> BTreeSet<&TopicName> {
    let mut seen = BTreeSet::new();
    let names = request.topics.iter().map(|topic| &topic.name);
    names.filter(|name| !seen.insert(*name)).collect()
}

/// What the topics of one request add up to.
struct Creating<'a> {
    state: &'a State,
    partition_bytes: u64,
    leader_epoch: LeaderEpoch,
}

impl Creating<'_> {
    fn check(&mut self, topic: &CreatableTopic) -> Result<NewTopic, Refusal> {
        let name = topic.name.as_str();
        topic_name::check(name)?;
        if self.state.names.get(name).is_some() {
            let text = format!("Topic '{name}' already exists.");
            return Err(Refusal(ResponseError::TopicAlreadyExists, text));
        }
        if let Some(existing) = self.state.names.colliding(name) {
            return Err(Refusal::from(NameError::Collides {
                name: name.to_owned(),
                existing: existing.to_owned(),
            }));
        }
        let configs = configs_of(topic)?;
        let (partitions, replication) = if topic.assignments.is_empty() {
            (partitions_of(topic)?, replication_of(topic)?)
        } else {
            assigned(topic)?
        };
        let cost = u64::from(partitions).saturating_mul(PARTITION_BYTES);
        let bytes = self.partition_bytes.saturating_add(cost);
        if bytes > self.state.budgets.partition_bytes {
            let text = "The cluster's budget for partitions is used up.".to_owned();
            return Err(Refusal(ResponseError::PolicyViolation, text));
        }
        self.partition_bytes = bytes;
        Ok(NewTopic {
            partitions,
            replication,
            configs,
        })
    }

    fn create(&mut self, name: &TopicName, new: &NewTopic, rand: &dyn Rand) -> TopicCreated {
        let leader_epoch = self.leader_epoch;
        self.leader_epoch = LeaderEpoch(leader_epoch.0.saturating_add(1));
        TopicCreated {
            topic: self.fresh_id(rand),
            name: name.as_str().to_owned(),
            partitions: new.partitions,
            leader_epoch,
            configs: new.configs.clone(),
        }
    }

    /// A random id that does not begin with a dash where Kafka prints it, since tools would take it
    /// for an option (KAFKA-13077's rule in `Uuid.randomUuid`).
    fn fresh_id(&self, rand: &dyn Rand) -> TopicId {
        loop {
            let bits = (u128::from(rand.next_u64()) << 64) | u128::from(rand.next_u64());
            let uuid = uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
            let id = TopicId(uuid);
            if uuid.as_bytes()[0] >> 2 != 0b11_1110 && !self.state.topics.contains_key(&id) {
                return id;
            }
        }
    }
}

fn partitions_of(topic: &CreatableTopic) -> Result<u32, Refusal> {
    let invalid = |text: String| Refusal(ResponseError::InvalidPartitions, text);
    match topic.num_partitions {
        -1 => Ok(PARTITIONS_DEFAULT),
        asked => match u32::try_from(asked) {
            Err(_) | Ok(0) => Err(invalid(
                "Number of partitions was set to an invalid non-positive value.".to_owned(),
            )),
            Ok(asked) if asked > TOPIC_PARTITIONS_MAX => Err(invalid(format!(
                "Number of partitions must not be over {TOPIC_PARTITIONS_MAX}."
            ))),
            Ok(asked) => Ok(asked),
        },
    }
}

fn replication_of(topic: &CreatableTopic) -> Result<i16, Refusal> {
    let text = match topic.replication_factor {
        -1 => return Ok(REPLICATION_DEFAULT),
        asked @ (1 | 3) => return Ok(asked),
        ..=0 => {
            "Replication factor must be larger than 0, or -1 to use the default value.".to_owned()
        }
        asked => format!(
            "Unable to replicate the partition {asked} time(s): the bucket is the replica; use -1, 1 or 3."
        ),
    };
    Err(Refusal(ResponseError::InvalidReplicationFactor, text))
}

/// Partitions and replicas of a manual assignment. Which brokers it names means nothing here.
fn assigned(topic: &CreatableTopic) -> Result<(u32, i16), Refusal> {
    let request = |text: &str| Refusal(ResponseError::InvalidRequest, text.to_owned());
    let assignment = |text: String| Refusal(ResponseError::InvalidReplicaAssignment, text);
    if topic.replication_factor != -1 {
        return Err(request(
            "A manual partition assignment was specified, but replication factor was not set to -1.",
        ));
    }
    if topic.num_partitions != -1 {
        return Err(request(
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ));
    }
    let mut indexes = BTreeSet::new();
    let replicas = topic
        .assignments
        .first()
        .map_or(0, |first| first.broker_ids.len());
    for partition in &topic.assignments {
        if !indexes.insert(partition.partition_index) {
            return Err(assignment(format!(
                "Found multiple manual partition assignments for partition {}",
                partition.partition_index
            )));
        }
        let brokers: BTreeSet<_> = partition.broker_ids.iter().collect();
        let text = if brokers.is_empty() {
            "The manual partition assignment includes an empty replica list."
        } else if brokers.len() != partition.broker_ids.len() {
            "The manual partition assignment includes a broker more than once."
        } else if brokers.iter().any(|broker| broker.0 < 0) {
            "The manual partition assignment includes a negative broker id."
        } else if partition.broker_ids.len() != replicas {
            "The manual partition assignment includes partitions with differing replication factors."
        } else {
            continue;
        };
        return Err(assignment(text.to_owned()));
    }
    if !indexes.iter().copied().eq((0i32..).take(indexes.len())) {
        let text = "partitions should be a consecutive 0-based integer sequence";
        return Err(assignment(text.to_owned()));
    }
    let partitions = u32::try_from(indexes.len())
        .ok()
        .filter(|count| *count <= TOPIC_PARTITIONS_MAX);
    let Some(partitions) = partitions else {
        let text = format!("Number of partitions must not be over {TOPIC_PARTITIONS_MAX}.");
        return Err(Refusal(ResponseError::InvalidPartitions, text));
    };
    let replicas = i16::try_from(replicas)
        .map_err(|_| assignment("The replica lists are too long.".to_owned()))?;
    Ok((partitions, replicas))
}

fn configs_of(topic: &CreatableTopic) -> Result<BTreeMap<String, String>, Refusal> {
    let invalid = |text: String| Refusal(ResponseError::InvalidConfig, text);
    let nulls = topic.configs.iter().filter(|entry| entry.value.is_none());
    let nulls: Vec<&str> = nulls.map(|entry| entry.name.as_str()).collect();
    if !nulls.is_empty() {
        let names: String = nulls
            .join(",")
            .chars()
            .take(CONFIG_VALUE_BYTES_MAX)
            .collect();
        return Err(invalid(format!(
            "Null value not supported for topic configs: {names}"
        )));
    }
    let mut configs = BTreeMap::new();
    for entry in &topic.configs {
        let Some(value) = &entry.value else {
            continue;
        };
        if entry.name.len() > CONFIG_VALUE_BYTES_MAX || value.len() > CONFIG_VALUE_BYTES_MAX {
            return Err(invalid(format!(
                "A topic config is longer than {CONFIG_VALUE_BYTES_MAX} bytes."
            )));
        }
        config::validate(entry.name.as_str(), value.as_str())
            .map_err(|error| invalid(error.to_string()))?;
        configs.insert(entry.name.as_str().to_owned(), value.as_str().to_owned());
    }
    config::validate_all(&configs).map_err(|error| invalid(error.to_string()))?;
    Ok(configs)
}

fn refused(name: &TopicName, refusal: Refusal) -> CreatableTopicResult {
    let Refusal(error, text) = refusal;
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::from_string(text)))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(Some(Vec::new()))
}

fn succeeded(name: &TopicName, id: TopicId, new: &NewTopic) -> CreatableTopicResult {
    let configs = TOPIC_CONFIGS.iter().map(|spec| {
        let (value, source) = match new.configs.get(spec.name) {
            Some(value) => (StrBytes::from_string(value.clone()), SOURCE_TOPIC),
            None => (StrBytes::from_static_str(spec.default), SOURCE_DEFAULT),
        };
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(spec.name))
            .with_value(Some(value))
            .with_config_source(source)
    });
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_topic_id(id.0)
        .with_num_partitions(i32::try_from(new.partitions).unwrap_or(i32::MAX))
        .with_replication_factor(new.replication)
        .with_configs(Some(configs.collect()))
}
