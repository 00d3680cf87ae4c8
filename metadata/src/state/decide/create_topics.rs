//! CreateTopics (version 7 in and out); also what automatic creation asks for.
//!
//! Checks, their order, codes and texts follow Kafka's `ReplicationControlManager.createTopics`.
//! Replicas mean nothing here, since the bucket is the replica: replication factors -1, 1 and 3 are
//! taken, because that is what tools ask for.

use std::collections::BTreeSet;

use aquifer_format::{
    ids::{LeaderEpoch, TopicId},
    limits::TOPIC_PARTITIONS_MAX,
};
use aquifer_metadata_api::config::{self, BrokerConfig, Configs, TOPIC_CONFIGS, TopicConfigSpec};
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

use super::{
    Decided, alteration, assignment,
    partition_budget::PartitionBudget,
    refusal::Refusal,
    topic_name::{self, NameError},
};
use crate::{
    event::{Event, TopicCreated},
    state::entity::State,
};

/// Kafka's name for the log of its controllers.
const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";
/// Most topics of one request (Kafka bounds the records of an operation to 10,000).
const TOPICS_PER_REQUEST_MAX: usize = 10_000;

/// Kafka's `ConfigSource` numbers.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_DYNAMIC_DEFAULT_BROKER: i8 = 3;
const SOURCE_STATIC_BROKER: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

/// A topic that may be created.
struct NewTopic {
    partitions: u32,
    replication: i16,
    configs: Configs,
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
        brokers: state.broker_config(),
        budget: PartitionBudget::new(state),
        leader_epoch: state.counters.next_leader_epoch,
    };
    let mut answered = BTreeSet::new();
    for (at, topic) in request.topics.iter().enumerate() {
        let checked = if duplicates.contains(&topic.name) {
            if !answered.insert(&topic.name) {
                continue;
            }
            let text = "Duplicate topic name.";
            Err(Refusal::new(ResponseError::InvalidRequest, text))
        } else if at >= TOPICS_PER_REQUEST_MAX {
            let text = format!("More than {TOPICS_PER_REQUEST_MAX} topics in one request.");
            Err(Refusal::new(ResponseError::PolicyViolation, text))
        } else {
            creating.check(topic)
        };
        let result = match checked {
            Err(refusal) => refused(&topic.name, refusal),
            Ok(new) => {
                // Kafka answers an id also where it only checks the request.
                let created = creating.create(&topic.name, &new, rand);
                let result = succeeded(state, &topic.name, created.topic, &new);
                if !request.validate_only {
                    decided.events.push(Event::TopicCreated(created));
                }
                result
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
    brokers: BrokerConfig,
    budget: PartitionBudget<'a>,
    leader_epoch: LeaderEpoch,
}

impl Creating<'_> {
    fn check(&mut self, topic: &CreatableTopic) -> Result<NewTopic, Refusal> {
        let name = topic.name.as_str();
        if name == CLUSTER_METADATA_TOPIC {
            let text = format!("Creation of internal topic {name} is prohibited.");
            return Err(Refusal::new(ResponseError::InvalidRequest, text));
        }
        topic_name::check(name)?;
        if self.state.names.get(name).is_some() {
            let text = format!("Topic '{name}' already exists.");
            return Err(Refusal::new(ResponseError::TopicAlreadyExists, text));
        }
        if let Some(existing) = self.state.names.colliding(name) {
            return Err(Refusal::from(NameError::Collides {
                name: name.to_owned(),
                existing: existing.to_owned(),
            }));
        }
        let configs = configs_of(topic, self.state.broker_configs.effective())?;
        let (partitions, replication) = if topic.assignments.is_empty() {
            self.sizes_of(topic)?
        } else {
            assigned(topic)?
        };
        self.budget.take_topic(partitions, &configs)?;
        Ok(NewTopic {
            partitions,
            replication,
            configs,
        })
    }

    /// Partitions and replicas; what is not one of ours to refuse is checked in Kafka's order.
    fn sizes_of(&self, topic: &CreatableTopic) -> Result<(u32, i16), Refusal> {
        let replication =
            |text: String| Refusal::new(ResponseError::InvalidReplicationFactor, text);
        let invalid = |text: String| Refusal::new(ResponseError::InvalidPartitions, text);
        let factor = topic.replication_factor;
        if factor < -1 || factor == 0 {
            let text = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(replication(text.to_owned()));
        }
        let partitions = match topic.num_partitions {
            -1 => self.brokers.num_partitions,
            asked => u32::try_from(asked).unwrap_or(0),
        };
        if partitions == 0 {
            let text = "Number of partitions was set to an invalid non-positive value.";
            return Err(invalid(text.to_owned()));
        }
        if partitions > TOPIC_PARTITIONS_MAX {
            return Err(invalid(format!(
                "Number of partitions must not be over {TOPIC_PARTITIONS_MAX}."
            )));
        }
        match factor {
            -1 => Ok((partitions, self.brokers.default_replication_factor)),
            1 | 3 => Ok((partitions, factor)),
            asked => Err(replication(format!(
                "Unable to replicate the partition {asked} time(s): the bucket is the replica; use -1, 1 or 3."
            ))),
        }
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
            if uuid.as_bytes()[0] >> 2 != 0b11_1110 && self.state.any_topic(id).is_none() {
                return id;
            }
        }
    }
}

