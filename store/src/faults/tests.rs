use super::*;
use crate::memory::MemoryStore;

fn faulty(seed: u64, plan: FaultPlan) -> (FaultyStore, Faults, Ports) {
    let ports = Ports::simulated(seed, 0);
    let faults = Faults::new(plan);
    let inner = Arc::new(MemoryStore::new());
    let store = FaultyStore::new(inner, ports.clone(), faults.clone());
    (store, faults, ports)
}

fn payload() -> Payload {
    vec![Bytes::from_static(b"content")]
}

#[tokio::test(start_paused = true)]
async fn without_faults_it_conforms() {
    let (store, faults, _) = faulty(1, FaultPlan::default());
    crate::conformance::check(Arc::new(store), "x/").await;
    let counts = faults.counts();
    assert!(counts.requests > 100);
    assert_eq!(counts.errors + counts.lost_responses, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_response_has_its_effect_and_an_error_has_none() {
    let (store, faults, _) = faulty(
        2,
        FaultPlan {
            lost_response: 1.0,
            ..FaultPlan::default()
        },
    );
    let put = store.put("lost", payload(), PutMode::Create).await;
    assert!(matches!(
        put,
        Err(PutError::Failed {
            slow_down: false,
            ..
        })
    ));
    faults.set(FaultPlan {
        slow_down: 1.0,
        ..FaultPlan::default()
    });
    let put = store.put("slow", payload(), PutMode::Create).await;
    assert!(matches!(
        put,
        Err(PutError::Failed {
            slow_down: true,
            ..
        })
    ));
    faults.set(FaultPlan {
        outage: true,
        ..FaultPlan::default()
    });
    assert!(store.put("out", payload(), PutMode::Create).await.is_err());
    assert!(store.list("", None, 9).await.is_err());
    faults.set(FaultPlan::default());
    let listed = store.list("", None, 9).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].key, "lost");
    let counts = faults.counts();
    assert_eq!(
        (counts.lost_responses, counts.slow_downs, counts.errors),
        (1, 1, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_late_put_shows_up_after_it_was_reported_failed() {
    let (store, faults, ports) = faulty(
        3,
        FaultPlan {
            late_effect: 1.0,
            late_by: Duration::from_secs(60),
            ..FaultPlan::default()
        },
    );
    assert!(store.put("late", payload(), PutMode::Create).await.is_err());
    faults.set(FaultPlan::default());
    ports.sleep(Duration::from_secs(59)).await;
    assert!(store.head("late").await.is_err());
    ports.sleep(Duration::from_secs(2)).await;
    assert_eq!(store.get("late").await.unwrap(), "content");
}

#[tokio::test(start_paused = true)]
async fn damage_is_silent_and_small() {
    let (store, faults, _) = faulty(4, FaultPlan::default());
    store.put("k", payload(), PutMode::Create).await.unwrap();
    faults.set(FaultPlan {
        bit_flip: 1.0,
        ..FaultPlan::default()
    });
    let read = store.get("k").await.unwrap();
    let wrong: u32 = read
        .iter()
        .zip(b"content")
        .map(|(a, b)| (a ^ b).count_ones())
        .sum();
    assert_eq!((read.len(), wrong), (7, 1));
    faults.set(FaultPlan {
        truncated: 1.0,
        ..FaultPlan::default()
    });
    let read = store.get_range("k", 0..7).await.unwrap();
    assert!(read.len() < 7 && b"content".starts_with(&read));
    faults.set(FaultPlan::default());
    assert_eq!(store.get("k").await.unwrap(), "content");
}

#[test]
fn log_normal_latencies_have_the_percentiles_that_were_asked_for() {
    let rand = crate::SeededRand::new(5);
    let millis = Duration::from_millis;
    let latency = Latency::LogNormal {
        p50: millis(20),
        p99: millis(200),
    };
    let mut drawn: Vec<Duration> = (0..20_000).map(|_| latency.draw(&rand)).collect();
    drawn.sort_unstable();
    let (p50, p99) = (drawn[10_000], drawn[19_800]);
    assert!(p50 > millis(19) && p50 < millis(21), "{p50:?}");
    assert!(p99 > millis(180) && p99 < millis(220), "{p99:?}");
    let nothing = Latency::LogNormal {
        p50: Duration::ZERO,
        p99: Duration::ZERO,
    };
    assert_eq!(nothing.draw(&rand), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_faults() {
    async fn trace(seed: u64) -> (Vec<bool>, Duration) {
        let (store, _, ports) = faulty(
            seed,
            FaultPlan {
                error: 0.3,
                put_latency: Latency::LogNormal {
                    p50: Duration::from_millis(10),
                    p99: Duration::from_millis(90),
                },
                ..FaultPlan::default()
            },
        );
        let mut trace = Vec::new();
        for i in 0..50 {
            let key = format!("{i}");
            let put = store.put(&key, payload(), PutMode::Create).await;
            trace.push(put.is_ok());
        }
        (trace, ports.clock.now().0)
    }
    assert_eq!(trace(7).await, trace(7).await);
    assert_ne!(trace(7).await, trace(8).await);
}
