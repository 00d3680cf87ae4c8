//! Keys of objects in the bucket.
//!
//! `{hash}/{cluster}/{incarnation}/{upload epoch}/{level}-{slot}-{unique}`: four hex digits of a hash
//! come first so that the bucket can split its key space; the cluster, incarnation and upload epoch
//! let the sweeper recognize what is its own and how old it is; only ids appear, never names.

use thiserror::Error;
use uuid::Uuid;

use crate::{
    ids::{ClusterId, Incarnation, LeaderTerm, ObjectId, ObjectLevel, UploadEpoch, WriterSlot},
    mark::JournalMark,
};

/// Why a string is not the key of an object. Foreign objects in a shared bucket give this; they are
/// never touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It does not have the five segments of a key.
    #[error("not an object key: it does not have the five segments of one")]
    Segments,
    /// A segment is not written as [`object_key`] writes it.
    #[error("not an object key: {0} is not written as keys write it")]
    Segment(&'static str),
    /// The hash in front is not the one of the rest.
    #[error("not an object key: its hash is not the one of the rest")]
    Hash,
}

/// Longest key: 4 + 1 + 22 + 1 + 10 + 1 + 10 + 1 + 2 + 1 + 10 + 1 + 16 characters.
const KEY_CHARS_MAX: usize = 80;

/// The key of an object.
#[must_use]
pub fn object_key(cluster: ClusterId, id: &ObjectId) -> String {
    let rest = format!("{cluster}/{}", object_name(id));
    format!("{:04x}/{rest}", hash(&rest))
}

/// What comes after the cluster in the key of an object: names it within its cluster.
#[must_use]
pub fn object_name(id: &ObjectId) -> String {
    format!(
        "{:010}/{:010}/{}-{}-{:016x}",
        id.incarnation.0,
        id.upload_epoch.0,
        level_name(id.level),
        id.writer.0,
        id.unique
    )
}

/// The object that a key names, and its cluster. Accepts exactly what [`object_key`] writes.
///
/// # Errors
/// Every other string.
pub fn parse_object_key(key: &str) -> Result<(ClusterId, ObjectId), KeyError> {
    if key.len() > KEY_CHARS_MAX {
        return Err(KeyError::Segments);
    }
    let mut segments = key.split('/');
    let mut next = || segments.next().ok_or(KeyError::Segments);
    let (hash_text, cluster, incarnation, upload_epoch, file) =
        (next()?, next()?, next()?, next()?, next()?);
    if segments.next().is_some() {
        return Err(KeyError::Segments);
    }
    let cluster = parse_cluster_id(cluster).ok_or(KeyError::Segment("the cluster"))?;
    let incarnation = parse_padded(incarnation).ok_or(KeyError::Segment("the incarnation"))?;
    let upload_epoch = parse_padded(upload_epoch).ok_or(KeyError::Segment("the upload epoch"))?;
    let mut parts = file.splitn(3, '-');
    let mut part = || parts.next().ok_or(KeyError::Segment("the file name"));
    let (level, slot, unique) = (part()?, part()?, part()?);
    let id = ObjectId {
        incarnation: Incarnation(incarnation),
        upload_epoch: UploadEpoch(upload_epoch),
        writer: WriterSlot(parse_plain(slot).ok_or(KeyError::Segment("the writer's slot"))?),
        level: parse_level(level).ok_or(KeyError::Segment("the level"))?,
        unique: parse_unique(unique).ok_or(KeyError::Segment("the unique number"))?,
    };
    let rest = key.split_once('/').map_or("", |(_, rest)| rest);
    if hash_text == format!("{:04x}", hash(rest)) {
        Ok((cluster, id))
    } else {
        Err(KeyError::Hash)
    }
}

/// The key of the object that says which cluster and incarnation owns the bucket.
#[must_use]
pub fn marker_key() -> &'static str {
    "aquifer-cluster"
}

/// The key of the object that stops every sweep of one incarnation: somebody saw that the metadata was behind
/// the bucket.
#[must_use]
pub fn sweep_halt_key(cluster: ClusterId, incarnation: Incarnation) -> String {
    format!("aquifer-sweep-halt/{cluster}/{:010}", incarnation.0)
}

/// What the keys of a cluster's tip objects begin with. The last one in key order is the newest.
#[must_use]
pub fn tips_prefix(cluster: ClusterId) -> String {
    format!("aquifer-tip/{cluster}/")
}

/// The key of the tip object of `mark`.
#[must_use]
pub fn tip_key(cluster: ClusterId, mark: &JournalMark) -> String {
    format!("{}{}", tips_prefix(cluster), place(mark))
}

/// What the keys of a cluster's witness objects begin with.
#[must_use]
pub fn witnesses_prefix(cluster: ClusterId) -> String {
    format!("aquifer-witness/{cluster}/")
}

/// The key of the witness object of `mark` that the process with the random number `writer` writes.
#[must_use]
pub fn witness_key(cluster: ClusterId, mark: &JournalMark, writer: u64) -> String {
    format!("{}{}-{writer:016x}", witnesses_prefix(cluster), place(mark))
}

