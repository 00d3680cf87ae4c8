//! Jobs and their inputs.

use std::time::Duration;

use aquifer_format::ids::{
    Incarnation, LeaderTerm, ObjectId, Offset, PartitionId, PartitionIndex, ProducerId, UploadEpoch,
};
use bytes::Bytes;

use super::{
    super::{
        super::proto::{self, job::Kind},
        Malformed, UNEVEN,
        columns::{
            deal, extents_from, extents_to, length, partitions_from, partitions_to,
            watermarks_from, watermarks_to,
        },
        ids::{cluster_from, cluster_to, epoch_from, topic_from},
    },
    objects::{ids_from, ids_to},
};
use crate::upkeep::{
    Clean, Finish, Inputs, InputsReply, InputsRequest, Job, JobKind, JobOutcome, JobToken,
    LastRecord, LeaseReply, LeaseRequest, MergeRange, Renewal, Renewed, WorkKinds, WorkerId,
};

/// What producers say of which only markers are left.
const MARKERS: i64 = -1;

pub(super) fn token_to(token: JobToken) -> proto::JobToken {
    proto::JobToken {
        term: token.term.0,
        number: token.number,
    }
}

pub(super) fn token_from(token: Option<proto::JobToken>) -> Result<JobToken, Malformed> {
    let token = token.ok_or(Malformed("a job has no token"))?;
    Ok(JobToken {
        term: LeaderTerm(token.term),
        number: token.number,
    })
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn duration(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

fn partition_from(topic: &[u8], partition: u32) -> Result<PartitionId, Malformed> {
    let index = PartitionIndex(partition.cast_signed());
    Ok(PartitionId::new(topic_from(topic)?, index))
}

fn topic_to(partition: PartitionId) -> Bytes {
    Bytes::copy_from_slice(partition.topic.0.as_bytes())
}

fn job_to(job: &Job) -> proto::Job {
    proto::Job {
        token: Some(token_to(job.token)),
        lease_ms: millis(job.lease),
        cluster: cluster_to(job.cluster),
        incarnation: job.incarnation.0,
        upload_epoch: job.upload_epoch.0,
        kind: Some(kind_to(&job.kind)),
    }
}

fn kind_to(kind: &JobKind) -> Kind {
    match kind {
        JobKind::MergeObjects {
            objects,
            object_bytes,
        } => Kind::MergeObjects(proto::MergeObjects {
            objects: Some(ids_to(objects.iter().map(|(id, _)| *id))),
            bytes: objects.iter().map(|(_, bytes)| *bytes).collect(),
            object_bytes: *object_bytes,
        }),
        JobKind::MergeRanges {
            ranges,
            object_bytes,
        } => Kind::MergeRanges(proto::MergeRanges {
            partitions: Some(partitions_to(ranges.iter().map(|range| range.partition))),
            from: ranges.iter().map(|range| range.from.0).collect(),
            offsets: ranges
                .iter()
                .map(|range| range.to.0.wrapping_sub(range.from.0))
                .collect(),
            run_bytes_max: ranges.iter().map(|range| range.run_bytes_max).collect(),
            object_bytes: *object_bytes,
        }),
        JobKind::Clean(clean) => Kind::Clean(proto::Clean {
            topic: topic_to(clean.partition),
            partition: clean.partition.partition.0.cast_unsigned(),
            from: clean.from.0,
            first_dirty: clean.first_dirty.0,
            to: clean.to.0,
            delete_retention_ms: clean.delete_retention_ms,
            now_ms: clean.now_ms,
            run_bytes_max: clean.run_bytes_max,
        }),
        JobKind::Delete { objects } => Kind::Delete(ids_to(objects.iter().copied())),
    }
}

fn job_from(job: proto::Job) -> Result<Job, Malformed> {
    let kind = job.kind.ok_or(Malformed("a job is of an unknown kind"))?;
    Ok(Job {
        token: token_from(job.token)?,
        lease: duration(job.lease_ms),
        cluster: cluster_from(&job.cluster)?,
        incarnation: Incarnation(job.incarnation),
        upload_epoch: UploadEpoch(job.upload_epoch),
        kind: match kind {
            Kind::MergeObjects(merge) => merge_from(merge)?,
            Kind::MergeRanges(merge) => ranges_from(merge)?,
            Kind::Clean(clean) => JobKind::Clean(Clean {
                partition: partition_from(&clean.topic, clean.partition)?,
                from: Offset(clean.from),
                first_dirty: Offset(clean.first_dirty),
                to: Offset(clean.to),
                delete_retention_ms: clean.delete_retention_ms,
                now_ms: clean.now_ms,
                run_bytes_max: clean.run_bytes_max,
            }),
            Kind::Delete(objects) => JobKind::Delete {
                objects: ids_from(Some(objects))?,
            },
        },
    })
}

fn merge_from(merge: proto::MergeObjects) -> Result<JobKind, Malformed> {
    let ids: Vec<ObjectId> = ids_from(merge.objects)?;
    if ids.len() != merge.bytes.len() {
        return Err(UNEVEN);
    }
    Ok(JobKind::MergeObjects {
        objects: ids.into_iter().zip(merge.bytes).collect(),
        object_bytes: merge.object_bytes,
    })
}

fn ranges_from(merge: proto::MergeRanges) -> Result<JobKind, Malformed> {
    let partitions = partitions_from(merge.partitions)?;
    let columns = [
        merge.from.len(),
        merge.offsets.len(),
        merge.run_bytes_max.len(),
    ];
    if columns != [partitions.len(); 3] {
        return Err(UNEVEN);
    }
    let rows = partitions.into_iter().zip(merge.from);
    let rows = rows.zip(merge.offsets).zip(merge.run_bytes_max);
    let range = |(((partition, from), offsets), run_bytes_max): (((_, i64), i64), _)| MergeRange {
        partition,
        from: Offset(from),
        to: Offset(from.wrapping_add(offsets)),
        run_bytes_max,
    };
    Ok(JobKind::MergeRanges {
        ranges: rows.map(range).collect(),
        object_bytes: merge.object_bytes,
    })
}

/// A question for a job.
#[must_use]
pub fn lease_to(request: &LeaseRequest) -> proto::LeaseJobRequest {
    proto::LeaseJobRequest {
        worker: request.worker.0,
        merge: request.kinds.merge,
        clean: request.kinds.clean,
        delete: request.kinds.delete,
    }
}

/// Reads what [`lease_to`] wrote.
#[must_use]
pub fn lease_from(request: &proto::LeaseJobRequest) -> LeaseRequest {
    LeaseRequest {
        worker: WorkerId(request.worker),
        kinds: WorkKinds {
            merge: request.merge,
            clean: request.clean,
            delete: request.delete,
        },
    }
}

/// A job, or none.
#[must_use]
pub fn lease_reply_to(reply: &LeaseReply) -> proto::LeaseJobReply {
    proto::LeaseJobReply {
        job: reply.job.as_ref().map(job_to),
        again_in_ms: millis(reply.again_in),
    }
}

/// Reads what [`lease_reply_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn lease_reply_from(reply: proto::LeaseJobReply) -> Result<LeaseReply, Malformed> {
    Ok(LeaseReply {
        job: reply.job.map(job_from).transpose()?,
        again_in: duration(reply.again_in_ms),
    })
}

/// A renewal.
#[must_use]
pub fn renewal_to(renewal: &Renewal) -> proto::RenewJobRequest {
    proto::RenewJobRequest {
        worker: renewal.worker.0,
        job: Some(job_to(&renewal.job)),
        read_bytes: renewal.read_bytes,
    }
}

/// Reads what [`renewal_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn renewal_from(request: proto::RenewJobRequest) -> Result<Renewal, Malformed> {
    let job = request.job.ok_or(Malformed("a renewal has no job"))?;
    Ok(Renewal {
        worker: WorkerId(request.worker),
        job: job_from(job)?,
        read_bytes: request.read_bytes,
    })
}

