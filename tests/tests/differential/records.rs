//! Records: Produce, Fetch, InitProducerId, DescribeProducers.

use aquifer_format::codec::Codec;
use aquifer_tests::batches::{PLAIN, Producer, at, batch_at, falsified, keyless, now};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    DescribeProducersRequest, FetchRequest, InitProducerIdRequest, ProduceRequest,
    describe_producers_request::TopicRequest,
    fetch_request::{FetchPartition, FetchTopic, ForgottenTopic},
    produce_request::{PartitionProduceData, TopicProduceData},
};
use uuid::Uuid;

use crate::case::{Ask, Case, OWN, Random, case, generated, name, quiet, text};

/// Topics are named by ids since these versions.
const PRODUCE_BY_ID: i16 = 13;
const FETCH_BY_ID: i16 = 13;

/// Bytes of a batch that become others, by their places.
type Changes = &'static [(usize, u8)];
/// From a producer's id and epoch to those of a batch, with its first sequence.
type Identity = fn((i64, i16)) -> Producer;

fn good() -> Bytes {
    batch_at(Codec::None, PLAIN, &[1_000, 2_000])
}

fn known(topic: &str) -> bool {
    !["missing", "a/b", ""].contains(&topic)
}

fn to(ask: &Ask<'_>, topic: &str, parts: &[(i32, Option<Bytes>)]) -> ProduceRequest {
    let one = |(partition, records): &(i32, Option<Bytes>)| {
        PartitionProduceData::default()
            .with_index(*partition)
            .with_records(records.clone())
    };
    let data = TopicProduceData::default().with_partition_data(parts.iter().map(one).collect());
    let data = if ask.version < PRODUCE_BY_ID {
        data.with_name(name(if topic == OWN { ask.case } else { topic }))
    } else {
        data.with_topic_id(ask.id(if known(topic) { topic } else { "unknown" }))
    };
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![data])
}

/// To the case's own topic: whether earlier ones were taken shows in offsets.
fn written(ask: &mut Ask<'_>, records: Bytes) -> ProduceRequest {
    ask.own_topic();
    to(ask, OWN, &[(0, Some(records))])
}

