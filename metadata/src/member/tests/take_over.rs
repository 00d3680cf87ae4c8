//! Members that cannot go on half way, and what becomes of the lease then.

use std::sync::atomic::{AtomicU32, Ordering};

use aquifer_store::faults::{FaultPlan, Latency};

use super::*;
use crate::journal::{
    JournalError,
    memory::{Call, Fault},
};

const FOREVER: Latency = Latency::Fixed(Duration::from_secs(86_400));

impl Cluster {
    /// Whether it comes to lead within `seconds`.
    async fn soon_leads(&self, process: &Process, seconds: u64) -> bool {
        let patience = Duration::from_secs(seconds);
        let led = self.ports.timeout(patience, process.leads()).await;
        led.is_some()
    }

    async fn assert_stops_at_once(&self, process: &Process) {
        let began = self.ports.clock.now();
        process.member.stop().await;
        let took = self.ports.clock.now().since(began);
        assert!(took < Duration::from_millis(100), "{took:?}");
    }

    fn start_faulty(&self) -> (Process, Faults) {
        let (store, faults) = self.faulty_store();
        let journal = Arc::<MemoryJournal>::clone(&self.journal);
        (self.start_with(journal, store), faults)
    }

    /// One that never ran.
    fn life(&self) -> Life {
        let (role, _) = watch::channel(Role::Standby { leader: None });
        Life {
            journal: Arc::<MemoryJournal>::clone(&self.journal),
            store: Arc::<MemoryStore>::clone(&self.store),
            ports: self.ports.another_node(),
            settings: MemberSettings::default(),
            role,
            stopping: CancellationToken::new(),
            writer: 7,
            memory: None,
            written: None,
            troubled: None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn regression_a_member_that_cannot_write_the_bucket_gives_the_lease_up() {
    let cluster = Cluster::new();
    let (one, faults) = cluster.start_faulty();
    faults.set(FaultPlan {
        put_latency: FOREVER,
        ..FaultPlan::default()
    });
    cluster.sleep(1_000).await;
    let two = cluster.start();
    assert!(cluster.soon_leads(&two, 10).await);
    one.stands_by().await;
}

#[tokio::test(start_paused = true)]
async fn regression_a_member_that_cannot_read_the_bucket_gives_the_lease_up() {
    for plan in [
        FaultPlan {
            outage: true,
            ..FaultPlan::default()
        },
        FaultPlan {
            get_latency: FOREVER,
            ..FaultPlan::default()
        },
    ] {
        let cluster = Cluster::new();
        let leader = cluster.start();
        leader.leads().await;
        let (one, faults) = cluster.start_faulty();
        one.stands_by().await;
        faults.set(plan);
        leader.tasks.kill();
        // until it has the lease
        cluster.sleep(4_000).await;
        let two = cluster.start();
        assert!(cluster.soon_leads(&two, 10).await);
        assert!(one.is(|role| matches!(role, Role::Standby { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn regression_a_stop_waits_neither_for_a_look_nor_for_a_step_nor_for_a_take_over() {
    let hanging = FaultPlan {
        get_latency: FOREVER,
        ..FaultPlan::default()
    };
    let cluster = Cluster::new();
    let (looks, faults) = cluster.start_faulty();
    faults.set(hanging);
    cluster.sleep(1_000).await;
    cluster.assert_stops_at_once(&looks).await;

    let leader = cluster.start();
    leader.leads().await;
    let stands_by = cluster.start();
    stands_by.stands_by().await;
    cluster.switches.fail_next(Call::Read, Fault::Hang);
    cluster.sleep(1_000).await;
    cluster.assert_stops_at_once(&stands_by).await;

    let (takes_over, faults) = cluster.start_faulty();
    takes_over.stands_by().await;
    faults.set(hanging);
    leader.tasks.kill();
    cluster.sleep(4_000).await;
    let next = cluster.start();
    next.stands_by().await;
    cluster.assert_stops_at_once(&takes_over).await;
    // which had the lease, and gave it up
    assert!(cluster.soon_leads(&next, 1).await);
}

#[tokio::test(start_paused = true)]
async fn regression_a_member_that_was_killed_has_ended() {
    let cluster = Cluster::new();
    let one = cluster.start();
    one.leads().await;
    one.tasks.kill();
    cluster.assert_stops_at_once(&one).await;
}

#[tokio::test(start_paused = true)]
async fn regression_a_lease_that_answers_does_not_end_a_trouble_with_the_rows() {
    let cluster = Cluster::new();
    let leader = cluster.start();
    leader.leads().await;
    let mut life = cluster.life();
    let follower = life.look().await.ok().expect("journal and bucket agree");
    for _ in 0..10 {
        cluster.switches.fail_next(Call::Read, Fault::Unavailable);
    }
    let began = cluster.ports.clock.now();
    let patience = Duration::from_secs(1);
    let stood_by = life.stand_by(follower);
    let stood_by = cluster.ports.timeout(patience, stood_by).await;
    assert!(stood_by.is_none());
    assert_eq!(life.troubled, Some(began), "told once");
}

#[test]
fn regression_rows_that_are_trimmed_again_and_again_are_waited_for() {
    let trimmed = JournalError::Gap {
        wanted: JournalSeq(3),
        first: JournalSeq(9),
    };
    assert!(matches!(journal_next(&trimmed), Next::Retry(_)));
}

#[tokio::test(start_paused = true)]
async fn regression_a_start_that_fails_gives_the_lease_up() {
    let cluster = Cluster::new();
    let (store, faults) = cluster.faulty_store();
    let calls = AtomicU32::new(0);
    let journal = Hooked::around(&cluster.journal, move |call| {
        // the bucket was looked at before
        if call == Call::Lease && calls.fetch_add(1, Ordering::Relaxed) == 0 {
            faults.change(|plan| plan.outage = true);
        }
        Box::pin(async {})
    });
    let ports = cluster.ports.another_node();
    let started = Leader::start_on(journal, store, ports, LeaderSettings::default()).await;
    assert!(matches!(started, Err(StartError::Bucket(_))), "{started:?}");
    let ttl = Duration::from_secs(1);
    let taken = cluster.journal.lease(None, "other", "", ttl).await;
    assert!(matches!(taken, Ok(LeaseOutcome::Held(_))), "{taken:?}");
}