/// The answer to a renewal.
#[must_use]
pub fn renewed_to(renewed: &Renewed) -> proto::RenewJobReply {
    match renewed {
        Renewed::Held {
            token,
            upload_epoch,
        } => proto::RenewJobReply {
            held: true,
            token: Some(token_to(*token)),
            upload_epoch: upload_epoch.0,
        },
        Renewed::Lost => proto::RenewJobReply::default(),
    }
}

/// Reads what [`renewed_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn renewed_from(reply: proto::RenewJobReply) -> Result<Renewed, Malformed> {
    if !reply.held {
        return Ok(Renewed::Lost);
    }
    Ok(Renewed::Held {
        token: token_from(reply.token)?,
        upload_epoch: UploadEpoch(reply.upload_epoch),
    })
}

/// A question for a job's extents.
#[must_use]
pub fn inputs_to(request: &InputsRequest) -> proto::JobInputsRequest {
    let wanted = &request.partitions;
    proto::JobInputsRequest {
        token: Some(token_to(request.token)),
        partitions: Some(partitions_to(wanted.iter().map(|(id, _)| *id))),
        from: wanted.iter().map(|(_, from)| from.0).collect(),
    }
}

/// Reads what [`inputs_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn inputs_from(request: proto::JobInputsRequest) -> Result<InputsRequest, Malformed> {
    let partitions = partitions_from(request.partitions)?;
    if partitions.len() != request.from.len() {
        return Err(UNEVEN);
    }
    let from = request.from.into_iter().map(Offset);
    Ok(InputsRequest {
        token: token_from(request.token)?,
        partitions: partitions.into_iter().zip(from).collect(),
    })
}