/// The incarnation that a key of a tip or witness names, so that those of earlier ones need not be read.
#[must_use]
pub fn incarnation_of_witness(key: &str) -> Option<Incarnation> {
    let place = key.rsplit('/').next()?;
    parse_padded(place.get(..10)?).map(Incarnation)
}

/// A backup of the metadata: a try to make one, which failed if it has no manifest. Later ones sort behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackupId {
    /// The cluster's incarnation.
    pub incarnation: Incarnation,
    /// Term of the leader that makes it.
    pub term: LeaderTerm,
    /// Its number among those of that leader.
    pub number: u32,
}

/// What a backup's manifest is called.
pub const BACKUP_MANIFEST: &str = "manifest";

/// What the keys of a cluster's backups begin with.
#[must_use]
pub fn backups_prefix(cluster: ClusterId) -> String {
    format!("aquifer-backup/{cluster}/")
}

/// The key of an object of a backup, be it [`BACKUP_MANIFEST`] or a part.
#[must_use]
pub fn backup_key(cluster: ClusterId, id: &BackupId, name: &str) -> String {
    format!(
        "{}{:010}-{:020}-{:010}/{name}",
        backups_prefix(cluster),
        id.incarnation.0,
        id.term.0,
        id.number
    )
}

/// The backup of `cluster` whose key this is, and the object's name in it.
#[must_use]
pub fn parse_backup_key(cluster: ClusterId, key: &str) -> Option<(BackupId, &str)> {
    let (folder, name) = key
        .strip_prefix(&backups_prefix(cluster))?
        .split_once('/')?;
    let mut parts = folder.splitn(3, '-');
    let (incarnation, term, number) = (parts.next()?, parts.next()?, parts.next()?);
    let term = Some(term).filter(|t| t.len() == 20 && t.bytes().all(|b| b.is_ascii_digit()))?;
    let id = BackupId {
        incarnation: Incarnation(parse_padded(incarnation)?),
        term: LeaderTerm(term.parse().ok()?),
        number: parse_padded(number)?,
    };
    (!name.is_empty() && !name.contains('/')).then_some((id, name))
}

/// Sorts by incarnation, term and row.
fn place(mark: &JournalMark) -> String {
    format!(
        "{:010}-{:020}-{:020}",
        mark.incarnation.0, mark.term.0, mark.seq.0
    )
}

/// The key under which an agent tries whether the bucket takes writes. Nothing reads it; no object's key
/// looks like it.
#[must_use]
pub fn probe_key(cluster: ClusterId, writer: WriterSlot) -> String {
    format!("aquifer-probe/{cluster}/{}", writer.0)
}

fn hash(rest: &str) -> u16 {
    let [high, low, ..] = crc_fast::crc32_iscsi(rest.as_bytes()).to_be_bytes();
    u16::from_be_bytes([high, low])
}

fn level_name(level: ObjectLevel) -> &'static str {
    match level {
        ObjectLevel::L0 => "l0",
        ObjectLevel::L1 => "l1",
        ObjectLevel::L2 => "l2",
    }
}

fn parse_level(text: &str) -> Option<ObjectLevel> {
    match text {
        "l0" => Some(ObjectLevel::L0),
        "l1" => Some(ObjectLevel::L1),
        "l2" => Some(ObjectLevel::L2),
        _ => None,
    }
}

/// Ten decimal digits.
fn parse_padded(text: &str) -> Option<u32> {
    let digits = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Decimal digits without leading zeros.
fn parse_plain(text: &str) -> Option<u32> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    if canonical && digits {
        text.parse().ok()
    } else {
        None
    }
}

/// Sixteen lower-case hex digits.
fn parse_unique(text: &str) -> Option<u64> {
    let digits = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if digits {
        u64::from_str_radix(text, 16).ok()
    } else {
        None
    }
}

/// The cluster that Kafka's 22 characters of URL-safe base64 without padding name.
#[must_use]
pub fn parse_cluster_id(text: &str) -> Option<ClusterId> {
    if text.len() != 22 {
        return None;
    }
    let (last, head) = text.as_bytes().split_last()?;
    let mut bits = 0u128;
    for c in head {
        bits = bits << 6 | u128::from(base64_value(*c)?);
    }
    // 21 characters are 126 bits; the last one brings 2 more and 4 zeros.
    let last = base64_value(*last)?;
    if last & 0b1111 != 0 {
        return None;
    }
    Some(ClusterId(Uuid::from_u128(
        bits << 2 | u128::from(last >> 4),
    )))
}

