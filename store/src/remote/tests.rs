//! Against the project's own server, and against `moto_server`, which shares no code with it.

use aquifer_s3_server::{
    Operation, Server, Settings,
    faults::{Fault, Faults},
};

use super::{moto::Moto, *};
use crate::{
    retry::{RetryPolicy, RetryingStore},
    runtime::Ports,
};

fn settings(endpoint: &str, bucket: &str, prefix: &str) -> S3Settings {
    S3Settings {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint.to_owned()),
        path_style: None,
        allow_http: None,
        priced: true,
    }
}

async fn store(endpoint: &str, bucket: &str, prefix: &str) -> RemoteStore {
    let keys = AccessKeys {
        id: "test".to_owned(),
        secret: "test-secret".to_owned(),
    };
    settings(endpoint, bucket, prefix)
        .open_with(Some(keys), Ports::system().clock)
        .await
        .unwrap()
}

/// The suite, with and without a prefix, and a bucket that is not there.
async fn conforms(endpoint: &str) {
    let whole = store(endpoint, "aquifer-test", "").await;
    crate::conformance::check(Arc::new(whole), "s/").await;
    let below = store(endpoint, "aquifer-test", "below/here").await;
    crate::conformance::check(Arc::new(below), "s/").await;
    refuses_without_a_bucket(endpoint).await;
}

