//! What goes wrong in a simulation: agents and the leader die at any moment, the bucket and the journal
//! fail in every way that their fakes know.

use std::{sync::Arc, time::Duration};

use aquifer_metadata::journal::memory::{Call, Fault};
use aquifer_store::faults::{FaultPlan, Latency};

use super::world::World;

/// Makes trouble until the world is to be calm.
pub(super) async fn run(world: Arc<World>) {
    while !world.is_calm() {
        world.pause(100 + world.random(1_500)).await;
        match world.random(8) {
            0 | 1 => {
                let agent = usize::try_from(world.random(100)).expect("small") % world.plan.agents;
                world.trace(format!("chaos: agent {agent} dies"));
                world.kill_agent(agent);
                world.pause(world.random(2_000)).await;
                world.start_agent(agent).await;
            }
            2 => {
                world.trace("chaos: the leader dies".to_owned());
                world.kill_leader();
                world.pause(world.random(1_000)).await;
                world.start_leader().await;
            }
            3 | 4 => {
                let plan = bad_bucket(&world);
                world.trace(format!("chaos: the bucket: {plan:?}"));
                world.faults.set(plan);
            }
            5 => world.faults.set(slow_bucket()),
            6 => {
                let fault = [
                    Fault::InDoubtAfterEffect,
                    Fault::InDoubtBeforeEffect,
                    Fault::Unavailable,
                ];
                let fault = fault[usize::try_from(world.random(3)).expect("small")];
                world.trace(format!("chaos: an append: {fault:?}"));
                world.journal.switches().fail_next(Call::Append, fault);
            }
            _ => {
                world
                    .journal
                    .switches()
                    .set_latency(Duration::from_millis(world.random(30)));
            }
        }
    }
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
        ..slow_bucket()
    }
}
