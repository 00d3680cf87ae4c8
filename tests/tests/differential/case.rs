//! A case: a request, built for each broker and version, and what was answered.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    net::SocketAddr,
    time::{Duration, Instant},
};

use aquifer_tests::{
    debug_text::tree,
    wire::{Answer, Connection, topic_name, try_encode},
};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        ApiKey, ListOffsetsRequest, ResponseHeader, TopicName,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    },
    protocol::{Decodable, HeaderVersion, Request, StrBytes},
};
use serde_json::{Value, json};
use uuid::Uuid;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What took longer is worth a look.
const SLOW: Duration = Duration::from_secs(1);
/// How long a request without an answer is listened for.
const QUIET: Duration = Duration::from_millis(300);

/// One of the two brokers.
pub(crate) struct Side {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The connection in use; it is opened again when the broker closed it.
    pub(crate) connection: Connection,
    /// Ids of the topics that all cases may use.
    pub(crate) topics: BTreeMap<&'static str, Uuid>,
    /// A producer id that it gave out, and its epoch.
    pub(crate) producer: (i64, i16),
    /// The leader epoch of the topic `present`.
    pub(crate) epoch: i32,
}

impl Side {
    /// A broker, before anything was made ready on it.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: Connection::open(address),
            topics: BTreeMap::new(),
            producer: (-1, -1),
            epoch: -1,
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood, 2014): the same stream for both brokers.
pub(crate) struct Random(u64);

impl Random {
    /// The stream of one seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let place = self.next() % u64::try_from(from.len()).expect("a short list");
        from[usize::try_from(place).expect("a place in a list")]
    }

    /// Some of these, in their order.
    pub(crate) fn among<T: Copy>(&mut self, all: &[T]) -> Vec<T> {
        all.iter()
            .copied()
            .filter(|_| self.next().is_multiple_of(2))
            .collect()
    }

    /// Up to `most` things.
    pub(crate) fn some<T>(&mut self, most: u64, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.next() % (most + 1)).map(|_| one(self)).collect()
    }
}

/// What a request is built from.
pub(crate) struct Ask<'a> {
    /// The broker that it goes to.
    pub(crate) side: &'a mut Side,
    /// The version of the request.
    pub(crate) version: i16,
    /// The same numbers for both brokers.
    pub(crate) random: Random,
    /// The case's name.
    pub(crate) case: &'static str,
    suffix: String,
}

/// What cases with generated requests are called.
pub(crate) const GENERATED: &str = "generated";

/// Stands for the topic that is called like the case and kept from version to version.
pub(crate) const OWN: &str = "own";

impl<'a> Ask<'a> {
    /// For round `round` of a case.
    fn new(
        side: &'a mut Side,
        case: &'static str,
        suffix: String,
        version: i16,
        round: u32,
    ) -> Self {
        let mut seed = u64::from(round) << 8 | u64::from(version.unsigned_abs());
        for byte in case.bytes() {
            seed = seed.wrapping_mul(31).wrapping_add(u64::from(byte));
        }
        Self {
            side,
            version,
            random: Random::new(seed),
            case,
            suffix,
        }
    }

    /// A name that no other round of this case has.
    pub(crate) fn fresh(&self, name: &str) -> String {
        format!("{name}{}", self.suffix)
    }

    /// The id of a topic that all cases may use; nil for the name `nil`, and one that nobody has for `unknown`.
    pub(crate) fn id(&self, name: &str) -> Uuid {
        match name {
            "nil" => Uuid::nil(),
            "unknown" => Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef),
            OWN => self.side.topics[self.case],
            name => self.side.topics[name],
        }
    }

    /// Makes sure that there is a topic which is called like the case.
    pub(crate) fn own_topic(&mut self) {
        if !self.side.topics.contains_key(self.case) {
            let forever = [("retention.ms", "-1")];
            let id = create(&mut self.side.connection, self.case, 1, &forever);
            self.side.topics.insert(self.case, id);
        }
    }

    /// A topic of this round's own, which both brokers' clients can use.
    pub(crate) fn topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> String {
        let name = self.fresh(name);
        create(&mut self.side.connection, &name, partitions, configs);
        name
    }
}

fn suffix(api: ApiKey, case: &str, version: i16, round: u32) -> String {
    format!("-{api:?}-{case}-v{version}r{round}")
}