/// Partitions and replicas of a manual assignment.
fn assigned(topic: &CreatableTopic) -> Result<(u32, i16), Refusal> {
    let request = |text: &str| Refusal::new(ResponseError::InvalidRequest, text);
    let invalid = |text: String| Refusal::new(ResponseError::InvalidReplicaAssignment, text);
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
    let mut replicas = None;
    for partition in &topic.assignments {
        if !indexes.insert(partition.partition_index) {
            return Err(invalid(format!(
                "Found multiple manual partition assignments for partition {}",
                partition.partition_index
            )));
        }
        assignment::check(&partition.broker_ids, replicas)?;
        replicas = Some(partition.broker_ids.len());
    }
    if !indexes.iter().copied().eq((0i32..).take(indexes.len())) {
        let text = "partitions should be a consecutive 0-based integer sequence";
        return Err(invalid(text.to_owned()));
    }
    let partitions = u32::try_from(indexes.len())
        .ok()
        .filter(|count| *count <= TOPIC_PARTITIONS_MAX);
    let Some(partitions) = partitions else {
        let text = format!("Number of partitions must not be over {TOPIC_PARTITIONS_MAX}.");
        return Err(Refusal::new(ResponseError::InvalidPartitions, text));
    };
    let replicas = i16::try_from(replicas.unwrap_or(0))
        .map_err(|_| invalid("The replica lists are too long.".to_owned()))?;
    Ok((partitions, replicas))
}

fn configs_of(topic: &CreatableTopic, broker_configs: &Configs) -> Result<Configs, Refusal> {
    let invalid = |text: String| Refusal::new(ResponseError::InvalidConfig, text);
    let nulls = topic.configs.iter().filter(|entry| entry.value.is_none());
    let nulls: Vec<&str> = nulls.map(|entry| entry.name.as_str()).collect();
    if !nulls.is_empty() {
        let names = nulls.join(",");
        return Err(invalid(format!(
            "Null value not supported for topic configs: {names}"
        )));
    }
    let mut configs = Configs::new();
    for entry in &topic.configs {
        let value = entry.value.as_ref().map_or("", StrBytes::as_str);
        alteration::check_size(value)?;
        configs.insert(entry.name.as_str().to_owned(), value.to_owned());
    }
    config::validate_all(&configs, broker_configs).map_err(|error| invalid(error.to_string()))?;
    Ok(configs)
}

fn refused(name: &TopicName, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_error_code(refusal.code())
        .with_error_message(refusal.text())
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(Some(Vec::new()))
}

fn succeeded(state: &State, name: &TopicName, id: TopicId, new: &NewTopic) -> CreatableTopicResult {
    let configs = TOPIC_CONFIGS.iter().map(|spec| {
        let (value, source) = effective(spec, &new.configs, state);
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(spec.name))
            .with_value(Some(value))
            .with_config_source(source)
    });
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_topic_id(id.0)
        .with_error_message(None)
        .with_num_partitions(i32::try_from(new.partitions).unwrap_or(i32::MAX))
        .with_replication_factor(new.replication)
        .with_configs(Some(configs.collect()))
}

/// A config's value, and where it is from.
fn effective(spec: &TopicConfigSpec, overrides: &Configs, state: &State) -> (StrBytes, i8) {
    if let Some(value) = overrides.get(spec.name) {
        return (StrBytes::from_string(value.clone()), SOURCE_TOPIC);
    }
    let layers = [
        (
            state.broker_configs.dynamic(),
            SOURCE_DYNAMIC_DEFAULT_BROKER,
        ),
        (state.broker_configs.server(), SOURCE_STATIC_BROKER),
    ];
    for (layer, source) in layers {
        for synonym in spec.synonyms {
            if let Some(value) = layer.get(synonym.name) {
                let value = synonym.convert(value).into_owned();
                return (StrBytes::from_string(value), source);
            }
        }
    }
    (StrBytes::from_static_str(spec.default), SOURCE_DEFAULT)
}