/// Produce: batches that are good and bad in all ways, and who may send them.
pub(crate) fn produce() -> Vec<Case> {
    let mut cases = vec![
        case("good", |ask| written(ask, good())),
        case("leader-only", |ask| written(ask, good()).with_acks(1)),
        case("acks-2", |ask| written(ask, good()).with_acks(2)),
        case("acks-below-all", |ask| written(ask, good()).with_acks(-2)),
        quiet("acks-0", |ask| written(ask, good()).with_acks(0)),
        case("nothing", |_| {
            ProduceRequest::default()
                .with_acks(-1)
                .with_timeout_ms(10_000)
        }),
        case("no-partition", |ask| to(ask, "present", &[])),
        quiet("records-null", |ask| to(ask, "present", &[(0, None)])),
        case("records-empty", |ask| {
            to(ask, "present", &[(0, Some(Bytes::new()))])
        }),
        case("missing-topic", |ask| {
            to(ask, "missing", &[(0, Some(good()))])
        }),
        case("missing-partition", |ask| {
            to(ask, "present", &[(9, Some(good()))])
        }),
        case("partition-below-0", |ask| {
            to(ask, "present", &[(-1, Some(good()))])
        }),
        case("some-bad", |ask| {
            ask.own_topic();
            to(
                ask,
                OWN,
                &[(0, Some(good())), (9, Some(good())), (-1, Some(good()))],
            )
        }),
        case("magic-3-beside-another", |ask| {
            ask.own_topic();
            let unknown = falsified(&good(), &[(at::MAGIC, 3)], true);
            to(ask, OWN, &[(0, Some(unknown)), (9, Some(good()))])
        }),
        case("append-time", |ask| {
            to(ask, "appended", &[(0, Some(good()))])
        }),
        case("too-large", |ask| {
            let large = batch_at(Codec::None, PLAIN, &[1_000; 100]);
            to(ask, "small", &[(0, Some(large))])
        }),
        case("keyless-to-compacted", |ask| {
            to(ask, "compacted", &[(0, Some(keyless()))])
        }),
        case("from-the-future", |ask| {
            written(ask, batch_at(Codec::None, PLAIN, &[now() + 7_200_000]))
        }),
        case("no-timestamp", |ask| {
            written(ask, batch_at(Codec::None, PLAIN, &[-1]))
        }),
        case("timestamp-below-0", |ask| {
            written(ask, batch_at(Codec::None, PLAIN, &[-7]))
        }),
        case("two-batches", |ask| {
            let mut two = BytesMut::from(&good()[..]);
            two.extend_from_slice(&good());
            written(ask, two.freeze())
        }),
        case("cut", |ask| written(ask, good().slice(..80))),
        case("shorter-than-a-header", |ask| {
            written(ask, good().slice(..30))
        }),
        case("two-bytes", |ask| written(ask, good().slice(..2))),
        case("followed-by-a-byte", |ask| {
            let mut more = BytesMut::from(&good()[..]);
            more.extend_from_slice(&[0]);
            written(ask, more.freeze())
        }),
        case("transactional-id-without-transaction", |ask| {
            written(ask, good()).with_transactional_id(Some(text("t").into()))
        }),
    ];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let name = match codec {
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            _ => "zstd",
        };
        cases.push(case(name, move |ask| {
            written(ask, batch_at(codec, PLAIN, &[1_000, 2_000, 3_000]))
        }));
    }
    let changes: [(&str, Changes, bool); 9] = [
        ("bad-checksum", &[(70, 0xff)], false),
        ("magic-1", &[(at::MAGIC, 1)], true),
        ("magic-3", &[(at::MAGIC, 3)], true),
        ("control-batch", &[(at::ATTRIBUTES, 0x20)], true),
        ("transactional-batch", &[(at::ATTRIBUTES, 0x10)], true),
        ("codec-unknown", &[(at::ATTRIBUTES, 7)], true),
        ("codec-that-it-is-not", &[(at::ATTRIBUTES, 4)], true),
        ("record-count-too-high", &[(at::RECORD_COUNT, 9)], true),
        ("last-offset-too-high", &[(at::LAST_OFFSET_DELTA, 9)], true),
    ];
    for (name, change, seal) in changes {
        cases.push(case(name, move |ask| {
            written(ask, falsified(&good(), change, seal))
        }));
    }
    let producers: [(&str, Identity); 6] = [
        ("sequence-none", |(id, epoch)| (id, epoch, -1)),
        ("sequence-below-0", |(id, epoch)| (id, epoch, -7)),
        ("epoch-below-0", |(id, _)| (id, -1, 0)),
        ("epoch-skipped", |(id, epoch)| (id, epoch + 5, 3)),
        ("producer-below-none", |_| (-2, 0, 0)),
        ("sequence-without-producer", |_| (-1, -1, 5)),
    ];
    for (name, of) in producers {
        cases.push(case(name, move |ask| {
            let producer = of(ask.side.producer);
            written(ask, batch_at(Codec::None, producer, &[1_000]))
        }));
    }
    cases.push(generated(12, |ask| {
        ask.own_topic();
        let mut parts = Vec::new();
        for partition in ask.random.among(&[0, 9, -1]) {
            parts.push((partition, Some(any_batch(&mut ask.random))));
        }
        let acks = ask.random.pick(&[-1, 1]);
        to(ask, OWN, &parts).with_acks(acks)
    }));
    cases
}

/// A good batch in any codec, or one that is not and whose header says so.
fn any_batch(random: &mut Random) -> Bytes {
    const UNCHANGED: Changes = &[];
    let changes: [(Changes, bool); 6] = [
        (UNCHANGED, true),
        (UNCHANGED, true),
        (&[(70, 0xff)], false),
        (&[(at::MAGIC, 1)], true),
        (&[(at::ATTRIBUTES, 0x20)], true),
        (&[(at::LAST_OFFSET_DELTA, 9)], true),
    ];
    let times: &[i64] = random.pick(&[&[1_000][..], &[1_000, 2_000], &[5_000, 4_000, 4_500]]);
    let (change, seal) = random.pick(&changes);
    if !change.is_empty() {
        return falsified(&batch_at(Codec::None, PLAIN, times), change, seal);
    }
    let codecs = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];
    batch_at(random.pick(&codecs), PLAIN, times)
}

struct Wanted {
    topic: &'static str,
    partition: i32,
    offset: i64,
    bytes: i32,
    epoch: i32,
}

fn from(topic: &'static str, partition: i32, offset: i64) -> Wanted {
    Wanted {
        topic,
        partition,
        offset,
        bytes: 1 << 20,
        epoch: -1,
    }
}

