//! Recovery: pages, written at whatever moments and of whatever ages, and the journal after them give
//! the state that was lost. Random requests are played; a page writer works beside them, takes what is
//! dirty, encodes it bit by bit while more happens, and writes it once it is durable; at the end of
//! each row a new leader recovers.

use proptest::{collection::vec, prelude::*};

use super::{
    group_ops,
    player::{MergeKind, Op, Player, Send, assert_same},
};

/// What topics are altered to; sizes of 62 bytes a record, so that retention finds something.
const TOPIC_CONFIGS: &[(&str, &str)] = &[
    ("message.timestamp.type", "LogAppendTime"),
    ("message.timestamp.type", "CreateTime"),
    ("retention.bytes", "150"),
    ("retention.ms", "500"),
    ("cleanup.policy", "compact"),
];
const BROKER_CONFIGS: &[(&str, &str)] = &[
    ("log.message.timestamp.type", "LogAppendTime"),
    ("log.message.timestamp.type", "CreateTime"),
    ("log.retention.bytes", "300"),
    ("log.retention.bytes", "-1"),
];

fn send() -> impl Strategy<Value = Send> {
    let ahead = prop_oneof![6 => Just(0), 2 => 1i32..4, 2 => -4i32..0];
    (
        0usize..3,
        0i32..3,
        -1i64..3,
        ahead,
        prop::bool::weighted(0.05),
        1u32..3,
    )
        .prop_map(
            |(topic, partition, producer, ahead, raise_epoch, records)| Send {
                topic,
                partition,
                producer,
                ahead,
                raise_epoch,
                records,
            },
        )
}

/// What compactors do, with at most so many extents in a range.
fn merge(extents_max: usize) -> impl Strategy<Value = Op> {
    let kind = prop_oneof![
        3 => prop_oneof![2 => Just(0usize), 1 => any::<usize>()].prop_map(|skip| MergeKind::Small { skip }),
        2 => (1..=extents_max * 2).prop_map(|count| MergeKind::Ranges { count }),
        1 => any::<usize>().prop_map(|partition| MergeKind::Clean { partition }),
    ];
    (kind, 1..=extents_max).prop_map(|(kind, extents_max)| Op::Merge { kind, extents_max })
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0usize..3, 1i32..4, any::<bool>()).prop_map(|(topic, partitions, log_append_time)| {
            Op::Create { topic, partitions, log_append_time }
        }),
        1 => (0usize..3).prop_map(|topic| Op::Delete { topic }),
        1 => (0u16..3, prop::option::of(0u32..3)).prop_map(|(host, previous)| {
            Op::Register { host, previous }
        }),
        1 => any::<usize>().prop_map(|session| Op::EndSession { session }),
        12 => (any::<usize>(), vec(send(), 0..8), any::<bool>()).prop_map(
            |(session, batches, acknowledge)| Op::Commit { session, batches, acknowledge }
        ),
        1 => (1usize..4).prop_map(|back| Op::CommitAgain { back }),
        2 => any::<usize>().prop_map(|held| Op::Release { held }),
        1 => prop_oneof![3 => Just(1u32), 1 => Just(1_441u32)].prop_map(|epochs| Op::Advance { epochs }),
        1 => Just(Op::InitProducerId),
        1 => (0i64..50).prop_map(|gap| Op::AcceptLoss { gap }),
        1 => (0usize..3, 2i32..6).prop_map(|(topic, partitions)| {
            Op::AddPartitions { topic, partitions }
        }),
        1 => (0usize..3, prop::sample::select(TOPIC_CONFIGS)).prop_map(|(topic, config)| {
            Op::AlterTopic { topic, config }
        }),
        1 => prop::sample::select(BROKER_CONFIGS).prop_map(|config| Op::AlterBrokers { config }),
        2 => (0usize..3, 0i32..3, 0i64..6).prop_map(|(topic, partition, keep)| {
            Op::DeleteRecords { topic, partition, keep }
        }),
        1 => (1usize..20).prop_map(|limit| Op::Retain { limit }),
        4 => merge(3),
        5 => any::<usize>().prop_map(|swap| Op::Swap { swap }),
        1 => Just(Op::DeleteObjects),
        2 => (0usize..3).prop_map(|topic| Op::Restore { topic }),
        1 => prop::bool::weighted(0.3).prop_map(|all| Op::Purge { all }),
        14 => group_ops::op().prop_map(Op::Group),
        12 => Just(Op::EndRow),
        3 => Just(Op::TakeDirty),
        5 => (1usize..6).prop_map(|count| Op::EncodePages { count }),
        3 => any::<bool>().prop_map(|only_some| Op::WritePages { only_some }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pages_of_any_ages_and_the_journal_after_them_are_the_state(ops in vec(op(), 1..120)) {
        let mut player = Player::new();
        player.play(&Op::Register { host: 0, previous: None });
        player.world.end_row();
        for op in &ops {
            let rows = player.world.rows.len();
            player.play(op);
            player.assert_sound();
            if player.world.rows.len() > rows {
                assert_same(&player.recover(), &player.world.state);
            }
        }
        player.world.end_row();
        assert_same(&player.recover(), &player.world.state);
    }
}

/// Partitions with several pages of extents: what is deleted is much or little of them.
fn chunk_op() -> impl Strategy<Value = Op> {
    let keep = prop_oneof![1 => Just(0i64), 3 => 1i64..300, 2 => 300i64..1_200];
    prop_oneof![
        4 => (50u32..260).prop_map(|commits| Op::Burst { topic: 0, partition: 0, commits }),
        3 => keep.prop_map(|keep| Op::DeleteRecords { topic: 0, partition: 0, keep }),
        4 => merge(128),
        5 => any::<usize>().prop_map(|swap| Op::Swap { swap }),
        3 => Just(Op::EndRow),
        3 => Just(Op::TakeDirty),
        3 => (1usize..4).prop_map(|count| Op::EncodePages { count }),
        3 => any::<bool>().prop_map(|only_some| Op::WritePages { only_some }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn chunks_have_the_same_boundaries_whatever_was_dropped_when(ops in vec(chunk_op(), 1..40)) {
        let mut player = Player::new();
        player.play(&Op::Register { host: 0, previous: None });
        player.play(&Op::Create { topic: 0, partitions: 1, log_append_time: false });
        player.world.end_row();
        for op in &ops {
            player.play(op);
            player.assert_sound();
            if matches!(op, Op::EndRow | Op::WritePages { .. }) {
                player.world.end_row();
                assert_same(&player.recover(), &player.world.state);
            }
        }
        player.world.end_row();
        assert_same(&player.recover(), &player.world.state);
    }
}
