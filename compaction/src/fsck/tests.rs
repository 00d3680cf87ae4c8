//! On a bucket made by hand.

use std::collections::BTreeMap;

use aquifer_format::{
    ids::{ObjectLevel, WriterSlot},
    key::tips_prefix,
    limits::SWEEP_AGE_EPOCHS_MIN,
};
use aquifer_metadata_api::{
    live::LiveObjects,
    upkeep::{ListedObject, ObjectsReply, ObjectsRequest},
};
use aquifer_store::{PutMode, memory::MemoryStore};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use uuid::Uuid;

use super::*;

const EPOCH: u32 = 100;

/// What the metadata of the test knows: bytes, and whether it was released.
#[derive(Debug, Default)]
struct Facts {
    objects: Mutex<BTreeMap<ObjectId, (u64, bool)>>,
}

#[async_trait]
impl Knows for Arc<Facts> {
    async fn objects(&self, request: ObjectsRequest) -> Result<ObjectsReply, MetadataError> {
        let objects = self.objects.lock();
        let behind = objects.iter().filter(|(id, _)| Some(**id) > request.after);
        let page = behind
            .take(request.limit)
            .map(|(id, (bytes, released))| ListedObject {
                id: *id,
                bytes: *bytes,
                references: u32::from(!released),
                released_in: released.then_some(UploadEpoch(EPOCH - 1)),
            });
        Ok(ObjectsReply {
            cluster: cluster(),
            incarnation: Incarnation(2),
            upload_epoch: UploadEpoch(EPOCH),
            objects: page.collect(),
        })
    }

    async fn live(&self, ids: Vec<ObjectId>) -> Result<LiveObjects, MetadataError> {
        let objects = self.objects.lock();
        Ok(LiveObjects {
            cluster: cluster(),
            incarnation: Incarnation(2),
            upload_epoch: UploadEpoch(EPOCH),
            live: ids.iter().map(|id| objects.contains_key(id)).collect(),
        })
    }
}

fn cluster() -> ClusterId {
    ClusterId(Uuid::from_u128(9))
}

fn id(epoch: u32, unique: u64) -> ObjectId {
    ObjectId {
        incarnation: Incarnation(2),
        upload_epoch: UploadEpoch(epoch),
        writer: WriterSlot(3),
        level: ObjectLevel::L0,
        unique,
    }
}

struct Bed {
    facts: Arc<Facts>,
    memory: Arc<MemoryStore>,
}

impl Bed {
    fn new() -> Self {
        Self {
            facts: Arc::default(),
            memory: Arc::default(),
        }
    }

    fn knows(&self, id: ObjectId, bytes: u64, released: bool) {
        self.facts.objects.lock().insert(id, (bytes, released));
    }

    async fn put_key(&self, key: &str, bytes: usize) {
        let payload = vec![Bytes::from(vec![0; bytes])];
        let put = self.memory.put(key, payload, PutMode::Create).await;
        put.expect("a new key");
    }

    async fn put(&self, id: ObjectId, bytes: usize) {
        self.put_key(&object_key(cluster(), &id), bytes).await;
    }

    async fn has(&self, id: ObjectId) -> bool {
        let key = object_key(cluster(), &id);
        self.memory.head(&key).await.is_ok()
    }

    async fn fsck(&self, repair: bool, known_max: usize) -> Result<FsckReport, FsckError> {
        let store = Arc::clone(&self.memory) as Arc<dyn ObjectStore>;
        let comparison = Comparison::begin(store, Box::new(Arc::clone(&self.facts))).await;
        comparison?.run(repair, known_max).await
    }
}

/// A bucket with something of everything, but for what is missing.
async fn filled() -> Bed {
    let bed = Bed::new();
    for unique in 1..=50 {
        bed.knows(id(20, unique), 10, false);
        bed.put(id(20, unique), 10).await;
    }
    bed.knows(id(21, 1), 7, true);
    bed.put(id(21, 1), 7).await;
    // Released, and its bytes have gone.
    bed.knows(id(21, 2), 7, true);
    // Nobody knows it, and it may be committed still.
    bed.put(id(EPOCH - SWEEP_AGE_EPOCHS_MIN, 1), 5).await;
    bed.put(id(EPOCH, 1), 5).await;
    // Leaks, of this and of an earlier incarnation.
    bed.put(id(EPOCH - SWEEP_AGE_EPOCHS_MIN - 1, 1), 3).await;
    let earlier = ObjectId {
        incarnation: Incarnation(1),
        ..id(EPOCH + 5, 1)
    };
    bed.put(earlier, 4).await;
    for key in [
        marker_key().to_owned(),
        format!("{}x", tips_prefix(cluster())),
        format!("aquifer-backup/{cluster}/y", cluster = cluster()),
    ] {
        bed.put_key(&key, 1).await;
    }
    let other = ClusterId(Uuid::from_u128(10));
    for key in [
        object_key(other, &id(1, 1)),
        format!("{}x", tips_prefix(other)),
        "README".to_owned(),
        "zz".to_owned(),
    ] {
        bed.put_key(&key, 1).await;
    }
    bed
}

