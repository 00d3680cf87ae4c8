//! The way from each agent and each compactor to the leader of the moment. It can be cut; then calls fail as unknown and
//! streams break, as they do when a connection is reset. While nobody leads, nobody answers.

use std::{collections::BTreeMap, sync::Arc};

use aquifer_format::ids::{JournalSeq, LeaderTerm, ObjectId, SessionId};
use aquifer_metadata_api::{
    CommitChannel, Metadata, MetadataError, Upkeep, WatchChannel,
    kafka::KafkaCall,
    live::LiveObjects,
    locate::{LocateReply, LocateRequest, OffsetsReply, OffsetsRequest},
    mark::JournalMark,
    register::{RegisterRequest, Registration},
    upkeep::{
        DeletedTopics, Finish, InputsReply, InputsRequest, LeaseReply, LeaseRequest, ObjectsReply,
        ObjectsRequest, Renewal, Renewed, RestoreTopic, RestoredTopic, SwapReply, SwapRequest,
    },
};
use aquifer_store::Tasks;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Calls or answers of a stream that are under way in the network.
const UNDER_WAY: usize = 16;

#[derive(Debug)]
struct Leading {
    term: LeaderTerm,
    metadata: Arc<dyn Upkeep>,
}

#[derive(Debug, Default)]
struct Way {
    cut: bool,
    /// Ends what goes over it now.
    broken: CancellationToken,
}

/// All ways.
#[derive(Debug)]
pub(super) struct Network {
    /// The network's own tasks: what is under way does not end with a node.
    tasks: Tasks,
    /// Members that say that they lead.
    leading: Mutex<BTreeMap<usize, Leading>>,
    ways: Mutex<Vec<Way>>,
}

impl Network {
    pub(super) fn new(tasks: Tasks, nodes: usize) -> Self {
        Self {
            tasks,
            leading: Mutex::default(),
            ways: Mutex::new((0..nodes).map(|_| Way::default()).collect()),
        }
    }

    /// A member leads from now on; the others find it, and leave the one before.
    pub(super) fn lead(&self, member: usize, term: LeaderTerm, metadata: Arc<dyn Upkeep>) {
        let leading = Leading { term, metadata };
        self.leading.lock().insert(member, leading);
        self.break_all();
    }

    /// A member does not lead any more.
    pub(super) fn gone(&self, member: usize) {
        if self.leading.lock().remove(&member).is_some() {
            self.break_all();
        }
    }

    fn break_all(&self) {
        let nodes = self.ways.lock().len();
        (0..nodes).for_each(|node| self.reset(node));
    }

    /// Breaks what a node has under way.
    pub(super) fn reset(&self, node: usize) {
        let way = &mut self.ways.lock()[node];
        std::mem::take(&mut way.broken).cancel();
    }

    /// Cuts a node off, or lets it through again.
    pub(super) fn cut(&self, node: usize, cut: bool) {
        self.ways.lock()[node].cut = cut;
        self.reset(node);
    }

    /// The way of one node.
    pub(super) fn of_node(self: &Arc<Self>, node: usize) -> Arc<dyn Upkeep> {
        Arc::new(OfNode {
            network: Arc::clone(self),
            node,
        })
    }
}

#[derive(Debug)]
struct OfNode {
    network: Arc<Network>,
    node: usize,
}

fn unavailable(reason: &str, may_have_happened: bool) -> MetadataError {
    MetadataError::Unavailable {
        reason: reason.to_owned(),
        may_have_happened,
    }
}

impl OfNode {
    fn way(&self) -> Result<(Arc<dyn Upkeep>, CancellationToken), MetadataError> {
        let broken = {
            let way = &self.network.ways.lock()[self.node];
            if way.cut {
                return Err(unavailable("the network is cut", false));
            }
            way.broken.clone()
        };
        let leading = self.network.leading.lock();
        let newest = leading.values().max_by_key(|leading| leading.term);
        let newest = newest.ok_or_else(|| unavailable("there is no leader", false))?;
        Ok((Arc::clone(&newest.metadata), broken))
    }

    /// Calls the leader, and says by what token the way breaks.
    async fn call<T, F>(
        &self,
        call: impl FnOnce(Arc<dyn Upkeep>) -> F + Send,
    ) -> Result<(T, CancellationToken), MetadataError>
    where
        F: Future<Output = Result<T, MetadataError>> + Send,
    {
        let (leader, broken) = self.way()?;
        tokio::select! {
            biased;
            () = broken.cancelled() => Err(unavailable("the connection was reset", true)),
            answered = call(leader) => answered.map(|answer| (answer, broken)),
        }
    }

