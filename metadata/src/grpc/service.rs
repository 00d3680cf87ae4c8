//! The calls.

use std::sync::Arc;

use aquifer_format::ids::SessionId;
use aquifer_metadata_api::{
    Metadata, MetadataError,
    grpc::{
        CompactionBacklog, Leading, ProcessRole, ProcessStatus, TERM_HEADER, malformed, not_leader,
        proto::{self, commits_call, metadata_server, watch_call},
        status_of, wire,
    },
};
use aquifer_store::Ports;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    codegen::tokio_stream::wrappers::ReceiverStream,
    metadata::{MetadataMap, MetadataValue},
};

use super::{sealed::SealedFrames, streams};
use crate::{local::LocalMetadata, planner::Backlog, role::Role};

/// Why a process that is going down does not serve.
const STOPPING: &str = "the process is stopping";

/// Answers calls as whoever this process is.
#[derive(Clone, Debug)]
pub(super) struct Service {
    ports: Ports,
    role: watch::Receiver<Role>,
    stopping: CancellationToken,
    sealed: Arc<SealedFrames>,
}

impl Service {
    pub(super) fn new(
        ports: Ports,
        role: watch::Receiver<Role>,
        stopping: CancellationToken,
        sealed: Arc<SealedFrames>,
    ) -> Self {
        Self {
            ports,
            role,
            stopping,
            sealed,
        }
    }

    /// The leader, if this process is it.
    pub(super) fn leader(&self) -> Result<Arc<LocalMetadata>, Status> {
        if self.stopping.is_cancelled() {
            return Err(not_leader(None, STOPPING));
        }
        match &*self.role.borrow() {
            Role::Leader(leader) => Ok(Arc::clone(leader)),
            Role::Standby { leader } => Err(not_leader(leader.as_deref(), "")),
            Role::Refusing { reason } => Err(status_of(&MetadataError::LostRows {
                reason: reason.clone(),
            })),
        }
    }

    /// Returns, with what to tell the caller, when `leader` leads no more or the process stops.
    pub(super) fn end_of(
        &self,
        leader: &Arc<LocalMetadata>,
    ) -> impl Future<Output = Status> + Send + 'static {
        let (mut role, stopping) = (self.role.clone(), self.stopping.clone());
        let leader = Arc::downgrade(leader);
        async move {
            let ended = async {
                let is_another = |role: &Role| match role {
                    Role::Leader(now) => !std::ptr::eq(Arc::as_ptr(now), leader.as_ptr()),
                    Role::Standby { .. } | Role::Refusing { .. } => true,
                };
                match role.wait_for(is_another).await {
                    Ok(role) => status_of_role(&role),
                    Err(_) => not_leader(None, STOPPING),
                }
            };
            tokio::select! {
                biased;
                () = stopping.cancelled() => not_leader(None, STOPPING),
                ended = ended => ended,
            }
        }
    }
}

/// How a stream of a leader ends whose process has this role now. (Where that is to refuse, the next call
/// is told more.)
fn status_of_role(role: &Role) -> Status {
    match role {
        Role::Leader(_) => not_leader(None, "another leader of this process took over"),
        Role::Standby { leader } => not_leader(leader.as_deref(), ""),
        Role::Refusing { reason } => not_leader(None, reason),
    }
}

/// An answer, with the leader's term.
pub(super) fn answered<T>(leader: &LocalMetadata, message: T) -> Response<T> {
    let mut response = Response::new(message);
    add_term(response.metadata_mut(), leader);
    response
}

/// An error of the leader's, with its term where it says something of the state. (That a call did not
/// happen stays true after the leader was deposed.)
pub(super) fn failed(leader: &LocalMetadata) -> impl FnOnce(MetadataError) -> Status {
    move |error| {
        let mut status = status_of(&error);
        if !matches!(error, MetadataError::Unavailable { .. }) {
            add_term(status.metadata_mut(), leader);
        }
        status
    }
}

fn add_term(to: &mut MetadataMap, leader: &LocalMetadata) {
    to.insert(TERM_HEADER, MetadataValue::from(leader.facts().term.0));
}

/// As the wire has it.
fn backlog_of(backlog: Backlog) -> CompactionBacklog {
    CompactionBacklog {
        small_objects: backlog.small_objects,
        small_bytes: backlog.small_bytes,
        small_age_epochs: backlog.small_age_epochs,
        ranges: backlog.partitions,
        dirty_logs: backlog.dirty_logs,
        deletable_objects: backlog.deletable_objects,
    }
}

/// The first call of a stream.
async fn first<T>(calls: &mut Streaming<T>) -> Result<T, Status> {
    let first = calls.message().await?;
    first.ok_or_else(|| malformed(wire::Malformed("a stream ended before it was opened")))
}

#[tonic::async_trait]
impl metadata_server::Metadata for Service {
    type CommitsStream = ReceiverStream<Result<proto::CommitAnswer, Status>>;
    type WatchStream = ReceiverStream<Result<proto::WatchFrame, Status>>;

