//! Clients that send their next request when they have the answer to the one before, on a bucket whose
//! requests cost money.

use super::*;

const TURNS: usize = 120;
/// By then the tokens that were saved up are used.
const WARM_UP: usize = 70;
const PUT_MS: u64 = 60;

/// What two clients see that have one request per partition under way each, as librdkafka's idempotent
/// producers do: the mean time of a turn, and PUTs per second.
async fn turns(value_bytes: usize) -> (u128, u128) {
    let bed = Bed::with(|settings| settings.flush = None).await;
    bed.script(&[Step::After(PUT_MS); 2 * TURNS]);
    let value = vec![7; value_bytes];
    let mut builder = BatchBuilder::new(Codec::None);
    builder.append(FAKE_START_UNIX_MILLIS, None, Some(value.as_slice()), &[]);
    let batch = builder.build().unwrap();
    let connections = [1, 2].map(connection);
    let (mut began, mut puts) = (0, 0);
    for turn in 0..TURNS {
        if turn == WARM_UP {
            (began, puts) = (bed.now_ms(), bed.store.puts());
        }
        let mut pending = Vec::new();
        for connection in &connections {
            for partition in 0..4 {
                pending.push(bed.send(connection, partition, batch.clone()).await);
            }
        }
        for pending in pending {
            pending.await.unwrap();
        }
    }
    let took = bed.now_ms() - began;
    let puts = u128::try_from(bed.store.puts() - puts).unwrap();
    let measured = u128::try_from(TURNS - WARM_UP).unwrap();
    (took / measured, puts * 1_000 / took)
}

#[tokio::test(start_paused = true)]
async fn regression_clients_with_one_request_per_partition_do_not_wait_for_the_interval() {
    let (turn, puts) = turns(64 * 1024).await;
    assert!((60..80).contains(&turn), "{turn} ms");
    assert!(puts <= 20, "{puts} PUTs per second");
}

#[tokio::test(start_paused = true)]
async fn small_requests_bring_no_tokens() {
    let (turn, puts) = turns(1024).await;
    assert!((240..=260).contains(&turn), "{turn} ms");
    assert!(puts <= 4, "{puts} PUTs per second");
}
