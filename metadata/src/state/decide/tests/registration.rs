//! Slots and sessions.

use aquifer_format::ids::{SessionId, WriterSlot};
use aquifer_metadata_api::{
    MetadataError,
    register::{AgentAddress, Registration},
};

use crate::state::{
    Budgets, State, decide,
    tests::world::{World, register_request},
};

fn register(world: &mut World, host: u16, previous: Option<u32>) -> Registration {
    let mut request = register_request(host);
    request.previous_slot = previous.map(WriterSlot);
    let decided = decide::register(&world.state, &request).unwrap();
    world.decided(decided).0
}

fn end(world: &mut World, session: SessionId) {
    let decided = decide::end_session(&world.state, &world.now, session);
    world.decided(decided);
}

#[test]
fn each_writer_gets_a_slot_and_a_session_of_its_own() {
    let mut world = World::new();
    let first = register(&mut world, 1, None);
    let second = register(&mut world, 2, None);
    assert_ne!(first.slot, second.slot);
    assert_ne!(first.session, second.session);
    assert_eq!(first.cluster, world.state.cluster().unwrap());
    let slots: Vec<_> = world
        .state
        .agents()
        .iter()
        .map(|agent| agent.slot)
        .collect();
    assert_eq!(slots, [first.slot, second.slot]);
    assert_eq!(world.state.session(second.session), Some(second.slot));
}

#[test]
fn a_slot_rests_for_a_day_before_a_stranger_gets_it() {
    let mut world = World::new();
    let first = register(&mut world, 1, None);
    end(&mut world, first.session);
    assert_eq!(world.state.agents(), []);
    let second = register(&mut world, 2, None);
    assert_ne!(second.slot, first.slot);
    world.advance(1_439);
    let third = register(&mut world, 3, None);
    assert!(![first.slot, second.slot].contains(&third.slot));
    world.advance(1);
    assert_eq!(register(&mut world, 4, None).slot, first.slot);
}

#[test]
fn a_writer_keeps_its_slot_while_that_rests() {
    let mut world = World::new();
    let first = register(&mut world, 1, None);
    end(&mut world, first.session);
    let again = register(&mut world, 1, Some(first.slot.0));
    assert_eq!(again.slot, first.slot);
    assert_ne!(again.session, first.session);
}

#[test]
fn a_writer_that_comes_back_early_ends_its_own_session() {
    let mut world = World::new();
    let first = register(&mut world, 1, None);
    let again = register(&mut world, 1, Some(first.slot.0));
    assert_eq!(again.slot, first.slot);
    assert_eq!(world.state.session(first.session), None);
    assert_eq!(world.state.session(again.session), Some(first.slot));
    assert_eq!(world.state.agents().len(), 1);
}

#[test]
fn nobody_gets_a_slot_that_somebody_else_has() {
    let mut world = World::new();
    let first = register(&mut world, 1, None);
    let other = register(&mut world, 2, Some(first.slot.0));
    assert_ne!(other.slot, first.slot);
    assert_eq!(world.state.session(first.session), Some(first.slot));
    let made_up = register(&mut world, 3, Some(1_000));
    assert_eq!(
        made_up.slot,
        WriterSlot(2),
        "slots that never were are not given out"
    );
}

#[test]
fn ending_a_session_twice_changes_nothing() {
    let mut world = World::new();
    let first = register(&mut world, 1, None);
    end(&mut world, first.session);
    let decided = decide::end_session(&world.state, &world.now, first.session);
    assert_eq!(decided.events, []);
}

#[test]
fn addresses_that_cannot_be_right_are_refused() {
    type Change = fn(&mut AgentAddress);
    let changes: [(&str, Change); 7] = [
        ("no host", |agent| agent.host.clear()),
        ("long host", |agent| agent.host = "h".repeat(256)),
        ("long zone", |agent| agent.zone = "z".repeat(256)),
        ("long peer address", |agent| agent.peer = "p".repeat(262)),
        ("no node ids", |agent| agent.node_ids = 0),
        ("many node ids", |agent| agent.node_ids = 17),
        ("ports", |agent| agent.port = 65_533),
    ];
    let world = World::new();
    for (what, change) in changes {
        let mut request = register_request(1);
        change(&mut request.agent);
        let error = decide::register(&world.state, &request).unwrap_err();
        assert!(matches!(error, MetadataError::Refused { .. }), "{what}");
    }
}

#[test]
fn nobody_registers_before_the_cluster_begins() {
    let state = State::new(Budgets::default());
    let error = decide::register(&state, &register_request(1)).unwrap_err();
    assert!(matches!(
        error,
        MetadataError::Unavailable {
            may_have_happened: false,
            ..
        }
    ));
}
