//! What consumers say in the classic protocol ("consumer" protocol type): subscriptions and assignments. The
//! bytes are clients'; this parser is total and reserves nothing by counts that it reads.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::ids::{PartitionId, PartitionIndex, TopicId};
use bytes::{BufMut, Bytes, BytesMut};

use crate::event::group::TopicPartitions;

/// The protocol type of consumers.
pub(super) const PROTOCOL_TYPE: &str = "consumer";
/// The last version of both messages. Later ones begin with what this one has.
const VERSION_MAX: i16 = 3;

/// A subscription (`ConsumerProtocolSubscription`, versions 0 to 3; of later ones what those have).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Topics, sorted, each once.
    pub(super) topics: Vec<String>,
    /// Partitions that the member has, by topic name (version 1 on).
    pub(super) owned: Named,
    /// Its rack (version 3 on).
    pub(super) rack: Option<String>,
}

/// Reads a subscription; None = malformed.
pub(super) fn subscription(bytes: &[u8]) -> Option<Subscription> {
    let mut reader = Reader(bytes);
    let version = reader.version()?;
    let topics = reader.names()?;
    reader.nullable_bytes()?;
    let owned = if version >= 1 {
        reader.partitions()?
    } else {
        Vec::new()
    };
    if version >= 2 {
        // the generation of what it has: assignors of clients look at it
        reader.i32()?;
    }
    let rack = if version >= 3 {
        reader.nullable_string()?.map(str::to_owned)
    } else {
        None
    };
    Some(Subscription {
        topics,
        owned,
        rack,
    })
}

/// Topics of a subscription, of which nothing else need be well formed; None = they are not (Kafka reads
/// no more than version 0 has where it asks who is subscribed).
pub(super) fn subscribed_topics(bytes: &[u8]) -> Option<Vec<String>> {
    let mut reader = Reader(bytes);
    reader.version()?;
    let topics = reader.names()?;
    reader.nullable_bytes()?;
    Some(topics)
}

/// Partitions by topic name.
type Named = Vec<(String, Vec<i32>)>;

/// As [`assignment_with_user_data`], without the latter.
#[cfg(test)]
pub(super) fn assignment(bytes: &[u8]) -> Option<Named> {
    let (partitions, _) = assignment_with_user_data(bytes)?;
    Some(partitions)
}

/// Reads an assignment (`ConsumerProtocolAssignment`): partitions by topic name, and whether its assignor added
/// bytes of its own; None = malformed.
pub(super) fn assignment_with_user_data(bytes: &[u8]) -> Option<(Named, bool)> {
    let mut reader = Reader(bytes);
    reader.version()?;
    let partitions = reader.partitions()?;
    let user_data = reader.nullable_bytes()?;
    Some((partitions, user_data.is_some_and(|data| !data.is_empty())))
}

/// Writes an assignment at the version of a member's subscription (its first two bytes, at most 3). Topics
/// that `name` does not know any more are left out.
pub(super) fn encode_assignment<'a>(
    version: i16,
    partitions: &TopicPartitions,
    name: impl Fn(TopicId) -> Option<&'a str>,
) -> Bytes {
    let mut named = Vec::new();
    for (topic, all) in partitions.topics() {
        let Some(name) = name(topic) else { continue };
        let (Ok(length), Ok(count)) = (i16::try_from(name.len()), i32::try_from(all.len())) else {
            continue;
        };
        named.push((length, name, count, all));
    }
    let size = named
        .iter()
        .map(|(_, name, _, all)| 6 + name.len() + 4 * all.len());
    let mut out = BytesMut::with_capacity(10 + size.sum::<usize>());
    out.put_i16(version.clamp(0, VERSION_MAX));
    out.put_i32(i32::try_from(named.len()).unwrap_or(i32::MAX));
    for (length, name, count, all) in named {
        out.put_i16(length);
        out.put_slice(name.as_bytes());
        out.put_i32(count);
        for index in all {
            out.put_i32(index.0);
        }
    }
    // no user data
    out.put_i32(-1);
    out.freeze()
}

/// The version of a subscription: its first two bytes.
pub(super) fn version(bytes: &[u8]) -> Option<i16> {
    let (version, _) = bytes.split_first_chunk::<2>()?;
    Some(i16::from_be_bytes(*version))
}

