use tokio::time::timeout;

use super::*;

const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(10);

/// A server that sends back what it gets, behind a proxy.
async fn echo() -> (Proxy, JoinSet<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            open.spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    (proxy, server)
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// Sends bytes and waits for them to come back.
async fn round(stream: &mut TcpStream, bytes: usize) -> io::Result<Duration> {
    let begun = Instant::now();
    let sent: Vec<u8> = (0..=255).cycle().take(bytes).collect();
    let (mut read, mut write) = stream.split();
    let mut back = vec![0; bytes];
    tokio::try_join!(write.write_all(&sent), read.read_exact(&mut back))?;
    assert!(back == sent, "bytes arrive in order and whole");
    Ok(begun.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_pass_both_ways_and_are_counted() {
    let (proxy, _server) = echo().await;
    let mut stream = connect(&proxy).await;
    round(&mut stream, 1_000_000).await.unwrap();
    assert_eq!(proxy.bytes(Direction::ToServer), 1_000_000);
    assert_eq!(proxy.bytes(Direction::ToClient), 1_000_000);
    assert_eq!(proxy.connections(), 1);
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(LONG, stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.is_empty(), "the end is passed on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delay_is_per_direction_and_keeps_the_pipe_full() {
    let (proxy, _server) = echo().await;
    let mut stream = connect(&proxy).await;
    for direction in [Direction::ToServer, Direction::ToClient] {
        let delay = Duration::from_millis(200);
        proxy.set(
            direction,
            Conditions {
                delay,
                ..Conditions::default()
            },
        );
        let took = round(&mut stream, 1_000_000).await.unwrap();
        // a delay of each chunk in turn would be sixteen times as much
        assert!(took >= delay && took < delay * 8, "{direction:?}: {took:?}");
        proxy.heal();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bandwidth_is_limited() {
    let (proxy, _server) = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.set(
        Direction::ToClient,
        Conditions {
            bytes_per_second: Some(1_000_000),
            ..Conditions::default()
        },
    );
    let took = round(&mut stream, 500_000).await.unwrap();
    assert!(took >= Duration::from_millis(450), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_bytes_arrive_later() {
    let (proxy, _server) = echo().await;
    let mut stream = connect(&proxy).await;
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.set(
            direction,
            Conditions {
                flow: Flow::Hold,
                ..Conditions::default()
            },
        );
        let silent = timeout(SHORT, round(&mut stream, 1)).await;
        assert!(silent.is_err(), "{direction:?}");
        proxy.heal();
        // The byte that was held comes first.
        let mut one = [1];
        timeout(LONG, stream.read_exact(&mut one))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(one, [0]);
        timeout(LONG, round(&mut stream, 100))
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_lost_bytes_is_reset() {
    let (proxy, _server) = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.set(
        Direction::ToServer,
        Conditions {
            flow: Flow::Swallow,
            ..Conditions::default()
        },
    );
    // Writing goes on, nothing comes back, nothing says why.
    for _ in 0..3 {
        let silent = timeout(SHORT, round(&mut stream, 100)).await;
        assert!(silent.is_err());
    }
    proxy.heal();
    let error = timeout(LONG, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    round(&mut connect(&proxy).await, 10).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regression_what_is_on_its_way_is_swallowed_too() {
    let (proxy, _server) = echo().await;
    for direction in [Direction::ToServer, Direction::ToClient] {
        let mut stream = connect(&proxy).await;
        round(&mut stream, 10).await.unwrap();
        let late = Conditions {
            delay: SHORT * 2,
            ..Conditions::default()
        };
        proxy.set(direction, late);
        stream.write_all(b"lost").await.unwrap();
        assert!(timeout(SHORT, stream.read_u8()).await.is_err());
        let swallowed = Conditions {
            flow: Flow::Swallow,
            ..late
        };
        proxy.set(direction, swallowed);
        let arrived = proxy.bytes(direction);
        assert!(timeout(SHORT * 3, stream.read_u8()).await.is_err());
        assert_eq!(proxy.bytes(direction), arrived, "{direction:?}");
        proxy.heal();
        let error = timeout(LONG, stream.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(
            error.kind(),
            io::ErrorKind::ConnectionReset,
            "{direction:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_is_an_end_and_reset_is_an_error() {
    let (proxy, _server) = echo().await;
    let mut stream = connect(&proxy).await;
    round(&mut stream, 10).await.unwrap();
    proxy.cut();
    let end = timeout(LONG, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);

    let mut stream = connect(&proxy).await;
    round(&mut stream, 10).await.unwrap();
    proxy.reset();
    let reset = timeout(LONG, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
    round(&mut connect(&proxy).await, 10).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connections_can_be_ignored_and_reset() {
    let (proxy, _server) = echo().await;
    let mut before = connect(&proxy).await;
    round(&mut before, 10).await.unwrap();
    proxy.set_admission(Admission::Ignore);
    let mut half_open = connect(&proxy).await;
    assert!(timeout(SHORT, round(&mut half_open, 10)).await.is_err());
    round(&mut before, 10).await.unwrap();
    proxy.set_admission(Admission::Reset);
    // The reset may come before the client knows that it is connected.
    if let Ok(mut refused) = TcpStream::connect(proxy.address()).await {
        let answer = timeout(LONG, refused.read_u8()).await.unwrap();
        assert!(answer.is_err());
    }
    proxy.heal();
    round(&mut connect(&proxy).await, 10).await.unwrap();
    drop(proxy);
    let gone = timeout(LONG, before.read_u8()).await.unwrap();
    assert!(gone.is_err(), "dropping the proxy closes its connections");
}