fn expected() -> FsckReport {
    FsckReport {
        incarnation: Incarnation(2),
        upload_epoch: UploadEpoch(EPOCH),
        live: (50, 500),
        released: (1, 7),
        young: (2, 10),
        leaked: (2, 7),
        foreign: 4,
        own: 3,
        ..FsckReport::default()
    }
}

#[tokio::test]
async fn each_object_is_told_for_what_it_is() {
    let bed = filled().await;
    let mut report = bed.fsck(false, KNOWN_MAX).await.expect("it is compared");
    let mut sizes: Vec<u64> = report.leaks.drain(..).map(|(_, bytes)| bytes).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [3, 4]);
    assert_eq!(report, expected());
    assert!(!report.is_clean(), "leaks stay");
}

#[tokio::test]
async fn part_by_part_the_same_is_found() {
    let bed = filled().await;
    let mut report = bed.fsck(false, 5).await.expect("it is compared");
    report.leaks.clear();
    assert_eq!(report, expected());
}

#[test]
fn the_parts_of_the_keys_are_all_keys_once() {
    let parts: Vec<Part> = (0..PARTS).map(|number| Part::of(number, PARTS)).collect();
    assert_eq!((&parts[0].from, Part::of(0, 1)), (&None, Part::ALL));
    for key in [
        "",
        "0",
        "0fff/x",
        "1000",
        "1000/x",
        "README",
        "aquifer-x",
        "ffff/y",
        "zz",
        "ü",
    ] {
        let held = parts.iter().filter(|part| part.holds(key)).count();
        assert_eq!(held, 1, "{key:?}");
    }
}

#[tokio::test]
async fn what_is_missing_or_of_another_size_is_damage() {
    let bed = filled().await;
    bed.knows(id(30, 1), 8, false);
    bed.put(id(30, 1), 9).await;
    bed.knows(id(30, 2), 8, false);
    let report = bed.fsck(false, KNOWN_MAX).await.expect("it is compared");
    assert_eq!(report.missing, [id(30, 2)]);
    assert_eq!(report.missing_objects, 1);
    assert_eq!(report.resized, [(id(30, 1), 8, 9)]);
    assert!(!report.is_clean());
    // With damage nothing is deleted: who knows what is wrong?
    let refused = bed.fsck(true, KNOWN_MAX).await;
    assert!(
        matches!(refused, Err(FsckError::Identity { .. })),
        "{refused:?}"
    );
    assert!(bed.has(id(EPOCH - SWEEP_AGE_EPOCHS_MIN - 1, 1)).await);
}

#[tokio::test]
async fn a_repair_deletes_leaks_and_nothing_else() {
    let bed = filled().await;
    let (before, _) = bed.memory.totals();
    for (epoch, unique) in [(EPOCH - SWEEP_AGE_EPOCHS_MIN - 1, 70), (EPOCH, 71)] {
        let key = object_key(cluster(), &id(epoch, unique));
        let begun = bed.memory.begin_upload(&key).await;
        drop(begun.expect("an upload begins"));
    }
    let report = bed.fsck(true, KNOWN_MAX).await.expect("it is repaired");
    assert_eq!((report.repaired, report.uploads), (2, 1));
    assert!(report.is_clean());
    assert_eq!(bed.memory.totals().0, before - 2);
    let again = bed.fsck(false, KNOWN_MAX).await.expect("it is compared");
    let clean = FsckReport {
        leaked: (0, 0),
        ..expected()
    };
    assert_eq!(again, clean);
    let left = bed.memory.unfinished_uploads("", None, 9).await;
    assert_eq!(left.expect("it never fails").len(), 1);
}

#[tokio::test]
async fn metadata_that_is_behind_the_bucket_is_not_compared() {
    for ahead in [
        id(EPOCH + 1, 1),
        ObjectId {
            incarnation: Incarnation(3),
            ..id(1, 1)
        },
    ] {
        let bed = filled().await;
        bed.put(ahead, 1).await;
        let refused = bed.fsck(true, KNOWN_MAX).await;
        assert!(
            matches!(refused, Err(FsckError::Identity { .. })),
            "{refused:?}"
        );
    }
    let bed = filled().await;
    bed.put_key(&sweep_halt_key(cluster(), Incarnation(2)), 3)
        .await;
    assert!(bed.fsck(false, KNOWN_MAX).await.is_ok());
    let refused = bed.fsck(true, KNOWN_MAX).await;
    assert!(
        matches!(refused, Err(FsckError::Identity { .. })),
        "{refused:?}"
    );
}
