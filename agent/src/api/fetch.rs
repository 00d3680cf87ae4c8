//! Fetch, versions 4 to 18 (13 names topics by id; 4 is the first with record batches).
//!
//! Any agent answers for any partition. Fetch sessions (KIP-227) are kept in a bounded cache of this
//! agent. No preferred read replica (KIP-392) is named: every agent reads the same bucket, and Metadata
//! names agents of the client's zone already. Where a client has to learn who leads, versions 16 and
//! later are told so (KIP-951).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aquifer_format::ids::{PartitionId, TopicId};
use aquifer_store::Ports;
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::fetch_request::{FetchRequest, FetchTopic},
};
use tokio::sync::OwnedSemaphorePermit;

use super::{Close, Reply, RequestContext, nodes::Nodes};
use crate::{
    broker::Broker,
    fence::Fence,
    fetch::{
        Endpoint, FetchAnswer, FetchPath, Fetched, Limits, PartitionAnswer, SessionRequest,
        TopicKey, Wanted,
    },
    view::View,
};

/// First version that names topics by id (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;
/// First version with sessions.
const SESSION_VERSION: i16 = 7;
/// First version that tells a client who leads.
const LEADER_VERSION: i16 = 12;

/// Answers a request; waits up to its `max_wait_ms` for its `min_bytes`.
pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let serving = Serving {
        path: &broker.fetch,
        view: &broker.view,
        ports: &broker.ports,
        fence: Some(&broker.fence),
        nodes: Nodes::of(broker, ctx),
    };
    fetch(serving, ctx, body).await
}

/// What a fetch needs of the agent.
pub(crate) struct Serving<'a> {
    pub(crate) path: &'a FetchPath,
    pub(crate) view: &'a View,
    pub(crate) ports: &'a Ports,
    /// None = it is never fenced.
    pub(crate) fence: Option<&'a Fence>,
    pub(crate) nodes: Nodes,
}

impl Serving<'_> {
    /// Returns when, or if, the agent is fenced.
    async fn fenced(&self) {
        match self.fence {
            Some(fence) if fence.check().is_ok() => {
                fence.fenced().await;
            }
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

pub(crate) async fn fetch(
    serving: Serving<'_>,
    ctx: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let (path, ports) = (serving.path, serving.ports);
    let request: FetchRequest = ctx.decode(body)?;
    let version = ctx.api_version;
    ctx.connection.note_rack(&request.rack_id);
    // A copy: the name would pin its whole frame.
    let rack = request.rack_id.to_string();
    let limits = limits(&request, path, ports);
    let (context, wanted) = match path.sessions().open(session_request(request, version)) {
        Ok(opened) => opened,
        Err(code) => return Ok(reply(&FetchAnswer::error(code.code()), version, None)),
    };
    let fetched = tokio::select! {
        biased;
        () = serving.fenced() => Some(moved(&wanted)),
        fetched = path.fetch(&wanted, limits, &ctx.connection) => fetched,
    };
    let Some(mut fetched) = fetched else {
        return Ok(Reply::Nothing);
    };
    let session_id = path.sessions().close(context, wanted, &mut fetched.answers);
    let mut answer = FetchAnswer {
        session_id,
        committed: limits.committed,
        partitions: fetched.answers,
        ..FetchAnswer::default()
    };
    if version >= LEADER_VERSION {
        let nodes = serving.nodes.with_rack(&rack);
        name_leaders(&mut answer, serving.view, &nodes);
    }
    Ok(reply(&answer, version, fetched.permit))
}

/// Every partition is another agent's.
fn moved(wanted: &[Wanted]) -> Fetched {
    let code = ResponseError::NotLeaderOrFollower.code();
    let answers = wanted
        .iter()
        .map(|wanted| PartitionAnswer::error(wanted.topic.clone(), wanted.index, code))
        .collect();
    Fetched {
        answers,
        permit: None,
    }
}

fn limits(request: &FetchRequest, path: &FetchPath, ports: &Ports) -> Limits {
    let number = |value: i32| u64::try_from(value).unwrap_or(0);
    let settings = path.settings();
    let bytes_max = number(request.max_bytes).min(u64::from(settings.response_bytes_max));
    let wait = Duration::from_millis(number(request.max_wait_ms)).min(settings.wait_max);
    Limits {
        bytes_min: number(request.min_bytes).min(bytes_max),
        bytes_max,
        until: ports.clock.now().plus(wait),
        committed: request.isolation_level == 1,
    }
}

fn session_request(request: FetchRequest, version: i16) -> SessionRequest {
    let by_id = version >= TOPIC_ID_VERSION;
    let key = |name: &str, id: uuid::Uuid| {
        if by_id {
            TopicKey::Id(TopicId(id))
        } else {
            // A copy: kept in a session, the name would pin its whole frame.
            TopicKey::Name(name.into())
        }
    };
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let key = key(&topic.topic, topic.topic_id);
        wanted.extend(wanted_of(&key, topic));
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let key = key(&topic.topic, topic.topic_id);
        forgotten.extend(topic.partitions.iter().map(|index| (key.clone(), *index)));
    }
    let (id, epoch) = if version >= SESSION_VERSION {
        (request.session_id, request.session_epoch)
    } else {
        (0, -1)
    };
    SessionRequest {
        id,
        epoch,
        by_id,
        wanted,
        forgotten,
    }
}

fn wanted_of<'a>(key: &'a TopicKey, topic: &'a FetchTopic) -> impl Iterator<Item = Wanted> + 'a {
    topic.partitions.iter().map(|partition| Wanted {
        topic: key.clone(),
        index: partition.partition,
        leader_epoch: partition.current_leader_epoch,
        offset: partition.fetch_offset,
        bytes_max: partition.partition_max_bytes,
    })
}

/// Tells who leads the partitions whose error means that the client has it wrong.
fn name_leaders(answer: &mut FetchAnswer, view: &View, nodes: &Nodes) {
    let candidates = nodes.candidates();
    let mut endpoints = BTreeMap::new();
    for partition in &mut answer.partitions {
        let names_leader = partition.error == ResponseError::NotLeaderOrFollower.code()
            || partition.error == ResponseError::FencedLeaderEpoch.code();
        if !names_leader {
            continue;
        }
        let Some((id, epoch)) = resolve(partition, view) else {
            continue;
        };
        if let Some(node) = candidates.leader(id) {
            partition.leader = Some((node.id(), epoch));
            endpoints.entry(node.id()).or_insert_with(|| Endpoint {
                node: node.id(),
                host: nodes.host(&node).to_string(),
                port: node.port(),
                rack: nodes.rack(&node).map(|rack| rack.to_string()),
            });
        }
    }
    answer.endpoints = endpoints.into_values().collect();
}

fn resolve(partition: &PartitionAnswer, view: &View) -> Option<(PartitionId, i32)> {
    let topic = match &partition.topic {
        TopicKey::Id(id) => view.topic_by_id(*id),
        TopicKey::Name(name) => view.topic_by_name(name),
    }?;
    let id = topic.partition(partition.index)?;
    Some((id, topic.view.leader_epoch.0))
}

/// The encoded answer; its first piece carries the right to hold its bytes, which ends when that is
/// written and dropped.
fn reply(answer: &FetchAnswer, version: i16, permit: Option<OwnedSemaphorePermit>) -> Reply {
    let mut pieces = answer.encode(version);
    if let Some(permit) = permit
        && let Some(last) = pieces.last_mut()
    {
        let bytes = std::mem::take(last);
        *last = Bytes::from_owner(Held {
            bytes,
            _permit: permit,
        });
    }
    Reply::Body(pieces)
}

struct Held {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
