//! The world of a simulation: nodes that can be killed and started, the bucket, the journal, the clock.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use aquifer_agent::{broker::Broker, produce::settings::Compute, settings::AgentSettings};
use aquifer_metadata::{Leader, LeaderSettings, journal::memory::MemoryJournal};
use aquifer_metadata_api::{Metadata, register::AgentAddress};
use aquifer_store::{
    ObjectStore, Ports, Tasks,
    faults::{Faults, FaultyStore},
    memory::MemoryStore,
    retry::{RetryPolicy, RetryingStore},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::{Outcome, Plan, chaos, checker::History, client, client::Link, router::Router};

/// The topic of all simulations.
pub(super) const TOPIC: &str = "simulated";

/// Virtual time after which a run that has not ended is called stuck.
const STUCK: Duration = Duration::from_secs(1_800);

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
    bucket: Arc<dyn ObjectStore>,
    router: Arc<Router>,
    leader: Mutex<Option<Tasks>>,
    agents: Mutex<Vec<Option<Agent>>>,
    history: Mutex<History>,
    trace: Mutex<Vec<String>>,
    calm: AtomicBool,
    kills: AtomicU64,
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
            router: Arc::default(),
            leader: Mutex::default(),
            agents: Mutex::new((0..plan.agents).map(|_| None).collect()),
            history: Mutex::default(),
            trace: Mutex::default(),
            calm: AtomicBool::new(false),
            kills: AtomicU64::new(0),
            ports,
        });
        world.start_leader().await;
        for agent in 0..plan.agents {
            world.start_agent(agent).await;
        }
        client::create_topic(&world, plan.partitions).await;
        world
    }

    pub(super) async fn start_leader(&self) {
        let ports = self.ports.another_node();
        *self.leader.lock() = Some(ports.tasks.clone());
        let journal = self.journal.with_clock(Arc::clone(&ports.clock));
        let leader = Leader::start(Arc::new(journal), ports, LeaderSettings::default()).await;
        let leader = leader.expect("a leader starts");
        self.router.set(Some(leader.metadata()));
    }

    pub(super) fn kill_leader(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
        self.router.set(None);
        if let Some(tasks) = self.leader.lock().take() {
            tasks.kill();
        }
    }

    pub(super) async fn start_agent(&self, index: usize) {
        let ports = self.ports.another_node();
        let tasks = ports.tasks.clone();
        let store = RetryingStore::new(
            Arc::clone(&self.bucket),
            ports.clone(),
            RetryPolicy::default(),
        );
        let mut settings = AgentSettings::new(AgentAddress {
            host: "127.0.0.1".to_owned(),
            port: 9092 + u16::try_from(index).expect("few agents"),
            node_ids: 1,
            zone: String::new(),
            peer: String::new(),
        });
        settings.produce.compute = Compute::Inline;
        let metadata = Arc::clone(&self.router) as Arc<dyn Metadata>;
        let broker = Broker::start(settings, ports, metadata, Arc::new(store), None).await;
        let broker = broker.expect("an agent starts");
        self.agents.lock()[index] = Some(Agent { tasks, broker });
    }

    pub(super) fn kill_agent(&self, index: usize) {
        self.kills.fetch_add(1, Ordering::Relaxed);
        if let Some(agent) = self.agents.lock()[index].take() {
            agent.tasks.kill();
        }
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
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock()
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
            kills: self.kills.load(Ordering::Relaxed),
        }
    }

    /// Ends everything.
    pub(super) fn stop(&self) {
        self.ports.tasks.kill();
        self.kill_leader();
        for agent in 0..self.plan.agents {
            self.kill_agent(agent);
        }
    }
}
