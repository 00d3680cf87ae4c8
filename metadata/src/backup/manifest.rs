//! Manifests: what a backup consists of.

use aquifer_format::{
    ids::{ClusterId, Incarnation, JournalSeq, LeaderTerm, UploadEpoch},
    key::parse_cluster_id,
    mark::JournalMark,
    sealed,
};
use serde::{Deserialize, Serialize};

use crate::journal::RowHash;

/// Version of the manifest's form.
const VERSION: u32 = 1;

/// A part of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRef {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// CRC-64/NVME of it.
    pub checksum: u64,
}

/// What a backup consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The cluster.
    pub cluster: ClusterId,
    /// The newest row that is in it: incarnation, term, seq, hash.
    pub mark: JournalMark,
    /// Replay of `rows` begins after this row.
    pub pages_through: JournalSeq,
    /// The upload epoch when it was begun: whatever was released earlier is released in it.
    pub upload_epoch: UploadEpoch,
    /// Wall-clock time of the leader, for people.
    pub unix_millis: i64,
    /// Parts with pages, the base first: a later page or removal of the same key counts.
    pub pages: Vec<PartRef>,
    /// Parts with rows, in order.
    pub rows: Vec<PartRef>,
}

/// As JSON.
#[derive(Serialize, Deserialize)]
struct Body {
    version: u32,
    cluster: String,
    incarnation: u32,
    term: u64,
    seq: u64,
    hash: String,
    pages_through: u64,
    upload_epoch: u32,
    unix_millis: i64,
    pages: Vec<PartBody>,
    rows: Vec<PartBody>,
}

#[derive(Serialize, Deserialize)]
struct PartBody {
    key: String,
    bytes: u64,
    crc64: String,
}

impl Manifest {
    /// Keys of all its parts.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let parts = self.pages.iter().chain(&self.rows);
        parts.map(|part| part.key.as_str())
    }

    /// JSON, with a checksum behind it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let body = Body {
            version: VERSION,
            cluster: self.cluster.to_string(),
            incarnation: self.mark.incarnation.0,
            term: self.mark.term.0,
            seq: self.mark.seq.0,
            hash: self.mark.hash.iter().map(|b| format!("{b:02x}")).collect(),
            pages_through: self.pages_through.0,
            upload_epoch: self.upload_epoch.0,
            unix_millis: self.unix_millis,
            pages: self.pages.iter().map(PartBody::of).collect(),
            rows: self.rows.iter().map(PartBody::of).collect(),
        };
        let text = serde_json::to_vec(&body).expect("strings and numbers can be written as JSON");
        sealed::seal(text)
    }

    /// The manifest that [`Self::encode`] wrote.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let text = sealed::open(bytes).map_err(|e| e.to_string())?;
        let json: serde_json::Value = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let version = json.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            return Err(format!(
                "it is of version {}, and this program knows {VERSION}: use the program that wrote it",
                version.unwrap_or_default()
            ));
        }
        let body: Body = serde_json::from_value(json).map_err(|e| e.to_string())?;
        let cluster = parse_cluster_id(&body.cluster).ok_or("it names no cluster")?;
        let parts = |parts: Vec<PartBody>| parts.into_iter().map(PartBody::part).collect();
        let pages: Result<Vec<PartRef>, String> = parts(body.pages);
        let rows: Result<Vec<PartRef>, String> = parts(body.rows);
        Ok(Self {
            cluster,
            mark: JournalMark {
                incarnation: Incarnation(body.incarnation),
                term: LeaderTerm(body.term),
                seq: JournalSeq(body.seq),
                hash: parse_hash(&body.hash).ok_or("its row has no hash")?,
            },
            pages_through: JournalSeq(body.pages_through),
            upload_epoch: UploadEpoch(body.upload_epoch),
            unix_millis: body.unix_millis,
            pages: pages?,
            rows: rows?,
        })
    }
}

impl PartBody {
    fn of(part: &PartRef) -> Self {
        Self {
            key: part.key.clone(),
            bytes: part.bytes,
            crc64: format!("{:016x}", part.checksum),
        }
    }

    fn part(self) -> Result<PartRef, String> {
        let checksum = u64::from_str_radix(&self.crc64, 16);
        Ok(PartRef {
            key: self.key,
            bytes: self.bytes,
            checksum: checksum.map_err(|e| format!("a checksum cannot be read: {e}"))?,
        })
    }
}

fn parse_hash(text: &str) -> Option<RowHash> {
    let mut hash = RowHash::default();
    if text.len() != 2 * hash.len() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn manifest() -> Manifest {
        let part = |key: &str, checksum| PartRef {
            key: key.to_owned(),
            bytes: 9,
            checksum,
        };
        Manifest {
            cluster: ClusterId(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10)),
            mark: JournalMark {
                incarnation: Incarnation(2),
                term: LeaderTerm(3),
                seq: JournalSeq(u64::MAX),
                hash: [0xab; 32],
            },
            pages_through: JournalSeq(4),
            upload_epoch: UploadEpoch(5),
            unix_millis: -6,
            pages: vec![part("a", u64::MAX), part("b", 0)],
            rows: vec![part("c", 1)],
        }
    }

    #[test]
    fn manifests_stay_as_they_were_shipped() {
        let text = sealed::open(&manifest().encode()).unwrap().to_vec();
        let hash = "ab".repeat(32);
        let expected = format!(
            r#"{{"version":1,"cluster":"AQIDBAUGBwgJCgsMDQ4PEA","incarnation":2,"term":3,"seq":18446744073709551615,"hash":"{hash}","pages_through":4,"upload_epoch":5,"unix_millis":-6,"pages":[{{"key":"a","bytes":9,"crc64":"ffffffffffffffff"}},{{"key":"b","bytes":9,"crc64":"0000000000000000"}}],"rows":[{{"key":"c","bytes":9,"crc64":"0000000000000001"}}]}}"#
        );
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert_eq!(Manifest::decode(&manifest().encode()), Ok(manifest()));
    }

    #[test]
    fn other_bytes_are_refused_and_say_why() {
        let good = String::from_utf8(sealed::open(&manifest().encode()).unwrap().to_vec()).unwrap();
        for (from, to, says) in [
            (r#""version":1"#, r#""version":2"#, "version 2"),
            ("AQID", "AQ!D", "no cluster"),
            ("abab", "zbab", "no hash"),
            ("ffff", "gfff", "checksum"),
            (r#""rows""#, r#""lows""#, "rows"),
        ] {
            let other = sealed::seal(good.replacen(from, to, 1).into_bytes());
            let error = Manifest::decode(&other).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let mut damaged = manifest().encode();
        damaged[20] ^= 1;
        assert!(Manifest::decode(&damaged).is_err());
    }
}
