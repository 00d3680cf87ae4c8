//! A whole cluster in one seeded, single-threaded simulation: agents, members of the metadata service,
//! compactors, the journal and the bucket of the project, clients and members of groups of the test's own, faults at the ports,
//! virtual time. The same seed gives the same trace.

mod chaos;
mod checker;
mod client;
mod compactors;
mod groups;
mod member;
mod network;
mod world;

use std::sync::Arc;

pub use checker::History;
use world::World;

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Seed of everything.
    pub seed: u64,
    /// Agents.
    pub agents: usize,
    /// Members of the metadata service: one leads.
    pub members: usize,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Producers; producer i writes to partition i mod `partitions`.
    pub producers: u64,
    /// Batches per producer.
    pub batches: u64,
    /// Compactors. Where there are any, upload epochs are short, metadata is backed up, the bucket is swept, and
    /// all is settled at the end.
    pub compactors: usize,
}

impl Plan {
    /// The plan that the tests run with a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            agents: if seed.is_multiple_of(4) { 2 } else { 3 },
            members: 2,
            partitions: 2,
            producers: 3,
            batches: 25,
            compactors: if seed % 3 == 1 { 0 } else { 2 },
        }
    }
}

impl Plan {
    /// The place of a compactor in the network, behind the agents.
    fn compactor_node(&self, index: usize) -> usize {
        self.agents + index
    }

    /// The place of who looks at everything in the end.
    fn observer_node(&self) -> usize {
        self.agents + self.compactors
    }

    /// Everybody who asks the leader.
    fn nodes(&self) -> usize {
        self.observer_node() + 1
    }
}

/// What a run showed.
#[derive(Debug)]
pub struct Outcome {
    /// One line per thing that a client or the chaos did, with its virtual time.
    pub trace: Vec<String>,
    /// Broken promises; empty if all is well.
    pub violations: Vec<String>,
    /// Acknowledged records.
    pub acked: usize,
    /// Acknowledged commits of offsets.
    pub commits: usize,
    /// Kills of agents, members and compactors.
    pub kills: u64,
    /// Merged objects at the end.
    pub merged: usize,
}

/// Runs a plan from its beginning to its end.
///
/// # Panics
/// If the runtime can't be made.
#[must_use]
pub fn run(plan: Plan) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = World::start(plan).await;
        let producers: Vec<_> = (0..plan.producers)
            .map(|id| world.task(client::produce(Arc::clone(&world), id)))
            .collect();
        let readers: Vec<_> = (0..plan.partitions)
            .map(|partition| world.task(client::tail(Arc::clone(&world), partition)))
            .collect();
        let members: Vec<_> = (0..groups::MEMBERS)
            .flat_map(|id| {
                [
                    world.task(groups::classic(Arc::clone(&world))),
                    world.task(groups::modern(Arc::clone(&world), id)),
                ]
            })
            .collect();
        let chaos = world.task(chaos::run(Arc::clone(&world)));
        world.trouble().await;
        world.calm_down();
        world.finished(chaos, "the chaos").await;
        // Its last deed may have come after the first call.
        world.calm_down();
        for producer in producers {
            world.finished(producer, "a producer").await;
        }
        for reader in readers {
            world.finished(reader, "a reader").await;
        }
        for member in members {
            world.finished(member, "a member of a group").await;
        }
        compactors::settle(&world).await;
        let everything = world.task(client::read_everything(Arc::clone(&world)));
        world.finished(everything, "the last reader").await;
        let outcome = world.outcome();
        world.stop();
        outcome
    })
}