/// Reads whatever it is; an assignment is then written and read again.
///
/// # Panics
/// Where it is not the same: for fuzzing.
pub fn fuzz_consumer_protocol(bytes: &[u8]) {
    let _ = (subscription(bytes), subscribed_topics(bytes));
    let Some((named, _)) = assignment_with_user_data(bytes) else {
        return;
    };
    let topic = |index: usize| TopicId(uuid::Uuid::from_u128(index as u128));
    let partitions: TopicPartitions = named
        .iter()
        .enumerate()
        .flat_map(|(at, (_, all))| {
            let id = move |index: &i32| PartitionId::new(topic(at), PartitionIndex(*index));
            all.iter().map(id)
        })
        .collect();
    let name = |id: TopicId| {
        let at = usize::try_from(id.0.as_u128()).ok()?;
        named.get(at).map(|(name, _)| name.as_str())
    };
    let written = encode_assignment(3, &partitions, name);
    let mut expected = named.clone();
    for (_, all) in &mut expected {
        all.sort_unstable();
        all.dedup();
    }
    expected.retain(|(_, all)| !all.is_empty());
    let read = assignment_with_user_data(&written);
    assert_eq!(read, Some((expected, false)));
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The version to read by.
    fn version(&mut self) -> Option<i16> {
        let version = self.i16()?;
        (version >= 0).then(|| version.min(VERSION_MAX))
    }

    fn i16(&mut self) -> Option<i16> {
        let (bytes, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(i16::from_be_bytes(*bytes))
    }

    fn i32(&mut self) -> Option<i32> {
        let (bytes, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*bytes))
    }

    /// The next bytes; a negative length is None.
    fn take(&mut self, length: Option<usize>) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length?)?;
        self.0 = rest;
        Some(taken)
    }

    fn string(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.i16()?).ok();
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn nullable_string(&mut self) -> Option<Option<&'a str>> {
        let Ok(length) = usize::try_from(self.i16()?) else {
            return Some(None);
        };
        let bytes = self.take(Some(length))?;
        std::str::from_utf8(bytes).ok().map(Some)
    }

    fn nullable_bytes(&mut self) -> Option<Option<&'a [u8]>> {
        let Ok(length) = usize::try_from(self.i32()?) else {
            return Some(None);
        };
        self.take(Some(length)).map(Some)
    }

    /// An array's length, which says nothing about what is there.
    fn count(&mut self) -> Option<u32> {
        u32::try_from(self.i32()?).ok()
    }

    /// Names, sorted, each once.
    fn names(&mut self) -> Option<Vec<String>> {
        let mut names = BTreeSet::new();
        for _ in 0..self.count()? {
            names.insert(self.string()?);
        }
        Some(names.into_iter().map(str::to_owned).collect())
    }

    /// Partitions by topic, sorted by name.
    fn partitions(&mut self) -> Option<Named> {
        let mut topics: BTreeMap<&'a str, Vec<i32>> = BTreeMap::new();
        for _ in 0..self.count()? {
            let of_topic = topics.entry(self.string()?).or_default();
            for _ in 0..self.count()? {
                of_topic.push(self.i32()?);
            }
        }
        let owned = topics.into_iter();
        Some(owned.map(|(name, all)| (name.to_owned(), all)).collect())
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::{
        messages::{
            ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName,
            consumer_protocol_assignment, consumer_protocol_subscription,
        },
        protocol::{Decodable, Encodable, StrBytes},
    };
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn encoded<T: Encodable>(message: &T, version: i16) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        bytes.put_i16(version);
        message.encode(&mut bytes, version).unwrap();
        bytes.to_vec()
    }

    fn example() -> ConsumerProtocolSubscription {
        let owned = consumer_protocol_subscription::TopicPartition::default()
            .with_topic(TopicName(StrBytes::from_static_str("b")))
            .with_partitions(vec![3, 1]);
        ConsumerProtocolSubscription::default()
            .with_topics(["b", "a", "b"].map(StrBytes::from_static_str).to_vec())
            .with_user_data(Some(Bytes::from_static(b"mine")))
            .with_owned_partitions(vec![owned])
            .with_generation_id(7)
            .with_rack_id(Some(StrBytes::from_static_str("r")))
    }

    fn of_version(version: i16) -> ConsumerProtocolSubscription {
        let mut message = example();
        if version < 1 {
            message.owned_partitions.clear();
        }
        if version < 2 {
            message.generation_id = -1;
        }
        if version < 3 {
            message.rack_id = None;
        }
        message
    }

    #[test]
    fn subscriptions_of_all_versions_are_read() {
        for version in 0..=3 {
            let expected = Subscription {
                topics: vec!["a".to_owned(), "b".to_owned()],
                owned: if version >= 1 {
                    vec![("b".to_owned(), vec![3, 1])]
                } else {
                    Vec::new()
                },
                rack: (version >= 3).then(|| "r".to_owned()),
            };
            let bytes = encoded(&of_version(version), version);
            assert_eq!(subscription(&bytes), Some(expected), "version {version}");
            assert_eq!(super::version(&bytes), Some(version));
            assert_eq!(subscribed_topics(&bytes).unwrap(), ["a", "b"]);
        }
    }

    #[test]
    fn a_later_version_begins_with_what_is_known() {
        let mut bytes = encoded(&example(), 3);
        bytes[..2].copy_from_slice(&9i16.to_be_bytes());
        bytes.extend(b"what comes later");
        assert_eq!(
            subscription(&bytes),
            subscription(&encoded(&example(), 3)),
            "read as version 3"
        );
    }

    #[test]
    fn a_subscription_that_is_cut_off_is_malformed() {
        for version in 0..=3 {
            let bytes = encoded(&of_version(version), version);
            for end in 0..bytes.len() {
                assert_eq!(subscription(&bytes[..end]), None, "cut at {end}");
            }
        }
    }

    #[test]
    fn who_is_subscribed_is_known_although_the_rest_is_not_well_formed() {
        let mut bytes = encoded(&of_version(0), 0);
        bytes[..2].copy_from_slice(&3i16.to_be_bytes());
        assert_eq!(subscription(&bytes), None);
        assert_eq!(subscribed_topics(&bytes).unwrap(), ["a", "b"]);
    }

    #[test]
    fn hostile_counts_and_lengths_are_malformed_at_once() {
        let cases: [&[u8]; 8] = [
            b"",
            b"\x00",
            // a negative version
            b"\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff",
            // two billion topics
            b"\x00\x00\x7f\xff\xff\xff",
            // minus one topic
            b"\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff",
            // a topic of 32 KiB
            b"\x00\x00\x00\x00\x00\x01\x7f\xff",
            // a topic without a name
            b"\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff",
            // user data of two billion bytes
            b"\x00\x00\x00\x00\x00\x00\x7f\xff\xff\xff",
        ];
        for bytes in cases {
            assert_eq!(subscription(bytes), None, "{bytes:?}");
        }
        assert_eq!(assignment(b"\x00\x00\x7f\xff\xff\xff"), None);
        let partitions = b"\x00\x00\x00\x00\x00\x01\x00\x01a\x7f\xff\xff\xff";
        assert_eq!(assignment(partitions), None);
    }

    fn topic(number: u128) -> TopicId {
        TopicId(Uuid::from_u128(number))
    }

    fn set(partitions: &[(u128, i32)]) -> TopicPartitions {
        let id = |(number, index): &(u128, i32)| {
            PartitionId::new(topic(*number), PartitionIndex(*index))
        };
        partitions.iter().map(id).collect()
    }

    #[test]
    fn assignments_are_written_as_clients_read_them() {
        let partitions = set(&[(1, 0), (1, 2), (2, 5), (3, 1)]);
        // topic 3 is gone
        let names = [(topic(1), "one"), (topic(2), "two")];
        let name = |id: TopicId| {
            let found = names.iter().find(|(topic, _)| *topic == id);
            found.map(|(_, name)| *name)
        };
        for (asked, version) in [(0, 0), (3, 3), (9, 3), (-1, 0)] {
            let bytes = encode_assignment(asked, &partitions, name);
            assert_eq!(super::version(&bytes), Some(version));
            let read = ConsumerProtocolAssignment::decode(&mut bytes.slice(2..), version).unwrap();
            let topics = read.assigned_partitions.iter();
            let topics: Vec<_> = topics
                .map(|of_topic| (of_topic.topic.to_string(), of_topic.partitions.clone()))
                .collect();
            let expected = vec![("one".to_owned(), vec![0, 2]), ("two".to_owned(), vec![5])];
            assert_eq!((topics, read.user_data), (expected.clone(), None));
            assert_eq!(assignment(&bytes), Some(expected));
        }
    }

    #[test]
    fn user_data_of_an_assignor_is_noticed() {
        for (data, noticed) in [(None, false), (Some(""), false), (Some("x"), true)] {
            let of_topic = consumer_protocol_assignment::TopicPartition::default()
                .with_topic(TopicName(StrBytes::from_static_str("a")))
                .with_partitions(vec![1]);
            let message = ConsumerProtocolAssignment::default()
                .with_assigned_partitions(vec![of_topic])
                .with_user_data(data.map(|data| Bytes::from_static(data.as_bytes())));
            let read = assignment_with_user_data(&encoded(&message, 1)).unwrap();
            assert_eq!(read, (vec![("a".to_owned(), vec![1])], noticed));
        }
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (subscription(&bytes), assignment(&bytes), subscribed_topics(&bytes));
        }

        #[test]
        fn what_is_written_is_read(sets in prop::collection::vec((1u128..5, 0i32..20), 0..40)) {
            let partitions = set(&sets);
            let names = ["", "n1", "n2", "n3", "n4"];
            let name = |id: TopicId| names.get(usize::try_from(id.0.as_u128()).unwrap()).copied();
            let bytes = encode_assignment(1, &partitions, name);
            let expected: Named = partitions
                .topics()
                .map(|(id, all)| (name(id).unwrap().to_owned(), all.iter().map(|i| i.0).collect()))
                .collect();
            prop_assert_eq!(assignment(&bytes), Some(expected));
        }
    }
}