fn fetching(ask: &Ask<'_>, wanted: &[Wanted]) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for wanted in wanted {
        let partition = FetchPartition::default()
            .with_partition(wanted.partition)
            .with_fetch_offset(wanted.offset)
            .with_partition_max_bytes(wanted.bytes);
        let partition = if ask.version < 9 {
            partition
        } else {
            partition.with_current_leader_epoch(wanted.epoch)
        };
        let topic = if ask.version < FETCH_BY_ID {
            FetchTopic::default().with_topic(name(wanted.topic))
        } else {
            let known = known(wanted.topic);
            let id = ask.id(if known { wanted.topic } else { "unknown" });
            FetchTopic::default().with_topic_id(id)
        };
        let same = |t: &&mut FetchTopic| (&t.topic, t.topic_id) == (&topic.topic, topic.topic_id);
        match topics.iter_mut().find(same) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(topic.with_partitions(vec![partition])),
        }
    }
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(topics)
}

/// Fetch: offsets, limits, epochs, sessions.
pub(crate) fn fetch() -> Vec<Case> {
    let epoch = |wanted: Wanted, epoch| Wanted { epoch, ..wanted };
    vec![
        case("start", |ask| fetching(ask, &[from("present", 0, 0)])),
        case("inside-a-batch", |ask| {
            fetching(ask, &[from("present", 0, 1)])
        }),
        case("second-batch", |ask| {
            fetching(ask, &[from("present", 0, 2)])
        }),
        case("end", |ask| fetching(ask, &[from("present", 0, 6)])),
        case("past-the-end", |ask| {
            fetching(ask, &[from("present", 0, 7)])
        }),
        case("far-past-the-end", |ask| {
            fetching(ask, &[from("present", 0, i64::MAX)])
        }),
        case("below-0", |ask| fetching(ask, &[from("present", 0, -1)])),
        case("compressed", |ask| fetching(ask, &[from("present", 1, 0)])),
        case("empty", |ask| fetching(ask, &[from("present", 2, 0)])),
        case("empty-past-the-end", |ask| {
            fetching(ask, &[from("present", 2, 1)])
        }),
        case("append-time-empty", |ask| {
            fetching(ask, &[from("empty", 0, 0)])
        }),
        case("missing-partition", |ask| {
            fetching(ask, &[from("present", 9, 0)])
        }),
        case("partition-below-0", |ask| {
            fetching(ask, &[from("present", -1, 0)])
        }),
        case("missing-topic", |ask| {
            fetching(ask, &[from("missing", 0, 0)])
        }),
        case("bad-name", |ask| fetching(ask, &[from("a/b", 0, 0)])),
        case("several", |ask| {
            fetching(
                ask,
                &[
                    from("present", 0, 0),
                    from("present", 1, 0),
                    from("missing", 0, 0),
                ],
            )
        }),
        case("nothing", |ask| fetching(ask, &[])),
        case("id-nil", |ask| {
            let topic = FetchTopic::default().with_topic_id(Uuid::nil());
            let partition = FetchPartition::default().with_partition_max_bytes(1_000);
            fetching(ask, &[]).with_topics(vec![topic.with_partitions(vec![partition])])
        }),
        case("few-bytes", |ask| {
            fetching(ask, &[from("present", 0, 0), from("present", 1, 0)]).with_max_bytes(1)
        }),
        case("few-bytes-per-partition", |ask| {
            let few = |partition| Wanted {
                bytes: 1,
                ..from("present", partition, 0)
            };
            fetching(ask, &[few(0), few(1)])
        }),
        case("no-bytes", |ask| {
            let none = Wanted {
                bytes: 0,
                ..from("present", 0, 0)
            };
            fetching(ask, &[none]).with_max_bytes(0)
        }),
        case("bytes-below-0", |ask| {
            let less = Wanted {
                bytes: -1,
                ..from("present", 0, 0)
            };
            fetching(ask, &[less])
        }),
        case("committed", |ask| {
            fetching(ask, &[from("present", 0, 0)]).with_isolation_level(1)
        }),
        case("isolation-unknown", |ask| {
            fetching(ask, &[from("present", 0, 0)]).with_isolation_level(7)
        }),
        case("epoch-now", move |ask| {
            let now = ask.side.epoch;
            fetching(ask, &[epoch(from("present", 0, 0), now)])
        }),
        case("epoch-to-come", move |ask| {
            let to_come = ask.side.epoch + 10;
            fetching(ask, &[epoch(from("present", 0, 0), to_come)])
        }),
        case("waits", |ask| {
            let request = fetching(ask, &[from("present", 0, 6)]);
            request.with_max_wait_ms(100).with_min_bytes(1_000)
        }),
        case("session-unknown", |ask| {
            let request = fetching(ask, &[from("present", 0, 0)]);
            request.with_session_id(1_234_567).with_session_epoch(1)
        }),
        case("session-unknown-ended", |ask| {
            let request = fetching(ask, &[from("present", 0, 0)]);
            request.with_session_id(1_234_567).with_session_epoch(-1)
        }),
        case("session-epoch-without-id", |ask| {
            fetching(ask, &[from("present", 0, 0)]).with_session_epoch(5)
        }),
        case("forgets-without-session", |ask| {
            let forgotten = ForgottenTopic::default().with_partitions(vec![0]);
            let forgotten = if ask.version < FETCH_BY_ID {
                forgotten.with_topic(name("present"))
            } else {
                forgotten.with_topic_id(ask.id("present"))
            };
            fetching(ask, &[from("present", 0, 0)]).with_forgotten_topics_data(vec![forgotten])
        }),
        case("rack", |ask| {
            fetching(ask, &[from("present", 0, 0)]).with_rack_id(text("nowhere"))
        }),
        generated(30, |ask| {
            let all = [
                ("present", 0),
                ("present", 1),
                ("compacted", 0),
                ("missing", 0),
                ("present", 2),
                ("present", 3),
                ("empty", 0),
            ];
            let mut wanted = Vec::new();
            for (topic, partition) in ask.random.among(&all) {
                let offset = ask.random.pick(&[0, 0, 1, 2, 3, 5, 6, 7, -1]);
                let bytes = ask.random.pick(&[1, 100, 1 << 20]);
                wanted.push(Wanted {
                    bytes,
                    ..from(topic, partition, offset)
                });
            }
            let limit = ask.random.pick(&[1, 100, 200, 1 << 20]);
            fetching(ask, &wanted).with_max_bytes(limit)
        }),
    ]
}

