//! A process of the metadata service, as it really runs: it stands by, leads when the lease is free, and
//! stands by again when it was deposed. The network follows its role.

use std::sync::Arc;

use aquifer_metadata::{LeaderSettings, Member as Process, MemberSettings, Role};
use aquifer_store::Tasks;

use super::world::World;

/// A running member.
pub(super) struct Member {
    pub(super) tasks: Tasks,
    pub(super) process: Arc<Process>,
}

impl Member {
    pub(super) fn start(world: &Arc<World>, index: usize) -> Self {
        let ports = world.ports.another_node();
        let tasks = ports.tasks.clone();
        let journal = Arc::new(world.journal.with_clock(Arc::clone(&ports.clock)));
        let store = world.store(&ports);
        let settings = MemberSettings {
            leader: LeaderSettings {
                holder: format!("member-{index}"),
                endpoint: format!("member-{index}"),
                ..LeaderSettings::default()
            },
            ..MemberSettings::default()
        };
        let process = Arc::new(Process::start(journal, store, &ports, settings));
        let mut role = process.role();
        let world = Arc::clone(world);
        tasks.spawn(async move {
            loop {
                let now = role.borrow_and_update().clone();
                match now {
                    Role::Leader(leader) => {
                        let term = leader.facts().term;
                        world.trace(format!("member {index} leads, term {term}"));
                        world.network.lead(index, term, leader);
                    }
                    Role::Standby { .. } => world.network.gone(index),
                    Role::Refusing { reason } => {
                        world.network.gone(index);
                        let text = format!("member {index} refuses without a cause: {reason}");
                        world.history().violations.push(text);
                    }
                }
                if role.changed().await.is_err() {
                    return;
                }
            }
        });
        Self { tasks, process }
    }
}
