//! An exhaustive model of what keeps the log right: uploads, commits, holds, the journal with its fence
//! and chain, take-overs, the lease, upload epochs and the sweeper, lost rows and their acceptance.
//!
//! Each scope bounds how much of everything there is and is explored completely: every order of every
//! step. Each [`Fence`] is taken away in turn, and then the checker must find the promise that breaks, so
//! the model is known to see what the fence is for. [`act::Action`] names the code that each step stands
//! for.
//!
//! What compactors do to a log is a model of its own, in [`upkeep`].
//!
//! Left out: groups of several events in one row, the end of sessions, pages, and everything about bytes.
//! Assumed: clocks lose at most a tick per lease; nobody remembers what every process, the tip, the
//! witnesses and the journal have forgotten; after a take-over everybody who remembers and can be reached
//! is heard before anybody is served ([`Fence::RollCall`]).

#![allow(clippy::print_stdout, reason = "it shows what was explored")]
#![allow(
    clippy::disallowed_methods,
    reason = "it says how long the checker took"
)]

#[path = "model/act.rs"]
mod act;
#[path = "model/commits.rs"]
mod commits;
#[path = "model/leaders.rs"]
mod leaders;
#[path = "model/ledger.rs"]
mod ledger;
#[path = "model/upkeep.rs"]
mod upkeep;
#[path = "model/world.rs"]
mod world;

use std::time::Instant;

use act::Action;
use stateright::{Checker, HasDiscoveries, Model, Property};
use world::{Batch, Bounds, Broken, Event, Fence, Outcome, Role, World};

/// The model: bounds, and the fence that is missing.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    bounds: Bounds,
    without: Option<Fence>,
    reachable: &'static [&'static str],
}

impl Cluster {
    fn has(&self, fence: Fence) -> bool {
        self.without != Some(fence)
    }
}

impl Model for Cluster {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new()]
    }

    fn actions(&self, state: &World, actions: &mut Vec<Action>) {
        // what comes after a broken promise is of no interest
        if state.broken.is_none() {
            state.actions(self, actions);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut next = last.clone();
        next.act(self, action).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = promises();
        let wanted = |property: &Property<Self>| self.reachable.contains(&property.name);
        properties.extend(situations().into_iter().filter(wanted));
        properties
    }
}

fn promises() -> Vec<Property<Cluster>> {
    vec![
        Property::always(
            "an acknowledged batch is in the log at its offset, once",
            |_, world: &World| world.broken != Some(Broken::Acknowledged),
        ),
        Property::always(
            "no offset is shown with two contents",
            |_, world: &World| world.broken != Some(Broken::Reissued),
        ),
        Property::always("no referenced object is deleted", |_, world: &World| {
            world.broken != Some(Broken::Deleted)
        }),
        Property::always(
            "a commit that is sent again has the same answer",
            |_, world: &World| world.broken != Some(Broken::OtherAnswer),
        ),
        Property::always("a deposed leader does not append", |_, world: &World| {
            world.broken != Some(Broken::DeposedAppend)
        }),
        Property::always(
            "a read shows what was answered before it was asked",
            |_, world: &World| world.broken != Some(Broken::StaleRead),
        ),
        Property::always("a held batch is decided once", |_, world: &World| {
            world.broken != Some(Broken::DecidedTwice)
        }),
        Property::always("who remembers lost rows notices", |_, world: &World| {
            world.broken != Some(Broken::Unnoticed)
        }),
        Property::always(
            "nothing is out of order while its predecessor is under way",
            |_, world: &World| world.broken != Some(Broken::NeedlessRefusal),
        ),
        Property::always(
            "a producer's batches keep their order",
            |_, world: &World| world.broken != Some(Broken::Reordered),
        ),
    ]
}

fn decided(world: &World, test: fn(&Outcome) -> bool) -> bool {
    world.database.rows.iter().any(|row| match &row.event {
        Event::Committed { outcome, .. } => test(outcome),
        _ => false,
    })
}

