//! Jobs, swaps, lists of objects, and topics that come back.

use std::sync::Arc;

use aquifer_format::{
    ids::{LeaderTerm, ObjectId, ObjectLevel, Offset, PartitionId, WriterSlot},
    limits::JOB_OBJECTS_MAX,
};

use super::{
    fixture::{Watcher, Writer, assert_contiguous, locate_all, partition, plain, soon, topic},
    kafka::delete_topic,
};
use crate::{
    Metadata, Upkeep,
    error::MetadataError,
    upkeep::{
        Finish, Inputs, InputsRequest, Job, JobKind, JobOutcome, JobToken, LeaseRequest,
        ListedObject, MergedExtent, ObjectsRequest, RangeOutcome, Renewal, Renewed, RestoreTopic,
        SwapObject, SwapRange, SwapRequest, WorkKinds, WorkerId,
    },
};

const WORKER: WorkerId = WorkerId(7);

/// Small objects as they are needed for a job, each with two records of `to`.
async fn write(metadata: &Arc<dyn Metadata>, to: PartitionId) -> Writer {
    let mut writer = Writer::new(metadata).await;
    for _ in 0..JOB_OBJECTS_MAX {
        let commit = writer.build(&[(to, vec![plain(2, 1_000)])]);
        writer.send(commit.clone()).await;
        writer.finals(&commit).await;
    }
    writer
}

async fn lease(metadata: &dyn Upkeep, worker: WorkerId) -> Option<Job> {
    let request = LeaseRequest {
        worker,
        kinds: WorkKinds::ALL,
    };
    let reply = metadata.lease_job(request).await;
    reply.expect("a job can be asked for").job
}

async fn inputs(metadata: &dyn Upkeep, job: &Job, of: PartitionId, from: i64) -> Vec<Inputs> {
    let mut inputs: Vec<Inputs> = Vec::new();
    let mut wanted = (of, Offset(from));
    loop {
        let request = InputsRequest {
            token: job.token,
            partitions: vec![wanted],
        };
        let reply = metadata.job_inputs(request).await.expect("the job is held");
        inputs.extend(reply.partitions);
        match reply.next {
            Some(next) => wanted = next,
            None => return inputs,
        }
    }
}

fn output(job: &Job, unique: u64) -> ObjectId {
    ObjectId {
        incarnation: job.incarnation,
        upload_epoch: job.upload_epoch,
        writer: WriterSlot::COMPACTOR,
        level: ObjectLevel::L1,
        unique,
    }
}

/// All that `inputs` has becomes one extent of a new object.
fn swap(job: &Job, inputs: &Inputs, unique: u64) -> SwapRequest {
    let extents = &inputs.extents;
    let first = extents.first().expect("there are some");
    let last = extents.last().expect("there are some");
    let mut objects: Vec<ObjectId> = extents.iter().map(|extent| extent.object).collect();
    objects.sort_unstable();
    objects.dedup();
    SwapRequest {
        worker: WORKER,
        token: job.token,
        objects: vec![SwapObject {
            id: output(job, unique),
            bytes: 1 << 20,
            locations: vec![0],
        }],
        inputs: objects,
        ranges: vec![SwapRange {
            partition: inputs.partition,
            from: first.base_offset,
            to: last.end_offset,
            extents: vec![MergedExtent {
                object: 0,
                run_position: 8,
                run_bytes: 1 << 19,
                raw_bytes: extents.iter().map(|extent| extent.raw_bytes).sum(),
                base_offset: first.base_offset,
                end_offset: last.end_offset,
                max_timestamp: 1_000,
            }],
            cleaned_through: None,
        }],
    }
}

async fn outcome(metadata: &dyn Upkeep, request: &SwapRequest) -> RangeOutcome {
    let reply = metadata.swap(request.clone()).await;
    let outcomes = reply.expect("the swap is well formed").outcomes;
    assert_eq!(outcomes.len(), 1);
    outcomes[0]
}

async fn listed(metadata: &dyn Upkeep) -> Vec<ListedObject> {
    let mut all: Vec<ListedObject> = Vec::new();
    loop {
        let request = ObjectsRequest {
            after: all.last().map(|object| object.id),
            limit: 50,
        };
        let reply = metadata.objects(request).await.expect("they are listed");
        let is_last = reply.objects.len() < 50;
        all.extend(reply.objects);
        assert!(all.is_sorted_by(|a, b| a.id < b.id), "{all:?}");
        if is_last {
            return all;
        }
    }
}

pub(super) async fn a_job_is_one_workers(metadata: Arc<dyn Upkeep>) {
    let base: Arc<dyn Metadata> = metadata.clone();
    let of = partition(topic(&*base, "t", 1, &[]).await, 0);
    assert_eq!(lease(&*metadata, WORKER).await, None, "nothing is there");
    let _writer = write(&base, of).await;
    let job = lease(&*metadata, WORKER).await.expect("there is enough");
    let JobKind::MergeObjects { objects, .. } = &job.kind else {
        panic!("{job:?}");
    };
    assert_eq!(objects.len(), JOB_OBJECTS_MAX);
    let again = lease(&*metadata, WORKER).await;
    let again = again.expect("its answer may have been lost");
    assert_eq!((again.token, &again.kind), (job.token, &job.kind));
    let other = WorkerId(8);
    assert_eq!(lease(&*metadata, other).await, None, "it is given already");

    let renew = |worker, job: &Job| {
        let renewal = Renewal {
            worker,
            job: job.clone(),
            read_bytes: 1,
        };
        metadata.renew_job(renewal)
    };
    let renewed = renew(WORKER, &job).await.expect("it is answered");
    assert!(
        matches!(renewed, Renewed::Held { token, .. } if token == job.token),
        "{renewed:?}"
    );
    let renewed = renew(other, &job).await.expect("it is answered");
    assert_eq!(renewed, Renewed::Lost);
    let unknown = JobToken {
        term: LeaderTerm(job.token.term.0),
        number: 1_000,
    };
    let request = InputsRequest {
        token: unknown,
        partitions: vec![(of, Offset(0))],
    };
    let refused = metadata.job_inputs(request).await;
    assert!(
        matches!(refused, Err(MetadataError::Refused { .. })),
        "{refused:?}"
    );

    let finish = Finish {
        worker: WORKER,
        token: job.token,
        outcome: JobOutcome::Done,
        deleted: Vec::new(),
        read_bytes: 0,
        written_bytes: 0,
    };
    metadata.finish_job(finish.clone()).await.expect("it ends");
    metadata.finish_job(finish).await.expect("and stays so");
    let renewed = renew(WORKER, &job).await.expect("it is answered");
    assert_eq!(renewed, Renewed::Lost);
}

