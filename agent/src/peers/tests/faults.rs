//! Owners that do not answer, or not with what they were asked for: the bucket is read, in time.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::{ObjectLevel, WriterSlot};

use super::bed::{Bed, Written};
use crate::{
    fetch::cache::ReadError,
    peers::{GetCause, PeerFault, PeerNetwork, PeerService, Unit, UnitRequest},
};

const BUCKET: Duration = Duration::from_millis(30);

/// Two agents; a cold object that agent 0 owns and whose owner does this.
async fn bed_with(fault: PeerFault) -> (Bed, Written) {
    let bed = Bed::agents(&["a", "a"]).await;
    bed.bucket.set_latency(BUCKET);
    let written = bed.write_owned_by(0).await;
    bed.settle().await;
    bed.network.set_fault(&Bed::peer(0), fault);
    (bed, written)
}

/// Reads through agent 1; how long that took.
async fn timed_read(bed: &Bed, written: &Written) -> Duration {
    let began = bed.ports.clock.now();
    bed.read(1, &written.1[0]).await.unwrap();
    bed.ports.clock.now().since(began)
}

#[tokio::test(start_paused = true)]
async fn a_silent_owner_costs_50_ms_once() {
    let (bed, written) = bed_with(PeerFault::Silent).await;
    let budget = Duration::from_millis(50);
    assert_eq!(timed_read(&bed, &written).await, budget + BUCKET);
    let next = bed.write_owned_by(0).await;
    assert_eq!(timed_read(&bed, &next).await, BUCKET, "it is left alone");
    assert_eq!(bed.gets(1, GetCause::PeerTimeout), 1);
    assert_eq!(bed.gets(1, GetCause::PeerPaused), 1);
    // It is asked again later, and is well.
    bed.network.set_fault(&Bed::peer(0), PeerFault::None);
    bed.ports.sleep(Duration::from_millis(250)).await;
    let later = bed.write_owned_by(0).await;
    timed_read(&bed, &later).await;
    assert_eq!(bed.agents[1].fetch.cache().counts().peer_hits, 1);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_stops_in_its_answer_costs_a_second_at_most() {
    let (bed, written) = bed_with(PeerFault::SilentBody).await;
    let stall = Duration::from_secs(1);
    assert_eq!(timed_read(&bed, &written).await, stall + BUCKET);
    assert_eq!(bed.gets(1, GetCause::PeerTimeout), 1);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_never_quite_stops_costs_five_seconds_at_most() {
    let (bed, _) = bed_with(PeerFault::SlowBody(Duration::from_millis(900))).await;
    // Some 16 pieces.
    let extent = bed.produce_bytes(0, 0, 1_000_000).await;
    bed.settle().await;
    let began = bed.ports.clock.now();
    bed.read(1, &extent).await.unwrap();
    let took = bed.ports.clock.now().since(began);
    assert_eq!(took, Duration::from_secs(5) + BUCKET);
    assert_eq!(bed.gets(1, GetCause::PeerTimeout), 1);
}

#[tokio::test(start_paused = true)]
async fn regression_who_asks_others_for_as_much_as_it_may_reads_the_bucket_at_once() {
    let mut bed = Bed::new();
    bed.start("a").await;
    let peer = Bed::peer(1);
    let mut service = PeerService::new(bed.network.agent(Some(&peer)) as Arc<dyn PeerNetwork>);
    service.settings.asks_max = 1;
    bed.start_with("a", &peer, service, bed.ports.another_node())
        .await;
    bed.settle().await;
    bed.bucket.set_latency(BUCKET);
    let (one, two) = (bed.write_owned_by(0).await, bed.write_owned_by(0).await);
    bed.settle().await;
    bed.network.set_fault(&Bed::peer(0), PeerFault::SilentBody);
    let (first, second) = tokio::join!(timed_read(&bed, &one), timed_read(&bed, &two));
    assert_eq!(first, Duration::from_secs(1) + BUCKET);
    assert_eq!(second, BUCKET, "it waits for no place");
    assert_eq!(bed.gets(1, GetCause::PeerRefused), 1);
}

#[tokio::test(start_paused = true)]
async fn an_owner_within_the_budget_is_waited_for() {
    let (bed, written) = bed_with(PeerFault::Slow(Duration::from_millis(49))).await;
    timed_read(&bed, &written).await;
    assert_eq!(bed.gets(1, GetCause::PeerTimeout), 0);
    assert_eq!(bed.bucket.all_gets(), 1);
    bed.network
        .set_fault(&Bed::peer(0), PeerFault::Slow(Duration::from_millis(51)));
    let next = bed.write_owned_by(0).await;
    timed_read(&bed, &next).await;
    assert_eq!(bed.gets(1, GetCause::PeerTimeout), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_owner_costs_nothing() {
    let (bed, written) = bed_with(PeerFault::None).await;
    bed.agents[0].ports.tasks.kill();
    assert_eq!(timed_read(&bed, &written).await, BUCKET);
    assert_eq!(bed.gets(1, GetCause::PeerUnreachable), 1);
    // When the view has heard of it, this agent is the owner.
    bed.settle().await;
    let next = bed.write_cold().await;
    timed_read(&bed, &next).await;
    assert_eq!(bed.gets(1, GetCause::Owner), 1);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_dies_while_it_reads_the_bucket_is_replaced_by_the_bucket() {
    let (bed, written) = bed_with(PeerFault::None).await;
    let killing = async {
        bed.ports.sleep(BUCKET / 2).await;
        bed.agents[0].ports.tasks.kill();
    };
    let (took, ()) = tokio::join!(timed_read(&bed, &written), killing);
    assert!(took < 2 * BUCKET, "{took:?}");
    assert_eq!(bed.gets(1, GetCause::PeerCut), 1);
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_are_never_used_and_their_sender_is_left_alone() {
    for fault in [PeerFault::Corrupt, PeerFault::Short] {
        let (bed, written) = bed_with(fault).await;
        // So that the owner has it in memory, in more than one piece.
        bed.read(0, &written.1[0]).await.unwrap();
        let long = bed.produce_bytes(0, 0, 200_000).await;
        bed.settle().await;
        for extent in [&written.1[0], &long] {
            bed.read(1, extent).await.unwrap();
        }
        let counts = bed.agents[1].fetch.cache().counts();
        match fault {
            PeerFault::Corrupt => {
                assert_eq!(counts.gets(GetCause::PeerWrong), 1);
                assert_eq!(counts.gets(GetCause::PeerPaused), 1);
                assert_eq!(counts.peer_hits, 0);
            }
            // The first object is one piece; the second one is cut.
            _ => {
                assert_eq!(counts.gets(GetCause::PeerCut), 1);
                assert_eq!(counts.peer_hits, 1);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_parts_are_found_when_their_blocks_are_read() {
    let bed = Bed::agents(&["a", "a"]).await;
    let (_, extents) = bed
        .write_as(ObjectLevel::L1, WriterSlot(9_999), 1, 9 << 20)
        .await;
    bed.settle().await;
    for agent in 0..2 {
        bed.network.set_fault(&Bed::peer(agent), PeerFault::Corrupt);
    }
    for agent in 0..2 {
        for extent in &extents {
            bed.read(agent, extent).await.unwrap();
        }
        let counts = bed.agents[agent].fetch.cache().counts();
        assert!(counts.gets(GetCause::Damaged) > 0, "{counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn regression_of_several_agents_that_sent_a_damaged_run_none_is_left_alone() {
    let bed = Bed::agents(&["a", "a", "a"]).await;
    // The first run begins in part 0 and ends in part 1.
    let (extents, wrong, right) = loop {
        let level = ObjectLevel::L1;
        let (object, extents) = bed.write_as(level, WriterSlot(9_999), 1, 5 << 20).await;
        let owners = [0, 1].map(|part| bed.owner_of(Unit::new(object, part).unwrap()));
        if owners[0] != owners[1] {
            break (extents, owners[0], owners[1]);
        }
    };
    bed.settle().await;
    let reader = 3 - wrong - right;
    bed.network.set_fault(&Bed::peer(wrong), PeerFault::Corrupt);
    bed.read(reader, &extents[0]).await.unwrap();
    assert_eq!(bed.gets(reader, GetCause::Damaged), 2, "both parts");
    let (_, next) = bed.write_owned_by(right).await;
    bed.settle().await;
    bed.read(reader, &next[0]).await.unwrap();
    assert_eq!(bed.gets(reader, GetCause::PeerPaused), 0);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_object_in_the_bucket_is_given_to_nobody() {
    let (bed, written) = bed_with(PeerFault::None).await;
    bed.damage(&written).await;
    let error = bed.read(1, &written.1[0]).await.unwrap_err();
    assert!(matches!(error, ReadError::Damaged(_)), "{error}");
    let counts = bed.agents[0].fetch.cache().counts();
    assert_eq!(counts.bytes_sent, 0);
    assert_eq!(bed.gets(1, GetCause::PeerCut), 1);
    // The other run of the object can be read.
    bed.read(1, &written.1[1]).await.unwrap();
}

/// Two agents of a zone; the first answers one of them at a time.
async fn one_answer_at_a_time() -> (Bed, String) {
    let mut bed = Bed::new();
    let peer = Bed::peer(0);
    let mut service = PeerService::new(bed.network.agent(Some(&peer)) as Arc<dyn PeerNetwork>);
    service.settings.answers_max = 1;
    bed.start_with("a", &peer, service, bed.ports.another_node())
        .await;
    bed.start("a").await;
    bed.settle().await;
    (bed, peer)
}

#[tokio::test(start_paused = true)]
async fn a_busy_owner_refuses_at_once_and_is_asked_again() {
    let (bed, _) = one_answer_at_a_time().await;
    bed.bucket.set_latency(BUCKET);
    let (one, two) = (bed.write_owned_by(0).await, bed.write_owned_by(0).await);
    bed.settle().await;
    tokio::join!(timed_read(&bed, &one), timed_read(&bed, &two));
    assert_eq!(bed.gets(1, GetCause::PeerRefused), 1);
    let three = bed.write_owned_by(0).await;
    timed_read(&bed, &three).await;
    assert_eq!(bed.agents[1].fetch.cache().counts().peer_hits, 2);
}

#[tokio::test(start_paused = true)]
async fn regression_a_peer_that_is_busy_after_a_failure_is_well_again() {
    let (bed, peer) = one_answer_at_a_time().await;
    bed.network.set_fault(&peer, PeerFault::Silent);
    let first = bed.write_owned_by(0).await;
    timed_read(&bed, &first).await;
    assert_eq!(bed.gets(1, GetCause::PeerTimeout), 1);
    bed.network.set_fault(&peer, PeerFault::None);
    bed.ports.sleep(Duration::from_millis(250)).await;
    // Somebody else has its only place.
    let request = UnitRequest {
        cluster: bed.fake.cluster(),
        zone: "a".to_owned(),
        unit: Unit::new(first.0, 0).unwrap(),
    };
    let _answer = bed.network.agent(None).ask(&peer, &request).await.unwrap();
    for _ in 0..2 {
        let written = bed.write_owned_by(0).await;
        timed_read(&bed, &written).await;
    }
    assert_eq!(bed.gets(1, GetCause::PeerPaused), 0);
    assert_eq!(bed.gets(1, GetCause::PeerRefused), 2);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_agent_still_answers_from_the_bucket() {
    // Agent 1 waits for agent 0; agent 0, whose view may differ, asks agent 1 for the same unit.
    let (bed, written) = bed_with(PeerFault::SilentBody).await;
    let asking = async {
        bed.ports.sleep(Duration::from_millis(10)).await;
        let began = bed.ports.clock.now();
        let unit = Unit::new(written.0, 0).unwrap();
        let cache = bed.agents[1].fetch.cache();
        let bytes = cache.read_for_peer(unit).await.unwrap();
        assert!(!bytes.is_empty());
        assert_eq!(bed.ports.clock.now().since(began), BUCKET);
    };
    tokio::join!(timed_read(&bed, &written), asking);
    assert_eq!(bed.gets(1, GetCause::Peer), 1);
    assert_eq!(
        bed.bucket.all_gets(),
        1,
        "what was read for the other one is used"
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_object_is_believed_of_the_bucket_only() {
    let (bed, written) = bed_with(PeerFault::None).await;
    bed.delete(&written).await;
    let error = bed.read(1, &written.1[0]).await.unwrap_err();
    assert_eq!(error, ReadError::Gone);
    assert_eq!(bed.bucket.all_gets(), 2);
}