fn situations() -> Vec<Property<Cluster>> {
    vec![
        Property::sometimes(
            "everything is acknowledged",
            |model: &Cluster, world: &World| {
                let batches = usize::from(model.bounds.sequences) + usize::from(model.bounds.plain);
                world.acknowledged.len() == batches
            },
        ),
        Property::sometimes("a batch is held and then appended", |_, world: &World| {
            world.database.rows.iter().any(|row| match &row.event {
                Event::Committed { holds, .. } => {
                    holds.iter().any(|(_, o)| matches!(o, Outcome::Appended(_)))
                }
                _ => false,
            })
        }),
        Property::sometimes("a duplicate is answered", |_, world: &World| {
            decided(world, |outcome| matches!(outcome, Outcome::Duplicate(_)))
                && world
                    .objects
                    .iter()
                    .filter(|object| object.answered)
                    .count()
                    > 1
        }),
        Property::sometimes("an old object is refused", |_, world: &World| {
            decided(world, |outcome| {
                *outcome == Outcome::Rejected(world::Refusal::TooOld)
            })
        }),
        Property::sometimes(
            "an answer comes from the next leader",
            |_, world: &World| {
                let answered = world.objects.iter().any(|object| object.answered);
                let second = world.agents.iter().any(|agent| agent.seen.term > 1);
                answered && second && world.database.rows.iter().all(|row| row.term == 1)
            },
        ),
        Property::sometimes("an orphan is deleted", |_, world: &World| {
            world.objects.iter().any(|object| object.deleted)
        }),
        Property::sometimes("a leader is deposed", |_, world: &World| {
            let deposed = |member: &world::Member| {
                member.role == Role::Standby && !member.rows.is_empty() && member.term > 0
            };
            world.members.iter().any(deposed)
        }),
        Property::sometimes("both members believe that they lead", |_, world: &World| {
            world
                .members
                .iter()
                .all(|member| member.role == Role::Leading)
        }),
        Property::sometimes("lost rows are noticed", |_, world: &World| {
            world
                .members
                .iter()
                .any(|member| member.role == Role::Refusing)
        }),
        Property::sometimes("it goes on after a loss", |_, world: &World| {
            let after = |(offset, _): &(u8, Batch)| *offset >= world::GAP;
            world.acknowledged.iter().any(after)
        }),
        Property::sometimes("a renewed lease answers a question", |_, world: &World| {
            world.spent.questions > 0
                && world.question.is_none()
                && world.members.iter().any(|member| member.sure > 0)
        }),
    ]
}

/// A take-over in the middle of everything that one producer's two batches can meet.
const ORDER: Cluster = Cluster {
    bounds: Bounds {
        agents: 2,
        sequences: 2,
        plain: false,
        lost_requests: false,
        uploads: 3,
        take_overs: 1,
        doubts: 1,
        crashes: 0,
        deaths: 1,
        epochs: 0,
        at_once: false,
        sweeper: false,
        losses: 0,
        acceptances: 0,
        questions: 0,
    },
    without: None,
    reachable: &[
        "everything is acknowledged",
        "a duplicate is answered",
        "an answer comes from the next leader",
        "a leader is deposed",
        "both members believe that they lead",
    ],
};

/// Three batches through two agents: gaps.
const HOLDS: Cluster = Cluster {
    bounds: Bounds {
        sequences: 3,
        uploads: 3,
        doubts: 0,
        deaths: 0,
        ..ORDER.bounds
    },
    reachable: &[
        "everything is acknowledged",
        "a batch is held and then appended",
    ],
    ..ORDER
};

/// Upload epochs, paused agents, the sweeper.
const BUCKET: Cluster = Cluster {
    bounds: Bounds {
        sequences: 1,
        uploads: 2,
        doubts: 0,
        deaths: 0,
        epochs: 2,
        sweeper: true,
        ..ORDER.bounds
    },
    reachable: &[
        "everything is acknowledged",
        "an old object is refused",
        "an orphan is deleted",
    ],
    ..ORDER
};

