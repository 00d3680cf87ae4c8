//! The world of a simulation: nodes that can be killed and started, the bucket, the journal, the clock.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use aquifer_agent::{broker::Broker, produce::settings::Compute, settings::AgentSettings};
use aquifer_metadata::journal::memory::MemoryJournal;
use aquifer_metadata_api::register::AgentAddress;
use aquifer_store::{
    ObjectStore, Ports, Tasks,
    faults::{Faults, FaultyStore},
    location::Wrapping,
    memory::MemoryStore,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::{
    Outcome, Plan, chaos, checker::History, client, client::Link, compactors, groups::Groups,
    member::Member, network::Network,
};

/// The topic of all simulations.
pub(super) const TOPIC: &str = "simulated";

/// Virtual time after which a client that has not ended is called stuck: once it is calm, a stock client
/// needs two of its own time-outs of 30 s at most.
const STUCK: Duration = Duration::from_secs(120);
/// Virtual time that trouble lasts at most.
const TROUBLE: Duration = Duration::from_secs(240);

struct Agent {
    tasks: Tasks,
    broker: Arc<Broker>,
}

/// Everything there is.
pub(super) struct World {
    pub(super) plan: Plan,
    /// The world's own time, randomness and tasks.
    pub(super) ports: Ports,
    pub(super) faults: Faults,
    pub(super) journal: Arc<MemoryJournal>,
    pub(super) bucket: Arc<dyn ObjectStore>,
    pub(super) network: Arc<Network>,
    members: Mutex<Vec<Option<Member>>>,
    agents: Mutex<Vec<Option<Agent>>>,
    compactors: Mutex<Vec<Option<Tasks>>>,
    history: Mutex<History>,
    groups: Mutex<Groups>,
    trace: Mutex<Vec<String>>,
    calm: AtomicBool,
    kills: AtomicU64,
    produced: AtomicU64,
    merged: AtomicUsize,
}

impl World {
    /// A world with a leader, agents and the topic.
    pub(super) async fn start(plan: Plan) -> Arc<Self> {
        let ports = Ports::simulated(plan.seed, 1_700_000_000_000);
        let faults = Faults::new(chaos::slow_bucket());
        let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let bucket = Arc::new(FaultyStore::new(memory, ports.clone(), faults.clone()));
        let world = Arc::new(Self {
            plan,
            faults,
            journal: Arc::new(MemoryJournal::new(Arc::clone(&ports.clock))),
            bucket,
            network: Arc::new(Network::new(ports.tasks.clone(), plan.nodes())),
            members: Mutex::new((0..plan.members).map(|_| None).collect()),
            agents: Mutex::new((0..plan.agents).map(|_| None).collect()),
            compactors: Mutex::new((0..plan.compactors).map(|_| None).collect()),
            history: Mutex::default(),
            groups: Mutex::default(),
            trace: Mutex::default(),
            calm: AtomicBool::new(false),
            kills: AtomicU64::new(0),
            produced: AtomicU64::new(0),
            merged: AtomicUsize::new(0),
            ports,
        });
        (0..plan.members).for_each(|member| world.start_member(member));
        for agent in 0..plan.agents {
            world.start_agent(agent).await;
        }
        (0..plan.compactors).for_each(|compactor| world.start_compactor(compactor));
        client::create_topic(&world, plan.partitions).await;
        world
    }

    /// The bucket as the processes have it: with all wrappers.
    pub(super) fn store(&self, ports: &Ports) -> Arc<dyn ObjectStore> {
        Wrapping::default().around(Arc::clone(&self.bucket), ports)
    }

    pub(super) fn start_member(self: &Arc<Self>, index: usize) {
        self.members.lock()[index] = Some(Member::start(self, index));
    }

    pub(super) fn kill_member(&self, index: usize) {
        self.kills.fetch_add(1, Ordering::Relaxed);
        if let Some(member) = self.members.lock()[index].take() {
            member.tasks.kill();
        }
        self.network.gone(index);
    }

    /// Stops a member as SIGTERM does.
    pub(super) async fn stop_member(&self, index: usize) {
        let stopping = self.members.lock()[index]
            .as_ref()
            .map(|member| Arc::clone(&member.process));
        if let Some(member) = stopping {
            // a member that cannot stop in time is killed
            let patience = Duration::from_secs(4);
            self.ports.timeout(patience, member.stop()).await;
        }
        self.kill_member(index);
    }

    /// The tasks of a member that is there.
    pub(super) fn member(&self, index: usize) -> Option<Tasks> {
        let members = self.members.lock();
        members[index].as_ref().map(|member| member.tasks.clone())
    }

    /// The tasks of an agent that is there.
    pub(super) fn agent(&self, index: usize) -> Option<Tasks> {
        let agents = self.agents.lock();
        agents[index].as_ref().map(|agent| agent.tasks.clone())
    }

    pub(super) async fn start_agent(&self, index: usize) {
        let ports = self.ports.another_node();
        let tasks = ports.tasks.clone();
        let store = self.store(&ports);
        let mut settings = AgentSettings::new(AgentAddress {
            host: "127.0.0.1".to_owned(),
            port: 9092 + u16::try_from(index).expect("few agents"),
            node_ids: 1,
            zone: ["a", "b", "c"][index % 3].to_owned(),
            peer: String::new(),
        });
        settings.produce.compute = Compute::Inline;
        let metadata = self.network.of_node(index);
        let broker = Broker::start(settings, ports, metadata, store, None).await;
        let broker = broker.expect("an agent starts");
        self.agents.lock()[index] = Some(Agent { tasks, broker });
    }

    pub(super) fn kill_agent(&self, index: usize) {
        self.kills.fetch_add(1, Ordering::Relaxed);
        if let Some(agent) = self.agents.lock()[index].take() {
            agent.tasks.kill();
        }
        self.network.reset(index);
    }

    pub(super) fn start_compactor(&self, index: usize) {
        self.compactors.lock()[index] = Some(compactors::start(self, index));
    }

    pub(super) fn kill_compactor(&self, index: usize) {
        self.kills.fetch_add(1, Ordering::Relaxed);
        if let Some(tasks) = self.compactors.lock()[index].take() {
            tasks.kill();
        }
        self.network.reset(self.plan.compactor_node(index));
    }

    /// The tasks of a compactor that is there.
    pub(super) fn compactor(&self, index: usize) -> Option<Tasks> {
        self.compactors.lock()[index].clone()
    }

    /// So many merged objects are there at the end.
    pub(super) fn note_merged(&self, objects: usize) {
        self.merged.store(objects, Ordering::Relaxed);
    }

    /// A connection to a random live agent; waits for one.
    pub(super) async fn connect(&self) -> Link {
        loop {
            let first = usize::try_from(self.random(1_000)).expect("small");
            let live = {
                let agents = self.agents.lock();
                (0..agents.len())
                    .filter_map(|i| agents[(first + i) % agents.len()].as_ref())
                    .map(|agent| (agent.tasks.clone(), Arc::clone(&agent.broker)))
                    .next()
            };
            if let Some((tasks, broker)) = live {
                let (ours, theirs) = tokio::io::duplex(64 * 1024);
                let peer = SocketAddr::from((IpAddr::V4(Ipv4Addr::LOCALHOST), 50_000));
                tasks.spawn(async move { broker.serve(theirs, 0, peer).await });
                return Link::new(ours);
            }
            self.pause(100).await;
        }
    }

    /// A random number below `below`.
    pub(super) fn random(&self, below: u64) -> u64 {
        self.ports.rand.next_u64() % below
    }

    pub(super) async fn pause(&self, milliseconds: u64) {
        self.ports.sleep(Duration::from_millis(milliseconds)).await;
    }

    /// Runs a client; the result is there when it has ended.
    pub(super) fn task(
        &self,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> oneshot::Receiver<()> {
        let (done, finished) = oneshot::channel();
        self.ports.tasks.spawn(async move {
            future.await;
            let _ = done.send(());
        });
        finished
    }

    /// Waits for a client's end; a run that is stuck is a violation.
    pub(super) async fn finished(&self, client: oneshot::Receiver<()>, who: &str) {
        match self.ports.timeout(STUCK, client).await {
            Some(Ok(())) => {}
            Some(Err(_)) => self.history().violations.push(format!("panicked: {who}")),
            None => self
                .history()
                .violations
                .push(format!("stuck: {who} did not end in {STUCK:?}")),
        }
    }

    /// No more faults from here on.
    pub(super) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.faults.set(chaos::slow_bucket());
        self.journal.switches().set_latency(Duration::ZERO);
        self.journal.switches().set_unavailable(false);
    }

    /// Waits until trouble has lasted long enough, or no producer is left to suffer from it.
    pub(super) async fn trouble(&self) {
        let until = self.ports.clock.now().plus(TROUBLE);
        while self.produced.load(Ordering::Relaxed) < self.plan.producers
            && self.ports.clock.now() < until
        {
            self.pause(250).await;
        }
    }

    /// A producer has all its acknowledgements.
    pub(super) fn note_produced(&self) {
        self.produced.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock()
    }

    pub(super) fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock()
    }

    pub(super) fn trace(&self, what: String) {
        let at = self.ports.clock.now().0;
        self.trace
            .lock()
            .push(format!("{:>10.3} {what}", at.as_secs_f64()));
    }

    pub(super) fn outcome(&self) -> Outcome {
        let history = self.history();
        Outcome {
            trace: self.trace.lock().clone(),
            violations: history.check(),
            acked: history.acked.len(),
            commits: self.groups().commits,
            kills: self.kills.load(Ordering::Relaxed),
            merged: self.merged.load(Ordering::Relaxed),
        }
    }

    /// Ends everything.
    pub(super) fn stop(&self) {
        self.ports.tasks.kill();
        for member in 0..self.plan.members {
            self.kill_member(member);
        }
        for agent in 0..self.plan.agents {
            self.kill_agent(agent);
        }
        for compactor in 0..self.plan.compactors {
            self.kill_compactor(compactor);
        }
    }
}
