use proptest::prelude::*;

use super::*;

const BYTES_MAX: u32 = 1000;
const CLIENT: Uuid = Uuid::from_u128(7);

struct Bed {
    ports: Ports,
    telemetry: Telemetry,
}

impl Bed {
    fn new(kept: bool) -> Self {
        let ports = Ports::simulated(1, 0);
        let settings = TelemetrySettings {
            kept,
            instances_max: 4,
            ..TelemetrySettings::default()
        };
        Self {
            telemetry: Telemetry::new(settings, &ports),
            ports,
        }
    }

    async fn pass(&self, seconds: u64) {
        self.ports.sleep(Duration::from_secs(seconds)).await;
    }

    fn push(&self, push: Push) -> Result<(), TelemetryError> {
        self.telemetry.push(&push, BYTES_MAX)
    }

    fn good(&self, client: Uuid) -> Push {
        Push {
            instance: client,
            subscription: self.telemetry.subscription_id(client),
            terminating: false,
            codec: 0,
            metrics: Bytes::from_static(b"metrics"),
        }
    }

    fn seen(&self) -> (usize, usize, usize) {
        let instances = self.telemetry.instances.lock();
        (instances.len(), instances.pushing(), instances.bytes())
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_without_an_id_is_given_one_and_its_subscription_stays_the_same() {
    for kept in [false, true] {
        let bed = Bed::new(kept);
        let first = bed.telemetry.subscribe(Uuid::nil()).unwrap();
        let other = bed.telemetry.subscribe(Uuid::nil()).unwrap();
        assert_ne!(first.instance, other.instance);
        assert!(!RESERVED.contains(&first.instance));
        assert_eq!(first.metrics, if kept { vec!["*"] } else { vec![] });
        assert_eq!(first.push_interval, Duration::from_secs(300));
        bed.pass(300).await;
        assert_eq!(bed.telemetry.subscribe(first.instance), Ok(first.clone()));
        // As another agent sees it.
        let elsewhere = Bed::new(kept).telemetry.subscribe(first.instance).unwrap();
        assert_eq!(elsewhere, first);
        let changed = Bed::new(!kept).telemetry.subscribe(first.instance).unwrap();
        assert_ne!(changed.id, first.id);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_before_their_time_are_throttled() {
    let bed = Bed::new(true);
    let good = || bed.good(CLIENT);
    assert!(bed.telemetry.subscribe(CLIENT).is_ok());
    assert_eq!(
        bed.telemetry.subscribe(CLIENT),
        Err(TelemetryError::Throttled)
    );
    // Once after the subscription, whenever that is; then once per interval.
    assert_eq!(bed.push(good()), Ok(()));
    assert_eq!(bed.push(good()), Err(TelemetryError::Throttled));
    bed.pass(299).await;
    assert_eq!(bed.push(good()), Err(TelemetryError::Throttled));
    bed.pass(1).await;
    assert_eq!(bed.push(good()), Ok(()));
    assert_eq!(
        bed.telemetry.subscribe(CLIENT),
        Err(TelemetryError::Throttled)
    );
    bed.pass(300).await;
    assert!(bed.telemetry.subscribe(CLIENT).is_ok());
    // The last push of a client may come any time; nothing comes after it.
    let last = Push {
        terminating: true,
        ..good()
    };
    assert_eq!(bed.push(good()), Ok(()));
    assert_eq!(bed.push(last), Ok(()));
    bed.pass(300).await;
    assert_eq!(bed.push(good()), Err(TelemetryError::Invalid));
}

#[tokio::test(start_paused = true)]
async fn who_needs_another_subscription_may_ask_for_it_at_once() {
    for (codec, subscription, error) in [
        (0, 1, TelemetryError::UnknownSubscription),
        (9, 0, TelemetryError::UnsupportedCodec),
        (-1, 0, TelemetryError::UnsupportedCodec),
    ] {
        let bed = Bed::new(true);
        assert!(bed.telemetry.subscribe(CLIENT).is_ok());
        let good = bed.good(CLIENT);
        let bad = Push {
            codec,
            subscription: good.subscription.wrapping_add(subscription),
            ..good
        };
        assert_eq!(bed.push(bad), Err(error));
        assert!(bed.telemetry.subscribe(CLIENT).is_ok());
        assert_eq!(
            bed.telemetry.subscribe(CLIENT),
            Err(TelemetryError::Throttled)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_are_expanded_within_their_limit_and_counted() {
    let bed = Bed::new(true);
    let small = vec![b'm'; 1000];
    let large = vec![b'm'; 1001];
    for codec in Codec::ALL {
        let id = i8::try_from(codec.code()).unwrap();
        for (plain, expected) in [(&small, Ok(())), (&large, Err(TelemetryError::TooLarge))] {
            bed.pass(300).await;
            let metrics = Bytes::from(codec.compress(plain).unwrap());
            let push = Push {
                codec: id,
                metrics,
                ..bed.good(CLIENT)
            };
            assert_eq!(bed.push(push), expected, "{codec:?}");
        }
        assert_eq!(bed.seen(), (1, 1, 1000), "{codec:?}");
    }
    bed.pass(300).await;
    let corrupt = Push {
        codec: 4,
        ..bed.good(CLIENT)
    };
    assert_eq!(bed.push(corrupt), Err(TelemetryError::Corrupt));
    // Dropped ones are not looked into.
    let bed = Bed::new(false);
    let corrupt = Push {
        codec: 4,
        ..bed.good(CLIENT)
    };
    assert_eq!(bed.push(corrupt), Ok(()));
    assert_eq!(bed.seen(), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn reserved_ids_are_invalid() {
    let bed = Bed::new(true);
    for reserved in RESERVED {
        assert_eq!(bed.push(bed.good(reserved)), Err(TelemetryError::Invalid));
    }
    assert_eq!(bed.seen(), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn clients_are_forgotten_when_silent_and_when_there_are_too_many() {
    let bed = Bed::new(true);
    for client in 10..20 {
        assert_eq!(bed.push(bed.good(Uuid::from_u128(client))), Ok(()));
    }
    assert_eq!(bed.seen(), (4, 4, 28));
    bed.pass(600).await;
    assert_eq!(bed.push(bed.good(Uuid::from_u128(19))), Ok(()));
    bed.pass(300).await;
    assert_eq!(bed.push(bed.good(CLIENT)), Ok(()));
    assert_eq!(bed.seen(), (2, 2, 14));
}

proptest! {
    #[test]
    fn sums_are_those_of_the_clients_that_are_known(
        steps in proptest::collection::vec((0u128..8, 0usize..50, 0u64..400), 0..60),
    ) {
        let mut instances = Instances::new(3, Duration::from_secs(100));
        let mut now = Monotonic::default();
        let mut model: Vec<(Uuid, usize, Monotonic)> = Vec::new();
        for (client, bytes, passed) in steps {
            now = now.plus(Duration::from_secs(passed));
            let id = Uuid::from_u128(client);
            instances.touch(id, now);
            instances.pushed(id, bytes);
            model.retain(|(known, _, at)| {
                *known != id && now.since(*at) < Duration::from_secs(300)
            });
            if model.len() == 3 {
                model.remove(0);
            }
            model.push((id, bytes, now));
            prop_assert_eq!(instances.len(), model.len());
            prop_assert_eq!(instances.pushing(), model.len());
            prop_assert_eq!(instances.bytes(), model.iter().map(|(_, bytes, _)| bytes).sum::<usize>());
        }
    }
}
