use super::*;
use crate::{
    faults::{FaultPlan, Faults, FaultyStore, Latency},
    memory::MemoryStore,
};

struct World {
    store: RetryingStore,
    below: Arc<MemoryStore>,
    faults: Faults,
    ports: Ports,
}

fn world(seed: u64, plan: FaultPlan) -> World {
    let ports = Ports::simulated(seed, 0);
    let faults = Faults::new(plan);
    let below = Arc::new(MemoryStore::new());
    let faulty = FaultyStore::new(Arc::clone(&below) as _, ports.clone(), faults.clone());
    World {
        store: RetryingStore::new(Arc::new(faulty), ports.clone(), RetryPolicy::default()),
        below,
        faults,
        ports,
    }
}

fn payload(text: &'static str) -> Payload {
    let (one, two) = text.as_bytes().split_at(text.len() / 2);
    vec![Bytes::from_static(one), Bytes::from_static(two)]
}

#[tokio::test(start_paused = true)]
async fn it_conforms_on_a_bad_network() {
    let world = world(
        1,
        FaultPlan {
            error: 0.2,
            slow_down: 0.1,
            get_latency: Latency::Fixed(Duration::from_millis(20)),
            ..FaultPlan::default()
        },
    );
    crate::conformance::check(Arc::new(world.store), "r/").await;
    assert!(world.faults.counts().errors > 20);
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_succeeds_at_the_second_try() {
    for seed in 0..20 {
        let world = world(
            seed,
            FaultPlan {
                lost_response: 0.5,
                ..FaultPlan::default()
            },
        );
        let put = world.store.put("k", payload("mine"), PutMode::Create).await;
        assert!(put.is_ok(), "seed {seed}: {put:?}");
        assert_eq!(world.below.get("k").await.unwrap(), "mine");
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_in_doubt_never_takes_another_writers_object_for_its_own() {
    for other in ["other", "mina", "mine, and more", "min"] {
        for seed in 0..10 {
            let world = world(
                seed,
                FaultPlan {
                    lost_response: 0.5,
                    ..FaultPlan::default()
                },
            );
            let there = world.below.put("k", payload(other), PutMode::Create).await;
            there.unwrap();
            let put = world.store.put("k", payload("mine"), PutMode::Create).await;
            assert!(matches!(put, Err(PutError::Exists { .. })), "{put:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_try_that_finds_the_key_taken_lost_even_if_the_bytes_are_equal() {
    let world = world(1, FaultPlan::default());
    let there = world.below.put("k", payload("mine"), PutMode::Create).await;
    there.unwrap();
    let put = world.store.put("k", payload("mine"), PutMode::Create).await;
    assert!(matches!(put, Err(PutError::Exists { .. })), "{put:?}");
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_at_the_deadline() {
    let outage = FaultPlan {
        outage: true,
        ..FaultPlan::default()
    };
    let world_of_outage = world(1, outage);
    let put = world_of_outage
        .store
        .put("k", payload("x"), PutMode::Create)
        .await;
    assert!(matches!(put, Err(PutError::Failed { .. })));
    let took = world_of_outage.ports.clock.now().0;
    assert!(took <= RetryPolicy::default().deadline, "{took:?}");
    assert!(took > Duration::from_secs(15), "{took:?}");
    let hanging = world(
        1,
        FaultPlan {
            get_latency: Latency::Fixed(Duration::from_secs(1000)),
            ..FaultPlan::default()
        },
    );
    let get = hanging.store.get("k").await;
    assert!(matches!(get, Err(GetError::Failed { .. })), "{get:?}");
    let took = hanging.ports.clock.now().0;
    assert!(took <= RetryPolicy::default().deadline, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_object_is_reported_at_once() {
    let world = world(1, FaultPlan::default());
    let get = world.store.get("k").await;
    assert!(matches!(get, Err(GetError::NotFound { .. })));
    assert_eq!(world.faults.counts().requests, 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_asks_for_fewer_requests_gets_fewer() {
    let requests = |plan| async move {
        let world = world(9, plan);
        let _ = world.store.get("k").await;
        world.faults.counts().requests
    };
    let failing = requests(FaultPlan {
        error: 1.0,
        ..FaultPlan::default()
    })
    .await;
    let slowed = requests(FaultPlan {
        slow_down: 1.0,
        ..FaultPlan::default()
    })
    .await;
    assert!(slowed < failing, "{slowed} against {failing}");
}

#[tokio::test(start_paused = true)]
async fn deletes_go_on_with_what_is_left() {
    let world = world(
        3,
        FaultPlan {
            lost_response: 0.5,
            error: 0.3,
            ..FaultPlan::default()
        },
    );
    for key in ["a", "b"] {
        let put = world.below.put(key, payload("x"), PutMode::Create).await;
        put.unwrap();
    }
    let keys = ["a".to_owned(), "b".to_owned()];
    world.store.delete(&keys).await.unwrap();
    assert_eq!(world.below.totals(), (0, 0));
}
