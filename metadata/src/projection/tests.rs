//! The projection of a whole leader, on tables in memory, in virtual time.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::LeaderTerm;
use aquifer_metadata_api::Metadata;
use tokio::sync::watch;

use super::{ProjectionSettings, memory::MemoryTables, while_leading};
use crate::{
    leader::tests::{World, Writer, partition},
    role::Role,
};

struct Projected {
    world: World,
    tables: MemoryTables,
    role: watch::Sender<Role>,
}

impl Projected {
    async fn new() -> Self {
        let world = World::new().await;
        let tables = MemoryTables::default();
        let (role, told) = watch::channel(Role::Leader(Arc::clone(&world.metadata)));
        world.ports.tasks.spawn(while_leading(
            world.ports.clone(),
            told,
            Box::new(tables.clone()),
            ProjectionSettings::default(),
        ));
        Self {
            world,
            tables,
            role,
        }
    }

    /// (topic, partitions, high watermark of its first one), by name.
    fn topics(&self) -> Vec<(String, u32, i64)> {
        let content = self.tables.content();
        let mut topics: Vec<_> = content
            .topics
            .values()
            .map(|topic| {
                let first = &content.partitions[&partition(topic.id, 0)];
                (topic.name.clone(), topic.partitions, first.high_watermark.0)
            })
            .collect();
        topics.sort();
        topics
    }
}

#[tokio::test(start_paused = true)]
async fn tables_follow_the_leader() {
    let projected = Projected::new().await;
    let world = &projected.world;
    let a = world.topic("a", 2).await;
    world.topic("b", 1).await;
    world.sleep(6_000).await;
    let named = |name: &str, partitions, end| (name.to_owned(), partitions, end);
    assert_eq!(projected.topics(), [named("a", 2, 0), named("b", 1, 0)]);
    let mut writer = Writer::new(&world.metadata).await;
    writer.append(partition(a, 0), 3).await;
    world.sleep(6_000).await;
    assert_eq!(projected.topics(), [named("a", 2, 3), named("b", 1, 0)]);
    assert_eq!(projected.tables.content().objects.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn tables_that_cannot_be_written_do_not_disturb_the_leader_and_are_tried_less_and_less() {
    let projected = Projected::new().await;
    let world = &projected.world;
    world.sleep(100).await;
    projected.tables.set_broken(true);
    let topic = world.topic("a", 1).await;
    world.sleep(600_000).await;
    let (opened, _, _) = projected.tables.calls();
    assert!((8..20).contains(&opened), "{opened}");
    let mut writer = Writer::new(&world.metadata).await;
    writer.append(partition(topic, 0), 7).await;
    assert_eq!(world.leader.stop_reason(), None);
    projected.tables.set_broken(false);
    world.sleep(61_000).await;
    assert_eq!(projected.topics(), [("a".to_owned(), 1, 7)]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_a_later_one_replaced_writes_nothing() {
    let projected = Projected::new().await;
    let world = &projected.world;
    world.sleep(100).await;
    let (_, _, writes) = projected.tables.calls();
    projected.tables.set_term(LeaderTerm(1_000));
    world.topic("a", 1).await;
    world.sleep(600_000).await;
    assert_eq!(projected.tables.calls().2, writes);
    assert!(projected.topics().is_empty());
    assert!(world.metadata.barrier().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn only_who_leads_has_the_tables_open() {
    let projected = Projected::new().await;
    let world = &projected.world;
    world.sleep(100).await;
    let (opened, closed, writes) = projected.tables.calls();
    assert_eq!((opened, closed, writes), (1, 0, 1));
    projected.role.send_replace(Role::Standby { leader: None });
    world.topic("a", 1).await;
    world.sleep(60_000).await;
    assert_eq!(projected.tables.calls(), (1, 1, 1));
    let leads = Role::Leader(Arc::clone(&world.metadata));
    projected.role.send_replace(leads);
    world.ports.sleep(Duration::from_millis(100)).await;
    assert_eq!(projected.topics(), [("a".to_owned(), 1, 0)]);
}
