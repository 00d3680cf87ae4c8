//! What is in a cluster's bucket, and whether it is what the metadata refers to: told by three that do not ask one
//! another, the S3 server, the metadata leader, and `aquifer bucket fsck`.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use aquifer_format::{ids::ObjectLevel, limits::LIVE_OBJECTS_MAX};
use aquifer_metadata_api::{
    MetadataError, Upkeep,
    upkeep::{ListedObject, ObjectsRequest},
};
use serde_json::Value;

use crate::{
    cluster::{Cluster, ENVIRONMENT, client_of},
    process::{binary, http_get},
};

/// What was seen.
#[derive(Clone, Debug)]
pub struct BucketState {
    /// Objects that the S3 server has, whatever their keys.
    pub there: u64,
    /// Objects that the metadata knows.
    pub known: Vec<ListedObject>,
    /// What fsck says.
    pub fsck: Value,
    /// Whether its exit code says that all is well.
    pub exits_well: bool,
}

impl BucketState {
    /// Looks. The three looks are one after another, so that they agree only where nothing happens meanwhile.
    ///
    /// # Errors
    /// If somebody does not answer: what was said.
    ///
    /// # Panics
    /// If an answer is not understood.
    pub fn of(cluster: &Cluster) -> Result<Self, String> {
        let leader = cluster.leader().ok_or("nobody leads")?;
        let port = cluster.metadata[leader].port;
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let known = runtime.block_on(known(port));
        let known = known.map_err(|error| error.to_string())?;
        let (exits_well, fsck) = fsck(cluster, port)?;
        let (_, totals) = http_get(cluster.s3.admin, "/buckets/bucket").ok_or("no totals")?;
        let totals: Value = serde_json::from_str(&totals).expect("totals are JSON");
        Ok(Self {
            there: totals["objects"].as_u64().expect("a count"),
            known,
            fsck,
            exits_well,
        })
    }

    fn count(&self, name: &str) -> u64 {
        let count = &self.fsck[name];
        count
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {}", self.fsck))
    }

    /// Whether the bucket has what is referenced, what the cluster keeps beside objects, and nothing else.
    ///
    /// # Panics
    /// If fsck's report is not understood.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let none = [
            "released_objects",
            "young_objects",
            "leaked_objects",
            "missing_objects",
            "resized_objects",
            "unfinished_uploads",
            "foreign_keys",
        ];
        let known = u64::try_from(self.known.len()).expect("few");
        let live = self.known.iter().all(|object| object.released_in.is_none());
        self.exits_well
            && none.iter().all(|name| self.count(name) == 0)
            && live
            && self.count("live_objects") == known
            && known + self.count("own_keys") == self.there
    }

    /// Objects of a level that are known.
    #[must_use]
    pub fn of_level(&self, level: ObjectLevel) -> usize {
        let of_level = |object: &&ListedObject| object.id.level == level;
        self.known.iter().filter(of_level).count()
    }
}

async fn known(port: u16) -> Result<Vec<ListedObject>, MetadataError> {
    let metadata = client_of(port);
    let mut known: Vec<ListedObject> = Vec::new();
    loop {
        let request = ObjectsRequest {
            after: known.last().map(|object| object.id),
            limit: LIVE_OBJECTS_MAX,
        };
        let page = metadata.objects(request).await?.objects;
        let last = page.len() < LIVE_OBJECTS_MAX;
        known.extend(page);
        if last {
            return Ok(known);
        }
    }
}

fn fsck(cluster: &Cluster, metadata: u16) -> Result<(bool, Value), String> {
    let output = Command::new(binary("aquifer"))
        .args(["bucket", "fsck", "-o", "json"])
        .arg(format!("--bucket={}", cluster.s3.url()))
        .arg(format!("--metadata=127.0.0.1:{metadata}"))
        .envs(ENVIRONMENT)
        .output()
        .expect("the binary can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let lines = said.lines().map(serde_json::from_str::<Value>);
    let report = lines.flatten().find(|line| line["kind"] == "fsck");
    let report = report.ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((output.status.success(), report))
}

/// Waits until the bucket is exact; a referenced object that is not there ends it at once.
///
/// # Panics
/// If it is not by then, or something is missing.
#[must_use]
pub fn wait_until_exact(cluster: &Cluster, patience: Duration) -> BucketState {
    let begin = Instant::now();
    loop {
        let seen = match BucketState::of(cluster) {
            Ok(state) if state.is_exact() => return state,
            seen => seen,
        };
        if let Ok(state) = &seen {
            assert_eq!(state.count("missing_objects"), 0, "{}", state.fsck);
        }
        assert!(
            begin.elapsed() < patience,
            "the bucket is not what is referenced after {patience:?}: {seen:#?}"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}