/// An unknown producer's batch waits while epochs pass.
const WAITING: Cluster = Cluster {
    bounds: Bounds {
        sequences: 2,
        plain: true,
        agents: 1,
        lost_requests: true,
        at_once: true,
        uploads: 3,
        take_overs: 0,
        ..BUCKET.bounds
    },
    reachable: &[
        "everything is acknowledged",
        "a batch is held and then appended",
        "an orphan is deleted",
    ],
    ..ORDER
};

/// The lease: two leaders, time, clocks that lag, renewals under way.
const LEASE: Cluster = Cluster {
    bounds: Bounds {
        sequences: 0,
        plain: true,
        uploads: 1,
        take_overs: 1,
        questions: 1,
        doubts: 0,
        deaths: 0,
        ..ORDER.bounds
    },
    reachable: &[
        "both members believe that they lead",
        "a renewed lease answers a question",
    ],
    ..ORDER
};

/// The database goes back in time, and an operator accepts it.
const LOSS: Cluster = Cluster {
    bounds: Bounds {
        sequences: 1,
        plain: true,
        uploads: 2,
        take_overs: 2,
        doubts: 0,
        deaths: 0,
        losses: 1,
        acceptances: 1,
        ..ORDER.bounds
    },
    reachable: &["lost rows are noticed", "it goes on after a loss"],
    ..ORDER
};

/// The same while processes die that remember it.
const FORGETTING: Cluster = Cluster {
    bounds: Bounds {
        crashes: 1,
        deaths: 1,
        acceptances: 0,
        ..LOSS.bounds
    },
    reachable: &["lost rows are noticed"],
    ..ORDER
};

/// Upload epochs, the tip and the sweeper beside a loss.
const EPOCHS: Cluster = Cluster {
    bounds: Bounds {
        agents: 1,
        sequences: 1,
        plain: false,
        uploads: 1,
        crashes: 1,
        epochs: 2,
        sweeper: true,
        ..LOSS.bounds
    },
    reachable: &["lost rows are noticed", "an orphan is deleted"],
    ..ORDER
};

fn explore(name: &str, model: Cluster) {
    let begun = Instant::now();
    let checker = model.checker().threads(2).spawn_bfs().join();
    println!(
        "{name}: {} states, {} unique, depth {}, {:?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        begun.elapsed()
    );
    for (property, path) in checker.discoveries() {
        if promises().iter().any(|promise| promise.name == property) {
            println!("{property}:");
            for action in path.into_actions() {
                println!("  {action:?}");
            }
        }
    }
    checker.assert_properties();
}

/// Without the fence the checker finds that one of these promises is broken.
fn control(scope: Cluster, without: Fence, breaks: &[&str]) {
    let model = Cluster {
        without: Some(without),
        reachable: &[],
        ..scope
    };
    let begun = Instant::now();
    let found = model
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let broken: Vec<&str> = found.discoveries().into_keys().collect();
    println!(
        "without {without:?}: {broken:?} after {} states, {:?}",
        found.unique_state_count(),
        begun.elapsed()
    );
    assert!(
        broken.iter().any(|promise| breaks.contains(promise)),
        "without {without:?} this should break: {breaks:?}; found: {broken:?}"
    );
    let path = found
        .discoveries()
        .into_values()
        .next()
        .expect("one was found");
    println!("  {:?}", path.into_actions());
}

#[test]
fn no_promise_is_broken_in_any_order_of_steps() {
    for (name, scope) in [
        ("order", ORDER),
        ("holds", HOLDS),
        ("bucket", BUCKET),
        ("waiting", WAITING),
        ("lease", LEASE),
        ("loss", LOSS),
        ("forgetting", FORGETTING),
        ("epochs", EPOCHS),
    ] {
        explore(name, scope);
    }
}

const ACKNOWLEDGED: &str = "an acknowledged batch is in the log at its offset, once";
const REISSUED: &str = "no offset is shown with two contents";
const DELETED: &str = "no referenced object is deleted";
const OTHER_ANSWER: &str = "a commit that is sent again has the same answer";
const DEPOSED: &str = "a deposed leader does not append";
const STALE: &str = "a read shows what was answered before it was asked";
const UNNOTICED: &str = "who remembers lost rows notices";
const NEEDLESS: &str = "nothing is out of order while its predecessor is under way";
const REORDERED: &str = "a producer's batches keep their order";

