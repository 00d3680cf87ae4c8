//! Small objects in the bucket that say how far the metadata journal surely was: the *tip*, written by
//! its leaders, and *witnesses*, written by whoever remembers more than the journal has or accepts that.
//!
//! Both are versioned JSON with a checksum behind it, so that people can read them and damage shows. They are created and never changed; their keys
//! sort by incarnation, term and row ([`crate::key`]).

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::{
    ids::{
        ClusterId, Incarnation, JournalSeq, LeaderTerm, Offset, PartitionId, PartitionIndex,
        TopicId, UploadEpoch,
    },
    mark::JournalMark,
    sealed,
};

/// The version of both objects that this release writes, and the newest one that it reads.
pub const WITNESS_VERSION: u32 = 1;

/// What somebody remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The cluster.
    pub cluster: ClusterId,
    /// The newest row.
    pub mark: JournalMark,
    /// The highest upload epoch.
    pub upload_epoch: UploadEpoch,
    /// High watermarks, in order of partitions; none in a tip.
    pub high_watermarks: Vec<(PartitionId, Offset)>,
}

/// Why an object is not a witness or tip.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WitnessError {
    /// A newer release wrote it.
    #[error(
        "it has version {found}, this release reads up to {WITNESS_VERSION}: run a newer release"
    )]
    NewerVersion {
        /// Its version.
        found: u32,
    },
    /// It is damaged.
    #[error("it is damaged: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Body {
    version: u32,
    cluster: String,
    incarnation: u32,
    term: u64,
    seq: u64,
    hash: String,
    upload_epoch: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    topics: Vec<TopicBody>,
}

#[derive(Serialize, Deserialize)]
struct TopicBody {
    topic: String,
    /// (partition, high watermark)
    high_watermarks: Vec<(i32, i64)>,
}

impl Witness {
    /// The object's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let by_topic = self
            .high_watermarks
            .chunk_by(|(a, _), (b, _)| a.topic == b.topic);
        let body = Body {
            version: WITNESS_VERSION,
            cluster: self.cluster.0.simple().to_string(),
            incarnation: self.mark.incarnation.0,
            term: self.mark.term.0,
            seq: self.mark.seq.0,
            hash: self.mark.hash.iter().map(|b| format!("{b:02x}")).collect(),
            upload_epoch: self.upload_epoch.0,
            topics: by_topic
                .filter_map(|group| {
                    let (first, _) = group.first()?;
                    let marks = group.iter().map(|(id, offset)| (id.partition.0, offset.0));
                    Some(TopicBody {
                        topic: first.topic.0.hyphenated().to_string(),
                        high_watermarks: marks.collect(),
                    })
                })
                .collect(),
        };
        let text = serde_json::to_vec(&body);
        sealed::seal(text.expect("numbers, strings and lists can be written as JSON"))
    }

    /// Reads what [`Self::encode`] writes.
    ///
    /// # Errors
    /// Other bytes, or a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WitnessError> {
        let malformed = |error: serde_json::Error| WitnessError::Malformed {
            reason: error.to_string(),
        };
        let bad = |what: &str| WitnessError::Malformed {
            reason: what.to_owned(),
        };
        let bytes = sealed::open(bytes).map_err(|damaged| bad(&damaged.to_string()))?;
        let Version { version } = serde_json::from_slice(bytes).map_err(malformed)?;
        if version > WITNESS_VERSION {
            return Err(WitnessError::NewerVersion { found: version });
        }
        let body: Body = serde_json::from_slice(bytes).map_err(malformed)?;
        let cluster = Uuid::try_parse(&body.cluster).map_err(|_| bad("it names no cluster"))?;
        let hash = hash_from(&body.hash).ok_or_else(|| bad("its hash is not 64 hex digits"))?;
        let mut high_watermarks = Vec::new();
        for topic in body.topics {
            let id = Uuid::try_parse(&topic.topic).map_err(|_| bad("a topic has no id"))?;
            let marks = topic.high_watermarks.into_iter();
            high_watermarks.extend(marks.map(|(index, offset)| {
                let partition = PartitionId::new(TopicId(id), PartitionIndex(index));
                (partition, Offset(offset))
            }));
        }
        Ok(Self {
            cluster: ClusterId(cluster),
            mark: JournalMark {
                incarnation: Incarnation(body.incarnation),
                term: LeaderTerm(body.term),
                seq: JournalSeq(body.seq),
                hash,
            },
            upload_epoch: UploadEpoch(body.upload_epoch),
            high_watermarks,
        })
    }
}

fn hash_from(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn witness() -> Witness {
        let id =
            |topic, index| PartitionId::new(TopicId(Uuid::from_u128(topic)), PartitionIndex(index));
        Witness {
            cluster: ClusterId(Uuid::from_u128(0xa)),
            mark: JournalMark {
                incarnation: Incarnation(1),
                term: LeaderTerm(2),
                seq: JournalSeq(3),
                hash: [0xab; 32],
            },
            upload_epoch: UploadEpoch(4),
            high_watermarks: vec![
                (id(5, 0), Offset(6)),
                (id(5, 1), Offset(i64::MAX)),
                (id(7, 0), Offset(0)),
            ],
        }
    }

    #[test]
    fn witnesses_stay_as_they_were_shipped() {
        let text = String::from_utf8(witness().encode()).unwrap();
        let shipped = format!("{GOLDEN}\ncrc32c:e5e37abb\n");
        assert_eq!(text, shipped, "objects in buckets would no longer be read");
        assert_eq!(Witness::decode(shipped.as_bytes()), Ok(witness()));
        let tip = Witness {
            high_watermarks: Vec::new(),
            ..witness()
        };
        assert!(!String::from_utf8(tip.encode()).unwrap().contains("topics"));
        assert_eq!(Witness::decode(&tip.encode()), Ok(tip));
    }

    const GOLDEN: &str = concat!(
        r#"{"version":1,"cluster":"0000000000000000000000000000000a","incarnation":1,"term":2,"seq":3,"#,
        r#""hash":"abababababababababababababababababababababababababababababababab","upload_epoch":4,"#,
        r#""topics":[{"topic":"00000000-0000-0000-0000-000000000005","#,
        r#""high_watermarks":[[0,6],[1,9223372036854775807]]},"#,
        r#"{"topic":"00000000-0000-0000-0000-000000000007","high_watermarks":[[0,0]]}]}"#,
    );

    #[test]
    fn other_bytes_are_no_witnesses() {
        for (from, to, says) in [
            (r#""version":1"#, r#""version":2,"new":3"#, "newer release"),
            ("abab", "abxb", "hex"),
            ("abab", "ab", "hex"),
            ("abab", "äb", "hex"),
            (r#""term":2,"#, "", "term"),
            ("0000000a", "a", "cluster"),
            ("}", "", "damaged"),
        ] {
            let bytes = GOLDEN.replacen(from, to, 1);
            let sealed = sealed::seal(bytes.clone().into_bytes());
            let error = Witness::decode(&sealed).unwrap_err().to_string();
            assert!(error.contains(says), "{bytes}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = Witness::decode(&bytes);
        }
    }
}