    async fn status(
        &self,
        _: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusReply>, Status> {
        let stopping = self.stopping.is_cancelled();
        let status = match &*self.role.borrow() {
            Role::Leader(_) if stopping => ProcessStatus {
                role: ProcessRole::Standby,
                leader: None,
            },
            Role::Leader(leader) => {
                let facts = leader.facts();
                ProcessStatus {
                    role: ProcessRole::Leader(Leading {
                        term: facts.term,
                        seq: facts.durable(),
                        cluster: facts.cluster,
                        incarnation: facts.incarnation,
                        backlog: facts.backlog().map(backlog_of),
                    }),
                    leader: Some(facts.endpoint.clone()),
                }
            }
            Role::Standby { leader } => ProcessStatus {
                role: ProcessRole::Standby,
                leader: leader.clone(),
            },
            Role::Refusing { reason } => ProcessStatus {
                role: ProcessRole::Refusing {
                    reason: reason.clone(),
                },
                leader: None,
            },
        };
        Ok(Response::new(wire::status_to(&status)))
    }

    async fn register(
        &self,
        request: Request<proto::RegisterRequest>,
    ) -> Result<Response<proto::RegisterReply>, Status> {
        let leader = self.leader()?;
        let request = wire::register_from(request.into_inner()).map_err(malformed)?;
        let registration = leader.register(request).await.map_err(failed(&leader))?;
        Ok(answered(&leader, wire::registration_to(&registration)))
    }

    async fn commits(
        &self,
        request: Request<Streaming<proto::CommitsCall>>,
    ) -> Result<Response<Self::CommitsStream>, Status> {
        let leader = self.leader()?;
        let ended = self.end_of(&leader);
        let mut calls = request.into_inner();
        let Some(commits_call::Kind::Open(session)) = first(&mut calls).await?.kind else {
            return Err(malformed(wire::Malformed(
                "a stream of commits does not begin with its session",
            )));
        };
        let channel = leader
            .commits(SessionId(session))
            .await
            .map_err(failed(&leader))?;
        let answers = streams::commits(&self.ports, calls, channel, ended);
        Ok(answered(&leader, ReceiverStream::new(answers)))
    }

    async fn locate(
        &self,
        request: Request<proto::LocateRequest>,
    ) -> Result<Response<proto::LocateReply>, Status> {
        let leader = self.leader()?;
        let request = wire::locate_from(request.into_inner()).map_err(malformed)?;
        let reply = leader.locate(request).await.map_err(failed(&leader))?;
        Ok(answered(&leader, wire::locate_reply_to(&reply)))
    }

    async fn offsets(
        &self,
        request: Request<proto::OffsetsRequest>,
    ) -> Result<Response<proto::OffsetsReply>, Status> {
        let leader = self.leader()?;
        let request = wire::offsets_from(request.into_inner()).map_err(malformed)?;
        let reply = leader.offsets(request).await.map_err(failed(&leader))?;
        Ok(answered(&leader, wire::offsets_reply_to(&reply)))
    }

    async fn barrier(
        &self,
        _: Request<proto::BarrierRequest>,
    ) -> Result<Response<proto::BarrierReply>, Status> {
        let leader = self.leader()?;
        let (term, seq) = leader.barrier().await.map_err(failed(&leader))?;
        let reply = proto::BarrierReply {
            term: term.0,
            seq: seq.0,
        };
        Ok(answered(&leader, reply))
    }

    async fn live_objects(
        &self,
        request: Request<proto::LiveObjectsRequest>,
    ) -> Result<Response<proto::LiveObjectsReply>, Status> {
        let leader = self.leader()?;
        let objects = wire::live_from(request.get_ref()).map_err(malformed)?;
        let reply = leader
            .live_objects(objects)
            .await
            .map_err(failed(&leader))?;
        Ok(answered(&leader, wire::live_reply_to(&reply)))
    }

    async fn watch(
        &self,
        request: Request<Streaming<proto::WatchCall>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let leader = self.leader()?;
        let ended = self.end_of(&leader);
        let mut calls = request.into_inner();
        let Some(watch_call::Kind::Open(open)) = first(&mut calls).await?.kind else {
            return Err(malformed(wire::Malformed(
                "a watch does not begin with its session",
            )));
        };
        let (session, seen) = wire::open_watch_from(open).map_err(malformed)?;
        let channel = leader.watch(session, seen).await.map_err(failed(&leader))?;
        let sealed = Arc::clone(&self.sealed);
        let frames = streams::watch(&self.ports, calls, channel, sealed, ended);
        Ok(answered(&leader, ReceiverStream::new(frames)))
    }

    async fn kafka(
        &self,
        request: Request<proto::KafkaRequest>,
    ) -> Result<Response<proto::KafkaReply>, Status> {
        let leader = self.leader()?;
        let call = wire::kafka_from(request.into_inner()).map_err(malformed)?;
        let body = leader.kafka(call).await.map_err(failed(&leader))?;
        Ok(answered(&leader, proto::KafkaReply { body }))
    }
}