#[test]
fn without_the_term_in_the_fence_a_deposed_leader_appends() {
    control(ORDER, Fence::Term, &[DEPOSED]);
}

#[test]
fn without_the_chain_lost_rows_go_unnoticed() {
    control(LOSS, Fence::Chain, &[UNNOTICED, REISSUED]);
}

#[test]
fn without_a_look_for_the_row_a_doubtful_append_is_done_twice() {
    control(ORDER, Fence::Again, &[ACKNOWLEDGED, OTHER_ANSWER]);
}

#[test]
fn without_waiting_for_the_journal_an_acknowledged_batch_is_lost() {
    control(ORDER, Fence::Durable, &[ACKNOWLEDGED]);
}

#[test]
fn without_the_lease_a_deposed_leader_answers_reads() {
    control(LEASE, Fence::Lease, &[STALE]);
}

#[test]
fn without_a_margin_a_slow_clock_answers_reads() {
    control(LEASE, Fence::Margin, &[STALE]);
}

#[test]
fn without_counting_from_the_sending_a_late_renewal_answers_reads() {
    control(LEASE, Fence::CountedFromSending, &[STALE]);
}

#[test]
fn without_an_age_limit_of_commits_a_swept_object_is_committed() {
    control(BUCKET, Fence::CommitAge, &[DELETED]);
}

#[test]
fn without_an_age_limit_of_the_sweeper_a_fresh_object_is_deleted() {
    control(BUCKET, Fence::SweepAge, &[DELETED]);
}

#[test]
fn without_references_by_held_batches_their_objects_are_deleted() {
    control(WAITING, Fence::HoldsRefer, &[DELETED]);
}

#[test]
fn without_looking_first_an_old_commit_is_answered_otherwise() {
    control(BUCKET, Fence::LookUpFirst, &[OTHER_ANSWER]);
}

#[test]
fn without_journaled_results_the_next_leader_answers_otherwise() {
    control(ORDER, Fence::Remembered, &[OTHER_ANSWER]);
}

#[test]
fn without_holds_a_batch_is_refused_while_its_predecessor_is_under_way() {
    control(HOLDS, Fence::Hold, &[NEEDLESS]);
}

#[test]
fn without_the_first_sequence_rule_a_first_batch_is_lost() {
    control(ORDER, Fence::FirstSequence, &[REORDERED]);
}

#[test]
fn without_the_tip_a_loss_goes_unnoticed() {
    control(EPOCHS, Fence::Tip, &[UNNOTICED]);
}

#[test]
fn without_witnesses_a_loss_that_was_noticed_is_forgotten() {
    control(FORGETTING, Fence::Witness, &[UNNOTICED]);
}

#[test]
fn without_marks_in_watches_a_loss_goes_unnoticed() {
    control(FORGETTING, Fence::Seen, &[UNNOTICED, REISSUED]);
}

#[test]
fn without_its_own_memory_a_member_serves_what_it_knows_to_be_behind() {
    control(LOSS, Fence::Memory, &[UNNOTICED]);
}

#[test]
fn without_hearing_all_who_remember_an_offset_is_reissued() {
    control(LOSS, Fence::RollCall, &[REISSUED]);
}

#[test]
fn without_a_look_at_the_tip_a_restored_fence_lets_an_old_leader_on() {
    control(LOSS, Fence::Lapse, &[REISSUED]);
}

#[test]
fn without_a_gap_an_accepted_loss_reissues_offsets() {
    let bounds = Bounds {
        plain: true,
        uploads: 2,
        epochs: 1,
        sweeper: false,
        at_once: true,
        ..EPOCHS.bounds
    };
    let more = Cluster { bounds, ..EPOCHS };
    control(more, Fence::Gap, &[REISSUED]);
}
