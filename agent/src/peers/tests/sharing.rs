//! A zone reads each unit once.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::{ObjectLevel, WriterSlot};
use aquifer_metadata_api::extent::Extent;
use futures::future::{join_all, try_join_all};

use super::bed::Bed;
use crate::{
    fetch::cache::Reading,
    peers::{GetCause, PART_BYTES, PeerError, Unit, UnitRequest},
};

/// Reads every extent through every agent, ten readers each, all at once.
async fn read_everywhere(bed: &Bed, extents: &[Extent]) {
    let agents = (0..bed.agents.len()).flat_map(|agent| [agent; 10]);
    let reads = agents.flat_map(|agent| extents.iter().map(move |extent| (agent, extent)));
    let reads = reads.map(|(agent, extent)| bed.read(agent, extent));
    try_join_all(reads).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_readers_on_all_agents_make_one_get_per_unit_and_zone() {
    let mut bed = Bed::agents(&["a", "a", "b", "a"]).await;
    // Slower than an owner may take to begin: it says first that it answers.
    bed.bucket.set_latency(Duration::from_millis(300));
    let mut extents = Vec::new();
    for _ in 0..12 {
        extents.extend(bed.write_cold().await.1);
    }
    bed.fake.advance_upload_epoch(5);
    bed.settle().await;
    read_everywhere(&bed, &extents).await;
    assert_eq!(bed.bucket.gets(), [2; 12], "one GET per zone");
    read_everywhere(&bed, &extents).await;
    assert_eq!(bed.bucket.gets(), [2; 12]);
    for agent in &bed.agents {
        let counts = agent.fetch.cache().counts();
        assert_eq!(counts.peer_misses(), 0);
    }
    assert_eq!(bed.gets(2, GetCause::Owner), 12, "zone b has one agent");
    let alone = bed.start("c").await;
    bed.settle().await;
    bed.read(alone, &extents[0]).await.unwrap();
    assert_eq!(bed.gets(alone, GetCause::Owner), 1);
}

#[tokio::test(start_paused = true)]
async fn bytes_are_sent_and_received_within_the_zone_only() {
    let bed = Bed::agents(&["a", "a", "b", "", ""]).await;
    let mut extents = Vec::new();
    for _ in 0..20 {
        extents.extend(bed.write_cold().await.1);
    }
    bed.settle().await;
    read_everywhere(&bed, &extents).await;
    assert_eq!(bed.bucket.gets(), [3; 20]);
    let counts: Vec<_> = bed
        .agents
        .iter()
        .map(|agent| agent.fetch.cache().counts())
        .collect();
    for pair in [[0, 1], [3, 4]] {
        let sum = |of: fn(&crate::peers::CacheCounts) -> u64| -> u64 {
            pair.iter().map(|agent| of(&counts[*agent])).sum()
        };
        assert_eq!(sum(|c| c.bytes_sent), sum(|c| c.bytes_received));
        assert!(sum(|c| c.bytes_sent) > 0);
        assert_eq!(sum(|c| c.peer_hits), 20);
    }
    assert_eq!((counts[2].bytes_sent, counts[2].bytes_received), (0, 0));
    assert!(
        counts.iter().all(|c| c.refused == 0),
        "nobody asks agents of other zones"
    );
}

#[tokio::test(start_paused = true)]
async fn the_tail_is_never_read_from_the_bucket_in_the_writers_zone() {
    let bed = Bed::agents(&["a", "a", "a", "b"]).await;
    for round in 0..5 {
        for writer in 0..3 {
            let extent = bed.produce(writer, round % 4).await;
            bed.settle().await;
            for reader in 0..3 {
                bed.read(reader, &extent).await.unwrap();
            }
        }
    }
    assert_eq!(bed.bucket.all_gets(), 0);
    let extent = bed.produce(1, 0).await;
    bed.settle().await;
    bed.read(3, &extent).await.unwrap();
    assert_eq!(bed.bucket.all_gets(), 1, "the other zone reads it once");
    let served = bed.agents[1].fetch.cache().counts().served_from_memory;
    assert_eq!(served, 10, "five objects, two readers each");
}

#[tokio::test(start_paused = true)]
async fn regression_what_came_from_another_agent_keeps_no_buffer_of_the_network() {
    let bed = Bed::agents(&["a", "a"]).await;
    let (object, extents) = bed.write_owned_by(0).await;
    bed.settle().await;
    bed.read(1, &extents[0]).await.unwrap();
    let unit = Unit::new(object, 0).unwrap();
    let held = |agent: usize| bed.agents[agent].fetch.cache().held(&unit).unwrap();
    // One piece, which this network hands over as it is.
    let (sent, kept) = (held(0), held(1));
    assert_eq!((sent.len(), kept.len()), (1, 1));
    assert_eq!(sent, kept);
    assert_ne!(sent[0].as_ptr(), kept[0].as_ptr());
}

#[tokio::test(start_paused = true)]
async fn what_came_from_another_agent_does_not_displace_what_is_owned() {
    let bed = Bed::agents(&["a", "a"]).await;
    let (_, owned) = bed.write_owned_by(0).await;
    bed.read(0, &owned[0]).await.unwrap();
    // A quarter of the cache is for what passes: 16 MiB; this is more than all of it.
    for _ in 0..35 {
        let slot = bed.slot(1);
        let (_, extents) = bed.write_as(ObjectLevel::L0, slot, 1, 1 << 20).await;
        bed.read(0, &extents[0]).await.unwrap();
    }
    let before = bed.bucket.all_gets();
    bed.read(0, &owned[0]).await.unwrap();
    assert_eq!(bed.bucket.all_gets(), before, "it is in memory still");
    let debug = format!("{:?}", bed.agents[0].fetch.cache());
    let bytes = debug.split("bytes: ").nth(1).unwrap();
    let bytes: u64 = bytes.split(',').next().unwrap().parse().unwrap();
    assert!(bytes < 20 << 20, "{debug}");
}

#[tokio::test(start_paused = true)]
async fn larger_objects_are_shared_in_aligned_parts() {
    let bed = Bed::agents(&["a", "a", "a"]).await;
    // Two runs of 5 MiB: the second one begins in part 1 and ends in part 2.
    let (object, extents) = bed
        .write_as(ObjectLevel::L1, WriterSlot(9_999), 1, 5 << 20)
        .await;
    assert!(extents[1].run_position > PART_BYTES);
    bed.settle().await;
    read_everywhere(&bed, &extents).await;
    assert_eq!(bed.bucket.gets(), [1; 3], "three parts of {object:?}");
}

#[tokio::test(start_paused = true)]
async fn agents_of_other_zones_and_clusters_get_nothing() {
    let bed = Bed::agents(&["a", "b"]).await;
    let (object, extents) = bed.write_cold().await;
    bed.settle().await;
    bed.read(0, &extents[0]).await.unwrap();
    let asker = bed.network.agent(None);
    let ask = |cluster, zone: &str| {
        let request = UnitRequest {
            cluster,
            zone: zone.to_owned(),
            unit: Unit::new(object, 0).unwrap(),
        };
        let asker = Arc::clone(&asker);
        async move {
            use crate::peers::PeerNetwork;
            asker
                .ask(&Bed::peer(0), &request)
                .await
                .map(|answer| answer.bytes)
        }
    };
    let cluster = bed.fake.cluster();
    let other = aquifer_format::ids::ClusterId(uuid::Uuid::from_u128(5));
    assert!(ask(cluster, "a").await.unwrap().is_some());
    for refused in [ask(cluster, "b").await, ask(other, "a").await] {
        assert!(
            matches!(refused, Err(PeerError::Refused { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(bed.agents[0].fetch.cache().counts().refused, 2);
}

#[tokio::test(start_paused = true)]
async fn reads_stay_right_while_owners_come_and_go() {
    let mut bed = Bed::agents(&["a", "a", "a"]).await;
    bed.bucket.set_latency(Duration::from_millis(20));
    let mut extents = Vec::new();
    for _ in 0..10 {
        extents.extend(bed.write_cold().await.1);
    }
    bed.settle().await;
    let mut changes = 1;
    for round in 0..6 {
        let reading = join_all(
            bed.live()
                .flat_map(|agent| extents.iter().map(move |extent| (agent, extent)))
                .map(|(agent, extent)| bed.read_by(agent, extent)),
        );
        let changing = async {
            bed.ports.sleep(Duration::from_millis(10)).await;
            if round % 2 == 1 {
                let gone = bed.live().last().unwrap();
                gone.ports.tasks.kill();
            }
        };
        let (results, ()) = tokio::join!(reading, changing);
        let failures = results.into_iter().filter(Result::is_err).count();
        // Who is killed itself may fail; nobody else does.
        assert!(failures <= if round % 2 == 1 { extents.len() } else { 0 });
        if round % 2 == 0 {
            bed.start("a").await;
        }
        changes += 1;
        bed.settle().await;
    }
    let gets = bed.bucket.gets();
    assert_eq!(gets.len(), 10);
    assert!(gets.iter().all(|n| *n <= 2 * changes), "{gets:?}");
}

#[tokio::test(start_paused = true)]
async fn a_scan_goes_past_the_owners_and_pushes_nothing_out() {
    let bed = Bed::agents(&["a", "a"]).await;
    let (object, extents) = bed.write_cold().await;
    bed.settle().await;
    let reader = 1 - bed.owner(object);
    let cache = bed.agents[reader].fetch.cache();
    cache.run(&extents[0], Reading::Scan).await.unwrap();
    assert_eq!(bed.gets(reader, GetCause::Scan), 1);
    assert_eq!(cache.counts().peer_hits, 0);
}