fn base64_value(c: u8) -> Option<u8> {
    match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::JournalSeq;

    fn id() -> ObjectId {
        ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(42),
            writer: WriterSlot(7),
            level: ObjectLevel::L0,
            unique: 0xdead_beef,
        }
    }

    fn cluster() -> ClusterId {
        ClusterId(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10))
    }

    #[test]
    fn keys_stay_as_they_were_shipped() {
        assert_eq!(
            object_key(cluster(), &id()),
            "fc49/AQIDBAUGBwgJCgsMDQ4PEA/0000000001/0000000042/l0-7-00000000deadbeef"
        );
    }

    #[test]
    fn keys_of_tips_and_witnesses_stay_as_they_were_shipped() {
        let mark = JournalMark {
            incarnation: Incarnation(2),
            term: LeaderTerm(3),
            seq: JournalSeq(u64::MAX),
            hash: [1; 32],
        };
        let tip = tip_key(cluster(), &mark);
        assert_eq!(
            tip,
            "aquifer-tip/AQIDBAUGBwgJCgsMDQ4PEA/0000000002-00000000000000000003-18446744073709551615"
        );
        let witness = witness_key(cluster(), &mark, 0xab);
        assert_eq!(
            witness,
            "aquifer-witness/AQIDBAUGBwgJCgsMDQ4PEA/0000000002-00000000000000000003-18446744073709551615-00000000000000ab"
        );
        for key in [tip, witness] {
            assert_eq!(incarnation_of_witness(&key), Some(Incarnation(2)));
            assert!(parse_object_key(&key).is_err());
        }
        assert_eq!(incarnation_of_witness(marker_key()), None);
    }

    #[test]
    fn keys_of_backups_stay_as_they_were_shipped() {
        let id = BackupId {
            incarnation: Incarnation(2),
            term: LeaderTerm(u64::MAX),
            number: 17,
        };
        let key = backup_key(cluster(), &id, BACKUP_MANIFEST);
        assert_eq!(
            key,
            "aquifer-backup/AQIDBAUGBwgJCgsMDQ4PEA/0000000002-18446744073709551615-0000000017/manifest"
        );
        assert_eq!(
            parse_backup_key(cluster(), &key),
            Some((id, BACKUP_MANIFEST))
        );
        assert!(parse_object_key(&key).is_err());
        let other = ClusterId(Uuid::from_u128(9));
        assert_eq!(parse_backup_key(other, &key), None);
        for (from, to) in [
            ("0000000002", "2"),
            ("18446744073709551615", "28446744073709551615"),
            ("18446744073709551615", "+8446744073709551615"),
            ("/manifest", "/"),
            ("/manifest", ""),
            ("/manifest", "/a/b"),
        ] {
            let key = key.replacen(from, to, 1);
            assert_eq!(parse_backup_key(cluster(), &key), None, "{key}");
        }
    }

    #[test]
    fn consecutive_objects_spread_over_the_key_space() {
        let firsts: std::collections::BTreeSet<String> = (0..256)
            .map(|unique| object_key(cluster(), &ObjectId { unique, ..id() })[..2].to_owned())
            .collect();
        assert!(firsts.len() > 100, "{}", firsts.len());
    }

    #[test]
    fn other_strings_are_not_keys() {
        let key = object_key(cluster(), &id());
        for (from, to) in [
            ("fc49", "c064"),
            ("fc49", "C063"),
            ("AQID", "AQIE"),
            ("EA/", "EB/"),
            ("0000000001", "1"),
            ("0000000001", "+000000001"),
            ("0000000042", "9999999999"),
            ("l0-7", "l3-7"),
            ("-7-", "-07-"),
            ("-7-", "-+7-"),
            ("deadbeef", "DEADBEEF"),
            ("/l0", "//l0"),
        ] {
            let other = key.replacen(from, to, 1);
            assert_ne!(other, key, "{from}");
            assert!(parse_object_key(&other).is_err(), "{other}");
        }
        let halt = sweep_halt_key(cluster(), Incarnation(1));
        assert_eq!(halt, "aquifer-sweep-halt/AQIDBAUGBwgJCgsMDQ4PEA/0000000001");
        for other in [
            "",
            "/",
            "////",
            marker_key(),
            &halt,
            "a/b/c/d/e",
            "a/b/c/d/e/f",
        ] {
            assert!(parse_object_key(other).is_err(), "{other}");
        }
    }

    fn any_level() -> impl Strategy<Value = ObjectLevel> {
        prop_oneof![
            Just(ObjectLevel::L0),
            Just(ObjectLevel::L1),
            Just(ObjectLevel::L2)
        ]
    }

    proptest! {
        #[test]
        fn every_id_survives_its_key(
            cluster: u128, incarnation: u32, upload_epoch: u32, writer: u32,
            level in any_level(), unique: u64,
        ) {
            let cluster = ClusterId(Uuid::from_u128(cluster));
            let id = ObjectId {
                incarnation: Incarnation(incarnation),
                upload_epoch: UploadEpoch(upload_epoch),
                writer: WriterSlot(writer),
                level,
                unique,
            };
            let key = object_key(cluster, &id);
            prop_assert!(key.len() <= KEY_CHARS_MAX);
            prop_assert_eq!(parse_object_key(&key), Ok((cluster, id)));
        }

        #[test]
        fn what_parses_is_what_is_written(key in "\\PC{0,90}|[0-9a-f]{4}/[A-Za-z]{22}/[0-9]{10}/[0-9]{10}/l[0-3]-[0-9]{1,4}-[0-9a-f]{16}") {
            if let Ok((cluster, id)) = parse_object_key(&key) {
                prop_assert_eq!(object_key(cluster, &id), key);
            }
        }
    }
}
