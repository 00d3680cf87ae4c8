//! What a member of a classic group is assigned, as Kafka's consumers write it (`ConsumerProtocolAssignment`):
//! the version, then topics with their partitions. Any client may have written it, so nothing is reserved by a
//! count that was read.

use super::cluster::TopicPartition;

/// The partitions, sorted; None = it is nothing of the kind. No bytes are no partitions.
pub(super) fn read(bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    let mut all = Vec::new();
    if bytes.is_empty() {
        return Some(all);
    }
    let mut rest = Rest(bytes);
    // what newer versions add comes behind the partitions
    if rest.short()? < 0 {
        return None;
    }
    for _ in 0..rest.int()? {
        let topic = rest.text()?;
        for _ in 0..rest.int()? {
            all.push(TopicPartition {
                topic: topic.to_owned(),
                partition: rest.int()?,
            });
        }
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

/// What was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<i16> {
        self.take(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    fn int(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.short()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::{
        messages::{
            TopicName,
            consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition as OfTopic},
        },
        protocol::Encodable,
    };

    use super::*;
    use crate::protocol::string;

    fn written(version: i16) -> Vec<u8> {
        let of = |topic: &str, partitions: Vec<i32>| {
            OfTopic::default()
                .with_topic(TopicName(string(topic)))
                .with_partitions(partitions)
        };
        let assignment = ConsumerProtocolAssignment::default()
            .with_assigned_partitions(vec![of("b", vec![3, 1]), of("a", vec![0])]);
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&version.to_be_bytes());
        assignment.encode(&mut bytes, version).unwrap();
        bytes.to_vec()
    }

    #[test]
    fn assignments_of_all_versions_are_read() {
        for version in 0..=3 {
            let read = read(&written(version)).unwrap();
            let shown: Vec<String> = read.iter().map(ToString::to_string).collect();
            assert_eq!(shown, ["a:0", "b:1", "b:3"]);
        }
        assert_eq!(read(&[]), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_assignment_is_told_from_one() {
        let whole = written(0);
        // without what a consumer says for itself (user data), which comes last
        let needed = whole.len() - 4;
        for length in 1..needed {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
        assert!(read(&whole[..needed]).is_some());
        assert_eq!(read(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None);
        assert_eq!(read(&[0xff, 0xff, 0, 0, 0, 0]), None);
        assert_eq!(read(b"not of a consumer at all"), None);
    }
}
