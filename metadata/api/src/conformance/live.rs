//! Which objects are known.

use std::sync::Arc;

use aquifer_format::{
    ids::{Incarnation, ObjectId},
    limits::LIVE_OBJECTS_MAX,
};

use super::{
    fixture::{Writer, partition, plain, sequenced, topic},
    kafka::delete_topic,
};
use crate::{Metadata, commit::BatchOutcome, error::MetadataError};

pub(super) async fn known_objects_are_told(metadata: Arc<dyn Metadata>) {
    let kept = topic(&*metadata, "kept", 1, &[]).await;
    let gone = topic(&*metadata, "gone", 1, &[]).await;
    let mut writer = Writer::new(&metadata).await;
    let nothing = metadata.live_objects(Vec::new()).await;
    let nothing = nothing.expect("an empty list can be asked for");
    assert_eq!(nothing.live, [] as [bool; 0]);
    assert_eq!(nothing.cluster, writer.registration.cluster);
    assert_eq!(nothing.incarnation, writer.registration.incarnation);
    assert!(nothing.upload_epoch >= writer.registration.upload_epoch);

    let referenced = writer.build(&[(partition(kept, 0), vec![sequenced(7, 0, 0, 2)])]);
    let released = writer.build(&[(partition(gone, 0), vec![plain(2, 1)])]);
    let held = writer.build(&[(partition(kept, 0), vec![sequenced(7, 0, 9, 1)])]);
    for commit in [&referenced, &released] {
        writer.send(commit.clone()).await;
        writer.finals(commit).await;
    }
    writer.send(held.clone()).await;
    let outcomes = writer.answer().await.outcomes;
    assert!(
        matches!(outcomes[..], [(_, BatchOutcome::Held)]),
        "{outcomes:?}"
    );
    // no wait between the answers and the question
    let never = ObjectId {
        unique: u64::MAX,
        ..referenced.object
    };
    let elsewhere = ObjectId {
        incarnation: Incarnation(referenced.object.incarnation.0 + 1),
        ..referenced.object
    };
    let asked = vec![
        never,
        referenced.object,
        elsewhere,
        released.object,
        held.object,
        never,
    ];
    let expected = [false, true, false, true, true, false];
    let told = metadata.live_objects(asked.clone()).await;
    assert_eq!(told.expect("it is answered").live, expected);
    assert_eq!(delete_topic(&*metadata, "gone").await, 0);
    let told = metadata.live_objects(asked).await;
    let told = told.expect("it is answered").live;
    assert_eq!(told, expected, "what was released is metadata's to delete");
}

pub(super) async fn too_long_a_list_is_refused(metadata: Arc<dyn Metadata>) {
    let mut writer = Writer::new(&metadata).await;
    let commit = writer.build(&[]);
    let ids = |count: usize| vec![commit.object; count];
    let told = metadata.live_objects(ids(LIVE_OBJECTS_MAX)).await;
    let told = told.expect("as many as are allowed");
    assert_eq!(told.live, vec![false; LIVE_OBJECTS_MAX]);
    let refused = metadata.live_objects(ids(LIVE_OBJECTS_MAX + 1)).await;
    assert!(
        matches!(refused, Err(MetadataError::Refused { .. })),
        "{refused:?}"
    );
}
