//! The hot event in columns: about 30 bytes per batch, packed and without a message per batch.

use aquifer_format::ids::{
    CommitNumber, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence,
    SessionId, UploadEpoch,
};
use aquifer_metadata_api::commit::BatchSummary;

use super::{
    Committed, CommittedBatch, CommittedRun, Decision, Moment,
    convert::{
        Malformed, decision_code, epoch_from, object_from, object_to, rejection_of, topic_from,
    },
    proto,
};

pub(super) fn moment_to(moment: Moment) -> proto::Moment {
    proto::Moment {
        unix_millis: moment.unix_millis,
        upload_epoch: moment.upload_epoch.0,
    }
}

pub(super) fn moment_from(moment: Option<proto::Moment>) -> Result<Moment, Malformed> {
    let moment = moment.ok_or("an event has no time")?;
    Ok(Moment {
        unix_millis: moment.unix_millis,
        upload_epoch: UploadEpoch(moment.upload_epoch),
    })
}

pub(super) fn committed_to(committed: &Committed) -> proto::Committed {
    let mut to = proto::Committed {
        session: committed.session.0,
        number: committed.number.0,
        answered_through: committed.answered_through.0,
        object: Some(object_to(&committed.object)),
        at: Some(moment_to(committed.at)),
        ..proto::Committed::default()
    };
    runs_to(&committed.runs, &mut to);
    batches_to(&committed.batches, committed.at.unix_millis, &mut to);
    to
}

fn runs_to(runs: &[CommittedRun], to: &mut proto::Committed) {
    to.partition.reserve(runs.len());
    to.position_gap.reserve(runs.len());
    to.stored_bytes.reserve(runs.len());
    to.log_start.reserve(runs.len());
    to.log_append_time.reserve(runs.len());
    to.batches.reserve(runs.len());
    let mut topic = None;
    let mut end = 0u64;
    for run in runs {
        if topic == Some(run.partition.topic)
            && let Some(count) = to.topic_runs.last_mut()
        {
            *count += 1;
        } else {
            topic = Some(run.partition.topic);
            to.topics
                .extend_from_slice(run.partition.topic.0.as_bytes());
            to.topic_runs.push(1);
        }
        to.partition.push(run.partition.partition.0.cast_unsigned());
        to.position_gap
            .push(run.position.wrapping_sub(end).cast_signed());
        end = run.position.wrapping_add(u64::from(run.stored_bytes));
        to.stored_bytes.push(run.stored_bytes);
        to.log_start.push(run.log_start.0);
        to.log_append_time.push(u32::from(run.log_append_time));
        to.batches.push(run.batches);
    }
}

fn batches_to(batches: &[CommittedBatch], unix_millis: i64, to: &mut proto::Committed) {
    to.decision.reserve(batches.len());
    to.records.reserve(batches.len());
    to.bytes.reserve(batches.len());
    to.max_timestamp.reserve(batches.len());
    to.producer_id.reserve(batches.len());
    to.producer_epoch.reserve(batches.len());
    to.first_sequence.reserve(batches.len());
    to.base_offset.reserve(batches.len());
    let mut producer = 0i64;
    for CommittedBatch { summary, decision } in batches {
        to.decision.push(decision_to(*decision));
        match decision {
            Decision::Appended { base_offset } => to.base_offset.push(base_offset.0),
            Decision::Duplicate {
                base_offset,
                log_append_time,
            } => {
                to.base_offset.push(base_offset.0);
                to.duplicate_append_time.extend(*log_append_time);
            }
            Decision::Held | Decision::Rejected(_) => {}
        }
        to.records.push(summary.records);
        to.bytes.push(summary.bytes);
        to.max_timestamp
            .push(summary.max_timestamp.wrapping_sub(unix_millis));
        to.producer_id
            .push(summary.producer_id.0.wrapping_sub(producer));
        producer = summary.producer_id.0;
        if producer >= 0 {
            to.producer_epoch.push(i32::from(summary.producer_epoch.0));
            to.first_sequence
                .push(summary.first_sequence.0.cast_unsigned());
        }
    }
}

pub(super) fn decision_to(decision: Decision) -> u32 {
    match decision {
        Decision::Appended { .. } => decision_code::APPENDED,
        Decision::Duplicate {
            log_append_time: None,
            ..
        } => decision_code::DUPLICATE,
        Decision::Duplicate {
            log_append_time: Some(_),
            ..
        } => decision_code::DUPLICATE_WITH_TIME,
        Decision::Held => decision_code::HELD,
        Decision::Rejected(rejection) => decision_code::rejected(rejection),
    }
}

