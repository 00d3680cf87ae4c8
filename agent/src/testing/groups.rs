//! A metadata leader that answers calls of groups as a test says, and all others as the fake does.

use std::{fmt, sync::Arc, time::Duration};

use aquifer_format::ids::{JournalSeq, LeaderTerm, ObjectId, SessionId};
use aquifer_metadata_api::{
    CommitChannel, Metadata, MetadataError, WatchChannel,
    fake::Fake,
    kafka::{KafkaCall, LeaderApi, pinned_version},
    live::LiveObjects,
    locate::{LocateReply, LocateRequest, OffsetsReply, OffsetsRequest},
    mark::JournalMark,
    register::{RegisterRequest, Registration},
};
use aquifer_store::{Ports, memory::MemoryStore};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};
use parking_lot::Mutex;

use crate::{broker::Broker, settings::AgentSettings};

/// What becomes of a call.
pub(crate) enum Outcome {
    /// It is answered.
    Answer(Bytes),
    /// It has no answer.
    Fail(MetadataError),
    /// It is answered after a while.
    After(Duration, Bytes),
    /// It waits for ever.
    Never,
}

type Script = Box<dyn Fn(usize, &KafkaCall) -> Outcome + Send + Sync>;

/// The leader.
pub(crate) struct GroupLeader {
    fake: Arc<Fake>,
    ports: Ports,
    script: Script,
    calls: Mutex<Vec<KafkaCall>>,
}

impl fmt::Debug for GroupLeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupLeader").finish_non_exhaustive()
    }
}

impl GroupLeader {
    /// What answers all other calls.
    pub(crate) fn fake(&self) -> &Arc<Fake> {
        &self.fake
    }

    /// Every call of a group so far.
    pub(crate) fn calls(&self) -> Vec<KafkaCall> {
        self.calls.lock().clone()
    }

    /// The body of the last call.
    pub(crate) fn last<Q: Decodable>(&self) -> Q {
        let calls = self.calls.lock();
        request(calls.last().expect("there was a call"))
    }
}

/// A broker whose leader answers calls of groups by `script`, which is given the number of the call.
pub(crate) async fn broker(
    settings: AgentSettings,
    ports: Ports,
    script: impl Fn(usize, &KafkaCall) -> Outcome + Send + Sync + 'static,
) -> (Arc<Broker>, Arc<GroupLeader>) {
    let leader = Arc::new(GroupLeader {
        fake: Fake::new(),
        ports: ports.clone(),
        script: Box::new(script),
        calls: Mutex::default(),
    });
    let metadata = Arc::clone(&leader);
    let store = Arc::new(MemoryStore::new());
    let broker = Broker::start(settings, ports, metadata, store, None)
        .await
        .expect("the fake refuses nobody");
    (broker, leader)
}

/// The body of a call.
pub(crate) fn request<Q: Decodable>(call: &KafkaCall) -> Q {
    let mut body = call.body.clone();
    let request = Q::decode(&mut body, pinned_version(call.api));
    let request = request.unwrap_or_else(|e| panic!("{:?}: {e}", call.api));
    assert!(body.is_empty(), "{:?}: {body:?} is left", call.api);
    request
}

/// An answer to a call of `api`.
pub(crate) fn answer<A: Encodable>(api: LeaderApi, answer: &A) -> Outcome {
    Outcome::Answer(encoded(api, answer))
}

/// The body of an answer to a call of `api`.
pub(crate) fn encoded<A: Encodable>(api: LeaderApi, answer: &A) -> Bytes {
    let mut body = BytesMut::new();
    let encoded = answer.encode(&mut body, pinned_version(api));
    encoded.unwrap_or_else(|e| panic!("{api:?}: {e}"));
    body.freeze()
}

/// A failure that may be repeated.
pub(crate) fn unavailable(may_have_happened: bool) -> MetadataError {
    MetadataError::Unavailable {
        reason: "the test says so".to_owned(),
        may_have_happened,
    }
}

fn is_of_groups(api: LeaderApi) -> bool {
    !matches!(
        api,
        LeaderApi::CreateTopics
            | LeaderApi::DeleteTopics
            | LeaderApi::InitProducerId
            | LeaderApi::CreatePartitions
            | LeaderApi::AlterConfigs
            | LeaderApi::IncrementalAlterConfigs
            | LeaderApi::DeleteRecords
            | LeaderApi::DescribeProducers
            | LeaderApi::DescribeLogDirs
    )
}

#[async_trait]
impl Metadata for GroupLeader {
    async fn register(&self, request: RegisterRequest) -> Result<Registration, MetadataError> {
        self.fake.register(request).await
    }

    async fn commits(&self, session: SessionId) -> Result<CommitChannel, MetadataError> {
        self.fake.commits(session).await
    }

    async fn locate(&self, request: LocateRequest) -> Result<LocateReply, MetadataError> {
        self.fake.locate(request).await
    }

    async fn offsets(&self, request: OffsetsRequest) -> Result<OffsetsReply, MetadataError> {
        self.fake.offsets(request).await
    }

    async fn barrier(&self) -> Result<(LeaderTerm, JournalSeq), MetadataError> {
        self.fake.barrier().await
    }

    async fn live_objects(&self, objects: Vec<ObjectId>) -> Result<LiveObjects, MetadataError> {
        self.fake.live_objects(objects).await
    }

    async fn watch(
        &self,
        session: SessionId,
        seen: Option<JournalMark>,
    ) -> Result<WatchChannel, MetadataError> {
        self.fake.watch(session, seen).await
    }

    async fn kafka(&self, call: KafkaCall) -> Result<Bytes, MetadataError> {
        if !is_of_groups(call.api) {
            return self.fake.kafka(call).await;
        }
        let outcome = {
            let mut calls = self.calls.lock();
            calls.push(call.clone());
            (self.script)(calls.len() - 1, &call)
        };
        match outcome {
            Outcome::Answer(body) => Ok(body),
            Outcome::Fail(error) => Err(error),
            Outcome::After(delay, body) => {
                self.ports.sleep(delay).await;
                Ok(body)
            }
            Outcome::Never => std::future::pending().await,
        }
    }
}