/// Creates a topic and waits until the broker leads all of it; returns its id.
pub(crate) fn create(
    connection: &mut Connection,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Uuid {
    connection.create_topic(name, partitions, configs);
    let latest = |partition| {
        ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(-1)
    };
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(name))
        .with_partitions((0..partitions).map(latest).collect());
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    for _ in 0..500 {
        let response = connection.call(4, &request);
        if response.topics[0]
            .partitions
            .iter()
            .all(|p| p.error_code == 0)
        {
            return connection.topic_metadata(name).topics[0].topic_id;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{name} was created and is not led");
}

type Encode = dyn Fn(&mut Ask<'_>) -> Option<Bytes>;
type Decode = dyn Fn(Bytes, i16) -> Value;

/// A kind of request.
pub(crate) struct Case {
    /// Its name.
    pub(crate) name: &'static str,
    /// How often it is made in each version, with other numbers.
    pub(crate) rounds: u32,
    quiet: bool,
    encode: Box<Encode>,
    decode: Box<Decode>,
}

impl Case {
    /// Builds the request for a broker, sends it, and says what came back; nothing if the version has no such request.
    pub(crate) fn run(
        &self,
        side: &mut Side,
        api: ApiKey,
        version: i16,
        round: u32,
    ) -> Option<Value> {
        let begin = Instant::now();
        let suffix = suffix(api, self.name, version, round);
        let mut ask = Ask::new(side, self.name, suffix.clone(), version, round);
        let frame = (self.encode)(&mut ask)?;
        if !side.connection.try_send_bytes(&frame) {
            side.connection = Connection::open(side.address);
            side.connection.send_bytes(&frame);
        }
        let wait = if self.quiet { QUIET } else { PATIENCE };
        let answer = match side.connection.answer(wait) {
            Answer::Frame(frame) => (self.decode)(Bytes::from(frame), version),
            Answer::Silence => json!("silence"),
            Answer::Closed => json!("closed"),
        };
        if answer.is_string() {
            // What comes later, if anything, must not be taken for the next answer.
            side.connection = Connection::open(side.address);
        }
        let took = begin.elapsed();
        if took > SLOW {
            println!("{} v{version}: {answer} after {took:?}", self.name);
        }
        let text = answer.to_string();
        let text = text.replace(&suffix, "");
        Some(serde_json::from_str(&text).expect("it was JSON before"))
    }
}

/// A request that is built once for each version that has its fields.
pub(crate) fn case<R: Request>(
    name: &'static str,
    build: impl Fn(&mut Ask<'_>) -> R + 'static,
) -> Case
where
    R::Response: Debug + 'static,
{
    Case {
        name,
        rounds: 1,
        quiet: false,
        encode: Box::new(move |ask| {
            let request = build(ask);
            try_encode(1, ask.version, &request)
        }),
        decode: Box::new(decoded::<R::Response>),
    }
}

/// A request that is built as a whole frame, in the versions that the protocol crate cannot write.
pub(crate) fn framed<R: Request>(
    name: &'static str,
    build: impl Fn(&mut Ask<'_>) -> Option<Bytes> + 'static,
) -> Case
where
    R::Response: Debug + 'static,
{
    Case {
        name,
        rounds: 1,
        quiet: false,
        encode: Box::new(build),
        decode: Box::new(decoded::<R::Response>),
    }
}

/// How often each generated request is made for each time that the short form makes it: `AQUIFER_TEST_ROUNDS`.
fn rounds_factor() -> u32 {
    std::env::var("AQUIFER_TEST_ROUNDS").map_or(1, |text| text.parse().expect("a number"))
}

/// Requests that are put together at random, differently in each round. The seed follows from name, version and round.
pub(crate) fn generated<R: Request>(
    rounds: u32,
    build: impl Fn(&mut Ask<'_>) -> R + 'static,
) -> Case
where
    R::Response: Debug + 'static,
{
    Case {
        rounds: rounds * rounds_factor(),
        ..case(GENERATED, build)
    }
}

/// A request that nobody answers.
pub(crate) fn quiet<R: Request>(
    name: &'static str,
    build: impl Fn(&mut Ask<'_>) -> R + 'static,
) -> Case
where
    R::Response: Debug + 'static,
{
    Case {
        quiet: true,
        ..case(name, build)
    }
}

/// The bytes of another case's request, changed. `name` is the new case's.
pub(crate) fn changed(name: &'static str, case: Case, change: fn(&mut Vec<u8>)) -> Case {
    let encode = case.encode;
    Case {
        name,
        encode: Box::new(move |ask| {
            let mut bytes = encode(ask)?.to_vec();
            change(&mut bytes);
            let length = i32::try_from(bytes.len() - 4).expect("a small frame");
            bytes[..4].copy_from_slice(&length.to_be_bytes());
            Some(Bytes::from(bytes))
        }),
        ..case
    }
}

/// Another case's request in a version that there is not, with the header that newer versions have. The answer, if
/// there is one, is read as version 0.
pub(crate) fn unsupported(api: ApiKey, case: Case) -> Case {
    let (encode, decode) = (case.encode, case.decode);
    let encode = move |ask: &mut Ask<'_>| {
        if api.request_header_version(ask.version) < 2 {
            return None;
        }
        encode(ask)
    };
    Case {
        decode: Box::new(move |frame, _| decode(frame, 0)),
        ..changed(
            "version-99",
            Case {
                encode: Box::new(encode),
                decode: Box::new(|_, _| Value::Null),
                ..case
            },
            |bytes| {
                bytes[6..8].copy_from_slice(&[0, 99]);
            },
        )
    }
}

/// A response as a tree.
fn decoded<R: Decodable + HeaderVersion + Debug>(mut frame: Bytes, version: i16) -> Value {
    let whole = frame.clone();
    let header = ResponseHeader::decode(&mut frame, R::header_version(version));
    let body = header.and_then(|_| R::decode(&mut frame, version));
    match body {
        Ok(body) if frame.is_empty() => tree(&format!("{body:?}")),
        _ => json!(format!("undecodable {whole:?}")),
    }
}

/// Text as the protocol crate has it.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic's name as the protocol crate has it.
pub(crate) fn name(text: &str) -> TopicName {
    topic_name(text)
}
