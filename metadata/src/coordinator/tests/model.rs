//! Random clients of both protocols, that fail, under leaders that fail.
//!
//! `PROPTEST_CASES` sets how many runs are made.

use proptest::{collection::vec, prelude::*};

use super::machine::{CLIENTS, Machine, PARTITIONS};

/// Runs without it set.
const CASES: u32 = 96;

#[derive(Clone, Debug)]
enum Op {
    /// A client does what is next.
    Step(usize),
    /// All do, one after the other.
    All,
    /// The next answer to a client does not arrive.
    Lose(usize),
    /// A call that waits is sent again.
    Again(usize),
    /// A client leaves.
    Leave(usize),
    /// A client dies.
    Crash(usize),
    /// A member commits.
    Commit(usize, i32, i64),
    /// Milliseconds pass.
    Pass(u64),
    /// Another leader takes over.
    TakeOver,
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS.len();
    prop_oneof![
        30 => client.clone().prop_map(Op::Step),
        10 => Just(Op::All),
        3 => client.clone().prop_map(Op::Lose),
        2 => client.clone().prop_map(Op::Again),
        3 => client.clone().prop_map(Op::Leave),
        2 => client.clone().prop_map(Op::Crash),
        6 => (client, 0..PARTITIONS, 0..1_000_i64)
            .prop_map(|(client, partition, offset)| Op::Commit(client, partition, offset)),
        12 => (1_u64..3_000).prop_map(Op::Pass),
        2 => (5_000_u64..50_000).prop_map(Op::Pass),
        2 => Just(Op::TakeOver),
    ]
}

fn cases() -> u32 {
    let set = std::env::var("PROPTEST_CASES").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(CASES)
}

fn play(machine: &mut Machine, op: &Op) {
    match op {
        Op::Step(client) => machine.step(*client),
        Op::All => (0..CLIENTS.len()).for_each(|client| machine.step(client)),
        Op::Lose(client) => machine.lose(*client),
        Op::Again(client) => machine.send_again(*client),
        Op::Leave(client) => machine.leave(*client),
        Op::Crash(client) => machine.crash(*client),
        Op::Commit(client, partition, offset) => machine.commit(*client, *partition, *offset),
        Op::Pass(millis) => machine.pass(*millis),
        Op::TakeOver => machine.take_over(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn partitions_have_one_owner_calls_are_answered_and_commits_stay(ops in vec(op(), 1..150)) {
        let mut machine = Machine::new();
        for op in &ops {
            play(&mut machine, op);
        }
        machine.calm_down();
    }
}

#[test]
fn groups_settle_by_themselves() {
    Machine::new().calm_down();
}