    /// Carries items until either end closes or the way breaks.
    fn carry<T: Send + 'static>(
        &self,
        broken: &CancellationToken,
        mut from: mpsc::Receiver<T>,
        to: mpsc::Sender<T>,
    ) {
        let broken = broken.clone();
        self.network.tasks.spawn(async move {
            loop {
                let item = tokio::select! {
                    biased;
                    () = broken.cancelled() => return,
                    () = to.closed() => return,
                    item = from.recv() => item,
                };
                let Some(item) = item else { return };
                tokio::select! {
                    biased;
                    () = broken.cancelled() => return,
                    sent = to.send(item) => if sent.is_err() { return },
                }
            }
        });
    }
}

#[async_trait]
impl Metadata for OfNode {
    async fn register(&self, request: RegisterRequest) -> Result<Registration, MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.register(request).await };
        Ok(self.call(call).await?.0)
    }

    async fn commits(&self, session: SessionId) -> Result<CommitChannel, MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.commits(session).await };
        let (opened, broken) = self.call(call).await?;
        let (calls, from_agent) = mpsc::channel(UNDER_WAY);
        let (to_agent, answers) = mpsc::channel(UNDER_WAY);
        self.carry(&broken, from_agent, opened.calls);
        self.carry(&broken, opened.answers, to_agent);
        Ok(CommitChannel { calls, answers })
    }

    async fn locate(&self, request: LocateRequest) -> Result<LocateReply, MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.locate(request).await };
        Ok(self.call(call).await?.0)
    }

    async fn offsets(&self, request: OffsetsRequest) -> Result<OffsetsReply, MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.offsets(request).await };
        Ok(self.call(call).await?.0)
    }

    async fn barrier(&self) -> Result<(LeaderTerm, JournalSeq), MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.barrier().await };
        Ok(self.call(call).await?.0)
    }

    async fn live_objects(&self, objects: Vec<ObjectId>) -> Result<LiveObjects, MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.live_objects(objects).await };
        Ok(self.call(call).await?.0)
    }

    async fn watch(
        &self,
        session: SessionId,
        seen: Option<JournalMark>,
    ) -> Result<WatchChannel, MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.watch(session, seen).await };
        let (opened, broken) = self.call(call).await?;
        let (interests, from_agent) = mpsc::channel(UNDER_WAY);
        let (to_agent, frames) = mpsc::channel(UNDER_WAY);
        self.carry(&broken, from_agent, opened.interests);
        self.carry(&broken, opened.frames, to_agent);
        Ok(WatchChannel { interests, frames })
    }

    async fn kafka(&self, call: KafkaCall) -> Result<Bytes, MetadataError> {
        let send = |leader: Arc<dyn Upkeep>| async move { leader.kafka(call).await };
        Ok(self.call(send).await?.0)
    }
}

#[async_trait]
impl Upkeep for OfNode {
    async fn lease_job(&self, request: LeaseRequest) -> Result<LeaseReply, MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.lease_job(request).await };
        Ok(self.call(call).await?.0)
    }

    async fn renew_job(&self, renewal: Renewal) -> Result<Renewed, MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.renew_job(renewal).await };
        Ok(self.call(call).await?.0)
    }

    async fn job_inputs(&self, request: InputsRequest) -> Result<InputsReply, MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.job_inputs(request).await };
        Ok(self.call(call).await?.0)
    }

    async fn swap(&self, request: SwapRequest) -> Result<SwapReply, MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.swap(request).await };
        Ok(self.call(call).await?.0)
    }

    async fn finish_job(&self, finish: Finish) -> Result<(), MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.finish_job(finish).await };
        self.call(call).await?;
        Ok(())
    }

    async fn objects(&self, request: ObjectsRequest) -> Result<ObjectsReply, MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.objects(request).await };
        Ok(self.call(call).await?.0)
    }

    async fn deleted_topics(&self) -> Result<DeletedTopics, MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.deleted_topics().await };
        Ok(self.call(call).await?.0)
    }

    async fn restore_topic(&self, request: RestoreTopic) -> Result<RestoredTopic, MetadataError> {
        let call = |leader: Arc<dyn Upkeep>| async move { leader.restore_topic(request).await };
        Ok(self.call(call).await?.0)
    }
}