pub(super) fn committed_from(from: proto::Committed) -> Result<Committed, Malformed> {
    let at = moment_from(from.at)?;
    let runs = runs_from(&from)?;
    let batches = batches_from(&from, at.unix_millis)?;
    let wanted = runs
        .iter()
        .fold(0u64, |sum, run| sum.saturating_add(u64::from(run.batches)));
    if u64::try_from(batches.len()) != Ok(wanted) {
        return Err("a commit's runs and batches do not add up");
    }
    Ok(Committed {
        session: SessionId(from.session),
        number: CommitNumber(from.number),
        answered_through: CommitNumber(from.answered_through),
        object: object_from(from.object)?,
        at,
        runs,
        batches,
    })
}

const UNEVEN: Malformed = "a commit's columns differ in length";

fn runs_from(from: &proto::Committed) -> Result<Vec<CommittedRun>, Malformed> {
    let count = from.partition.len();
    let columns = [
        from.position_gap.len(),
        from.stored_bytes.len(),
        from.log_start.len(),
        from.log_append_time.len(),
        from.batches.len(),
    ];
    if columns.iter().any(|length| *length != count) {
        return Err(UNEVEN);
    }
    let mut runs = Vec::with_capacity(count);
    let mut end = 0u64;
    let topics = topics_from(&from.topics, &from.topic_runs)?;
    let topics = topics
        .iter()
        .flat_map(|(topic, runs)| std::iter::repeat_n(*topic, *runs));
    for (at, topic) in (0..count).zip(topics) {
        let stored_bytes = from.stored_bytes[at];
        let position = end.wrapping_add(from.position_gap[at].cast_unsigned());
        end = position.wrapping_add(u64::from(stored_bytes));
        runs.push(CommittedRun {
            partition: PartitionId::new(topic, PartitionIndex(from.partition[at].cast_signed())),
            position,
            stored_bytes,
            log_start: Offset(from.log_start[at]),
            log_append_time: from.log_append_time[at] != 0,
            batches: from.batches[at],
        });
    }
    if runs.len() != count {
        return Err(UNEVEN);
    }
    Ok(runs)
}

/// Topics with how many rows each has.
pub(super) fn topics_from(
    ids: &[u8],
    counts: &[u32],
) -> Result<Vec<(aquifer_format::ids::TopicId, usize)>, Malformed> {
    if ids.len() != counts.len().saturating_mul(16) {
        return Err(UNEVEN);
    }
    ids.chunks(16)
        .zip(counts)
        .map(|(id, count)| {
            let count = usize::try_from(*count).map_err(|_| UNEVEN)?;
            Ok((topic_from(id)?, count))
        })
        .collect()
}

fn batches_from(
    from: &proto::Committed,
    unix_millis: i64,
) -> Result<Vec<CommittedBatch>, Malformed> {
    let count = from.decision.len();
    let columns = [
        from.records.len(),
        from.bytes.len(),
        from.max_timestamp.len(),
        from.producer_id.len(),
    ];
    if columns.iter().any(|length| *length != count) {
        return Err(UNEVEN);
    }
    let mut epochs = from.producer_epoch.iter();
    let mut sequences = from.first_sequence.iter();
    let mut offsets = from.base_offset.iter();
    let mut times = from.duplicate_append_time.iter();
    let mut producer = 0i64;
    let mut batches = Vec::with_capacity(count);
    for at in 0..count {
        producer = producer.wrapping_add(from.producer_id[at]);
        let (producer_epoch, first_sequence) = if producer >= 0 {
            let epoch = epoch_from(*epochs.next().ok_or(UNEVEN)?)?;
            let sequence = sequences.next().ok_or(UNEVEN)?.cast_signed();
            (epoch, Sequence(sequence))
        } else {
            (ProducerEpoch::NONE, Sequence::NONE)
        };
        let code = from.decision[at];
        let decision = decision_from(
            code,
            || offsets.next().copied().ok_or(UNEVEN),
            || times.next().copied().ok_or(UNEVEN),
        )?;
        batches.push(CommittedBatch {
            summary: BatchSummary {
                producer_id: ProducerId(producer),
                producer_epoch,
                first_sequence,
                records: from.records[at],
                bytes: from.bytes[at],
                max_timestamp: from.max_timestamp[at].wrapping_add(unix_millis),
            },
            decision,
        });
    }
    let rest = [epochs.len(), sequences.len(), offsets.len(), times.len()];
    if rest != [0; 4] {
        return Err(UNEVEN);
    }
    Ok(batches)
}

pub(super) fn decision_from(
    code: u32,
    mut offset: impl FnMut() -> Result<i64, Malformed>,
    mut time: impl FnMut() -> Result<i64, Malformed>,
) -> Result<Decision, Malformed> {
    Ok(match code {
        decision_code::APPENDED => Decision::Appended {
            base_offset: Offset(offset()?),
        },
        decision_code::DUPLICATE => Decision::Duplicate {
            base_offset: Offset(offset()?),
            log_append_time: None,
        },
        decision_code::DUPLICATE_WITH_TIME => Decision::Duplicate {
            base_offset: Offset(offset()?),
            log_append_time: Some(time()?),
        },
        decision_code::HELD => Decision::Held,
        rejected => Decision::Rejected(rejection_of(rejected)?),
    })
}
