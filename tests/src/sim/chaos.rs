//! What goes wrong in a simulation: agents, members and compactors die, stand still or are cut off at any moment, the
//! bucket and the journal fail in every way that their fakes know.

use std::{sync::Arc, time::Duration};

use aquifer_metadata::journal::memory::{Call, Fault};
use aquifer_store::faults::{FaultPlan, Latency};

use super::world::World;

/// Makes trouble until the world is to be calm.
pub(super) async fn run(world: Arc<World>) {
    while !world.is_calm() {
        world.pause(100 + world.random(1_500)).await;
        let agent = pick(&world, world.plan.agents);
        let member = pick(&world, world.plan.members);
        // Without compactors the seeds are what they were before there were any.
        let kinds = if world.plan.compactors > 0 { 18 } else { 14 };
        match world.random(kinds) {
            0 => {
                world.trace(format!("chaos: agent {agent} dies"));
                world.kill_agent(agent);
                world.pause(world.random(2_000)).await;
                world.start_agent(agent).await;
            }
            1 | 2 => {
                world.trace(format!("chaos: member {member} dies"));
                world.kill_member(member);
                world.pause(world.random(5_000)).await;
                world.start_member(member);
            }
            3 => {
                world.trace(format!("chaos: member {member} is stopped"));
                world.stop_member(member).await;
                world.pause(world.random(1_000)).await;
                world.start_member(member);
            }
            4 => stand_still(&world, format!("agent {agent}"), world.agent(agent)).await,
            5 | 6 => stand_still(&world, format!("member {member}"), world.member(member)).await,
            7 => {
                world.trace(format!("chaos: agent {agent} is cut off"));
                world.network.cut(agent, true);
                world.pause(world.random(6_000)).await;
                world.network.cut(agent, false);
            }
            8 => world.network.reset(agent),
            9 | 10 => {
                let plan = bad_bucket(&world);
                world.trace(format!("chaos: the bucket: {plan:?}"));
                world.faults.set(plan);
            }
            11 => world.faults.set(slow_bucket()),
            12 => bad_journal(&world).await,
            13 => {
                let latency = Duration::from_millis(world.random(30));
                world.journal.switches().set_latency(latency);
            }
            kind => bad_compactor(&world, kind).await,
        }
    }
}

/// A compactor dies, stands still (past its lease or not), or cannot reach the leader.
async fn bad_compactor(world: &World, kind: u64) {
    let compactor = pick(world, world.plan.compactors);
    match kind {
        14 | 15 => {
            world.trace(format!("chaos: compactor {compactor} dies"));
            world.kill_compactor(compactor);
            world.pause(world.random(2_000)).await;
            world.start_compactor(compactor);
        }
        16 => {
            let who = format!("compactor {compactor}");
            stand_still(world, who, world.compactor(compactor)).await;
        }
        _ => {
            world.trace(format!("chaos: compactor {compactor} is cut off"));
            let node = world.plan.compactor_node(compactor);
            world.network.cut(node, true);
            world.pause(world.random(8_000)).await;
            world.network.cut(node, false);
        }
    }
}

fn pick(world: &World, of: usize) -> usize {
    usize::try_from(world.random(100)).expect("small") % of
}

/// A node is stopped and continued, as by SIGSTOP and SIGCONT.
async fn stand_still(world: &World, who: String, tasks: Option<aquifer_store::Tasks>) {
    let Some(tasks) = tasks else {
        return;
    };
    let milliseconds = 200 + world.random(7_000);
    world.trace(format!("chaos: {who} stands still for {milliseconds} ms"));
    tasks.pause();
    world.pause(milliseconds).await;
    tasks.resume();
}

async fn bad_journal(world: &World) {
    let switches = world.journal.switches();
    if world.random(3) == 0 {
        let milliseconds = world.random(5_000);
        world.trace(format!("chaos: no journal for {milliseconds} ms"));
        switches.set_unavailable(true);
        world.pause(milliseconds).await;
        switches.set_unavailable(false);
        return;
    }
    let faults = [
        Fault::InDoubtAfterEffect,
        Fault::InDoubtBeforeEffect,
        Fault::Unavailable,
        Fault::Hang,
    ];
    let calls = [Call::Append, Call::Append, Call::Lease, Call::PutPages];
    let (fault, call) = (faults[pick(world, 4)], calls[pick(world, 4)]);
    world.trace(format!("chaos: the journal: {call:?} {fault:?}"));
    switches.fail_next(call, fault);
}

/// The bucket's usual latency.
pub(super) fn slow_bucket() -> FaultPlan {
    FaultPlan {
        put_latency: Latency::LogNormal {
            p50: Duration::from_millis(20),
            p99: Duration::from_millis(120),
        },
        get_latency: Latency::LogNormal {
            p50: Duration::from_millis(10),
            p99: Duration::from_millis(60),
        },
        ..FaultPlan::default()
    }
}

fn bad_bucket(world: &World) -> FaultPlan {
    let chance = |of: u64| {
        if world.random(2) == 0 {
            0.0
        } else {
            1.0 / (of as f64)
        }
    };
    FaultPlan {
        error: chance(10),
        slow_down: chance(10),
        lost_response: chance(5),
        late_effect: chance(10),
        late_by: Duration::from_secs(1),
        truncated: chance(10),
        bit_flip: chance(10),
        outage: world.random(10) == 0,
        put_latency: if world.random(5) == 0 {
            Latency::LogNormal {
                p50: Duration::from_millis(60),
                p99: Duration::from_secs(3),
            }
        } else {
            slow_bucket().put_latency
        },
        ..slow_bucket()
    }
}