/// InitProducerId: with and without transactional ids, ids and epochs.
pub(crate) fn init_producer_id() -> Vec<Case> {
    let of = |transaction: Option<&str>, timeout| {
        InitProducerIdRequest::default()
            .with_transactional_id(transaction.map(|t| text(t).into()))
            .with_transaction_timeout_ms(timeout)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
    };
    vec![
        case("plain", move |_| of(None, 60_000)),
        case("timeout-0", move |_| of(None, 0)),
        case("timeout-below-0", move |_| of(None, -1)),
        case("timeout-longest", move |_| of(None, i32::MAX)),
        case("transactional-id-empty", move |_| of(Some(""), 60_000)),
        case("transactional-timeout-too-long", move |ask| {
            of(Some(&ask.fresh("t")), i32::MAX)
        }),
        case("transactional-timeout-0", move |ask| {
            of(Some(&ask.fresh("t")), 0)
        }),
        case("transactional", move |ask| {
            of(Some(&ask.fresh("t")), 60_000)
        }),
        case("epoch-without-id", move |_| {
            of(None, 60_000).with_producer_epoch(3)
        }),
        case("id-without-epoch", move |_| {
            of(None, 60_000).with_producer_id(7.into())
        }),
        case("id-and-epoch", move |_| {
            of(None, 60_000)
                .with_producer_id(7.into())
                .with_producer_epoch(3)
        }),
        case("prepared", move |_| {
            of(None, 60_000).with_keep_prepared_txn(true)
        }),
        generated(6, move |ask| {
            let request = of(None, ask.random.pick(&[-1, 0, 60_000]));
            let (id, epoch) = (ask.random.pick(&[-1_i64, 7]), ask.random.pick(&[-1, 3]));
            if ask.version < 3 {
                return request;
            }
            request
                .with_producer_id(id.into())
                .with_producer_epoch(epoch)
        }),
    ]
}

/// DescribeProducers of partitions with and without producers.
pub(crate) fn describe_producers() -> Vec<Case> {
    let of = |topics: &[(&str, &[i32])]| {
        let one = |(topic, partitions): &(&str, &[i32])| {
            TopicRequest::default()
                .with_name(name(topic))
                .with_partition_indexes(partitions.to_vec())
        };
        DescribeProducersRequest::default().with_topics(topics.iter().map(one).collect())
    };
    vec![
        case("one", move |_| of(&[("produced", &[0])])),
        case("none", move |_| of(&[("empty", &[0])])),
        case("missing-topic", move |_| of(&[("missing", &[0])])),
        case("bad-name", move |_| of(&[("a/b", &[0])])),
        case("missing-partitions", move |_| {
            of(&[("present", &[9, -1, 0])])
        }),
        case("twice", move |_| {
            of(&[("produced", &[0, 0]), ("produced", &[0])])
        }),
        case("nothing", move |_| of(&[])),
        generated(8, move |ask| {
            let mut topics = Vec::new();
            for topic in ask
                .random
                .among(&["produced", "present", "missing", "empty"])
            {
                topics.push((topic, ask.random.pick(&[&[0][..], &[0, 9], &[9], &[-1, 0]])));
            }
            of(&topics)
        }),
    ]
}
