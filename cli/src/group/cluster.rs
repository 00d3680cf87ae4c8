//! Whom to ask: the coordinator of a group, the leader of a partition.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt,
    ops::RangeInclusive,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow, bail};
use aquifer_store::{Clock, Ports};
use kafka_protocol::{
    ResponseError,
    messages::{
        FindCoordinatorRequest, MetadataRequest, MetadataResponse, TopicName,
        metadata_request::MetadataRequestTopic,
    },
    protocol::Request,
};

use crate::{
    address::authority,
    arguments::Bootstrap,
    protocol::{Connection, refusal, string},
};

/// Time between two questions to a coordinator that is on its way.
const PAUSE: Duration = Duration::from_millis(100);

/// A partition by its topic's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TopicPartition {
    pub(super) topic: String,
    pub(super) partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.topic, self.partition)
    }
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) id: i32,
    pub(super) address: String,
}

/// Addresses of partitions' leaders; None = the partition has none just now.
pub(super) type Leaders = BTreeMap<TopicPartition, Option<String>>;

/// A cluster, with connections to those of its brokers that were asked before.
pub(super) struct Cluster<'a> {
    bootstrap: &'a Bootstrap,
    clock: Arc<dyn Clock>,
    first: Connection,
    open: BTreeMap<String, Connection>,
    coordinators: BTreeMap<String, Node>,
}

impl<'a> Cluster<'a> {
    /// Connects to the first broker that answers.
    pub(super) fn open(bootstrap: &'a Bootstrap) -> Result<Self> {
        Ok(Self {
            bootstrap,
            clock: Ports::system().clock,
            first: Connection::open(bootstrap)?,
            open: BTreeMap::new(),
            coordinators: BTreeMap::new(),
        })
    }

    /// The time, in milliseconds since 1970.
    pub(super) fn unix_millis(&self) -> i64 {
        self.clock.unix_millis()
    }

    /// How long brokers may take.
    pub(super) fn timeout(&self) -> Duration {
        self.bootstrap.timeout.0
    }

    /// The connection to a broker.
    pub(super) fn at(&mut self, address: &str) -> Result<&mut Connection> {
        let timeout = self.timeout();
        match self.open.entry(address.to_owned()) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(none) => {
                let connection = Connection::open_at(address, timeout)
                    .map_err(|error| anyhow!("broker {address} does not answer: {error:#}"))?;
                Ok(none.insert(connection))
            }
        }
    }

    /// All brokers.
    pub(super) fn nodes(&mut self) -> Result<Vec<Node>> {
        let metadata = self.metadata(Vec::new())?;
        Ok(nodes(&metadata).into_values().collect())
    }

    /// Topics by their names; those that are not there are left out.
    fn metadata(&mut self, topics: Vec<MetadataRequestTopic>) -> Result<MetadataResponse> {
        let request = MetadataRequest::default()
            .with_topics(Some(topics))
            .with_allow_auto_topic_creation(false);
        self.first.call(&request, 4..=12)
    }

    /// The leaders of all partitions of these topics; of a topic that is not there none are named.
    pub(super) fn leaders(&mut self, topics: &BTreeSet<String>) -> Result<Leaders> {
        let mut leaders = Leaders::new();
        if topics.is_empty() {
            return Ok(leaders);
        }
        let named = topics
            .iter()
            .map(|name| MetadataRequestTopic::default().with_name(Some(TopicName(string(name)))));
        let metadata = self.metadata(named.collect())?;
        let nodes = nodes(&metadata);
        for topic in metadata.topics {
            let Some(name) = topic.name.map(|name| name.0.to_string()) else {
                continue;
            };
            match ResponseError::try_from_code(topic.error_code) {
                None => {}
                Some(ResponseError::UnknownTopicOrPartition) => continue,
                Some(_) => {
                    let refused = refusal(topic.error_code, None);
                    let refused = refused.map(|error| error.to_string()).unwrap_or_default();
                    bail!("topic {name} cannot be looked at: {refused}");
                }
            }
            for partition in topic.partitions {
                let at = TopicPartition {
                    topic: name.clone(),
                    partition: partition.partition_index,
                };
                let leader = nodes.get(&partition.leader_id.0);
                leaders.insert(at, leader.map(|node| node.address.clone()));
            }
        }
        Ok(leaders)
    }

    /// The coordinator of a group.
    pub(super) fn coordinator(&mut self, group: &str) -> Result<Node> {
        if let Some(node) = self.coordinators.get(group) {
            return Ok(node.clone());
        }
        let request = FindCoordinatorRequest::default()
            .with_key_type(0)
            .with_coordinator_keys(vec![string(group)]);
        let until = self.clock.now().plus(self.timeout());
        loop {
            let answer = self.first.call(&request, 4..=6)?;
            let found = answer.coordinators.into_iter().next();
            let found = found.ok_or_else(|| anyhow!("nobody says who coordinates {group}"))?;
            match refusal(found.error_code, found.error_message.as_ref()) {
                None => {
                    let port = u16::try_from(found.port).unwrap_or_default();
                    let node = Node {
                        id: found.node_id.0,
                        address: authority(&found.host, port),
                    };
                    self.coordinators.insert(group.to_owned(), node.clone());
                    return Ok(node);
                }
                Some(_) if passes(found.error_code) && self.clock.now() < until => {
                    thread::sleep(PAUSE);
                }
                Some(refused) => bail!("group {group} has no coordinator: {refused}"),
            }
        }
    }

    /// Whether the coordinator of a group knows one of these versions of a request.
    pub(super) fn knows<R: Request>(
        &mut self,
        group: &str,
        versions: &RangeInclusive<i16>,
    ) -> Result<bool> {
        let node = self.coordinator(group)?;
        Ok(self.at(&node.address)?.knows::<R>(versions))
    }

    /// Asks the coordinator of a group, again while it says (`code`) that it is not ready.
    pub(super) fn ask<R: Request>(
        &mut self,
        group: &str,
        request: &R,
        versions: RangeInclusive<i16>,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response> {
        let until = self.clock.now().plus(self.timeout());
        loop {
            let node = self.coordinator(group)?;
            let answer = self.at(&node.address)?.call(request, versions.clone())?;
            if !passes(code(&answer)) || self.clock.now() >= until {
                return Ok(answer);
            }
            self.coordinators.remove(group);
            thread::sleep(PAUSE);
        }
    }
}

fn nodes(metadata: &MetadataResponse) -> BTreeMap<i32, Node> {
    let nodes = metadata.brokers.iter().map(|broker| {
        let port = u16::try_from(broker.port).unwrap_or_default();
        let node = Node {
            id: broker.node_id.0,
            address: authority(&broker.host, port),
        };
        (node.id, node)
    });
    nodes.collect()
}

/// Whether a coordinator that says so will say something else soon.
fn passes(code: i16) -> bool {
    matches!(
        ResponseError::try_from_code(code),
        Some(
            ResponseError::CoordinatorLoadInProgress
                | ResponseError::CoordinatorNotAvailable
                | ResponseError::NotCoordinator
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinators_on_their_way_are_asked_again() {
        for (code, again) in [(0, false), (14, true), (15, true), (16, true), (25, false)] {
            assert_eq!(passes(code), again, "{code}");
        }
    }
}