pub(super) async fn ranges_are_swapped_once(metadata: Arc<dyn Upkeep>) {
    let base: Arc<dyn Metadata> = metadata.clone();
    let id = topic(&*base, "t", 1, &[]).await;
    let of = partition(id, 0);
    let mut writer = write(&base, of).await;
    let stale = locate_all(&*base, of, 0).await.extents;
    let job = lease(&*metadata, WORKER).await.expect("there is enough");
    let found = inputs(&*metadata, &job, of, 0).await;
    let [found] = found.as_slice() else {
        panic!("{found:?}");
    };
    let end = i64::try_from(2 * JOB_OBJECTS_MAX).expect("small");
    assert_contiguous(&found.extents, 0, end);
    let begins = found.breaks.iter().filter(|begins| **begins).count();
    assert_eq!((begins, found.breaks[0]), (1, true), "one range");

    let request = swap(&job, found, 1);
    let fenced = SwapRequest {
        worker: WorkerId(8),
        ..request.clone()
    };
    assert_eq!(outcome(&*metadata, &fenced).await, RangeOutcome::Fenced);
    assert_eq!(outcome(&*metadata, &request).await, RangeOutcome::Done);
    assert_eq!(outcome(&*metadata, &request).await, RangeOutcome::Done);
    let late = swap(&job, found, 2);
    assert_eq!(outcome(&*metadata, &late).await, RangeOutcome::Changed);
    let mut gone = swap(&job, found, 3);
    gone.ranges[0].partition = partition(id, 1);
    assert_eq!(outcome(&*metadata, &gone).await, RangeOutcome::Gone);

    // who has a stale extent locates again
    let now = locate_all(&*base, of, 0).await;
    let merged = output(&job, 1);
    assert_eq!(now.extents.len(), 1);
    assert_eq!(now.extents[0].object, merged);
    assert!(now.extents.iter().all(|extent| !stale.contains(extent)));
    let middle = locate_all(&*base, of, end / 2).await;
    assert_eq!(middle.extents, now.extents);
    assert_eq!(writer.append(of, 1).await, Offset(end), "the log goes on");

    let all = listed(&*metadata).await;
    let released = all.iter().filter(|object| object.released_in.is_some());
    assert_eq!(released.count(), JOB_OBJECTS_MAX);
    let live = all.iter().filter(|object| object.released_in.is_none());
    let live: Vec<(ObjectLevel, u32)> = live.map(|o| (o.id.level, o.references)).collect();
    assert_eq!(live.len(), 2, "{live:?}");
    assert!(live.contains(&(ObjectLevel::L1, 1)), "{live:?}");
    assert!(live.contains(&(ObjectLevel::L0, 1)), "{live:?}");
}

pub(super) async fn deleted_topics_come_back(metadata: Arc<dyn Upkeep>) {
    let base: Arc<dyn Metadata> = metadata.clone();
    let id = topic(&*base, "t", 1, &[]).await;
    let mut writer = Writer::new(&base).await;
    let mut watcher = Watcher::new(&writer).await;
    writer.append(partition(id, 0), 3).await;
    let before = locate_all(&*base, partition(id, 0), 0).await;
    assert_eq!(delete_topic(&*base, "t").await, 0);
    let trash = metadata.deleted_topics().await.expect("it is listed");
    let names: Vec<(&str, u32)> = trash
        .topics
        .iter()
        .map(|topic| (topic.name.as_str(), topic.partitions))
        .collect();
    assert_eq!(names, [("t", 1)]);
    let by_name = || metadata.restore_topic(RestoreTopic::Name("t".to_owned()));
    // its name is another's
    topic(&*base, "t", 1, &[]).await;
    let refused = by_name().await;
    assert!(
        matches!(refused, Err(MetadataError::Refused { .. })),
        "{refused:?}"
    );
    assert_eq!(delete_topic(&*base, "t").await, 0);
    let restored = by_name().await.expect("its name is free again");
    assert_eq!((restored.id, restored.name.as_str()), (id, "t"));
    let after = locate_all(&*base, partition(id, 0), 0).await;
    assert_eq!(after.extents, before.extents);
    assert_eq!(
        after.watermarks.high_watermark,
        before.watermarks.high_watermark
    );
    soon("the topic", watcher.catch_up(&*base)).await;
    assert!(watcher.topics.contains_key(&id), "watchers are told");
    assert_eq!(writer.append(partition(id, 0), 1).await, Offset(3));
    let trash = metadata.deleted_topics().await.expect("it is listed");
    assert!(trash.topics.is_empty(), "{trash:?}");
    let twice = metadata.restore_topic(RestoreTopic::Id(id)).await;
    assert!(
        matches!(twice, Err(MetadataError::Refused { .. })),
        "{twice:?}"
    );
}