/// A job's extents.
#[must_use]
pub fn inputs_reply_to(reply: &InputsReply) -> proto::JobInputsReply {
    let inputs = &reply.partitions;
    let last_records = || inputs.iter().flat_map(|inputs| &inputs.last_records);
    let last = |last: Option<Offset>| last.map_or(MARKERS, |offset| offset.0);
    proto::JobInputsReply {
        partitions: Some(partitions_to(inputs.iter().map(|inputs| inputs.partition))),
        watermarks: Some(watermarks_to(
            inputs.iter().map(|inputs| &inputs.watermarks),
        )),
        rows: inputs.iter().map(|of| length(of.extents.len())).collect(),
        producers: inputs
            .iter()
            .map(|of| length(of.last_records.len()))
            .collect(),
        extents: Some(extents_to(inputs.iter().flat_map(|inputs| &inputs.extents))),
        breaks: inputs
            .iter()
            .flat_map(|inputs| inputs.breaks.iter().copied())
            .collect(),
        producer_id: last_records().map(|(id, _)| id.0).collect(),
        producer_epoch: last_records()
            .map(|(_, record)| i32::from(record.epoch.0))
            .collect(),
        last_offset: last_records()
            .map(|(_, record)| last(record.last_offset))
            .collect(),
        next: reply
            .next
            .map(|(partition, from)| proto::job_inputs_reply::Next {
                topic: topic_to(partition),
                partition: partition.partition.0.cast_unsigned(),
                from: from.0,
            }),
    }
}

/// Reads what [`inputs_reply_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn inputs_reply_from(reply: proto::JobInputsReply) -> Result<InputsReply, Malformed> {
    let partitions = partitions_from(reply.partitions)?;
    let count = partitions.len();
    if [reply.rows.len(), reply.producers.len()] != [count; 2] {
        return Err(UNEVEN);
    }
    let watermarks = watermarks_from(reply.watermarks, count)?;
    let extents = deal(extents_from(reply.extents)?, &reply.rows)?;
    let breaks = deal(reply.breaks, &reply.rows)?;
    let records = last_records_from(
        &reply.producer_id,
        &reply.producer_epoch,
        &reply.last_offset,
    )?;
    let records = deal(records, &reply.producers)?;
    let rows = partitions.into_iter().zip(watermarks);
    let rows = rows.zip(extents.into_iter().zip(breaks)).zip(records);
    let inputs = rows.map(
        |(((partition, watermarks), (extents, breaks)), last_records)| Inputs {
            partition,
            watermarks,
            extents,
            breaks,
            last_records,
        },
    );
    let next = reply.next.map(|next| {
        let partition = partition_from(&next.topic, next.partition)?;
        Ok::<_, Malformed>((partition, Offset(next.from)))
    });
    Ok(InputsReply {
        partitions: inputs.collect(),
        next: next.transpose()?,
    })
}

fn last_records_from(
    ids: &[i64],
    epochs: &[i32],
    offsets: &[i64],
) -> Result<Vec<(ProducerId, LastRecord)>, Malformed> {
    if [epochs.len(), offsets.len()] != [ids.len(); 2] {
        return Err(UNEVEN);
    }
    let rows = ids.iter().zip(epochs).zip(offsets);
    let records = rows.map(|((id, epoch), offset)| {
        let record = LastRecord {
            last_offset: Some(*offset)
                .filter(|offset| *offset != MARKERS)
                .map(Offset),
            epoch: epoch_from(*epoch)?,
        };
        Ok((ProducerId(*id), record))
    });
    records.collect()
}

/// The end of a job.
#[must_use]
pub fn finish_to(finish: &Finish) -> proto::FinishJobRequest {
    let reason = match &finish.outcome {
        JobOutcome::Done => None,
        JobOutcome::Failed { reason } => Some(reason.clone()),
    };
    proto::FinishJobRequest {
        worker: finish.worker.0,
        token: Some(token_to(finish.token)),
        failed: reason.is_some(),
        reason: reason.unwrap_or_default(),
        deleted: Some(ids_to(finish.deleted.iter().copied())),
        read_bytes: finish.read_bytes,
        written_bytes: finish.written_bytes,
    }
}

/// Reads what [`finish_to`] wrote.
///
/// # Errors
/// Messages that it does not write.
pub fn finish_from(request: proto::FinishJobRequest) -> Result<Finish, Malformed> {
    Ok(Finish {
        worker: WorkerId(request.worker),
        token: token_from(request.token)?,
        outcome: if request.failed {
            JobOutcome::Failed {
                reason: request.reason,
            }
        } else {
            JobOutcome::Done
        },
        deleted: ids_from(request.deleted)?,
        read_bytes: request.read_bytes,
        written_bytes: request.written_bytes,
    })
}
