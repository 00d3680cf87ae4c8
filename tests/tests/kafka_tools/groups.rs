//! Groups with members, while the tools look at them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use aquifer_format::codec::Codec;
use aquifer_tests::{
    batches::{PLAIN, batch_at},
    groups::{Classic, Modern, commit, subscription},
    wire::Connection,
};

const TOPIC: &str = "grouped";
/// Consumer groups hear from their members this often.
const BEAT: Duration = Duration::from_secs(1);

/// Members that live until this is dropped: `lively` is a classic group, `connected` one of another kind than consumers',
/// `modern` one of the consumer protocol, `idle` has only offsets.
#[derive(Debug)]
pub(crate) struct Members {
    stop: Arc<AtomicBool>,
    heart: Option<JoinHandle<()>>,
    /// Sessions of classic members are long; their connections stay open.
    _classic: Connection,
}

impl Members {
    /// Lets them join.
    pub(crate) fn join(bootstrap: &str) -> Self {
        let address: SocketAddr = bootstrap.parse().expect("an address");
        let mut connection = Connection::open(address);
        connection.create_topic(TOPIC, 3, &[("retention.ms", "-1")]);
        produce(&mut connection);
        for (group, instance, kind) in [
            ("lively", None, "consumer"),
            ("static", Some("fixed"), "consumer"),
            ("connected", None, "connect"),
        ] {
            let mut member = Classic::new(group, TOPIC);
            member.session_timeout_ms = 600_000;
            member.instance = instance.map(str::to_owned);
            member.kind = kind.to_owned();
            member.protocols = vec![("range".to_owned(), subscription(&[TOPIC], &[]))];
            connection.alone(&mut member, TOPIC, &[0, 1, 2]);
            let code = connection.commit(&member.commit(TOPIC, 0, 2));
            assert_eq!(code, 0, "a commit to {group}");
        }
        let code = connection.commit(&commit("idle", ("", -1), TOPIC, &[(0, 1), (2, 0)]));
        assert_eq!(code, 0, "a commit to nobody's group");
        let mut modern = Modern::new("modern", "member-of-the-tests", TOPIC);
        beat(&mut connection, &mut modern);
        let offsets = commit("modern", (&modern.id, modern.epoch), TOPIC, &[(1, 1)]);
        assert_eq!(connection.commit(&offsets), 0, "a commit to modern");
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let heart = std::thread::spawn(move || {
            let mut connection = Connection::open(address);
            while !stopping.load(Ordering::Relaxed) {
                beat(&mut connection, &mut modern);
                std::thread::sleep(BEAT);
            }
        });
        Self {
            stop,
            heart: Some(heart),
            _classic: connection,
        }
    }
}

fn beat(connection: &mut Connection, member: &mut Modern) {
    let answer = connection.call(1, &member.heartbeat());
    assert_eq!(answer.error_code, 0, "{answer:?}");
    member.heard(&answer);
}

/// Four records to each partition; their times are those of the test.
fn produce(connection: &mut Connection) {
    for partition in 0..3 {
        // a topic that was made just now may not be led yet
        for attempt in 0.. {
            let records = batch_at(Codec::None, PLAIN, &[1_000, 2_000, 3_000, 4_000]);
            let (code, ..) = connection.produce(TOPIC, partition, records);
            if code == 0 {
                break;
            }
            assert!(attempt < 500, "produced to {partition}: {code}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(heart) = self.heart.take() {
            // it has said why on its own
            let _ = heart.join();
        }
    }
}