async fn refuses_without_a_bucket(endpoint: &str) {
    let missing = store(endpoint, "no-such-bucket-here", "").await;
    let put = missing
        .put("k", vec![Bytes::from_static(b"x")], PutMode::Create)
        .await;
    let error = put.unwrap_err();
    assert!(matches!(error, PutError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("create the bucket"), "{error}");
    let error = missing.get("k").await.unwrap_err();
    assert!(matches!(error, GetError::Refused { .. }), "{error:?}");
    let listed = missing.list("", None, 10).await;
    assert!(listed.is_err(), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_of_another_server_conforms() {
    let Some(moto) = Moto::start() else { return };
    moto.create_bucket("aquifer-test");
    for prefix in ["", "below/here"] {
        let store = store(&moto.endpoint, "aquifer-test", prefix).await;
        // under load two of many creators were told that they won
        crate::conformance::check_simple(Arc::new(store), "s/").await;
    }
    refuses_without_a_bucket(&moto.endpoint).await;
}

async fn server(seed: u64) -> Server {
    let settings = Settings {
        buckets: vec!["aquifer-test".to_owned()],
        seed,
        ..Settings::default()
    };
    Server::start(settings).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_of_the_test_server_conforms() {
    let server = server(1).await;
    conforms(&server.endpoint()).await;
    let counters = server.counters("s/back/");
    assert!(counters.of(Operation::Put).ok > 0, "{counters:?}");
    assert!(counters.keys["s/back/0"].gets > 0, "{counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_end_was_not_heard_of_is_finished() {
    let server = server(9).await;
    let faults = Faults {
        lost_reply: 0.4,
        ..Faults::default()
    };
    let store = faulty(&server, faults).await;
    for i in 0..10 {
        let key = format!("lost/{i}");
        let upload = store.begin_upload(&key).await.unwrap();
        let content = vec![7; 1_000];
        let part = upload.part(0, vec![Bytes::from(content.clone())]).await;
        part.unwrap();
        upload.finish(1, 1_000).await.unwrap();
        assert!(server.object("aquifer-test", &key).unwrap() == content);
    }
    // Uploads of which not even the beginning was heard of are left to whoever looks for them.
    server.set_faults(Faults::default());
    let left = store.unfinished_uploads("lost/", None, 100).await.unwrap();
    assert!(!left.is_empty(), "of ten beginnings none was lost");
    for upload in &left {
        store.abort_upload(upload).await.unwrap();
    }
    let left = store.unfinished_uploads("", None, 100).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

/// As S3 Express is listed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_lists_in_no_order_conforms() {
    let server = server(1).await;
    let mut store = store(&server.endpoint(), "aquifer-test", "below").await;
    store.lists_in_order = false;
    crate::conformance::check(Arc::new(store), "s/").await;
}

#[test]
fn regression_a_listing_in_no_order_keeps_as_many_as_were_asked_for() {
    for limit in [0, 1, 3, 20] {
        let mut found = BTreeMap::new();
        for number in [7_u64, 3, 9, 0, 5, 2, 8, 6, 1, 4] {
            keep_smallest(&mut found, format!("k{number}"), number, limit);
            assert!(found.len() <= limit);
        }
        let smallest: Vec<u64> = (0..10).take(limit).collect();
        assert_eq!(found.into_values().collect::<Vec<_>>(), smallest);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regression_the_server_counts_what_it_answered() {
    let server = server(1).await;
    let plain = store(&server.endpoint(), "aquifer-test", "").await;
    let put = |key: &'static str| plain.put(key, vec![Bytes::from_static(b"x")], PutMode::Create);
    for (faults, fault) in [
        (
            Faults {
                lost_reply: 1.0,
                ..Faults::default()
            },
            Fault::LostReply,
        ),
        (
            Faults {
                error: 1.0,
                ..Faults::default()
            },
            Fault::Error,
        ),
    ] {
        server.set_faults(faults);
        server.reset_counters();
        // Half of the errors come after the effect.
        for key in ["a", "b", "c", "d", "e", "f"] {
            assert!(put(key).await.is_err());
        }
        let counters = server.counters("");
        assert_eq!(counters.happened(fault), 6, "{counters:?}");
        let puts = counters.of(Operation::Put);
        assert_eq!((puts.requests, puts.ok), (6, 0), "{counters:?}");
    }
    server.set_faults(Faults::default());
    put("good").await.unwrap();
    assert_eq!(server.counters("").of(Operation::Put).ok, 1);
    server.set_faults(Faults {
        torn_body: 1.0,
        ..Faults::default()
    });
    assert!(plain.get("good").await.is_err());
    let counters = server.counters("");
    assert_eq!(counters.of(Operation::Get).bytes, 0, "{counters:?}");
    assert_eq!(counters.happened(Fault::TornBody), 1, "{counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_keys_are_refused_for_good() {
    let server = server(1).await;
    for (id, secret) in [("nobody", "test-secret"), ("test", "wrong")] {
        let keys = AccessKeys {
            id: id.to_owned(),
            secret: secret.to_owned(),
        };
        let settings = settings(&server.endpoint(), "aquifer-test", "");
        let wrong = settings.open_with(Some(keys), Ports::system().clock).await;
        let error = wrong.unwrap().get("k").await.unwrap_err();
        assert!(matches!(error, GetError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains("credentials"), "{error}");
    }
}

/// The real client with retries, against a bucket with `faults`.
async fn faulty(server: &Server, faults: Faults) -> Arc<RetryingStore> {
    let inner = Arc::new(store(&server.endpoint(), "aquifer-test", "").await);
    server.set_faults(faults);
    let policy = RetryPolicy {
        deadline: Duration::from_secs(60),
        try_timeout: Duration::from_secs(5),
        first_pause: Duration::from_millis(2),
        pause_max: Duration::from_millis(20),
        ..RetryPolicy::default()
    };
    Arc::new(RetryingStore::new(inner, Ports::system(), policy))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_creators_one_wins_whatever_goes_wrong() {
    for (name, faults) in [
        ("nothing", Faults::default()),
        (
            "conflicts",
            Faults {
                conflict: 0.4,
                ..Faults::default()
            },
        ),
        (
            "lost replies",
            Faults {
                lost_reply: 0.3,
                ..Faults::default()
            },
        ),
        (
            "errors",
            Faults {
                error: 0.3,
                slow_down: 0.1,
                ..Faults::default()
            },
        ),
    ] {
        let server = server(7).await;
        let store = faulty(&server, faults).await;
        for round in 0..4 {
            let key = format!("race/{round}");
            let creators = (0..12_u8).map(|creator| {
                let payload = vec![Bytes::from(vec![creator; 2_000])];
                store.put(&key, payload, PutMode::Create)
            });
            let results = futures::future::join_all(creators).await;
            let winners: Vec<usize> = (0..results.len()).filter(|i| results[*i].is_ok()).collect();
            assert_eq!(winners.len(), 1, "{name}: {results:?}");
            let lost = |r: &&Result<(), PutError>| matches!(r, Err(PutError::Exists { .. }));
            assert_eq!(
                results.iter().filter(lost).count(),
                11,
                "{name}: {results:?}"
            );
            let there = server.object("aquifer-test", &key).unwrap();
            let winner = u8::try_from(winners[0]).unwrap();
            assert!(
                there == vec![winner; 2_000],
                "{name}: the winner's bytes are there"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_is_looked_at_before_it_is_believed() {
    let server = server(3).await;
    let store = store(&server.endpoint(), "aquifer-test", "").await;
    server.set_faults(Faults {
        conflict: 1.0,
        ..Faults::default()
    });
    let create = || store.put("k", vec![Bytes::from_static(b"x")], PutMode::Create);
    // Nothing is there: the conflict came to nothing, and trying again is right.
    let nothing = create().await;
    assert!(
        matches!(nothing, Err(PutError::Failed { .. })),
        "{nothing:?}"
    );
    server.set_faults(Faults::default());
    create().await.unwrap();
    server.set_faults(Faults {
        conflict: 1.0,
        ..Faults::default()
    });
    let taken = create().await;
    assert!(matches!(taken, Err(PutError::Exists { .. })), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_does_wrong_is_seen_for_what_it_is() {
    let server = server(5).await;
    let plain = store(&server.endpoint(), "aquifer-test", "").await;
    let content = Bytes::from(vec![7; 100_000]);
    let put = plain.put("k", vec![content.clone()], PutMode::Create).await;
    put.unwrap();
    let set = |faults: Faults| server.set_faults(faults);

    set(Faults {
        slow_down: 1.0,
        ..Faults::default()
    });
    let error = plain.get("k").await.unwrap_err();
    assert!(
        matches!(
            error,
            GetError::Failed {
                slow_down: true,
                ..
            }
        ),
        "{error:?}"
    );
    set(Faults {
        error: 1.0,
        ..Faults::default()
    });
    let error = plain.get("k").await.unwrap_err();
    assert!(
        matches!(
            error,
            GetError::Failed {
                slow_down: false,
                ..
            }
        ),
        "{error:?}"
    );
    set(Faults {
        torn_body: 1.0,
        ..Faults::default()
    });
    let error = plain.get("k").await.unwrap_err();
    assert!(
        matches!(error, GetError::Failed { .. }),
        "a torn body is no object: {error:?}"
    );
    let error = plain.get_range("k", 10..60_000).await.unwrap_err();
    assert!(matches!(error, GetError::Failed { .. }), "{error:?}");
    set(Faults {
        flipped_bit: 1.0,
        ..Faults::default()
    });
    let wrong = plain.get("k").await.unwrap();
    let differ = |(a, b): (&u8, &u8)| (a ^ b).count_ones();
    let bits: u32 = wrong.iter().zip(&content).map(differ).sum();
    assert_eq!(
        (wrong.len(), bits),
        (content.len(), 1),
        "only checksums see this one"
    );

    set(Faults {
        lost_reply: 1.0,
        ..Faults::default()
    });
    let lost = plain
        .put("lost", vec![content.clone()], PutMode::Create)
        .await;
    assert!(matches!(lost, Err(PutError::Failed { .. })), "{lost:?}");
    assert!(
        server.object("aquifer-test", "lost").is_some(),
        "it was done"
    );

    set(Faults {
        late_ms: 300,
        ..Faults::default()
    });
    plain
        .put("late", vec![content.clone()], PutMode::Create)
        .await
        .unwrap();
    let error = plain.get("late").await.unwrap_err();
    assert!(matches!(error, GetError::NotFound { .. }), "{error:?}");
    let again = plain
        .put("late", vec![content.clone()], PutMode::Create)
        .await;
    assert!(again.is_err(), "{again:?}");
    Ports::system().sleep(Duration::from_millis(350)).await;
    assert!(plain.get("late").await.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_put_that_hangs_is_done_after_its_client_has_gone() {
    let server = server(5).await;
    let plain = store(&server.endpoint(), "aquifer-test", "").await;
    server.set_faults(Faults {
        hang_puts: 1,
        hang_ms: 600,
        ..Faults::default()
    });
    let ports = Ports::system();
    let payload = || vec![Bytes::from_static(b"x")];
    let hanging = plain.put("hangs", payload(), PutMode::Create);
    let hung = ports.timeout(Duration::from_millis(150), hanging).await;
    assert!(hung.is_none(), "{hung:?}");
    // The next one does not hang.
    plain.put("next", payload(), PutMode::Create).await.unwrap();
    assert!(server.object("aquifer-test", "hangs").is_none());
    ports.sleep(Duration::from_millis(800)).await;
    assert!(server.object("aquifer-test", "hangs").is_some());
    assert_eq!(server.faults().hang_puts, 0);
}

#[tokio::test]
async fn an_unencrypted_endpoint_elsewhere_must_be_asked_for() {
    let settings = settings("http://minio:9000", "b", "");
    let opened = settings.clone().open(Ports::system().clock).await;
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("allow_http"), "{error}");
    let settings = S3Settings {
        allow_http: Some(true),
        ..settings
    };
    let opened = settings.open(Ports::system().clock).await;
    assert!(opened.is_ok());
}
